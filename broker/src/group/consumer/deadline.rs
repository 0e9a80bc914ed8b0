//! What a group does as time goes by, and what it says of members' epochs. PURE.

use kafka_protocol::ResponseError;

use crate::group::consumer::group::ConsumerGroup;
use crate::group::consumer::heartbeat::Rules;
use crate::group::consumer::member::{Member, State};
use crate::group::consumer::records::Record;
use crate::group::consumer::topics::{TopicPartition, Topics};

impl ConsumerGroup {
    /// Drops the members whose time is up. Returns who that was, and what to write.
    pub fn tick(&mut self, now_ms: i64, topics: &Topics) -> (Vec<String>, Vec<Record>) {
        let is_over = |member: &Member| member.deadline_ms().is_some_and(|at| at <= now_ms);
        let over = self.members.iter().filter(|(_, member)| is_over(member));
        let over: Vec<String> = over.map(|(id, _)| id.clone()).collect();
        let mut records = Vec::new();
        if !over.is_empty() {
            self.remove(over.iter().cloned(), topics, &mut records);
        }
        (over, records)
    }

    /// When [`ConsumerGroup::tick`] has something to do next.
    pub fn deadline_ms(&self) -> Option<i64> {
        self.members.values().filter_map(Member::deadline_ms).min()
    }

    /// Gives every member its whole session, after the group was read back.
    pub fn restart(&mut self, now_ms: i64, rules: &Rules) {
        for member in self.members.values_mut() {
            let classic = member.profile.classic.as_ref();
            let session_ms =
                classic.map_or(rules.session_timeout_ms, |classic| classic.session_timeout_ms);
            member.session_deadline_ms = Some(now_ms + i64::from(session_ms));
            let must_let_go =
                member.standing.state == State::UnrevokedPartitions && !member.is_classic();
            let timeout_ms = i64::from(member.profile.rebalance_timeout_ms);
            member.rebalance_deadline_ms =
                (must_let_go && !member.is_away()).then_some(now_ms + timeout_ms);
        }
    }

    /// Checks the epoch that a member sends with offsets that it commits or asks for. With the
    /// partition, an older epoch will do if the member has owned the partition since then (KIP-1251).
    ///
    /// # Errors
    /// UNKNOWN_MEMBER_ID; STALE_MEMBER_EPOCH; ILLEGAL_GENERATION for a classic member.
    pub fn check_offsets(
        &self,
        id: &str,
        epoch: i32,
        partition: Option<&TopicPartition>,
    ) -> Result<(), ResponseError> {
        let Some(member) = self.members.get(id) else {
            return Err(ResponseError::UnknownMemberId);
        };
        let since = partition.and_then(|partition| member.standing.assigned.get(partition));
        let is_since = since.is_some_and(|since| (*since..=member.standing.epoch).contains(&epoch));
        if epoch == member.standing.epoch || is_since && !member.is_classic() {
            return Ok(());
        }
        let stale = ResponseError::StaleMemberEpoch;
        Err(if member.is_classic() { ResponseError::IllegalGeneration } else { stale })
    }
}
