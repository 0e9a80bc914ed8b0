//! PURE. What becomes of each batch of a log that is cleaned, shown from the log's first on.
//!
//! A record stays while it is the newest of its key, or lies beyond what is known of keys. A
//! tombstone goes once its batch's delete horizon has passed; the horizon is set when it is first
//! found clean. What a transaction wrote that was aborted goes at once. A transaction's marker goes
//! like a tombstone, but only once nothing of its transaction is left.
//!
//! Two kinds of batches stay as headers though all their records go: the last of each producer,
//! for its sequence, and the last of what becomes one segment, so that its end is reached.
use std::collections::{BTreeMap, BTreeSet};

use weir_protocol::records::batch::{BatchHeader, RecordBatch};
use weir_protocol::records::thinning::{Candidate, Thinning, emptied};
use weir_protocol::records::{BatchError, Offset};

use crate::log::cleaning::newest::Newest;
use crate::log::cleaning::transactions::Transactions;
use weir_protocol::records::control::{Marker, marker_of as marker};

/// The most that the records of one batch may decompress to: what was taken before the topic was
/// compacted may be larger than what is taken since.
pub const DECOMPRESSED_BYTES_MAX: usize = 256 << 20;

/// What is known of a log before its batches are shown.
#[derive(Copy, Clone, Debug)]
pub struct Knowledge<'a> {
    /// The newest offsets.
    pub newest: &'a Newest,
    /// The aborted transactions.
    pub transactions: &'a Transactions,
    /// The last offset of each producer that may go on.
    pub producers: &'a BTreeMap<i64, Offset>,
    /// The time of this cleaning.
    pub now_ms: i64,
    /// How long tombstones and markers stay once they are clean.
    pub delete_retention_ms: i64,
}

/// What becomes of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It stays, byte for byte.
    Stays,
    /// This one takes its place.
    Becomes(RecordBatch),
    /// Nothing of it is left.
    Goes,
}

/// Where a batch stands in the segment that is made.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// Others follow.
    Within,
    /// The segment ends with it.
    Last,
}

/// The walk over a log.
#[derive(Debug)]
pub struct Survival<'a> {
    known: Knowledge<'a>,
    /// Producers of which data of the transaction at hand was seen.
    seen: BTreeSet<i64>,
    next_horizon_ms: Option<i64>,
}

impl<'a> Survival<'a> {
    /// At the log's first batch.
    #[must_use]
    pub fn new(known: Knowledge<'a>) -> Survival<'a> {
        Survival { known, seen: BTreeSet::new(), next_horizon_ms: None }
    }

    /// When the next tombstone or marker that stays may go.
    #[must_use]
    pub fn next_horizon_ms(&self) -> Option<i64> {
        self.next_horizon_ms
    }

    /// What becomes of the next batch.
    ///
    /// # Errors
    /// When it is damaged, or its records cannot be read.
    pub fn next(&mut self, batch: &RecordBatch, place: Place) -> Result<Fate, BatchError> {
        batch.check_crc()?;
        let header = batch.header();
        let needs_header = place == Place::Last
            || self.known.producers.get(&header.producer_id) == Some(&header.last_offset());
        let is_aborted = self.known.transactions.is_aborted(header);
        if !header.is_control() && header.is_transactional() {
            self.seen.insert(header.producer_id);
        }
        let fate = match header.record_count {
            0 => Fate::Goes,
            _ if header.is_control() => self.control(batch)?,
            _ if is_aborted => Fate::Goes,
            _ => self.data(batch)?,
        };
        Ok(match fate {
            Fate::Goes if needs_header && header.record_count == 0 => Fate::Stays,
            Fate::Goes if needs_header => Fate::Becomes(emptied(batch)),
            other => other,
        })
    }

    /// A transaction's marker stays while anything of the transaction was there before.
    fn control(&mut self, batch: &RecordBatch) -> Result<Fate, BatchError> {
        let header = batch.header();
        let was_seen = self.seen.remove(&header.producer_id);
        match marker(batch) {
            Some(Marker::Abort | Marker::Commit) if !was_seen => {}
            // What is no marker of a transaction is none of ours to judge.
            _ => return Ok(Fate::Stays),
        }
        if self.is_past(header) {
            return Ok(Fate::Goes);
        }
        self.with_horizon(batch, &Thinning::of(batch, DECOMPRESSED_BYTES_MAX)?)
    }

    fn data(&mut self, batch: &RecordBatch) -> Result<Fate, BatchError> {
        let is_past = self.is_past(batch.header());
        let mut thinning = Thinning::of(batch, DECOMPRESSED_BYTES_MAX)?;
        thinning.retain(|record| self.stays(&record, is_past));
        if thinning.is_empty() {
            return Ok(Fate::Goes);
        }
        if thinning.records().any(|record| !record.has_value) {
            return self.with_horizon(batch, &thinning);
        }
        if thinning.is_thinned() {
            return Ok(Fate::Becomes(thinning.finish(None)?));
        }
        Ok(Fate::Stays)
    }

    fn stays(&self, record: &Candidate<'_>, is_past: bool) -> bool {
        if record.offset >= self.known.newest.end() {
            return true;
        }
        let Some(key) = record.key else { return false };
        !self.known.newest.is_outdated(key, record.offset) && (record.has_value || !is_past)
    }

    /// Whether the batch's delete horizon has passed.
    fn is_past(&self, header: &BatchHeader) -> bool {
        header.has_delete_horizon() && header.base_timestamp_ms <= self.known.now_ms
    }

    /// A batch with something that may go later, once.
    fn with_horizon(
        &mut self,
        batch: &RecordBatch,
        thinning: &Thinning<'_>,
    ) -> Result<Fate, BatchError> {
        let header = batch.header();
        if !header.has_delete_horizon() {
            let horizon_ms = self.known.now_ms.saturating_add(self.known.delete_retention_ms);
            self.expect(horizon_ms);
            return Ok(Fate::Becomes(thinning.finish(Some(horizon_ms))?));
        }
        if !self.is_past(header) {
            self.expect(header.base_timestamp_ms);
        }
        if thinning.is_thinned() {
            return Ok(Fate::Becomes(thinning.finish(None)?));
        }
        Ok(Fate::Stays)
    }

    fn expect(&mut self, horizon_ms: i64) {
        let known_ms = self.next_horizon_ms.unwrap_or(i64::MAX);
        self.next_horizon_ms = Some(known_ms.min(horizon_ms));
    }
}

/// Takes the keys of a data batch of the dirty part in, from `first_dirty` on.
///
/// # Errors
/// When it is damaged, or its records cannot be read.
pub fn learn(
    newest: &mut Newest,
    transactions: &Transactions,
    batch: &RecordBatch,
    first_dirty: Offset,
) -> Result<(), BatchError> {
    batch.check_crc()?;
    let header = batch.header();
    if header.record_count > 0 && !header.is_control() && !transactions.is_aborted(header) {
        let thinning = Thinning::of(batch, DECOMPRESSED_BYTES_MAX)?;
        for record in thinning.records().filter(|record| record.offset >= first_dirty) {
            if let Some(key) = record.key {
                newest.put(key, record.offset);
            }
        }
    }
    newest.reach(header.last_offset().next());
    Ok(())
}
