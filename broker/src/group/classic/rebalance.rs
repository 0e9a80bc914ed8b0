//! PURE. From one generation to the next: who is waited for, how long, and who is dropped.

use kafka_protocol::error::ResponseError;

use crate::group::classic::{ClassicGroup, Effect, InitialWait, Joining, Rules, State, SyncAnswer};

impl ClassicGroup {
    /// Does what is due at this time.
    pub fn tick(&mut self, now_ms: i64, rules: &Rules) {
        self.expire_pending(now_ms);
        self.expire_sessions(now_ms, rules);
        if self.sync_deadline_ms.is_some_and(|deadline_ms| deadline_ms <= now_ms) {
            self.sync_deadline_ms = None;
            self.drop_members(now_ms, rules, |member| member.owes_sync);
        }
        if let Some(joining) = self.joining.filter(|joining| joining.deadline_ms <= now_ms) {
            self.join_deadline(now_ms, joining);
        }
    }

    fn expire_pending(&mut self, now_ms: i64) {
        let before = self.pending.len();
        self.pending.retain(|_, ends_ms| *ends_ms > now_ms);
        if self.pending.len() < before {
            self.maybe_complete(now_ms);
        }
    }

    fn expire_sessions(&mut self, now_ms: i64, rules: &Rules) {
        self.drop_members(now_ms, rules, |member| {
            !member.is_waiting() && member.session_ends_ms <= now_ms
        });
    }

    fn drop_members(
        &mut self,
        now_ms: i64,
        rules: &Rules,
        is_over: impl Fn(&super::member::Member) -> bool,
    ) {
        let over = self.members.iter().filter(|(_, member)| is_over(member));
        let over: Vec<String> = over.map(|(id, _)| id.clone()).collect();
        if over.is_empty() {
            return;
        }
        for member_id in over {
            self.remove(&member_id);
        }
        self.rebalance_or_go_on(now_ms, rules);
    }

    /// Takes a member away; whoever waits under its id is told that it is unknown.
    pub(super) fn remove(&mut self, member_id: &str) {
        let Some(member) = self.members.remove(member_id) else { return };
        if let Some(instance) = &member.instance_id {
            self.statics.remove(instance);
        }
        if self.leader.as_deref() == Some(member_id) {
            self.leader = self.members.keys().next().cloned();
        }
        let unknown = ResponseError::UnknownMemberId;
        self.give_up(member.joining, member.syncing, unknown, member_id);
    }

    /// After members have come, gone or changed: begin a rebalance, or go on with the one that is
    /// under way.
    pub(super) fn rebalance_or_go_on(&mut self, now_ms: i64, rules: &Rules) {
        match self.state {
            State::PreparingRebalance => self.maybe_complete(now_ms),
            State::Empty if self.members.is_empty() => {}
            _ => self.prepare(now_ms, rules),
        }
    }

    /// Begins a rebalance.
    fn prepare(&mut self, now_ms: i64, rules: &Rules) {
        let is_initial = self.state == State::Empty;
        if self.state == State::CompletingRebalance {
            self.forget_assignments(ResponseError::RebalanceInProgress);
        }
        self.sync_deadline_ms = None;
        self.is_storing = false;
        self.state = State::PreparingRebalance;
        let timeout_ms = self.rebalance_timeout_ms();
        if is_initial {
            let step_ms = rules.initial_delay_ms.max(0);
            let remaining_ms = (timeout_ms - step_ms).max(0);
            let initial = Some(InitialWait { step_ms, remaining_ms, has_new_member: false });
            self.joining = Some(Joining { deadline_ms: now_ms + step_ms, initial });
            if step_ms == 0 {
                self.complete(now_ms);
            }
        } else {
            self.joining = Some(Joining { deadline_ms: now_ms + timeout_ms, initial: None });
            self.maybe_complete(now_ms);
        }
    }

    pub(super) fn rebalance_timeout_ms(&self) -> i64 {
        let timeouts = self.members.values().map(|it| i64::from(it.rebalance_timeout_ms));
        timeouts.max().unwrap_or(0)
    }

    /// Ends the wait when everybody is there. The first generation waits for its time all the same,
    /// unless nobody is left to wait for.
    fn maybe_complete(&mut self, now_ms: i64) {
        let Some(joining) = self.joining else { return };
        let all_joined = || self.members.values().all(|member| member.joining.is_some());
        let is_everybody_here =
            joining.initial.is_none() && self.pending.is_empty() && all_joined();
        if self.members.is_empty() || is_everybody_here {
            self.complete(now_ms);
        }
    }

    /// The time to join is over.
    fn join_deadline(&mut self, now_ms: i64, joining: Joining) {
        if let Some(initial) = joining.initial
            && initial.has_new_member
            && initial.remaining_ms > 0
        {
            let step_ms = initial.step_ms.min(initial.remaining_ms);
            let remaining_ms = (initial.remaining_ms - step_ms).max(0);
            let initial = Some(InitialWait { step_ms, remaining_ms, has_new_member: false });
            self.joining = Some(Joining { deadline_ms: now_ms + step_ms, initial });
            return;
        }
        self.complete(now_ms);
    }

    /// Begins the next generation with those that have joined; static members that are away stay.
    fn complete(&mut self, now_ms: i64) {
        let late = self.members.iter().filter(|(_, it)| it.joining.is_none());
        let late = late.filter(|(_, it)| it.instance_id.is_none());
        let late: Vec<String> = late.map(|(id, _)| id.clone()).collect();
        for member_id in late {
            self.remove(&member_id);
        }
        if self.members.is_empty() {
            self.generation += 1;
            self.become_empty();
            return;
        }
        if !self.elect_leader() {
            // Only static members that are all away: wait until one comes, or their sessions end.
            let deadline_ms = now_ms + self.rebalance_timeout_ms().max(1);
            self.joining = Some(Joining { deadline_ms, initial: None });
            return;
        }
        self.generation += 1;
        self.protocol = self.choose_protocol();
        assert!(self.protocol.is_some(), "whoever was let in agrees with everybody");
        self.joining = None;
        self.state = State::CompletingRebalance;
        self.sync_deadline_ms = Some(now_ms + self.rebalance_timeout_ms());
        let ids: Vec<String> = self.members.keys().cloned().collect();
        for member_id in ids {
            let answer = self.joined(&member_id);
            let member = self.members.get_mut(&member_id).expect("it is listed");
            member.owes_sync = true;
            let Some(ticket) = member.joining.take() else { continue };
            member.is_new = false;
            member.session_ends_ms = now_ms + i64::from(member.session_timeout_ms);
            self.effects.push(Effect::Joined(ticket, answer));
        }
    }

    pub(super) fn become_empty(&mut self) {
        self.state = State::Empty;
        self.protocol = None;
        self.leader = None;
        self.joining = None;
        self.sync_deadline_ms = None;
        self.is_storing = false;
        self.effects.push(Effect::Store);
    }

    /// The leader must be one that has joined.
    fn elect_leader(&mut self) -> bool {
        let has_joined = |id: &String| self.members.get(id).is_some_and(|it| it.joining.is_some());
        if self.leader.as_ref().is_some_and(has_joined) {
            return true;
        }
        let joined = self.members.iter().find(|(_, member)| member.joining.is_some());
        match joined.map(|(id, _)| id.clone()) {
            Some(id) => {
                self.leader = Some(id);
                true
            }
            None => false,
        }
    }

    /// Nobody's work holds any more.
    pub(super) fn forget_assignments(&mut self, error: ResponseError) {
        for member in self.members.values_mut() {
            member.assignment = bytes::Bytes::new();
            if let Some(ticket) = member.syncing.take() {
                self.effects.push(Effect::Synced(ticket, SyncAnswer::refused(error)));
            }
        }
    }
}
