//! What holds for topics without a setting of their own: the broker's settings, and what clients have
//! changed of them while it ran, for all brokers (the empty name) or for this one (its number).
//!
//! The changes are a small file beside the catalog, saved whole and atomically before they hold.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use crate::catalog::error::{CatalogError, OpenError};
use crate::catalog::{Catalog, Topics};
use crate::config::Config;
use crate::config::setting::ConfigError;
use crate::config::topic::{TopicConfig, is_dynamic};
use crate::log::dir::LogDir;
use crate::named_settings::{NamedSettings, Settings, SettingsError};

/// The file.
pub const FILE: &str = "broker-configs";

/// The broker's settings, and how they came about.
#[derive(Debug)]
pub(super) struct Defaults {
    /// What the operator set.
    given: Arc<Config>,
    /// What clients have changed, by the name of the broker.
    changed: NamedSettings,
    /// What holds.
    holding: RwLock<Arc<Config>>,
}

impl Defaults {
    /// Reads the file. Changes that do not go with the operator's settings any more are told of, and
    /// then none of them holds.
    pub(super) fn open(logs: &Arc<LogDir>, given: Arc<Config>) -> Result<Defaults, OpenError> {
        let changed = NamedSettings::open(logs.clone(), FILE).map_err(OpenError::Defaults)?;
        let holding = combine(&given, &changed.all()).unwrap_or_else(|refused| {
            tracing::error!(%refused, "what clients have set for the broker does not hold any more");
            given.clone()
        });
        Ok(Defaults { given, changed, holding: RwLock::new(holding) })
    }

    /// What holds.
    pub(super) fn holding(&self) -> Arc<Config> {
        self.holding.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn combine(
    given: &Config,
    changed: &BTreeMap<String, Settings>,
) -> Result<Arc<Config>, ConfigError> {
    let none = Settings::new();
    let of = |name: &str| changed.get(name).unwrap_or(&none);
    given.changed(of(""), of(&given.node_id.to_string())).map(Arc::new)
}

impl Catalog {
    /// The broker's settings as they hold for topics now.
    pub fn defaults(&self) -> Arc<Config> {
        self.defaults.holding()
    }

    /// What clients have set for this broker, or, of the empty name, for all brokers.
    pub fn default_overrides(&self, broker: &str) -> Settings {
        self.defaults.changed.of(broker)
    }

    /// Replaces what was set for this broker, or for all, by what `change` makes of it, durably;
    /// only checks if `is_dry`. It holds at once, for every topic without a setting of its own.
    pub fn reconfigure_defaults(
        &self,
        broker: &str,
        is_dry: bool,
        change: impl FnOnce(&Settings) -> Result<Settings, String>,
    ) -> Result<(), CatalogError> {
        let _changes = self.lock();
        let Defaults { given, changed, holding } = &self.defaults;
        let mut coming = None;
        let saved = changed.change(broker, is_dry, |set| {
            *set = change(set).map_err(CatalogError::Config)?;
            if let Some(name) = set.keys().find(|name| !is_dynamic(name)) {
                return Err(CatalogError::NotDynamic(name.clone()));
            }
            let mut all = BTreeMap::clone(&changed.all());
            all.insert(broker.to_owned(), set.clone());
            let refused = |refused: ConfigError| CatalogError::Config(refused.to_string());
            let config = combine(given, &all).map_err(refused)?;
            coming = Some((with_defaults(&self.topics(), &config)?, config));
            Ok(())
        });
        saved.map_err(|error| match error {
            SettingsError::Refused(refused) => refused,
            SettingsError::TooMany => CatalogError::Config(error.to_string()),
            SettingsError::Storage(error) => CatalogError::Log(error),
        })?;
        let Some((topics, config)) = coming.filter(|_| !is_dry) else { return Ok(()) };
        *holding.write().unwrap_or_else(PoisonError::into_inner) = config;
        for topic in topics.iter() {
            for partition in &topic.partitions {
                partition.set_config(topic.config.log.clone());
            }
        }
        *self.topics.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(topics);
        Ok(())
    }
}

fn with_defaults(topics: &Topics, config: &Config) -> Result<Topics, CatalogError> {
    let mut changed = Topics::default();
    for topic in topics.iter() {
        let overrides = topic.config.overrides.clone();
        let parsed = TopicConfig::parse(&topic.name, overrides, config);
        changed.put(Arc::new(topic.with_config(parsed.map_err(CatalogError::Config)?)));
    }
    Ok(changed)
}
