//! PURE. SyncGroup, Heartbeat and LeaveGroup: the work is shared out, members live and go.

use kafka_protocol::error::ResponseError;

use crate::group::classic::{ClassicGroup, Effect, Rules, State, SyncAnswer, SyncRequest, Ticket};

impl ClassicGroup {
    /// A member wants its work. The answer follows as an [`Effect::Synced`] with this ticket: once
    /// the leader has shared out and that is stored.
    pub fn sync(&mut self, now_ms: i64, request: SyncRequest, ticket: Ticket) {
        if let Err(error) = self.try_sync(now_ms, request, ticket) {
            self.effects.push(Effect::Synced(ticket, SyncAnswer::refused(error)));
        }
    }

    fn try_sync(
        &mut self,
        now_ms: i64,
        request: SyncRequest,
        ticket: Ticket,
    ) -> Result<(), ResponseError> {
        let member_id = request.member_id.as_str();
        self.check_member(member_id, request.instance_id.as_deref())?;
        self.check_generation(request.generation)?;
        let differs =
            |given: &Option<String>, ours: &Option<String>| given.is_some() && given != ours;
        if differs(&request.protocol_type, &self.protocol_type)
            || differs(&request.protocol, &self.protocol)
        {
            return Err(ResponseError::InconsistentGroupProtocol);
        }
        match self.state {
            State::Empty => return Err(ResponseError::UnknownMemberId),
            State::PreparingRebalance => return Err(ResponseError::RebalanceInProgress),
            State::CompletingRebalance | State::Stable => {}
        }
        self.renew(now_ms, member_id);
        let member = self.members.get_mut(member_id).ok_or(ResponseError::UnknownMemberId)?;
        member.owes_sync = false;
        if self.state == State::Stable {
            self.effects.push(Effect::Synced(ticket, self.synced(member_id)));
            self.end_sync_if_all_have();
            return Ok(());
        }
        let before = member.syncing.replace(ticket);
        self.give_up(None, before, ResponseError::RebalanceInProgress, member_id);
        if self.leader.as_deref() == Some(member_id) && !self.is_storing {
            for (id, member) in &mut self.members {
                let given = request.assignments.iter().find(|(to, _)| to == id);
                member.assignment = given.map(|(_, work)| work.clone()).unwrap_or_default();
            }
            self.is_storing = true;
            self.effects.push(Effect::Store);
        }
        Ok(())
    }

    fn synced(&self, member_id: &str) -> SyncAnswer {
        SyncAnswer {
            error: None,
            protocol_type: self.protocol_type.clone(),
            protocol: self.protocol.clone(),
            assignment: self.members[member_id].assignment.clone(),
        }
    }

    fn end_sync_if_all_have(&mut self) {
        if self.members.values().all(|member| !member.owes_sync) {
            self.sync_deadline_ms = None;
        }
    }

    /// What was to be stored is durable, or cannot be made so (`error`). It counts only for the
    /// generation that it was stored for.
    pub fn stored(
        &mut self,
        now_ms: i64,
        rules: &Rules,
        generation: i32,
        error: Option<ResponseError>,
    ) {
        let is_awaited = self.state == State::CompletingRebalance && self.is_storing;
        if generation != self.generation || !is_awaited {
            return;
        }
        self.is_storing = false;
        if let Some(error) = error {
            self.forget_assignments(error);
            self.rebalance_or_go_on(now_ms, rules);
            return;
        }
        self.state = State::Stable;
        let ids: Vec<String> = self.members.keys().cloned().collect();
        for member_id in ids {
            let member = self.members.get_mut(&member_id).expect("it is listed");
            if let Some(ticket) = member.syncing.take() {
                self.effects.push(Effect::Synced(ticket, self.synced(&member_id)));
                self.renew(now_ms, &member_id);
            }
        }
        self.end_sync_if_all_have();
    }

    /// A member says that it lives.
    ///
    /// # Errors
    /// The code for the client: REBALANCE_IN_PROGRESS calls it to join again.
    pub fn heartbeat(
        &mut self,
        now_ms: i64,
        member_id: &str,
        instance_id: Option<&str>,
        generation: i32,
    ) -> Result<(), ResponseError> {
        self.check_member(member_id, instance_id)?;
        self.check_generation(generation)?;
        self.renew(now_ms, member_id);
        match self.state {
            State::Empty => Err(ResponseError::UnknownMemberId),
            State::PreparingRebalance => Err(ResponseError::RebalanceInProgress),
            State::CompletingRebalance | State::Stable => Ok(()),
        }
    }

    /// A member goes. A static one goes by its instance id alone, when an operator says so.
    ///
    /// # Errors
    /// The code for the client, if there is no such member.
    pub fn leave(
        &mut self,
        now_ms: i64,
        rules: &Rules,
        member_id: &str,
        instance_id: Option<&str>,
    ) -> Result<(), ResponseError> {
        let instance_id = instance_id.filter(|instance| !instance.is_empty());
        let leaving = match (member_id, instance_id) {
            ("", Some(instance)) => {
                self.statics.get(instance).cloned().ok_or(ResponseError::UnknownMemberId)?
            }
            (id, None) if self.pending.remove(id).is_some() => {
                self.rebalance_or_go_on_if_preparing(now_ms, rules);
                return Ok(());
            }
            (id, instance) => {
                self.check_member(id, instance)?;
                id.to_owned()
            }
        };
        self.remove(&leaving);
        self.rebalance_or_go_on(now_ms, rules);
        Ok(())
    }

    fn rebalance_or_go_on_if_preparing(&mut self, now_ms: i64, rules: &Rules) {
        if self.state == State::PreparingRebalance {
            self.rebalance_or_go_on(now_ms, rules);
        }
    }
}
