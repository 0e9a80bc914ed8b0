//! The disk of the operating system: one data directory, locked against other processes.
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, IoSlice};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::FallocateFlags;
use rustix::io::Errno;

use crate::disk::mapped_file::MappedFile;
use crate::disk::{Disk, DiskFile, Room, Volume};

/// Holds the lock while the process lives.
const LOCK: &str = ".lock";

/// A data directory.
#[derive(Debug)]
pub struct OsDisk {
    root: PathBuf,
    /// The directory itself, kept open: between a renaming and its sync nothing may be lacking.
    folder: File,
    /// The lock goes with the file. A copy that nobody may write to has none.
    _lock: Option<File>,
    is_read_only: bool,
}

/// Why a data directory cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it.
    #[error(
        "the data directory {} is in use by another process; stop it or set another directory",
        path.display()
    )]
    InUse {
        /// Which.
        path: PathBuf,
    },
    /// There is none.
    #[error("there is no data directory {}", path.display())]
    Missing {
        /// Where it was sought.
        path: PathBuf,
    },
    /// The operating system refuses.
    #[error(
        "cannot {doing} the data directory {}: {source}; set a folder that this user may write",
        path.display()
    )]
    Io {
        /// What was tried.
        doing: &'static str,
        /// Which.
        path: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
}

impl OsDisk {
    /// Makes the directory if need be, and locks it.
    ///
    /// # Errors
    /// When another process has it, or the operating system refuses.
    pub fn open(root: &Path) -> Result<OsDisk, OpenError> {
        let path = root.to_owned();
        let fail = |doing| {
            let path = path.clone();
            move |source| OpenError::Io { doing, path, source }
        };
        fs::create_dir_all(root).map_err(fail("make"))?;
        let root = root.canonicalize().map_err(fail("find"))?;
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(root.join(LOCK))
            .map_err(fail("lock"))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(OpenError::InUse { path }),
            Err(TryLockError::Error(source)) => return Err(fail("lock")(source)),
        }
        let folder = File::open(&root).map_err(fail("open"))?;
        let disk = OsDisk { root, folder, _lock: Some(lock), is_read_only: false };
        // The directory's own name must survive a power cut as well as what is in it.
        if let Some(above) = disk.root.parent() {
            File::open(above).and_then(|folder| folder.sync_all()).map_err(fail("sync"))?;
        }
        Ok(disk)
    }

    /// Locks a directory that is there, to look at it: nothing in it is changed.
    ///
    /// # Errors
    /// When there is none, another process has it, or the operating system refuses.
    pub fn inspect(root: &Path) -> Result<OsDisk, OpenError> {
        let path = root.to_owned();
        let fail = |doing| {
            let path = path.clone();
            move |source| OpenError::Io { doing, path, source }
        };
        let root = match root.canonicalize() {
            Ok(root) => root,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(OpenError::Missing { path });
            }
            Err(error) => return Err(fail("find")(error)),
        };
        // Every broker leaves the file behind; a copy without it has no broker.
        let lock = match File::open(root.join(LOCK)) {
            Ok(lock) => Some(lock),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(fail("lock")(error)),
        };
        match lock.as_ref().map_or(Ok(()), File::try_lock) {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(OpenError::InUse { path }),
            Err(TryLockError::Error(source)) => return Err(fail("lock")(source)),
        }
        let folder = File::open(&root).map_err(fail("open"))?;
        Ok(OsDisk { root, folder, _lock: lock, is_read_only: true })
    }

    fn at(&self, path: &str) -> PathBuf {
        self.root.join(path)
    }
}

impl Disk for OsDisk {
    fn create(&self, path: &str) -> io::Result<Arc<dyn DiskFile>> {
        let mut options = OpenOptions::new();
        options.create_new(true).read(true).write(true).mode(0o600);
        Ok(Arc::new(OsFile { file: Arc::new(options.open(self.at(path))?) }))
    }

    fn open(&self, path: &str) -> io::Result<Arc<dyn DiskFile>> {
        let file = OpenOptions::new().read(true).write(!self.is_read_only).open(self.at(path))?;
        Ok(Arc::new(OsFile { file: Arc::new(file) }))
    }

    fn read(&self, path: &str) -> io::Result<Vec<u8>> {
        fs::read(self.at(path))
    }

    fn list(&self, path: &str) -> io::Result<Vec<String>> {
        let names = fs::read_dir(self.at(path))?
            .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
        let mut names = names.collect::<io::Result<Vec<String>>>()?;
        names.sort_unstable();
        Ok(names)
    }

    fn create_dir(&self, path: &str) -> io::Result<()> {
        fs::create_dir(self.at(path))
    }

    fn remove_dir(&self, path: &str) -> io::Result<()> {
        fs::remove_dir(self.at(path))
    }

    fn rename(&self, source: &str, target: &str) -> io::Result<()> {
        fs::rename(self.at(source), self.at(target))
    }

    fn unlink(&self, path: &str) -> io::Result<()> {
        fs::remove_file(self.at(path))
    }

    fn sync_dir(&self, path: &str) -> io::Result<()> {
        if path.is_empty() {
            return self.folder.sync_all().map_err(lasting);
        }
        File::open(self.at(path))?.sync_all().map_err(lasting)
    }

    fn volume(&self) -> Volume {
        let room = rustix::fs::fstatvfs(&self.folder).ok().map(|told| Room {
            total_bytes: told.f_blocks.saturating_mul(told.f_frsize),
            usable_bytes: told.f_bavail.saturating_mul(told.f_frsize),
        });
        Volume { path: self.root.display().to_string(), room }
    }
}

/// An open file.
#[derive(Debug)]
struct OsFile {
    /// Shared with its map.
    file: Arc<File>,
}

/// The failure of a sync, or of a write for anything but room: final, whatever its number is.
fn lasting(error: io::Error) -> io::Error {
    io::Error::other(error)
}

impl DiskFile for OsFile {
    fn size_bytes(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn allocate(&self, position: u64, bytes: u64) -> io::Result<()> {
        loop {
            match rustix::fs::fallocate(&self.file, FallocateFlags::KEEP_SIZE, position, bytes) {
                Err(Errno::INTR) => {}
                // Some file systems know no reservation; writing will tell when they are full.
                Err(Errno::OPNOTSUPP | Errno::NOSYS) => return Ok(()),
                result => return Ok(result?),
            }
        }
    }

    fn write_at(&self, mut position: u64, parts: &[&[u8]]) -> io::Result<()> {
        let mut slices: Vec<IoSlice<'_>> = parts.iter().map(|part| IoSlice::new(part)).collect();
        let mut left = &mut slices[..];
        // Drops empty parts too, so that nothing written means an error.
        IoSlice::advance_slices(&mut left, 0);
        while !left.is_empty() {
            match rustix::io::pwritev(&self.file, left, position) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => {
                    position += count as u64;
                    IoSlice::advance_slices(&mut left, count);
                }
                Err(Errno::INTR) => {}
                Err(error @ (Errno::NOSPC | Errno::DQUOT)) => return Err(error.into()),
                Err(error) => return Err(lasting(error.into())),
            }
        }
        Ok(())
    }

    fn read_at(&self, position: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(buffer, position)
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync_data().map_err(lasting)
    }

    fn truncate(&self, size_bytes: u64) -> io::Result<()> {
        self.file.set_len(size_bytes)
    }

    fn map(&self, capacity_bytes: usize) -> io::Result<MappedFile> {
        MappedFile::new(&self.file, capacity_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_has_one_process_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let disk = OsDisk::open(folder.path()).unwrap();
        let second = OsDisk::open(folder.path()).unwrap_err();
        assert!(second.to_string().contains("is in use by another process"), "{second}");
        let look = OsDisk::inspect(folder.path()).unwrap_err();
        assert!(matches!(look, OpenError::InUse { .. }), "{look}");
        drop(disk);
        let looking = OsDisk::inspect(folder.path()).unwrap();
        assert!(matches!(OsDisk::open(folder.path()), Err(OpenError::InUse { .. })));
        drop(looking);
        OsDisk::open(folder.path()).unwrap();
    }

    #[test]
    fn who_only_looks_makes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let missing = OsDisk::inspect(&folder.path().join("none")).unwrap_err();
        assert!(matches!(missing, OpenError::Missing { .. }), "{missing}");
        OsDisk::inspect(folder.path()).unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn parts_are_written_one_after_the_other_and_reserved_blocks_leave_the_size() {
        let folder = tempfile::tempdir().unwrap();
        let disk = OsDisk::open(folder.path()).unwrap();
        disk.create_dir("a").unwrap();
        let file = disk.create("a/b").unwrap();
        file.allocate(0, 1 << 20).unwrap();
        assert_eq!(file.size_bytes().unwrap(), 0);
        file.write_at(2, &[b"one", b"", b"two"]).unwrap();
        assert_eq!(disk.read("a/b").unwrap(), b"\0\0onetwo");
        file.truncate(5).unwrap();
        assert_eq!(disk.read("a/b").unwrap(), b"\0\0one");
        assert_eq!(disk.list("a").unwrap(), ["b"]);
        assert_eq!(disk.create("a/b").unwrap_err().kind(), io::ErrorKind::AlreadyExists);
    }

    #[test]
    fn a_file_is_replaced_whole() {
        let folder = tempfile::tempdir().unwrap();
        let disk = OsDisk::open(folder.path()).unwrap();
        disk.replace("meta", b"first, and longer").unwrap();
        disk.replace("meta", b"second").unwrap();
        assert_eq!(disk.read("meta").unwrap(), b"second");
        assert_eq!(disk.list("").unwrap(), [".lock", "meta"]);
    }
}
