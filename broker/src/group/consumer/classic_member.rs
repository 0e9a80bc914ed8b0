//! Members of a consumer group that speak the classic protocol (KIP-848: online migration). PURE.
//!
//! ```text
//!               JoinGroup: the step to the target        SyncGroup: what it owns now
//!   called ------------------------------------> joined -----------------------------> working
//!     ^                                                                                   |
//!     +------ Heartbeat: REBALANCE_IN_PROGRESS, for the group's epoch has grown, or ------+
//!             it must let go of partitions, or what it waited for is free
//! ```
//!
//! The generation of such a member is its epoch. It is told of no leader, so it shares out nothing
//! and asks at once. What it owns while it joins stands in its subscription: a member that lets go
//! of all before it joins is given its target without a second round. It has as long as its rebalance
//! timeout says to come back when it is called, and to ask for its work when it has joined.

use kafka_protocol::ResponseError;

use crate::group::assignment::Assignment;
use crate::group::classic::{JoinAnswer, JoinRequest, SyncAnswer, SyncRequest};
use crate::group::consumer::group::ConsumerGroup;
use crate::group::consumer::heartbeat::Rules;
use crate::group::consumer::member::{ClassicProfile, Member, Profile, State};
use crate::group::consumer::records::{NAME_BYTES_MAX, Record};
use crate::group::consumer::topics::{Partitions, Topics};
use crate::group::subscription::{CONSUMER, Subscription};

/// A wish to join that was found good.
#[derive(Debug)]
pub struct Admission {
    id: String,
    /// The static member whose place it takes.
    replaced: Option<String>,
    subscription: Subscription,
}

impl Admission {
    /// The member that is another one, or speaks another protocol, once this one has joined.
    #[must_use]
    pub fn successor_of(&self) -> &str {
        self.replaced.as_ref().unwrap_or(&self.id)
    }
}

impl ConsumerGroup {
    /// Looks at a wish to join; nothing changes.
    ///
    /// # Errors
    /// The refusal.
    pub fn admit_classic(
        &self,
        request: &JoinRequest,
        rules: &Rules,
    ) -> Result<Admission, Box<JoinAnswer>> {
        let refuse = |error| Err(Box::new(JoinAnswer::refused(error, &*request.member_id)));
        let is_unnamed = request.member_id.is_empty();
        let id = if is_unnamed { &request.new_member_id } else { &request.member_id };
        if id.len() > NAME_BYTES_MAX {
            return refuse(ResponseError::InvalidRequest);
        }
        let instance = request.instance_id.as_ref();
        let holder = instance.and_then(|instance| self.instances.get(instance));
        let is_known = holder.is_some() || self.members.contains_key(id);
        if !is_known && self.members.len() >= rules.members_max {
            return refuse(ResponseError::GroupMaxSizeReached);
        }
        let subscription = match request.protocols.first() {
            Some((_, first)) if request.protocol_type == CONSUMER => Subscription::parse(first),
            _ => None,
        };
        let successor_of = holder.unwrap_or(id);
        let Some(subscription) = subscription.filter(|_| self.agrees(request, successor_of)) else {
            return refuse(ResponseError::InconsistentGroupProtocol);
        };
        if is_unnamed && instance.is_none() && request.requires_known_id {
            let error = ResponseError::MemberIdRequired;
            return Err(Box::new(JoinAnswer::refused(error, id.as_str())));
        }
        let replaced = match (instance, holder) {
            (Some(_), Some(holder)) if is_unnamed => Some(holder),
            (Some(_), Some(holder)) if holder != id => {
                return refuse(ResponseError::FencedInstanceId);
            }
            (Some(_), None) if !is_unnamed => return refuse(ResponseError::UnknownMemberId),
            (Some(_), Some(holder)) if self.members[holder].is_away() => Some(holder),
            _ => None,
        };
        Ok(Admission { id: id.clone(), replaced: replaced.cloned(), subscription })
    }

    /// Whether the other classic members all know one of the assignors that the member knows: else
    /// they could not be a classic group again.
    fn agrees(&self, request: &JoinRequest, successor_of: &str) -> bool {
        let others = self.members.iter().filter(|(id, _)| *id != successor_of);
        let others: Vec<&ClassicProfile> =
            others.filter_map(|(_, member)| member.profile.classic.as_ref()).collect();
        let is_known = |name: &str| others.iter().all(|other| other.knows(name));
        request.protocols.iter().any(|(name, _)| is_known(name))
    }

    /// Whether whoever wants to join is a classic member here already, or takes the place of one.
    #[must_use]
    pub fn is_guest(&self, request: &JoinRequest) -> bool {
        let instance = request.instance_id.as_ref();
        let holder = instance.and_then(|instance| self.instances.get(instance));
        let known = self.members.get(holder.unwrap_or(&request.member_id));
        known.is_some_and(Member::is_classic)
    }

    /// Whether all members but this one speak the classic protocol.
    #[must_use]
    pub fn is_classic_without(&self, id: &str) -> bool {
        self.members.iter().all(|(one, member)| one == id || member.is_classic())
    }

    /// A classic member joins. The records must be durable before the answer is given.
    pub fn join_classic(
        &mut self,
        now_ms: i64,
        request: &JoinRequest,
        admission: Admission,
        topics: &Topics,
        rules: &Rules,
    ) -> (JoinAnswer, Vec<Record>) {
        let mut records = Vec::new();
        let Admission { id, replaced, subscription } = admission;
        if let Some(old) = replaced {
            self.replace(&old, &id, &mut records);
        }
        let owned = topics.partitions_of(&subscription.owned);
        let before = self.members.get(&id).map(|member| member.profile.instance_id.clone());
        let instance_id = request.instance_id.clone().or(before.flatten());
        let profile = profile_of(request, instance_id, subscription);
        self.enrol(now_ms, &id, profile, topics, &mut records);
        self.renew_target(topics, rules, &mut records);
        self.reconcile(now_ms, &id, Some(&owned), &mut records);

        let member = self.members.get_mut(&id).expect("it was enrolled above");
        member.session_deadline_ms = Some(now_ms + i64::from(request.session_timeout_ms));
        member.rebalance_deadline_ms = Some(now_ms + i64::from(request.rebalance_timeout_ms));
        let answer = JoinAnswer {
            error: None,
            generation: member.standing.epoch,
            protocol_type: Some(CONSUMER.to_owned()),
            protocol: request.protocols.first().map(|(name, _)| name.clone()),
            leader: String::new(),
            skip_assignment: false,
            member_id: id,
            members: Vec::new(),
        };
        (answer, records)
    }

    /// A classic member asks what it owns.
    ///
    /// # Errors
    /// The code for the client: REBALANCE_IN_PROGRESS calls it to join again.
    pub fn sync_classic(
        &mut self,
        now_ms: i64,
        request: &SyncRequest,
        topics: &Topics,
    ) -> Result<SyncAnswer, ResponseError> {
        let id = request.member_id.as_str();
        let instance_id = request.instance_id.as_deref();
        let member = self.check_classic(id, instance_id, request.generation)?;
        let is_letting_go = member.standing.state == State::UnrevokedPartitions;
        if self.epoch > member.standing.epoch && !is_letting_go {
            self.call_to_join(now_ms, id);
            return Err(ResponseError::RebalanceInProgress);
        }
        let classic = member.profile.classic.as_ref().ok_or(ResponseError::UnknownMemberId)?;
        let is_other_type = request.protocol_type.as_deref().is_some_and(|it| it != CONSUMER);
        let named = request.protocol.as_deref();
        if is_other_type || named.is_some_and(|name| !classic.knows(name)) {
            return Err(ResponseError::InconsistentGroupProtocol);
        }
        let (first, said) = classic.protocols.first().ok_or(ResponseError::UnknownMemberId)?;
        let version = Subscription::parse(said).map_or(0, |subscription| subscription.version);
        let owned = Self::named(&member.standing.owned(), topics);
        let answer = SyncAnswer {
            error: None,
            protocol_type: Some(CONSUMER.to_owned()),
            protocol: Some(named.unwrap_or(first).to_owned()),
            assignment: Assignment::encode(version, owned.iter()),
        };
        let session_ms = i64::from(classic.session_timeout_ms);
        if let Some(member) = self.members.get_mut(id) {
            member.session_deadline_ms = Some(now_ms + session_ms);
            member.rebalance_deadline_ms = None;
        }
        Ok(answer)
    }

    /// A classic member says that it lives. It may be the first one to come after topics changed:
    /// then there are records.
    pub fn beat_classic(
        &mut self,
        now_ms: i64,
        id: &str,
        instance_id: Option<&str>,
        generation: i32,
        topics: &Topics,
    ) -> (Result<(), ResponseError>, Vec<Record>) {
        let mut records = Vec::new();
        let member = match self.check_classic(id, instance_id, generation) {
            Ok(member) => member,
            Err(error) => return (Err(error), records),
        };
        let profile = member.profile.clone();
        let classic = profile.classic.as_ref();
        let session_ms = i64::from(classic.map_or(0, |classic| classic.session_timeout_ms));
        if self.seen_version != Some(topics.version()) {
            self.enrol(now_ms, id, profile, topics, &mut records);
        }
        let is_called = self.members.get_mut(id).is_some_and(|member| {
            member.session_deadline_ms = Some(now_ms + session_ms);
            member.standing.epoch < self.epoch
                || member.standing.state == State::UnrevokedPartitions
        });
        if is_called || self.is_more_free(id) {
            self.call_to_join(now_ms, id);
            return (Err(ResponseError::RebalanceInProgress), records);
        }
        (Ok(()), records)
    }

    /// Whether the member waits for partitions of its target, and nobody holds them any more.
    fn is_more_free(&self, id: &str) -> bool {
        let nothing = Partitions::new();
        let target = self.targets.get(id).unwrap_or(&nothing);
        let is_waiting = self.members[id].standing.state == State::UnreleasedPartitions;
        is_waiting && !target.iter().any(|partition| self.is_held_by_other(id, partition))
    }

    /// The member is told to join again, and has until then.
    fn call_to_join(&mut self, now_ms: i64, id: &str) {
        if let Some(member) = self.members.get_mut(id) {
            let deadline_ms = now_ms + i64::from(member.profile.rebalance_timeout_ms);
            member.rebalance_deadline_ms.get_or_insert(deadline_ms);
        }
    }

    /// A classic member goes, or an operator names a static one of either kind by its instance id.
    ///
    /// # Errors
    /// The code for the client, if there is no such member.
    pub fn leave_classic(
        &mut self,
        id: &str,
        instance_id: Option<&str>,
        topics: &Topics,
    ) -> Result<Vec<Record>, ResponseError> {
        let instance_id = instance_id.filter(|instance| !instance.is_empty());
        let leaving = match (id, instance_id) {
            ("", Some(instance)) => {
                self.instances.get(instance).ok_or(ResponseError::UnknownMemberId)?.clone()
            }
            (id, instance) => {
                self.classic_member(id, instance)?;
                id.to_owned()
            }
        };
        Ok(self.dismiss(leaving, topics))
    }

    /// Takes one member out.
    pub fn dismiss(&mut self, id: String, topics: &Topics) -> Vec<Record> {
        let mut records = Vec::new();
        self.remove([id], topics, &mut records);
        records
    }

    fn classic_member(&self, id: &str, instance: Option<&str>) -> Result<&Member, ResponseError> {
        if let Some(instance) = instance {
            match self.instances.get(instance) {
                None => return Err(ResponseError::UnknownMemberId),
                Some(holder) if holder != id => return Err(ResponseError::FencedInstanceId),
                Some(_) => {}
            }
        }
        let member = self.members.get(id).filter(|member| member.is_classic());
        member.ok_or(ResponseError::UnknownMemberId)
    }

    fn check_classic(
        &self,
        id: &str,
        instance_id: Option<&str>,
        generation: i32,
    ) -> Result<&Member, ResponseError> {
        let member = self.classic_member(id, instance_id)?;
        let is_its_own = member.standing.epoch == generation;
        if is_its_own { Ok(member) } else { Err(ResponseError::IllegalGeneration) }
    }
}

impl ClassicProfile {
    /// Whether it knows an assignor of that name.
    fn knows(&self, name: &str) -> bool {
        self.protocols.iter().any(|(known, _)| known == name)
    }
}

fn profile_of(
    request: &JoinRequest,
    instance_id: Option<String>,
    subscription: Subscription,
) -> Profile {
    let classic = ClassicProfile {
        session_timeout_ms: request.session_timeout_ms,
        protocols: request.protocols.clone(),
    };
    Profile {
        instance_id,
        rack_id: subscription.rack_id,
        client_id: request.client_id.clone(),
        client_host: request.client_host.clone(),
        topic_names: subscription.topics,
        topic_regex: None,
        rebalance_timeout_ms: request.rebalance_timeout_ms,
        assignor: None,
        classic: Some(classic),
    }
}
