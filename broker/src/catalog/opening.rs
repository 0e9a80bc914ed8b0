//! How the catalog of a directory is begun or opened: its topics with their logs, and what to do with
//! folders that it does not name.

use std::sync::Arc;

use kafka_protocol::messages::TopicName;
use kafka_protocol::protocol::StrBytes;
use uuid::Uuid;

use crate::catalog::Topic;
use crate::catalog::error::OpenError;
use crate::catalog::file::{SavedTopic, SavedTopics, encode};
use crate::catalog::names::{FILE, INTERNAL, internal_policy};
use crate::config::Config;
use crate::config::topic::TopicConfig;
use crate::log::dir::LogDir;
use crate::log::error::LogError;
use crate::log::meta::decode_id;
use crate::log::names::{folder, stray_folder};
use crate::log::recovery::Damage;
use crate::metrics::Metrics;
use crate::partition::Partition;

/// The first catalog of a directory, saved before there is any log. So a log without a catalog is
/// one whose catalog is lost, and then every folder would be taken for a stray.
pub(super) fn begin(logs: &LogDir) -> Result<SavedTopics, OpenError> {
    let unlisted = |error: LogError| OpenError::Folders(error.to_string());
    for (topic, partition) in logs.partitions().map_err(unlisted)? {
        let folder = folder(&topic, partition);
        if logs.disk().list(&folder)?.iter().any(|file| file.ends_with(".log")) {
            return Err(OpenError::Missing { folder });
        }
    }
    let topics = SavedTopics::default();
    logs.save(FILE, &encode(&topics)).map_err(OpenError::First)?;
    Ok(topics)
}

/// Folders that the catalog does not name were never seen, or were deleted; unless the catalog is
/// an old copy. So they get another name, which nobody opens, and the operator is told.
pub(super) fn set_strays_aside(logs: &LogDir, saved: &SavedTopics) -> Result<(), OpenError> {
    let folders = logs.partitions().map_err(|error| OpenError::Folders(error.to_string()))?;
    for (topic, partition) in folders {
        let is_named = |one: &SavedTopic| one.name == topic && partition < one.partitions;
        if saved.topics.iter().any(is_named) {
            continue;
        }
        let stray = folder(&topic, partition);
        let aside = stray_folder(&stray, Uuid::new_v4());
        logs.disk().rename(&stray, &aside)?;
        logs.disk().sync_dir("")?;
        tracing::warn!(folder = stray, aside, "set aside a folder that the catalog does not name");
    }
    Ok(())
}

fn tell_damage(topic: &str, partition: i32, damage: &Damage) {
    let Damage { from, to, place } = damage;
    tracing::error!(
        topic,
        partition,
        from = from.0,
        to = to.0,
        place,
        "durable records are damaged: what can be read is served, appends are refused; restore the \
         partition's folder from a copy, or delete the topic"
    );
}

pub(super) fn open_topic(
    saved: SavedTopic,
    logs: &Arc<LogDir>,
    config: &Config,
    metrics: &Metrics,
) -> Result<Topic, OpenError> {
    let SavedTopic { name, id, partitions: count, mut configs } = saved;
    configs.extend(internal_policy(&name));
    let id = decode_id(&id)
        .ok_or_else(|| OpenError::Damaged(format!("topic {name} has the id {id:?}")))?;
    let topic_config = TopicConfig::parse(&name, configs, config)
        .map_err(|reason| OpenError::Setting { topic: name.clone(), reason })?;
    let mut partitions = Vec::new();
    for index in 0..count {
        let opened = Partition::open(logs, &name, index, id, topic_config.log.clone());
        let (partition, recovery) = opened.map_err(|source| OpenError::Log {
            topic: name.clone(),
            partition: index,
            source,
        })?;
        if let Some(damage) = recovery.damage {
            tell_damage(&name, index, &damage);
        }
        partitions.push(partition);
    }
    let is_internal = INTERNAL.contains(&name.as_str());
    let metrics = metrics.topic(&name);
    let name = TopicName(StrBytes::from_string(name));
    Ok(Topic { name, id, is_internal, config: topic_config, partitions, metrics })
}
