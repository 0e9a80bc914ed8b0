//! The groups whose partitions the broker assigns (KIP-848), under the one lock of all groups.
//!
//! What a group writes is appended under the lock, so that the log has the order of the changes,
//! and is durable before the answer: also before an answer that only repeats what is on its way to
//! the disk. Records that the log did not take are kept and go ahead of the next ones.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use kafka_protocol::error::ResponseError;

use crate::catalog;
use crate::config::Config;
use crate::group::consumer::assignor::Assignor;
use crate::group::consumer::group::{ConsumerGroup, GroupState};
use crate::group::consumer::heartbeat::{Answer, Heartbeat, Refused, Rules};
use crate::group::consumer::records::Record;
use crate::group::consumer::topics::{Shape, TopicPartition, Topics};
use crate::group::coordinator::{Groups, Inner};
use crate::group::internal::{Appending, KeyValue};

/// The groups of this kind, and the topics as they see them.
#[derive(Debug)]
pub(super) struct Consumers {
    pub(super) groups: HashMap<String, Entry>,
    pub(super) rules: Rules,
    /// The catalog's state out of which `topics` was made.
    seen: Option<Arc<catalog::Topics>>,
    topics: Arc<Topics>,
}

#[derive(Debug, Default)]
pub(super) struct Entry {
    pub(super) group: ConsumerGroup,
    /// What the log did not take yet.
    pub(super) unsaved: Vec<KeyValue>,
    /// Up to where the log must be durable before anybody is answered.
    pub(super) written: Option<Appending>,
    /// Its place in [`Inner::due`].
    due_ms: Option<i64>,
    /// Since when it has no members, by the clock on the wall.
    empty_since_ms: i64,
}

/// A group as others may see it.
#[derive(Clone, Debug)]
pub struct ConsumerView {
    /// The group.
    pub group: ConsumerGroup,
    /// The topics of its partitions.
    pub topics: Arc<Topics>,
    /// The assignor that shares out its partitions.
    pub assignor: Assignor,
    /// Since when it has no members, or the start of the broker, by the clock on the wall.
    pub empty_since_ms: i64,
}

impl Consumers {
    pub(super) fn new(config: &Config) -> Self {
        let assignors = config.group_consumer_assignors.iter();
        let rules = Rules {
            session_timeout_ms: config.group_consumer_session_timeout_ms,
            heartbeat_interval_ms: config.group_consumer_heartbeat_interval_ms,
            members_max: usize::try_from(config.group_consumer_max_size).unwrap_or(1),
            assignors: assignors.filter_map(|name| Assignor::named(name)).collect(),
        };
        Self { groups: HashMap::new(), rules, seen: None, topics: Arc::default() }
    }

    /// How many groups there are.
    pub(super) fn groups_len(&self) -> usize {
        self.groups.len()
    }

    /// The topics as they are now.
    pub(super) fn look(&mut self, catalog: &catalog::Catalog) -> Arc<Topics> {
        let now = catalog.topics();
        if !self.seen.as_ref().is_some_and(|seen| Arc::ptr_eq(seen, &now)) {
            let shapes = now.iter().map(|topic| {
                let shape = Shape {
                    id: topic.id,
                    partition_count: topic.partition_count(),
                    is_internal: topic.is_internal,
                };
                (topic.name.to_string(), shape)
            });
            self.topics = Arc::new(Topics::new(self.topics.version() + 1, shapes));
            self.seen = Some(now);
        }
        self.topics.clone()
    }
}

impl Groups {
    /// Takes in the groups that were read back; call it before anybody asks.
    pub fn restore_consumers(&self, groups: BTreeMap<String, ConsumerGroup>) {
        let (now_ms, wall_ms) = (self.now_ms(), self.clock.now_ms());
        let mut inner = self.lock();
        for (name, mut group) in groups {
            group.restart(now_ms, &inner.consumers.rules);
            let entry = Entry { group, empty_since_ms: wall_ms, ..Entry::default() };
            inner.consumers.groups.insert(name.clone(), entry);
            self.schedule_consumer(&mut inner, &name);
        }
    }

    /// A heartbeat of a member that speaks the consumer protocol: what it is told, and how often it
    /// shall send heartbeats, in ms. The topic of groups must have been made.
    ///
    /// # Errors
    /// Why the member is refused.
    pub async fn consumer_heartbeat(
        &self,
        name: &str,
        beat: &Heartbeat,
    ) -> Result<(Answer, i32), Refused> {
        let refuse = |error, message: &str| Refused { error, message: message.to_owned() };
        let (answer, interval_ms, written) = {
            let mut inner = self.lock();
            let inner = &mut *inner;
            let mut opened = if inner.consumers.groups.contains_key(name) {
                None
            } else {
                Some(self.open_consumer(inner, name, beat.epoch)?)
            };
            let topics = inner.consumers.look(&self.catalog);
            let Consumers { groups, rules, .. } = &mut inner.consumers;
            let entry = opened.as_mut().or(groups.get_mut(name)).expect("it is there or opened");
            let epoch = entry.group.epoch();
            let (answer, records) = entry.group.heartbeat(self.now_ms(), beat, &topics, rules)?;
            let (interval_ms, grown) = (rules.heartbeat_interval_ms, entry.group.epoch() != epoch);
            inner.rebalances += u64::from(grown);
            if let Some(opened) = opened {
                self.settle_consumer(inner, name, opened);
            }
            let written = self.save_or_downgrade(inner, name, &records);
            let refused = |error| refuse(error, "the group cannot be stored");
            (answer, interval_ms, written.map_err(refused)?)
        };
        if let Some(written) = written {
            let durable = written.durable().await;
            durable.map_err(|error| refuse(error, "the group cannot be stored"))?;
        }
        Ok((answer, interval_ms))
    }

    /// Makes place for classic members if the group of that name is one of these without members.
    ///
    /// # Errors
    /// INCONSISTENT_GROUP_PROTOCOL when it has members.
    pub(super) fn yield_to_classic(
        &self,
        inner: &mut Inner,
        name: &str,
    ) -> Result<(), ResponseError> {
        let Some(entry) = inner.consumers.groups.get(name) else { return Ok(()) };
        if entry.group.state() != GroupState::Empty {
            return Err(ResponseError::InconsistentGroupProtocol);
        }
        let records = entry.group.tombstones();
        self.save(inner, name, &records)?;
        self.drop_consumer(inner, name);
        Ok(())
    }

    /// Appends what a group has written, after what it could not write before. Up to where the log
    /// must be durable before anybody is answered.
    pub(super) fn save(
        &self,
        inner: &mut Inner,
        name: &str,
        records: &[Record],
    ) -> Result<Option<Appending>, ResponseError> {
        let entry = inner.consumers.groups.get_mut(name).expect("only groups that are there write");
        if entry.group.state() == GroupState::Empty && !records.is_empty() {
            entry.empty_since_ms = self.clock.now_ms();
        }
        entry.unsaved.extend(records.iter().map(|record| record.encode(name)));
        self.schedule_consumer(inner, name);
        let entry = inner.consumers.groups.get_mut(name).expect("it was found above");
        if !entry.unsaved.is_empty() {
            entry.written = Some(self.append(name, &entry.unsaved)?);
            entry.unsaved.clear();
        }
        Ok(entry.written.clone())
    }

    /// As [`Groups::save`], for when members may have gone: those that stay may be a classic group.
    pub(super) fn save_or_downgrade(
        &self,
        inner: &mut Inner,
        name: &str,
        records: &[Record],
    ) -> Result<Option<Appending>, ResponseError> {
        let entry = inner.consumers.groups.get_mut(name).expect("only groups that are there write");
        if !entry.group.is_classic_without("") {
            return self.save(inner, name, records);
        }
        entry.unsaved.extend(records.iter().map(|record| record.encode(name)));
        match self.downgrade(inner, name) {
            Some(written) => Ok(Some(written)),
            None => self.save(inner, name, &[]),
        }
    }

    pub(super) fn drop_consumer(&self, inner: &mut Inner, name: &str) {
        let entry = inner.consumers.groups.remove(name);
        if let Some(due_ms) = entry.and_then(|entry| entry.due_ms) {
            inner.due.remove(&(due_ms, name.to_owned()));
        }
    }

    /// Looks after the deadlines of a group; `false`: it is none of these.
    pub(super) fn tick_consumer(&self, inner: &mut Inner, name: &str, now_ms: i64) -> bool {
        if !inner.consumers.groups.contains_key(name) {
            return false;
        }
        let topics = inner.consumers.look(&self.catalog);
        let Some(entry) = inner.consumers.groups.get_mut(name) else { return false };
        entry.due_ms = None;
        let (dropped, records) = entry.group.tick(now_ms, &topics);
        if !dropped.is_empty() {
            tracing::info!(group = name, members = ?dropped, "members gave no sign of life in time");
            inner.rebalances += 1;
        }
        // What cannot be saved now is saved with the next heartbeat, before it is answered.
        let saved = if dropped.is_empty() {
            self.save(inner, name, &records)
        } else {
            self.save_or_downgrade(inner, name, &records)
        };
        if let Err(error) = saved {
            tracing::error!(group = name, %error, "that members are dropped is not stored yet");
        }
        true
    }

    pub(super) fn schedule_consumer(&self, inner: &mut Inner, name: &str) {
        let Some(entry) = inner.consumers.groups.get_mut(name) else { return };
        let Some(deadline_ms) = entry.group.deadline_ms() else { return };
        if entry.due_ms.is_some_and(|due_ms| due_ms <= deadline_ms) {
            return;
        }
        if let Some(before_ms) = entry.due_ms.replace(deadline_ms) {
            inner.due.remove(&(before_ms, name.to_owned()));
        }
        inner.due.insert((deadline_ms, name.to_owned()));
        if inner.due.first().is_some_and(|(_, first)| first == name) {
            self.earlier.notify_one();
        }
    }

    /// One group as it is now.
    #[must_use]
    pub fn consumer_view(&self, name: &str) -> Option<ConsumerView> {
        let mut inner = self.lock();
        let topics = inner.consumers.look(&self.catalog);
        let Entry { group, empty_since_ms, .. } = inner.consumers.groups.get(name)?;
        let assignor = group.preferred_assignor(&inner.consumers.rules.assignors);
        let (group, empty_since_ms) = (group.clone(), *empty_since_ms);
        Some(ConsumerView { group, topics, assignor, empty_since_ms })
    }

    /// All groups: name, state, number of members.
    #[must_use]
    pub fn consumer_list(&self) -> Vec<(String, GroupState, usize)> {
        let inner = self.lock();
        let groups = inner.consumers.groups.iter();
        groups
            .map(|(name, entry)| (name.clone(), entry.group.state(), entry.group.members().len()))
            .collect()
    }

    /// Whether a member may commit offsets (of that partition), or ask for them. `None`: there is no
    /// such group here.
    #[must_use]
    pub fn check_consumer_offsets(
        &self,
        name: &str,
        member_id: &str,
        epoch: i32,
        partition: Option<&TopicPartition>,
    ) -> Option<Result<(), ResponseError>> {
        let inner = self.lock();
        let group = &inner.consumers.groups.get(name)?.group;
        if epoch < 0 && group.state() == GroupState::Empty {
            return Some(Ok(()));
        }
        Some(group.check_offsets(member_id, epoch, partition))
    }

    /// Forgets a group without members, in memory and in the log. `false`: there is none.
    ///
    /// # Errors
    /// NON_EMPTY_GROUP when it has members; when the log does not take it.
    pub async fn forget_consumer(&self, name: &str) -> Result<bool, ResponseError> {
        let written = {
            let mut inner = self.lock();
            let Some(entry) = inner.consumers.groups.get(name) else { return Ok(false) };
            if entry.group.state() != GroupState::Empty {
                return Err(ResponseError::NonEmptyGroup);
            }
            let records = entry.group.tombstones();
            let written = self.save(&mut inner, name, &records)?;
            self.drop_consumer(&mut inner, name);
            written
        };
        if let Some(written) = written {
            written.durable().await?;
        }
        Ok(true)
    }
}
