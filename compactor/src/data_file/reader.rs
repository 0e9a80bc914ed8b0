//! A data file as batches of the table's current schema. For threads that may block.
//!
//! Columns are found by field id, so that renamed ones stay found; of a file without ids (another
//! writer's) by the name that the schema of the file gives them. Narrower types are widened, missing
//! columns are null. Only the ranges that are needed are fetched, small files at once.
//!
//! What must hold: no bytes of a file make us panic; an error names the file; a file that ends
//! before its rows do is an error.

use std::io::Read;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, ListArray, MapArray, RecordBatch, StructArray, new_null_array};
use arrow_cast::{CastOptions, cast_with_options};
use arrow_schema::{ArrowError, DataType as ArrowType, Field, FieldRef, Schema, SchemaRef};
use bytes::{Buf, Bytes};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderOptions, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder,
};
use parquet::errors::ParquetError;
use parquet::file::metadata::{ColumnChunkMetaData, ParquetMetaData, RowGroupMetaData};
use parquet::file::reader::{ChunkReader, Length};

use crate::data_file::DataFileMeta;
use crate::schema::TableSchema;
use crate::schema::arrow::FIELD_ID;
use crate::store::{Store, StoreError};

/// A file up to this size is fetched at once.
const WHOLE_FILE_BYTES_MAX: u64 = 4 << 20;
/// What is fetched ahead where the reader does not say how much it wants: page headers.
const WINDOW_BYTES: u64 = 8 << 10;

/// A data file cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The store does not give it.
    #[error("data file {path}")]
    Store {
        /// The file.
        path: String,
        /// Why not.
        source: Box<StoreError>,
    },
    /// Its bytes are not the file that they should be.
    #[error("data file {path} is damaged: {reason}")]
    Damaged {
        /// The file.
        path: String,
        /// What is wrong.
        reason: String,
    },
    /// Its columns cannot become those of the table.
    #[error("data file {path} does not fit the table: {reason}")]
    Misfit {
        /// The file.
        path: String,
        /// Which column, and why.
        reason: String,
    },
}

/// How a file is read.
#[derive(Clone, Debug)]
pub struct ReadOptions {
    /// Rows in a batch, at most.
    pub batch_rows: usize,
    /// What a batch weighs in memory, about: large rows come fewer at a time, down to one.
    pub batch_bytes: usize,
    /// Places of the wanted columns in `TableSchema::file_schema`, ascending; `None`: all.
    pub columns: Option<Vec<usize>>,
}

impl Default for ReadOptions {
    fn default() -> Self {
        Self { batch_rows: 8192, batch_bytes: 2 << 20, columns: None }
    }
}

/// The batches of a file, in its order.
#[derive(Debug)]
pub struct FileReader {
    path: String,
    schema: SchemaRef,
    /// For each column of the schema its place in the batches of the file; `None`: it is not there.
    places: Vec<Option<usize>>,
    batches: ParquetRecordBatchReader,
    rows_left: i64,
    failed: bool,
}

impl FileReader {
    /// Opens a file that was written with the schema `written`, to be read as the schema `current`.
    pub fn open(
        store: &Store,
        path: &str,
        meta: &DataFileMeta,
        written: &TableSchema,
        current: &TableSchema,
        options: &ReadOptions,
    ) -> Result<Self, ReadError> {
        let wanted = wanted_schema(current, options);
        let ranges = FileRanges::open(store, path, meta.file_size)?;
        let damaged = |reason| ReadError::Damaged { path: path.to_owned(), reason };
        let builder = guarded(|| {
            let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
            ParquetRecordBatchReaderBuilder::try_new_with_options(ranges, options)
        });
        let builder = builder.map_err(damaged)?;
        let roots = roots_of(&wanted, builder.schema(), written);
        let mut projected: Vec<usize> = roots.iter().flatten().copied().collect();
        projected.sort_unstable();
        projected.dedup();
        let place =
            |root: &Option<usize>| root.and_then(|root| projected.binary_search(&root).ok());
        let places: Vec<Option<usize>> = roots.iter().map(place).collect();
        for (field, place) in wanted.fields().iter().zip(&places) {
            if place.is_none() && !field.is_nullable() {
                let reason = format!("it lacks the column {}, which is NOT NULL", field.name());
                return Err(ReadError::Misfit { path: path.to_owned(), reason });
            }
        }
        let mask = ProjectionMask::roots(builder.parquet_schema(), projected);
        let batch_rows = fitting_rows(builder.metadata(), options);
        let batches = guarded(|| builder.with_projection(mask).with_batch_size(batch_rows).build());
        Ok(Self {
            path: path.to_owned(),
            schema: wanted,
            places,
            batches: batches.map_err(damaged)?,
            rows_left: meta.row_count,
            failed: false,
        })
    }

    /// The layout of the batches.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn read(&mut self) -> Option<Result<RecordBatch, ReadError>> {
        let batches = &mut self.batches;
        let next = guarded(|| batches.next().transpose());
        let damaged = |reason| ReadError::Damaged { path: self.path.clone(), reason };
        let batch = match next {
            Ok(Some(batch)) => batch,
            Ok(None) if self.rows_left == 0 => return None,
            Ok(None) => return Some(Err(damaged(format!("{} rows are missing", self.rows_left)))),
            Err(reason) => return Some(Err(damaged(reason))),
        };
        self.rows_left -= batch.num_rows() as i64;
        if self.rows_left < 0 {
            return Some(Err(damaged("it has more rows than its manifest says".to_owned())));
        }
        let adapted = guarded(|| self.adapt(&batch));
        let misfit = |reason| ReadError::Misfit { path: self.path.clone(), reason };
        Some(adapted.map_err(misfit))
    }

    fn adapt(&self, batch: &RecordBatch) -> Result<RecordBatch, ArrowError> {
        let rows = batch.num_rows();
        let schema = batch.schema();
        let mut arrays = Vec::with_capacity(self.places.len());
        for (field, place) in self.schema.fields().iter().zip(&self.places) {
            arrays.push(match place {
                Some(place) => adapt(batch.column(*place), schema.field(*place), field)?,
                None => new_null_array(field.data_type(), rows),
            });
        }
        let options = arrow_array::RecordBatchOptions::new().with_row_count(Some(rows));
        RecordBatch::try_new_with_options(Arc::clone(&self.schema), arrays, &options)
    }
}

impl Iterator for FileReader {
    type Item = Result<RecordBatch, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let next = self.read();
        self.failed = matches!(next, Some(Err(_)));
        next
    }
}

/// How many rows of the largest row group weigh as much as a batch may. What compression and
/// dictionaries save on disk counts in full: it comes back in memory.
fn fitting_rows(metadata: &ParquetMetaData, options: &ReadOptions) -> usize {
    let rows_of = |group: &RowGroupMetaData| {
        let column_bytes = |column: &ColumnChunkMetaData| {
            let plain_bytes = column.unencoded_byte_array_data_bytes().unwrap_or(0);
            plain_bytes.max(column.uncompressed_size())
        };
        let bytes: i64 = group.columns().iter().map(column_bytes).sum();
        let bytes = usize::try_from(bytes).unwrap_or(0).max(1);
        let rows = usize::try_from(group.num_rows()).unwrap_or(0);
        (rows as u128 * options.batch_bytes as u128 / bytes as u128) as usize
    };
    let fitting = metadata.row_groups().iter().map(rows_of).min();
    fitting.unwrap_or(options.batch_rows).clamp(1, options.batch_rows.max(1))
}

/// Runs what reads foreign bytes: a panic in it is an error like any other.
fn guarded<T, E: std::fmt::Display>(act: impl FnOnce() -> Result<T, E>) -> Result<T, String> {
    match catch_unwind(AssertUnwindSafe(act)) {
        Ok(result) => result.map_err(|error| error.to_string()),
        Err(panic) => {
            let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
            let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
            Err(format!("it cannot be decoded ({})", text.unwrap_or_default()))
        }
    }
}

fn wanted_schema(current: &TableSchema, options: &ReadOptions) -> SchemaRef {
    let all = current.file_schema();
    match &options.columns {
        None => all,
        Some(places) => {
            let fields: Vec<FieldRef> =
                places.iter().filter_map(|place| all.fields().get(*place).cloned()).collect();
            Arc::new(Schema::new(fields))
        }
    }
}

/// For each wanted column its place in the file.
fn roots_of(wanted: &Schema, file: &Schema, written: &TableSchema) -> Vec<Option<usize>> {
    let has_ids = file.fields().iter().any(|field| id_of(field).is_some());
    let find = |field: &FieldRef| {
        if has_ids {
            let id = id_of(field);
            return file.fields().iter().position(|other| id_of(other) == id);
        }
        let id = id_of(field).and_then(|id| id.parse::<i32>().ok());
        let column = written.columns.iter().find(|column| Some(column.id) == id);
        let name = column.map_or(field.name().as_str(), |column| column.name.as_str());
        file.fields().iter().position(|other| other.name() == name)
    };
    wanted.fields().iter().map(find).collect()
}

fn id_of(field: &Field) -> Option<&str> {
    field.metadata().get(FIELD_ID).map(String::as_str)
}

/// The column of a file as the table wants it.
fn adapt(array: &ArrayRef, file: &Field, wanted: &Field) -> Result<ArrayRef, ArrowError> {
    if array.data_type() == wanted.data_type() {
        return Ok(Arc::clone(array));
    }
    let wrong = || {
        let (name, from, to) = (wanted.name(), file.data_type(), wanted.data_type());
        Err(ArrowError::CastError(format!("the column {name} is {from}, not {to}")))
    };
    match (file.data_type(), wanted.data_type()) {
        (ArrowType::List(file), ArrowType::List(wanted)) => {
            let list = array.as_list::<i32>();
            let values = adapt(list.values(), file, wanted)?;
            let (offsets, nulls) = (list.offsets().clone(), list.nulls().cloned());
            Ok(Arc::new(ListArray::try_new(Arc::clone(wanted), offsets, values, nulls)?))
        }
        (ArrowType::Map(file, _), ArrowType::Map(wanted, is_sorted)) => {
            let map = array.as_map();
            let (ArrowType::Struct(file), ArrowType::Struct(fields)) =
                (file.data_type(), wanted.data_type())
            else {
                return wrong();
            };
            let adapted = map.entries().columns().iter().zip(file).zip(fields);
            let entries = adapted.map(|((array, file), wanted)| adapt(array, file, wanted));
            let entries = entries.collect::<Result<Vec<_>, _>>()?;
            let entries = StructArray::try_new(fields.clone(), entries, None)?;
            let (offsets, nulls) = (map.offsets().clone(), map.nulls().cloned());
            let wanted = Arc::clone(wanted);
            Ok(Arc::new(MapArray::try_new(wanted, offsets, entries, nulls, *is_sorted)?))
        }
        (ArrowType::Struct(file), ArrowType::Struct(wanted)) => {
            let rows = array.as_struct();
            let has_ids = file.iter().any(|field| id_of(field).is_some());
            let mut members = Vec::with_capacity(wanted.len());
            for field in wanted {
                let place = file.iter().position(|other| match has_ids {
                    true => id_of(other) == id_of(field),
                    false => other.name() == field.name(),
                });
                members.push(match place {
                    Some(place) => adapt(rows.column(place), &file[place], field)?,
                    None => new_null_array(field.data_type(), rows.len()),
                });
            }
            let (fields, nulls) = (wanted.clone(), rows.nulls().cloned());
            Ok(Arc::new(StructArray::try_new_with_length(fields, members, nulls, rows.len())?))
        }
        (ArrowType::List(_) | ArrowType::Map(..) | ArrowType::Struct(_), _)
        | (_, ArrowType::List(_) | ArrowType::Map(..) | ArrowType::Struct(_)) => wrong(),
        _ => {
            let options = CastOptions { safe: false, ..CastOptions::default() };
            cast_with_options(array, wanted.data_type(), &options)
        }
    }
}

/// A file in the store, as Parquet's reader asks for it.
#[derive(Clone, Debug)]
struct FileRanges {
    store: Store,
    path: Arc<str>,
    size_bytes: u64,
    /// All of it, if it is small.
    whole: Option<Bytes>,
}

impl FileRanges {
    fn open(store: &Store, path: &str, file_size: i64) -> Result<Self, ReadError> {
        let size_bytes = u64::try_from(file_size).unwrap_or(0);
        let mut ranges = Self { store: store.clone(), path: path.into(), size_bytes, whole: None };
        if size_bytes <= WHOLE_FILE_BYTES_MAX {
            let whole = store.get_range_blocking(path, 0..size_bytes);
            let error =
                |source| ReadError::Store { path: path.to_owned(), source: Box::new(source) };
            ranges.whole = Some(whole.map_err(error)?);
        }
        Ok(ranges)
    }

    fn fetch(&self, range: Range<u64>) -> Result<Bytes, ParquetError> {
        if range.start > range.end || range.end > self.size_bytes {
            return Err(ParquetError::EOF(format!(
                "bytes {}..{} are asked of {}",
                range.start, range.end, self.size_bytes
            )));
        }
        if let Some(whole) = &self.whole {
            return Ok(whole.slice(range.start as usize..range.end as usize));
        }
        let fetched = self.store.get_range_blocking(&self.path, range);
        fetched.map_err(|error| ParquetError::External(Box::new(error)))
    }
}

impl Length for FileRanges {
    fn len(&self) -> u64 {
        self.size_bytes
    }
}

impl ChunkReader for FileRanges {
    type T = RangeRead;

    fn get_read(&self, start: u64) -> Result<RangeRead, ParquetError> {
        Ok(RangeRead { ranges: self.clone(), position: start, window: Bytes::new() })
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes, ParquetError> {
        self.fetch(start..start.saturating_add(length as u64))
    }
}

/// Reads on from a position, a window at a time.
#[derive(Debug)]
struct RangeRead {
    ranges: FileRanges,
    position: u64,
    window: Bytes,
}

impl Read for RangeRead {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if self.window.is_empty() {
            let end = self.position.saturating_add(WINDOW_BYTES).min(self.ranges.size_bytes);
            if self.position >= end {
                return Ok(0);
            }
            let window = self.ranges.fetch(self.position..end);
            self.window = window.map_err(std::io::Error::other)?;
            self.position = end;
        }
        let count = buffer.len().min(self.window.len());
        self.window.copy_to_slice(&mut buffer[..count]);
        Ok(count)
    }
}
