//! A cleaned segment takes the place of those that it was made of, so that a power cut leaves the
//! one or the others, never both and never none.
//!
//! ```text
//! .log.cleaned written and synced        a crash: it goes, nothing has happened
//! renamed to .log.swap, folder synced    a crash from here on: the next start does the rest
//! indexes of all and logs but the first unlinked, folder synced
//! .log.swap renamed over the first .log, folder synced
//! ```
//!
//! What has begun with `.log.swap` must end: a half of it in a running broker would meet the next
//! cleaning, with other segments. So a lack of open files is waited out, and if it stays the
//! directory goes offline; the next start finishes.
use std::io;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use weir_protocol::records::Offset;

use crate::disk::{Disk, is_passing};
use crate::log::cleaning::CleanError;
use crate::log::error::LogError;
use crate::log::segment::Segment;
use crate::log::{Log, names};

/// How often, and after how long, what did not pass at once is tried again.
const ATTEMPTS: u32 = 20;
const PAUSE: Duration = Duration::from_millis(100);

impl Log {
    /// Puts `fresh`, which is durable, in the place of `old`.
    pub(super) fn swap(&self, old: &[Arc<Segment>], fresh: Arc<Segment>) -> Result<(), CleanError> {
        // Nobody retires a segment or deletes the log meanwhile; appends go on.
        let _retiring = self.lock_retiring();
        let base_offset = fresh.base_offset();
        let (disk, cleaned) =
            (self.dir.disk(), names::file(&self.folder, base_offset, names::CLEANED));
        let is_over = self.point.is_deleted() || self.lock().is_closed;
        if is_over || find(&self.segments(), old).is_none() {
            // Best effort: with the folder it may be gone.
            let _ = disk.unlink(&cleaned);
            return Err(CleanError::Interrupted);
        }
        let swap = names::file(&self.folder, base_offset, names::SWAP);
        self.dir.written("rename", &cleaned, disk.rename(&cleaned, &swap))?;
        let others: Vec<Offset> = old[1..].iter().map(|one| one.base_offset()).collect();
        old.iter().for_each(|one| one.replace());
        let mut result = finish(disk.as_ref(), &self.folder, base_offset, &others);
        for _ in 0..ATTEMPTS {
            match &result {
                Err(error) if is_passing(error) => std::thread::sleep(PAUSE),
                _ => break,
            }
            result = finish(disk.as_ref(), &self.folder, base_offset, &others);
        }
        self.finished(&swap, result)?;
        {
            let _appender = self.lock();
            let mut segments = self.segments().to_vec();
            let place = find(&segments, old).expect("only appends went on meanwhile");
            segments.splice(place..place + old.len(), [fresh.clone()]);
            *self.segments.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(segments);
        }
        match fresh.seal() {
            Err(error) if is_passing(&error) => {}
            sealed => self.dir.written("seal", &swap, sealed)?,
        }
        fresh.cool();
        Ok(())
    }

    /// Here every failure is final.
    fn finished(&self, path: &str, result: io::Result<()>) -> Result<(), LogError> {
        if let Err(error) = &result {
            self.dir.queue().fail(format!("cannot put {path} in its place: {error}"));
        }
        self.dir.written("put in place", path, result)
    }
}

/// Where the segments stand, one after the other.
fn find(segments: &[Arc<Segment>], wanted: &[Arc<Segment>]) -> Option<usize> {
    let is_here = |window: &[Arc<Segment>]| {
        window.iter().zip(wanted).all(|(one, other)| Arc::ptr_eq(one, other))
    };
    segments.windows(wanted.len()).position(is_here)
}

/// All that follows the renaming to `.log.swap`; can be done again from the beginning, or from
/// wherever a crash has left it.
pub(in crate::log) fn finish(
    disk: &dyn Disk,
    folder: &str,
    base_offset: Offset,
    others: &[Offset],
) -> io::Result<()> {
    let swap = names::file(folder, base_offset, names::SWAP);
    disk.sync_dir(folder)?;
    for kind in [names::SUMMARY, names::INDEX, names::TIME_INDEX] {
        remove(disk, &names::file(folder, base_offset, kind))?;
        for &other in others {
            remove(disk, &names::file(folder, other, kind))?;
        }
    }
    for &other in others {
        remove(disk, &names::file(folder, other, names::LOG))?;
        remove(disk, &names::file(folder, other, names::SNAPSHOT))?;
    }
    disk.sync_dir(folder)?;
    match disk.rename(&swap, &names::file(folder, base_offset, names::LOG)) {
        // Done already, by an attempt whose last sync did not pass.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        renamed => renamed?,
    }
    disk.sync_dir(folder)
}

fn remove(disk: &dyn Disk, path: &str) -> io::Result<()> {
    match disk.unlink(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
