//! Offsets that are committed within a transaction: they count from its end on, or never.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use weir_protocol::records::Offset;
use weir_protocol::records::control::Marker;
use weir_protocol::records::record::Record;

use crate::catalog::Topic;
use crate::group::internal::{Appending, KeyValue, append_in_transaction};
use crate::group::offset_records::{Committed, OffsetKey, partition_of};
use crate::group::offsets::Offsets;
use crate::log::error::AppendError;

/// By partition of the internal topic and producer: what its open transaction commits.
#[derive(Debug, Default)]
pub(super) struct Pending(Mutex<HashMap<(i32, i64), Vec<PendingOffset>>>);

#[derive(Debug)]
struct PendingOffset {
    key: OffsetKey,
    committed: Committed,
    place: Offset,
}

impl Pending {
    fn lock(&self) -> MutexGuard<'_, HashMap<(i32, i64), Vec<PendingOffset>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Offsets {
    /// Appends offsets that a transaction commits. Whoever calls holds the transaction open.
    ///
    /// # Errors
    /// When the log does not take them.
    pub fn append_pending(
        &self,
        topic: &Topic,
        group: &str,
        producer: (i64, i16),
        offsets: Vec<(OffsetKey, Committed)>,
        now_ms: i64,
    ) -> Result<Appending, AppendError> {
        let records: Vec<KeyValue> = offsets
            .iter()
            .map(|(key, committed)| (key.encode(), Some(committed.encode())))
            .collect();
        let appending = append_in_transaction(topic, group, &records, producer, now_ms)?;
        let index = partition_of(group, topic.partition_count());
        let base_offset = appending.base_offset;
        let pending = offsets.into_iter().zip(0..).map(|((key, committed), delta)| PendingOffset {
            key,
            committed,
            place: base_offset.plus(delta),
        });
        self.pending.lock().entry((index, producer.0)).or_default().extend(pending);
        Ok(appending)
    }

    /// Takes a record of an open transaction as it is read back.
    pub(super) fn take_pending(&self, index: i32, producer_id: i64, record: &Record) {
        let key = record.key.as_deref().and_then(OffsetKey::decode);
        let committed = record.value.as_deref().and_then(Committed::decode);
        if let (Some(key), Some(committed)) = (key, committed) {
            let pending = PendingOffset { key, committed, place: record.offset };
            self.pending.lock().entry((index, producer_id)).or_default().push(pending);
        }
    }

    /// A transaction has ended in a partition of the internal topic.
    pub fn end_transaction(&self, index: i32, producer_id: i64, marker: Marker) {
        let ended = self.pending.lock().remove(&(index, producer_id)).unwrap_or_default();
        if marker == Marker::Commit {
            for PendingOffset { key, committed, place } in ended {
                self.apply(key, Some(committed), place);
            }
        }
    }

    /// Whether an open transaction commits an offset there: what counts then is not known yet.
    #[must_use]
    pub fn is_unstable(&self, group: &str, topic: &str, partition: i32) -> bool {
        let is_there = |it: &PendingOffset| {
            it.key.partition == partition && it.key.group == group && it.key.topic == topic
        };
        self.pending.lock().values().flatten().any(is_there)
    }

    /// Topics are gone: what open transactions commit for them goes too.
    pub(super) fn forget_pending(&self, deleted: &[String]) {
        for pending in self.pending.lock().values_mut() {
            pending.retain(|it| !deleted.contains(&it.key.topic));
        }
    }
}
