//! PURE. How a group comes here, out of its record or out of a group of the other kind, and how it
//! goes there.
//!
//! A group that has members and no leader was made of one whose partitions the broker assigned, and
//! has shared out nothing yet: it begins with a rebalance, also when it is read back.

use std::collections::BTreeMap;

use kafka_protocol::error::ResponseError;

use crate::group::classic::member::Member;
use crate::group::classic::{ClassicGroup, Effect, Joining, State};

impl ClassicGroup {
    /// A group as it was stored. Every member has a whole session to be heard of again.
    #[must_use]
    pub fn restored(
        generation: i32,
        protocol_type: Option<String>,
        protocol: Option<String>,
        leader: Option<String>,
        members: BTreeMap<String, Member>,
        now_ms: i64,
    ) -> ClassicGroup {
        let mut group = ClassicGroup::new();
        group.generation = generation;
        group.protocol_type = protocol_type.filter(|text| !text.is_empty());
        if members.is_empty() {
            return group;
        }
        group.state = State::Stable;
        group.protocol = protocol;
        group.leader = leader;
        for (id, mut member) in members {
            member.session_ends_ms = now_ms + i64::from(member.session_timeout_ms);
            if let Some(instance) = &member.instance_id {
                group.statics.insert(instance.clone(), id.clone());
            }
            group.members.insert(id, member);
        }
        if group.leader.is_none() {
            group.state = State::PreparingRebalance;
            let deadline_ms = now_ms + group.rebalance_timeout_ms();
            group.joining = Some(Joining { deadline_ms, initial: None });
        }
        group
    }

    /// The members that have been told of the group, and may work for it.
    pub fn answered_members(&self) -> impl Iterator<Item = (&String, &Member)> {
        self.members.iter().filter(|(_, member)| !member.is_new)
    }

    /// The group goes: whoever waits is told `error`, and asks again.
    #[must_use]
    pub fn dissolve(mut self, error: ResponseError) -> Vec<Effect> {
        let waiting = self.members.iter_mut();
        let waiting = waiting.map(|(id, it)| (id.clone(), it.joining.take(), it.syncing.take()));
        for (id, joining, syncing) in waiting.collect::<Vec<_>>() {
            self.give_up(joining, syncing, error, &id);
        }
        self.effects
    }
}
