//! Every knob of the broker. What Kafka names too bears Kafka's name, unit, default and meaning.
//!
//! A setting is declared once, in the table below; from it come the field of [`Config`], its
//! default, the parsing and the bounds, and what DescribeConfigs answers. A setting that is not in
//! the table is refused at the start: nothing is accepted and then ignored.

pub mod address_limits;
mod checks;
pub mod listener;
pub mod setting;
pub mod topic;

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use weir_protocol::properties::Properties;

use crate::config::address_limits::parse_address_limits;
use crate::config::checks::{
    is_address_limits, is_advertised, is_cleanup_policy, is_listeners, is_one_folder,
    is_socket_address, present,
};
use crate::config::listener::{Listener, parse_listeners};
use crate::config::setting::{
    ConfigError, Kind, SettingValue, Source, any, assignors, at_least, between, one_of,
    one_of_any_case,
};

/// One row of the table of broker settings.
pub struct BrokerSetting {
    /// Kafka's name, or ours where Kafka has no such thing.
    pub name: &'static str,
    /// Type shown to clients.
    pub kind: Kind,
    doc: &'static str,
    set: fn(&mut Config, &str) -> Result<(), String>,
    show: fn(&Config) -> Option<String>,
    default: fn() -> Option<String>,
}

impl BrokerSetting {
    /// What the setting means, in one line.
    pub fn doc(&self) -> &'static str {
        self.doc.trim_start()
    }

    /// All places that give it a value, the strongest first; none when it has no value at all.
    pub fn places(&self, config: &Config) -> Vec<(&'static str, String, Source)> {
        let layers = config.layers(self.name).iter();
        let given = layers.map(|(source, value)| (self.name, value.clone(), *source));
        let default = (self.default)().map(|value| (self.name, value, Source::Default));
        given.chain(default).collect()
    }

    /// The value that holds under `config`.
    pub fn value(&self, config: &Config) -> Option<String> {
        (self.show)(config)
    }
}

macro_rules! settings {
    ($($(#[doc = $doc:literal])+ $field:ident: $type:ty = $default:expr, $name:literal, $check:expr;)+) => {
        /// All settings of one broker, checked.
        #[derive(Clone, Debug)]
        pub struct Config {
            $($(#[doc = $doc])+ pub $field: $type,)+
            given: BTreeMap<&'static str, Vec<(Source, String)>>,
        }

        impl Default for Config {
            fn default() -> Self {
                Self { $($field: $default,)+ given: BTreeMap::new() }
            }
        }

        /// The table of broker settings.
        pub static SETTINGS: &[BrokerSetting] = &[$(BrokerSetting {
            name: $name,
            kind: <$type as SettingValue>::KIND,
            doc: concat!($($doc),+),
            set: |config, text| {
                let value = <$type as SettingValue>::parse(text)?;
                ($check)(&value)?;
                config.$field = value;
                Ok(())
            },
            show: |config| config.$field.show(),
            default: || <$type as SettingValue>::show(&$default),
        }),+];
    };
}

settings! {
    /// Number of this broker in the cluster's metadata; it never changes for a data directory.
    node_id: i32 = 1, "node.id", at_least(0);
    /// Rack that Metadata reports for this broker.
    broker_rack: Option<String> = None, "broker.rack", any;
    /// Addresses to listen on, PLAINTEXT://host:port; port 0 takes a free one.
    listeners: String = "PLAINTEXT://127.0.0.1:9092".into(), "listeners", is_listeners;
    /// Address that clients are told to dial; absent: the listener's own.
    advertised_listeners: Option<String> = None, "advertised.listeners", is_advertised;
    /// Allows an unencrypted listener without authentication on an address other than loopback.
    allow_insecure_listener: bool = false, "allow.insecure.listener", any;
    /// Folder that holds the logs and all else that the broker keeps. Exactly one.
    log_dirs: Vec<String> = vec!["data".into()], "log.dirs", is_one_folder;
    /// Address of the HTTP listener for metrics and health.
    http_listen: String = "127.0.0.1:9644".into(), "http.listen", is_socket_address;

    /// What acks=all and visibility wait for: fsync survives a power cut, os only a crash of the broker.
    log_durability: String = "fsync".into(), "log.durability", one_of(&["fsync", "os"]);
    /// How hot logs are read: mmap through memory maps, pread through system calls.
    read_mode: String = "mmap".into(), "read.mode", one_of(&["mmap", "pread"]);
    /// Retention may pass what a table has not folded once a partition is larger than this; -1: never.
    table_retention_hard_bytes: i64 = -1, "table.retention.hard.bytes", at_least(-1);

    /// Partitions of a topic that is created without a number.
    num_partitions: i32 = 1, "num.partitions", between(1, PARTITIONS_PER_TOPIC_MAX);
    /// Replicas of a topic that is created without a number. One node keeps one replica whatever is asked.
    default_replication_factor: i32 = 1, "default.replication.factor", between(1, 32_767);
    /// Insync replicas that acks=all asks for; with one replica any number is satisfied by it, as in Kafka.
    min_insync_replicas: i32 = 1, "min.insync.replicas", at_least(1);
    /// Whether a topic that a client names is created when it is unknown.
    auto_create_topics_enable: bool = true, "auto.create.topics.enable", any;
    /// Whether topics may be deleted.
    delete_topic_enable: bool = true, "delete.topic.enable", any;

    /// A segment is rolled before it grows past this.
    log_segment_bytes: i32 = 1 << 30, "log.segment.bytes", at_least(1 << 20);
    /// A segment is rolled when it is older than this; null: log.roll.hours holds.
    log_roll_ms: Option<i64> = None, "log.roll.ms", present(at_least(1));
    /// A segment is rolled when it is older than this, unless log.roll.ms is set.
    log_roll_hours: i32 = 168, "log.roll.hours", at_least(1);
    /// Segments wholly older than this are deleted; -1: never; null: log.retention.minutes holds.
    log_retention_ms: Option<i64> = None, "log.retention.ms", present(at_least(-1));
    /// As log.retention.ms, in minutes; null: log.retention.hours holds.
    log_retention_minutes: Option<i32> = None, "log.retention.minutes", present(at_least(-1));
    /// As log.retention.ms, in hours.
    log_retention_hours: i32 = 168, "log.retention.hours", at_least(-1);
    /// Oldest segments are deleted while a partition holds more than this; -1: no bound.
    log_retention_bytes: i64 = -1, "log.retention.bytes", at_least(-1);
    /// How often retention looks.
    log_retention_check_interval_ms: i64 = 300_000, "log.retention.check.interval.ms", at_least(1);
    /// How long a deleted segment's file stays before it is unlinked.
    log_segment_delete_delay_ms: i64 = 60_000, "log.segment.delete.delay.ms", at_least(0);
    /// What becomes of old records: delete by age and size, compact to the newest of each key, or both.
    log_cleanup_policy: String = "delete".into(), "log.cleanup.policy", is_cleanup_policy;
    /// Whether the log cleaner runs. Without it compacted topics grow, __consumer_offsets above all.
    log_cleaner_enable: bool = true, "log.cleaner.enable", any;
    /// Threads that clean logs, one log each at a time.
    log_cleaner_threads: i32 = 1, "log.cleaner.threads", between(1, 64);
    /// Bytes that the keys of the logs being cleaned may take in memory, all threads together.
    log_cleaner_dedupe_buffer_size: i64 = 128 << 20, "log.cleaner.dedupe.buffer.size", at_least(1 << 20);
    /// How long a cleaner thread waits when no log is due.
    log_cleaner_backoff_ms: i64 = 15_000, "log.cleaner.backoff.ms", at_least(1);
    /// Share of a compacted log that must be dirty before it is cleaned.
    log_cleaner_min_cleanable_ratio: f64 = 0.5, "log.cleaner.min.cleanable.ratio", between(0.0, 1.0);
    /// A record of a compacted topic is not cleaned away before this.
    log_cleaner_min_compaction_lag_ms: i64 = 0, "log.cleaner.min.compaction.lag.ms", at_least(0);
    /// A compacted log with a dirty record older than this is cleaned whatever its ratio.
    log_cleaner_max_compaction_lag_ms: i64 = i64::MAX, "log.cleaner.max.compaction.lag.ms", at_least(1);
    /// How long a compacted topic keeps tombstones once they are clean.
    log_cleaner_delete_retention_ms: i64 = 86_400_000, "log.cleaner.delete.retention.ms", at_least(0);
    /// An offset index entry is added per so many bytes of log.
    log_index_interval_bytes: i32 = 4096, "log.index.interval.bytes", at_least(0);
    /// A segment is rolled when one of its indexes is this big.
    log_index_size_max_bytes: i32 = 10 << 20, "log.index.size.max.bytes", at_least(1024);
    /// Whether records bear the time of their making or of their arrival.
    log_message_timestamp_type: String = "CreateTime".into(), "log.message.timestamp.type",
        one_of(&["CreateTime", "LogAppendTime"]);
    /// How far in the past a record's timestamp may lie.
    log_message_timestamp_before_max_ms: i64 = i64::MAX, "log.message.timestamp.before.max.ms", at_least(0);
    /// How far in the future a record's timestamp may lie.
    log_message_timestamp_after_max_ms: i64 = 3_600_000, "log.message.timestamp.after.max.ms", at_least(0);
    /// Largest record batch that is taken.
    message_max_bytes: i32 = 1_048_588, "message.max.bytes", at_least(61);
    /// The codec of the logs; producer keeps what was sent, anything else is compressed anew.
    compression_type: String = "producer".into(), "compression.type", one_of(COMPRESSION_TYPES);
    /// Level for compression.type=gzip; -1: its default.
    compression_gzip_level: i32 = -1, "compression.gzip.level", between(-1, 9);
    /// Level for compression.type=zstd.
    compression_zstd_level: i32 = 3, "compression.zstd.level", between(-131_072, 22);

    /// Largest request that is read.
    socket_request_max_bytes: i32 = 104_857_600, "socket.request.max.bytes", at_least(1024);
    /// Bytes of requests that are read or under way at once, over all connections; -1: no limit. The
    /// only request of a connection does not count while it is small (64 KiB).
    queued_max_request_bytes: i64 = 512 << 20, "queued.max.request.bytes", at_least(-1);
    /// Most record bytes in one Fetch answer.
    fetch_max_bytes: i32 = 57_671_680, "fetch.max.bytes", at_least(1024);
    /// Fetch sessions (KIP-227) that are kept at once; a client without one names all its partitions
    /// in every request. 0: none.
    max_incremental_fetch_session_cache_slots: i32 = 1000,
        "max.incremental.fetch.session.cache.slots", at_least(0);
    /// A connection without a request for so long is closed.
    connections_max_idle_ms: i64 = 600_000, "connections.max.idle.ms", at_least(1);
    /// Connections that are served at once; more are closed as they come.
    max_connections: i32 = 2000, "max.connections", at_least(1);
    /// Connections that are served at once from one address; 0: only from those of the overrides.
    max_connections_per_ip: i32 = i32::MAX, "max.connections.per.ip", at_least(0);
    /// Addresses with a limit of their own, address:connections divided by commas.
    max_connections_per_ip_overrides: String = String::new(),
        "max.connections.per.ip.overrides", is_address_limits;
    /// Most partitions in one answer of DescribeTopicPartitions.
    max_request_partition_size_limit: i32 = 2000, "max.request.partition.size.limit", at_least(1);

    /// Longest metadata string that an offset commit may carry.
    offset_metadata_max_bytes: i32 = 4096, "offset.metadata.max.bytes", at_least(0);
    /// Partitions of __consumer_offsets, when it is created. On one node more than one spread nothing.
    offsets_topic_num_partitions: i32 = 1, "offsets.topic.num.partitions", between(1, 1000);
    /// Segment size of __consumer_offsets.
    offsets_topic_segment_bytes: i32 = 100 << 20, "offsets.topic.segment.bytes", at_least(1 << 20);
    /// Committed offsets of a group without members are forgotten after this.
    offsets_retention_minutes: i32 = 10_080, "offsets.retention.minutes", at_least(1);
    /// How often expired offsets are looked for.
    offsets_retention_check_interval_ms: i64 = 600_000, "offsets.retention.check.interval.ms", at_least(1);
    /// A member of a share group that is silent for so long is gone.
    group_share_session_timeout_ms: i32 = 45_000, "group.share.session.timeout.ms", at_least(1);
    /// Least share.session.timeout.ms of a group.
    group_share_min_session_timeout_ms: i32 = 45_000, "group.share.min.session.timeout.ms", at_least(1);
    /// Most share.session.timeout.ms of a group.
    group_share_max_session_timeout_ms: i32 = 60_000, "group.share.max.session.timeout.ms", at_least(1);
    /// How often members of share groups are to send a heartbeat.
    group_share_heartbeat_interval_ms: i32 = 5_000, "group.share.heartbeat.interval.ms", at_least(1);
    /// Least share.heartbeat.interval.ms of a group.
    group_share_min_heartbeat_interval_ms: i32 = 5_000, "group.share.min.heartbeat.interval.ms", at_least(1);
    /// Most share.heartbeat.interval.ms of a group.
    group_share_max_heartbeat_interval_ms: i32 = 15_000, "group.share.max.heartbeat.interval.ms", at_least(1);
    /// Members of a share group.
    group_share_max_size: i32 = 200, "group.share.max.size", between(1, 1000);
    /// Share sessions that are kept: one for each member that fetches.
    group_share_max_share_sessions: i32 = 2000, "group.share.max.share.sessions", at_least(1);
    /// How long a member of a share group has a record that it has acquired.
    group_share_record_lock_duration_ms: i32 = 30_000, "group.share.record.lock.duration.ms", between(1000, 3_600_000);
    /// Least share.record.lock.duration.ms of a group.
    group_share_min_record_lock_duration_ms: i32 = 15_000, "group.share.min.record.lock.duration.ms", between(1000, 30_000);
    /// Most share.record.lock.duration.ms of a group.
    group_share_max_record_lock_duration_ms: i32 = 60_000, "group.share.max.record.lock.duration.ms", between(30_000, 3_600_000);
    /// A record that a share group was given so often and did not accept is given no more.
    group_share_delivery_count_limit: i32 = 5, "group.share.delivery.count.limit", between(2, 10);
    /// Records of a partition between the first that a share group has not done and the last that it was given.
    group_share_partition_max_record_locks: i32 = 2000, "group.share.partition.max.record.locks", between(100, 10_000);
    /// Partitions of __share_group_state, when it is created. On one node more than one spread nothing.
    share_state_topic_num_partitions: i32 = 1, "share.coordinator.state.topic.num.partitions", between(1, 1000);
    /// Segment size of __share_group_state.
    share_state_topic_segment_bytes: i32 = 100 << 20, "share.coordinator.state.topic.segment.bytes", at_least(1 << 20);
    /// The whole state of a share-partition is written after so many changes of it.
    share_updates_per_snapshot: i32 = 500, "share.coordinator.snapshot.update.records.per.snapshot", between(0, 500);
    /// How long the first generation of a group waits for more members.
    group_initial_rebalance_delay_ms: i32 = 3000, "group.initial.rebalance.delay.ms", at_least(0);
    /// Shortest session timeout that a member may ask for.
    group_min_session_timeout_ms: i32 = 6000, "group.min.session.timeout.ms", at_least(1);
    /// Longest session timeout that a member may ask for.
    group_max_session_timeout_ms: i32 = 1_800_000, "group.max.session.timeout.ms", at_least(1);
    /// Most members of a group. Kafka has no bound by default.
    group_max_size: i32 = 5000, "group.max.size", at_least(1);
    /// Most groups that members have joined, so that a flood of names does not take all memory.
    group_max_count: i32 = 100_000, "group.max.count", at_least(1);
    /// Most bytes that a member may say of itself under all its protocols together.
    group_member_metadata_max_bytes: i32 = 1 << 20, "group.member.metadata.max.bytes", at_least(1);
    /// Longest transaction timeout that a producer may ask for.
    transaction_max_timeout_ms: i32 = 900_000, "transaction.max.timeout.ms", at_least(1);
    /// How often transactions are looked for that are open for too long.
    transaction_abort_timed_out_transaction_cleanup_interval_ms: i32 = 10_000,
        "transaction.abort.timed.out.transaction.cleanup.interval.ms", at_least(1);
    /// A transactional id that nobody has used for so long is forgotten.
    transactional_id_expiration_ms: i32 = 604_800_000, "transactional.id.expiration.ms", at_least(1);
    /// Most transactional ids, so that a flood of them does not take all memory.
    transactional_id_max_count: i32 = 100_000, "transactional.id.max.count", at_least(1);
    /// Most partitions of one transaction.
    transaction_max_partitions: i32 = 100_000, "transaction.max.partitions", at_least(1);
    /// Partitions of __transaction_state, when it is created. On one node more than one spread nothing.
    transaction_state_log_num_partitions: i32 = 1, "transaction.state.log.num.partitions", between(1, 1000);
    /// Segment size of __transaction_state.
    transaction_state_log_segment_bytes: i32 = 100 << 20, "transaction.state.log.segment.bytes", at_least(1 << 20);
    /// After how long without a heartbeat a member of a consumer group (KIP-848) is dropped.
    group_consumer_session_timeout_ms: i32 = 45_000, "group.consumer.session.timeout.ms", at_least(1);
    /// How often members of a consumer group shall send heartbeats.
    group_consumer_heartbeat_interval_ms: i32 = 5_000, "group.consumer.heartbeat.interval.ms", at_least(1);
    /// Most members of a consumer group. Kafka has no bound by default.
    group_consumer_max_size: i32 = 5_000, "group.consumer.max.size", at_least(1);
    /// The assignors that members may ask for; the first one is taken if nobody asks.
    group_consumer_assignors: Vec<String> = vec!["uniform".into(), "range".into()], "group.consumer.assignors", assignors;
    /// Which ways a group with members may change its kind: upgrade is from classic to KIP-848's.
    group_consumer_migration_policy: String = "bidirectional".into(), "group.consumer.migration.policy",
        one_of_any_case(&["bidirectional", "upgrade", "downgrade", "disabled"]);
    /// A producer that wrote nothing for so long is forgotten.
    producer_id_expiration_ms: i32 = 86_400_000, "producer.id.expiration.ms", at_least(1);
}

/// What `compression.type` may be.
pub const COMPRESSION_TYPES: &[&str] =
    &["producer", "uncompressed", "gzip", "snappy", "lz4", "zstd"];

/// A bound far above any use on one machine, so that a typing error is not a million folders.
pub const PARTITIONS_PER_TOPIC_MAX: i32 = 10_000;

impl Config {
    /// Takes the settings of a file in Java's properties format.
    pub fn from_properties(text: &str) -> Result<Self, ConfigError> {
        let settings = Properties::parse_flat(text)?;
        let mut config = Self::default();
        for (name, setting) in &settings {
            config.set(name, &setting.value).map_err(|refused| ConfigError::Line {
                line: setting.line,
                refused: Box::new(refused),
            })?;
        }
        Ok(config)
    }

    /// Sets one setting, by Kafka's name, as the operator does.
    pub fn set(&mut self, name: &str, value: &str) -> Result<(), ConfigError> {
        self.set_from(Source::Broker, name, value)
    }

    /// These settings, and what clients have changed of them for all brokers and for this one.
    ///
    /// # Errors
    /// When a value cannot be, or does not go with the others.
    pub fn changed(
        &self,
        for_all: &BTreeMap<String, String>,
        for_this: &BTreeMap<String, String>,
    ) -> Result<Config, ConfigError> {
        let mut changed = self.clone();
        for (source, set) in [(Source::DynamicDefault, for_all), (Source::DynamicBroker, for_this)]
        {
            for (name, value) in set {
                changed.set_from(source, name, value)?;
            }
        }
        changed.validate()?;
        Ok(changed)
    }

    /// Sets it in front of what a weaker source has set.
    fn set_from(&mut self, source: Source, name: &str, value: &str) -> Result<(), ConfigError> {
        let name = if name == "log.dir" { "log.dirs" } else { name };
        let Some(setting) = SETTINGS.iter().find(|setting| setting.name == name) else {
            return Err(ConfigError::Unknown { name: name.into() });
        };
        let value = value.trim();
        (setting.set)(self, value).map_err(|expected| ConfigError::Value {
            name: name.into(),
            value: value.into(),
            expected,
        })?;
        let layers = self.given.entry(setting.name).or_default();
        layers.retain(|(other, _)| *other != source);
        layers.insert(0, (source, value.into()));
        Ok(())
    }

    /// Who gave a setting which value, the strongest first; none: its default holds.
    pub fn layers(&self, name: &str) -> &[(Source, String)] {
        self.given.get(name).map_or(&[], Vec::as_slice)
    }

    /// Checks what only holds between several settings. Called once, at the start.
    pub fn validate(&self) -> Result<(), ConfigError> {
        for listener in self.listener_list() {
            if self.advertised_listeners.is_none() && listener.is_wildcard() {
                return Err(ConfigError::Conflict {
                    name: "advertised.listeners",
                    reason: format!(
                        "must be set, because listeners binds every address ({listener}) and \
                         clients need one that they can dial"
                    ),
                });
            }
            if !listener.is_loopback() && !self.allow_insecure_listener {
                return Err(ConfigError::Conflict {
                    name: "listeners",
                    reason: format!(
                        "{listener} can be reached from other machines, without encryption and \
                         authentication; bind 127.0.0.1 or set allow.insecure.listener=true"
                    ),
                });
            }
        }
        if self.message_max_bytes > self.socket_request_max_bytes {
            return Err(ConfigError::Conflict {
                name: "message.max.bytes",
                reason: "is larger than socket.request.max.bytes".into(),
            });
        }
        let request_bytes_max = i64::from(self.socket_request_max_bytes);
        if (0..request_bytes_max).contains(&self.queued_max_request_bytes) {
            return Err(ConfigError::Conflict {
                name: "queued.max.request.bytes",
                reason: "is smaller than socket.request.max.bytes".into(),
            });
        }
        if self.max_connections_per_ip == 0 && self.connection_overrides().is_empty() {
            return Err(ConfigError::Conflict {
                name: "max.connections.per.ip",
                reason: "is 0 and max.connections.per.ip.overrides is empty: nobody could connect"
                    .into(),
            });
        }
        Ok(())
    }

    /// Addresses with a limit of connections of their own.
    pub fn connection_overrides(&self) -> HashMap<IpAddr, i32> {
        parse_address_limits(&self.max_connections_per_ip_overrides)
            .expect("checked when it was set")
    }

    /// The addresses to bind.
    pub fn listener_list(&self) -> Vec<Listener> {
        parse_listeners(&self.listeners).expect("checked when it was set")
    }

    /// What clients are told to dial, when it differs from the listener.
    pub fn advertised_listener(&self) -> Option<Listener> {
        let text = self.advertised_listeners.as_ref()?;
        parse_listeners(text).expect("checked when it was set").into_iter().next()
    }

    /// The data folder.
    pub fn log_dir(&self) -> &str {
        &self.log_dirs[0]
    }

    /// How long segments are kept, from the three settings that say so; `None`: for ever.
    pub fn retention_ms(&self) -> Option<i64> {
        let minutes = self.log_retention_minutes.map(|minutes| i64::from(minutes) * 60_000);
        let hours = i64::from(self.log_retention_hours) * 3_600_000;
        Some(self.log_retention_ms.or(minutes).unwrap_or(hours)).filter(|ms| *ms >= 0)
    }

    /// After how long a segment is rolled.
    pub fn roll_ms(&self) -> i64 {
        self.log_roll_ms.unwrap_or(i64::from(self.log_roll_hours) * 3_600_000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_default_is_read_back_as_itself() {
        let default = Config::default();
        for setting in SETTINGS {
            if let Some(text) = setting.value(&default) {
                let mut config = Config::default();
                config.set(setting.name, &text).expect(setting.name);
                assert_eq!(setting.value(&config), Some(text), "{}", setting.name);
            }
            assert!(!setting.doc().is_empty(), "{} has no doc", setting.name);
        }
        default.validate().expect("the defaults hold together");
    }

    #[test]
    fn an_unknown_setting_is_named_and_refused() {
        let refused = Config::default().set("num.network.threads", "3").expect_err("unknown");
        assert!(refused.to_string().contains("unknown setting num.network.threads"));
        let refused = Config::default().set("num.partitions", "many").expect_err("not a number");
        assert_eq!(
            refused.to_string(),
            "setting num.partitions: \"many\" cannot be used: expected a whole number of 32 bits"
        );
    }

    #[test]
    fn the_finest_unit_of_retention_wins() {
        let mut config = Config::default();
        assert_eq!(config.retention_ms(), Some(168 * 3_600_000));
        config.set("log.retention.minutes", "5").expect("valid");
        assert_eq!(config.retention_ms(), Some(300_000));
        config.set("log.retention.ms", "-1").expect("valid");
        assert_eq!(config.retention_ms(), None);
    }

    #[test]
    fn a_listener_open_to_the_network_must_be_wanted() {
        let mut config = Config::default();
        config.set("listeners", "PLAINTEXT://0.0.0.0:9092").expect("an address");
        assert!(config.validate().expect_err("wildcard").to_string().contains("advertised"));
        config.set("advertised.listeners", "PLAINTEXT://broker.example:9092").expect("valid");
        assert!(config.validate().expect_err("open").to_string().contains("allow.insecure"));
        config.set("allow.insecure.listener", "true").expect("valid");
        config.validate().expect("now it is wanted");
    }
}
