//! The only door to the disk. Paths are relative to the data directory, parted by `/`; the empty
//! path is the directory itself.
//!
//! What a power cut leaves is only what was synced: a file's bytes and length by its own
//! [`DiskFile::sync`], its name by [`Disk::sync_dir`] of the folder that holds it. Everything else
//! may be there or not, piece by piece. The simulated disk of the tests behaves just so.
pub mod growing_file;
pub mod mapped_file;
pub mod os;

use std::fmt;
use std::io;
use std::sync::Arc;

use rustix::io::Errno;

use crate::disk::mapped_file::MappedFile;

/// Where the data directory lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Volume {
    /// The directory, as people name it: a whole path.
    pub path: String,
    /// How much room there is; `None`: the operating system does not say.
    pub room: Option<Room>,
}

/// The room on a volume.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Room {
    /// All of it.
    pub total_bytes: u64,
    /// What this process may still take.
    pub usable_bytes: u64,
}

/// Files by name.
pub trait Disk: Send + Sync + fmt::Debug {
    /// Makes an empty file and opens it for reading and writing. Refused when the name is taken.
    ///
    /// # Errors
    /// What the operating system says.
    fn create(&self, path: &str) -> io::Result<Arc<dyn DiskFile>>;

    /// Opens a file for reading and writing.
    ///
    /// # Errors
    /// What the operating system says.
    fn open(&self, path: &str) -> io::Result<Arc<dyn DiskFile>>;

    /// The whole of a small file.
    ///
    /// # Errors
    /// What the operating system says.
    fn read(&self, path: &str) -> io::Result<Vec<u8>>;

    /// The names in a folder, sorted.
    ///
    /// # Errors
    /// What the operating system says.
    fn list(&self, path: &str) -> io::Result<Vec<String>>;

    /// Makes a folder. Refused when the name is taken.
    ///
    /// # Errors
    /// What the operating system says.
    fn create_dir(&self, path: &str) -> io::Result<()>;

    /// Removes an empty folder.
    ///
    /// # Errors
    /// What the operating system says.
    fn remove_dir(&self, path: &str) -> io::Result<()>;

    /// Gives a file or folder another name, in one step; a file of that name is replaced.
    ///
    /// # Errors
    /// What the operating system says.
    fn rename(&self, source: &str, target: &str) -> io::Result<()>;

    /// Takes a file's name away; who has it open keeps it.
    ///
    /// # Errors
    /// What the operating system says.
    fn unlink(&self, path: &str) -> io::Result<()>;

    /// Makes the names in a folder durable.
    ///
    /// # Errors
    /// What the operating system says; the names may then be lost for good.
    fn sync_dir(&self, path: &str) -> io::Result<()>;

    /// Where all this lies, and how much room there is.
    fn volume(&self) -> Volume;

    /// Writes a whole small file under a name that may be taken. Not durable, and not one step:
    /// only for what can be told to be whole and made anew.
    ///
    /// # Errors
    /// What the operating system says.
    fn put(&self, path: &str, bytes: &[u8]) -> io::Result<Arc<dyn DiskFile>> {
        match self.unlink(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let file = self.create(path)?;
        file.write_at(0, &[bytes])?;
        Ok(file)
    }

    /// Replaces a small file in one step that is durable when this returns: after a power cut
    /// there is the old file or the new one, whole.
    ///
    /// # Errors
    /// What the operating system says.
    fn replace(&self, path: &str, bytes: &[u8]) -> io::Result<()> {
        let temporary = format!("{path}.tmp");
        self.put(&temporary, bytes)?.sync()?;
        self.rename(&temporary, path)?;
        self.sync_dir(parent(path))
    }
}

/// An open file.
pub trait DiskFile: Send + Sync + fmt::Debug {
    /// How many bytes it has.
    ///
    /// # Errors
    /// What the operating system says.
    fn size_bytes(&self) -> io::Result<u64>;

    /// Reserves blocks for `bytes` from `position` on. The size stays as it is.
    ///
    /// # Errors
    /// What the operating system says: above all, that the disk is full.
    fn allocate(&self, position: u64, bytes: u64) -> io::Result<()>;

    /// Writes all parts, one after the other, from `position` on.
    ///
    /// # Errors
    /// What the operating system says; some of the bytes may have been written.
    fn write_at(&self, position: u64, parts: &[&[u8]]) -> io::Result<()>;

    /// Fills `buffer` from `position` on.
    ///
    /// # Errors
    /// What the operating system says; the end of the file is one.
    fn read_at(&self, position: u64, buffer: &mut [u8]) -> io::Result<()>;

    /// Makes the bytes and the size durable.
    ///
    /// # Errors
    /// What the operating system says. What was not durable may then be lost for good, and a
    /// second call that succeeds proves nothing.
    fn sync(&self) -> io::Result<()>;

    /// Cuts the file. Nobody may have mapped what is cut.
    ///
    /// # Errors
    /// What the operating system says.
    fn truncate(&self, size_bytes: u64) -> io::Result<()>;

    /// Maps the first `capacity_bytes` of its address space for reading; nothing is readable yet.
    ///
    /// # Errors
    /// What the operating system says.
    fn map(&self, capacity_bytes: usize) -> io::Result<MappedFile>;
}

/// The folder that holds `path`.
#[must_use]
pub fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(folder, _)| folder)
}

/// Whether the disk merely has no room.
#[must_use]
pub fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Whether a failure passes: no room on the disk, or no open files or memory to be had just now.
/// Nothing was harmed, and the same may succeed later. Every other failure is final; a failed
/// sync, and a write that failed for anything but room, are never told in these words.
#[must_use]
pub fn is_passing(error: &io::Error) -> bool {
    let errno = Errno::from_io_error(error);
    is_full(error)
        || matches!(
            errno,
            Some(Errno::MFILE | Errno::NFILE | Errno::NOMEM | Errno::AGAIN | Errno::INTR)
        )
}
