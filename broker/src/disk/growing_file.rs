//! A file that only grows: who appends, up to where it may be read, and the map, if it has one.
//!
//! ```text
//! 0        readable       end        allocated     capacity
//! |  fixed  |  appended    |  reserved |             |
//! ```
//!
//! `readable <= end <= capacity`. Bytes below `end` are written once. A failed append leaves `end`
//! where it was and cuts what it may have written, so that nothing of it can be taken for data.
use std::io;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use bytes::Bytes;

use crate::disk::mapped_file::MappedFile;
use crate::disk::{Disk, DiskFile, is_full, is_passing};

/// Blocks are reserved in steps that double between these two.
const STEP_BYTES_MIN: u64 = 1 << 20;
const STEP_BYTES_MAX: u64 = 32 << 20;

/// A file that only grows.
#[derive(Debug)]
pub struct GrowingFile {
    file: Arc<dyn DiskFile>,
    capacity_bytes: u64,
    tail: Mutex<Tail>,
    readable: AtomicU64,
    map: RwLock<Option<Arc<MappedFile>>>,
}

#[derive(Debug)]
struct Tail {
    end: u64,
    allocated: u64,
    step_bytes: u64,
}

/// Why nothing was appended.
#[derive(Debug, thiserror::Error)]
pub enum GrowError {
    /// The disk has no room, or the system no memory. The file is as it was, and may grow later.
    #[error("nothing can be written now: {0}")]
    Passing(io::Error),
    /// The disk failed. What the file holds beyond its durable bytes is not known.
    #[error("the disk failed: {0}")]
    Broken(io::Error),
}

impl From<io::Error> for GrowError {
    fn from(error: io::Error) -> GrowError {
        if is_passing(&error) { GrowError::Passing(error) } else { GrowError::Broken(error) }
    }
}

impl GrowingFile {
    /// Makes a new file.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn create(disk: &dyn Disk, path: &str, capacity_bytes: u64) -> io::Result<GrowingFile> {
        Ok(GrowingFile::new(disk.create(path)?, 0, capacity_bytes))
    }

    /// Takes a file over that already has `size_bytes`; none of them is readable yet.
    #[must_use]
    pub fn new(file: Arc<dyn DiskFile>, size_bytes: u64, capacity_bytes: u64) -> GrowingFile {
        GrowingFile {
            file,
            capacity_bytes: capacity_bytes.max(size_bytes),
            tail: Mutex::new(Tail {
                end: size_bytes,
                allocated: size_bytes,
                step_bytes: STEP_BYTES_MIN,
            }),
            readable: AtomicU64::new(0),
            map: RwLock::new(None),
        }
    }

    /// Where the next append goes.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.lock().end
    }

    /// The most it can hold.
    #[must_use]
    pub fn capacity_bytes(&self) -> u64 {
        self.capacity_bytes
    }

    /// Up to where it may be read.
    #[must_use]
    pub fn readable(&self) -> u64 {
        self.readable.load(Ordering::Acquire)
    }

    /// Appends all parts in one go and returns where they begin.
    ///
    /// # Errors
    /// When the disk is full or failed; the end has then not moved.
    ///
    /// # Panics
    /// When the parts pass the capacity.
    pub fn append(&self, parts: &[&[u8]]) -> Result<u64, GrowError> {
        let bytes: u64 = parts.iter().map(|part| part.len() as u64).sum();
        let mut tail = self.lock();
        let position = tail.end;
        let end = position + bytes;
        assert!(end <= self.capacity_bytes, "{end} is past capacity {}", self.capacity_bytes);
        assert!(position >= self.readable(), "what is readable is never written again");
        if end > tail.allocated {
            self.reserve(&mut tail, end)?;
        }
        if let Err(error) = self.file.write_at(position, parts) {
            // The cut also gives the reserved blocks back, which a full disk may need elsewhere.
            tail.allocated = position;
            self.file.truncate(position).map_err(GrowError::Broken)?;
            return Err(GrowError::from(error));
        }
        tail.end = end;
        Ok(position)
    }

    /// Reserves a step ahead, or just what is needed when the disk has no more.
    fn reserve(&self, tail: &mut Tail, end: u64) -> Result<(), GrowError> {
        let wanted = (tail.allocated + tail.step_bytes).min(self.capacity_bytes).max(end);
        let mut result = self.file.allocate(tail.allocated, wanted - tail.allocated);
        let mut reached = wanted;
        if result.as_ref().is_err_and(is_full) && wanted > end {
            result = self.file.allocate(tail.allocated, end - tail.allocated);
            reached = end;
        }
        match result {
            Ok(()) => {
                tail.allocated = reached;
                tail.step_bytes = (tail.step_bytes * 2).min(STEP_BYTES_MAX);
                Ok(())
            }
            Err(error) => Err(GrowError::from(error)),
        }
    }

    /// Cuts what a crash has left behind the valid bytes. Not durable before the next sync.
    ///
    /// # Errors
    /// What the operating system says.
    ///
    /// # Panics
    /// When readers may already see it.
    pub fn cut(&self, size_bytes: u64) -> io::Result<()> {
        let mut tail = self.lock();
        assert!(self.readable() <= size_bytes && !self.is_mapped(), "{size_bytes} may be read");
        self.file.truncate(size_bytes)?;
        (tail.end, tail.allocated) = (size_bytes, size_bytes);
        Ok(())
    }

    /// Writes bytes again that stand there already, so that the next sync takes them to the disk
    /// even if the operating system believes that they are there.
    ///
    /// # Errors
    /// What the operating system says.
    ///
    /// # Panics
    /// When readers may already see them, or they were never there.
    pub fn write_again(&self, position: u64, bytes: &[u8]) -> io::Result<()> {
        let tail = self.lock();
        assert!(position >= self.readable(), "{position} may be read");
        assert!(position + bytes.len() as u64 <= tail.end, "only what is there is written again");
        self.file.write_at(position, &[bytes])
    }

    /// Makes what was appended durable.
    ///
    /// # Errors
    /// What the operating system says; see [`DiskFile::sync`].
    pub fn sync(&self) -> io::Result<()> {
        self.file.sync()
    }

    /// Lets readers see all below `readable`.
    ///
    /// # Errors
    /// When the map cannot check it against the file.
    ///
    /// # Panics
    /// When nothing was appended there.
    pub fn publish(&self, readable: u64) -> io::Result<()> {
        assert!(readable <= self.end(), "{readable} was never appended");
        // Held to the end, so that a map made meanwhile does not start behind.
        let map = self.map.read().unwrap_or_else(PoisonError::into_inner);
        if readable > self.readable() {
            if let Some(map) = &*map {
                map.publish(position(readable))?;
            }
            self.readable.store(readable, Ordering::Release);
        }
        Ok(())
    }

    /// Gives readers memory instead of reads.
    ///
    /// # Errors
    /// When it cannot be mapped.
    pub fn map(&self) -> io::Result<()> {
        let mut map = self.map.write().unwrap_or_else(PoisonError::into_inner);
        // An empty range cannot be mapped, and nobody would read it.
        if map.is_none() && self.capacity_bytes > 0 {
            let fresh = self.file.map(position(self.capacity_bytes))?;
            fresh.publish(position(self.readable()))?;
            *map = Some(Arc::new(fresh));
        }
        Ok(())
    }

    /// Takes the map away; slices of it stay valid.
    pub fn unmap(&self) {
        *self.map.write().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// A slice of the map, if there is one.
    ///
    /// # Panics
    /// When the range is not readable.
    #[must_use]
    pub fn mapped_slice(&self, range: Range<u64>) -> Option<Bytes> {
        let map = self.map.read().unwrap_or_else(PoisonError::into_inner).clone();
        Some(map?.slice(position(range.start)..position(range.end)))
    }

    /// Whether readers have memory.
    #[must_use]
    pub fn is_mapped(&self) -> bool {
        self.map.read().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// Reads bytes from the file. Blocks.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn read(&self, range: Range<u64>) -> io::Result<Bytes> {
        let mut buffer = vec![0; position(range.end.saturating_sub(range.start))];
        self.file.read_at(range.start, &mut buffer)?;
        Ok(Bytes::from(buffer))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Tail> {
        self.tail.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place in a file as a place in memory.
fn position(position: u64) -> usize {
    usize::try_from(position).expect("addresses have 64 bits")
}
