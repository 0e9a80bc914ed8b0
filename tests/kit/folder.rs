//! Folders that tests write to.

use std::path::Path;

use tempfile::TempDir;

/// A folder for tests that sync a lot: in memory where the system has such a place.
pub(crate) fn quick() -> TempDir {
    let in_memory = tempfile::Builder::new().prefix("weir").tempdir_in(Path::new("/dev/shm"));
    in_memory.or_else(|_| tempfile::tempdir()).expect("a temporary folder")
}
