//! Only for tests: what the models of groups have in common. Nobody owns what another owns, and a
//! group is the same whatever the log cleaner has left of its records.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;

use crate::group::consumer::topics::TopicPartition;

/// Of the first `clean` records only the newest of each key, without tombstones if these are older
/// than readers need them; all others as they are. `key_of` tells a record's key, and whether it is
/// a tombstone.
pub(crate) fn compacted<R: Clone, K: Eq + Hash>(
    records: &[R],
    clean: usize,
    keeps_tombstones: bool,
    key_of: impl Fn(&R) -> (K, bool),
) -> Vec<R> {
    let newest: HashMap<K, usize> =
        records[..clean].iter().enumerate().map(|(at, record)| (key_of(record).0, at)).collect();
    let left = records.iter().enumerate().filter(|(at, record)| {
        let (key, is_tombstone) = key_of(record);
        *at >= clean || newest.get(&key) == Some(at) && (keeps_tombstones || !is_tombstone)
    });
    left.map(|(_, record)| record.clone()).collect()
}

/// Every way that is tried: nothing clean, half of it, all of it, with tombstones and without.
pub(crate) fn ways(count: usize) -> impl Iterator<Item = (usize, bool)> {
    [(count / 2, true), (count / 2, false), (count, true), (count, false)].into_iter()
}

/// Whoever is told that it owns a partition is the only one.
pub(crate) fn assert_one_owner<'a>(
    clients: impl Iterator<Item = (&'a str, impl IntoIterator<Item = &'a TopicPartition>)>,
) {
    let mut owners: BTreeMap<TopicPartition, &str> = BTreeMap::new();
    for (client, owned) in clients {
        for partition in owned {
            let other = owners.insert(*partition, client);
            assert!(other.is_none(), "{partition:?}: {other:?} and {client}");
        }
    }
}
