//! Consumer groups: who works together, and how far they have read.
//!
//! `coordinator` holds the groups and acts on what the pure machines in `classic` decide; `offsets`
//! holds what was committed; `internal` is the topic in which both survive, in Kafka's own formats
//! (`offset_records`, `group_records`).

pub mod classic;
pub mod coordinator;
pub mod expiry;
pub mod group_records;
pub mod internal;
pub mod offset_records;
pub mod offsets;
pub mod rewrite;
pub mod subscription;

use std::collections::BTreeMap;

use crate::catalog::Catalog;
use crate::group::group_records::StoredGroup;
use crate::group::offsets::Offsets;
use crate::log::error::ReadError;

/// Reads the internal topic back: what was committed, and the groups as they were stored.
///
/// # Errors
/// When the disk cannot be read.
pub fn open(catalog: &Catalog) -> Result<(Offsets, BTreeMap<String, StoredGroup>), ReadError> {
    let offsets = Offsets::default();
    let mut groups = BTreeMap::new();
    internal::replay(catalog, &mut |record| {
        if offsets.take(&record) {
            return;
        }
        let Some(group) = record.key.as_deref().and_then(group_records::decode_key) else { return };
        match record.value.as_deref().map(group_records::decode) {
            Some(Some(stored)) => drop(groups.insert(group, stored)),
            Some(None) => {
                tracing::warn!(group, "a stored group cannot be read: its members join anew")
            }
            None => drop(groups.remove(&group)),
        }
    })?;
    Ok((offsets, groups))
}
