//! Single settings: a key's text becomes a value, or a refusal of one line.

use std::collections::BTreeMap;

use crate::table::column::Column;
use crate::table::settings::{
    ChangelogProducer, Format, MergeEngine, SETTINGS, SettingError, TableName,
};
use crate::table::sql::parse_columns;

/// Names that Paimon keeps for itself.
const RESERVED_COLUMNS: &[&str] =
    &["_SEQUENCE_NUMBER", "_VALUE_KIND", "_LEVEL", "rowkind", "_ROW_ID"];

/// A key, and its value or default.
pub(super) struct Given<'a> {
    key: &'static str,
    value: &'a str,
}

fn value_of<'a>(configs: &'a BTreeMap<String, String>, key: &str) -> &'a str {
    let default = || SETTINGS.iter().find(|row| row.name == key).map_or("", |row| row.default);
    configs.get(key).map_or_else(default, |value| value.trim())
}

impl<'a> Given<'a> {
    /// The key's value among the configs, or its default.
    pub(super) fn of(configs: &'a BTreeMap<String, String>, key: &'static str) -> Self {
        Self { key, value: value_of(configs, key) }
    }

    fn refuse<T>(&self, remedy: &str) -> Result<T, SettingError> {
        Err(refused(self.key, self.value, remedy))
    }

    pub(super) fn boolean(&self) -> Result<bool, SettingError> {
        match self.value.to_ascii_lowercase().as_str() {
            "true" => Ok(true),
            "false" => Ok(false),
            _ => self.refuse("use true or false"),
        }
    }

    pub(super) fn number(&self, min: u64, max: u64) -> Result<u64, SettingError> {
        match self.value.parse::<u64>() {
            Ok(number) if (min..=max).contains(&number) => Ok(number),
            _ => self.refuse(&format!("use a number from {min} to {max}")),
        }
    }

    pub(super) fn one_of<T: Copy>(&self, values: &[(&str, T)]) -> Result<T, SettingError> {
        match values.iter().find(|(name, _)| *name == self.value) {
            Some((_, value)) => Ok(*value),
            None => {
                let names: Vec<&str> = values.iter().map(|(name, _)| *name).collect();
                self.refuse(&format!("use {}", names.join(" or ")))
            }
        }
    }

    pub(super) fn list(&self) -> Result<Vec<String>, SettingError> {
        let mut names: Vec<String> = Vec::new();
        if self.value.is_empty() {
            return Ok(names);
        }
        for name in self.value.split(',') {
            let name = name.trim().trim_matches('`');
            if name.is_empty() {
                return self.refuse("a name is missing between the commas");
            }
            if names.iter().any(|known| known == name) {
                return self.refuse(&format!("{name} stands there twice"));
            }
            names.push(name.to_owned());
        }
        Ok(names)
    }

    fn later<T>(&self, use_instead: &str) -> Result<T, SettingError> {
        self.refuse(&format!("it comes with a later version, use {use_instead}"))
    }
}

pub(super) fn table_name(topic: &str, given: &Given<'_>) -> Result<TableName, SettingError> {
    if given.value.is_empty() {
        return Ok(TableName { database: "default".to_owned(), table: topic.replace('.', "_") });
    }
    let is_name = |part: &str| {
        let fits = |letter: char| letter.is_ascii_alphanumeric() || letter == '_' || letter == '-';
        (1..=200).contains(&part.len()) && part.chars().all(fits)
    };
    match given.value.split_once('.') {
        Some((database, table)) if is_name(database) && is_name(table) => {
            Ok(TableName { database: database.to_owned(), table: table.to_owned() })
        }
        _ => given.refuse("use database.table, each of letters, digits, _ and -, to 200 of them"),
    }
}

pub(super) fn value_format(given: &Given<'_>) -> Result<Format, SettingError> {
    match given.value {
        "canal-json" | "maxwell-json" | "ogg-json" | "avro" | "protobuf" | "json-schema"
        | "string" | "bytes" => given.later("json or debezium-json"),
        _ => given.one_of(&[("json", Format::Json), ("debezium-json", Format::DebeziumJson)]),
    }
}

pub(super) fn key_format(given: &Given<'_>) -> Result<Option<Format>, SettingError> {
    match given.value {
        "avro" | "protobuf" | "json-schema" | "string" | "bytes" => given.later("none or json"),
        _ => given.one_of(&[("none", None), ("json", Some(Format::Json))]),
    }
}

pub(super) fn columns(given: &Given<'_>) -> Result<Option<Vec<Column>>, SettingError> {
    if given.value.is_empty() {
        return Ok(None);
    }
    let refuse = |message: String| SettingError { key: given.key.to_owned(), message };
    let columns = parse_columns(given.value)
        .map_err(|error| refuse(format!("{} cannot be read: {error}", given.key)))?;
    for Column { name, .. } in &columns {
        if RESERVED_COLUMNS.contains(&name.as_str()) || name.starts_with("_KEY_") {
            let message = format!("{}: Paimon keeps the name {name} for itself", given.key);
            return Err(refuse(message));
        }
    }
    Ok(Some(columns))
}

pub(super) fn buckets(given: &Given<'_>) -> Result<Option<u32>, SettingError> {
    match given.value {
        "" => Ok(None),
        _ => Ok(Some(given.number(1, 4096)? as u32)),
    }
}

pub(super) fn merge_engine(given: &Given<'_>) -> Result<MergeEngine, SettingError> {
    match given.value {
        "partial-update" | "aggregation" | "first-row" => given.later("deduplicate"),
        _ => given.one_of(&[("deduplicate", MergeEngine::Deduplicate)]),
    }
}

pub(super) fn changelog_producer(given: &Given<'_>) -> Result<ChangelogProducer, SettingError> {
    match given.value {
        "input" | "lookup" | "full-compaction" => given.later("none"),
        _ => given.one_of(&[("none", ChangelogProducer::None)]),
    }
}

pub(super) fn iceberg(given: &Given<'_>) -> Result<bool, SettingError> {
    match given.boolean()? {
        true => given.later("false"),
        false => Ok(false),
    }
}

pub(super) fn refused(key: &str, value: &str, remedy: &str) -> SettingError {
    let value: String = value
        .chars()
        .take(80)
        .map(|letter| if letter.is_control() { ' ' } else { letter })
        .collect();
    let message = match value.is_empty() {
        true => format!("{key} is empty: {remedy}"),
        false => format!("{key}={value} is refused: {remedy}"),
    };
    SettingError { key: key.to_owned(), message }
}

pub(super) fn unknown(key: &str) -> SettingError {
    let names: Vec<&str> = SETTINGS.iter().map(|row| row.name).collect();
    let message = format!("{key} is no setting of a table; there are {}", names.join(", "));
    SettingError { key: key.to_owned(), message }
}
