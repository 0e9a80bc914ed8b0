//! Which topics there are: by name and by id, with their settings and partitions.
//!
//! The catalog is one small file, saved whole and atomically. It is the authority: a topic exists
//! from the moment at which the saved catalog names it. So a topic is made in this order: folders
//! of its partitions (synced), the catalog (synced), then it is seen; and it goes the other way
//! round. A folder that the catalog does not name was never seen, or has been deleted.

pub mod defaults;
pub mod error;
pub mod file;
pub mod names;
mod opening;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use kafka_protocol::messages::TopicName;
use kafka_protocol::protocol::StrBytes;
use uuid::Uuid;

use crate::catalog::defaults::Defaults;
use crate::catalog::error::{CatalogError, OpenError};
use crate::catalog::file::{SavedTopic, SavedTopics, decode, encode};
use crate::catalog::names::{FILE, INTERNAL, check_count, check_name, internal_policy};
use crate::catalog::opening::{begin, open_topic, set_strays_aside};
use crate::config::Config;
use crate::config::topic::TopicConfig;
use crate::log::dir::LogDir;
use crate::log::meta::encode_id;
use crate::metrics::{Metrics, TopicMetrics};
use crate::partition::Partition;

/// One topic as it is now; a change makes a new one.
#[derive(Debug)]
pub struct Topic {
    /// Its name.
    pub name: TopicName,
    /// Its identity: another one after deletion and re-creation.
    pub id: Uuid,
    /// Whether it belongs to the broker itself.
    pub is_internal: bool,
    /// Its settings.
    pub config: TopicConfig,
    /// Its partitions, by number.
    pub partitions: Vec<Arc<Partition>>,
    /// Its counters.
    pub metrics: TopicMetrics,
}

impl Topic {
    /// The partition of that number.
    pub fn partition(&self, index: i32) -> Option<&Arc<Partition>> {
        self.partitions.get(usize::try_from(index).ok()?)
    }

    /// The same topic with other settings.
    fn with_config(&self, config: TopicConfig) -> Topic {
        Topic {
            name: self.name.clone(),
            id: self.id,
            is_internal: self.is_internal,
            config,
            partitions: self.partitions.clone(),
            metrics: self.metrics.clone(),
        }
    }

    /// How many partitions there are.
    pub fn partition_count(&self) -> i32 {
        i32::try_from(self.partitions.len()).expect("the catalog bounds it")
    }
}

/// All topics at one moment.
#[derive(Clone, Debug, Default)]
pub struct Topics {
    by_name: BTreeMap<String, Arc<Topic>>,
    by_id: HashMap<Uuid, Arc<Topic>>,
}

impl Topics {
    /// The topic of that name.
    pub fn named(&self, name: &str) -> Option<&Arc<Topic>> {
        self.by_name.get(name)
    }

    /// The topic of that id.
    pub fn identified(&self, id: &Uuid) -> Option<&Arc<Topic>> {
        self.by_id.get(id)
    }

    /// All of them, by name.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Topic>> {
        self.by_name.values()
    }

    fn to_saved(&self) -> SavedTopics {
        let topics = self.iter().map(|topic| SavedTopic {
            name: topic.name.to_string(),
            id: encode_id(topic.id),
            partitions: topic.partition_count(),
            configs: topic.config.overrides.clone(),
        });
        SavedTopics { topics: topics.collect() }
    }

    fn put(&mut self, topic: Arc<Topic>) {
        self.by_id.insert(topic.id, topic.clone());
        self.by_name.insert(topic.name.to_string(), topic);
    }

    fn take(&mut self, name: &str) -> Option<Arc<Topic>> {
        let topic = self.by_name.remove(name)?;
        self.by_id.remove(&topic.id);
        Some(topic)
    }
}

/// The topics, and the only way to change them. Changes block: call them where that is allowed.
#[derive(Debug)]
pub struct Catalog {
    logs: Arc<LogDir>,
    metrics: Arc<Metrics>,
    defaults: Defaults,
    topics: RwLock<Arc<Topics>>,
    changes: Mutex<()>,
}

impl Catalog {
    /// Reads the catalog and opens every log that it names.
    pub fn open(
        logs: Arc<LogDir>,
        config: Arc<Config>,
        metrics: Arc<Metrics>,
    ) -> Result<Self, OpenError> {
        let saved = match logs.disk().read(FILE) {
            Ok(bytes) => decode(&bytes)?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => begin(&logs)?,
            Err(error) => return Err(error.into()),
        };
        let defaults = Defaults::open(&logs, config)?;
        let mut topics = Topics::default();
        set_strays_aside(&logs, &saved)?;
        for saved in saved.topics {
            topics.put(Arc::new(open_topic(saved, &logs, &defaults.holding(), &metrics)?));
        }
        let topics = RwLock::new(Arc::new(topics));
        Ok(Self { logs, metrics, defaults, topics, changes: Mutex::new(()) })
    }

    /// All topics as they are now.
    pub fn topics(&self) -> Arc<Topics> {
        self.topics.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The topic of that name.
    pub fn topic(&self, name: &str) -> Option<Arc<Topic>> {
        self.topics().named(name).cloned()
    }

    /// Checks all that creating such a topic would check, and what it would be.
    pub fn check_new(
        &self,
        name: &str,
        partition_count: i32,
        overrides: BTreeMap<String, String>,
    ) -> Result<TopicConfig, CatalogError> {
        if INTERNAL.contains(&name) {
            return Err(CatalogError::InvalidName(format!("{name} is kept for the broker")));
        }
        self.check_name_and_count(name, partition_count)?;
        TopicConfig::parse(name, overrides, &self.defaults()).map_err(CatalogError::Config)
    }

    /// Makes a topic for a client.
    pub fn create(
        &self,
        name: &str,
        partition_count: i32,
        overrides: BTreeMap<String, String>,
    ) -> Result<Arc<Topic>, CatalogError> {
        let changes = self.lock();
        let config = self.check_new(name, partition_count, overrides)?;
        self.create_checked(&changes, name, partition_count, config)
    }

    /// The internal topic of that name, made now if there is none. Nothing of it is deleted by age or
    /// size.
    pub fn internal(
        &self,
        name: &str,
        partition_count: i32,
        segment_bytes: i32,
    ) -> Result<Arc<Topic>, CatalogError> {
        if let Some(topic) = self.topic(name) {
            return Ok(topic);
        }
        let changes = self.lock();
        if let Some(topic) = self.topic(name) {
            return Ok(topic);
        }
        self.check_name_and_count(name, partition_count)?;
        let overrides = [
            ("retention.ms", "-1".to_owned()),
            ("retention.bytes", "-1".to_owned()),
            ("segment.bytes", segment_bytes.to_string()),
        ];
        let overrides = overrides.into_iter().map(|(name, value)| (name.to_owned(), value));
        let overrides = overrides.chain(internal_policy(name)).collect();
        let config =
            TopicConfig::parse(name, overrides, &self.defaults()).map_err(CatalogError::Config)?;
        self.create_checked(&changes, name, partition_count, config)
    }

    /// Deletes a topic and its log. It is gone for clients before its files are.
    pub fn delete(&self, name: &str) -> Result<Arc<Topic>, CatalogError> {
        let changes = self.lock();
        let mut topics = Topics::clone(&self.topics());
        if !self.defaults().delete_topic_enable {
            return Err(CatalogError::DeletionDisabled);
        }
        let topic = topics.take(name).ok_or(CatalogError::Unknown)?;
        if topic.is_internal {
            return Err(CatalogError::Forbidden(format!("{name} belongs to the broker")));
        }
        self.publish(&changes, topics)?;
        self.metrics.forget_topic(name);
        for partition in &topic.partitions {
            if let Err(error) = partition.delete() {
                tracing::warn!(topic = name, %error, "a deleted topic left files behind");
            }
        }
        Ok(topic)
    }

    /// Checks whether a topic may grow to that many partitions.
    pub fn check_growth(&self, name: &str, count: i32) -> Result<Arc<Topic>, CatalogError> {
        let topic = self.topic(name).ok_or(CatalogError::Unknown)?;
        if topic.is_internal {
            return Err(CatalogError::Forbidden(format!("{name} belongs to the broker")));
        }
        let current = topic.partition_count();
        if count <= current {
            return Err(CatalogError::PartitionCount(format!(
                "Topic currently has {current} partitions, which is not less than the requested \
                 {count}."
            )));
        }
        check_count(count).map_err(CatalogError::PartitionCount)?;
        Ok(topic)
    }

    /// Gives a topic more partitions.
    pub fn grow(&self, name: &str, count: i32) -> Result<Arc<Topic>, CatalogError> {
        let changes = self.lock();
        let topic = self.check_growth(name, count)?;
        let mut partitions = topic.partitions.clone();
        for index in topic.partition_count()..count {
            partitions.push(Partition::create(
                &self.logs,
                name,
                index,
                topic.id,
                topic.config.log.clone(),
            )?);
        }
        let grown = Arc::new(Topic { partitions, ..topic.with_config(topic.config.clone()) });
        let mut topics = Topics::clone(&self.topics());
        topics.put(grown.clone());
        self.publish(&changes, topics)?;
        Ok(grown)
    }

    /// Replaces a topic's settings by what `change` makes of them; only checks if `is_dry`.
    pub fn reconfigure(
        &self,
        name: &str,
        is_dry: bool,
        change: impl FnOnce(&BTreeMap<String, String>) -> Result<BTreeMap<String, String>, String>,
    ) -> Result<(), CatalogError> {
        let changes = self.lock();
        let topic = self.topic(name).ok_or(CatalogError::Unknown)?;
        let overrides = change(&topic.config.overrides).map_err(CatalogError::Config)?;
        let config =
            TopicConfig::parse(name, overrides, &self.defaults()).map_err(CatalogError::Config)?;
        if is_dry {
            return Ok(());
        }
        if topic.is_internal {
            return Err(CatalogError::Forbidden(format!("{name} belongs to the broker")));
        }
        let changed = Arc::new(topic.with_config(config));
        let mut topics = Topics::clone(&self.topics());
        topics.put(changed.clone());
        self.publish(&changes, topics)?;
        for partition in &changed.partitions {
            partition.set_config(changed.config.log.clone());
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, ()> {
        self.changes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn check_name_and_count(&self, name: &str, partition_count: i32) -> Result<(), CatalogError> {
        check_name(name).map_err(CatalogError::InvalidName)?;
        let topics = self.topics();
        if topics.named(name).is_some() {
            return Err(CatalogError::Exists(name.into()));
        }
        let folded = name.replace('.', "_");
        if let Some(other) = topics.by_name.keys().find(|other| other.replace('.', "_") == folded) {
            return Err(CatalogError::InvalidName(format!(
                "Topic '{name}' collides with existing topic: {other}"
            )));
        }
        check_count(partition_count).map_err(CatalogError::PartitionCount)
    }

    fn create_checked(
        &self,
        changes: &MutexGuard<'_, ()>,
        name: &str,
        partition_count: i32,
        config: TopicConfig,
    ) -> Result<Arc<Topic>, CatalogError> {
        let id = Uuid::new_v4();
        let mut partitions = Vec::new();
        for index in 0..partition_count {
            match Partition::create(&self.logs, name, index, id, config.log.clone()) {
                Ok(partition) => partitions.push(partition),
                Err(error) => {
                    remove_unseen(&partitions);
                    return Err(error.into());
                }
            }
        }
        let topic = Arc::new(Topic {
            name: TopicName(StrBytes::from_string(name.to_owned())),
            id,
            is_internal: INTERNAL.contains(&name),
            config,
            partitions,
            metrics: self.metrics.topic(name),
        });
        let mut topics = Topics::clone(&self.topics());
        topics.put(topic.clone());
        if let Err(error) = self.publish(changes, topics) {
            remove_unseen(&topic.partitions);
            return Err(error);
        }
        tracing::info!(topic = name, partitions = partition_count, %id, "topic created");
        Ok(topic)
    }

    /// Saves the catalog; then everybody sees it.
    fn publish(&self, _: &MutexGuard<'_, ()>, topics: Topics) -> Result<(), CatalogError> {
        self.logs.save(FILE, &encode(&topics.to_saved()))?;
        *self.topics.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(topics);
        Ok(())
    }
}

/// Folders of a topic that nobody has seen.
fn remove_unseen(partitions: &[Arc<Partition>]) {
    for partition in partitions {
        if let Err(error) = partition.delete() {
            tracing::warn!(%error, "a topic that could not be created left files behind");
        }
    }
}
