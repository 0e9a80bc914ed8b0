//! A consumer group as its records tell it. PURE.
//!
//! All change goes through [`ConsumerGroup::take`], for records that are written now as for those
//! that are read back. Who holds a partition (owns it, or has not let go of it yet) is in one index;
//! giving a partition to a second holder is a mistake of ours, which ends the process.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::group::consumer::member::Member;
use crate::group::consumer::records::{GroupValue, Record, Resolved};
use crate::group::consumer::subscription::Pattern;
use crate::group::consumer::topics::{Partitions, TopicPartition, Topics};

/// What a group does, in the words of ListGroups and ConsumerGroupDescribe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GroupState {
    /// It has no members.
    Empty,
    /// Its target is to be made anew at the next heartbeat.
    Assigning,
    /// Members are on their way to the target.
    Reconciling,
    /// Every member owns its target.
    Stable,
}

impl GroupState {
    /// Kafka's word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Empty => "Empty",
            Self::Assigning => "Assigning",
            Self::Reconciling => "Reconciling",
            Self::Stable => "Stable",
        }
    }
}

/// An expression to which members subscribed.
#[derive(Clone, Debug)]
pub(super) struct Expression {
    /// `None`: it was read back, and could not be compiled. It matches nothing more.
    pub(super) pattern: Option<Pattern>,
    pub(super) resolved: Resolved,
}

/// A group with its members.
#[derive(Clone, Debug, Default)]
pub struct ConsumerGroup {
    pub(super) epoch: i32,
    pub(super) metadata_hash: i64,
    pub(super) target_epoch: i32,
    pub(super) members: BTreeMap<String, Member>,
    pub(super) instances: BTreeMap<String, String>,
    pub(super) targets: BTreeMap<String, Partitions>,
    pub(super) expressions: BTreeMap<String, Expression>,
    holders: HashMap<TopicPartition, String>,
    /// The version of the topics that was looked at last.
    pub(super) seen_version: Option<u64>,
}

impl ConsumerGroup {
    /// A group out of its records, in the order in which they were written. Its members have their
    /// whole session before them when [`ConsumerGroup::restart`] is called.
    pub fn replay<'a>(records: impl IntoIterator<Item = &'a Record>) -> Self {
        let mut group = Self::default();
        for record in records {
            group.take(record.clone());
        }
        group.settle();
        group
    }

    /// As a record tells it. For a group that is being read back: call [`ConsumerGroup::settle`]
    /// when all are read.
    pub fn take(&mut self, record: Record) {
        match record {
            Record::Group(value) => {
                let GroupValue { epoch, metadata_hash } =
                    value.unwrap_or(GroupValue { epoch: 0, metadata_hash: 0 });
                self.epoch = epoch;
                self.metadata_hash = metadata_hash;
            }
            Record::PartitionMetadata => {}
            Record::TargetEpoch(epoch) => self.target_epoch = epoch.unwrap_or(0),
            Record::Target(member, Some(target)) => drop(self.targets.insert(member, target)),
            Record::Target(member, None) => drop(self.targets.remove(&member)),
            Record::Member(id, Some(profile)) => {
                if let Some(instance) = &profile.instance_id {
                    self.instances.insert(instance.clone(), id.clone());
                }
                self.members.entry(id).or_default().profile = profile;
            }
            Record::Member(id, None) => {
                let member = self.members.remove(&id);
                let instance = member.and_then(|member| member.profile.instance_id);
                if let Some(instance) = instance
                    && self.instances.get(&instance) == Some(&id)
                {
                    self.instances.remove(&instance);
                }
            }
            Record::Standing(id, Some(standing)) => {
                self.members.entry(id).or_default().standing = standing;
            }
            Record::Standing(id, None) => {
                if let Some(member) = self.members.get_mut(&id) {
                    member.standing = Default::default();
                }
            }
            Record::Pattern(text, Some(resolved)) => {
                let old = self.expressions.remove(&text);
                let pattern = old.map_or_else(|| Pattern::new(&text).ok(), |old| old.pattern);
                self.expressions.insert(text, Expression { pattern, resolved });
            }
            Record::Pattern(text, None) => drop(self.expressions.remove(&text)),
        }
    }

    /// Finds out who holds what, after records were read back.
    pub fn settle(&mut self) {
        self.holders.clear();
        for (id, member) in &self.members {
            for partition in member.standing.held() {
                self.holders.insert(*partition, id.clone());
            }
        }
    }

    /// Writes a record: into `records`, and into the group.
    pub(super) fn apply(&mut self, record: Record, records: &mut Vec<Record>) {
        if let Record::Standing(id, standing) = &record {
            self.move_holds(id, standing.iter().flat_map(|standing| standing.held()).copied());
        }
        records.push(record.clone());
        self.take(record);
    }

    fn move_holds(&mut self, id: &str, held: impl Iterator<Item = TopicPartition>) {
        if let Some(member) = self.members.get(id) {
            for partition in member.standing.held() {
                if self.holders.get(partition).is_some_and(|holder| holder == id) {
                    self.holders.remove(partition);
                }
            }
        }
        for partition in held {
            let other = self.holders.insert(partition, id.to_owned());
            assert!(other.is_none(), "{partition:?} is given to {id} while {other:?} holds it");
        }
    }

    /// Whether a member other than `id` holds the partition.
    pub(super) fn is_held_by_other(&self, id: &str, partition: &TopicPartition) -> bool {
        self.holders.get(partition).is_some_and(|holder| holder != id)
    }

    /// Grows with each change of members, subscriptions and topics.
    pub fn epoch(&self) -> i32 {
        self.epoch
    }

    /// For which epoch the target assignment was made.
    pub fn target_epoch(&self) -> i32 {
        self.target_epoch
    }

    /// The members by id.
    pub fn members(&self) -> &BTreeMap<String, Member> {
        &self.members
    }

    /// What a member shall own.
    pub fn target(&self, member: &str) -> Option<&Partitions> {
        self.targets.get(member)
    }

    /// What the group does.
    pub fn state(&self) -> GroupState {
        let is_there = |member: &Member| {
            member.standing.epoch == self.target_epoch
                && member.standing.state == super::member::State::Stable
        };
        if self.members.is_empty() {
            GroupState::Empty
        } else if self.epoch > self.target_epoch {
            GroupState::Assigning
        } else if self.members.values().all(is_there) {
            GroupState::Stable
        } else {
            GroupState::Reconciling
        }
    }

    /// All topics to which members subscribed, by name or by an expression.
    pub fn subscribed_topics(&self) -> BTreeSet<String> {
        self.members.values().flat_map(|member| self.topics_of(member)).cloned().collect()
    }

    /// The topics to which a member subscribed, by name or by an expression.
    pub(super) fn topics_of<'a>(
        &'a self,
        member: &'a Member,
    ) -> impl Iterator<Item = &'a String> + 'a {
        let expression =
            member.profile.topic_regex.as_ref().and_then(|text| self.expressions.get(text));
        let matched = expression.into_iter().flat_map(|expression| &expression.resolved.topics);
        member.profile.topic_names.iter().chain(matched)
    }

    /// The names of partitions' topics with their indexes; topics that are gone are left out.
    pub fn named(partitions: &Partitions, topics: &Topics) -> BTreeMap<String, Vec<i32>> {
        let by_topic = super::topics::by_topic(partitions);
        let named = by_topic
            .into_iter()
            .filter_map(|(id, indexes)| Some((topics.name_of(&id)?.to_owned(), indexes)));
        named.collect()
    }

    /// The records that take the group back.
    pub fn tombstones(&self) -> Vec<Record> {
        let mut records = Vec::new();
        let ids = || self.members.keys().cloned();
        records.extend(ids().map(|id| Record::Standing(id, None)));
        records.extend(self.targets.keys().cloned().map(|id| Record::Target(id, None)));
        records.push(Record::TargetEpoch(None));
        records.extend(self.expressions.keys().cloned().map(|text| Record::Pattern(text, None)));
        records.extend(ids().map(|id| Record::Member(id, None)));
        records.push(Record::Group(None));
        records
    }

    /// The records that hold the whole group.
    pub fn records(&self) -> Vec<Record> {
        let mut records = Vec::new();
        for (id, member) in &self.members {
            records.push(Record::Member(id.clone(), Some(member.profile.clone())));
        }
        for (text, expression) in &self.expressions {
            records.push(Record::Pattern(text.clone(), Some(expression.resolved.clone())));
        }
        let GroupValue { epoch, metadata_hash } =
            GroupValue { epoch: self.epoch, metadata_hash: self.metadata_hash };
        records.push(Record::Group(Some(GroupValue { epoch, metadata_hash })));
        for (id, target) in &self.targets {
            records.push(Record::Target(id.clone(), Some(target.clone())));
        }
        records.push(Record::TargetEpoch(Some(self.target_epoch)));
        for (id, member) in &self.members {
            records.push(Record::Standing(id.clone(), Some(member.standing.clone())));
        }
        records
    }
}
