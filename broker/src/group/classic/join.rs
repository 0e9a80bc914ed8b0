//! PURE. JoinGroup: who may come in, under which id, and whether that begins a new generation.

use kafka_protocol::error::ResponseError;

use crate::group::classic::member::Member;
use crate::group::classic::{
    ClassicGroup, Effect, JoinAnswer, JoinRequest, JoinedMember, Rules, State, SyncAnswer, Ticket,
};

/// How long a client that has never had an answer is waited for: it may be gone without a trace.
const NEW_MEMBER_PATIENCE_MS: i64 = 300_000;

impl ClassicGroup {
    /// Somebody wants to join. The answer follows as an [`Effect::Joined`] with this ticket, now or
    /// when the generation is complete.
    pub fn join(&mut self, now_ms: i64, rules: &Rules, request: JoinRequest, ticket: Ticket) {
        if let Err(answer) = self.try_join(now_ms, rules, request, ticket) {
            self.effects.push(Effect::Joined(ticket, *answer));
        }
    }

    fn try_join(
        &mut self,
        now_ms: i64,
        rules: &Rules,
        request: JoinRequest,
        ticket: Ticket,
    ) -> Result<(), Box<JoinAnswer>> {
        let refuse = |error| Box::new(JoinAnswer::refused(error, request.member_id.clone()));
        let instance = request.instance_id.as_ref();
        let is_known_static = instance.is_some_and(|it| self.statics.contains_key(it));
        if !is_known_static && !self.has_room_for(&request.member_id, rules) {
            return Err(refuse(ResponseError::GroupMaxSizeReached));
        }
        if !self.agrees_with(&request) {
            return Err(refuse(ResponseError::InconsistentGroupProtocol));
        }
        if request.member_id.is_empty() {
            return self.join_new(now_ms, rules, request, ticket);
        }
        if self.pending.contains_key(&request.member_id) {
            if request.instance_id.is_some() {
                return Err(refuse(ResponseError::UnknownMemberId));
            }
            self.pending.remove(&request.member_id);
            let member_id = request.member_id.clone();
            self.admit(now_ms, rules, member_id, request, ticket);
            return Ok(());
        }
        self.check_member(&request.member_id, request.instance_id.as_deref()).map_err(refuse)?;
        self.rejoin(now_ms, rules, request, ticket)
    }

    fn has_room_for(&self, member_id: &str, rules: &Rules) -> bool {
        let known = self.members.get(member_id);
        match self.state {
            State::Empty => true,
            State::PreparingRebalance => {
                known.is_some_and(|member| member.joining.is_some())
                    || self.members.values().filter(|it| it.joining.is_some()).count()
                        < rules.size_max
            }
            State::CompletingRebalance | State::Stable => {
                known.is_some() || self.members.len() < rules.size_max
            }
        }
    }

    /// Whether some protocol is known to everybody, the one who asks included.
    fn agrees_with(&self, request: &JoinRequest) -> bool {
        if request.protocol_type.is_empty() || request.protocols.is_empty() {
            return false;
        }
        if self.state == State::Empty {
            return true;
        }
        let is_known = |(name, _): &(String, _)| self.members.values().all(|it| it.supports(name));
        self.protocol_type.as_deref() == Some(&request.protocol_type)
            && request.protocols.iter().any(is_known)
    }

    fn join_new(
        &mut self,
        now_ms: i64,
        rules: &Rules,
        request: JoinRequest,
        ticket: Ticket,
    ) -> Result<(), Box<JoinAnswer>> {
        let member_id = request.new_member_id.clone();
        let instance = request.instance_id.as_ref();
        if let Some(old_id) = instance.and_then(|instance| self.statics.get(instance)).cloned() {
            self.replace_static(now_ms, rules, &old_id, request, ticket);
            return Ok(());
        }
        if request.instance_id.is_none() && request.requires_known_id {
            // Whoever goes away now leaves nothing behind that a rebalance would wait for.
            let patience_ms = i64::from(request.session_timeout_ms);
            self.pending.insert(member_id.clone(), now_ms + patience_ms);
            return Err(Box::new(JoinAnswer::refused(ResponseError::MemberIdRequired, member_id)));
        }
        self.admit(now_ms, rules, member_id, request, ticket);
        Ok(())
    }

    /// A member comes in; the others have to join again.
    fn admit(
        &mut self,
        now_ms: i64,
        rules: &Rules,
        member_id: String,
        request: JoinRequest,
        ticket: Ticket,
    ) {
        if let Some(initial) = self.joining.as_mut().and_then(|joining| joining.initial.as_mut()) {
            initial.has_new_member = true;
        }
        if self.members.is_empty() {
            self.protocol_type = Some(request.protocol_type.clone());
        }
        if self.leader.is_none() {
            self.leader = Some(member_id.clone());
        }
        if let Some(instance) = &request.instance_id {
            self.statics.insert(instance.clone(), member_id.clone());
        }
        let member = Member {
            instance_id: request.instance_id,
            client_id: request.client_id,
            client_host: request.client_host,
            session_timeout_ms: request.session_timeout_ms,
            rebalance_timeout_ms: request.rebalance_timeout_ms,
            protocols: request.protocols,
            assignment: bytes::Bytes::new(),
            joining: Some(ticket),
            syncing: None,
            owes_sync: false,
            is_new: true,
            session_ends_ms: now_ms + NEW_MEMBER_PATIENCE_MS,
        };
        self.members.insert(member_id, member);
        self.rebalance_or_go_on(now_ms, rules);
    }

    /// A member that is known asks again.
    fn rejoin(
        &mut self,
        now_ms: i64,
        rules: &Rules,
        request: JoinRequest,
        ticket: Ticket,
    ) -> Result<(), Box<JoinAnswer>> {
        let member_id = request.member_id.clone();
        let is_leader = self.leader.as_deref() == Some(member_id.as_str());
        let is_unchanged = self.members[&member_id].protocols == request.protocols;
        let is_over = match self.state {
            State::Empty | State::PreparingRebalance => true,
            // The answer was lost.
            State::CompletingRebalance => !is_unchanged,
            // A leader that joins again wants to share out anew.
            State::Stable => is_leader || !is_unchanged,
        };
        if !is_over {
            self.renew(now_ms, &member_id);
            return Err(Box::new(self.joined(&member_id)));
        }
        self.update(now_ms, request, ticket);
        self.rebalance_or_go_on(now_ms, rules);
        Ok(())
    }

    /// Takes over what a member says of itself now, and lets it wait.
    fn update(&mut self, now_ms: i64, request: JoinRequest, ticket: Ticket) {
        let member_id = request.member_id.clone();
        let Some(member) = self.members.get_mut(&member_id) else { return };
        member.protocols = request.protocols;
        member.session_timeout_ms = request.session_timeout_ms;
        member.rebalance_timeout_ms = request.rebalance_timeout_ms;
        member.client_id = request.client_id;
        member.client_host = request.client_host;
        member.owes_sync = false;
        let before = member.joining.replace(ticket);
        let syncing = member.syncing.take();
        let patience_ms = if member.is_new {
            NEW_MEMBER_PATIENCE_MS
        } else {
            i64::from(member.session_timeout_ms)
        };
        member.session_ends_ms = now_ms + patience_ms;
        self.give_up(before, syncing, ResponseError::RebalanceInProgress, &member_id);
    }

    /// Answers what a member waited for and waits for no more.
    pub(super) fn give_up(
        &mut self,
        joining: Option<Ticket>,
        syncing: Option<Ticket>,
        error: ResponseError,
        member_id: &str,
    ) {
        if let Some(ticket) = joining {
            self.effects.push(Effect::Joined(ticket, JoinAnswer::refused(error, member_id)));
        }
        if let Some(ticket) = syncing {
            self.effects.push(Effect::Synced(ticket, SyncAnswer::refused(error)));
        }
    }

    /// A static member is back under a new id: the old one is fenced from now on.
    fn replace_static(
        &mut self,
        now_ms: i64,
        rules: &Rules,
        old_id: &str,
        mut request: JoinRequest,
        ticket: Ticket,
    ) {
        let new_id = request.new_member_id.clone();
        let old_leader = self.leader.clone();
        let can_skip = request.can_skip_assignment;
        let Some(mut member) = self.members.remove(old_id) else { return };
        let (joining, syncing) = (member.joining.take(), member.syncing.take());
        self.give_up(joining, syncing, ResponseError::FencedInstanceId, old_id);
        // After a restart only what was said under the chosen protocol is known.
        let chosen = self.protocol.as_deref().unwrap_or_default();
        let said = request.protocols.iter().find(|(name, _)| name == chosen);
        let is_same_metadata = said.is_some_and(|(_, bytes)| *bytes == member.metadata(chosen));
        if old_leader.as_deref() == Some(old_id) {
            self.leader = Some(new_id.clone());
        }
        if let Some(instance) = &member.instance_id {
            self.statics.insert(instance.clone(), new_id.clone());
        }
        self.members.insert(new_id.clone(), member);
        request.member_id.clone_from(&new_id);
        let was_stable = self.state == State::Stable;
        self.update(now_ms, request, ticket);
        if was_stable && is_same_metadata && self.choose_protocol() == self.protocol {
            self.members.get_mut(&new_id).expect("it was just put there").joining = None;
            self.effects.push(Effect::Store);
            let mut answer = self.joined(&new_id);
            let is_leader = self.leader.as_deref() == Some(new_id.as_str());
            if is_leader && can_skip {
                answer.skip_assignment = true;
            } else if is_leader {
                // It does not know how to lead without sharing out: so it is not told that it leads.
                answer.leader = old_leader.unwrap_or_default();
                answer.members.clear();
            }
            self.effects.push(Effect::Joined(ticket, answer));
            return;
        }
        self.rebalance_or_go_on(now_ms, rules);
    }

    /// What a member of the current generation is told.
    pub(super) fn joined(&self, member_id: &str) -> JoinAnswer {
        let leader = self.leader.clone().unwrap_or_default();
        let protocol = self.protocol.clone();
        let members = if leader == member_id {
            let told = |(id, member): (&String, &Member)| JoinedMember {
                member_id: id.clone(),
                instance_id: member.instance_id.clone(),
                metadata: member.metadata(protocol.as_deref().unwrap_or_default()),
            };
            self.members.iter().map(told).collect()
        } else {
            Vec::new()
        };
        JoinAnswer {
            error: None,
            generation: self.generation,
            protocol_type: self.protocol_type.clone(),
            protocol,
            leader,
            skip_assignment: false,
            member_id: member_id.to_owned(),
            members,
        }
    }
}
