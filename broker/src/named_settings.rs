//! Settings of things that have a name and nothing else (a group, a metrics subscription), in one
//! small file of their own: a checksum, which covers the file's name too, and names with their
//! settings. Saved whole and atomically.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use crate::log::dir::LogDir;
use crate::log::error::LogError;

/// A bound far above any use, so that no client fills the disk with names.
const NAMES_MAX: usize = 10_000;

/// What is set for one name.
pub type Settings = BTreeMap<String, String>;

/// Why settings stay as they are.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError<E> {
    /// The client's mistake.
    #[error("the settings are refused")]
    Refused(E),
    /// There are too many names already.
    #[error("{NAMES_MAX} names have settings of their own already.")]
    TooMany,
    /// They cannot be written.
    #[error("the settings cannot be written: {0}")]
    Storage(#[from] LogError),
}

/// See the head of this file.
#[derive(Debug)]
pub struct NamedSettings {
    logs: Arc<LogDir>,
    file: &'static str,
    by_name: RwLock<Arc<BTreeMap<String, Settings>>>,
    changes: Mutex<()>,
}

impl NamedSettings {
    /// Reads the file; damage is refused, in one line.
    pub fn open(logs: Arc<LogDir>, file: &'static str) -> io::Result<Self> {
        let by_name = match logs.kept(file)? {
            Some(bytes) => decode(file, &bytes).ok_or_else(|| {
                let text = format!("{file} is damaged: restore it from a copy, or delete it");
                io::Error::new(io::ErrorKind::InvalidData, text)
            })?,
            None => BTreeMap::new(),
        };
        Ok(Self { logs, file, by_name: RwLock::new(Arc::new(by_name)), changes: Mutex::new(()) })
    }

    /// All names that have settings.
    pub fn all(&self) -> Arc<BTreeMap<String, Settings>> {
        self.by_name.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What was set for a name.
    pub fn of(&self, name: &str) -> Settings {
        self.all().get(name).cloned().unwrap_or_default()
    }

    /// Replaces what was set for a name by what `change` makes of it, durably; only checks if
    /// `is_dry`. Nothing left: the name is forgotten. Blocks.
    pub fn change<E>(
        &self,
        name: &str,
        is_dry: bool,
        change: impl FnOnce(&mut Settings) -> Result<(), E>,
    ) -> Result<(), SettingsError<E>> {
        let _alone = self.changes.lock().unwrap_or_else(PoisonError::into_inner);
        let mut by_name = BTreeMap::clone(&self.all());
        let mut set = by_name.remove(name).unwrap_or_default();
        change(&mut set).map_err(SettingsError::Refused)?;
        if !set.is_empty() {
            if by_name.len() >= NAMES_MAX {
                return Err(SettingsError::TooMany);
            }
            by_name.insert(name.to_owned(), set);
        }
        if is_dry || by_name == *self.all() {
            return Ok(());
        }
        self.logs.save(self.file, &encode(self.file, &by_name))?;
        *self.by_name.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(by_name);
        Ok(())
    }
}

fn encode(file: &str, by_name: &BTreeMap<String, Settings>) -> Vec<u8> {
    let body = serde_json::to_string(by_name).expect("strings can be written");
    format!("{:08x}\n{body}\n", sum(&[file, "\n", &body])).into_bytes()
}

/// What the bytes of the file of that name say; `None` when they are damaged, or another file's.
pub fn decode(file: &str, bytes: &[u8]) -> Option<BTreeMap<String, Settings>> {
    let (checksum, body) = std::str::from_utf8(bytes).ok()?.split_once('\n')?;
    let body = body.strip_suffix('\n')?;
    // Older programs left the name out.
    let known = [sum(&[file, "\n", body]), sum(&[body])].map(|sum| format!("{sum:08x}"));
    known.iter().any(|sum| sum == checksum).then(|| serde_json::from_str(body).ok()).flatten()
}

fn sum(parts: &[&str]) -> u32 {
    crc32fast::hash(parts.concat().as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_every_flipped_bit_is_noticed() {
        let set = Settings::from([("share.auto.offset.reset".to_owned(), "earliest".to_owned())]);
        let by_name = BTreeMap::from([("g".to_owned(), set)]);
        let bytes = encode("f", &by_name);
        assert_eq!(decode("f", &bytes), Some(by_name));
        assert_eq!(decode("another", &bytes), None);
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(decode("f", &flipped), None, "bit {bit}");
        }
    }
}
