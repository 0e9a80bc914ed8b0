//! Batches become rows in the fold. Blocks: decompresses, decodes, sorts into buckets.
//!
//! - Every offset that goes by is folded, quarantined or skipped; nothing else moves the place.
//! - It pauses exactly where something else must happen first, even inside a batch, and goes on
//!   there: the record that caused the pause is held, not lost and not counted.

use std::collections::VecDeque;

use bytes::Bytes;
use weir_protocol::records::Offset;
use weir_protocol::records::batch::RecordBatch;
use weir_protocol::records::record::{Record, Records};
use weir_protocol::table::column::Column;
use weir_protocol::table::settings::OnBadRecord;

use crate::clock::Clock;
use crate::decode::{Decoded, Decoder};
use crate::fold::Fold;
use crate::fold::outcome::{FoldError, Outcome};
use crate::lineage::LastBatch;
use crate::quarantine::QuarantinedRecord;
use crate::row::Row;
use crate::source::{BatchKind, Fetched};
use crate::table::shared::Declared;

/// What a batch may become when it is decompressed.
pub(super) const DECOMPRESSED_BYTES_MAX: usize = 256 << 20;
/// A batch that cannot be read is set aside offset by offset, but not more of them than this.
const BAD_OFFSETS_MAX: i64 = 100_000;
/// Between two looks at the memory that is taken: so many records, or so many bytes of them.
const RECORDS_BETWEEN_LOOKS: u32 = 512;
const BYTES_BETWEEN_LOOKS: usize = 1 << 20;

/// Why taking in has paused.
#[derive(Debug)]
pub(super) enum Pause {
    /// All that was fetched is in.
    Empty,
    /// A flush is due first.
    Ripe,
    /// The table needs these columns first.
    NeedsSchema(Vec<Column>),
    /// A bad record, and the table is told to halt.
    Halted {
        /// The partition.
        partition: i32,
        /// Where the record lies.
        offset: Offset,
        /// What is wrong with it.
        reason: String,
    },
    /// A batch fails its checksum: it may have been damaged on the way, so it is to be read again.
    Damaged(DamagedPlace),
}

/// The place of a batch that failed its checksum.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct DamagedPlace {
    /// The partition.
    pub partition: i32,
    /// Where the batch begins.
    pub base_offset: Offset,
}

impl std::fmt::Display for DamagedPlace {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "partition {}, offset {}", self.partition, self.base_offset)
    }
}

/// Rows in the making, and what was fetched and waits.
#[derive(Debug)]
pub(super) struct Intake {
    topic: String,
    on_bad_record: OnBadRecord,
    /// The log is compacted: offsets may be missing between its batches.
    has_holes: bool,
    /// More rows than this do not wait for a commit.
    memory_bytes_max: usize,
    /// A batch that was read again and again and stays damaged.
    given_up: Option<DamagedPlace>,
    decoder: Decoder,
    fold: Fold,
    queue: VecDeque<Fetched>,
    open: Option<OpenBatch>,
    rows: Vec<Row>,
    bytes: u64,
    newest_ms: i64,
}

/// A batch of which some records are in.
#[derive(Debug)]
struct OpenBatch {
    partition: i32,
    place: LastBatch,
    batch: RecordBatch,
    /// What is left of it, or why it cannot be read on.
    records: Result<Records, String>,
    /// Read, but not in.
    held: Option<Record>,
    /// The next offset that may be read: they ascend.
    next: Offset,
}

impl Intake {
    pub(super) fn new(
        declared: &Declared,
        memory_bytes_max: usize,
        decoder: Decoder,
        fold: Fold,
    ) -> Self {
        Self {
            topic: declared.topic.clone(),
            on_bad_record: declared.settings.on_bad_record,
            has_holes: declared.has_holes,
            memory_bytes_max,
            given_up: None,
            decoder,
            fold,
            queue: VecDeque::new(),
            open: None,
            rows: Vec::new(),
            bytes: 0,
            newest_ms: -1,
        }
    }

    /// Takes a damaged batch for a bad one from now on.
    pub(super) fn give_up(&mut self, place: Option<DamagedPlace>) {
        self.given_up = place;
    }

    /// The rows so far.
    pub(super) fn fold(&mut self) -> &mut Fold {
        &mut self.fold
    }

    /// Whether all that was fetched is in.
    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty() && self.open.is_none()
    }

    /// What was fetched and waits its turn.
    pub(super) fn push(&mut self, fetched: Vec<Fetched>) {
        self.queue.extend(fetched);
    }

    /// Lets other tables have their share of the memory, or gives this one more.
    pub(super) fn limit_memory(&mut self, bytes_max: usize) {
        self.memory_bytes_max = bytes_max;
    }

    /// Whether a flush is due.
    pub(super) fn is_ripe(&self, now_ms: i64) -> bool {
        self.fold.is_ripe(now_ms) || self.fold.memory_bytes() >= self.memory_bytes_max
    }

    /// Bytes of the batches that were begun since this was asked last.
    pub(super) fn take_bytes(&mut self) -> u64 {
        std::mem::take(&mut self.bytes)
    }

    /// The timestamp of the newest record so far; -1 if there is none.
    pub(super) fn newest_ms(&self) -> i64 {
        self.newest_ms
    }

    /// Goes on with another schema. A batch that is half in is begun again: the new fold drops
    /// what the old one took.
    pub(super) fn go_on_with(&mut self, mut decoder: Decoder, fold: Fold) -> Result<(), FoldError> {
        decoder.learn_from(&self.decoder);
        (self.decoder, self.fold) = (decoder, fold);
        if let Some(open) = &self.open {
            self.fold.begin_batch(open.partition, open.place)?;
        }
        Ok(())
    }

    /// Takes in what was fetched, up to a pause.
    pub(super) fn run(&mut self, clock: &dyn Clock) -> Result<Pause, FoldError> {
        loop {
            let now_ms = clock.now_ms();
            if self.open.is_none() {
                if self.queue.is_empty() {
                    return Ok(Pause::Empty);
                }
                if self.is_ripe(now_ms) {
                    return Ok(Pause::Ripe);
                }
                let Some(fetched) = self.queue.pop_front() else { return Ok(Pause::Empty) };
                if let Some(pause) = self.begin(fetched, now_ms)? {
                    return Ok(pause);
                }
            } else if let Some(pause) = self.go_on(now_ms)? {
                return Ok(pause);
            }
        }
    }

    /// Opens a batch; passes it by at once if it holds nothing for the table.
    fn begin(&mut self, fetched: Fetched, now_ms: i64) -> Result<Option<Pause>, FoldError> {
        let Fetched { partition, batch, kind } = fetched;
        let header = *batch.header();
        let place = LastBatch {
            base_offset: header.base_offset,
            last_offset: header.last_offset(),
            leader_epoch: header.leader_epoch,
            crc: header.crc,
        };
        let checked = batch.check_crc();
        let is_damaged = checked.is_err();
        let damaged = DamagedPlace { partition, base_offset: header.base_offset };
        if is_damaged && self.given_up != Some(damaged) {
            return Ok(Some(Pause::Damaged(damaged)));
        }
        if self.has_holes {
            // The log begins before it, or the fetch would have been refused: a hole is the
            // cleaner's work.
            self.fold.skip_hole(partition, header.base_offset, now_ms)?;
        }
        let next = self.fold.begin_batch(partition, place)?;
        let is_passed = kind != BatchKind::Records || next > place.last_offset;
        if is_passed && !is_damaged {
            self.fold.end_batch(partition, now_ms)?;
            return Ok(None);
        }
        self.bytes += batch.bytes().len() as u64;
        self.newest_ms = self.newest_ms.max(header.max_timestamp_ms);
        let records = checked.and_then(|()| batch.records(DECOMPRESSED_BYTES_MAX));
        let records = records.map_err(|error| error.to_string());
        let next = place.base_offset;
        self.open = Some(OpenBatch { partition, place, batch, records, held: None, next });
        Ok(None)
    }

    /// Takes in the records of the open batch.
    fn go_on(&mut self, now_ms: i64) -> Result<Option<Pause>, FoldError> {
        let Some(mut open) = self.open.take() else { return Ok(None) };
        let (mut until_look, mut unseen_bytes) = (RECORDS_BETWEEN_LOOKS, 0);
        loop {
            let read = match open.held.take() {
                Some(record) => Some(Ok(record)),
                None => open.read(),
            };
            let pause = match read {
                None => {
                    self.fold.end_batch(open.partition, now_ms)?;
                    return Ok(None);
                }
                Some(Err(reason)) => {
                    let pause = self.set_rest_aside(&open, &reason, now_ms)?;
                    match pause {
                        None => open.next = open.place.last_offset.next(),
                        Some(_) => open.records = Err(reason),
                    }
                    pause
                }
                Some(Ok(record)) => {
                    unseen_bytes += size_bytes(&record);
                    let pause = self.take(open.partition, &record, now_ms)?;
                    match pause {
                        None => open.next = record.offset.next(),
                        Some(_) => open.held = Some(record),
                    }
                    pause
                }
            };
            until_look -= 1;
            if pause.is_some() {
                self.open = Some(open);
                return Ok(pause);
            }
            if until_look == 0 || unseen_bytes >= BYTES_BETWEEN_LOOKS {
                (until_look, unseen_bytes) = (RECORDS_BETWEEN_LOOKS, 0);
                if self.is_ripe(now_ms) {
                    self.open = Some(open);
                    return Ok(Some(Pause::Ripe));
                }
            }
        }
    }

    /// One record: rows, nothing, or a bad one.
    fn take(
        &mut self,
        partition: i32,
        record: &Record,
        now_ms: i64,
    ) -> Result<Option<Pause>, FoldError> {
        if self.fold.next_of(partition).is_some_and(|next| record.offset < next) {
            return Ok(None);
        }
        self.rows.clear();
        let reason = match self.decoder.decode(record, &mut self.rows) {
            Ok(Decoded::NeedsSchema(columns)) => return Ok(Some(Pause::NeedsSchema(columns))),
            Ok(Decoded::Rows | Decoded::Skipped) => {
                match self.fold.add(partition, record.offset, &self.rows, now_ms) {
                    Ok(Outcome::Taken | Outcome::Before) => return Ok(None),
                    Ok(Outcome::Bad(bad)) => bad.to_string(),
                    Err(FoldError::Full { .. }) if self.fold.memory_bytes() > 0 => {
                        return Ok(Some(Pause::Ripe));
                    }
                    Err(FoldError::Full { .. }) => "its rows are too large".to_owned(),
                    Err(error) => return Err(error),
                }
            }
            Err(error) => error.reason,
        };
        if self.on_bad_record == OnBadRecord::Halt {
            return Ok(Some(Pause::Halted { partition, offset: record.offset, reason }));
        }
        let bad = QuarantinedRecord {
            topic: self.topic.clone(),
            partition,
            offset: record.offset,
            timestamp_ms: record.timestamp_ms,
            // A copy: a slice would hold the whole decompressed batch for as long as it waits.
            key: record.key.as_deref().map(Bytes::copy_from_slice),
            value: record.value.as_deref().map(Bytes::copy_from_slice),
            reason,
        };
        self.fold.quarantine(bad, now_ms)?;
        Ok(None)
    }

    /// The rest of a batch that cannot be read on: its first offset keeps the bytes of the batch.
    fn set_rest_aside(
        &mut self,
        open: &OpenBatch,
        reason: &str,
        now_ms: i64,
    ) -> Result<Option<Pause>, FoldError> {
        let OpenBatch { partition, place, batch, .. } = open;
        let first = self.fold.next_of(*partition).unwrap_or(place.base_offset);
        let count = place.last_offset.next() - first;
        if self.on_bad_record == OnBadRecord::Halt || count > BAD_OFFSETS_MAX {
            let reason = format!("the batch cannot be read: {reason}");
            return Ok(Some(Pause::Halted { partition: *partition, offset: first, reason }));
        }
        for index in 0..count {
            let offset = first.plus(index);
            let (value, reason) = if index == 0 {
                (
                    Some(Bytes::copy_from_slice(batch.bytes())),
                    format!("the batch cannot be read: {reason}"),
                )
            } else {
                (None, format!("in the unreadable batch that is kept at offset {first}"))
            };
            let bad = QuarantinedRecord {
                topic: self.topic.clone(),
                partition: *partition,
                offset,
                timestamp_ms: batch.header().max_timestamp_ms,
                key: None,
                value,
                reason,
            };
            self.fold.quarantine(bad, now_ms)?;
        }
        Ok(None)
    }
}

fn size_bytes(record: &Record) -> usize {
    record.key.as_ref().map_or(0, Bytes::len) + record.value.as_ref().map_or(0, Bytes::len)
}

impl OpenBatch {
    /// The next record; an error, once, if the batch cannot be read on; none at its end.
    fn read(&mut self) -> Option<Result<Record, String>> {
        if self.next > self.place.last_offset {
            return None;
        }
        let records = match &mut self.records {
            Ok(records) => records,
            Err(reason) => return Some(Err(reason.clone())),
        };
        Some(match records.next()? {
            Err(error) => Err(error.to_string()),
            Ok(record) if (self.next..=self.place.last_offset).contains(&record.offset) => {
                Ok(record)
            }
            Ok(record) => Err(format!("offset {} is out of order", record.offset)),
        })
    }
}

#[cfg(test)]
mod tests;
