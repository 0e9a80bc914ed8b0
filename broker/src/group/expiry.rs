//! When committed offsets are forgotten (Kafka's rules, KIP-211), and groups with them.
//!
//! - a group that lives: only topics that no member reads any more, from when they were committed;
//! - a group whose members have gone: from when the last one went;
//! - offsets of somebody who never was in a group: from when they were committed;
//! - a topic that is gone takes its offsets along.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::catalog::Catalog;
use crate::config::Config;
use crate::group::classic::State;
use crate::group::coordinator::{GroupView, Groups};
use crate::group::offset_records::Committed;
use crate::group::offsets::{CommitError, Offsets};
use crate::group::subscription::subscribed_topics;

/// How long what a group has committed is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Life {
    /// From the commit on.
    FromCommit,
    /// From when the last member went.
    Since(i64),
    /// For ever, but for topics other than these: from the commit on.
    Subscribed(BTreeSet<String>),
    /// For ever.
    Kept,
}

impl Life {
    fn of(view: Option<GroupView>) -> Life {
        let Some(GroupView { group, state_since_ms }) = view else { return Life::FromCommit };
        match group.state() {
            State::Empty if group.protocol_type().is_some() && state_since_ms >= 0 => {
                Life::Since(state_since_ms)
            }
            State::Empty => Life::FromCommit,
            State::Stable => subscribed_topics(&group).map_or(Life::Kept, Life::Subscribed),
            State::PreparingRebalance | State::CompletingRebalance => Life::Kept,
        }
    }

    fn is_over(&self, topic: &str, committed: &Committed, oldest_ms: i64) -> bool {
        match self {
            Life::FromCommit => committed.commit_ms < oldest_ms,
            // Whoever commits for a group without members keeps its offsets alive too.
            Life::Since(since_ms) => committed.commit_ms.max(*since_ms) < oldest_ms,
            Life::Subscribed(topics) => !topics.contains(topic) && committed.commit_ms < oldest_ms,
            Life::Kept => false,
        }
    }
}

/// Forgets what is over: offsets, then groups without members and offsets. How many offsets.
///
/// # Errors
/// When the internal topic cannot be written.
pub async fn expire(
    offsets: &Offsets,
    groups: &Arc<Groups>,
    catalog: &Catalog,
    config: &Config,
    now_ms: i64,
) -> Result<usize, CommitError> {
    let oldest_ms = now_ms - i64::from(config.offsets_retention_minutes) * 60_000;
    let topics = catalog.topics();
    let count = offsets
        .forget(catalog, now_ms, |key, committed| {
            topics.named(&key.topic).is_none()
                || committed.commit_ms < oldest_ms
                    && Life::of(groups.view(&key.group)).is_over(&key.topic, committed, oldest_ms)
        })
        .await?;
    for (name, state, _, _) in groups.list() {
        let Some(view) = groups.view(&name) else { continue };
        let is_old = view.state_since_ms < oldest_ms;
        if state == State::Empty && is_old && offsets.all_of(&name).is_empty() {
            // One that somebody joins at this moment stays.
            if let Err(error) = groups.forget(&name).await {
                tracing::debug!(group = name, %error, "a group without members stays for now");
            }
        }
    }
    Ok(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn committed(commit_ms: i64) -> Committed {
        Committed { offset: 1, leader_epoch: -1, metadata: String::new(), commit_ms }
    }

    #[test]
    fn what_a_living_group_reads_never_expires() {
        let reads = Life::Subscribed(BTreeSet::from(["a".to_owned()]));
        assert!(!reads.is_over("a", &committed(0), 100));
        assert!(reads.is_over("b", &committed(99), 100));
        assert!(!reads.is_over("b", &committed(100), 100));
        assert!(!Life::Kept.is_over("a", &committed(0), 100));
    }

    #[test]
    fn the_clock_of_a_group_without_members_starts_when_the_last_one_goes() {
        assert!(!Life::Since(150).is_over("a", &committed(0), 100));
        assert!(Life::Since(50).is_over("a", &committed(0), 100));
        assert!(!Life::Since(50).is_over("a", &committed(120), 100));
        assert_eq!(Life::of(None), Life::FromCommit);
        assert!(Life::FromCommit.is_over("a", &committed(99), 100));
    }
}
