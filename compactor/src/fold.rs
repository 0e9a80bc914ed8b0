//! PURE. Rows of all partitions come in by offset; when ripe, a [`Flush`] goes out: sorted rows
//! per bucket and the offsets that they cover.
//!
//! ```text
//! log      | folded before | folded | bad | skipped | hole | ...
//!                          ^ from                          ^ to
//! ```
//!
//! - Each offset of a partition counts once: as folded, quarantined or skipped. What lies before
//!   the fold's place is dropped, a batch that begins behind it is refused.
//! - `folded + quarantined + skipped` is the span of the flushed ranges, always.
//! - A record goes in whole or not at all.

pub mod outcome;
pub mod route;

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::ArrowError;
use bytes::Bytes;
use weir_protocol::records::Offset;

use crate::binary_row::BinaryRow;
use crate::checkpoint::OffsetRange;
use crate::data_file::columns::{ColumnBuilders, RowError};
use crate::fold::outcome::{BadRecord, FoldError, Outcome};
use crate::fold::route::{BucketPlace, Route};
use crate::lineage::{LastBatch, Lineage};
use crate::merge_tree::write_buffer::{Merge, WriteBuffer};
use crate::paimon::commit::FileEntry;
use crate::quarantine::QuarantinedRecord;
use crate::row::Row;
use crate::schema::TableSchema;

/// Where a fold goes on: what the newest snapshot says.
#[derive(Clone, Debug, Default)]
pub struct FoldStart {
    /// The next offset of every partition.
    pub next: BTreeMap<i32, Offset>,
    /// The log that was folded so far.
    pub lineage: Lineage,
    /// The next sequence number of every bucket that holds files.
    pub sequences: BTreeMap<BucketPlace, i64>,
}

/// The columns of a batch end at 2 GiB; a record batch may come in after the limit is reached.
const MEMORY_BYTES_MAX: usize = 1 << 30;

/// When a flush is due, at the first of both.
#[derive(Copy, Clone, Debug)]
pub struct FoldLimits {
    /// Rows and quarantined records take this much memory. More than 1 GiB is taken as 1 GiB.
    pub memory_bytes_max: usize,
    /// The oldest record waits so long.
    pub age_ms_max: u64,
}

/// A deliberate mistake, for the test of the tests.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum SeededBug {
    /// The record at the offset where the fold begins is taken for one that was folded before.
    FoldsFromNextOffset,
}

/// The next sequence number of every bucket, from the live files of a snapshot.
pub fn next_sequences(files: &[FileEntry]) -> BTreeMap<BucketPlace, i64> {
    let mut next = BTreeMap::new();
    for entry in files {
        let place = (entry.partition.clone(), entry.bucket);
        let sequence = next.entry(place).or_insert(0);
        *sequence = entry.file.max_sequence.saturating_add(1).max(*sequence);
    }
    next
}

/// Rows that gather until a flush is due.
#[derive(Debug)]
pub struct Fold {
    schema: Arc<TableSchema>,
    route: Route,
    merge: Option<Merge>,
    /// Never filled: it knows which rows fit.
    columns: ColumnBuilders,
    limits: FoldLimits,
    spans: BTreeMap<i32, Span>,
    lineage: Lineage,
    sequences: BTreeMap<BucketPlace, i64>,
    buffers: BTreeMap<BucketPlace, WriteBuffer>,
    quarantine: Vec<QuarantinedRecord>,
    quarantine_bytes: usize,
    counts: Counts,
    oldest_ms: Option<i64>,
    bug: Option<SeededBug>,
}

/// What became of the offsets since the last flush.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Records whose rows are in the table.
    pub folded: u64,
    /// Records set aside.
    pub quarantined: u64,
    /// Records that are no rows, and offsets without a record.
    pub skipped: u64,
}

/// How far a partition is.
#[derive(Debug)]
struct Span {
    from: Offset,
    next: Offset,
    batch: Option<LastBatch>,
}

/// The rows of one bucket, as its next level-0 file will hold them.
#[derive(Clone, Debug)]
pub struct BucketRows {
    /// The table partition.
    pub partition: BinaryRow,
    /// The bucket.
    pub bucket: i32,
    /// Sorted, one row per key; or in the order of arrival, in an append table.
    pub rows: RecordBatch,
    /// The sequence number that the first row of the bucket got.
    pub first_sequence: i64,
}

/// All that gathered since the last flush.
#[derive(Clone, Debug)]
pub struct Flush {
    /// Rows by bucket; buckets without rows are absent.
    pub buckets: Vec<BucketRows>,
    /// The offsets that the flush covers; partitions that did not move are absent.
    pub ranges: Vec<OffsetRange>,
    /// What became of these offsets.
    pub counts: Counts,
    /// The records set aside.
    pub quarantine: Vec<QuarantinedRecord>,
    /// The log folded so far, this flush included.
    pub lineage: Lineage,
}

impl Fold {
    /// A fold that goes on where a snapshot ends.
    pub fn new(
        schema: Arc<TableSchema>,
        start: FoldStart,
        limits: FoldLimits,
    ) -> Result<Fold, ArrowError> {
        let mut fold = Fold {
            route: Route::of(&schema),
            merge: Merge::of(&schema)?,
            columns: ColumnBuilders::new(&schema),
            schema,
            limits,
            spans: BTreeMap::new(),
            lineage: start.lineage,
            sequences: start.sequences,
            buffers: BTreeMap::new(),
            quarantine: Vec::new(),
            quarantine_bytes: 0,
            counts: Counts::default(),
            oldest_ms: None,
            bug: None,
        };
        for (partition, next) in start.next {
            fold.start_partition(partition, next);
        }
        Ok(fold)
    }

    /// Plants a mistake.
    #[doc(hidden)]
    pub fn seed_bug(&mut self, bug: SeededBug) {
        self.bug = Some(bug);
    }

    /// Says from where on a partition that no snapshot knows is folded.
    pub fn start_partition(&mut self, partition: i32, from: Offset) {
        let known = self.spans.insert(partition, Span { from, next: from, batch: None });
        assert!(known.is_none(), "partition {partition} is being folded already");
    }

    /// The next offset to fold.
    pub fn next_of(&self, partition: i32) -> Option<Offset> {
        self.spans.get(&partition).map(|span| span.next)
    }

    /// Begins a batch of the log. The answer is the first offset that is wanted of it; that lies
    /// behind the batch if the fold holds all of it.
    pub fn begin_batch(&mut self, partition: i32, batch: LastBatch) -> Result<Offset, FoldError> {
        let span = span_of(&mut self.spans, partition)?;
        assert!(span.batch.is_none(), "partition {partition}: the last batch was not ended");
        let next = span.next;
        if batch.base_offset > next {
            return Err(FoldError::Gap { partition, next, found: batch.base_offset });
        }
        span.batch = Some(batch);
        Ok(next)
    }

    /// Takes in the rows of one record of the batch that was begun.
    pub fn add(
        &mut self,
        partition: i32,
        offset: Offset,
        rows: &[Row],
        now_ms: i64,
    ) -> Result<Outcome, FoldError> {
        let Some(batch) = self.batch_of(partition, offset)? else { return Ok(Outcome::Before) };
        match self.append(rows) {
            Ok(()) => {}
            Err(BadRecord::Row(RowError::Full { .. })) => {
                return Err(FoldError::Full { partition, offset });
            }
            Err(bad) => return Ok(Outcome::Bad(bad)),
        }
        self.pass(partition, offset, batch, now_ms);
        if rows.is_empty() {
            self.counts.skipped += 1;
        } else {
            self.counts.folded += 1;
        }
        Ok(Outcome::Taken)
    }

    /// Counts a record of the batch that was begun and is no row.
    pub fn skip(
        &mut self,
        partition: i32,
        offset: Offset,
        now_ms: i64,
    ) -> Result<Outcome, FoldError> {
        self.add(partition, offset, &[], now_ms)
    }

    /// Sets a record of the batch that was begun aside.
    pub fn quarantine(
        &mut self,
        record: QuarantinedRecord,
        now_ms: i64,
    ) -> Result<Outcome, FoldError> {
        let (partition, offset) = (record.partition, record.offset);
        let Some(batch) = self.batch_of(partition, offset)? else { return Ok(Outcome::Before) };
        self.pass(partition, offset, batch, now_ms);
        self.counts.quarantined += 1;
        self.quarantine_bytes += size_bytes(&record);
        self.quarantine.push(record);
        Ok(Outcome::Taken)
    }

    /// Ends the batch that was begun: what it holds no record for is skipped.
    pub fn end_batch(&mut self, partition: i32, now_ms: i64) -> Result<(), FoldError> {
        let span = span_of(&mut self.spans, partition)?;
        let batch = span.batch.take();
        let batch = batch.unwrap_or_else(|| panic!("partition {partition}: no batch was begun"));
        if span.next <= batch.last_offset {
            self.counts.skipped += between(span.next, batch.last_offset.next());
            span.next = batch.last_offset.next();
            self.lineage.partitions.insert(partition, batch);
            self.oldest_ms.get_or_insert(now_ms);
        }
        Ok(())
    }

    /// Counts offsets between batches as skipped. Only a log that the cleaner compacted has such
    /// holes; whoever calls this knows that the log begins before them.
    pub fn skip_hole(&mut self, partition: i32, to: Offset, now_ms: i64) -> Result<(), FoldError> {
        let span = span_of(&mut self.spans, partition)?;
        assert!(span.batch.is_none(), "partition {partition}: inside a batch there is no hole");
        if span.next < to {
            self.counts.skipped += between(span.next, to);
            span.next = to;
            self.oldest_ms.get_or_insert(now_ms);
        }
        Ok(())
    }

    /// Whether a flush is due.
    pub fn is_ripe(&self, now_ms: i64) -> bool {
        let Some(oldest_ms) = self.oldest_ms else { return false };
        let age_ms = now_ms.saturating_sub(oldest_ms);
        u64::try_from(age_ms).is_ok_and(|age_ms| age_ms >= self.limits.age_ms_max)
            || self.memory_bytes() >= self.limits.memory_bytes_max.min(MEMORY_BYTES_MAX)
    }

    /// When the fold will be ripe by age; none while it holds nothing.
    pub fn ripe_at_ms(&self) -> Option<i64> {
        let age_ms_max = i64::try_from(self.limits.age_ms_max).unwrap_or(i64::MAX);
        self.oldest_ms.map(|oldest_ms| oldest_ms.saturating_add(age_ms_max))
    }

    /// Whether no offset was passed since the last flush.
    pub fn is_empty(&self) -> bool {
        self.oldest_ms.is_none()
    }

    /// The memory that waits for the next flush.
    pub fn memory_bytes(&self) -> usize {
        self.quarantine_bytes + self.buffers.values().map(WriteBuffer::size_bytes).sum::<usize>()
    }

    /// What became of the offsets since the last flush.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Hands out all that gathered and goes on behind it. It may stand inside a batch.
    pub fn flush(&mut self) -> Result<Flush, ArrowError> {
        let mut ranges = Vec::new();
        for (partition, span) in &mut self.spans {
            if span.from < span.next {
                ranges.push(OffsetRange { partition: *partition, from: span.from, to: span.next });
                span.from = span.next;
            }
        }
        let counts = std::mem::take(&mut self.counts);
        let spanned: u64 = ranges.iter().map(|range| between(range.from, range.to)).sum();
        assert_eq!(
            counts.folded + counts.quarantined + counts.skipped,
            spanned,
            "every offset of {ranges:?} counts once: {counts:?}"
        );
        let mut buckets = Vec::new();
        for (place, buffer) in std::mem::take(&mut self.buffers) {
            let buffered = buffer.finish()?;
            self.sequences.insert(place.clone(), buffered.next_sequence);
            let (partition, bucket) = place;
            let (rows, first_sequence) = (buffered.rows, buffered.first_sequence);
            buckets.push(BucketRows { partition, bucket, rows, first_sequence });
        }
        self.oldest_ms = None;
        self.quarantine_bytes = 0;
        let quarantine = std::mem::take(&mut self.quarantine);
        Ok(Flush { buckets, ranges, counts, quarantine, lineage: self.lineage.clone() })
    }

    /// The batch that was begun and holds the offset; none if the offset was folded before.
    fn batch_of(&self, partition: i32, offset: Offset) -> Result<Option<LastBatch>, FoldError> {
        let unknown = FoldError::UnknownPartition { partition };
        let span = self.spans.get(&partition).ok_or(unknown)?;
        let holds = |batch: &LastBatch| (batch.base_offset..=batch.last_offset).contains(&offset);
        let batch = span.batch.filter(holds);
        let batch = batch.ok_or(FoldError::OutsideBatch { partition, offset })?;
        let is_before = match self.bug {
            None => offset < span.next,
            Some(SeededBug::FoldsFromNextOffset) => {
                offset < span.next || offset == span.from && span.from == span.next
            }
        };
        Ok(if is_before { None } else { Some(batch) })
    }

    /// Moves on behind a record.
    fn pass(&mut self, partition: i32, offset: Offset, batch: LastBatch, now_ms: i64) {
        let span = self.spans.get_mut(&partition).expect("the batch was begun");
        self.counts.skipped += between(span.next, offset);
        span.next = offset.next();
        self.lineage.partitions.insert(partition, batch);
        self.oldest_ms.get_or_insert(now_ms);
    }

    /// Puts the rows of one record into their buckets: all of them or none.
    fn append(&mut self, rows: &[Row]) -> Result<(), BadRecord> {
        for row in rows {
            self.route.check(row)?;
            if rows.len() > 1 {
                self.columns.check(row)?;
            }
        }
        for row in rows {
            let place = self.route.place_of(row);
            let buffer = match self.buffers.get_mut(&place) {
                Some(buffer) => buffer,
                None => {
                    let first_sequence = self.sequences.get(&place).copied().unwrap_or(0);
                    let buffer = WriteBuffer::new(&self.schema, self.merge.clone(), first_sequence);
                    self.buffers.entry(place).or_insert(buffer)
                }
            };
            buffer.append(row)?;
        }
        Ok(())
    }
}

fn span_of(spans: &mut BTreeMap<i32, Span>, partition: i32) -> Result<&mut Span, FoldError> {
    spans.get_mut(&partition).ok_or(FoldError::UnknownPartition { partition })
}

fn size_bytes(record: &QuarantinedRecord) -> usize {
    let part = |bytes: &Option<Bytes>| bytes.as_ref().map_or(0, Bytes::len);
    size_of::<QuarantinedRecord>() + part(&record.key) + part(&record.value) + record.reason.len()
}

fn between(from: Offset, to: Offset) -> u64 {
    u64::try_from(to - from).expect("offsets are passed forwards")
}

#[cfg(test)]
mod tests;
