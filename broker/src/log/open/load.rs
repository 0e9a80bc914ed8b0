//! The segments of a log on its way back: which are taken as they are, which are read, and what
//! behind the valid prefix is cut.
use std::sync::Arc;

use weir_protocol::records::Offset;

use crate::log::dir::failed;
use crate::log::error::LogError;
use crate::log::names;
use crate::log::open::{Opening, unreadable};
use crate::log::recovery::{Scanned, Scanner, damage};
use crate::log::segment::{Segment, WINDOW_BYTES};

impl Opening<'_> {
    /// Opens the segments of the valid prefix and finds the log's end. Cuts what is behind it.
    pub(super) fn load_segments(
        &mut self,
        bases: &[Offset],
    ) -> Result<(Vec<Arc<Segment>>, Offset), LogError> {
        let mut segments = Vec::new();
        let Some(&first) = bases.first() else { return Ok((segments, self.log_start)) };
        if first > self.log_start {
            let place = format!("{}: the segments before {first} are gone", self.folder);
            self.recovery.damage = damage(self.log_start, first, &place);
        }
        let mut log_end = first;
        for (place, &base_offset) in bases.iter().enumerate() {
            let next = bases.get(place + 1).copied();
            if base_offset != log_end {
                // The one before was cut, or is another's.
                self.cut_from(&bases[place..], log_end)?;
                break;
            }
            let (segment, is_whole) = match self.trusted(base_offset, next)? {
                Some(segment) => (segment, true),
                None => self.scan(base_offset, next)?,
            };
            log_end = segment.contents().next_offset;
            if self.exact_from > base_offset {
                segment.allow_holes();
            }
            segments.push(segment);
            if !is_whole {
                if self.recovery.damage.is_none() {
                    self.cut_from(&bases[place + 1..], log_end)?;
                }
                break;
            }
        }
        if self.recovery.damage.is_none() {
            let place = format!("{}: the log ends before", self.folder);
            self.recovery.damage = damage(log_end, self.recovery_point, &place);
        }
        Ok((segments, log_end))
    }

    /// A segment that need not be read.
    fn trusted(
        &self,
        base_offset: Offset,
        next: Option<Offset>,
    ) -> Result<Option<Arc<Segment>>, LogError> {
        let (was_clean, end) = (self.dir.was_clean(), next.unwrap_or(self.recovery_point));
        if !was_clean && (next.is_none() || end > self.recovery_point) {
            return Ok(None);
        }
        let disk = self.dir.disk();
        let capacity_bytes = if next.is_none() { self.config.segment_bytes } else { 0 };
        let segment = Segment::load(disk, &self.folder, base_offset, capacity_bytes)
            .map_err(failed("open a segment in", &self.folder))?;
        let Some(segment) = segment.filter(|segment| segment.contents().next_offset == end) else {
            return Ok(None);
        };
        self.publish(&segment)?;
        if next.is_none() {
            // The active segment has its indexes in memory.
            segment.position_before(end).map_err(unreadable)?;
        }
        Ok(Some(Arc::new(segment)))
    }

    /// Reads a segment. False when its valid prefix ends before the file does: then it is cut,
    /// unless that would destroy what was durable.
    ///
    /// What is read may be in memory only: after a failed sync the operating system takes it for
    /// written, and the next sync, which succeeds, does nothing for it. So all that no checkpoint
    /// vouches for is written again; only then does the sync in `settle` mean something.
    fn scan(
        &mut self,
        base_offset: Offset,
        next: Option<Offset>,
    ) -> Result<(Arc<Segment>, bool), LogError> {
        let (disk, now_ms) = (self.dir.disk(), self.dir.now_ms());
        let capacity_bytes = self.config.segment_bytes;
        let segment = Segment::begin(disk, &self.folder, base_offset, capacity_bytes, now_ms)
            .map_err(failed("open a segment in", &self.folder))?;
        let (path, size_bytes) = (segment.path(names::LOG), segment.file().end());
        let (epoch, exact_from) = (self.leader_epoch, self.exact_from);
        let mut scanner = Scanner::new(base_offset, size_bytes, epoch, exact_from).before(next);
        let mut window_bytes = WINDOW_BYTES;
        let fault = loop {
            let start = scanner.position();
            let end = start.saturating_add(window_bytes).min(size_bytes);
            let window = segment.file().read(start..end).map_err(failed("read", &path))?;
            let interval_bytes = self.config.index_interval_bytes;
            let mut doubtful = None;
            let scanned = scanner.feed(&window, |position, header| {
                if header.last_offset() >= self.recovery_point {
                    doubtful.get_or_insert(position);
                }
                segment.note(position, header, interval_bytes, now_ms);
            });
            if let Some(from) = doubtful {
                let valid =
                    window.slice(place_in(start, from)..place_in(start, scanner.position()));
                let again = segment.file().write_again(from, &valid);
                self.dir.written("write again", &path, again)?;
            }
            match scanned {
                Scanned::More { needed } => window_bytes = WINDOW_BYTES.max(needed as u64),
                Scanned::End => break None,
                Scanned::Fault(fault) => break Some(fault),
            }
        };
        let valid_bytes = scanner.position();
        self.leader_epoch = scanner.leader_epoch();
        self.recovery.scanned_bytes += size_bytes;
        if let Some(fault) = &fault {
            let place = format!("{path}, byte {valid_bytes}: {fault}");
            match damage(scanner.next_offset(), self.recovery_point, &place) {
                Some(damage) => {
                    self.recovery.damage = self.recovery.damage.take().or(Some(damage));
                }
                None if self.recovery.damage.is_none() => {
                    tracing::warn!(place, bytes = size_bytes - valid_bytes, "torn tail is cut");
                    self.recovery.truncated_bytes += size_bytes - valid_bytes;
                    self.dir.written("cut", &path, segment.file().cut(valid_bytes))?;
                }
                None => {}
            }
        }
        let published = segment.file().publish(valid_bytes);
        published.map_err(failed("read", &path))?;
        let segment = Arc::new(segment);
        self.scanned.push(segment.clone());
        Ok((segment, fault.is_none()))
    }

    /// Removes segments behind the log's end, unless they were durable.
    fn cut_from(&mut self, bases: &[Offset], log_end: Offset) -> Result<(), LogError> {
        let Some(first) = bases.first() else { return Ok(()) };
        let place = format!("{}: the log ends before segment {first}", self.folder);
        self.recovery.damage =
            self.recovery.damage.take().or(damage(log_end, self.recovery_point, &place));
        if self.recovery.damage.is_some() {
            return Ok(());
        }
        for &base_offset in bases {
            let path = names::file(&self.folder, base_offset, names::LOG);
            let file = self.dir.disk().open(&path).map_err(failed("open", &path))?;
            self.recovery.truncated_bytes += file.size_bytes().map_err(failed("read", &path))?;
            self.unlink(&path)?;
        }
        Ok(())
    }

    pub(super) fn publish(&self, segment: &Segment) -> Result<(), LogError> {
        let file = segment.file();
        file.publish(file.end()).map_err(failed("read", &segment.path(names::LOG)))
    }
}

/// A position of the file in a window that begins at `start`.
fn place_in(start: u64, position: u64) -> usize {
    usize::try_from(position - start).expect("a window fits in memory")
}
