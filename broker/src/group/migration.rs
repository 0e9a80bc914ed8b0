//! PURE. Groups that change from one kind to the other while their members work
//! (`group.consumer.migration.policy`).
//!
//! ```text
//!                a member of the consumer protocol joins
//!   classic ------------------------------------------------> consumer
//!           <------------------------------------------------
//!                the last one of them goes, classic ones stay
//! ```
//!
//! Nobody loses a partition by it, and none gets a second owner: what a member may hold, by what it
//! was given or by what it says it owns, is its own on the other side too. From there the ordinary
//! ways of that kind share out anew. Members keep their generation, which is their epoch: so they
//! are called to join again, and not thrown out.

use std::collections::BTreeMap;

use crate::group::assignment::Assignment;
use crate::group::classic::ClassicGroup;
use crate::group::classic::member::{Member as ClassicMember, choose_protocol};
use crate::group::consumer::group::ConsumerGroup;
use crate::group::consumer::member::{ClassicProfile, Member, Profile, Standing};
use crate::group::consumer::records::{GroupValue, NAME_BYTES_MAX, Record};
use crate::group::consumer::topics::{Partitions, Topics};
use crate::group::subscription::{CONSUMER, Subscription};

/// Which ways groups with members may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// Both.
    Bidirectional,
    /// From classic to consumer.
    Upgrade,
    /// From consumer to classic.
    Downgrade,
    /// None: a group has members of one kind only.
    Disabled,
}

impl Policy {
    /// The policy that the setting names.
    #[must_use]
    pub fn named(name: &str) -> Policy {
        match name.to_ascii_lowercase().as_str() {
            "upgrade" => Policy::Upgrade,
            "downgrade" => Policy::Downgrade,
            "disabled" => Policy::Disabled,
            _ => Policy::Bidirectional,
        }
    }

    /// Whether a classic group may become a consumer group.
    #[must_use]
    pub fn may_upgrade(self) -> bool {
        matches!(self, Policy::Bidirectional | Policy::Upgrade)
    }

    /// Whether a consumer group may become a classic group.
    #[must_use]
    pub fn may_downgrade(self) -> bool {
        matches!(self, Policy::Bidirectional | Policy::Downgrade)
    }
}

/// Why a classic group stays one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Hindrance {
    /// Connect workers, or others that have no partitions.
    #[error("its members are not consumers")]
    NoConsumers,
    /// More members than a consumer group may have.
    #[error("it has {members} members, more than group.consumer.max.size, which is {members_max}")]
    TooLarge {
        /// How many there are.
        members: usize,
        /// How many there may be.
        members_max: usize,
    },
    /// A member speaks the embedded protocol otherwise than we know it.
    #[error("what member {member} subscribed to or was assigned cannot be read")]
    Unreadable {
        /// Who.
        member: String,
    },
    /// An assignor tells members more than partitions, which would be lost.
    #[error("an assignor that adds data of its own to assignments is in use")]
    CustomAssignor,
}

/// The consumer group that a classic group with members becomes. Members that have not had an
/// answer yet are not in it: they know of no group, and join this one.
///
/// # Errors
/// Why it cannot become one.
pub fn upgrade(
    group: &ClassicGroup,
    topics: &Topics,
    members_max: usize,
) -> Result<ConsumerGroup, Hindrance> {
    if group.protocol_type() != Some(CONSUMER) {
        return Err(Hindrance::NoConsumers);
    }
    let members = group.answered_members().count();
    if members > members_max {
        return Err(Hindrance::TooLarge { members, members_max });
    }
    let epoch = group.generation();
    let mut profiles = Vec::new();
    let mut claims = Claims::default();
    for (id, member) in group.answered_members() {
        let (subscription, given) = read(group, id, member)?;
        claims.given.push(topics.partitions_of(&given.partitions));
        claims.owned.push(topics.partitions_of(&subscription.owned));
        profiles.push((id, profile_of(member, subscription)));
    }
    // Nobody knows for which topics the leader shared out: so the next one who looks at them makes a
    // new target.
    let metadata_hash = 0;
    let mut records = vec![Record::Group(Some(GroupValue { epoch, metadata_hash }))];
    records.push(Record::TargetEpoch(Some(epoch)));
    for ((id, profile), held) in profiles.into_iter().zip(claims.settle()) {
        let assigned = held.iter().map(|partition| (*partition, epoch)).collect();
        let standing = Standing { epoch, previous_epoch: epoch, assigned, ..Standing::default() };
        records.push(Record::Member(id.clone(), Some(profile)));
        records.push(Record::Target(id.clone(), Some(held)));
        records.push(Record::Standing(id.clone(), Some(standing)));
    }
    Ok(ConsumerGroup::replay(&records))
}

fn read(
    group: &ClassicGroup,
    id: &str,
    member: &ClassicMember,
) -> Result<(Subscription, Assignment), Hindrance> {
    let unreadable = || Hindrance::Unreadable { member: id.to_owned() };
    // Kept as the key of records, whose names are bounded.
    if id.len() > NAME_BYTES_MAX {
        return Err(unreadable());
    }
    let said = member.said_under(group.protocol()).ok_or_else(unreadable)?;
    let subscription = Subscription::parse(&said).ok_or_else(unreadable)?;
    let given = Assignment::parse(&member.assignment).ok_or_else(unreadable)?;
    if given.user_data_bytes > 0 {
        return Err(Hindrance::CustomAssignor);
    }
    Ok((subscription, given))
}

fn profile_of(member: &ClassicMember, subscription: Subscription) -> Profile {
    let classic = ClassicProfile {
        session_timeout_ms: member.session_timeout_ms,
        protocols: member.protocols.clone(),
    };
    Profile {
        instance_id: member.instance_id.clone(),
        rack_id: subscription.rack_id,
        client_id: member.client_id.clone(),
        client_host: member.client_host.clone(),
        topic_names: subscription.topics,
        topic_regex: None,
        rebalance_timeout_ms: member.rebalance_timeout_ms,
        assignor: None,
        classic: Some(classic),
    }
}

/// What the members of a classic group may hold, in their order. A leader is free to give one
/// partition to two members, and what a member said it owns may be another's by now: the first one
/// to whom it was given has it, else the first one who said so.
#[derive(Default)]
struct Claims {
    given: Vec<Partitions>,
    owned: Vec<Partitions>,
}

impl Claims {
    fn settle(self) -> Vec<Partitions> {
        let mut taken = Partitions::new();
        let mut held = vec![Partitions::new(); self.given.len()];
        for claims in [self.given, self.owned] {
            for (held, claimed) in held.iter_mut().zip(claims) {
                held.extend(claimed.into_iter().filter(|partition| taken.insert(*partition)));
            }
        }
        held
    }
}

/// The classic group that a consumer group becomes when only classic members are left in it; it
/// begins with a rebalance. `None`: it stays what it is, for it has other members, or none, or more
/// than a classic group may have.
#[must_use]
pub fn downgrade(
    group: &ConsumerGroup,
    topics: &Topics,
    members_max: usize,
    now_ms: i64,
) -> Option<ClassicGroup> {
    let members = group.members();
    if members.is_empty() || members.len() > members_max {
        return None;
    }
    // The group's own epoch may have grown since, and nobody was told: the members' generation is
    // the one that they know.
    let generation = members.values().map(|member| member.standing.epoch).max()?;
    let mut classic = BTreeMap::new();
    for (id, member) in members {
        classic.insert(id.clone(), classic_member(member)?);
    }
    let protocol = choose_protocol(classic.values())?;
    for (id, member) in &mut classic {
        let version = Subscription::parse(&member.metadata(&protocol))?.version;
        let held: Partitions = members[id].standing.held().copied().collect();
        member.assignment = Assignment::encode(version, ConsumerGroup::named(&held, topics).iter());
    }
    let kind = Some(CONSUMER.to_owned());
    Some(ClassicGroup::restored(generation, kind, Some(protocol), None, classic, now_ms))
}

fn classic_member(member: &Member) -> Option<ClassicMember> {
    let profile = &member.profile;
    let classic = profile.classic.as_ref()?;
    Some(ClassicMember::restored(
        profile.instance_id.clone(),
        (profile.client_id.clone(), profile.client_host.clone()),
        (classic.session_timeout_ms, profile.rebalance_timeout_ms),
        classic.protocols.clone(),
        bytes::Bytes::new(),
    ))
}

#[cfg(test)]
mod tests;
