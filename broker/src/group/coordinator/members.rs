//! What members that speak the classic protocol ask for: of their own groups, and of consumer groups
//! in which they are guests.
//!
//! In a classic group JoinGroup and SyncGroup wait for the others. In a consumer group the answer is
//! known at once, and given when what it rests on is durable.

use std::sync::Arc;

use kafka_protocol::error::ResponseError;
use tokio::sync::oneshot::Receiver;

use crate::group::classic::{ClassicGroup, JoinAnswer, JoinRequest, SyncAnswer, SyncRequest};
use crate::group::coordinator::{Committer, Entry, Groups, Inner};
use crate::group::internal::Appending;

/// An answer, or where it will come.
pub(super) enum Answering<A> {
    Now(A, Option<Appending>),
    Later(Receiver<A>),
}

impl<A> Answering<A> {
    /// The answer when it may be given.
    async fn wait(self, refuse: impl Fn(ResponseError) -> A) -> A {
        match self {
            Answering::Later(answer) => {
                answer.await.unwrap_or_else(|_| refuse(ResponseError::CoordinatorNotAvailable))
            }
            Answering::Now(answer, None) => answer,
            Answering::Now(answer, Some(written)) => match written.durable().await {
                Ok(()) => answer,
                Err(error) => refuse(error),
            },
        }
    }
}

impl Groups {
    /// Somebody wants to join; the answer may take as long as the others take to join too.
    pub async fn join(self: &Arc<Self>, group: &str, request: JoinRequest) -> JoinAnswer {
        let member_id = request.member_id.clone();
        let answering = self.begin_join(&mut self.lock(), group, request);
        answering.wait(|error| JoinAnswer::refused(error, member_id.as_str())).await
    }

    fn begin_join(
        self: &Arc<Self>,
        inner: &mut Inner,
        group: &str,
        request: JoinRequest,
    ) -> Answering<JoinAnswer> {
        if let Some(answering) = self.join_consumer(inner, group, &request) {
            return answering;
        }
        if !inner.groups.contains_key(group) {
            let refuse =
                |error| Answering::Now(JoinAnswer::refused(error, &*request.member_id), None);
            if !request.member_id.is_empty() {
                return refuse(ResponseError::UnknownMemberId);
            }
            if inner.groups.len() + inner.consumers.groups_len() >= self.groups_max {
                return refuse(ResponseError::GroupMaxSizeReached);
            }
            let state_since_ms = self.clock.now_ms();
            let group_of_none = ClassicGroup::new();
            let entry =
                Entry { group: group_of_none, state_since_ms, due_ms: None, is_stored: false };
            inner.groups.insert(group.to_owned(), entry);
        }
        let (ticket, answer) = inner.ticket_for(|inner| &mut inner.joins);
        let rules = self.rules;
        self.event(inner, group, |group, now_ms| group.join(now_ms, &rules, request, ticket));
        Answering::Later(answer)
    }

    /// A member wants its work; the answer comes when the leader has shared out.
    pub async fn sync(self: &Arc<Self>, group: &str, request: SyncRequest) -> SyncAnswer {
        let answering = self.begin_sync(&mut self.lock(), group, request);
        answering.wait(SyncAnswer::refused).await
    }

    fn begin_sync(
        self: &Arc<Self>,
        inner: &mut Inner,
        group: &str,
        request: SyncRequest,
    ) -> Answering<SyncAnswer> {
        if let Some(answering) = self.sync_consumer(inner, group, &request) {
            return answering;
        }
        if !inner.groups.contains_key(group) {
            return Answering::Now(SyncAnswer::refused(ResponseError::UnknownMemberId), None);
        }
        let (ticket, answer) = inner.ticket_for(|inner| &mut inner.syncs);
        self.event(inner, group, |group, now_ms| group.sync(now_ms, request, ticket));
        Answering::Later(answer)
    }

    /// A member says that it lives.
    ///
    /// # Errors
    /// The code for the client.
    pub fn heartbeat(
        self: &Arc<Self>,
        group: &str,
        member_id: &str,
        instance_id: Option<&str>,
        generation: i32,
    ) -> Result<(), ResponseError> {
        let mut inner = self.lock();
        if let Some(beaten) =
            self.beat_consumer(&mut inner, group, member_id, instance_id, generation)
        {
            return beaten;
        }
        self.event(&mut inner, group, |group, now_ms| {
            group.heartbeat(now_ms, member_id, instance_id, generation)
        })
        .unwrap_or(Err(ResponseError::UnknownMemberId))
    }

    /// A member goes.
    ///
    /// # Errors
    /// The code for the client.
    pub fn leave(
        self: &Arc<Self>,
        group: &str,
        member_id: &str,
        instance_id: Option<&str>,
    ) -> Result<(), ResponseError> {
        let rules = self.rules;
        let mut inner = self.lock();
        if let Some(left) = self.leave_consumer(&mut inner, group, member_id, instance_id) {
            return left;
        }
        self.event(&mut inner, group, |group, now_ms| {
            group.leave(now_ms, &rules, member_id, instance_id)
        })
        .unwrap_or(Err(ResponseError::UnknownMemberId))
    }

    /// Whether somebody may commit offsets for a group. A group that nobody has joined takes those
    /// of whoever is no member.
    ///
    /// # Errors
    /// The code for the client; for a group that is not there, by the version of OffsetCommit.
    pub fn check_commit(
        self: &Arc<Self>,
        group: &str,
        committer: Committer<'_>,
        knows_group_id_not_found: bool,
    ) -> Result<(), ResponseError> {
        let Committer { member_id, instance_id, generation, is_transactional } = committer;
        if let Some(checked) = self.check_consumer_offsets(group, member_id, generation, None) {
            // A transaction may come from a producer that tells nothing of its member, and its
            // protocol knows no epochs that are stale.
            return match checked {
                Err(_) if is_transactional && member_id.is_empty() && generation < 0 => Ok(()),
                Err(ResponseError::StaleMemberEpoch) if is_transactional => {
                    Err(ResponseError::IllegalGeneration)
                }
                checked => checked,
            };
        }
        let mut inner = self.lock();
        let checked = self.event(&mut inner, group, |group, now_ms| {
            group.check_commit(now_ms, member_id, instance_id, generation, is_transactional)
        });
        checked.unwrap_or(match generation {
            i32::MIN..0 => Ok(()),
            _ if knows_group_id_not_found => Err(ResponseError::GroupIdNotFound),
            _ => Err(ResponseError::IllegalGeneration),
        })
    }
}
