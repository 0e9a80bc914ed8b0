//! Offsets by time: of the first record that is not older than a time, and of the latest record.
//! To the record, not to the batch. All of it may have to wait for the disk.
use std::cmp::Reverse;
use std::ops::ControlFlow;
use std::sync::Arc;

use weir_protocol::records::Offset;
use weir_protocol::records::batch::BatchHeader;

use crate::log::error::ReadError;
use crate::log::segment::Segment;
use crate::log::validate::DECOMPRESSED_BYTES_MAX;
use crate::log::{Log, names, segment_of};

/// A record found by its time: its offset, its time, its leader epoch.
pub type TimedOffset = (Offset, i64, i32);

impl Log {
    /// The first record, in the order of offsets, that is not older than `target_ms`.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub fn offset_for_timestamp(&self, target_ms: i64) -> Result<Option<TimedOffset>, ReadError> {
        let ends = self.ends();
        let segments = self.segments();
        for segment in &segments[segment_of(&segments, ends.log_start)..] {
            if segment.contents().max_timestamp_ms < target_ms {
                continue;
            }
            let mut position = segment.position_before_time(target_ms)?;
            // A header may claim a later time than its records bear; then the search goes on.
            while let Some((at, header)) = first_batch(segment, position, |header| {
                header.max_timestamp_ms >= target_ms && header.last_offset() >= ends.log_start
            })? {
                if header.base_offset >= ends.high_watermark {
                    return Ok(None);
                }
                let range = ends.log_start..ends.high_watermark;
                let found = records(segment, at, &header)?
                    .into_iter()
                    .find(|(offset, time)| *time >= target_ms && range.contains(offset));
                if let Some((offset, time)) = found {
                    return Ok(Some((offset, time, header.leader_epoch)));
                }
                position = at + header.size_bytes() as u64;
            }
        }
        Ok(None)
    }

    /// The first of the latest records.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub fn max_timestamp(&self) -> Result<Option<TimedOffset>, ReadError> {
        let ends = self.ends();
        let segments = self.segments();
        // The latest first: mostly one look is enough. What a segment holds may not all be readable,
        // though, so the next may still be later than what was found.
        let mut candidates = segments[segment_of(&segments, ends.log_start)..].to_vec();
        candidates.sort_by_key(|segment| Reverse(segment.contents().max_timestamp_ms));
        let mut latest: Option<(i64, Arc<Segment>, u64, BatchHeader)> = None;
        for segment in candidates {
            let known_ms = latest.as_ref().map_or(i64::MIN, |latest| latest.0);
            if segment.contents().max_timestamp_ms <= known_ms {
                break;
            }
            segment.walk(0, |at, header| {
                let is_later = latest.as_ref().is_none_or(|it| it.0 < header.max_timestamp_ms);
                // An emptied batch keeps its latest time, of a record that is gone.
                if is_later
                    && header.record_count > 0
                    && header.last_offset() >= ends.log_start
                    && header.base_offset < ends.high_watermark
                {
                    latest = Some((header.max_timestamp_ms, segment.clone(), at, *header));
                }
                ControlFlow::<()>::Continue(())
            })?;
        }
        let Some((_, segment, at, header)) = latest else { return Ok(None) };
        let records = records(&segment, at, &header)?;
        let latest = records
            .into_iter()
            .filter(|(offset, _)| *offset >= ends.log_start)
            .reduce(|one, next| if next.1 > one.1 { next } else { one });
        Ok(latest.map(|(offset, time)| (offset, time, header.leader_epoch)))
    }
}

/// The first batch from `position` on that is wanted.
fn first_batch(
    segment: &Segment,
    position: u64,
    is_wanted: impl Fn(&BatchHeader) -> bool,
) -> Result<Option<(u64, BatchHeader)>, ReadError> {
    segment.walk(position, |at, header| {
        if is_wanted(header) {
            ControlFlow::Break((at, *header))
        } else {
            ControlFlow::Continue(())
        }
    })
}

/// Offsets and times of the records of a batch.
fn records(
    segment: &Segment,
    position: u64,
    header: &BatchHeader,
) -> Result<Vec<(Offset, i64)>, ReadError> {
    let corrupt = |source| ReadError::Corrupt { path: segment.path(names::LOG), position, source };
    let batch = segment.batch_at(position, header)?;
    let records = batch.records(DECOMPRESSED_BYTES_MAX).map_err(corrupt)?;
    records
        .map(|record| record.map(|record| (record.offset, record.timestamp_ms)).map_err(corrupt))
        .collect()
}
