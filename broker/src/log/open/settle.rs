//! The producers of a log on its way back, and what must be durable before anyone sees it.
use std::ops::ControlFlow;
use std::sync::Arc;

use weir_protocol::records::Offset;
use weir_protocol::records::batch::{BatchHeader, RecordBatch};
use weir_protocol::records::control::{Marker, told_by};

use crate::disk::is_passing;
use crate::log::dir::failed;
use crate::log::error::LogError;
use crate::log::open::{Opening, unreadable};
use crate::log::segment::Segment;
use crate::log::{names, snapshot};
use crate::producers::Producers;

impl Opening<'_> {
    /// The producers: the newest snapshot that is whole, and the batches after it.
    pub(super) fn producers(
        &self,
        names: &[String],
        past: &[Offset],
        segments: &[Arc<Segment>],
        log_end: Offset,
    ) -> Result<(Producers, Option<Offset>), LogError> {
        let remembered = self.dir.batches_remembered();
        let (mut producers, mut from) = (Producers::new(remembered), None);
        for offset in snapshots(names).into_iter().rev().filter(|offset| *offset <= log_end) {
            let path = names::file(&self.folder, offset, names::SNAPSHOT);
            let bytes = self.dir.disk().read(&path).map_err(failed("read", &path))?;
            if let Some(known) = snapshot::read(&bytes, remembered) {
                (producers, from) = (known, Some(offset));
                break;
            }
            tracing::warn!(path, "damaged: the one before it is taken");
        }
        let start = from.unwrap_or_default();
        let past = self.past(past, segments, start)?;
        let now_ms = self.dir.now_ms();
        for segment in past.iter().chain(segments) {
            let position = segment.position_before(start).map_err(unreadable)?;
            let walked = segment.walk(position, |at, header| {
                if header.base_offset >= start {
                    match marker_at(segment, at, header) {
                        Some(marker) => drop(producers.end(header, marker, now_ms)),
                        None => producers.record(header, now_ms),
                    }
                }
                ControlFlow::<()>::Continue(())
            });
            walked.map_err(unreadable)?;
        }
        producers.forget_aborted_before(self.log_start);
        Ok((producers, from))
    }

    /// Segments below the log's start, when the snapshot does not reach as far as the first that
    /// counts: the crash came before it was durable.
    fn past(
        &self,
        past: &[Offset],
        segments: &[Arc<Segment>],
        snapshot: Offset,
    ) -> Result<Vec<Arc<Segment>>, LogError> {
        if segments.first().is_none_or(|first| first.base_offset() <= snapshot) {
            return Ok(Vec::new());
        }
        let open = |&base_offset: &Offset| {
            let (disk, now_ms) = (self.dir.disk(), self.dir.now_ms());
            let segment = Segment::begin(disk, &self.folder, base_offset, 0, now_ms)
                .map_err(failed("open a segment in", &self.folder))?;
            self.publish(&segment)?;
            Ok(Arc::new(segment))
        };
        past.iter().map(open).collect()
    }

    /// Makes durable what was found, before anyone sees it: a crash of the broker alone leaves
    /// bytes behind that the disk has not got yet. Removes what a cut has made wrong.
    pub(super) fn settle(
        &self,
        names: &[String],
        segments: &[Arc<Segment>],
        log_end: Offset,
        producers: &Producers,
        snapshot: Option<Offset>,
    ) -> Result<Option<Offset>, LogError> {
        let disk = self.dir.disk();
        if self.scanned.is_empty() && snapshot == Some(log_end) {
            return Ok(snapshot);
        }
        self.sync_scanned()?;
        for name in names {
            let Some((offset, kind)) = names::parse_file(name) else { continue };
            let is_stale = match kind {
                names::SNAPSHOT => offset > log_end,
                names::INDEX | names::TIME_INDEX | names::SUMMARY => {
                    !segments.iter().any(|segment| segment.base_offset() == offset)
                        || self.scanned.iter().any(|segment| segment.base_offset() == offset)
                }
                _ => false,
            };
            if is_stale {
                self.unlink(&format!("{}/{name}", self.folder))?;
            }
        }
        let path = names::file(&self.folder, log_end, names::SNAPSHOT);
        let file = if snapshot == Some(log_end) {
            // It may be in memory only; see `scan`. In place, since it may be the only one.
            disk.read(&path).and_then(|bytes| {
                let file = disk.open(&path)?;
                file.write_at(0, &[&bytes])?;
                Ok(file)
            })
        } else {
            disk.put(&path, &snapshot::write(producers))
        };
        self.dir.written("write", &path, file.and_then(|file| file.sync()))?;
        self.dir.written("sync", &self.folder, disk.sync_dir(&self.folder))?;
        // Now that the newest is durable, one older is enough for the case that it rots.
        let older: Vec<Offset> =
            snapshots(names).into_iter().filter(|offset| *offset < log_end).collect();
        for &offset in older.iter().rev().skip(1) {
            self.unlink(&names::file(&self.folder, offset, names::SNAPSHOT))?;
        }
        for segment in self.scanned.iter().filter(|segment| !is_last(segments, segment)) {
            let path = segment.path(names::LOG);
            match segment.seal() {
                Err(error) if is_passing(&error) => {}
                result => self.dir.written("seal", &path, result)?,
            }
        }
        Ok(Some(log_end))
    }

    /// Makes the segments durable that were read.
    pub(super) fn sync_scanned(&self) -> Result<(), LogError> {
        for segment in &self.scanned {
            let path = segment.path(names::LOG);
            self.dir.written("sync", &path, segment.file().sync())?;
        }
        Ok(())
    }

    /// Removes segments below the log's start, whose producers a durable snapshot now holds.
    pub(super) fn remove_past(&self, past: &[Offset]) -> Result<(), LogError> {
        for &base_offset in past {
            for kind in [names::LOG, names::INDEX, names::TIME_INDEX, names::SUMMARY] {
                self.unlink(&names::file(&self.folder, base_offset, kind))?;
            }
        }
        Ok(())
    }
}

/// What a control batch at a position of a segment's file says.
fn marker_at(segment: &Segment, at: u64, header: &BatchHeader) -> Option<(Marker, i32)> {
    if !header.is_control() {
        return None;
    }
    let end = at + header.size_bytes() as u64;
    let bytes = segment.file().read(at..end).ok()?;
    told_by(&RecordBatch::parse(bytes).ok()?)
}

fn is_last(segments: &[Arc<Segment>], segment: &Arc<Segment>) -> bool {
    segments.last().is_some_and(|last| Arc::ptr_eq(last, segment))
}

/// The offsets of the snapshots, ascending.
fn snapshots(names: &[String]) -> Vec<Offset> {
    let offset = |name: &String| {
        names::parse_file(name)
            .and_then(|(offset, kind)| (kind == names::SNAPSHOT).then_some(offset))
    };
    let mut offsets: Vec<Offset> = names.iter().filter_map(offset).collect();
    offsets.sort_unstable();
    offsets
}
