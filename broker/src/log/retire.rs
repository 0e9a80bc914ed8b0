//! What goes: records below a new start, segments past their time, the whole log.
//!
//! The new start is durable before anyone learns of it, and files go only after that: what was
//! once seen as gone never comes back. Before a segment goes, a durable snapshot holds its
//! producers.
use std::io;
use std::sync::{Arc, PoisonError};

use uuid::Uuid;
use weir_protocol::records::Offset;

use crate::log::dir::remove_folder;
use crate::log::error::{DeleteError, LogError};
use crate::log::retention::{SegmentFacts, expired};
use crate::log::segment::Segment;
use crate::log::{Appender, Log, names};

/// What retention took away.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct Retired {
    /// Segments.
    pub segments: usize,
    /// Bytes of their batches.
    pub bytes: u64,
}

impl Log {
    /// Makes `offset` the log's start, durably, and returns the start. Files go later.
    ///
    /// # Errors
    /// When it is past the high watermark, or cannot be made durable.
    pub fn delete_records_before(&self, offset: Offset) -> Result<Offset, DeleteError> {
        let _retiring = self.lock_retiring();
        let high_watermark = self.point.high_watermark();
        if offset > high_watermark {
            return Err(DeleteError::OutOfRange { asked: offset, high_watermark });
        }
        if offset > self.point.log_start() {
            self.advance_start(offset)?;
        }
        Ok(self.point.log_start())
    }

    /// Retires segments by the settings, but nothing at or above `keep_from`; forgets silent
    /// producers; rolls a segment that is full of time, though nothing is appended.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn apply_retention(&self, keep_from: Option<Offset>) -> Result<Retired, LogError> {
        self.dir.check()?;
        let _retiring = self.lock_retiring();
        let mut appender = self.lock();
        if appender.is_closed || self.damage.is_some() {
            return Ok(Retired::default());
        }
        let (config, now_ms) = (self.config(), self.dir.now_ms());
        self.remove_due(&mut appender, now_ms)?;
        appender.producers.forget_aborted_before(self.point.log_start());
        appender.producers.expire(now_ms, self.dir.options().producer_silence_max_ms);
        let active = self.active().contents();
        let is_idle = now_ms.saturating_sub(active.last_append_ms) >= config.segment_ms;
        if active.size_bytes > 0 && is_idle {
            self.roll(&mut appender)?;
        }
        let segments = self.segments();
        let facts: Vec<SegmentFacts> = segments.iter().map(|segment| facts(segment)).collect();
        let high_watermark = self.point.high_watermark();
        let limit = keep_from.map_or(high_watermark, |keep_from| keep_from.min(high_watermark));
        let count = expired(&facts, &config, self.point.log_start(), limit, now_ms);
        if count == 0 {
            return Ok(Retired::default());
        }
        let start = match segments.get(count) {
            Some(first) => first.base_offset(),
            None => self.roll(&mut appender)?.base_offset(),
        };
        // What is retired is settled: appends only add segments behind it.
        drop(appender);
        if start > self.point.log_start() {
            self.advance_start(start)?;
        }
        self.secure_snapshot(start)?;
        self.retire(count, now_ms)
    }

    /// Deletes the log with all its files. Readers go on with what they have.
    ///
    /// # Errors
    /// When the disk fails. Once its folder has its new name, the next start does the rest.
    pub fn delete(&self) -> Result<(), LogError> {
        self.dir.check()?;
        let _retiring = self.lock_retiring();
        let mut appender = self.lock();
        if self.point.is_deleted() {
            return Ok(());
        }
        appender.is_closed = true;
        self.point.delete();
        let (disk, gone) = (self.dir.disk(), names::deleted_folder(&self.folder, Uuid::new_v4()));
        let renamed = disk.rename(&self.folder, &gone).and_then(|()| disk.sync_dir(""));
        self.dir.written("delete", &self.folder, renamed)?;
        self.dir.forget(&self.key)?;
        remove_folder(disk.as_ref(), &gone)
    }

    fn advance_start(&self, start: Offset) -> Result<(), LogError> {
        self.dir.set_log_start(&self.key, start)?;
        self.point.advance_start(start);
        self.epochs.write().unwrap_or_else(PoisonError::into_inner).cut_start(start);
        Ok(())
    }

    /// Takes the oldest `count` segments away; the log already begins after them.
    fn retire(&self, count: usize, now_ms: i64) -> Result<Retired, LogError> {
        let mut appender = self.lock();
        let segments = self.segments();
        let (gone, kept) = segments.split_at(count);
        assert!(!kept.is_empty(), "the active segment stays");
        *self.segments.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(kept.to_vec());
        let delay_ms = self.config().file_delete_delay_ms;
        for segment in gone {
            for kind in [names::INDEX, names::TIME_INDEX, names::SUMMARY, names::SNAPSHOT] {
                self.unlink(&segment.path(kind))?;
            }
            let path = segment.path(names::LOG);
            if delay_ms <= 0 {
                self.unlink(&path)?;
                continue;
            }
            let renamed = format!("{path}{}", names::DELETED);
            self.dir.written("rename", &path, self.dir.disk().rename(&path, &renamed))?;
            appender.retired.push((renamed, now_ms.saturating_add(delay_ms)));
        }
        let bytes = gone.iter().map(|segment| segment.contents().size_bytes).sum();
        Ok(Retired { segments: count, bytes })
    }

    /// Makes the snapshot durable that holds the producers of what goes. Where there is none, the
    /// one that was written when the log was opened stands further on.
    fn secure_snapshot(&self, base_offset: Offset) -> Result<(), LogError> {
        let (disk, path) =
            (self.dir.disk(), names::file(&self.folder, base_offset, names::SNAPSHOT));
        let synced = match disk.open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            opened => opened.and_then(|file| file.sync()),
        };
        let synced = synced.and_then(|()| disk.sync_dir(&self.folder));
        self.dir.written("sync", &path, synced)
    }

    /// Removes files of retired segments whose time has come.
    fn remove_due(&self, appender: &mut Appender, now_ms: i64) -> Result<(), LogError> {
        let retired = std::mem::take(&mut appender.retired);
        let (due, kept) = retired.into_iter().partition(|(_, due_ms)| *due_ms <= now_ms);
        appender.retired = kept;
        let due: Vec<(String, i64)> = due;
        due.iter().try_for_each(|(path, _)| self.unlink(path))
    }

    fn unlink(&self, path: &str) -> Result<(), LogError> {
        match self.dir.disk().unlink(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            result => self.dir.written("remove", path, result),
        }
    }
}

/// Records without a time are as old as their append.
fn facts(segment: &Segment) -> SegmentFacts {
    let contents = segment.contents();
    let max_timestamp_ms = match contents.max_timestamp_ms {
        ..0 => contents.last_append_ms,
        known => known,
    };
    SegmentFacts {
        next_offset: contents.next_offset,
        size_bytes: contents.size_bytes,
        max_timestamp_ms,
    }
}
