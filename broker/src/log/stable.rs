//! Up to where a reader of committed records may read: the last stable offset.
//!
//! A transaction is unstable from its first offset until its marker is durable: until then nobody
//! may see how it ends. The last stable offset is the first unstable one, or the high watermark.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use weir_protocol::records::Offset;
use weir_protocol::records::batch::{BatchHeader, RecordBatch};
use weir_protocol::records::control::{Marker, told_by};

use crate::log::validate::Origin;
use crate::log::{Appender, Log};
use crate::producers::{Aborted, Ended, Producer, ProducerError, Producers, Start, Verdict};

/// Transactions by their first offset; with the offset after their marker once it is appended.
#[derive(Debug, Default)]
pub(super) struct Unstable {
    by_first: Mutex<BTreeMap<Offset, Option<Offset>>>,
    /// Whether there is any: spares the lock where there are no transactions.
    is_any: AtomicBool,
    /// Whether a transaction was ever aborted here: spares readers the appender's lock.
    has_aborted: AtomicBool,
}

impl Unstable {
    /// What is open in a log that was just opened.
    pub(super) fn new(producers: &Producers) -> Unstable {
        let unstable = Unstable::default();
        for (_, _, first) in producers.open() {
            unstable.begin(first);
        }
        unstable.has_aborted.store(!producers.aborted().is_empty(), Ordering::Release);
        unstable
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Offset, Option<Offset>>> {
        self.by_first.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin(&self, first: Offset) {
        self.lock().entry(first).or_insert(None);
        self.is_any.store(true, Ordering::Release);
    }

    fn end(&self, ended: Ended) {
        self.lock().insert(ended.first, Some(ended.next));
    }

    /// The last stable offset under a high watermark that was read before.
    pub(super) fn last_stable(&self, high_watermark: Offset) -> Offset {
        if !self.is_any.load(Ordering::Acquire) {
            return high_watermark;
        }
        let mut by_first = self.lock();
        by_first.retain(|_, next| next.is_none_or(|next| next > high_watermark));
        if by_first.is_empty() {
            self.is_any.store(false, Ordering::Release);
        }
        by_first.keys().next().map_or(high_watermark, |first| (*first).min(high_watermark))
    }
}

/// Whether its producer may append a batch of such an origin.
pub(super) fn verdict(
    producers: &Producers,
    batch: &RecordBatch,
    origin: Origin,
) -> Result<Verdict, ProducerError> {
    match (origin, told_by(batch)) {
        (Origin::Marker, Some((_, coordinator_epoch))) => {
            producers.check_marker(batch.header(), coordinator_epoch)?;
            Ok(Verdict::Append)
        }
        (Origin::BumpingTransaction, _) => producers.check(batch.header(), Start::AtZero),
        _ => producers.check(batch.header(), Start::Anywhere),
    }
}

impl Log {
    /// Remembers who has appended a batch, and what that begins or ends.
    pub(super) fn note(
        &self,
        appender: &mut Appender,
        batch: &RecordBatch,
        header: &BatchHeader,
        now_ms: i64,
    ) {
        match told_by(batch) {
            Some(told) => {
                if let Some(ended) = appender.producers.end(header, told, now_ms) {
                    if told.0 == Marker::Abort {
                        self.unstable.has_aborted.store(true, Ordering::Release);
                    }
                    self.unstable.end(ended);
                }
            }
            None => {
                appender.producers.record(header, now_ms);
                if header.is_transactional() && header.producer_id >= 0 {
                    let of = appender.producers.open_from(header.producer_id);
                    if let Some(first) = of {
                        self.unstable.begin(first);
                    }
                }
            }
        }
    }

    /// The aborted transactions that lie within `from..to`, in the order of their markers.
    #[must_use]
    pub fn aborted_within(&self, from: Offset, to: Offset) -> Vec<Aborted> {
        if !self.unstable.has_aborted.load(Ordering::Acquire) {
            return Vec::new();
        }
        self.lock().producers.aborted_within(from, to)
    }

    /// The producers that are remembered, by id.
    #[must_use]
    pub fn producers(&self) -> Vec<(i64, Producer)> {
        self.lock().producers.iter().map(|(id, producer)| (id, producer.clone())).collect()
    }

    /// The producers whose transaction is open here: id, epoch, first offset.
    #[must_use]
    pub fn open_transactions(&self) -> Vec<(i64, i16, Offset)> {
        self.lock().producers.open().collect()
    }
}
