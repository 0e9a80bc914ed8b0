//! The LSM tree of one bucket, by Paimon's rules: level 0 is what the fold flushed, newest first;
//! every level from 1 on is one sorted run. All of it is PURE: values in, values out.
//!
//! - A sorted run holds a key at most once, and its rows ascend by key.
//! - Of the rows of one key the last by (sequence fields, `_SEQUENCE_NUMBER`) counts.

use std::cmp::Ordering;

use weir_protocol::table::column::ColumnType;

use crate::binary_row::{self, BinaryRow, BinaryRowError};
use crate::data_file::DataFileMeta;
use crate::schema::TableSchema;

pub mod interval_partition;
pub mod levels;
pub mod merge_function;
pub mod row_order;
pub mod sort_merge;
pub mod universal_compaction;
pub mod write_buffer;

/// The order of a table's keys as file metadata holds them: typed, column by column.
#[derive(Clone, Debug)]
pub struct KeyOrder {
    types: Vec<ColumnType>,
}

impl KeyOrder {
    /// The order of keys that consist of columns of these types.
    pub fn new(types: Vec<ColumnType>) -> KeyOrder {
        KeyOrder { types }
    }

    /// The order of the trimmed primary key of a table.
    pub fn of(schema: &TableSchema) -> KeyOrder {
        KeyOrder::new(schema.key_types())
    }

    /// Makes sure that the keys of files can be compared: manifests may be damaged or foreign.
    pub fn check(&self, files: &[DataFileMeta]) -> Result<(), BinaryRowError> {
        for file in files {
            file.min_key.to_values(&self.types)?;
            file.max_key.to_values(&self.types)?;
        }
        Ok(())
    }

    /// Compares two keys of files that were checked.
    pub fn compare(&self, left: &BinaryRow, right: &BinaryRow) -> Ordering {
        binary_row::compare(left, right, &self.types).expect("keys are checked as they come in")
    }
}

#[cfg(test)]
pub(crate) mod tests;
