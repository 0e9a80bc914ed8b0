//! Sorted batches become a Parquet file in memory, and what the manifest says of it.
//!
//! The file is what Paimon's own writers make: zstd level 1, field ids, NOT NULL as `required`. Numbers
//! are written as deltas; text gets a dictionary where the first rows repeat themselves.

use std::collections::HashSet;

use arrow_array::cast::AsArray;
use arrow_array::types::{Int8Type, Int64Type};
use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_schema::DataType as ArrowType;
use bytes::Bytes;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterPropertiesBuilder};
use parquet::schema::types::ColumnPath;

use crate::binary_row::BinaryRow;
use crate::data_file::stats::{StatsCollector, StatsMode};
use crate::data_file::values::value_at;
use crate::data_file::{DataFileMeta, FileSource, SimpleStats};
use crate::row::RowKind;
use crate::schema::{SYSTEM_COLUMN_COUNT, TableSchema};

/// Rows looked at to decide whether a column repeats itself.
const SAMPLE_ROWS: usize = 2048;

/// How files are written.
#[derive(Copy, Clone, Debug)]
pub struct WriterOptions {
    /// A row group is closed at about this size; what a reader of the file must hold.
    pub row_group_bytes: usize,
    /// zstd's level.
    pub zstd_level: i32,
}

impl Default for WriterOptions {
    fn default() -> Self {
        Self { row_group_bytes: 32 << 20, zstd_level: 1 }
    }
}

/// A file cannot be written; with sound batches that is our own mistake, but nothing is lost by it.
#[derive(Debug, thiserror::Error)]
#[error("data file {file_name} cannot be written")]
pub struct WriteError {
    /// The file.
    pub file_name: String,
    /// What Parquet says.
    pub source: ParquetError,
}

/// A data file in the making.
#[derive(Debug)]
pub struct FileWriter {
    schema: TableSchema,
    options: WriterOptions,
    file_name: String,
    level: i32,
    source: FileSource,
    creation_time_ms: i64,
    writer: Option<ArrowWriter<Vec<u8>>>,
    key_places: Vec<usize>,
    key_stats: StatsCollector,
    value_stats: StatsCollector,
    ends: Option<(BinaryRow, BinaryRow)>,
    sequences: Option<(i64, i64)>,
    row_count: i64,
    delete_row_count: i64,
}

impl FileWriter {
    /// An empty file. `creation_time_ms` is kept in its description.
    pub fn new(
        schema: &TableSchema,
        level: i32,
        source: FileSource,
        file_name: String,
        creation_time_ms: i64,
        options: WriterOptions,
    ) -> Self {
        let types = schema.columns.iter().map(|column| column.column_type.clone()).collect();
        Self {
            key_places: schema.trimmed_primary_key(),
            key_stats: StatsCollector::new(schema.key_types(), StatsMode::Full),
            value_stats: StatsCollector::new(types, StatsMode::Truncated),
            schema: schema.clone(),
            options,
            file_name,
            level,
            source,
            creation_time_ms,
            writer: None,
            ends: None,
            sequences: None,
            row_count: 0,
            delete_row_count: 0,
        }
    }

    /// Adds rows: of a primary-key table sorted by key, each key once, after those written before.
    pub fn write(&mut self, batch: &RecordBatch) -> Result<(), WriteError> {
        if batch.num_rows() == 0 {
            return Ok(());
        }
        let result = match &mut self.writer {
            Some(writer) => writer.write(batch),
            None => self.open(batch).and_then(|mut writer| {
                let result = writer.write(batch);
                self.writer = Some(writer);
                result
            }),
        };
        result.map_err(|source| self.error(source))?;
        self.describe(batch);
        Ok(())
    }

    /// Rows so far.
    pub fn row_count(&self) -> i64 {
        self.row_count
    }

    /// About the size that the file has so far.
    pub fn bytes_written(&self) -> usize {
        let written = |writer: &ArrowWriter<_>| writer.bytes_written() + writer.in_progress_size();
        self.writer.as_ref().map_or(0, written)
    }

    /// The file's bytes and their description. In append tables the sequence numbers count the
    /// file's rows from 0; whoever places the file into its bucket shifts them.
    pub fn finish(mut self) -> Result<(Bytes, DataFileMeta), WriteError> {
        let writer = match self.writer.take() {
            Some(writer) => Ok(writer),
            None => self.open(&RecordBatch::new_empty(self.schema.file_schema())),
        };
        let bytes =
            writer.and_then(ArrowWriter::into_inner).map_err(|source| self.error(source))?;
        let (min_key, max_key) = self.ends.unwrap_or((BinaryRow::EMPTY, BinaryRow::EMPTY));
        let has_key = self.schema.has_primary_key();
        let (min_sequence, max_sequence) = match has_key {
            true => self.sequences.unwrap_or((0, 0)),
            false => (0, (self.row_count - 1).max(0)),
        };
        let meta = DataFileMeta {
            file_name: self.file_name,
            file_size: bytes.len() as i64,
            row_count: self.row_count,
            min_key,
            max_key,
            key_stats: if has_key { self.key_stats.finish() } else { SimpleStats::EMPTY },
            value_stats: self.value_stats.finish(),
            min_sequence,
            max_sequence,
            schema_id: self.schema.id,
            level: self.level,
            extra_files: Vec::new(),
            creation_time_ms: self.creation_time_ms,
            delete_row_count: self.delete_row_count,
            source: self.source,
            value_stats_cols: None,
        };
        Ok((bytes.into(), meta))
    }

    fn open(&self, sample: &RecordBatch) -> Result<ArrowWriter<Vec<u8>>, ParquetError> {
        let options = ArrowWriterOptions::new()
            .with_properties(properties(&self.options, sample)?)
            .with_skip_arrow_metadata(true)
            .with_schema_root("paimon_schema".to_owned());
        ArrowWriter::try_new_with_options(Vec::new(), self.schema.file_schema(), options)
    }

    fn describe(&mut self, batch: &RecordBatch) {
        self.row_count += batch.num_rows() as i64;
        if !self.schema.has_primary_key() {
            self.value_stats.update(batch.columns().iter());
            return;
        }
        let columns = &batch.columns()[SYSTEM_COLUMN_COUNT..];
        self.value_stats.update(columns.iter());
        self.key_stats.update(self.key_places.iter().map(|place| &columns[*place]));
        let first = self.key_at(columns, 0);
        let last = self.key_at(columns, batch.num_rows() - 1);
        self.ends = Some(match self.ends.take() {
            Some((min, _)) => (min, last),
            None => (first, last),
        });
        for sequence in batch.column(0).as_primitive::<Int64Type>().values() {
            let (min, max) = self.sequences.unwrap_or((*sequence, *sequence));
            self.sequences = Some((min.min(*sequence), max.max(*sequence)));
        }
        let kinds = batch.column(1).as_primitive::<Int8Type>().values();
        let is_retract = |kind: &&i8| RowKind::of(**kind).is_some_and(RowKind::is_retract);
        self.delete_row_count += kinds.iter().filter(is_retract).count() as i64;
    }

    fn key_at(&self, columns: &[ArrayRef], row: usize) -> BinaryRow {
        let types = self.schema.key_types();
        let places = self.key_places.iter().zip(&types);
        let value = |(place, key_type): (&usize, &weir_protocol::table::column::ColumnType)| {
            value_at(&columns[*place], row, &key_type.data_type)
        };
        BinaryRow::from_values(&places.map(value).collect::<Vec<_>>(), &types)
    }

    fn error(&self, source: ParquetError) -> WriteError {
        WriteError { file_name: self.file_name.clone(), source }
    }
}

fn properties(
    options: &WriterOptions,
    sample: &RecordBatch,
) -> Result<WriterProperties, ParquetError> {
    let level = ZstdLevel::try_new(options.zstd_level)?;
    let mut builder = WriterProperties::builder()
        .set_created_by(concat!("weir ", env!("CARGO_PKG_VERSION")).to_owned())
        .set_compression(Compression::ZSTD(level))
        .set_dictionary_enabled(false)
        .set_statistics_enabled(EnabledStatistics::Chunk)
        .set_max_row_group_bytes(Some(options.row_group_bytes));
    for (field, array) in sample.schema().fields().iter().zip(sample.columns()) {
        builder = encode(builder, ColumnPath::from(field.name().as_str()), array);
    }
    Ok(builder.build())
}

/// Top-level columns only: what lies in nested ones is written plainly.
fn encode(
    builder: WriterPropertiesBuilder,
    path: ColumnPath,
    array: &ArrayRef,
) -> WriterPropertiesBuilder {
    match array.data_type() {
        ArrowType::Int8
        | ArrowType::Int16
        | ArrowType::Int32
        | ArrowType::Int64
        | ArrowType::Date32
        | ArrowType::Time32(_)
        | ArrowType::Timestamp(..)
        | ArrowType::Decimal128(..=18, _) => {
            builder.set_column_encoding(path, Encoding::DELTA_BINARY_PACKED)
        }
        ArrowType::Utf8 if repeats(array, |row| array.as_string::<i32>().value(row).as_bytes()) => {
            builder.set_column_dictionary_enabled(path, true)
        }
        ArrowType::Binary if repeats(array, |row| array.as_binary::<i32>().value(row)) => {
            builder.set_column_dictionary_enabled(path, true)
        }
        _ => builder,
    }
}

/// Whether fewer than a fifth of the first values are distinct.
fn repeats<'a>(array: &ArrayRef, value: impl Fn(usize) -> &'a [u8]) -> bool {
    let rows = (0..array.len()).filter(|row| array.is_valid(*row)).take(SAMPLE_ROWS);
    let values: Vec<&[u8]> = rows.map(value).collect();
    let distinct: HashSet<&[u8]> = values.iter().copied().collect();
    values.len() >= 16 && distinct.len() * 5 < values.len()
}
