//! What the members of a group shall own, made anew for each epoch of the group. PURE.

use std::collections::{BTreeMap, BTreeSet};

use crate::group::consumer::assignor::{Assignor, Candidate, assign};
use crate::group::consumer::group::ConsumerGroup;
use crate::group::consumer::heartbeat::Rules;
use crate::group::consumer::member::Member;
use crate::group::consumer::records::Record;
use crate::group::consumer::topics::Topics;

impl ConsumerGroup {
    /// Makes the target assignment if the group has changed since it was made.
    pub(super) fn renew_target(
        &mut self,
        topics: &Topics,
        rules: &Rules,
        records: &mut Vec<Record>,
    ) {
        if self.epoch <= self.target_epoch {
            return;
        }
        let mut shapes = BTreeMap::new();
        let mut candidates = BTreeMap::new();
        for (id, member) in &self.members {
            let found = self.topics_of(member).filter_map(|name| topics.named(name));
            let mut wanted = BTreeSet::new();
            for shape in found {
                shapes.insert(shape.id, shape.partition_count);
                wanted.insert(shape.id);
            }
            let previous = self.targets.get(id).into_iter().flatten();
            // A partition that is gone with its topic is nobody's any more.
            let previous =
                previous.filter(|one| shapes.get(&one.topic).is_some_and(|n| one.index < *n));
            let candidate = Candidate {
                instance_id: member.profile.instance_id.clone(),
                topics: wanted,
                previous: previous.copied().collect(),
            };
            candidates.insert(id.clone(), candidate);
        }
        let assignor = self.preferred_assignor(&rules.assignors);
        for (id, share) in assign(assignor, &candidates, &shapes) {
            if self.targets.get(&id) != Some(&share) {
                self.apply(Record::Target(id, Some(share)), records);
            }
        }
        self.apply(Record::TargetEpoch(Some(self.epoch)), records);
    }

    /// The assignor that most members wish for; of equals the one that the broker names first.
    pub fn preferred_assignor(&self, assignors: &[Assignor]) -> Assignor {
        let wishes = |assignor: &Assignor| {
            let named =
                |member: &&Member| member.profile.assignor.as_deref() == Some(assignor.name());
            self.members.values().filter(named).count()
        };
        let best = assignors.iter().rev().max_by_key(|assignor| wishes(assignor));
        best.copied().unwrap_or(Assignor::Uniform)
    }
}
