//! Consumer groups: who works together, and how far they have read.
//!
//! `coordinator` holds the groups and acts on what the pure machines decide: `classic` for groups
//! whose leader shares out the work, `consumer` for those whose partitions the broker assigns.
//! `offsets` holds what was committed; `internal` is the topic in which all of it survives, in
//! Kafka's own formats (`offset_records`, `group_records`, `consumer::records`).

pub mod assignment;
pub mod classic;
pub mod consumer;
pub mod coordinator;
pub mod expiry;
pub mod group_records;
pub mod internal;
pub mod migration;
pub mod offset_records;
pub mod offsets;
mod pending;
pub mod subscription;
#[cfg(test)]
pub(crate) mod testing;

use std::collections::BTreeMap;

use weir_protocol::records::record;

use crate::catalog::Catalog;
use crate::catalog::names::CONSUMER_OFFSETS;
use crate::group::consumer::group::ConsumerGroup;
use crate::group::consumer::records::Record;
use crate::group::group_records::StoredGroup;
use crate::group::internal::Replayed;
use crate::group::offsets::Offsets;
use crate::log::error::ReadError;

/// What the internal topic holds.
#[derive(Debug)]
pub struct Stored {
    /// What was committed.
    pub offsets: Offsets,
    /// The groups.
    pub groups: StoredGroups,
}

/// The groups as their records tell them, in the order in which these were written.
#[derive(Debug, Default)]
pub struct StoredGroups {
    /// The classic groups.
    pub classic: BTreeMap<String, StoredGroup>,
    /// The groups whose partitions the broker assigns.
    pub consumer: BTreeMap<String, ConsumerGroup>,
}

impl StoredGroups {
    /// Takes a record; `false`: it is about no group.
    pub fn take(&mut self, key: &[u8], value: Option<&[u8]>) -> bool {
        match Record::decode(key, value) {
            Some((group, Record::Group(None))) => {
                self.consumer.remove(&group);
                return true;
            }
            Some((group, record)) => {
                self.consumer.entry(group).or_default().take(record);
                return true;
            }
            None => {}
        }
        let Some(group) = group_records::decode_key(key) else { return false };
        match value.map(group_records::decode) {
            Some(Some(stored)) => drop(self.classic.insert(group, stored)),
            Some(None) => {
                tracing::warn!(group, "a stored group cannot be read: its members join anew")
            }
            None => drop(self.classic.remove(&group)),
        }
        true
    }

    /// All are read: what is left of a group whose own record is gone is none.
    pub fn settle(&mut self) {
        self.consumer.retain(|_, group| group.epoch() > 0);
        self.consumer.values_mut().for_each(ConsumerGroup::settle);
    }
}

/// Reads the internal topic back: what was committed, and the groups as they were stored. Records
/// that are about neither are shown to `others`.
///
/// # Errors
/// When the disk cannot be read.
pub fn open(
    catalog: &Catalog,
    others: &mut dyn FnMut(record::Record),
) -> Result<Stored, ReadError> {
    let offsets = Offsets::default();
    let mut groups = StoredGroups::default();
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
        let Some(key) = record.key.as_deref() else { return };
        if !groups.take(key, record.value.as_deref()) {
            others(record);
        }
    })?;
    groups.settle();
    Ok(Stored { offsets, groups })
}
