//! PURE. A member of a classic group: who it is, what it can do, what it waits for.

use bytes::Bytes;

use crate::group::classic::Ticket;

/// A member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// The name that a static member keeps through restarts (`group.instance.id`, KIP-345).
    pub instance_id: Option<String>,
    /// What the client calls itself.
    pub client_id: String,
    /// Where it comes from.
    pub client_host: String,
    /// It is dropped when nothing was heard of it for so long.
    pub session_timeout_ms: i32,
    /// How long it may take to come back when the group rebalances.
    pub rebalance_timeout_ms: i32,
    /// What it can do, the best first: names with bytes that only members understand.
    pub protocols: Vec<(String, Bytes)>,
    /// What the leader gave it in this generation.
    pub assignment: Bytes,
    /// Its JoinGroup that waits for an answer.
    pub(super) joining: Option<Ticket>,
    /// Its SyncGroup that waits for an answer.
    pub(super) syncing: Option<Ticket>,
    /// Whether it has not sent SyncGroup in this generation yet.
    pub(super) owes_sync: bool,
    /// Whether it has not had an answer to its first JoinGroup yet.
    pub(super) is_new: bool,
    /// When its session ends unless it is heard of.
    pub(super) session_ends_ms: i64,
}

impl Member {
    /// A member as it was stored: client id and host, session and rebalance timeout. It waits for
    /// nothing; when its session ends is for the group to say.
    #[must_use]
    pub fn restored(
        instance_id: Option<String>,
        (client_id, client_host): (String, String),
        (session_timeout_ms, rebalance_timeout_ms): (i32, i32),
        protocols: Vec<(String, Bytes)>,
        assignment: Bytes,
    ) -> Member {
        Member {
            instance_id,
            client_id,
            client_host,
            session_timeout_ms,
            rebalance_timeout_ms,
            protocols,
            assignment,
            joining: None,
            syncing: None,
            owes_sync: false,
            is_new: false,
            session_ends_ms: 0,
        }
    }

    /// What it says about itself under one protocol.
    #[must_use]
    pub fn metadata(&self, protocol: &str) -> Bytes {
        let found = self.protocols.iter().find(|(name, _)| name == protocol);
        found.map(|(_, bytes)| bytes.clone()).unwrap_or_default()
    }

    /// What it says about itself under the protocol that was chosen, or under its own first one if
    /// none was, or if it has given up that one since. `None`: it says nothing.
    #[must_use]
    pub fn said_under(&self, chosen: Option<&str>) -> Option<Bytes> {
        let under_chosen = self.protocols.iter().find(|(name, _)| Some(name.as_str()) == chosen);
        under_chosen.or(self.protocols.first()).map(|(_, bytes)| bytes.clone())
    }

    /// Whether it knows a protocol of that name.
    pub(super) fn supports(&self, protocol: &str) -> bool {
        self.protocols.iter().any(|(name, _)| name == protocol)
    }

    /// Whether an answer of ours is under way to it: then it need not send heartbeats. Somebody
    /// new may be gone without a trace, since it has no session yet.
    pub(super) fn is_waiting(&self) -> bool {
        !self.is_new && (self.joining.is_some() || self.syncing.is_some())
    }
}

/// PURE. The protocol that most members like best, of those that all of them know. `None`: there is
/// no such protocol.
pub(in crate::group) fn choose_protocol<'a>(
    members: impl Iterator<Item = &'a Member> + Clone,
) -> Option<String> {
    let first = members.clone().next()?;
    let known_to_all = |name: &str| members.clone().all(|member| member.supports(name));
    let candidates: Vec<&str> = first
        .protocols
        .iter()
        .map(|(name, _)| name.as_str())
        .filter(|name| known_to_all(name))
        .collect();
    let votes = |candidate: &str| {
        let favourite = |member: &Member| {
            let liked = member.protocols.iter().map(|(name, _)| name.as_str());
            liked.into_iter().find(|name| candidates.contains(name)).map(str::to_owned)
        };
        members.clone().filter(|member| favourite(member).as_deref() == Some(candidate)).count()
    };
    // The first of those with the most votes: by the order of the first member.
    let mut best: Option<(&str, usize)> = None;
    for candidate in &candidates {
        let count = votes(candidate);
        if best.is_none_or(|(_, most)| count > most) {
            best = Some((candidate, count));
        }
    }
    best.map(|(name, _)| name.to_owned())
}
