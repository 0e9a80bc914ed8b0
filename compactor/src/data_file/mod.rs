//! Data files: rows as Parquet, and what the manifest says of each file.
//!
//! A file of a primary-key table is sorted by key and holds a key at most once. Files never change;
//! what [`DataFileMeta`] says of one is exact (`delete_row_count` above all: readers rely on it).

mod builder;
pub mod columns;
pub mod reader;
pub mod stats;
pub mod values;
pub mod writer;

use crate::binary_row::BinaryRow;

/// Smallest and largest value and number of nulls, column by column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SimpleStats {
    /// The smallest values, null where unknown.
    pub min: BinaryRow,
    /// The largest values, null where unknown.
    pub max: BinaryRow,
    /// Nulls of each column, `None` where unknown.
    pub null_counts: Vec<Option<i64>>,
}

impl SimpleStats {
    /// Statistics of no column.
    pub const EMPTY: SimpleStats =
        SimpleStats { min: BinaryRow::EMPTY, max: BinaryRow::EMPTY, null_counts: Vec::new() };
}

/// Where a file's rows came from.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum FileSource {
    /// Rows that were new.
    Append = 0,
    /// Other files.
    Compact = 1,
}

/// What a manifest says of a data file.
#[derive(Clone, Debug, PartialEq)]
pub struct DataFileMeta {
    /// The name, without a folder.
    pub file_name: String,
    /// Its length in bytes.
    pub file_size: i64,
    /// Its rows, those that delete included.
    pub row_count: i64,
    /// The first trimmed primary key; of no field in append tables.
    pub min_key: BinaryRow,
    /// The last trimmed primary key; of no field in append tables.
    pub max_key: BinaryRow,
    /// Statistics of the trimmed primary key.
    pub key_stats: SimpleStats,
    /// Statistics of the columns that `value_stats_cols` names, or of all.
    pub value_stats: SimpleStats,
    /// The smallest sequence number.
    pub min_sequence: i64,
    /// The largest sequence number.
    pub max_sequence: i64,
    /// The schema that the file was written with.
    pub schema_id: i64,
    /// Its level in the LSM tree; 0 in append tables.
    pub level: i32,
    /// Files that belong to it.
    pub extra_files: Vec<String>,
    /// When it was made.
    pub creation_time_ms: i64,
    /// Rows of the kinds -U and -D.
    pub delete_row_count: i64,
    /// Where its rows came from.
    pub source: FileSource,
    /// Columns that `value_stats` speaks of; `None`: all.
    pub value_stats_cols: Option<Vec<String>>,
}

#[cfg(test)]
mod tests;
