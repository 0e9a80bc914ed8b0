//! What all requests share: settings, topics, committed offsets, counters, the clock.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kafka_protocol::messages::BrokerId;
use kafka_protocol::protocol::StrBytes;
use weir_protocol::records::Offset;

use crate::catalog::{Catalog, Topic};
use crate::clock::Clock;
use crate::config::Config;
use crate::fetch_session::FetchSessions;
use crate::group::coordinator::Groups;
use crate::group::offsets::Offsets;
use crate::log::dir::LogDir;
use crate::log::recovery::Damage;
use crate::metrics::Metrics;
use crate::named_settings::NamedSettings;
use crate::producer_ids::ProducerIds;
use crate::quota::Quotas;
use crate::request_memory::RequestMemory;
use crate::share::coordinator::ShareCoordinator;
use crate::transaction::coordinator::Transactions;

/// The group in which the compactor commits what it has folded.
const COMPACTOR_GROUP: &str = "weir-compactor";

/// One broker.
#[derive(Debug)]
pub struct Broker {
    /// The settings, checked.
    pub config: Arc<Config>,
    /// The name of the cluster, made once per data directory.
    pub cluster_id: StrBytes,
    /// The topics.
    pub catalog: Arc<Catalog>,
    /// The committed offsets.
    pub offsets: Arc<Offsets>,
    /// The share groups.
    pub shares: ShareCoordinator,
    /// The groups.
    pub groups: Arc<Groups>,
    /// The fetch sessions. Never locked while something is waited for.
    pub fetch_sessions: Mutex<FetchSessions>,
    /// Where producer ids come from.
    pub producer_ids: Arc<ProducerIds>,
    /// The transactions.
    pub transactions: Arc<Transactions>,
    /// Subscriptions to the metrics of clients.
    pub client_metrics: NamedSettings,
    /// Who may use how much.
    pub quotas: Quotas,
    /// The room for requests under way, of all connections.
    pub request_memory: Arc<RequestMemory>,
    /// The log directory of all partitions.
    pub logs: Arc<LogDir>,
    /// The counters.
    pub metrics: Arc<Metrics>,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
}

/// An address that clients can dial.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Name or address.
    pub host: StrBytes,
    /// Port.
    pub port: u16,
}

impl Broker {
    /// This broker's number.
    pub fn node_id(&self) -> BrokerId {
        BrokerId(self.config.node_id)
    }

    /// This broker's rack.
    pub fn rack(&self) -> Option<StrBytes> {
        self.config.broker_rack.clone().map(StrBytes::from_string)
    }

    /// The first offset that the topic's table has not folded, as the compactor committed it; `None`
    /// when the topic is no table or nothing was committed.
    pub fn folded(&self, topic: &Topic, partition: i32) -> Option<Offset> {
        let is_table = topic.config.is_table;
        let name = topic.name.as_str();
        let folded = is_table.then(|| self.offsets.committed(COMPACTOR_GROUP, name, partition));
        folded.flatten().map(|folded| Offset(folded.offset.max(0)))
    }

    /// The fetch sessions, locked.
    pub fn fetch_sessions(&self) -> MutexGuard<'_, FetchSessions> {
        self.fetch_sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Partitions that have lost durable records, and take no more; each with what is lost.
    pub fn damaged(&self) -> Vec<String> {
        let topics = self.catalog.topics();
        let partitions = topics.iter().flat_map(|topic| {
            let numbered = topic.partitions.iter().enumerate();
            numbered.map(move |(index, partition)| (&topic.name, index, partition))
        });
        let told = partitions.filter_map(|(name, index, partition)| {
            let Damage { from, to, place } = partition.damage()?;
            Some(format!("{}-{index}: offsets {from}..{to} are lost ({place})", name.as_str()))
        });
        told.collect()
    }

    /// Sets the gauges that only matter when somebody looks.
    pub fn refresh_gauges(&self) {
        let gauges = &self.metrics.gauges;
        let topics = self.catalog.topics();
        let partition_count = topics.iter().map(|topic| topic.partitions.len() as i64).sum();
        gauges.brokers.set(1);
        gauges.active_controllers.set(1);
        gauges.leaders.set(partition_count);
        gauges.partitions.set(partition_count);
        let offline_count = match self.logs.failed() {
            Some(_) => partition_count,
            None => self.damaged().len() as i64,
        };
        gauges.offline_partitions.set(offline_count);
        gauges.under_replicated.set(0);
        self.metrics.cleaner.refresh(self.clock.now_ms());
        for of_topics in [
            &gauges.topic_partitions,
            &gauges.current_offset,
            &gauges.oldest_offset,
            &gauges.log_size,
            &gauges.log_segments,
            &gauges.group_offset,
            &gauges.group_lag,
        ] {
            of_topics.reset();
        }
        let mut producers = 0;
        for topic in topics.iter() {
            let name = topic.name.as_str();
            gauges.topic_partitions.with_label_values(&[name]).set(topic.partitions.len() as i64);
            for (index, partition) in topic.partitions.iter().enumerate() {
                let index = index.to_string();
                let labels = [name, index.as_str()];
                let ends = partition.ends();
                gauges.current_offset.with_label_values(&labels).set(ends.high_watermark.0);
                gauges.oldest_offset.with_label_values(&labels).set(ends.log_start.0);
                gauges.log_size.with_label_values(&labels).set(partition.size_bytes() as i64);
                gauges
                    .log_segments
                    .with_label_values(&labels)
                    .set(partition.segment_count() as i64);
                producers += partition.producer_count() as i64;
            }
        }
        gauges.producers.set(producers);
        let (available_bytes, used_bytes) = self.request_memory.available_and_used();
        gauges.memory_pool.available.set(available_bytes as i64);
        gauges.memory_pool.used.set(used_bytes as i64);
        gauges.share_groups.set(self.shares.groups.all().len() as i64);
        gauges.share_sessions.set(self.shares.sessions().len() as i64);
        self.refresh_groups();
        self.refresh_fetch_sessions();
        self.quotas.refresh_gauges();
        for (key, committed) in self.offsets.all() {
            let index = key.partition.to_string();
            let labels = [key.group.as_str(), key.topic.as_str(), index.as_str()];
            gauges.group_offset.with_label_values(&labels).set(committed.offset);
            let topic = topics.named(&key.topic);
            if let Some(partition) = topic.and_then(|topic| topic.partition(key.partition)) {
                let lag = partition.ends().high_watermark.0.saturating_sub(committed.offset);
                gauges.group_lag.with_label_values(&labels).set(lag.max(0));
            }
        }
    }

    fn refresh_fetch_sessions(&self) {
        let gauges = &self.metrics.gauges.fetch_sessions;
        let sessions = self.fetch_sessions();
        gauges.count.set(sessions.len() as i64);
        gauges.partitions.set(sessions.partition_count() as i64);
        gauges.evictions.set(i64::try_from(sessions.eviction_count()).unwrap_or(i64::MAX));
    }

    fn refresh_groups(&self) {
        let gauges = &self.metrics.gauges;
        let groups = self.groups.list();
        let consumers = self.groups.consumer_list();
        gauges.groups.set((groups.len() + consumers.len()) as i64);
        gauges.groups_by_state.reset();
        gauges.group_members.reset();
        gauges.rebalances.set(i64::try_from(self.groups.rebalance_count()).unwrap_or(i64::MAX));
        for (name, state, _, members) in groups {
            gauges.groups_by_state.with_label_values(&[state.name()]).inc();
            gauges.group_members.with_label_values(&[name.as_str()]).set(members as i64);
        }
        for (name, state, members) in consumers {
            gauges.groups_by_state.with_label_values(&[state.name()]).inc();
            gauges.group_members.with_label_values(&[name.as_str()]).set(members as i64);
        }
    }
}
