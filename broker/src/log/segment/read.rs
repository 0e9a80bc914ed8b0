//! Reading batches out of a segment: through its map, or from its file.
use bytes::Bytes;
use weir_protocol::records::batch::HEADER_BYTES;
use weir_protocol::records::{BatchError, Offset};

use crate::log::error::ReadError;
use crate::log::segment::Segment;
use crate::log::walk::{Selection, select};

/// What a cold read takes in beyond the bytes asked for: the way from an index entry to the batch.
const SLACK_BYTES: u64 = 32 << 10;

/// The first batch that is asked for, when it alone is bigger than what is asked for.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum FirstBatch {
    /// Comes all the same: a reader with a small bound would never get on.
    Whole,
    /// Does not come.
    Bounded,
}

/// What a reader asks for.
#[derive(Copy, Clone, Debug)]
pub(in crate::log) struct Asked {
    pub(in crate::log) from: Offset,
    pub(in crate::log) bytes_max: usize,
    pub(in crate::log) first_batch: FirstBatch,
}

impl Asked {
    /// The offset before it: the batch that ends there, if its neighbour is not checked already,
    /// tells whether the first one asked for stands where it belongs.
    fn before(&self) -> Offset {
        self.from.plus(-1)
    }
}

/// What a segment has of what was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::log) enum Found {
    /// Whole batches.
    Batches(Bytes),
    /// Nothing: all its batches end before the asked offset.
    Before,
}

impl Found {
    /// The answer when the first batch alone is bigger than what was asked for.
    fn first(asked: &Asked, batch: Bytes) -> Found {
        match asked.first_batch {
            FirstBatch::Whole => Found::Batches(batch),
            FirstBatch::Bounded => Found::Batches(Bytes::new()),
        }
    }
}

impl Segment {
    /// Batches from the one that holds the asked offset on, out of the map; `None` without a map.
    pub(in crate::log) fn read_mapped(&self, asked: &Asked) -> Result<Option<Found>, ReadError> {
        let readable = self.file.readable();
        let start = self.position_before(asked.before())?.min(readable);
        let Some(bytes) = self.file.mapped_slice(start..readable) else { return Ok(None) };
        let skip = |limit: usize| {
            let state = self.read_state();
            let known = state.indexes.as_ref()?.offsets.batch_before(start + limit as u64);
            usize::try_from(known.checked_sub(start)?).ok()
        };
        let selection = select(&bytes, 0, asked.from, asked.bytes_max, skip)
            .map_err(|(at, source)| self.corrupt(start + at as u64, source))?;
        let check = |range| self.check_served(start, &bytes, range, asked.from);
        Ok(Some(match selection {
            Selection::Range { start, end } => Found::Batches(bytes.slice(check(start..end)?)),
            Selection::TooBig { start, end } => {
                Found::first(asked, bytes.slice(check(start..end)?))
            }
            Selection::Before => Found::Before,
            Selection::Cut { start: at, .. } => {
                return Err(self.corrupt(start + at as u64, cut(readable, start + at as u64)));
            }
        }))
    }

    /// The same out of the file. Blocks.
    pub(in crate::log) fn read_file(&self, asked: &Asked) -> Result<Found, ReadError> {
        let readable = self.file.readable();
        let mut start = self.position_before(asked.before())?.min(readable);
        let mut window_bytes = (asked.bytes_max as u64).saturating_add(SLACK_BYTES);
        loop {
            let end = start.saturating_add(window_bytes).min(readable);
            let bytes = self.bytes(start..end)?;
            let selection = select(&bytes, 0, asked.from, asked.bytes_max, |_| None)
                .map_err(|(at, source)| self.corrupt(start + at as u64, source))?;
            let check = |range| self.check_served(start, &bytes, range, asked.from);
            match selection {
                Selection::Range { start, end } => {
                    return Ok(Found::Batches(bytes.slice(check(start..end)?)));
                }
                Selection::TooBig { start, end } => {
                    return Ok(Found::first(asked, bytes.slice(check(start..end)?)));
                }
                Selection::Before if end == readable => return Ok(Found::Before),
                Selection::Before => start = end,
                Selection::Cut { start: at, .. } if end == readable => {
                    let at = start + at as u64;
                    return Err(self.corrupt(at, cut(readable, at)));
                }
                Selection::Cut { start: at, end } => {
                    let needed = end.map_or(0, |end| end - at) as u64;
                    window_bytes = window_bytes.max(needed);
                    start += at as u64;
                }
            }
        }
    }
}

fn cut(readable: u64, position: u64) -> BatchError {
    let available = usize::try_from(readable - position).unwrap_or(usize::MAX);
    BatchError::Truncated { needed: HEADER_BYTES, available }
}
