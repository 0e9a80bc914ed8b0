//! Classic members in consumer groups, and groups that change their kind; under the one lock.
//!
//! A change of kind is one batch in the log: what takes the one group back, and what makes the
//! other. If the log does not take it, a classic group stays one, and a consumer group stays one
//! until the next event.

use std::sync::Arc;

use kafka_protocol::error::ResponseError;

use crate::group::classic::{JoinAnswer, JoinRequest, State, SyncAnswer, SyncRequest};
use crate::group::consumer::heartbeat::Refused;
use crate::group::consumer::member::JOIN_EPOCH;
use crate::group::consumer::topics::Topics;
use crate::group::coordinator::consumer::{self, Consumers};
use crate::group::coordinator::members::Answering;
use crate::group::coordinator::{Entry, Groups, Inner};
use crate::group::group_records;
use crate::group::internal::Appending;
use crate::group::migration::{Policy, downgrade, upgrade};

impl Groups {
    /// What a member of the consumer protocol comes to when there is no consumer group of that name:
    /// a new group, or the classic one as a consumer group, with what puts it into the log.
    pub(super) fn open_consumer(
        &self,
        inner: &mut Inner,
        name: &str,
        epoch: i32,
    ) -> Result<consumer::Entry, Refused> {
        let refuse = |error, message| Err(Refused { error, message });
        if epoch != JOIN_EPOCH {
            let message = format!("Group {name} is not known.");
            return refuse(ResponseError::GroupIdNotFound, message);
        }
        let topics = inner.consumers.look(&self.catalog);
        let Some(Entry { group, is_stored, .. }) = inner.groups.get(name) else {
            if inner.groups.len() + inner.consumers.groups_len() >= self.groups_max {
                let message = format!("There are {} groups already.", self.groups_max);
                return refuse(ResponseError::GroupMaxSizeReached, message);
            }
            return Ok(consumer::Entry::default());
        };
        let mut opened = consumer::Entry::default();
        if *is_stored {
            opened.unsaved.push((group_records::encode_key(name), None));
        }
        if group.state() == State::Empty {
            return Ok(opened);
        }
        if !self.policy.may_upgrade() {
            let message = format!(
                "Group {name} is a classic group with members, and group.consumer.migration.policy \
                 does not let it change."
            );
            return refuse(ResponseError::GroupIdNotFound, message);
        }
        let rules = &inner.consumers.rules;
        match upgrade(group, &topics, rules.members_max) {
            Ok(upgraded) => {
                opened.unsaved.extend(upgraded.records().iter().map(|record| record.encode(name)));
                opened.group = upgraded;
                opened.group.restart(self.now_ms(), rules);
                Ok(opened)
            }
            Err(hindrance) => {
                let message = format!("Group {name} cannot become a consumer group: {hindrance}.");
                refuse(ResponseError::GroupIdNotFound, message)
            }
        }
    }

    /// A consumer group takes its place among the groups, and that of the classic group of its name.
    pub(super) fn settle_consumer(&self, inner: &mut Inner, name: &str, opened: consumer::Entry) {
        if let Some(classic) = inner.take_out(name) {
            let members = classic.group.members().len();
            tracing::info!(group = name, members, "a classic group becomes a consumer group");
            for effect in classic.group.dissolve(ResponseError::RebalanceInProgress) {
                inner.answer(effect);
            }
        }
        inner.consumers.groups.insert(name.to_owned(), opened);
    }

    /// Makes a consumer group a classic one if it may be one: none but classic members are left.
    /// What it has not saved is saved with that. `None`: it stays what it is.
    pub(super) fn downgrade(&self, inner: &mut Inner, name: &str) -> Option<Appending> {
        if !self.policy.may_downgrade() {
            return None;
        }
        let topics = inner.consumers.look(&self.catalog);
        let entry = inner.consumers.groups.get(name)?;
        let group = downgrade(&entry.group, &topics, self.rules.size_max, self.now_ms())?;
        let state_since_ms = self.clock.now_ms();
        let mut lines = entry.unsaved.clone();
        lines.extend(entry.group.tombstones().iter().map(|record| record.encode(name)));
        let value = group_records::encode(&group, state_since_ms);
        lines.push((group_records::encode_key(name), Some(value)));
        // What hinders it is logged; the consumer group works on with classic members only.
        let written = self.append(name, &lines).ok()?;
        let members = group.members().len();
        tracing::info!(group = name, members, "a consumer group becomes a classic group");
        self.drop_consumer(inner, name);
        let entry = Entry { group, state_since_ms, due_ms: None, is_stored: true };
        inner.groups.insert(name.to_owned(), entry);
        self.schedule(inner, name);
        Some(written)
    }

    /// The topics, for who asks for a consumer group. `None`: there is none of that name.
    fn topics_for(&self, inner: &mut Inner, name: &str) -> Option<Arc<Topics>> {
        let is_there = inner.consumers.groups.contains_key(name);
        is_there.then(|| inner.consumers.look(&self.catalog))
    }

    /// A classic member joins a consumer group. `None`: there is no such group, or no longer one.
    pub(super) fn join_consumer(
        &self,
        inner: &mut Inner,
        name: &str,
        request: &JoinRequest,
    ) -> Option<Answering<JoinAnswer>> {
        let refuse = |error| Box::new(JoinAnswer::refused(error, request.member_id.as_str()));
        match self.make_way(inner, name, request).map_err(refuse) {
            Ok(true) => {}
            Ok(false) => return None,
            Err(refused) => return Some(Answering::Now(*refused, None)),
        }
        let topics = inner.consumers.look(&self.catalog);
        let Consumers { groups, rules, .. } = &mut inner.consumers;
        let group = &mut groups.get_mut(name)?.group;
        let admission = match group.admit_classic(request, rules) {
            Ok(admission) => admission,
            Err(refused) => return Some(Answering::Now(*refused, None)),
        };
        let epoch = group.epoch();
        let (answer, records) =
            group.join_classic(self.now_ms(), request, admission, &topics, rules);
        inner.rebalances += u64::from(group.epoch() != epoch);
        Some(match self.save(inner, name, &records) {
            Ok(written) => Answering::Now(answer, written),
            Err(error) => Answering::Now(*refuse(error), None),
        })
    }

    /// Before a classic member joins: a consumer group without members goes, and one that would have
    /// none but classic members becomes a classic group first. Whether there is a consumer group of
    /// that name still.
    fn make_way(
        &self,
        inner: &mut Inner,
        name: &str,
        request: &JoinRequest,
    ) -> Result<bool, ResponseError> {
        let Some(topics) = self.topics_for(inner, name) else { return Ok(false) };
        let Consumers { groups, rules, .. } = &mut inner.consumers;
        let Some(entry) = groups.get_mut(name) else { return Ok(false) };
        if entry.group.members().is_empty() {
            return self.yield_to_classic(inner, name).map(|()| false);
        }
        if self.policy == Policy::Disabled && !entry.group.is_guest(request) {
            return Err(ResponseError::InconsistentGroupProtocol);
        }
        // Whoever is refused changes nothing.
        let Ok(admission) = entry.group.admit_classic(request, rules) else { return Ok(true) };
        let successor_of = admission.successor_of();
        if !self.policy.may_downgrade() || !entry.group.is_classic_without(successor_of) {
            return Ok(true);
        }
        if entry.group.members().get(successor_of).is_some_and(|member| !member.is_classic()) {
            let records = entry.group.dismiss(successor_of.to_owned(), &topics);
            entry.unsaved.extend(records.iter().map(|record| record.encode(name)));
        }
        if entry.group.members().is_empty() {
            return self.yield_to_classic(inner, name).map(|()| false);
        }
        Ok(self.downgrade(inner, name).is_none())
    }

    /// A classic member of a consumer group asks what it owns. `None`: there is no such group.
    pub(super) fn sync_consumer(
        &self,
        inner: &mut Inner,
        name: &str,
        request: &SyncRequest,
    ) -> Option<Answering<SyncAnswer>> {
        let topics = self.topics_for(inner, name)?;
        let entry = inner.consumers.groups.get_mut(name)?;
        let answer = entry.group.sync_classic(self.now_ms(), request, &topics);
        let written = entry.written.clone();
        self.schedule_consumer(inner, name);
        Some(Answering::Now(answer.unwrap_or_else(SyncAnswer::refused), written))
    }

    /// A classic member of a consumer group says that it lives. `None`: there is no such group.
    pub(super) fn beat_consumer(
        &self,
        inner: &mut Inner,
        name: &str,
        member_id: &str,
        instance_id: Option<&str>,
        generation: i32,
    ) -> Option<Result<(), ResponseError>> {
        let topics = self.topics_for(inner, name)?;
        let group = &mut inner.consumers.groups.get_mut(name)?.group;
        let (beaten, records) =
            group.beat_classic(self.now_ms(), member_id, instance_id, generation, &topics);
        if let Err(error) = self.save(inner, name, &records) {
            tracing::error!(group = name, %error, "that topics have changed is not stored yet");
        }
        Some(beaten)
    }

    /// A classic member of a consumer group goes. `None`: there is no such group.
    pub(super) fn leave_consumer(
        &self,
        inner: &mut Inner,
        name: &str,
        member_id: &str,
        instance_id: Option<&str>,
    ) -> Option<Result<(), ResponseError>> {
        let topics = self.topics_for(inner, name)?;
        let group = &mut inner.consumers.groups.get_mut(name)?.group;
        Some(group.leave_classic(member_id, instance_id, &topics).and_then(|records| {
            inner.rebalances += 1;
            self.save_or_downgrade(inner, name, &records).map(drop)
        }))
    }
}
