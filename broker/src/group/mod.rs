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
mod pending;
pub mod rewrite;
pub mod subscription;

use std::collections::BTreeMap;

use crate::catalog::Catalog;
use crate::catalog::names::CONSUMER_OFFSETS;
use crate::group::group_records::StoredGroup;
use crate::group::internal::Replayed;
use crate::group::offsets::Offsets;
use crate::log::error::ReadError;

/// Reads the internal topic back: what was committed, and the groups as they were stored.
///
/// # Errors
/// When the disk cannot be read.
pub fn open(catalog: &Catalog) -> Result<(Offsets, BTreeMap<String, StoredGroup>), ReadError> {
    let offsets = Offsets::default();
    let mut groups = BTreeMap::new();
    internal::replay(catalog, CONSUMER_OFFSETS, &mut |index, replayed| {
        let record = match replayed {
            Replayed::End(producer_id, marker) => {
                return offsets.end_transaction(index, producer_id, marker);
            }
            Replayed::Record(record, Some(producer_id)) => {
                return offsets.take_pending(index, producer_id, &record);
            }
            Replayed::Record(record, None) => record,
        };
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
