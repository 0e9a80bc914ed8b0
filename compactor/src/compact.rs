//! Runs one [`CompactUnit`]: files in, merged, files out; in an append table files are joined. It
//! blocks: it is for threads that may.
//!
//! ```text
//! sections of the unit     [small] [overlapping] [large] [small] [large]
//! what becomes of them     |---- rewritten ----| upgrade |  rewritten and upgrade
//! ```
//!
//! - An upgrade changes what the manifest says of a file, not the file. A file whose deletes have
//!   to go is rewritten.
//! - New files have names that nobody knows until the commit; on an error they are deleted.

use arrow_array::RecordBatch;
use arrow_schema::ArrowError;

use crate::binary_row::BinaryRowError;
use crate::data_file::writer::{FileWriter, WriteError, WriterOptions};
use crate::data_file::{DataFileMeta, FileSource};
use crate::fold::route::BucketPlace;
use crate::merge_tree::KeyOrder;
use crate::merge_tree::interval_partition::{Section, sections};
use crate::merge_tree::levels::SortedRun;
use crate::merge_tree::sort_merge::{Deletes, MergeError};
use crate::merge_tree::universal_compaction::CompactUnit;
use crate::merge_tree::write_buffer::Merge;
use crate::paimon::manifest::FileEntry;
use crate::paimon::paths::PathError;
use crate::scan::{FileError, TableFiles};
use crate::store::StoreError;

/// How files are written.
#[derive(Copy, Clone, Debug)]
pub struct CompactOptions {
    /// A file is closed at this size (`target-file-size`).
    pub file_bytes_target: u64,
    /// Files below this part of the target are merged with their neighbours
    /// (`compaction.small-file-ratio`).
    pub small_file_percent: u32,
    /// How Parquet is written.
    pub writer: WriterOptions,
}

impl Default for CompactOptions {
    fn default() -> Self {
        let writer = WriterOptions::default();
        CompactOptions { file_bytes_target: 128 << 20, small_file_percent: 70, writer }
    }
}

impl CompactOptions {
    /// Files below this size are merged with their neighbours.
    pub fn small_file_bytes(&self) -> i64 {
        let bytes = u128::from(self.file_bytes_target) * u128::from(self.small_file_percent) / 100;
        i64::try_from(bytes).unwrap_or(i64::MAX)
    }
}

/// What to compact.
#[derive(Clone, Debug)]
pub struct Compaction {
    /// The table.
    pub table: TableFiles,
    /// The bucket.
    pub place: BucketPlace,
    /// The number of buckets, as the entries of the bucket's files say it.
    pub total_buckets: i32,
    /// The files and where they go.
    pub unit: CompactUnit,
    /// How to write.
    pub options: CompactOptions,
    /// New files are named `<prefix>-<n>.parquet`; nobody else may use the prefix.
    pub file_prefix: String,
    /// Now, by the caller's clock.
    pub now_ms: i64,
}

/// What a compaction changes: entries for a COMPACT commit.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CompactResult {
    /// Files that go, and the former entries of upgraded files.
    pub removed: Vec<FileEntry>,
    /// Files that come, and the new entries of upgraded files.
    pub added: Vec<FileEntry>,
}

/// Why a compaction failed. The table is as it was.
#[derive(Debug, thiserror::Error)]
pub enum CompactError {
    /// The files cannot be read or merged.
    #[error(transparent)]
    Merge(#[from] MergeError<FileError>),
    /// Metadata of a file is damaged.
    #[error("a data file names keys that are none of this table: {0}")]
    Key(#[from] BinaryRowError),
    /// A new file cannot be encoded.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// A new file cannot be stored.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A new file has no place.
    #[error(transparent)]
    Path(#[from] PathError),
    /// Columns do not fit together.
    #[error("cannot handle rows: {0}")]
    Arrow(#[from] ArrowError),
}

/// What becomes of files.
#[derive(Clone, Debug, PartialEq)]
enum Step {
    /// Change the levels only.
    Upgrade(Vec<DataFileMeta>),
    /// Merge each section, one after the other, into new files.
    Rewrite(Vec<Section>),
}

/// Compacts. On an error the files written so far are deleted.
pub fn run(compaction: &Compaction) -> Result<CompactResult, CompactError> {
    match Merge::of(&compaction.table.schema)? {
        Some(merge) => run_merge(compaction, &merge),
        None => run_join(compaction),
    }
}

/// Merges the runs of a primary-key table.
fn run_merge(compaction: &Compaction, merge: &Merge) -> Result<CompactResult, CompactError> {
    let order = KeyOrder::of(&compaction.table.schema);
    let sections = sections(compaction.unit.files.clone(), &order)?;
    let mut output = Output { compaction, writer: None, written: Vec::new(), file_count: 0 };
    let mut result = CompactResult::default();
    for step in steps(sections, &compaction.unit, &compaction.options) {
        match step {
            Step::Upgrade(files) => {
                let level = compaction.unit.output_level;
                for file in files {
                    result.added.push(compaction.entry(DataFileMeta { level, ..file.clone() }));
                    result.removed.push(compaction.entry(file));
                }
            }
            Step::Rewrite(sections) => {
                let files = sections.iter().flatten().flat_map(SortedRun::files);
                result.removed.extend(files.map(|file| compaction.entry(file.clone())));
                if let Err(error) = output.rewrite(sections, merge) {
                    output.delete_all();
                    return Err(error);
                }
            }
        }
    }
    result.added.extend(output.written.into_iter().map(|file| compaction.entry(file)));
    Ok(result)
}

/// Joins neighbouring files of an append table. Its sequence numbers count rows, so that the new
/// files number theirs on from the first old one and never reach beyond the last.
fn run_join(compaction: &Compaction) -> Result<CompactResult, CompactError> {
    let mut files = compaction.unit.files.clone();
    files.sort_by_key(|file| (file.min_sequence, file.creation_time_ms));
    let mut next_sequence = files.first().map_or(0, |file| file.min_sequence);
    let removed = files.iter().map(|file| compaction.entry(file.clone())).collect();
    let mut output = Output { compaction, writer: None, written: Vec::new(), file_count: 0 };
    if let Err(error) = output.join(files) {
        output.delete_all();
        return Err(error);
    }
    let mut added = Vec::with_capacity(output.written.len());
    for mut file in output.written {
        file.min_sequence = next_sequence;
        next_sequence += file.row_count;
        file.max_sequence = next_sequence - 1;
        added.push(compaction.entry(file));
    }
    Ok(CompactResult { removed, added })
}

impl Compaction {
    fn entry(&self, file: DataFileMeta) -> FileEntry {
        let (partition, bucket) = self.place.clone();
        FileEntry { partition, bucket, total_buckets: self.total_buckets, file }
    }
}

/// PURE. What becomes of each file, in key order; files that stay as they are do not appear.
fn steps(sections: Vec<Section>, unit: &CompactUnit, options: &CompactOptions) -> Vec<Step> {
    let small_bytes = options.small_file_bytes();
    let mut steps = Vec::new();
    let mut pending: Vec<Section> = Vec::new();
    for mut section in sections {
        if section.len() > 1 {
            pending.push(section);
            continue;
        }
        for file in section.pop().map(SortedRun::into_files).unwrap_or_default() {
            if file.file_size < small_bytes {
                pending.push(vec![SortedRun::single(file)]);
            } else {
                close(&mut pending, unit, &mut steps);
                steps.extend(moved(file, unit));
            }
        }
    }
    close(&mut pending, unit, &mut steps);
    steps
}

/// Ends a stretch of sections that are rewritten together. One run alone is not worth it.
fn close(pending: &mut Vec<Section>, unit: &CompactUnit, steps: &mut Vec<Step>) {
    let sections = std::mem::take(pending);
    match &sections[..] {
        [] => {}
        [section] if section.len() == 1 => {
            let files = sections.into_iter().flatten().flat_map(SortedRun::into_files);
            steps.extend(files.filter_map(|file| moved(file, unit)));
        }
        _ => steps.push(Step::Rewrite(sections)),
    }
}

/// How a file that overlaps with no other gets to the output level.
fn moved(file: DataFileMeta, unit: &CompactUnit) -> Option<Step> {
    if unit.drops_deletes && file.delete_row_count != 0 {
        return Some(Step::Rewrite(vec![vec![SortedRun::single(file)]]));
    }
    (file.level != unit.output_level).then(|| Step::Upgrade(vec![file]))
}

/// The files that a compaction writes.
struct Output<'a> {
    compaction: &'a Compaction,
    writer: Option<FileWriter>,
    written: Vec<DataFileMeta>,
    file_count: usize,
}

impl Output<'_> {
    fn rewrite(&mut self, sections: Vec<Section>, merge: &Merge) -> Result<(), CompactError> {
        let Compaction { table, place, unit, .. } = self.compaction;
        let deletes = if unit.drops_deletes { Deletes::Dropped } else { Deletes::Kept };
        for section in sections {
            for batch in table.merged(place, section, merge, deletes) {
                self.write(&batch?)?;
            }
        }
        self.close()
    }

    fn join(&mut self, files: Vec<DataFileMeta>) -> Result<(), CompactError> {
        for batch in self.compaction.table.run(&self.compaction.place, files) {
            self.write(&batch.map_err(MergeError::Read)?)?;
        }
        self.close()
    }

    /// Writes rows in pieces that are no larger than a file should be.
    fn write(&mut self, batch: &RecordBatch) -> Result<(), CompactError> {
        let Compaction { table, unit, options, file_prefix, now_ms, .. } = self.compaction;
        let row_bytes = (batch.get_array_memory_size() / batch.num_rows().max(1)).max(1);
        let target_bytes = usize::try_from(options.file_bytes_target).unwrap_or(usize::MAX);
        let piece_rows = (target_bytes / row_bytes).max(1);
        for first_row in (0..batch.num_rows()).step_by(piece_rows) {
            let piece = batch.slice(first_row, piece_rows.min(batch.num_rows() - first_row));
            let writer = self.writer.get_or_insert_with(|| {
                let name = format!("{file_prefix}-{}.parquet", self.file_count);
                self.file_count += 1;
                let (level, source) = (unit.output_level, FileSource::Compact);
                FileWriter::new(&table.schema, level, source, name, *now_ms, options.writer)
            });
            writer.write(&piece)?;
            if writer.bytes_written() >= target_bytes {
                self.close()?;
            }
        }
        Ok(())
    }

    fn close(&mut self) -> Result<(), CompactError> {
        let Some(writer) = self.writer.take() else { return Ok(()) };
        let (bytes, file) = writer.finish()?;
        let path = self.path(&file)?;
        let put = self.compaction.table.store.put_new_blocking(&path, bytes);
        // After a failure that does not tell, something may lie there; it is to be deleted then.
        if !matches!(put, Err(StoreError::AlreadyExists { .. })) {
            self.written.push(file);
        }
        Ok(put?)
    }

    fn path(&self, file: &DataFileMeta) -> Result<String, PathError> {
        let (partition, bucket) = &self.compaction.place;
        self.compaction.table.paths.data_file(partition, *bucket, &file.file_name)
    }

    fn delete_all(&self) {
        for file in &self.written {
            let deleted =
                self.path(file).map(|path| self.compaction.table.store.delete_blocking(&path));
            if let Ok(Err(error)) = deleted {
                // No snapshot names it: the clean-up of orphans will find it.
                tracing::warn!(file = file.file_name, %error, "a file of a failed compaction stays");
            }
        }
    }
}

#[cfg(test)]
mod tests;
