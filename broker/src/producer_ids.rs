//! Producer ids: given out once, whatever happens. The file holds the first id that no process has
//! claimed; a block is claimed (durably) before the first of its ids is given out.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use crate::log::dir::LogDir;
use crate::log::error::LogError;

/// The file that holds the first unclaimed id.
pub const FILE: &str = "producer-ids";
const BLOCK: i64 = 1000;

#[derive(Debug)]
struct Block {
    next: i64,
    end: i64,
}

/// The source of producer ids.
#[derive(Debug)]
pub struct ProducerIds {
    logs: Arc<LogDir>,
    block: Mutex<Block>,
}

impl ProducerIds {
    /// Goes on where the last process stopped claiming.
    pub fn open(logs: Arc<LogDir>) -> io::Result<Self> {
        let end = match logs.kept(FILE)? {
            Some(bytes) => parse(&bytes).ok_or_else(|| {
                let text = format!("{FILE} is damaged: expected a number and its checksum");
                io::Error::new(io::ErrorKind::InvalidData, text)
            })?,
            None => 0,
        };
        Ok(Self { logs, block: Mutex::new(Block { next: end, end }) })
    }

    /// An id that nobody ever had. May sync the disk.
    pub fn next(&self) -> Result<i64, LogError> {
        let mut block = self.block.lock().unwrap_or_else(PoisonError::into_inner);
        if block.next == block.end {
            let end = block.end + BLOCK;
            self.logs.save(FILE, show(end).as_bytes())?;
            block.end = end;
        }
        let id = block.next;
        block.next += 1;
        Ok(id)
    }
}

fn show(end: i64) -> String {
    let number = end.to_string();
    format!("{number} {:08x}\n", crc32fast::hash(number.as_bytes()))
}

/// What the bytes of the file say; `None` when they are damaged.
pub fn parse(bytes: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(bytes).ok()?;
    let end = text.split(' ').next()?.parse().ok()?;
    (end >= 0 && show(end) == text).then_some(end)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;
    use crate::disk::os::OsDisk;
    use crate::log::dir::options::LogDirOptions;

    #[test]
    fn no_id_is_given_out_twice_even_after_a_crash() {
        let folder = tempfile::tempdir().unwrap();
        let disk = Arc::new(OsDisk::open(folder.path()).unwrap());
        let clock = Arc::new(ManualClock::new(0));
        let (logs, _) = LogDir::open(disk, LogDirOptions::default(), clock).unwrap();
        let mut seen = std::collections::HashSet::new();
        for _ in 0..3 {
            let ids = ProducerIds::open(logs.clone()).unwrap();
            for _ in 0..1500 {
                assert!(seen.insert(ids.next().unwrap()));
            }
        }
        logs.save(FILE, b"17 00000000\n").unwrap();
        assert!(ProducerIds::open(logs).is_err());
    }

    #[test]
    fn a_file_that_cannot_be_read_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let disk = Arc::new(OsDisk::open(folder.path()).unwrap());
        let clock = Arc::new(ManualClock::new(0));
        let (logs, _) = LogDir::open(disk, LogDirOptions::default(), clock).unwrap();
        std::fs::create_dir(folder.path().join(FILE)).unwrap();
        let error = ProducerIds::open(logs).unwrap_err().to_string();
        assert!(error.starts_with("cannot read producer-ids: "), "{error}");
    }
}
