//! The rows of a snapshot as a reader of the table sees them: bucket by bucket, the newest row of
//! each key, deleted keys left out, without the columns that only the merge needs.
//!
//! Only sections whose files overlap, or that hold deletes, are merged; a run alone is passed
//! through. All of it blocks: it is for threads that may.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::ArrowError;

use crate::binary_row::{BinaryRow, BinaryRowError};
use crate::data_file::DataFileMeta;
use crate::data_file::reader::{FileReader, ReadError, ReadOptions};
use crate::fold::route::BucketPlace;
use crate::merge_tree::KeyOrder;
use crate::merge_tree::interval_partition::{Section, sections};
use crate::merge_tree::levels::SortedRun;
use crate::merge_tree::sort_merge::{BatchStream, Deletes, MergeError, SortMerge};
use crate::merge_tree::write_buffer::Merge;
use crate::paimon::manifest::FileEntry;
use crate::paimon::paths::{PathError, TablePaths};
use crate::schema::{SYSTEM_COLUMN_COUNT, TableSchema};
use crate::store::Store;

/// Why rows cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ScanError {
    /// A data file cannot be read, or sorted runs cannot be merged.
    #[error(transparent)]
    Merge(#[from] MergeError<FileError>),
    /// Metadata of a file is damaged.
    #[error("a data file names keys that are none of this table: {0}")]
    Key(#[from] BinaryRowError),
    /// Columns do not fit together.
    #[error("cannot handle rows: {0}")]
    Arrow(#[from] ArrowError),
}

/// Why a data file cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// What the reader says.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The file's metadata names no place.
    #[error(transparent)]
    Path(#[from] PathError),
    /// The file was written with a schema that is not there.
    #[error("file {file} was written with schema {schema_id}, which the table does not have")]
    UnknownSchema {
        /// The file.
        file: String,
        /// The schema that its metadata names.
        schema_id: i64,
    },
}

/// A table's files and how to read them.
#[derive(Clone, Debug)]
pub struct TableFiles {
    /// Where the files lie.
    pub store: Store,
    /// How they are named.
    pub paths: TablePaths,
    /// All schemas by id: files may be older than the newest one.
    pub schemas: Arc<BTreeMap<i64, TableSchema>>,
    /// The schema in which rows come out.
    pub schema: Arc<TableSchema>,
}

impl TableFiles {
    /// The rows of a sorted run, in the layout of files; one file is open at a time.
    pub fn run(&self, place: &BucketPlace, files: Vec<DataFileMeta>) -> BatchStream<FileError> {
        let (table, place) = (self.clone(), place.clone());
        let rows = files.into_iter().flat_map(move |file| match table.open(&place, &file) {
            Ok(rows) => rows,
            Err(error) => Box::new(std::iter::once(Err(error))),
        });
        Box::new(rows)
    }

    /// The rows of overlapping runs, merged.
    pub fn merged(
        &self,
        place: &BucketPlace,
        section: Section,
        merge: &Merge,
        deletes: Deletes,
    ) -> SortMerge<FileError> {
        let run = |run: SortedRun| self.run(place, run.into_files());
        SortMerge::new(section.into_iter().map(run).collect(), merge.clone(), deletes)
    }

    fn open(
        &self,
        place: &BucketPlace,
        file: &DataFileMeta,
    ) -> Result<BatchStream<FileError>, FileError> {
        let unknown =
            || FileError::UnknownSchema { file: file.file_name.clone(), schema_id: file.schema_id };
        let written_with = self.schemas.get(&file.schema_id).ok_or_else(unknown)?;
        let path = self.paths.data_file(&place.0, place.1, &file.file_name)?;
        let options = ReadOptions::default();
        let rows =
            FileReader::open(&self.store, &path, file, written_with, &self.schema, &options)?;
        Ok(Box::new(rows.map(|batch| batch.map_err(FileError::Read))))
    }
}

/// The rows of a set of live files; see [`scan`].
pub struct Scan {
    table: TableFiles,
    /// How rows of a key merge, and the order of keys; absent in append tables.
    merge: Option<(Merge, KeyOrder)>,
    buckets: std::collections::btree_map::IntoIter<BucketPlace, Vec<DataFileMeta>>,
    place: BucketPlace,
    sections: VecDeque<Section>,
    rows: Option<Rows>,
}

/// The rows of one section.
enum Rows {
    Passed(BatchStream<FileError>),
    Merged(Box<SortMerge<FileError>>),
}

/// Reads live files bucket by bucket. In a primary-key table rows ascend by key inside a bucket,
/// in an append table they come in the order in which they were appended.
pub fn scan(table: TableFiles, files: Vec<FileEntry>) -> Result<Scan, ScanError> {
    let merge = Merge::of(&table.schema)?.map(|merge| (merge, KeyOrder::of(&table.schema)));
    let mut buckets: BTreeMap<BucketPlace, Vec<DataFileMeta>> = BTreeMap::new();
    for entry in files {
        buckets.entry((entry.partition, entry.bucket)).or_default().push(entry.file);
    }
    let place = (BinaryRow::EMPTY, 0);
    let buckets = buckets.into_iter();
    Ok(Scan { table, merge, buckets, place, sections: VecDeque::new(), rows: None })
}

impl Scan {
    fn advance(&mut self) -> Result<Option<RecordBatch>, ScanError> {
        loop {
            let batch = match &mut self.rows {
                Some(Rows::Passed(rows)) => rows.next().transpose().map_err(MergeError::Read)?,
                Some(Rows::Merged(rows)) => rows.next().transpose()?,
                None => None,
            };
            match batch {
                Some(batch) if batch.num_rows() > 0 => return self.seen(&batch).map(Some),
                Some(_) => {}
                None if self.begin_section()? => {}
                None => return Ok(None),
            }
        }
    }

    /// Moves on to the next section. False: there is none.
    fn begin_section(&mut self) -> Result<bool, ScanError> {
        while self.sections.is_empty() {
            let Some((place, mut files)) = self.buckets.next() else { return Ok(false) };
            self.place = place;
            self.sections = match &self.merge {
                Some((_, order)) => sections(files, order)?.into(),
                None => {
                    files.sort_by_key(|file| (file.min_sequence, file.creation_time_ms));
                    files.into_iter().map(|file| vec![SortedRun::single(file)]).collect()
                }
            };
        }
        let Some(mut section) = self.sections.pop_front() else { return Ok(false) };
        let has_deletes =
            section.iter().flat_map(SortedRun::files).any(|file| file.delete_row_count != 0);
        self.rows = Some(match &self.merge {
            Some((merge, _)) if section.len() > 1 || has_deletes => {
                let merged = self.table.merged(&self.place, section, merge, Deletes::Dropped);
                Rows::Merged(Box::new(merged))
            }
            _ => {
                let files = section.pop().map(SortedRun::into_files).unwrap_or_default();
                Rows::Passed(self.table.run(&self.place, files))
            }
        });
        Ok(true)
    }

    /// A batch as a reader sees it.
    fn seen(&self, batch: &RecordBatch) -> Result<RecordBatch, ScanError> {
        if self.merge.is_none() {
            return Ok(batch.clone());
        }
        let table_columns: Vec<usize> = (SYSTEM_COLUMN_COUNT..batch.num_columns()).collect();
        Ok(batch.project(&table_columns)?)
    }
}

impl Iterator for Scan {
    type Item = Result<RecordBatch, ScanError>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = self.advance().transpose();
        if matches!(next, Some(Err(_))) {
            self.rows = None;
            self.sections.clear();
            self.buckets = BTreeMap::new().into_iter();
        }
        next
    }
}
