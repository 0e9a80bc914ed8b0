//! Records that could not become rows, kept whole, with place and reason, as a Parquet file.
//!
//! They become visible in the same snapshot as the flush that set them aside: its property names
//! a list, and the list names every file of quarantined records so far.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, Int64Type};
use arrow_array::{Array, ArrayRef, BinaryArray, Int32Array, Int64Array, RecordBatch, StringArray};
use arrow_schema::{ArrowError, DataType, Field, Schema};
use bytes::Bytes;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use serde::{Deserialize, Serialize};
use weir_protocol::records::Offset;

/// A record that could not become a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuarantinedRecord {
    /// The topic.
    pub topic: String,
    /// The partition of the topic.
    pub partition: i32,
    /// Its offset.
    pub offset: Offset,
    /// Its timestamp.
    pub timestamp_ms: i64,
    /// Its key as it came.
    pub key: Option<Bytes>,
    /// Its value as it came.
    pub value: Option<Bytes>,
    /// Why it could not become a row.
    pub reason: String,
}

/// One file of quarantined records.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuarantineFile {
    /// Its name.
    pub name: String,
    /// How many records it holds.
    pub records: u64,
}

/// All files of quarantined records that a snapshot stands for, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuarantineFiles {
    /// The files.
    pub files: Vec<QuarantineFile>,
}

/// A file of quarantined records, or the list of them, cannot be written or understood.
#[derive(Debug, thiserror::Error)]
pub enum QuarantineError {
    /// The Parquet file is damaged.
    #[error("quarantined records: {0}")]
    Parquet(#[from] ParquetError),
    /// The Parquet file does not hold our columns.
    #[error("quarantined records: {0}")]
    Arrow(#[from] ArrowError),
    /// The list is damaged.
    #[error("the list of quarantine files cannot be read: {0}")]
    List(#[from] serde_json::Error),
}

impl QuarantineFiles {
    /// Reads a list file.
    pub fn from_json(bytes: &[u8]) -> Result<Self, QuarantineError> {
        Ok(serde_json::from_slice(bytes)?)
    }

    /// The bytes of a list file.
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("names and numbers are JSON")
    }

    /// Records in all files.
    pub fn record_count(&self) -> u64 {
        self.files.iter().map(|file| file.records).sum()
    }
}

fn schema() -> Arc<Schema> {
    Arc::new(Schema::new(vec![
        Field::new("topic", DataType::Utf8, false),
        Field::new("partition", DataType::Int32, false),
        Field::new("offset", DataType::Int64, false),
        Field::new("timestamp_ms", DataType::Int64, false),
        Field::new("key", DataType::Binary, true),
        Field::new("value", DataType::Binary, true),
        Field::new("reason", DataType::Utf8, false),
    ]))
}

/// The bytes of a Parquet file that holds the records.
pub fn write(records: &[QuarantinedRecord]) -> Result<Vec<u8>, QuarantineError> {
    let text = |of: fn(&QuarantinedRecord) -> &str| -> ArrayRef {
        Arc::new(StringArray::from_iter_values(records.iter().map(of)))
    };
    let bytes = |of: fn(&QuarantinedRecord) -> Option<&[u8]>| -> ArrayRef {
        Arc::new(records.iter().map(of).collect::<BinaryArray>())
    };
    let long = |of: fn(&QuarantinedRecord) -> i64| -> ArrayRef {
        Arc::new(Int64Array::from_iter_values(records.iter().map(of)))
    };
    let partitions = records.iter().map(|record| record.partition);
    let columns = vec![
        text(|record| &record.topic),
        Arc::new(Int32Array::from_iter_values(partitions)),
        long(|record| record.offset.0),
        long(|record| record.timestamp_ms),
        bytes(|record| record.key.as_deref()),
        bytes(|record| record.value.as_deref()),
        text(|record| &record.reason),
    ];
    let batch = RecordBatch::try_new(schema(), columns)?;
    let properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .build();
    let mut writer = ArrowWriter::try_new(Vec::new(), schema(), Some(properties))?;
    writer.write(&batch)?;
    Ok(writer.into_inner()?)
}

/// The records of a Parquet file.
pub fn read(bytes: Bytes) -> Result<Vec<QuarantinedRecord>, QuarantineError> {
    let mut records = Vec::new();
    for batch in ParquetRecordBatchReaderBuilder::try_new(bytes)?.build()? {
        let batch = batch?;
        if batch.schema().fields() != schema().fields() {
            let found =
                format!("these are not the columns of quarantined records: {:?}", batch.schema());
            return Err(ArrowError::SchemaError(found).into());
        }
        let (topics, reasons) =
            (batch.column(0).as_string::<i32>(), batch.column(6).as_string::<i32>());
        let (keys, values) =
            (batch.column(4).as_binary::<i32>(), batch.column(5).as_binary::<i32>());
        let partitions = batch.column(1).as_primitive::<Int32Type>();
        let offsets = batch.column(2).as_primitive::<Int64Type>();
        let timestamps = batch.column(3).as_primitive::<Int64Type>();
        let bytes_at = |column: &BinaryArray, row: usize| {
            column.is_valid(row).then(|| Bytes::copy_from_slice(column.value(row)))
        };
        records.extend((0..batch.num_rows()).map(|row| QuarantinedRecord {
            topic: topics.value(row).to_owned(),
            partition: partitions.value(row),
            offset: Offset(offsets.value(row)),
            timestamp_ms: timestamps.value(row),
            key: bytes_at(keys, row),
            value: bytes_at(values, row),
            reason: reasons.value(row).to_owned(),
        }));
    }
    Ok(records)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(offset: i64, key: Option<&str>, value: Option<&[u8]>) -> QuarantinedRecord {
        QuarantinedRecord {
            topic: "orders".into(),
            partition: 3,
            offset: Offset(offset),
            timestamp_ms: -5,
            key: key.map(|key| Bytes::copy_from_slice(key.as_bytes())),
            value: value.map(Bytes::copy_from_slice),
            reason: "not JSON: »{«".into(),
        }
    }

    #[test]
    fn records_come_back_as_they_were() {
        let records = [
            record(0, None, None),
            record(1, Some(""), Some(b"\xff\0")),
            record(9, Some("k"), None),
        ];
        assert_eq!(read(write(&records).unwrap().into()).unwrap(), records);
        assert_eq!(read(write(&[]).unwrap().into()).unwrap(), []);
    }

    #[test]
    fn other_files_are_refused() {
        assert!(read(Bytes::from_static(b"PAR1")).is_err());
        assert!(QuarantineFiles::from_json(b"[1]").is_err());
    }

    #[test]
    fn the_list_adds_up() {
        let file = |name: &str, records| QuarantineFile { name: name.into(), records };
        let list = QuarantineFiles { files: vec![file("a", 2), file("b", 40)] };
        assert_eq!(QuarantineFiles::from_json(&list.to_json()).unwrap(), list);
        assert_eq!(list.record_count(), 42);
    }
}
