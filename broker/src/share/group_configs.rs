//! What was set for share groups, and what follows from it together with the broker's own settings.

use std::io;
use std::sync::Arc;

use crate::config::Config;
use crate::log::dir::LogDir;
use crate::named_settings::{NamedSettings, Settings, SettingsError};
use crate::share::settings::GroupSettings;

/// The file.
pub const FILE: &str = "group-configs";

/// See the head of this file.
#[derive(Debug)]
pub struct GroupConfigs {
    config: Arc<Config>,
    set: NamedSettings,
}

impl GroupConfigs {
    /// Reads the file. Settings that the broker's own no longer allow are told of; the defaults hold.
    pub fn open(logs: Arc<LogDir>, config: Arc<Config>) -> io::Result<Self> {
        let set = NamedSettings::open(logs, FILE)?;
        for (group, set) in set.all().iter() {
            if let Err(why) = GroupSettings::of(&config, set) {
                tracing::error!(group, why, "what was set for a group does not hold any more");
            }
        }
        Ok(Self { config, set })
    }

    /// The groups for which something is set.
    pub fn groups(&self) -> Vec<String> {
        self.set.all().keys().cloned().collect()
    }

    /// What was set for a group.
    pub fn overrides(&self, group: &str) -> Settings {
        self.set.of(group)
    }

    /// What holds for a group.
    pub fn settings(&self, group: &str) -> GroupSettings {
        let (all, none) = (self.set.all(), Settings::new());
        let set = all.get(group).unwrap_or(&none);
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
        change: impl FnOnce(&mut Settings) -> Result<(), String>,
    ) -> Result<(), SettingsError<String>> {
        self.set.change(group, is_dry, |set| {
            change(set)?;
            GroupSettings::of(&self.config, set).map(drop)
        })
    }
}
