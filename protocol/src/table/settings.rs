//! The topic settings that declare a table: read from topic configs, checked, explained.
//!
//! A setting that cannot be honoured is refused with a line that names the key, the value and the
//! remedy; it is never ignored. What [`SETTINGS`] shows as default is what [`TableSettings::parse`]
//! takes when the key is absent (a test holds the two together).

use std::collections::BTreeMap;

use crate::table::column::Column;
use crate::table::setting_value::{
    Given, buckets, changelog_producer, columns, iceberg, key_format, merge_engine, refused,
    table_name, unknown, value_format,
};

/// What a table is called.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TableName {
    /// The database, a folder `<database>.db` of the warehouse.
    pub database: String,
    /// The table, a folder in it.
    pub table: String,
}

impl std::fmt::Display for TableName {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{}.{}", self.database, self.table)
    }
}

/// How the bytes of a record's key or value are read.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Format {
    /// One JSON object for each row.
    Json,
    /// Debezium's change records in JSON, with or without the `schema` envelope.
    DebeziumJson,
}

/// What becomes of several rows of one key.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum MergeEngine {
    /// The newest stays.
    Deduplicate,
}

/// Which changelog files the table keeps for streaming readers.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum ChangelogProducer {
    /// None.
    None,
}

/// What becomes of a record that cannot be decoded.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum OnBadRecord {
    /// It is kept beside the table, in the same snapshot, and folding goes on.
    Quarantine,
    /// The table stops before it.
    Halt,
}

/// Whether records may change the table's columns.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum SchemaEvolution {
    /// New fields become columns, types are widened.
    Add,
    /// The columns stay; unknown fields are ignored.
    None,
}

/// All that a topic says about its table, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableSettings {
    /// Whether the topic is folded.
    pub enabled: bool,
    /// Database and table.
    pub name: TableName,
    /// How values are read.
    pub value_format: Format,
    /// How keys are read; `None`: not at all.
    pub key_format: Option<Format>,
    /// The declared columns; `None`: inferred.
    pub columns: Option<Vec<Column>>,
    /// Columns of the primary key; empty: an append table.
    pub primary_key: Vec<String>,
    /// Columns that partition the table.
    pub partition_by: Vec<String>,
    /// Buckets in each table partition; `None`: [`default_buckets`].
    pub buckets: Option<u32>,
    /// What becomes of several rows of one key.
    pub merge_engine: MergeEngine,
    /// Columns by which the newest row of a key is told, before the order of arrival.
    pub sequence_field: Vec<String>,
    /// Which changelog the table keeps.
    pub changelog_producer: ChangelogProducer,
    /// A commit is due this long after the first row that waits.
    pub commit_interval_ms: u64,
    /// A commit is due when this much waits in memory.
    pub commit_bytes: u64,
    /// What becomes of a record that cannot be decoded.
    pub on_bad_record: OnBadRecord,
    /// Whether records may change the columns.
    pub schema_evolution: SchemaEvolution,
    /// Snapshots younger than this are kept.
    pub snapshot_retain_ms: u64,
    /// At least this many snapshots are kept.
    pub snapshot_retain_min: u32,
    /// Whether Iceberg metadata is written too.
    pub iceberg_enabled: bool,
}

/// A setting is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct SettingError {
    /// The key at fault.
    pub key: String,
    /// One line that names key, value and remedy.
    pub message: String,
}

/// The type of a setting, as DescribeConfigs tells it.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum SettingKind {
    /// `true` or `false`.
    Boolean,
    /// Text.
    String,
    /// 32 bits.
    Int,
    /// 64 bits.
    Long,
    /// Values with commas between them.
    List,
}

/// One setting as it is documented.
#[derive(Copy, Clone, Debug)]
pub struct SettingRow {
    /// The key.
    pub name: &'static str,
    /// The type.
    pub kind: SettingKind,
    /// What holds when the key is absent; empty: see the documentation.
    pub default: &'static str,
    /// What it means.
    pub doc: &'static str,
}

/// Every `table.*` setting, in the order of the documentation.
pub const SETTINGS: &[SettingRow] = &[
    SettingRow {
        name: "table.enabled",
        kind: SettingKind::Boolean,
        default: "false",
        doc: "Fold this topic into a table. Enabled on an old topic, it is folded from the log's start.",
    },
    SettingRow {
        name: "table.name",
        kind: SettingKind::String,
        default: "",
        doc: "The table as database.table; if empty, default.<topic> with each dot of the topic's name made an underscore.",
    },
    SettingRow {
        name: "table.value.format",
        kind: SettingKind::String,
        default: "json",
        doc: "How values are read: json, debezium-json. (canal-json, maxwell-json, ogg-json, avro, protobuf, json-schema, string and bytes come with a later version.)",
    },
    SettingRow {
        name: "table.key.format",
        kind: SettingKind::String,
        default: "none",
        doc: "How keys are read: none, json. With json the key's fields are columns too, and a null value deletes the row of the key.",
    },
    SettingRow {
        name: "table.schema",
        kind: SettingKind::String,
        default: "",
        doc: "The columns as SQL, e.g. id BIGINT NOT NULL, name STRING, at TIMESTAMP(3). If empty they are inferred from the records.",
    },
    SettingRow {
        name: "table.primary.key",
        kind: SettingKind::List,
        default: "",
        doc: "Columns of the primary key. If empty, the table is an append table: every record is a row.",
    },
    SettingRow {
        name: "table.partition.by",
        kind: SettingKind::List,
        default: "",
        doc: "Columns that partition the table; with a primary key they must belong to it.",
    },
    SettingRow {
        name: "table.buckets",
        kind: SettingKind::Int,
        default: "",
        doc: "Buckets in each table partition of a primary-key table, 1 to 4096. If empty, 1 for each 4 partitions of the topic, at least 1. It cannot change once the table exists.",
    },
    SettingRow {
        name: "table.merge.engine",
        kind: SettingKind::String,
        default: "deduplicate",
        doc: "What becomes of several rows of one key: deduplicate, the newest stays. (Other engines come with a later version.)",
    },
    SettingRow {
        name: "table.sequence.field",
        kind: SettingKind::List,
        default: "",
        doc: "Columns by which the newest row of a key is told; of equals, the later offset wins. If empty, the later offset wins.",
    },
    SettingRow {
        name: "table.changelog.producer",
        kind: SettingKind::String,
        default: "none",
        doc: "Which changelog the table keeps for streaming readers: none. (Others come with a later version.)",
    },
    SettingRow {
        name: "table.commit.interval.ms",
        kind: SettingKind::Long,
        default: "1000",
        doc: "A commit is due this long after the first record that waits: the freshness of the table. 10 ms to 1 day.",
    },
    SettingRow {
        name: "table.commit.bytes",
        kind: SettingKind::Long,
        default: "134217728",
        doc: "A commit is due when rows of this many bytes wait in memory. 64 KiB to 1 GiB.",
    },
    SettingRow {
        name: "table.on.bad.record",
        kind: SettingKind::String,
        default: "quarantine",
        doc: "A record that cannot be decoded: quarantine keeps its bytes, place and reason beside the table in the same snapshot, halt stops the table before it.",
    },
    SettingRow {
        name: "table.schema.evolution",
        kind: SettingKind::String,
        default: "add",
        doc: "add: new fields become nullable columns, inferred types are widened. none: the columns stay, unknown fields are ignored.",
    },
    SettingRow {
        name: "table.snapshot.retain.ms",
        kind: SettingKind::Long,
        default: "3600000",
        doc: "Snapshots younger than this are kept. 0 to 10 years.",
    },
    SettingRow {
        name: "table.snapshot.retain.min",
        kind: SettingKind::Int,
        default: "10",
        doc: "At least this many snapshots are kept, however old. 1 to 100000.",
    },
    SettingRow {
        name: "table.iceberg.enabled",
        kind: SettingKind::Boolean,
        default: "false",
        doc: "Also write Iceberg metadata. (It comes with a later version.)",
    },
];

const DAY_MS: u64 = 86_400_000;

/// Buckets of a table that does not say how many: 1 for each 4 partitions of the topic, at least 1.
pub fn default_buckets(partition_count: u32) -> u32 {
    partition_count.div_ceil(4).max(1)
}

impl TableSettings {
    /// Reads the `table.*` keys of a topic's configs; other keys are not looked at.
    pub fn parse(topic: &str, configs: &BTreeMap<String, String>) -> Result<Self, SettingError> {
        for key in configs.keys() {
            if key.starts_with("table.") && !SETTINGS.iter().any(|row| row.name == key) {
                return Err(unknown(key));
            }
        }
        let get = |key: &'static str| Given::of(configs, key);
        let settings = Self {
            enabled: get("table.enabled").boolean()?,
            name: table_name(topic, &get("table.name"))?,
            value_format: value_format(&get("table.value.format"))?,
            key_format: key_format(&get("table.key.format"))?,
            columns: columns(&get("table.schema"))?,
            primary_key: get("table.primary.key").list()?,
            partition_by: get("table.partition.by").list()?,
            buckets: buckets(&get("table.buckets"))?,
            merge_engine: merge_engine(&get("table.merge.engine"))?,
            sequence_field: get("table.sequence.field").list()?,
            changelog_producer: changelog_producer(&get("table.changelog.producer"))?,
            commit_interval_ms: get("table.commit.interval.ms").number(10, DAY_MS)?,
            commit_bytes: get("table.commit.bytes").number(64 << 10, 1 << 30)?,
            on_bad_record: get("table.on.bad.record")
                .one_of(&[("quarantine", OnBadRecord::Quarantine), ("halt", OnBadRecord::Halt)])?,
            schema_evolution: get("table.schema.evolution")
                .one_of(&[("add", SchemaEvolution::Add), ("none", SchemaEvolution::None)])?,
            snapshot_retain_ms: get("table.snapshot.retain.ms").number(0, 3653 * DAY_MS)?,
            snapshot_retain_min: get("table.snapshot.retain.min").number(1, 100_000)? as u32,
            iceberg_enabled: iceberg(&get("table.iceberg.enabled"))?,
        };
        if settings.enabled {
            settings.check_together()?;
        }
        Ok(settings)
    }

    /// Whether rows have a primary key; otherwise the table is an append table.
    pub fn has_primary_key(&self) -> bool {
        !self.primary_key.is_empty()
    }

    /// What no key decides alone. Looked at once the table is enabled, so that a client may set
    /// the keys one after the other and enable the table last.
    fn check_together(&self) -> Result<(), SettingError> {
        if self.has_primary_key() {
            self.check_primary_key()?;
        } else {
            self.check_append()?;
        }
        if self.value_format == Format::DebeziumJson && self.key_format.is_some() {
            return Err(refused(
                "table.key.format",
                "json",
                "debezium-json finds the key in the change record: leave it at none",
            ));
        }
        let Some(columns) = &self.columns else { return Ok(()) };
        check_known("table.primary.key", &self.primary_key, columns)?;
        check_known("table.partition.by", &self.partition_by, columns)?;
        check_known("table.sequence.field", &self.sequence_field, columns)
    }

    fn check_primary_key(&self) -> Result<(), SettingError> {
        for column in &self.partition_by {
            if !self.primary_key.contains(column) {
                return Err(refused(
                    "table.partition.by",
                    column,
                    "a partition column of a primary-key table must be in table.primary.key",
                ));
            }
        }
        if self.primary_key.len() == self.partition_by.len() {
            return Err(refused(
                "table.primary.key",
                &self.primary_key.join(","),
                "it needs a column that table.partition.by does not have",
            ));
        }
        Ok(())
    }

    fn check_append(&self) -> Result<(), SettingError> {
        if self.value_format == Format::DebeziumJson {
            return Err(refused(
                "table.primary.key",
                "",
                "debezium-json updates and deletes rows: name the key's columns",
            ));
        }
        if !self.sequence_field.is_empty() {
            return Err(refused(
                "table.sequence.field",
                &self.sequence_field.join(","),
                "it needs table.primary.key",
            ));
        }
        if let Some(buckets) = self.buckets {
            return Err(refused(
                "table.buckets",
                &buckets.to_string(),
                "an append table has no buckets: set table.primary.key or remove it",
            ));
        }
        Ok(())
    }
}

fn check_known(key: &str, names: &[String], columns: &[Column]) -> Result<(), SettingError> {
    for name in names {
        let Some(column) = columns.iter().find(|column| column.name == *name) else {
            return Err(refused(key, name, "table.schema has no such column"));
        };
        let data_type = &column.column_type.data_type;
        if data_type.is_nested() {
            let remedy = format!("a column of type {data_type} cannot stand here");
            return Err(refused(key, name, &remedy));
        }
        if key == "table.partition.by" && !data_type.has_one_text() {
            let remedy = format!("a column of type {data_type} cannot partition a table");
            return Err(refused(key, name, &remedy));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(configs: &[(&str, &str)]) -> Result<TableSettings, SettingError> {
        let configs =
            configs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        TableSettings::parse("shop.public.orders", &configs)
    }

    fn message(configs: &[(&str, &str)]) -> String {
        parse(configs).unwrap_err().to_string()
    }

    const SCHEMA: (&str, &str) =
        ("table.schema", "id BIGINT NOT NULL, day DATE, tags ARRAY<STRING>");
    const ON: (&str, &str) = ("table.enabled", "true");

    #[test]
    fn the_defaults_shown_are_those_that_hold() {
        let none = parse(&[("retention.ms", "1")]).unwrap();
        let all: Vec<(&str, &str)> = SETTINGS.iter().map(|row| (row.name, row.default)).collect();
        assert_eq!(parse(&all).unwrap(), none);
        assert_eq!(none.name.to_string(), "default.shop_public_orders");
        assert_eq!((none.commit_interval_ms, none.commit_bytes), (1000, 128 << 20));
        assert_eq!((none.snapshot_retain_ms, none.snapshot_retain_min), (3_600_000, 10));
        assert!(!none.enabled && !none.iceberg_enabled && none.columns.is_none());
    }

    #[test]
    fn a_whole_declaration_is_read() {
        let settings = parse(&[
            ON,
            ("table.schema", "id BIGINT, day STRING, at TIMESTAMP(3)"),
            ("table.name", "shop.orders"),
            ("table.value.format", "debezium-json"),
            ("table.primary.key", "day, id"),
            ("table.partition.by", "day"),
            ("table.buckets", "4"),
            ("table.sequence.field", "at"),
            ("table.on.bad.record", "halt"),
            ("table.schema.evolution", "none"),
        ])
        .unwrap();
        assert_eq!(settings.primary_key, ["day", "id"]);
        assert_eq!(settings.buckets, Some(4));
        assert_eq!(settings.on_bad_record, OnBadRecord::Halt);
        assert_eq!(settings.columns.unwrap().len(), 3);
    }

    #[test]
    fn buckets_follow_the_partitions_of_the_topic() {
        let counts: Vec<u32> = [0, 1, 4, 5, 8, 9].into_iter().map(default_buckets).collect();
        assert_eq!(counts, [1, 1, 1, 2, 2, 3]);
    }

    #[test]
    fn what_cannot_be_honoured_is_refused_in_one_line() {
        let cases: &[(&[(&str, &str)], &str)] = &[
            (&[("table.enabled", "yes")], "table.enabled=yes is refused: use true or false"),
            (&[("table.merge.engine", "aggregation")], "it comes with a later version"),
            (&[("table.merge.engine", "best")], "use deduplicate"),
            (&[("table.changelog.producer", "input")], "later version, use none"),
            (&[("table.value.format", "avro")], "later version, use json or debezium-json"),
            (&[("table.value.format", "xml")], "use json or debezium-json"),
            (&[("table.key.format", "debezium-json")], "use none or json"),
            (&[("table.iceberg.enabled", "true")], "later version, use false"),
            (&[("table.name", "orders")], "use database.table"),
            (&[("table.name", "a.b/../c")], "use database.table"),
            (&[("table.buckets", "0")], "use a number from 1 to 4096"),
            (&[("table.commit.interval.ms", "-1")], "use a number from 10 to 86400000"),
            (&[("table.commit.bytes", "9999999999999999999999")], "use a number from"),
            (&[("table.primary.key", "a,,b")], "a name is missing"),
            (&[("table.primary.key", "a,a")], "a stands there twice"),
            (&[("table.schema", "id BIGNT")], "line 1, column 4: unknown type `BIGNT`"),
            (&[("table.schema", "_KEY_a INT")], "Paimon keeps the name _KEY_a"),
            (&[("table.schem", "id INT")], "table.schem is no setting of a table"),
            (&[ON, SCHEMA, ("table.primary.key", "no")], "table.schema has no such column"),
            (&[ON, SCHEMA, ("table.primary.key", "tags")], "type ARRAY<STRING> cannot stand here"),
            (&[ON, SCHEMA, ("table.partition.by", "no")], "table.schema has no such column"),
            (
                &[ON, ("table.schema", "a DOUBLE"), ("table.partition.by", "a")],
                "a column of type DOUBLE cannot partition a table",
            ),
            (
                &[ON, ("table.schema", "a TIMESTAMP_LTZ(3)"), ("table.partition.by", "a")],
                "a column of type TIMESTAMP(3) WITH LOCAL TIME ZONE cannot partition a table",
            ),
            (
                &[ON, SCHEMA, ("table.primary.key", "id"), ("table.partition.by", "day")],
                "table.partition.by=day is refused",
            ),
            (
                &[ON, SCHEMA, ("table.primary.key", "day"), ("table.partition.by", "day")],
                "it needs a column that table.partition.by does not have",
            ),
            (
                &[ON, SCHEMA, ("table.primary.key", "id"), ("table.sequence.field", "x")],
                "table.sequence.field=x is refused: table.schema has no such column",
            ),
            (&[ON, ("table.sequence.field", "x")], "it needs table.primary.key"),
            (&[ON, ("table.buckets", "2")], "an append table has no buckets"),
            (&[ON, ("table.value.format", "debezium-json")], "name the key's columns"),
            (
                &[
                    ON,
                    ("table.value.format", "debezium-json"),
                    ("table.primary.key", "id"),
                    ("table.key.format", "json"),
                ],
                "leave it at none",
            ),
        ];
        for (configs, expected) in cases {
            let message = message(configs);
            assert!(message.contains(expected), "{configs:?}: {message}");
            assert!(!message.contains('\n') && message.starts_with("table."), "{message}");
        }
    }

    #[test]
    fn keys_may_come_before_the_table_is_enabled() {
        assert!(parse(&[("table.value.format", "debezium-json")]).is_ok());
    }
}
