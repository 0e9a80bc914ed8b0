//! One step of a member towards its target, so that no partition ever has two owners. PURE.
//!
//! ```text
//!             target changed, partitions to lose              let go, the rest of the target held
//!   Stable ───────────────────────────────> Unrevoked ─────────────────────────> Unreleased
//!     ^  │                                      │                                  │   ^  │
//!     │  └── nothing to lose ──> (same as ──────┴── let go, all of the target ─────┘   └──┘
//!     └───────────────────────────────────────────── free ─── as others let go
//! ```
//!
//! The member keeps its epoch while it has partitions to let go of: that it owns fewer is all it is
//! told. When it has confirmed, it moves to the target's epoch and is given what is free of it.

use std::collections::BTreeMap;

use crate::group::consumer::member::{Standing, State};
use crate::group::consumer::topics::{Partitions, TopicPartition};

/// The standing of a member after one more step to `target`, which was made for `target_epoch`.
///
/// `is_held` tells whether another member holds a partition; `owned` is what the member says it
/// owns, if it says so.
pub fn step(
    standing: &Standing,
    target: &Partitions,
    target_epoch: i32,
    is_held: impl Fn(&TopicPartition) -> bool,
    owned: Option<&Partitions>,
) -> Standing {
    let may_hold = |revoking: &BTreeMap<TopicPartition, i32>| {
        owned.is_none_or(|owned| owned.iter().any(|partition| revoking.contains_key(partition)))
    };
    let epoch = match standing.state {
        State::Stable if standing.epoch == target_epoch => return standing.clone(),
        State::UnrevokedPartitions if may_hold(&standing.revoking) => return standing.clone(),
        State::UnrevokedPartitions => standing.epoch + 1,
        State::Stable | State::UnreleasedPartitions => standing.epoch,
    };
    let (mut assigned, revoking): (BTreeMap<_, _>, BTreeMap<_, _>) =
        standing.assigned.iter().partition(|(partition, _)| target.contains(partition));
    let previous_epoch = standing.epoch;
    if !revoking.is_empty() && may_hold(&revoking) {
        let state = State::UnrevokedPartitions;
        return Standing { epoch, previous_epoch, state, assigned, revoking };
    }
    let mut state = State::Stable;
    for partition in target {
        if assigned.contains_key(partition) {
            continue;
        }
        if is_held(partition) {
            state = State::UnreleasedPartitions;
        } else {
            assigned.insert(*partition, target_epoch);
        }
    }
    let moved = assigned != standing.assigned || state != standing.state;
    if !moved && target_epoch == standing.epoch {
        return standing.clone();
    }
    Standing { epoch: target_epoch, previous_epoch, state, assigned, revoking: BTreeMap::new() }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn partitions(indexes: &[i32]) -> Partitions {
        indexes.iter().map(|index| TopicPartition::new(Uuid::from_u128(1), *index)).collect()
    }

    fn owning(epoch: i32, indexes: &[i32]) -> Standing {
        let assigned = partitions(indexes).into_iter().map(|partition| (partition, epoch));
        Standing { epoch, assigned: assigned.collect(), ..Standing::default() }
    }

    #[test]
    fn what_a_member_shall_lose_is_free_only_when_it_says_so() {
        let free = |_: &TopicPartition| false;
        let target = partitions(&[1, 3]);
        let told = step(&owning(4, &[1, 2]), &target, 5, free, None);
        assert_eq!((told.epoch, told.state), (4, State::UnrevokedPartitions));
        assert_eq!(told.owned(), partitions(&[1]));
        assert_eq!(told.held().count(), 2);

        for still in [None, Some(partitions(&[1, 2]))] {
            assert_eq!(step(&told, &target, 5, free, still.as_ref()), told);
        }
        let done = step(&told, &target, 5, free, Some(&partitions(&[1])));
        assert_eq!((done.epoch, done.previous_epoch, done.state), (5, 4, State::Stable));
        assert_eq!(done.owned(), partitions(&[1, 3]));
        let since: Vec<i32> = done.assigned.values().copied().collect();
        assert_eq!(since, [4, 5], "a partition that stays keeps the epoch since when");
    }

    #[test]
    fn what_others_hold_is_given_when_they_let_go() {
        let target = partitions(&[1, 2]);
        let waits = step(&owning(4, &[1]), &target, 5, |partition| partition.index == 2, None);
        assert_eq!((waits.epoch, waits.state), (5, State::UnreleasedPartitions));
        assert_eq!(waits.owned(), partitions(&[1]));
        let again = step(&waits, &target, 5, |partition| partition.index == 2, None);
        assert_eq!(again, waits, "nothing changed, nothing is written");
        let given = step(&waits, &target, 5, |_| false, None);
        assert_eq!((given.epoch, given.state), (5, State::Stable));
        assert_eq!(given.owned(), target);
    }

    #[test]
    fn a_target_that_changes_once_more_while_a_member_lets_go() {
        let free = |_: &TopicPartition| false;
        let first = step(&owning(4, &[1, 2]), &partitions(&[1]), 5, free, None);
        let second = step(&first, &partitions(&[]), 6, free, Some(&partitions(&[1])));
        assert_eq!((second.epoch, second.state), (5, State::UnrevokedPartitions));
        assert_eq!(second.owned(), partitions(&[]));
        let third = step(&second, &partitions(&[]), 6, free, Some(&partitions(&[])));
        assert_eq!((third.epoch, third.state), (6, State::Stable));
    }
}
