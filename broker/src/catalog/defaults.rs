//! What holds for topics without a setting of their own: the broker's settings, and what clients have
//! changed of them while it ran, for all brokers (the empty name) or for this one (its number).
//!
//! The changes are a small file beside the catalog, saved whole and atomically before they hold.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, PoisonError};

use crate::catalog::error::{CatalogError, OpenError};
use crate::catalog::{Catalog, Topic, Topics};
use crate::config::Config;
use crate::config::kept::{Overrides, decode, encode};
use crate::config::setting::ConfigError;
use crate::config::topic::{TopicConfig, is_dynamic};
use crate::log::dir::LogDir;

/// The file.
pub const FILE: &str = "broker-configs";

/// The broker's settings, and how they came about.
#[derive(Clone, Debug)]
pub(super) struct Defaults {
    /// What the operator set.
    given: Arc<Config>,
    /// What clients have changed, by the name of the broker.
    overrides: Overrides,
    /// What holds.
    pub(super) holding: Arc<Config>,
}

impl Defaults {
    /// Reads the file. Changes that do not go with the operator's settings any more are told of, and
    /// then none of them holds.
    pub(super) fn open(logs: &LogDir, given: Arc<Config>) -> Result<Defaults, OpenError> {
        let overrides = match logs.disk().read(FILE) {
            Ok(bytes) => decode(&bytes).ok_or(OpenError::Defaults)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Overrides::new(),
            Err(error) => return Err(error.into()),
        };
        let holding = combine(&given, &overrides).unwrap_or_else(|refused| {
            tracing::error!(%refused, "what clients have set for the broker does not hold any more");
            given.clone()
        });
        Ok(Defaults { given, overrides, holding })
    }
}

fn combine(given: &Config, overrides: &Overrides) -> Result<Arc<Config>, ConfigError> {
    let none = BTreeMap::new();
    let of = |name: &str| overrides.get(name).unwrap_or(&none);
    given.changed(of(""), of(&given.node_id.to_string())).map(Arc::new)
}

impl Catalog {
    /// The broker's settings as they hold for topics now.
    pub fn defaults(&self) -> Arc<Config> {
        self.defaults.read().unwrap_or_else(PoisonError::into_inner).holding.clone()
    }

    /// What clients have set for this broker, or, of the empty name, for all brokers.
    pub fn default_overrides(&self, broker: &str) -> BTreeMap<String, String> {
        let defaults = self.defaults.read().unwrap_or_else(PoisonError::into_inner);
        defaults.overrides.get(broker).cloned().unwrap_or_default()
    }

    /// Replaces what was set for this broker, or for all, by what `change` makes of it, durably;
    /// only checks if `is_dry`. It holds at once, for every topic without a setting of its own.
    pub fn reconfigure_defaults(
        &self,
        broker: &str,
        is_dry: bool,
        change: impl FnOnce(&BTreeMap<String, String>) -> Result<BTreeMap<String, String>, String>,
    ) -> Result<(), CatalogError> {
        let _changes = self.lock();
        let mut defaults = self.defaults.read().unwrap_or_else(PoisonError::into_inner).clone();
        let set = change(&self.default_overrides(broker)).map_err(CatalogError::Config)?;
        if let Some(name) = set.keys().find(|name| !is_dynamic(name)) {
            return Err(CatalogError::NotDynamic(name.clone()));
        }
        defaults.overrides.insert(broker.to_owned(), set);
        defaults.overrides.retain(|_, set| !set.is_empty());
        let refused = |refused: ConfigError| CatalogError::Config(refused.to_string());
        defaults.holding = combine(&defaults.given, &defaults.overrides).map_err(refused)?;
        let topics = with_defaults(&self.topics(), &defaults.holding)?;
        if is_dry {
            return Ok(());
        }
        self.logs.save(FILE, &encode(&defaults.overrides))?;
        *self.defaults.write().unwrap_or_else(PoisonError::into_inner) = defaults;
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
        changed.put(Arc::new(Topic {
            name: topic.name.clone(),
            id: topic.id,
            is_internal: topic.is_internal,
            config: TopicConfig::parse(&topic.name, overrides, config)
                .map_err(CatalogError::Config)?,
            partitions: topic.partitions.clone(),
            metrics: topic.metrics.clone(),
        }));
    }
    Ok(changed)
}
