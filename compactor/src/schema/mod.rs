//! The schema of a table: columns, keys, options; as Paimon's JSON and as Arrow. PURE.
//!
//! What must hold: field ids are never given twice, `highest_field_id` never falls, the columns of
//! the primary key are NOT NULL, and JSON read and written again is the same JSON.

pub mod arrow;
pub mod evolution;
pub mod json;

use std::collections::BTreeMap;

use arrow_schema::SchemaRef;
use weir_protocol::table::column::{Column, ColumnType, number_columns};
use weir_protocol::table::settings::{TableSettings, default_buckets};

/// The name of the sequence number's column in files of primary-key tables.
pub const SEQUENCE_NUMBER: &str = "_SEQUENCE_NUMBER";
/// The name of the row kind's column in files of primary-key tables.
pub const VALUE_KIND: &str = "_VALUE_KIND";
/// Columns that stand before the table's own in files of primary-key tables.
pub const SYSTEM_COLUMN_COUNT: usize = 2;

/// A schema cannot be made or read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SchemaError {
    /// A key, partition or sequence column is not among the columns.
    #[error("{setting} names the column {column}, which the table does not have")]
    MissingColumn {
        /// The setting that names it.
        setting: &'static str,
        /// Its name.
        column: String,
    },
    /// A column of this type cannot be a key.
    #[error("{setting} names the column {column}, whose type {data_type} cannot be a key")]
    NestedKey {
        /// The setting that names it.
        setting: &'static str,
        /// Its name.
        column: String,
        /// Its type.
        data_type: String,
    },
    /// The JSON is not a schema that we know.
    #[error("the schema file cannot be read: {reason}")]
    Unreadable {
        /// What is wrong.
        reason: String,
    },
}

/// A table's schema.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableSchema {
    /// Its number, from 0.
    pub id: i64,
    /// The columns, in the order of declaration.
    pub columns: Vec<Column>,
    /// The highest field id ever given, -1 for none.
    pub highest_field_id: i32,
    /// Columns that partition the table.
    pub partition_keys: Vec<String>,
    /// Columns of the primary key; empty: an append table.
    pub primary_keys: Vec<String>,
    /// Paimon's options.
    pub options: BTreeMap<String, String>,
    /// A comment, mostly empty.
    pub comment: String,
    /// When it was made.
    pub time_ms: i64,
}

impl TableSchema {
    /// The first schema of a table: `columns` are the declared or the inferred ones.
    pub fn from_settings(
        settings: &TableSettings,
        columns: &[Column],
        partition_count: u32,
        time_ms: i64,
    ) -> Result<Self, SchemaError> {
        let mut columns = columns.to_vec();
        let next_id = number_columns(&mut columns, 0);
        for name in &settings.primary_key {
            let setting = "table.primary.key";
            key_column(&mut columns, setting, name)?.column_type.nullable = false;
        }
        for name in &settings.partition_by {
            key_column(&mut columns, "table.partition.by", name)?;
        }
        for name in &settings.sequence_field {
            key_column(&mut columns, "table.sequence.field", name)?;
        }
        Ok(Self {
            id: 0,
            columns,
            highest_field_id: next_id - 1,
            partition_keys: settings.partition_by.clone(),
            primary_keys: settings.primary_key.clone(),
            options: options_of(settings, partition_count),
            comment: String::new(),
            time_ms,
        })
    }

    /// Whether rows have a primary key; otherwise the table is an append table.
    pub fn has_primary_key(&self) -> bool {
        !self.primary_keys.is_empty()
    }

    /// The table's columns as Arrow, with their field ids.
    pub fn arrow_schema(&self) -> SchemaRef {
        arrow::table_schema(self)
    }

    /// The columns of the table's files, which is the layout of all batches: for a primary-key
    /// table sequence number and row kind, then the columns; for an append table the columns.
    pub fn file_schema(&self) -> SchemaRef {
        arrow::file_schema(self)
    }

    /// Places of the key's columns without the partition's, in the order of the primary key.
    pub fn trimmed_primary_key(&self) -> Vec<usize> {
        let trimmed = self.primary_keys.iter().filter(|name| !self.partition_keys.contains(name));
        trimmed.filter_map(|name| self.place_of(name)).collect()
    }

    /// Types of [`Self::trimmed_primary_key`].
    pub fn key_types(&self) -> Vec<ColumnType> {
        self.types_at(&self.trimmed_primary_key())
    }

    /// Places of the columns that partition the table.
    pub fn partition_places(&self) -> Vec<usize> {
        self.partition_keys.iter().filter_map(|name| self.place_of(name)).collect()
    }

    /// Types of [`Self::partition_places`].
    pub fn partition_types(&self) -> Vec<ColumnType> {
        self.types_at(&self.partition_places())
    }

    /// Places of the columns that tell the newest row of a key.
    pub fn sequence_places(&self) -> Vec<usize> {
        let names = self.options.get("sequence.field").map_or("", String::as_str);
        let names = names.split(',').map(str::trim).filter(|name| !name.is_empty());
        names.filter_map(|name| self.place_of(name)).collect()
    }

    /// Buckets in each table partition; -1 for append tables.
    pub fn bucket_count(&self) -> i32 {
        self.options.get("bucket").and_then(|count| count.parse().ok()).unwrap_or(-1)
    }

    /// Where the column of this name stands.
    pub fn place_of(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|column| column.name == name)
    }

    /// The schema as Paimon's JSON.
    pub fn to_json(&self) -> String {
        json::write(self)
    }

    /// Reads Paimon's JSON.
    pub fn from_json(bytes: &[u8]) -> Result<Self, SchemaError> {
        json::read(bytes)
    }

    fn types_at(&self, places: &[usize]) -> Vec<ColumnType> {
        places.iter().map(|place| self.columns[*place].column_type.clone()).collect()
    }
}

fn key_column<'a>(
    columns: &'a mut [Column],
    setting: &'static str,
    name: &str,
) -> Result<&'a mut Column, SchemaError> {
    let column = columns.iter_mut().find(|column| column.name == name);
    let column =
        column.ok_or_else(|| SchemaError::MissingColumn { setting, column: name.to_owned() })?;
    let data_type = &column.column_type.data_type;
    if data_type.is_nested() {
        let data_type = data_type.to_string();
        return Err(SchemaError::NestedKey { setting, column: name.to_owned(), data_type });
    }
    Ok(column)
}

/// What makes Paimon's readers and writers treat the table as we do.
fn options_of(settings: &TableSettings, partition_count: u32) -> BTreeMap<String, String> {
    let mut options = BTreeMap::new();
    let mut set = |key: &str, value: &str| options.insert(key.to_owned(), value.to_owned());
    set("file.format", "parquet");
    set("partition.legacy-name", "false");
    set("write-only", "true");
    set("snapshot.time-retained", &format!("{} ms", settings.snapshot_retain_ms));
    set("snapshot.num-retained.min", &settings.snapshot_retain_min.to_string());
    if settings.has_primary_key() {
        let buckets = settings.buckets.unwrap_or_else(|| default_buckets(partition_count));
        set("bucket", &buckets.to_string());
        set("data-file.thin-mode", "true");
        set("merge-engine", "deduplicate");
        set("num-sorted-run.compaction-trigger", "5");
        if !settings.sequence_field.is_empty() {
            set("sequence.field", &settings.sequence_field.join(","));
        }
    } else {
        set("bucket", "-1");
    }
    options
}

#[cfg(test)]
mod tests;
