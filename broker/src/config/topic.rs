//! What can be set per topic: every topic setting of Kafka 4, and the `table.*` keys.
//!
//! A setting is honoured from the moment at which it is set. One that this broker cannot honour
//! (tiered storage, levels of lz4) is refused with the reason, and its default is
//! shown as what truly holds. Settings that only concern those features, or replicas, are kept and
//! shown: on a topic without them they mean nothing in Kafka either.

use std::collections::BTreeMap;

use weir_protocol::records::compression::Compression;
use weir_protocol::table::settings::{SETTINGS as TABLE_SETTINGS, SettingKind, TableSettings};

use crate::config::setting::{Kind, SettingValue, Source, check_cleanup_policy, list};
use crate::config::{COMPRESSION_TYPES, Config, SETTINGS as BROKER_SETTINGS};
use crate::log::config::{LogConfig, Recompression, TimestampType};

/// One row of the table of topic settings.
pub struct TopicSetting {
    /// Kafka's name.
    pub name: &'static str,
    /// Type shown to clients.
    pub kind: Kind,
    /// Meaning, in one line.
    pub doc: &'static str,
    check: Check,
    default: fn(&Config) -> String,
    synonyms: &'static [&'static str],
}

enum Check {
    /// A number not below this.
    Min(i64),
    /// A number within these bounds.
    Range(i64, i64),
    /// A floating point number between 0 and 1.
    Ratio,
    /// `true` or `false`.
    Boolean,
    /// Words divided by commas.
    Words,
    /// `delete`, `compact` or both.
    CleanupPolicy,
    /// One of these.
    OneOf(&'static [&'static str]),
    /// Nothing but this, for this reason.
    Only(&'static str, &'static str),
}

macro_rules! topic_settings {
    ($($name:literal $kind:ident, $check:expr, $default:expr, [$($synonym:literal),*], $doc:literal;)+) => {
        /// The table of topic settings.
        pub static TOPIC_SETTINGS: &[TopicSetting] = &[$(TopicSetting {
            name: $name,
            kind: Kind::$kind,
            doc: $doc,
            check: $check,
            default: $default,
            synonyms: &[$($synonym),*],
        }),+];
    };
}

use Check::{Boolean, Min, OneOf, Only, Range, Ratio, Words};

const ONE_LZ4_LEVEL: &str = "lz4 is written at one level";
const NO_TIERS: &str = "there is no remote storage";
const NO_FLUSH_BOUND: &str =
    "the log is synced as fast as the disk can, see the broker's log.durability";

topic_settings! {
    "cleanup.policy" List, Check::CleanupPolicy, |broker| broker.log_cleanup_policy.clone(),
        ["log.cleanup.policy"], "What becomes of old records: delete by age and size, compact to the newest of each key, or both.";
    "compression.type" String, OneOf(COMPRESSION_TYPES), |broker| broker.compression_type.clone(),
        ["compression.type"], "The codec of the log; producer keeps what was sent.";
    "compression.gzip.level" Int, Range(-1, 9), |broker| broker.compression_gzip_level.to_string(),
        ["compression.gzip.level"], "Level for compression.type=gzip.";
    "compression.lz4.level" Int, Only("9", ONE_LZ4_LEVEL), |_| "9".into(), [],
        "Level for compression.type=lz4.";
    "compression.zstd.level" Int, Range(-131_072, 22), |broker| broker.compression_zstd_level.to_string(),
        ["compression.zstd.level"], "Level for compression.type=zstd.";
    "delete.retention.ms" Long, Min(0), |broker| broker.log_cleaner_delete_retention_ms.to_string(),
        ["log.cleaner.delete.retention.ms"], "How long a compacted topic keeps tombstones once they are clean.";
    "file.delete.delay.ms" Long, Min(0), |broker| broker.log_segment_delete_delay_ms.to_string(),
        ["log.segment.delete.delay.ms"], "How long a deleted segment's file stays before it is unlinked.";
    "flush.messages" Long, Only("9223372036854775807", NO_FLUSH_BOUND), |_| i64::MAX.to_string(), [],
        "Records after which a sync is forced.";
    "flush.ms" Long, Only("9223372036854775807", NO_FLUSH_BOUND), |_| i64::MAX.to_string(), [],
        "Time after which a sync is forced.";
    "follower.replication.throttled.replicas" List, Words, |_| String::new(), [],
        "Replicas whose catching up is throttled; with one replica there is none.";
    "index.interval.bytes" Int, Range(0, 2_147_483_647), |broker| broker.log_index_interval_bytes.to_string(),
        ["log.index.interval.bytes"], "An offset index entry is added per so many bytes of log.";
    "leader.replication.throttled.replicas" List, Words, |_| String::new(), [],
        "Replicas whose serving is throttled; with one replica there is none.";
    "local.retention.bytes" Long, Only("-2", NO_TIERS), |_| "-2".into(), [],
        "Bytes kept locally of a tiered topic; -2: as retention.bytes.";
    "local.retention.ms" Long, Only("-2", NO_TIERS), |_| "-2".into(), [],
        "Time kept locally of a tiered topic; -2: as retention.ms.";
    "max.compaction.lag.ms" Long, Min(1), |broker| broker.log_cleaner_max_compaction_lag_ms.to_string(),
        ["log.cleaner.max.compaction.lag.ms"], "A compacted log with a dirty record older than this is cleaned whatever its ratio.";
    "max.message.bytes" Int, Range(61, 2_147_483_647), |broker| broker.message_max_bytes.to_string(),
        ["message.max.bytes"], "Largest record batch that is taken.";
    "message.timestamp.after.max.ms" Long, Min(0), |broker| broker.log_message_timestamp_after_max_ms.to_string(),
        ["log.message.timestamp.after.max.ms"], "How far in the future a record's timestamp may lie.";
    "message.timestamp.before.max.ms" Long, Min(0), |broker| broker.log_message_timestamp_before_max_ms.to_string(),
        ["log.message.timestamp.before.max.ms"], "How far in the past a record's timestamp may lie.";
    "message.timestamp.type" String, OneOf(&["CreateTime", "LogAppendTime"]), |broker| broker.log_message_timestamp_type.clone(),
        ["log.message.timestamp.type"], "Whether records bear the time of their making or of their arrival.";
    "min.cleanable.dirty.ratio" Double, Ratio, |broker| broker.log_cleaner_min_cleanable_ratio.to_string(),
        ["log.cleaner.min.cleanable.ratio"],
        "Share of a compacted log that must be dirty before it is compacted.";
    "min.compaction.lag.ms" Long, Min(0), |broker| broker.log_cleaner_min_compaction_lag_ms.to_string(),
        ["log.cleaner.min.compaction.lag.ms"], "A record of a compacted topic is not cleaned away before this.";
    "min.insync.replicas" Int, Min(1), |broker| broker.min_insync_replicas.to_string(),
        ["min.insync.replicas"], "Replicas that acks=all waits for, at most as many as there are (one).";
    "preallocate" Boolean, Only("true", "segments are always preallocated"), |_| "true".into(), [],
        "Whether a segment's file is given its whole size when it is made.";
    "remote.log.copy.disable" Boolean, Only("false", NO_TIERS), |_| "false".into(), [],
        "Whether a tiered topic has stopped copying.";
    "remote.log.delete.on.disable" Boolean, Only("false", NO_TIERS), |_| "false".into(), [],
        "Whether remote segments go when tiering is switched off.";
    "remote.storage.enable" Boolean, Only("false", NO_TIERS), |_| "false".into(), [],
        "Whether segments are copied to remote storage.";
    "retention.bytes" Long, Min(-1), |broker| broker.log_retention_bytes.to_string(),
        ["log.retention.bytes"], "Oldest segments are deleted while a partition holds more than this; -1: no bound.";
    "retention.ms" Long, Min(-1), |broker| broker.retention_ms().unwrap_or(-1).to_string(),
        ["log.retention.ms", "log.retention.minutes", "log.retention.hours"],
        "Segments wholly older than this are deleted; -1: never.";
    "segment.bytes" Int, Range(SEGMENT_BYTES_MIN, 2_147_483_647), |broker| broker.log_segment_bytes.to_string(),
        ["log.segment.bytes"], "A segment is rolled before it grows past this.";
    "segment.index.bytes" Int, Range(1024, 2_147_483_647), |broker| broker.log_index_size_max_bytes.to_string(),
        ["log.index.size.max.bytes"], "A segment is rolled when one of its indexes is this big.";
    "segment.jitter.ms" Long, Only("0", "segments are rolled without jitter"), |_| "0".into(), [],
        "Random part taken off segment.ms.";
    "segment.ms" Long, Min(1), |broker| broker.roll_ms().to_string(),
        ["log.roll.ms", "log.roll.hours"], "A segment is rolled when it is older than this.";
    "unclean.leader.election.enable" Boolean, Check::Boolean, |_| "false".into(), [],
        "Whether a replica that lags may lead; with one replica none can.";
}

/// Kafka 4 asks for 1 MiB; tests of retention and recovery want to see many segments.
const SEGMENT_BYTES_MIN: i64 = 16 << 10;

impl TopicSetting {
    fn accepts(&self, value: &str) -> Result<(), String> {
        let number = || {
            let number = i64::parse(value)?;
            match self.kind {
                Kind::Int if i32::try_from(number).is_err() => i32::parse(value).map(i64::from),
                _ => Ok(number),
            }
        };
        match &self.check {
            Min(min) if number()? < *min => Err(format!("expected at least {min}")),
            Range(min, max) if !(*min..=*max).contains(&number()?) => {
                Err(format!("expected {min} to {max}"))
            }
            Boolean => bool::parse(value).map(drop),
            Check::CleanupPolicy => check_cleanup_policy(value),
            Ratio if !value.parse().is_ok_and(|ratio: f64| (0.0..=1.0).contains(&ratio)) => {
                Err("expected a number between 0 and 1".into())
            }
            OneOf(words) if !words.contains(&value) => {
                Err(format!("expected {}", words.join(" or ")))
            }
            Only(only, reason) if !list(value).eq([*only]) => {
                Err(format!("only {only} is served here: {reason}"))
            }
            _ => Ok(()),
        }
    }
}

/// Whether APPEND and SUBTRACT may be used on a topic setting; `None`: there is no such setting.
pub fn is_list(name: &str) -> Option<bool> {
    if let Some(setting) = TOPIC_SETTINGS.iter().find(|setting| setting.name == name) {
        return Some(setting.kind == Kind::List);
    }
    let setting = TABLE_SETTINGS.iter().find(|setting| setting.name == name)?;
    Some(matches!(setting.kind, SettingKind::List))
}

/// Why a setting that is in no table is refused: in Kafka's words, or in those of tables, which say
/// what settings there are.
pub fn unknown(name: &str) -> String {
    let asked = BTreeMap::from([(name.to_owned(), String::new())]);
    match TableSettings::parse("", &asked) {
        Err(refused) if name.starts_with("table.") => refused.to_string(),
        _ => format!("Unknown topic config name: {name}"),
    }
}

/// The value of a topic setting when it is not overridden.
pub fn default_of(name: &str, broker: &Config) -> Option<String> {
    if let Some(setting) = TOPIC_SETTINGS.iter().find(|setting| setting.name == name) {
        return Some((setting.default)(broker));
    }
    TABLE_SETTINGS
        .iter()
        .find(|setting| setting.name == name)
        .map(|setting| setting.default.to_owned())
}

/// The settings of one topic: what was overridden, and what follows from it.
#[derive(Clone, Debug)]
pub struct TopicConfig {
    /// What was set for this topic, as it was given.
    pub overrides: BTreeMap<String, String>,
    /// What the log makes of it.
    pub log: LogConfig,
    /// Whether the topic is folded into a table.
    pub is_table: bool,
}

impl TopicConfig {
    /// Checks the overrides; the error is one line for the client.
    pub fn parse(
        topic: &str,
        overrides: BTreeMap<String, String>,
        broker: &Config,
    ) -> Result<Self, String> {
        for (name, value) in overrides.iter().filter(|(name, _)| !name.starts_with("table.")) {
            let setting = TOPIC_SETTINGS.iter().find(|setting| setting.name == name);
            let setting = setting.ok_or_else(|| unknown(name))?;
            setting
                .accepts(value)
                .map_err(|why| format!("Invalid value {value} for configuration {name}: {why}"))?;
        }
        let mut is_table = false;
        if overrides.keys().any(|name| name.starts_with("table.")) {
            let table = TableSettings::parse(topic, &overrides).map_err(|e| e.to_string())?;
            is_table = table.enabled;
        }
        let log = log_config(&overrides, is_table, broker);
        Ok(Self { overrides, log, is_table })
    }

    /// All settings with values, sources and docs, in the order of the tables.
    pub fn describe(&self, broker: &Config) -> Vec<Described> {
        let kafka = TOPIC_SETTINGS.iter().map(|setting| {
            let default = (setting.default)(broker);
            let given = self.overrides.get(setting.name);
            let mut synonyms: Vec<_> = given
                .map(|value| (setting.name, value.clone(), Source::Topic))
                .into_iter()
                .collect();
            synonyms.extend(setting.synonyms.iter().flat_map(|name| broker_synonyms(name, broker)));
            let source = synonyms.first().map_or(Source::Default, |(_, _, source)| *source);
            let value = given.cloned().unwrap_or(default);
            Described {
                name: setting.name,
                value,
                source,
                kind: setting.kind,
                doc: setting.doc,
                synonyms,
            }
        });
        let table = TABLE_SETTINGS.iter().map(|setting| {
            let given = self.overrides.get(setting.name);
            let mut synonyms: Vec<_> = given
                .map(|value| (setting.name, value.clone(), Source::Topic))
                .into_iter()
                .collect();
            synonyms.push((setting.name, setting.default.to_owned(), Source::Default));
            Described {
                name: setting.name,
                value: given.cloned().unwrap_or_else(|| setting.default.to_owned()),
                source: synonyms[0].2,
                kind: match setting.kind {
                    SettingKind::Boolean => Kind::Boolean,
                    SettingKind::String => Kind::String,
                    SettingKind::Int => Kind::Int,
                    SettingKind::Long => Kind::Long,
                    SettingKind::List => Kind::List,
                },
                doc: setting.doc,
                synonyms,
            }
        });
        kafka.chain(table).collect()
    }
}

/// One setting as DescribeConfigs shows it.
#[derive(Clone, Debug)]
pub struct Described {
    /// Its name.
    pub name: &'static str,
    /// The value that holds.
    pub value: String,
    /// Who set it.
    pub source: Source,
    /// Its type.
    pub kind: Kind,
    /// Its meaning.
    pub doc: &'static str,
    /// All places that give it a value, the strongest first.
    pub synonyms: Vec<(&'static str, String, Source)>,
}

/// The places that give a value to a broker setting behind a topic's.
fn broker_synonyms(name: &str, broker: &Config) -> Vec<(&'static str, String, Source)> {
    let setting = BROKER_SETTINGS.iter().find(|setting| setting.name == name);
    setting.map_or_else(Vec::new, |setting| setting.places(broker))
}

/// Whether a broker setting may be changed while the broker runs: those are the defaults of topics,
/// each by the finest of its names, as in Kafka (KIP-226).
pub fn is_dynamic(name: &str) -> bool {
    TOPIC_SETTINGS.iter().any(|setting| setting.synonyms.first() == Some(&name))
}

/// The log's view of the settings. The values have been checked.
fn log_config(overrides: &BTreeMap<String, String>, is_table: bool, broker: &Config) -> LogConfig {
    let text = |name: &str| {
        let given = overrides.get(name).cloned();
        given.or_else(|| default_of(name, broker)).expect("the setting is in the table")
    };
    let long = |name: &str| i64::parse(&text(name)).expect("checked to be a number");
    let size = |name: &str| u32::try_from(long(name)).expect("checked to be 0 to 2^31-1");
    let policy = text("cleanup.policy");
    let compacts = list(&policy).any(|word| word == "compact");
    let compaction_lag_max_ms = long("max.compaction.lag.ms");
    // Only what lies before the active segment is cleaned.
    let segment_ms = match long("segment.ms") {
        segment_ms if compacts => segment_ms.min(compaction_lag_max_ms),
        segment_ms => segment_ms,
    };
    let codec = match text("compression.type").as_str() {
        "producer" => None,
        "uncompressed" => Some(Compression::None),
        name => Compression::from_name(name),
    };
    let level = |codec| match codec {
        Compression::Gzip => i32::try_from(long("compression.gzip.level")).ok(),
        Compression::Zstd => i32::try_from(long("compression.zstd.level")).ok(),
        _ => None,
    };
    LogConfig {
        recompression: codec.map(|codec| Recompression { codec, level: level(codec) }),
        segment_bytes: size("segment.bytes"),
        segment_ms,
        segment_index_bytes: size("segment.index.bytes"),
        index_interval_bytes: size("index.interval.bytes"),
        retention_ms: Some(long("retention.ms")).filter(|ms| *ms >= 0),
        retention_bytes: Some(long("retention.bytes")).filter(|bytes| *bytes >= 0),
        batch_bytes_max: size("max.message.bytes"),
        timestamp_type: match text("message.timestamp.type").as_str() {
            "LogAppendTime" => TimestampType::LogAppendTime,
            _ => TimestampType::CreateTime,
        },
        timestamp_before_max_ms: long("message.timestamp.before.max.ms"),
        timestamp_after_max_ms: long("message.timestamp.after.max.ms"),
        deletes: list(&policy).any(|word| word == "delete"),
        compacts,
        dirty_ratio_min: f64::parse(&text("min.cleanable.dirty.ratio")).expect("checked"),
        compaction_lag_min_ms: long("min.compaction.lag.ms"),
        compaction_lag_max_ms,
        delete_retention_ms: long("delete.retention.ms"),
        validates_records: is_table || compacts,
        file_delete_delay_ms: long("file.delete.delay.ms"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(pairs: &[(&str, &str)]) -> Result<TopicConfig, String> {
        let pairs = pairs.iter().map(|(name, value)| (name.to_string(), value.to_string()));
        TopicConfig::parse("t", pairs.collect(), &Config::default())
    }

    #[test]
    fn every_default_is_accepted_as_a_value() {
        let broker = Config::default();
        for setting in TOPIC_SETTINGS {
            let default = (setting.default)(&broker);
            parse(&[(setting.name, &default)]).expect(setting.name);
            assert!(setting.synonyms.iter().all(|name| !broker_synonyms(name, &broker).is_empty()
                || name.starts_with("log.retention.m")
                || *name == "log.roll.ms"));
        }
    }

    #[test]
    fn what_cannot_be_honoured_is_refused_with_the_reason() {
        let refused = parse(&[("cleanup.policy", "shred")]).expect_err("no such policy");
        assert!(refused.contains("expected delete, compact or both"), "{refused}");
        assert!(parse(&[("cleanup.policy", "")]).is_err());
        assert!(parse(&[("remote.storage.enable", "true")]).is_err());
        assert!(parse(&[("compression.type", "none")]).is_err());
        assert!(parse(&[("compression.lz4.level", "4")]).is_err());
        let refused = parse(&[("prefix", "x")]).expect_err("unknown");
        assert_eq!(refused, "Unknown topic config name: prefix");
        for (name, value) in
            [("retention.ms", "-2"), ("segment.bytes", "3000000000"), ("max.message.bytes", "many")]
        {
            assert!(parse(&[(name, value)]).is_err(), "{name}={value}");
        }
    }

    #[test]
    fn a_policy_deletes_compacts_or_does_both() {
        for (policy, deletes, compacts) in
            [("delete", true, false), ("compact", false, true), ("compact, delete", true, true)]
        {
            let log = parse(&[("cleanup.policy", policy)]).expect(policy).log;
            assert_eq!((log.deletes, log.compacts), (deletes, compacts), "{policy}");
            assert_eq!(log.validates_records, compacts);
        }
        let lag = ("max.compaction.lag.ms", "5000");
        let log = parse(&[("cleanup.policy", "compact"), lag]).expect("valid").log;
        assert_eq!(log.segment_ms, 5000, "an active segment is not cleaned");
        assert_eq!(parse(&[lag]).expect("valid").log.segment_ms, 7 * 86_400_000);
    }

    #[test]
    fn a_topic_may_ask_for_its_own_codec_and_level() {
        let recompression = |pairs: &[(&str, &str)]| parse(pairs).expect("valid").log.recompression;
        assert_eq!(recompression(&[]), None);
        assert_eq!(recompression(&[("compression.type", "producer")]), None);
        for (name, codec, level) in [
            ("uncompressed", Compression::None, None),
            ("gzip", Compression::Gzip, Some(-1)),
            ("snappy", Compression::Snappy, None),
            ("lz4", Compression::Lz4, None),
            ("zstd", Compression::Zstd, Some(9)),
        ] {
            let found =
                recompression(&[("compression.type", name), ("compression.zstd.level", "9")]);
            assert_eq!(found, Some(Recompression { codec, level }), "{name}");
        }
    }

    #[test]
    fn an_override_reaches_the_log_and_is_shown_as_one() {
        let config = parse(&[("retention.ms", "-1"), ("segment.bytes", "1048576")]).expect("valid");
        assert_eq!(config.log.retention_ms, None);
        assert_eq!(config.log.segment_bytes, 1 << 20);
        let mut broker = Config::default();
        broker.set("log.retention.bytes", "77").expect("valid");
        let described = config.describe(&broker);
        let find = |name| described.iter().find(|one| one.name == name).expect(name);
        assert_eq!(find("retention.ms").source, Source::Topic);
        assert_eq!(find("retention.ms").synonyms.len(), 2, "the override and log.retention.hours");
        assert_eq!(find("retention.bytes").source, Source::Broker);
        assert_eq!(find("retention.bytes").value, "77");
        assert_eq!(find("cleanup.policy").source, Source::Default);
    }
}
