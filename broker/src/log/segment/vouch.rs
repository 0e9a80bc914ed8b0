//! What is served was written so: batches that this run has neither written nor checked are checked
//! as they are read, by their checksums and by the batches around them, since no checksum covers an
//! offset. Without holes between offsets that is done once.
use std::ops::Range;
use std::sync::atomic::Ordering;
use std::sync::{MutexGuard, PoisonError};

use bytes::Bytes;
use weir_protocol::records::Offset;
use weir_protocol::records::batch::{BatchHeader, RecordBatch};

use crate::log::error::ReadError;
use crate::log::segment::Segment;
use crate::log::segment::checked::Checked;
use crate::log::walk::headers;

impl Segment {
    /// Says that offsets may be missing between its batches.
    pub(in crate::log) fn allow_holes(&self) {
        self.has_holes.store(true, Ordering::Relaxed);
    }

    /// How much of a range of `bytes`, which stand at `start` of the file, may be served to who asks
    /// from an offset on: whole good batches, at least one.
    pub(super) fn check_served(
        &self,
        start: u64,
        bytes: &Bytes,
        range: Range<usize>,
        from: Offset,
    ) -> Result<Range<usize>, ReadError> {
        let (vouched_from, contents) = {
            let state = self.read_state();
            (state.vouched_from, state.contents)
        };
        if start + range.start as u64 >= vouched_from {
            return Ok(range);
        }
        let has_holes = self.has_holes.load(Ordering::Relaxed);
        // One that begins after what was asked for must be looked at anew: why it does.
        let first = BatchHeader::parse(&bytes[range.start..]);
        if !has_holes
            && first.is_ok_and(|first| first.base_offset <= from)
            && self.checked().covers(&(start + range.start as u64..start + range.end as u64))
        {
            return Ok(range);
        }
        let mut row = Row {
            expected: self.expected_at(start, bytes, range.start),
            from,
            end: contents.next_offset,
            leader_epoch: -1,
            has_holes,
        };
        let mut good_end = range.start;
        while good_end < range.end {
            let position = start + good_end as u64;
            let batch = RecordBatch::first_of(&bytes.slice(good_end..range.end))
                .map_err(|error| self.corrupt(position, error))?;
            let next = good_end + batch.bytes().len();
            let checked = match batch.check_crc() {
                Ok(()) => row.check(&batch, bytes.get(next..).unwrap_or_default()),
                Err(error) => Err(Misfit::Checksum(error)),
            };
            match checked {
                Ok(()) => good_end = next,
                // What is good comes first; who reads on is told then.
                Err(_) if good_end > range.start => break,
                Err(Misfit::Checksum(error)) => return Err(self.corrupt(position, error)),
                Err(Misfit::Place { found, expected }) => {
                    return Err(self.displaced(position, found, expected));
                }
            }
        }
        if has_holes {
            self.check_skipped(start, &bytes.slice(..good_end), range.start, from)?;
        } else {
            self.checked().add(start + range.start as u64..start + good_end as u64);
        }
        Ok(range.start..good_end)
    }

    fn checked(&self) -> MutexGuard<'_, Checked> {
        self.checked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The offset that the batch at `at` should have by the one before it; none when it is unknown.
    fn expected_at(&self, start: u64, bytes: &Bytes, at: usize) -> Option<Offset> {
        if at == 0 {
            return (start == 0).then(|| self.base_offset());
        }
        let before = headers(&bytes[..at], 0).filter_map(Result::ok).last();
        before.map(|(_, header)| header.last_offset().next())
    }

    /// Where offsets may be missing, a batch of lowered offset would be passed over as one that ends
    /// before what is asked for. So those that were passed over are checked too.
    fn check_skipped(
        &self,
        start: u64,
        bytes: &Bytes,
        served_from: usize,
        from: Offset,
    ) -> Result<(), ReadError> {
        let first = BatchHeader::parse(&bytes[served_from..]);
        if first.is_ok_and(|first| first.base_offset <= from) {
            return Ok(());
        }
        let mut last: Option<Offset> = None;
        let mut at = 0;
        while at < served_from {
            let position = start + at as u64;
            let batch = RecordBatch::first_of(&bytes.slice(at..))
                .map_err(|error| self.corrupt(position, error))?;
            batch.check_crc().map_err(|error| self.corrupt(position, error))?;
            let found = batch.header().base_offset;
            if let Some(last) = last.filter(|last| found <= *last) {
                return Err(self.displaced(position, found, last.next()));
            }
            last = Some(batch.header().last_offset());
            at += batch.bytes().len();
        }
        Ok(())
    }

    fn displaced(&self, position: u64, found: Offset, expected: Offset) -> ReadError {
        let path = self.path(crate::log::names::LOG);
        ReadError::Displaced { path, position, found, expected }
    }
}

/// Why a batch does not stand where it belongs.
enum Misfit {
    Checksum(weir_protocol::records::BatchError),
    Place { found: Offset, expected: Offset },
}

/// Batches that follow each other.
struct Row {
    expected: Option<Offset>,
    /// What was asked for: without holes, the first batch has it.
    from: Offset,
    /// The offset after the segment's last.
    end: Offset,
    leader_epoch: i32,
    has_holes: bool,
}

impl Row {
    /// Takes the next batch. `following` are the bytes behind it, as far as they are known.
    fn check(&mut self, batch: &RecordBatch, following: &[u8]) -> Result<(), Misfit> {
        let header = batch.header();
        let (found, last) = (header.base_offset, header.last_offset());
        let asked = if self.has_holes { found } else { found.min(self.from) };
        let expected = self.expected.unwrap_or(asked);
        let leaves_hole = found > expected;
        let is_overtaken = (leaves_hole || self.expected.is_none())
            && BatchHeader::parse(following)
                .is_ok_and(|next| next.base_offset >= expected && next.base_offset <= last);
        let fits = found >= expected && (self.has_holes || !leaves_hole) && !is_overtaken;
        if !fits || last >= self.end || header.leader_epoch < self.leader_epoch {
            return Err(Misfit::Place { found, expected });
        }
        (self.expected, self.leader_epoch) = (Some(last.next()), header.leader_epoch);
        Ok(())
    }
}
