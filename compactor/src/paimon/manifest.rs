//! PURE. Manifests (which files came and went) and lists of manifests, as Paimon 2.0 writes them.
//!
//! All fields of Paimon 2.0 are written, those without a value as null, because readers exist that
//! insist on them. Files of other writers may lack nullable fields. What a foreign writer put into
//! a field that we could not keep is refused rather than lost.

use std::sync::LazyLock;

use apache_avro::Schema;
use apache_avro::types::Value;

use crate::binary_row::BinaryRow;
use crate::data_file::{DataFileMeta, FileSource, SimpleStats};
use crate::paimon::avro::{self, AvroError, Fields, nullable};

/// The format that manifests and their lists have had since their beginning.
const VERSION: i32 = 2;

static ENTRY_SCHEMA: LazyLock<Schema> = LazyLock::new(|| {
    Schema::parse_str(include_str!("manifest_entry.avsc")).expect("the schema is part of the build")
});
static LIST_SCHEMA: LazyLock<Schema> = LazyLock::new(|| {
    Schema::parse_str(include_str!("manifest_list.avsc")).expect("the schema is part of the build")
});

/// A data file and where it belongs.
#[derive(Clone, Debug, PartialEq)]
pub struct FileEntry {
    /// The table partition; a row of no fields for tables without.
    pub partition: BinaryRow,
    /// The bucket inside the partition.
    pub bucket: i32,
    /// The number of buckets when the file was written; -1 for append tables.
    pub total_buckets: i32,
    /// The file.
    pub file: DataFileMeta,
}

/// What tells two entries apart. The level is part of it: a file that moves up without being
/// written anew is deleted from one level and added to another.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FileId {
    /// The table partition.
    pub partition: BinaryRow,
    /// The bucket.
    pub bucket: i32,
    /// The level.
    pub level: i32,
    /// The file's name.
    pub file_name: String,
}

impl FileEntry {
    /// What tells this entry from others.
    pub fn id(&self) -> FileId {
        FileId {
            partition: self.partition.clone(),
            bucket: self.bucket,
            level: self.file.level,
            file_name: self.file.file_name.clone(),
        }
    }
}

/// Whether a file came or went.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum EntryKind {
    /// The file came.
    Add = 0,
    /// The file went.
    Delete = 1,
}

/// One line of a manifest.
#[derive(Clone, Debug, PartialEq)]
pub struct ManifestEntry {
    /// Whether the file came or went.
    pub kind: EntryKind,
    /// The file.
    pub entry: FileEntry,
}

/// One line of a manifest list.
#[derive(Clone, Debug, PartialEq)]
pub struct ManifestMeta {
    /// The manifest's name.
    pub file_name: String,
    /// Its length in bytes.
    pub file_size: i64,
    /// Files that came.
    pub added_count: i64,
    /// Files that went.
    pub deleted_count: i64,
    /// Smallest and largest value of each partition column.
    pub partition_stats: SimpleStats,
    /// The schema when it was written.
    pub schema_id: i64,
    /// Smallest and largest bucket, for pruning.
    pub buckets: Option<(i32, i32)>,
    /// Smallest and largest level, for pruning.
    pub levels: Option<(i32, i32)>,
}

/// The bytes of a manifest.
pub fn write_entries(entries: &[ManifestEntry], marker: [u8; 16]) -> Result<Vec<u8>, AvroError> {
    avro::write(&ENTRY_SCHEMA, entries.iter().map(entry_value), marker)
}

/// The lines of a manifest.
pub fn read_entries(bytes: &[u8]) -> Result<Vec<ManifestEntry>, AvroError> {
    avro::read(bytes)?.into_iter().map(entry_of).collect()
}

/// The bytes of a manifest list.
pub fn write_list(manifests: &[ManifestMeta], marker: [u8; 16]) -> Result<Vec<u8>, AvroError> {
    avro::write(&LIST_SCHEMA, manifests.iter().map(meta_value), marker)
}

/// The lines of a manifest list.
pub fn read_list(bytes: &[u8]) -> Result<Vec<ManifestMeta>, AvroError> {
    avro::read(bytes)?.into_iter().map(meta_of).collect()
}

fn entry_value(line: &ManifestEntry) -> Value {
    let FileEntry { partition, bucket, total_buckets, file } = &line.entry;
    let text = |text: &str| Value::String(text.into());
    let long = |number| nullable(Some(Value::Long(number)));
    let file = Value::Record(vec![
        ("_FILE_NAME".into(), text(&file.file_name)),
        ("_FILE_SIZE".into(), Value::Long(file.file_size)),
        ("_ROW_COUNT".into(), Value::Long(file.row_count)),
        ("_MIN_KEY".into(), avro::row(&file.min_key)),
        ("_MAX_KEY".into(), avro::row(&file.max_key)),
        ("_KEY_STATS".into(), avro::stats(&file.key_stats)),
        ("_VALUE_STATS".into(), avro::stats(&file.value_stats)),
        ("_MIN_SEQUENCE_NUMBER".into(), Value::Long(file.min_sequence)),
        ("_MAX_SEQUENCE_NUMBER".into(), Value::Long(file.max_sequence)),
        ("_SCHEMA_ID".into(), Value::Long(file.schema_id)),
        ("_LEVEL".into(), Value::Int(file.level)),
        ("_EXTRA_FILES".into(), avro::texts(&file.extra_files)),
        ("_CREATION_TIME".into(), nullable(Some(Value::TimestampMillis(file.creation_time_ms)))),
        ("_DELETE_ROW_COUNT".into(), long(file.delete_row_count)),
        ("_EMBEDDED_FILE_INDEX".into(), nullable(None)),
        ("_FILE_SOURCE".into(), nullable(Some(Value::Int(file.source as i32)))),
        ("_VALUE_STATS_COLS".into(), nullable(file.value_stats_cols.as_deref().map(avro::texts))),
        ("_EXTERNAL_PATH".into(), nullable(None)),
        ("_FIRST_ROW_ID".into(), nullable(None)),
        ("_WRITE_COLS".into(), nullable(None)),
    ]);
    Value::Record(vec![
        ("_VERSION".into(), Value::Int(VERSION)),
        ("_KIND".into(), Value::Int(line.kind as i32)),
        ("_PARTITION".into(), avro::row(partition)),
        ("_BUCKET".into(), Value::Int(*bucket)),
        ("_TOTAL_BUCKETS".into(), Value::Int(*total_buckets)),
        ("_FILE".into(), file),
    ])
}

fn entry_of(mut fields: Fields) -> Result<ManifestEntry, AvroError> {
    check_version(&mut fields)?;
    let kind = match fields.int("_KIND")? {
        0 => EntryKind::Add,
        1 => EntryKind::Delete,
        other => return Err(unknown("_KIND", other)),
    };
    let mut file = fields.record("_FILE")?;
    for unserved in ["_EMBEDDED_FILE_INDEX", "_EXTERNAL_PATH", "_FIRST_ROW_ID", "_WRITE_COLS"] {
        file.refuse(unserved)?;
    }
    let source = match file.int_or_null("_FILE_SOURCE")? {
        None | Some(0) => FileSource::Append,
        Some(1) => FileSource::Compact,
        Some(other) => return Err(unknown("_FILE_SOURCE", other)),
    };
    let row_count = file.long("_ROW_COUNT")?;
    // Absent in old files, and then every row may be a delete.
    let delete_row_count = file.long_or_null("_DELETE_ROW_COUNT")?.unwrap_or(row_count);
    let file = DataFileMeta {
        file_name: file.text("_FILE_NAME")?,
        file_size: file.long("_FILE_SIZE")?,
        row_count,
        min_key: file.row("_MIN_KEY")?,
        max_key: file.row("_MAX_KEY")?,
        key_stats: file.stats("_KEY_STATS")?,
        value_stats: file.stats("_VALUE_STATS")?,
        min_sequence: file.long("_MIN_SEQUENCE_NUMBER")?,
        max_sequence: file.long("_MAX_SEQUENCE_NUMBER")?,
        schema_id: file.long("_SCHEMA_ID")?,
        level: file.int("_LEVEL")?,
        extra_files: file.texts_or_null("_EXTRA_FILES")?.unwrap_or_default(),
        creation_time_ms: file.long_or_null("_CREATION_TIME")?.unwrap_or(0),
        delete_row_count,
        source,
        value_stats_cols: file.texts_or_null("_VALUE_STATS_COLS")?,
    };
    Ok(ManifestEntry {
        kind,
        entry: FileEntry {
            partition: fields.row("_PARTITION")?,
            bucket: fields.int("_BUCKET")?,
            total_buckets: fields.int("_TOTAL_BUCKETS")?,
            file,
        },
    })
}

fn meta_value(meta: &ManifestMeta) -> Value {
    let int = |number: Option<i32>| nullable(number.map(Value::Int));
    Value::Record(vec![
        ("_VERSION".into(), Value::Int(VERSION)),
        ("_FILE_NAME".into(), Value::String(meta.file_name.clone())),
        ("_FILE_SIZE".into(), Value::Long(meta.file_size)),
        ("_NUM_ADDED_FILES".into(), Value::Long(meta.added_count)),
        ("_NUM_DELETED_FILES".into(), Value::Long(meta.deleted_count)),
        ("_PARTITION_STATS".into(), avro::stats(&meta.partition_stats)),
        ("_SCHEMA_ID".into(), Value::Long(meta.schema_id)),
        ("_MIN_BUCKET".into(), int(meta.buckets.map(|(min, _)| min))),
        ("_MAX_BUCKET".into(), int(meta.buckets.map(|(_, max)| max))),
        ("_MIN_LEVEL".into(), int(meta.levels.map(|(min, _)| min))),
        ("_MAX_LEVEL".into(), int(meta.levels.map(|(_, max)| max))),
        ("_MIN_ROW_ID".into(), nullable(None)),
        ("_MAX_ROW_ID".into(), nullable(None)),
    ])
}

fn meta_of(mut fields: Fields) -> Result<ManifestMeta, AvroError> {
    check_version(&mut fields)?;
    fields.refuse("_MIN_ROW_ID")?;
    let buckets = fields.int_or_null("_MIN_BUCKET")?.zip(fields.int_or_null("_MAX_BUCKET")?);
    let levels = fields.int_or_null("_MIN_LEVEL")?.zip(fields.int_or_null("_MAX_LEVEL")?);
    Ok(ManifestMeta {
        file_name: fields.text("_FILE_NAME")?,
        file_size: fields.long("_FILE_SIZE")?,
        added_count: fields.long("_NUM_ADDED_FILES")?,
        deleted_count: fields.long("_NUM_DELETED_FILES")?,
        partition_stats: fields.stats("_PARTITION_STATS")?,
        schema_id: fields.long("_SCHEMA_ID")?,
        buckets,
        levels,
    })
}

fn check_version(fields: &mut Fields) -> Result<(), AvroError> {
    match fields.int("_VERSION")? {
        VERSION => Ok(()),
        other => Err(unknown("_VERSION", other)),
    }
}

fn unknown(field: &str, found: i32) -> AvroError {
    AvroError::Unknown { field: field.into(), found: i64::from(found) }
}
