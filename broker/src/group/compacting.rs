//! Only for tests: what the log cleaner may leave of the records of `__consumer_offsets`.

use std::collections::HashMap;
use std::hash::Hash;

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
