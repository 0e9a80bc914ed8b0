//! What a crash has left of a cleaning: see `cleaning::swap`.
use weir_protocol::records::Offset;

use crate::log::cleaning::swap;
use crate::log::dir::failed;
use crate::log::error::LogError;
use crate::log::names;
use crate::log::open::Opening;
use crate::log::recovery::{Scanned, Scanner};
use crate::log::segment::WINDOW_BYTES;

/// Holes between offsets are allowed up to here.
pub(super) const EVERYWHERE: Offset = Offset(i64::MAX);

impl Opening<'_> {
    /// Removes segments in the making, and puts those that are whole in their places. Whether the
    /// folder is another one now.
    pub(super) fn finish_swaps(&self, names: &[String]) -> Result<bool, LogError> {
        let mut is_changed = false;
        for name in names {
            match names::parse_file(name) {
                Some((_, names::CLEANED)) => self.unlink(&format!("{}/{name}", self.folder))?,
                Some((base_offset, names::SWAP)) => self.finish_swap(names, base_offset)?,
                _ => continue,
            }
            is_changed = true;
        }
        Ok(is_changed)
    }

    fn finish_swap(&self, names: &[String], base_offset: Offset) -> Result<(), LogError> {
        let disk = self.dir.disk().as_ref();
        let path = names::file(&self.folder, base_offset, names::SWAP);
        let log_of = |name: &String| match names::parse_file(name) {
            Some((base_offset, names::LOG)) => Some(base_offset),
            _ => None,
        };
        let bases: Vec<Offset> = names.iter().filter_map(log_of).collect();
        let Some(next_offset) = self.end_of_swap(&path, base_offset)? else {
            // It was durable before it got this name, so the disk has damaged it.
            tracing::error!(path, "a cleaned segment is damaged");
            if bases.contains(&base_offset) {
                self.unlink(&path)?;
                return self.dir.written("sync", &self.folder, disk.sync_dir(&self.folder));
            }
            let finished = swap::finish(disk, &self.folder, base_offset, &[]);
            return self.dir.written("put in place", &path, finished);
        };
        let covers = |base: &&Offset| **base > base_offset && **base < next_offset;
        let others: Vec<Offset> = bases.iter().filter(covers).copied().collect();
        tracing::info!(path, segments = others.len() + 1, "a cleaning is finished");
        let finished = swap::finish(disk, &self.folder, base_offset, &others);
        self.dir.written("put in place", &path, finished)
    }

    /// The offset after its last; `None` when it is not whole.
    fn end_of_swap(&self, path: &str, base_offset: Offset) -> Result<Option<Offset>, LogError> {
        let file = self.dir.disk().open(path).map_err(failed("open", path))?;
        let size_bytes = file.size_bytes().map_err(failed("read", path))?;
        let mut scanner = Scanner::new(base_offset, size_bytes, -1, EVERYWHERE);
        let mut window_bytes = WINDOW_BYTES;
        loop {
            let start = scanner.position();
            let count = window_bytes.min(size_bytes - start);
            let mut window = vec![0; usize::try_from(count).expect("a window fits in memory")];
            file.read_at(start, &mut window).map_err(failed("read", path))?;
            match scanner.feed(&window.into(), |_, _| {}) {
                Scanned::More { needed } => window_bytes = WINDOW_BYTES.max(needed as u64),
                Scanned::End => return Ok(Some(scanner.next_offset())),
                Scanned::Fault(_) => return Ok(None),
            }
        }
    }
}
