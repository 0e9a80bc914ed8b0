//! Cleaning a log: of each key the newest record stays. Kafka's log cleaner.
//!
//! ```text
//! before  [ 0 a=1  1 b=1  2 a=2 ][ 3 a=3  4 b=null ][ active ...
//! after   [               2     ,  3 a=3  4 b=null ][ active ...   offsets as before
//! ```
//!
//! - What a consumer that reads from the start ends up knowing of each key does not change, nor
//!   does the order of records, nor the offset, sequence or time of any.
//! - Whole segments are replaced, oldest first, each by one that covers the same offsets; readers go
//!   on with what they have. No lock is held while a segment is copied.
//! - A crash leaves the segments of before or the one of after: see `swap`.
pub mod choice;
pub mod newest;
pub mod survival;
pub mod transactions;

pub(in crate::log) mod swap;

use std::collections::BTreeMap;
use std::io;
use std::ops::ControlFlow;
use std::sync::{Arc, MutexGuard, PoisonError};

use weir_protocol::records::{BatchError, Offset, RecordFault};

use crate::disk::growing_file::GrowError;
use crate::log::cleaning::choice::{Bounds, Dirt, SegmentView, dirt, groups};
use crate::log::cleaning::newest::Newest;
use crate::log::cleaning::survival::{Fate, Knowledge, Place, Survival, learn};
use crate::log::cleaning::transactions::Transactions;
use crate::log::dir::failed;
use crate::log::error::{LogError, ReadError};
use crate::log::segment::Segment;
use crate::log::{Log, names};
use weir_protocol::records::control::marker_of as marker;

/// Why a cleaning ended before its time. The log is as it was, or cleaned in its older part.
#[derive(Debug, thiserror::Error)]
pub enum CleanError {
    /// A batch is damaged or cannot be read: trying again would not help.
    #[error("it cannot be cleaned: {0}")]
    Unreadable(#[from] ReadError),
    /// The disk is full or failed.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The broker stops, the log is deleted, or its segments went meanwhile.
    #[error("the cleaning was interrupted")]
    Interrupted,
}

/// What a cleaning did.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct Cleaned {
    /// Segments before.
    pub segments_before: usize,
    /// Segments after.
    pub segments_after: usize,
    /// Bytes that were read to be copied.
    pub bytes_before: u64,
    /// Bytes that are left of them.
    pub bytes_after: u64,
    /// Records before.
    pub records_before: u64,
    /// Records after.
    pub records_after: u64,
    /// Up to where the log is clean now.
    pub to: Offset,
}

impl Log {
    /// What of the log may be cleaned; `None` when none may, since it is damaged or closed, or its
    /// settings do not ask for it. A table still needs all from `keep_from` on.
    #[must_use]
    pub fn dirt(&self, keep_from: Option<Offset>) -> Option<Dirt> {
        let config = self.config();
        if !config.compacts || self.damage.is_some() || self.point.is_deleted() {
            return None;
        }
        let ends = self.ends();
        let bounds = Bounds {
            cleaned_to: self.dir.cleaned_to(&self.key),
            log_start: ends.log_start,
            stable: ends.last_stable.min(self.point.synced()),
            keep_from,
        };
        let views: Vec<SegmentView> = self.segments().iter().map(|one| view(one)).collect();
        Some(dirt(&views, &bounds, &config, self.dir.now_ms()))
    }

    /// Whether it is time to clean.
    #[must_use]
    pub fn is_cleaning_due(&self, dirt: &Dirt) -> bool {
        let horizon_ms = *self.lock_horizon();
        dirt.is_due(&self.config(), horizon_ms, self.dir.now_ms())
    }

    /// Cleans what `dirt` says, as far as its keys fit into so many bytes. Blocks, long: for a
    /// thread of its own. One cleaning of a log at a time. `is_over` is asked now and then.
    ///
    /// # Errors
    /// When it had to end before.
    pub fn clean(
        &self,
        dirt: &Dirt,
        keys_bytes_max: u64,
        is_over: &dyn Fn() -> bool,
    ) -> Result<Cleaned, CleanError> {
        self.dir.check()?;
        let (config, now_ms) = (self.config(), self.dir.now_ms());
        let all = self.segments();
        let count = all.iter().take_while(|one| one.contents().next_offset <= dirt.limit).count();
        let sealed = &all[..count.min(all.len() - 1)];
        let producers = self.last_of_producers();
        let transactions = self.transactions(&all, dirt.limit, is_over)?;
        let bugs = self.dir.options().seeded_bugs;
        let newest = Newest::new(dirt.first_dirty, keys_bytes_max).with_bug(bugs.keeps_outdated);
        let newest = learn_dirty(newest, sealed, dirt, &transactions, is_over)?;
        let end = newest.end();
        let count = sealed.iter().take_while(|one| one.base_offset() < end).count();
        let sealed = &sealed[..count];
        let Some(last) = sealed.last() else {
            return Ok(Cleaned { to: end, ..Cleaned::default() });
        };
        // Holes are allowed below the recovery point only: so it must be durable before they are.
        if self.dir.recovery_point(&self.key) < last.contents().next_offset {
            self.dir.checkpoint()?;
        }
        let knowledge = Knowledge {
            newest: &newest,
            transactions: &transactions,
            producers: &producers,
            now_ms,
            delete_retention_ms: config.delete_retention_ms,
        };
        let mut survival = Survival::new(knowledge);
        let mut cleaned = Cleaned { to: end, ..Cleaned::default() };
        let views: Vec<SegmentView> = sealed.iter().map(|one| view(one)).collect();
        let mut rest = sealed;
        for count in groups(&views, &config) {
            let (group, later) = rest.split_at(count);
            rest = later;
            self.clean_group(group, &mut survival, &mut cleaned, is_over)?;
        }
        if self.point.is_deleted() {
            // Another log may have its name by now.
            return Err(CleanError::Interrupted);
        }
        self.dir.set_cleaned(&self.key, end)?;
        *self.lock_horizon() = survival.next_horizon_ms();
        Ok(cleaned)
    }

    fn lock_horizon(&self) -> MutexGuard<'_, Option<i64>> {
        self.next_horizon_ms.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The last offset of each producer that may go on.
    fn last_of_producers(&self) -> BTreeMap<i64, Offset> {
        let appender = self.lock();
        let last = |(id, producer): (i64, &crate::producers::Producer)| {
            Some((id, producer.batches.back()?.last_offset))
        };
        appender.producers.iter().filter_map(last).collect()
    }

    /// The transactions that touch what lies before `limit`; some of them end after it.
    fn transactions(
        &self,
        segments: &[Arc<Segment>],
        limit: Offset,
        is_over: &dyn Fn() -> bool,
    ) -> Result<Transactions, CleanError> {
        let mut transactions = Transactions::default();
        for segment in segments {
            if segment.base_offset() >= limit && transactions.open_from().is_none() {
                break;
            }
            let walked = segment.walk(0, |position, header| {
                let marked = header.is_control().then(|| segment.batch_at(position, header));
                match marked.transpose() {
                    Ok(batch) => transactions.see(header, batch.as_ref().and_then(marker)),
                    Err(error) => return ControlFlow::Break(error),
                }
                ControlFlow::Continue(())
            });
            if let Some(error) = walked? {
                return Err(error.into());
            }
            if is_over() {
                return Err(CleanError::Interrupted);
            }
        }
        match transactions.open_from() {
            // Its end is not there yet, or not durable: the next time.
            Some(first) if first < limit => Err(CleanError::Interrupted),
            _ => Ok(transactions),
        }
    }

    /// Makes one segment of several.
    fn clean_group(
        &self,
        group: &[Arc<Segment>],
        survival: &mut Survival<'_>,
        cleaned: &mut Cleaned,
        is_over: &dyn Fn() -> bool,
    ) -> Result<(), CleanError> {
        let copied = self.copy(group, survival, cleaned, is_over);
        let base_offset = group[0].base_offset();
        let cleaned_path = names::file(&self.folder, base_offset, names::CLEANED);
        let (fresh, is_changed) = match copied {
            Ok(copied) => copied,
            Err(error) => {
                // Best effort: the next start or cleaning removes it too.
                let _ = self.dir.disk().unlink(&cleaned_path);
                return Err(error);
            }
        };
        cleaned.segments_before += group.len();
        cleaned.segments_after += 1;
        if group.len() == 1 && !is_changed {
            let removed = self.dir.disk().unlink(&cleaned_path);
            return Ok(removed.map_err(failed("remove", &cleaned_path))?);
        }
        let contents = fresh.contents();
        let next_offset = group[group.len() - 1].contents().next_offset;
        assert_eq!(contents.next_offset, next_offset, "{cleaned_path} covers the same offsets");
        self.swap(group, Arc::new(fresh))
    }

    /// Copies what stays. The copy is durable when this returns; its name is not.
    fn copy(
        &self,
        group: &[Arc<Segment>],
        survival: &mut Survival<'_>,
        cleaned: &mut Cleaned,
        is_over: &dyn Fn() -> bool,
    ) -> Result<(Segment, bool), CleanError> {
        let base_offset = group[0].base_offset();
        let path = names::file(&self.folder, base_offset, names::CLEANED);
        let made = Segment::create_cleaned(self.dir.disk(), &self.folder, base_offset);
        let fresh = made.map_err(|error| self.unwritten("make", &path, error))?;
        let interval_bytes = self.config().index_interval_bytes;
        let last_offset = group[group.len() - 1].contents().next_offset;
        let mut is_changed = false;
        for segment in group {
            let appended_ms = segment.contents().last_append_ms;
            let (mut unasked_bytes, mut next_offset) = (0, segment.base_offset());
            let segment_end = segment.contents().next_offset;
            segment.each_batch(|position, batch| {
                let header = batch.header();
                // The checksum does not cover where a batch stands.
                if header.base_offset < next_offset
                    || header.last_offset() < header.base_offset
                    || header.last_offset() >= segment_end
                {
                    let strange = BatchError::Record { index: 0, fault: RecordFault::OffsetDelta };
                    return Err(segment.bad_batch(position, strange).into());
                }
                next_offset = header.last_offset().next();
                let is_last = header.last_offset().next() == last_offset;
                let place = if is_last { Place::Last } else { Place::Within };
                let fate = survival
                    .next(batch, place)
                    .map_err(|error| segment.bad_batch(position, error))?;
                cleaned.bytes_before += batch.bytes().len() as u64;
                cleaned.records_before += u64::try_from(header.record_count).unwrap_or(0);
                is_changed |= fate != Fate::Stays;
                let left = match &fate {
                    Fate::Stays => Some(batch),
                    Fate::Becomes(thinned) => Some(thinned),
                    Fate::Goes => None,
                };
                if let Some(left) = left {
                    cleaned.bytes_after += left.bytes().len() as u64;
                    cleaned.records_after += u64::try_from(left.header().record_count).unwrap_or(0);
                    fresh
                        .append_cleaned(left, interval_bytes, appended_ms)
                        .map_err(|error| self.ungrown(&path, error))?;
                }
                unasked_bytes += batch.bytes().len();
                if unasked_bytes >= BYTES_BETWEEN_ASKING {
                    unasked_bytes = 0;
                    if is_over() {
                        return Err(CleanError::Interrupted);
                    }
                }
                Ok(())
            })?;
        }
        let is_lazy = self.dir.options().seeded_bugs.swaps_before_sync;
        self.dir.written("sync", &path, fresh.finish_cleaned(is_lazy))?;
        Ok((fresh, is_changed))
    }

    /// A file of a deleted log cannot be made, which is no failure of the disk.
    fn unwritten(&self, doing: &'static str, path: &str, error: io::Error) -> CleanError {
        if self.point.is_deleted() {
            return CleanError::Interrupted;
        }
        match self.dir.written::<()>(doing, path, Err(error)) {
            Err(error) => error.into(),
            Ok(()) => CleanError::Interrupted,
        }
    }

    fn ungrown(&self, path: &str, error: GrowError) -> CleanError {
        match error {
            GrowError::Passing(error) => failed("write", path)(error).into(),
            GrowError::Broken(error) => self.unwritten("write", path, error),
        }
    }
}

/// After so many bytes a copy asks whether it is still wanted.
const BYTES_BETWEEN_ASKING: usize = 4 << 20;

/// The newest offset of each key in the dirty part, as far as they fit.
fn learn_dirty(
    mut newest: Newest,
    sealed: &[Arc<Segment>],
    dirt: &Dirt,
    transactions: &Transactions,
    is_over: &dyn Fn() -> bool,
) -> Result<Newest, CleanError> {
    for segment in sealed.iter().filter(|one| one.contents().next_offset > dirt.first_dirty) {
        let mut is_full = false;
        segment.each_batch(|position, batch| {
            is_full |= newest.is_full();
            if is_full || batch.header().last_offset() < dirt.first_dirty {
                return Ok::<(), CleanError>(());
            }
            learn(&mut newest, transactions, batch, dirt.first_dirty)
                .map_err(|error| segment.bad_batch(position, error))?;
            Ok(())
        })?;
        if is_full {
            break;
        }
        if is_over() {
            return Err(CleanError::Interrupted);
        }
    }
    Ok(newest)
}

/// Batches without a time are as old as their append.
fn view(segment: &Segment) -> SegmentView {
    let contents = segment.contents();
    let or_append = |time_ms: i64| if time_ms < 0 { contents.last_append_ms } else { time_ms };
    SegmentView {
        base_offset: contents.base_offset,
        next_offset: contents.next_offset,
        size_bytes: contents.size_bytes,
        first_ms: or_append(contents.first_timestamp_ms),
        latest_ms: or_append(contents.max_timestamp_ms),
    }
}

#[cfg(test)]
mod tests;
