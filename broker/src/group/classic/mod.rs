//! PURE. A classic consumer group: who is in it, which generation it is in, who waits for what.
//!
//! ```text
//!            join                 all have joined            leader's sync is stored
//!   Empty ---------> Preparing -----------------> Completing ------------------------> Stable
//!     ^              Rebalance <----------------- Rebalance                              |
//!     |                  ^    join, leave, expiry                                        |
//!     +--- nobody left --+---------------------------------------------------------------+
//! ```
//!
//! Events come in with the time (a clock that only goes forward, in ms), what follows goes out as
//! [`Effect`]s: answers by ticket, and the wish to store the group. Nothing here waits; when
//! something is due is told by [`ClassicGroup::deadline_ms`]. The behaviour is Kafka's, down to its
//! error codes, since clients are built on it.

mod handover;
mod join;
pub mod member;
mod rebalance;
mod sync;

use std::collections::BTreeMap;

use bytes::Bytes;
use kafka_protocol::error::ResponseError;

use crate::group::classic::member::{Member, choose_protocol};

/// Names an answer that somebody waits for.
pub type Ticket = u64;

/// Where a group stands.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// It has no members; perhaps it has offsets.
    Empty,
    /// It waits for its members to join the next generation.
    PreparingRebalance,
    /// It waits for the leader to share out the work.
    CompletingRebalance,
    /// Its members work.
    Stable,
}

impl State {
    /// As Kafka spells it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            State::Empty => "Empty",
            State::PreparingRebalance => "PreparingRebalance",
            State::CompletingRebalance => "CompletingRebalance",
            State::Stable => "Stable",
        }
    }
}

/// What holds for all groups.
#[derive(Copy, Clone, Debug)]
pub struct Rules {
    /// How long the first generation waits for more members (`group.initial.rebalance.delay.ms`).
    pub initial_delay_ms: i64,
    /// Most members (`group.max.size`).
    pub size_max: usize,
}

/// A wish to join.
#[derive(Clone, Debug)]
pub struct JoinRequest {
    /// Empty: it has no id yet.
    pub member_id: String,
    /// The id that it gets if it has none: chance comes from outside.
    pub new_member_id: String,
    /// Its name as a static member.
    pub instance_id: Option<String>,
    /// What the client calls itself.
    pub client_id: String,
    /// Where it comes from.
    pub client_host: String,
    /// See [`Member::session_timeout_ms`].
    pub session_timeout_ms: i32,
    /// See [`Member::rebalance_timeout_ms`].
    pub rebalance_timeout_ms: i32,
    /// `consumer`, `connect`, or whatever the members agree on.
    pub protocol_type: String,
    /// What it can do, the best first.
    pub protocols: Vec<(String, Bytes)>,
    /// Whether it must come back with the id that it is given (version 4 and later, KIP-394).
    pub requires_known_id: bool,
    /// Whether it understands that a static leader need not share out again (version 9, KIP-814).
    pub can_skip_assignment: bool,
}

/// The answer to a wish to join.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinAnswer {
    /// Why not.
    pub error: Option<ResponseError>,
    /// The generation; -1 with an error.
    pub generation: i32,
    /// The protocol type of the group.
    pub protocol_type: Option<String>,
    /// The protocol that was chosen.
    pub protocol: Option<String>,
    /// Who shares out the work.
    pub leader: String,
    /// Whether the leader is to leave everything as it is.
    pub skip_assignment: bool,
    /// The member's own id.
    pub member_id: String,
    /// For the leader only: everybody, with what they said.
    pub members: Vec<JoinedMember>,
}

impl JoinAnswer {
    /// A refusal.
    #[must_use]
    pub fn refused(error: ResponseError, member_id: impl Into<String>) -> JoinAnswer {
        JoinAnswer {
            error: Some(error),
            generation: -1,
            protocol_type: None,
            protocol: None,
            leader: String::new(),
            skip_assignment: false,
            member_id: member_id.into(),
            members: Vec::new(),
        }
    }
}

/// A member as the leader is told of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinedMember {
    /// Its id.
    pub member_id: String,
    /// Its name as a static member.
    pub instance_id: Option<String>,
    /// What it said under the chosen protocol.
    pub metadata: Bytes,
}

/// A wish to know one's work; the leader's says everybody's.
#[derive(Clone, Debug)]
pub struct SyncRequest {
    /// Who asks.
    pub member_id: String,
    /// Its name as a static member.
    pub instance_id: Option<String>,
    /// The generation that it has joined.
    pub generation: i32,
    /// What it takes for the protocol type; checked if given (version 5).
    pub protocol_type: Option<String>,
    /// What it takes for the protocol; checked if given (version 5).
    pub protocol: Option<String>,
    /// By member id: its work. From the leader only.
    pub assignments: Vec<(String, Bytes)>,
}

/// The answer to a wish to know one's work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyncAnswer {
    /// Why not.
    pub error: Option<ResponseError>,
    /// The protocol type of the group.
    pub protocol_type: Option<String>,
    /// The protocol of the generation.
    pub protocol: Option<String>,
    /// The work.
    pub assignment: Bytes,
}

impl SyncAnswer {
    /// A refusal.
    #[must_use]
    pub fn refused(error: ResponseError) -> SyncAnswer {
        SyncAnswer {
            error: Some(error),
            protocol_type: None,
            protocol: None,
            assignment: Bytes::new(),
        }
    }
}

/// What follows from an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// This JoinGroup is answered.
    Joined(Ticket, JoinAnswer),
    /// This SyncGroup is answered.
    Synced(Ticket, SyncAnswer),
    /// The group as it is now shall be stored; then [`ClassicGroup::stored`] shall be told.
    Store,
}

/// A group.
#[derive(Clone, Debug)]
pub struct ClassicGroup {
    state: State,
    generation: i32,
    protocol_type: Option<String>,
    protocol: Option<String>,
    leader: Option<String>,
    members: BTreeMap<String, Member>,
    /// Static members: instance id to member id.
    statics: BTreeMap<String, String>,
    /// Ids that were given out and have not come back, with the end of their patience.
    pending: BTreeMap<String, i64>,
    /// While it prepares.
    joining: Option<Joining>,
    /// Until when members may take to sync.
    sync_deadline_ms: Option<i64>,
    /// Whether the leader's assignment is being stored.
    is_storing: bool,
    effects: Vec<Effect>,
}

/// How long a rebalance waits.
#[derive(Copy, Clone, Debug)]
struct Joining {
    deadline_ms: i64,
    /// The first generation waits for more, in steps, while new members arrive.
    initial: Option<InitialWait>,
}

#[derive(Copy, Clone, Debug)]
struct InitialWait {
    step_ms: i64,
    /// What the rebalance timeout leaves after this step.
    remaining_ms: i64,
    has_new_member: bool,
}

impl Default for ClassicGroup {
    fn default() -> Self {
        Self::new()
    }
}

impl ClassicGroup {
    /// A group without members.
    #[must_use]
    pub fn new() -> ClassicGroup {
        ClassicGroup {
            state: State::Empty,
            generation: 0,
            protocol_type: None,
            protocol: None,
            leader: None,
            members: BTreeMap::new(),
            statics: BTreeMap::new(),
            pending: BTreeMap::new(),
            joining: None,
            sync_deadline_ms: None,
            is_storing: false,
            effects: Vec::new(),
        }
    }

    /// Where it stands.
    #[must_use]
    pub fn state(&self) -> State {
        self.state
    }

    /// The generation; 0: there was none yet.
    #[must_use]
    pub fn generation(&self) -> i32 {
        self.generation
    }

    /// What kind of members it has.
    #[must_use]
    pub fn protocol_type(&self) -> Option<&str> {
        self.protocol_type.as_deref()
    }

    /// The protocol of this generation.
    #[must_use]
    pub fn protocol(&self) -> Option<&str> {
        self.protocol.as_deref()
    }

    /// Who shares out the work.
    #[must_use]
    pub fn leader(&self) -> Option<&str> {
        self.leader.as_deref()
    }

    /// Its members by id.
    #[must_use]
    pub fn members(&self) -> &BTreeMap<String, Member> {
        &self.members
    }

    /// Whether it has no members and expects none: nothing would be lost if it were forgotten.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.state == State::Empty && self.pending.is_empty()
    }

    /// What has followed from the events so far.
    pub fn take_effects(&mut self) -> Vec<Effect> {
        std::mem::take(&mut self.effects)
    }

    /// When [`ClassicGroup::tick`] has something to do next.
    #[must_use]
    pub fn deadline_ms(&self) -> Option<i64> {
        let sessions = self.members.values().filter(|member| !member.is_waiting());
        let sessions = sessions.map(|member| member.session_ends_ms);
        let joining = self.joining.iter().map(|joining| joining.deadline_ms);
        let pending = self.pending.values().copied();
        sessions.chain(joining).chain(pending).chain(self.sync_deadline_ms).min()
    }

    /// Whether a request may commit offsets, and the member's session goes on.
    ///
    /// A generation of -1 and no member id is an admin's or a simple consumer's: only while there
    /// are no members. Within a transaction a generation of -1 is checked no further (KIP-447).
    ///
    /// # Errors
    /// The code for the client.
    pub fn check_commit(
        &mut self,
        now_ms: i64,
        member_id: &str,
        instance_id: Option<&str>,
        generation: i32,
        is_transactional: bool,
    ) -> Result<(), ResponseError> {
        let names_nobody = member_id.is_empty() && instance_id.is_none();
        if generation < 0 && (self.state == State::Empty || is_transactional && names_nobody) {
            return Ok(());
        }
        self.check_member(member_id, instance_id)?;
        if generation != self.generation && !(is_transactional && generation < 0) {
            return Err(ResponseError::IllegalGeneration);
        }
        if self.state == State::CompletingRebalance && !is_transactional {
            return Err(ResponseError::RebalanceInProgress);
        }
        self.renew(now_ms, member_id);
        Ok(())
    }

    /// Whether that is a member, under its instance id if it has one.
    fn check_member(&self, member_id: &str, instance: Option<&str>) -> Result<(), ResponseError> {
        match instance {
            Some(instance) => match self.statics.get(instance) {
                None => Err(ResponseError::UnknownMemberId),
                Some(current) if current != member_id => Err(ResponseError::FencedInstanceId),
                Some(_) => Ok(()),
            },
            None if self.members.contains_key(member_id) => Ok(()),
            None => Err(ResponseError::UnknownMemberId),
        }
    }

    fn check_generation(&self, generation: i32) -> Result<(), ResponseError> {
        if generation == self.generation { Ok(()) } else { Err(ResponseError::IllegalGeneration) }
    }

    /// The member was heard of.
    fn renew(&mut self, now_ms: i64, member_id: &str) {
        if let Some(member) = self.members.get_mut(member_id) {
            member.session_ends_ms = now_ms + i64::from(member.session_timeout_ms);
        }
    }

    fn choose_protocol(&self) -> Option<String> {
        choose_protocol(self.members.values())
    }

    /// Whether all members agree; for the tests of what must always hold.
    #[cfg(test)]
    pub(super) fn check_invariants(&self) {
        assert_eq!(self.state == State::Empty, self.members.is_empty(), "{self:?}");
        assert_eq!(self.state == State::PreparingRebalance, self.joining.is_some(), "{self:?}");
        for (instance, id) in &self.statics {
            assert_eq!(self.members[id].instance_id.as_ref(), Some(instance));
        }
        let static_count = self.members.values().filter(|it| it.instance_id.is_some()).count();
        assert_eq!(static_count, self.statics.len());
        if let Some(leader) = &self.leader {
            assert!(self.members.contains_key(leader), "{self:?}");
        }
        assert!(self.pending.keys().all(|id| !self.members.contains_key(id)));
        if matches!(self.state, State::CompletingRebalance | State::Stable) {
            let protocol = self.protocol.as_deref().expect("a generation has a protocol");
            assert!(self.members.values().all(|member| member.supports(protocol)));
            assert!(self.leader.is_some());
            assert!(self.members.values().all(|member| member.joining.is_none()));
        }
        if self.state == State::Stable {
            assert!(self.members.values().all(|member| member.syncing.is_none()));
        }
    }
}

#[cfg(test)]
mod tests;
