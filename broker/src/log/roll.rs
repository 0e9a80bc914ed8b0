//! Where a segment ends and the next begins; and where all end, at an orderly stop.
use std::io;
use std::sync::{Arc, PoisonError};

use weir_protocol::records::Offset;

use crate::disk::is_passing;
use crate::log::dir::failed;
use crate::log::dir::options::ReadMode;
use crate::log::error::LogError;
use crate::log::segment::Segment;
use crate::log::{Appender, HOT_SEGMENTS, Log, names, snapshot};

impl Log {
    /// Begins a new segment at the log's end. The producers go into a snapshot first, which is
    /// durable before anything in the new segment is.
    pub(super) fn roll(&self, appender: &mut Appender) -> Result<Arc<Segment>, LogError> {
        let base_offset = self.point.log_end();
        self.write_snapshot(appender, base_offset)?;
        let (disk, config) = (self.dir.disk(), self.config());
        let path = names::file(&self.folder, base_offset, names::LOG);
        // Left by a roll that failed, or by an empty segment that is too small.
        match disk.unlink(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return self.dir.written("remove", &path, Err(error));
            }
            _ => {}
        }
        let now_ms = self.dir.now_ms();
        let fresh = Segment::create(disk, &self.folder, base_offset, config.segment_bytes, now_ms)
            .and_then(|segment| {
                if self.dir.options().read_mode == ReadMode::Mmap {
                    segment.file().map()?;
                }
                Ok(Arc::new(segment))
            });
        let fresh = self.dir.written("make", &path, fresh)?;
        self.point.require(None, &self.folder);
        let mut segments: Vec<_> = self.segments().to_vec();
        if let Some(sealed) = segments.pop_if(|last| last.base_offset() < base_offset) {
            self.seal(&sealed)?;
            segments.push(sealed);
        } else {
            segments.pop();
        }
        segments.push(fresh.clone());
        if let Some(cold) = segments.len().checked_sub(HOT_SEGMENTS + 1) {
            segments[cold].cool();
        }
        *self.segments.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(segments);
        Ok(fresh)
    }

    /// Writes indexes and summary of a segment. A failure that passes does no harm: they can be
    /// made anew.
    fn seal(&self, segment: &Segment) -> Result<(), LogError> {
        match segment.seal() {
            Err(error) if is_passing(&error) => Ok(()),
            result => self.dir.written("seal", &segment.path(names::LOG), result),
        }
    }

    /// Writes the producers as they are before `offset`, the log's end; the next sync makes them
    /// durable. One that stands there already is left alone: it may be the only one.
    fn write_snapshot(&self, appender: &mut Appender, offset: Offset) -> Result<(), LogError> {
        if appender.snapshot != Some(offset) {
            let path = names::file(&self.folder, offset, names::SNAPSHOT);
            let bytes = snapshot::write(&appender.producers);
            let file = self.dir.written("write", &path, self.dir.disk().put(&path, &bytes))?;
            self.point.require(Some(file), &self.folder);
            appender.snapshot = Some(offset);
        }
        Ok(())
    }

    /// Seals the log at an orderly stop: all that the next start would else find out by reading.
    pub(super) fn close(&self) -> Result<(), LogError> {
        let _retiring = self.lock_retiring();
        let mut appender = self.lock();
        if std::mem::replace(&mut appender.is_closed, true) || self.damage.is_some() {
            return Ok(());
        }
        // What was appended up to now.
        self.dir.sync_now();
        self.dir.check()?;
        let end = self.point.log_end();
        if self.point.synced() < end {
            // The round was put back: then this is no orderly stop.
            return Err(failed("sync", &self.folder)(io::ErrorKind::WouldBlock.into()));
        }
        let active = self.active();
        let path = active.path(names::LOG);
        self.dir.written("seal", &path, active.seal())?;
        if appender.snapshot != Some(end) {
            let path = names::file(&self.folder, end, names::SNAPSHOT);
            let bytes = snapshot::write(&appender.producers);
            let written = self.dir.disk().put(&path, &bytes).and_then(|file| file.sync());
            self.dir.written("write", &path, written)?;
            appender.snapshot = Some(end);
        }
        self.dir.written("sync", &self.folder, self.dir.disk().sync_dir(&self.folder))
    }
}
