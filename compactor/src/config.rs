//! `compactor.properties`: every setting of the compactor, declared once.
//!
//! ```text
//! bootstrap.servers=127.0.0.1:9092
//! warehouse=/var/lib/weir/warehouse
//!
//! [topic orders]
//! table.enabled=true
//! table.primary.key=id
//! ```
//!
//! A section declares the table of a topic whose cluster refuses unknown topic configs; its keys
//! are those of the topic configs and come before them. Unknown keys are refused.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use weir_protocol::properties::{Properties, PropertiesError};
use weir_protocol::table::settings::{SettingError, TableSettings};

/// Every knob of the compactor, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// `host:port[,host:port]...` of the cluster to read from.
    pub bootstrap_servers: String,
    /// Folder or URL below which the tables live.
    pub warehouse: String,
    /// Where metrics, health and table states are served; port 0 takes a free one.
    pub http: SocketAddr,
    /// Memory for rows that wait for a commit, of all tables together.
    pub memory_bytes: usize,
    /// How often the cluster is asked for new, changed and gone tables.
    pub discovery_interval_ms: u64,
    /// The group under which offsets are committed for Kafka's tools and the broker's retention.
    pub group_id: String,
    /// Compactions that may run at once, of all tables together.
    pub compaction_threads: usize,
    /// Files that no snapshot names are deleted when older than this: longer than any commit.
    pub orphan_age_ms: u64,
    /// `table.*` settings by topic, from the sections.
    pub topics: BTreeMap<String, BTreeMap<String, String>>,
}

/// One setting: its name, default and meaning, and how a value is taken in.
#[derive(Copy, Clone, Debug)]
pub struct SettingRow {
    /// Its key.
    pub name: &'static str,
    /// What holds when the key is absent.
    pub default: &'static str,
    /// What it means.
    pub doc: &'static str,
    set: fn(&mut Config, &str) -> Result<(), String>,
}

/// Every setting, in the order of the documentation.
pub const SETTINGS: &[SettingRow] = &[
    SettingRow {
        name: "bootstrap.servers",
        default: "127.0.0.1:9092",
        doc: "host:port[,host:port]... of the cluster to read from.",
        set: |config, value| {
            config.bootstrap_servers = addresses(value)?;
            Ok(())
        },
    },
    SettingRow {
        name: "warehouse",
        default: "./data/warehouse",
        doc: "Folder or file:// URL below which the tables live.",
        set: |config, value| {
            config.warehouse = some_text(value)?;
            Ok(())
        },
    },
    SettingRow {
        name: "http.listen",
        default: "127.0.0.1:9645",
        doc: "Address of metrics, health and table states; port 0 takes a free one.",
        set: |config, value| {
            config.http = value.parse().map_err(|_| "use ip:port, e.g. 127.0.0.1:9645")?;
            Ok(())
        },
    },
    SettingRow {
        name: "memory.bytes",
        default: "536870912",
        doc: "Memory for rows that wait for a commit, of all tables together. At least 16 MiB.",
        set: |config, value| {
            config.memory_bytes = number(value, 16 << 20, 1 << 44)?;
            Ok(())
        },
    },
    SettingRow {
        name: "discovery.interval.ms",
        default: "1000",
        doc: "How often the cluster is asked for new, changed and gone tables. 10 ms to 1 hour.",
        set: |config, value| {
            config.discovery_interval_ms = number(value, 10, 3_600_000)?;
            Ok(())
        },
    },
    SettingRow {
        name: "group.id",
        default: "weir-compactor",
        doc: "The group under which offsets are committed. Weir's broker keeps what this group \
              has not read.",
        set: |config, value| {
            config.group_id = some_text(value)?;
            Ok(())
        },
    },
    SettingRow {
        name: "compaction.threads",
        default: "1",
        doc: "Compactions that may run at once, of all tables together. 1 to 256.",
        set: |config, value| {
            config.compaction_threads = number(value, 1, 256)?;
            Ok(())
        },
    },
    SettingRow {
        name: "orphan.age.ms",
        default: "86400000",
        doc: "Files that no snapshot names are deleted when older than this. It must be longer \
              than any commit takes. At least 1 second.",
        set: |config, value| {
            config.orphan_age_ms = number(value, 1_000, 1 << 40)?;
            Ok(())
        },
    },
];

/// Why a config says nothing clear: one line with key, value and remedy.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The text is no properties file.
    #[error(transparent)]
    Text(#[from] PropertiesError),
    /// No such setting.
    #[error("unknown setting {key}: {}", nearest(key))]
    Unknown {
        /// The key.
        key: String,
    },
    /// The value cannot be.
    #[error("{key}={value}: {remedy}")]
    Value {
        /// The key.
        key: String,
        /// The value.
        value: String,
        /// What would be right.
        remedy: String,
    },
    /// A setting of a file.
    #[error("line {line}: {refused}")]
    Line {
        /// Where it stands.
        line: usize,
        /// Why it is refused.
        refused: Box<ConfigError>,
    },
    /// A section that is not `[topic <name>]`.
    #[error("unknown section [{section}]: use [topic <name>]")]
    Section {
        /// What stands between the brackets.
        section: String,
    },
    /// A section declares a table that cannot be.
    #[error("[topic {topic}] {source}")]
    Topic {
        /// The topic.
        topic: String,
        /// What is wrong with it.
        source: SettingError,
    },
}

impl ConfigError {
    /// The setting at fault, if it is one.
    fn key(&self) -> Option<&str> {
        match self {
            Self::Unknown { key } | Self::Value { key, .. } => Some(key),
            Self::Topic { source, .. } => Some(&source.key),
            _ => None,
        }
    }

    /// The same, with its place in a file if that is known.
    fn on_line(self, line: Option<usize>) -> Self {
        match line {
            Some(line) => Self::Line { line, refused: Box::new(self) },
            None => self,
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        let mut config = Self {
            bootstrap_servers: String::new(),
            warehouse: String::new(),
            http: SocketAddr::from(([127, 0, 0, 1], 0)),
            memory_bytes: 0,
            discovery_interval_ms: 0,
            group_id: String::new(),
            compaction_threads: 0,
            orphan_age_ms: 0,
            topics: BTreeMap::new(),
        };
        for row in SETTINGS {
            (row.set)(&mut config, row.default).expect("a test takes every default in");
        }
        config
    }
}

impl Config {
    /// Reads the text of a `compactor.properties`.
    pub fn from_properties(text: &str) -> Result<Self, ConfigError> {
        let properties = Properties::parse(text)?;
        let mut config = Self::default();
        for (key, setting) in &properties.settings {
            config.set(key, &setting.value).map_err(|error| error.on_line(Some(setting.line)))?;
        }
        for (section, settings) in properties.sections {
            let topic = section.strip_prefix("topic ").map(str::trim).filter(|it| !it.is_empty());
            let Some(topic) = topic else { return Err(ConfigError::Section { section }) };
            let lines: BTreeMap<String, usize> =
                settings.iter().map(|(key, setting)| (key.clone(), setting.line)).collect();
            let settings = settings.into_iter().map(|(key, setting)| (key, setting.value));
            config.declare(topic, settings.collect()).map_err(|error| {
                let line = error.key().and_then(|key| lines.get(key)).copied();
                error.on_line(line)
            })?;
        }
        Ok(config)
    }

    /// Sets one setting by its key.
    pub fn set(&mut self, key: &str, value: &str) -> Result<(), ConfigError> {
        let row = SETTINGS.iter().find(|row| row.name == key);
        let row = row.ok_or_else(|| ConfigError::Unknown { key: key.to_owned() })?;
        (row.set)(self, value.trim()).map_err(|remedy| ConfigError::Value {
            key: key.to_owned(),
            value: value.to_owned(),
            remedy,
        })
    }

    /// Declares the table of a topic here rather than in the topic's configs.
    pub fn declare(
        &mut self,
        topic: &str,
        settings: BTreeMap<String, String>,
    ) -> Result<(), ConfigError> {
        if let Some(key) = settings.keys().find(|key| !key.starts_with("table.")) {
            return Err(ConfigError::Unknown { key: key.clone() });
        }
        TableSettings::parse(topic, &settings)
            .map_err(|source| ConfigError::Topic { topic: topic.to_owned(), source })?;
        self.topics.insert(topic.to_owned(), settings);
        Ok(())
    }
}

fn number<N: TryFrom<u64>>(value: &str, least: u64, most: u64) -> Result<N, String> {
    let number = value.parse().ok().filter(|number| (least..=most).contains(number));
    let number = number.and_then(|number| N::try_from(number).ok());
    number.ok_or_else(|| format!("use a number from {least} to {most}"))
}

fn some_text(value: &str) -> Result<String, String> {
    if value.is_empty() { Err("it must not be empty".into()) } else { Ok(value.to_owned()) }
}

fn addresses(value: &str) -> Result<String, String> {
    let remedy = "use host:port[,host:port]...";
    for address in value.split(',') {
        let (host, port) = address.trim().rsplit_once(':').ok_or(remedy)?;
        if host.is_empty() || port.parse::<u16>().is_err() {
            return Err(remedy.into());
        }
    }
    Ok(value.to_owned())
}

/// What to do about an unknown key: it may be a setting with other marks between its letters.
fn nearest(key: &str) -> String {
    let letters = |text: &str| -> String {
        text.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
    };
    let found = SETTINGS.iter().find(|row| letters(row.name) == letters(key));
    found.map_or_else(|| "remove it".to_owned(), |row| format!("did you mean {}?", row.name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_default_is_taken_in_and_every_row_is_read_from_a_file() {
        let text: String =
            SETTINGS.iter().map(|row| format!("{}={}\n", row.name, row.default)).collect();
        assert_eq!(Config::from_properties(&text).unwrap(), Config::default());
        assert_eq!(Config::default().memory_bytes, 512 << 20);
    }

    #[test]
    fn a_section_declares_the_table_of_a_topic() {
        let text = "group.id=g\n[topic orders]\ntable.enabled=true\ntable.primary.key=id\n";
        let config = Config::from_properties(text).unwrap();
        assert_eq!(config.group_id, "g");
        assert_eq!(config.topics["orders"]["table.primary.key"], "id");
    }

    #[test]
    fn what_is_wrong_is_one_line_with_the_remedy() {
        let wrong = [
            ("memory.byte=1", "line 1: unknown setting memory.byte: remove it"),
            ("memory_bytes=1", "unknown setting memory_bytes: did you mean memory.bytes?"),
            ("memory.bytes=1", "memory.bytes=1: use a number from 16777216 to"),
            ("compaction.threads=many", "use a number from 1 to 256"),
            ("bootstrap.servers=here", "use host:port"),
            ("bootstrap.servers=:9092", "use host:port"),
            ("http.listen=9645", "use ip:port"),
            ("warehouse=", "it must not be empty"),
            ("[tpic orders]\na=b", "unknown section [tpic orders]"),
            ("[topic orders]\nretention.ms=1", "line 2: unknown setting retention.ms: remove it"),
            (
                "[topic orders]\ntable.merge.engine=aggregation",
                "line 2: [topic orders] table.merge",
            ),
        ];
        for (text, wanted) in wrong {
            let error = Config::from_properties(text).unwrap_err().to_string();
            assert!(error.contains(wanted) && !error.contains('\n'), "{text}: {error}");
        }
    }
}
