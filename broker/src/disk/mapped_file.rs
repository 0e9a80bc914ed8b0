//! A log file that only grows: written by system calls, read as memory. All unsafe code is here.
//!
//! ```text
//! 0           readable         end            capacity     readable <= end <= capacity
//! |  readable  |  not published  |  no file yet  |
//! ```
//!
//! - Bytes below `readable` never change: a reader may keep a slice of them for ever.
//! - The map spans more than the file; nobody touches it beyond `readable`, which never passes the
//!   file's end.
#![expect(unsafe_code, reason = "the one place where the broker looks at mapped memory")]
use std::fmt;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use memmap2::{MmapOptions, MmapRaw};

/// Reads bytes of a simulated file: position and count in, as many bytes out.
pub type Simulated = Arc<dyn Fn(usize, usize) -> Vec<u8> + Send + Sync>;

/// What all may read of a file, up to its readable end.
pub struct MappedFile {
    memory: Memory,
    capacity_bytes: usize,
    readable: AtomicUsize,
}

enum Memory {
    /// The file is kept so that `publish` can ask for its size.
    Map {
        map: MmapRaw,
        file: Arc<File>,
    },
    Simulated(Simulated),
}

impl fmt::Debug for MappedFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MappedFile")
            .field("capacity_bytes", &self.capacity_bytes)
            .field("readable", &self.readable)
            .finish_non_exhaustive()
    }
}

impl MappedFile {
    /// Maps a file, which may still be shorter than `capacity_bytes`.
    ///
    /// # Errors
    /// When it cannot be mapped.
    pub fn new(file: &Arc<File>, capacity_bytes: usize) -> io::Result<MappedFile> {
        let map = MmapOptions::new().len(capacity_bytes).map_raw_read_only(file.as_ref())?;
        let memory = Memory::Map { map, file: file.clone() };
        Ok(MappedFile { memory, capacity_bytes, readable: AtomicUsize::new(0) })
    }

    /// Stands for a map of a simulated file: its slices are copies made when they are asked for.
    #[must_use]
    pub fn simulated(read: Simulated, capacity_bytes: usize) -> MappedFile {
        let memory = Memory::Simulated(read);
        MappedFile { memory, capacity_bytes, readable: AtomicUsize::new(0) }
    }

    /// Up to where it may be read.
    #[must_use]
    pub fn readable(&self) -> usize {
        self.readable.load(Ordering::Acquire)
    }

    /// Moves the readable end. Whoever calls this promises that bytes below it are never written
    /// again.
    ///
    /// # Errors
    /// When the file's size cannot be told.
    ///
    /// # Panics
    /// When the end would pass the map's or the file's, or move back.
    pub fn publish(&self, readable: usize) -> io::Result<()> {
        assert!(readable <= self.capacity_bytes, "{readable} is outside {self:?}");
        if let Memory::Map { file, .. } = &self.memory {
            let size_bytes = file.metadata()?.len();
            assert!(readable as u64 <= size_bytes, "{readable} is past the end {size_bytes}");
        }
        let before = self.readable.fetch_max(readable, Ordering::AcqRel);
        assert!(before <= readable, "the readable end moves back from {before} to {readable}");
        Ok(())
    }

    /// A slice of what is readable, uncopied. It keeps the map alive.
    ///
    /// # Panics
    /// When the range is not readable.
    #[must_use]
    pub fn slice(self: &Arc<Self>, range: Range<usize>) -> Bytes {
        let readable = self.readable();
        assert!(range.start <= range.end && range.end <= readable, "{range:?} of {readable}");
        match &self.memory {
            Memory::Map { .. } if range.is_empty() => Bytes::new(),
            Memory::Map { .. } => Bytes::from_owner(Slice { file: self.clone(), range }),
            Memory::Simulated(read) => Bytes::from(read(range.start, range.len())),
        }
    }
}

/// A range of a mapped file that was readable when this was made.
struct Slice {
    file: Arc<MappedFile>,
    range: Range<usize>,
}

impl AsRef<[u8]> for Slice {
    fn as_ref(&self) -> &[u8] {
        let Memory::Map { map, .. } = &self.file.memory else { return &[] };
        // SAFETY: `slice` made this with a range below `readable`, which only grows and which
        // `publish` holds within both the map and the file. Nobody cuts the file while it is
        // mapped: its folder is locked against other processes, retention unlinks, and
        // `GrowingFile` cuts only what lies beyond `readable`. It writes only there, too, so these
        // bytes do not change; the acquire in `readable` pairs with the release in `publish`,
        // which follows the write. The map lives as long as `self.file`.
        unsafe { std::slice::from_raw_parts(map.as_ptr().add(self.range.start), self.range.len()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn mapped(capacity_bytes: usize) -> (Arc<File>, Arc<MappedFile>) {
        let file = Arc::new(tempfile::tempfile().unwrap());
        let map = MappedFile::new(&file, capacity_bytes).unwrap();
        (file, Arc::new(map))
    }

    #[test]
    fn published_bytes_never_change_under_a_reader_while_the_file_grows() {
        // Given a writer that appends and publishes, and a reader beside it.
        let (mut file, map) = mapped(1 << 20);
        let reader = std::thread::spawn({
            let map = map.clone();
            move || {
                let mut kept: Vec<Bytes> = Vec::new();
                loop {
                    let readable = map.readable();
                    let seen = map.slice(0..readable);
                    for (position, byte) in seen.iter().enumerate() {
                        assert_eq!(usize::from(*byte), position / 1000 % 251, "at {position}");
                    }
                    kept.push(seen);
                    if readable == 1_000_000 {
                        return kept;
                    }
                }
            }
        });
        for number in 0..1000_usize {
            file.write_all(&[u8::try_from(number % 251).unwrap(); 1000]).unwrap();
            map.publish((number + 1) * 1000).unwrap();
        }
        // Then all slices it kept are prefixes of one another to the end.
        let kept = reader.join().unwrap();
        let last = kept.last().unwrap();
        assert!(kept.iter().all(|slice| last.starts_with(slice)));
    }

    #[test]
    fn a_slice_outlives_its_file_and_its_map() {
        let (mut file, map) = mapped(4096);
        file.write_all(b"still here").unwrap();
        map.publish(10).unwrap();
        let slice = map.slice(6..10);
        drop((file, map));
        assert_eq!(&slice[..], b"here");
    }

    #[test]
    #[should_panic(expected = "is past the end 3")]
    fn what_no_file_bears_is_never_published() {
        let (mut file, map) = mapped(4096);
        file.write_all(b"abc").unwrap();
        let _ = map.publish(4);
    }

    #[test]
    #[should_panic(expected = "moves back")]
    fn the_readable_end_never_moves_back() {
        let (mut file, map) = mapped(4096);
        file.write_all(b"abc").unwrap();
        map.publish(3).unwrap();
        let _ = map.publish(2);
    }

    #[test]
    #[should_panic(expected = "0..2 of 1")]
    fn what_is_not_published_is_not_sliced() {
        let (mut file, map) = mapped(4096);
        file.write_all(b"abc").unwrap();
        map.publish(1).unwrap();
        let _ = map.slice(0..2);
    }
}
