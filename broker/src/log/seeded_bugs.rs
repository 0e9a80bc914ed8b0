//! Bugs that can be switched on, for tests only: a suite that does not catch them proves nothing.
use std::io;
use std::sync::Arc;

use crate::disk::{Disk, DiskFile, Volume};

/// Which bugs are on. None, except in the tests that must catch them.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct SeededBugs {
    /// Readers see, and `acks=all` answers, what is not durable yet.
    pub acknowledges_before_sync: bool,
    /// Names of new files are never made durable.
    pub forgets_directory_sync: bool,
    /// Four batches of a producer are remembered instead of five.
    pub remembers_four_batches: bool,
    /// A cleaned segment takes its place before its bytes are durable.
    pub swaps_before_sync: bool,
    /// The cleaner takes the newest record of a key away and leaves the one before.
    pub keeps_outdated: bool,
}

/// A disk that never syncs a folder.
#[derive(Debug)]
pub(super) struct ForgetfulDisk(pub(super) Arc<dyn Disk>);

impl Disk for ForgetfulDisk {
    fn create(&self, path: &str) -> io::Result<Arc<dyn DiskFile>> {
        self.0.create(path)
    }

    fn open(&self, path: &str) -> io::Result<Arc<dyn DiskFile>> {
        self.0.open(path)
    }

    fn read(&self, path: &str) -> io::Result<Vec<u8>> {
        self.0.read(path)
    }

    fn list(&self, path: &str) -> io::Result<Vec<String>> {
        self.0.list(path)
    }

    fn create_dir(&self, path: &str) -> io::Result<()> {
        self.0.create_dir(path)
    }

    fn remove_dir(&self, path: &str) -> io::Result<()> {
        self.0.remove_dir(path)
    }

    fn rename(&self, source: &str, target: &str) -> io::Result<()> {
        self.0.rename(source, target)
    }

    fn unlink(&self, path: &str) -> io::Result<()> {
        self.0.unlink(path)
    }

    fn sync_dir(&self, _path: &str) -> io::Result<()> {
        Ok(())
    }

    fn volume(&self) -> Volume {
        self.0.volume()
    }
}
