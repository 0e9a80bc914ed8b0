//! What was set for share groups, in a file of its own.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use crate::config::Config;
use crate::config::kept::{Overrides, decode, encode};
use crate::log::dir::LogDir;
use crate::log::error::LogError;
use crate::share::settings::GroupSettings;

/// The file.
pub const FILE: &str = "group-configs";
/// A bound far above any use, so that no client fills the disk with names.
const GROUPS_MAX: usize = 10_000;

/// Why settings stay as they are.
#[derive(Debug, thiserror::Error)]
pub enum ConfigsError {
    /// The client's mistake.
    #[error("{0}")]
    Refused(String),
    /// They cannot be written.
    #[error("{FILE} cannot be written: {0}")]
    Storage(#[from] LogError),
}

/// See the head of this file.
#[derive(Debug)]
pub struct GroupConfigs {
    logs: Arc<LogDir>,
    config: Arc<Config>,
    overrides: RwLock<Overrides>,
    changes: Mutex<()>,
}

impl GroupConfigs {
    /// Reads the file. Settings that the broker's own no longer allow are told of; the defaults hold.
    pub fn open(logs: Arc<LogDir>, config: Arc<Config>) -> io::Result<Self> {
        let overrides = match logs.disk().read(FILE) {
            Ok(bytes) => decode(&bytes).ok_or_else(|| {
                let text = format!("{FILE} is damaged: restore it from a copy, or delete it");
                io::Error::new(io::ErrorKind::InvalidData, text)
            })?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Overrides::new(),
            Err(error) => return Err(error),
        };
        for (group, set) in &overrides {
            if let Err(why) = GroupSettings::of(&config, set) {
                tracing::error!(group, why, "what was set for a group does not hold any more");
            }
        }
        Ok(Self { logs, config, overrides: RwLock::new(overrides), changes: Mutex::new(()) })
    }

    /// What was set for a group.
    pub fn overrides(&self, group: &str) -> BTreeMap<String, String> {
        let overrides = self.overrides.read().unwrap_or_else(PoisonError::into_inner);
        overrides.get(group).cloned().unwrap_or_default()
    }

    /// What holds for a group.
    pub fn settings(&self, group: &str) -> GroupSettings {
        let overrides = self.overrides.read().unwrap_or_else(PoisonError::into_inner);
        let none = BTreeMap::new();
        let set = overrides.get(group).unwrap_or(&none);
        GroupSettings::of(&self.config, set).unwrap_or_else(|_| {
            GroupSettings::of(&self.config, &none).expect("the defaults are in their bounds")
        })
    }

    /// Replaces what was set for a group by what `change` makes of it, durably; only checks if
    /// `is_dry`. Blocks.
    pub fn change(
        &self,
        group: &str,
        is_dry: bool,
        change: impl FnOnce(&mut BTreeMap<String, String>) -> Result<(), String>,
    ) -> Result<(), ConfigsError> {
        let _alone = self.changes.lock().unwrap_or_else(PoisonError::into_inner);
        let mut overrides = self.overrides.read().unwrap_or_else(PoisonError::into_inner).clone();
        let mut set = overrides.remove(group).unwrap_or_default();
        change(&mut set).map_err(ConfigsError::Refused)?;
        GroupSettings::of(&self.config, &set).map_err(ConfigsError::Refused)?;
        if is_dry {
            return Ok(());
        }
        if !set.is_empty() {
            if overrides.len() >= GROUPS_MAX {
                let why = format!("{GROUPS_MAX} groups have settings of their own already.");
                return Err(ConfigsError::Refused(why));
            }
            overrides.insert(group.to_owned(), set);
        }
        self.logs.save(FILE, &encode(&overrides))?;
        *self.overrides.write().unwrap_or_else(PoisonError::into_inner) = overrides;
        Ok(())
    }
}
