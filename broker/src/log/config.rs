//! What an operator may choose for one log. Names and defaults are Kafka's.
use weir_protocol::records::compression::Compression;

/// The codec that a log's batches get, whatever the producer chose.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Recompression {
    /// `compression.type`; `uncompressed` is none.
    pub codec: Compression,
    /// `compression.gzip.level` or `compression.zstd.level`.
    pub level: Option<i32>,
}

/// Whose time a record bears.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum TimestampType {
    /// The producer's.
    CreateTime,
    /// That of the append.
    LogAppendTime,
}

/// The settings of one log.
#[derive(Clone, Debug, PartialEq)]
pub struct LogConfig {
    /// `segment.bytes`: a segment is rolled before it grows past this. Also the address space that
    /// one map takes.
    pub segment_bytes: u32,
    /// `segment.ms`: a segment is rolled when its records span more, or it is that old.
    pub segment_ms: i64,
    /// `segment.index.bytes`: a segment is rolled when an index of it is that big.
    pub segment_index_bytes: u32,
    /// `index.interval.bytes`: how much of a segment lies between two index entries.
    pub index_interval_bytes: u32,
    /// `retention.ms`: older segments go. Absent: none does for its age.
    pub retention_ms: Option<i64>,
    /// `retention.bytes`: the oldest segments go while at least this much stays. Absent: none does.
    pub retention_bytes: Option<i64>,
    /// `max.message.bytes`: the biggest batch that is taken.
    pub batch_bytes_max: u32,
    /// `compression.type`: batches in another codec are compressed anew. Absent: they are kept as
    /// the producer sent them.
    pub recompression: Option<Recompression>,
    /// `message.timestamp.type`.
    pub timestamp_type: TimestampType,
    /// `message.timestamp.before.max.ms`: how old a record may claim to be.
    pub timestamp_before_max_ms: i64,
    /// `message.timestamp.after.max.ms`: how far in the future a record may claim to be.
    pub timestamp_after_max_ms: i64,
    /// Whether `cleanup.policy` has `delete`: only then do age and size retire segments.
    pub deletes: bool,
    /// Whether `cleanup.policy` has `compact`: the cleaner keeps the newest record of each key, and
    /// a record without a key is refused.
    pub compacts: bool,
    /// `min.cleanable.dirty.ratio`: the share of the log that must be dirty before it is cleaned.
    pub dirty_ratio_min: f64,
    /// `min.compaction.lag.ms`: a segment with a younger record is left alone.
    pub compaction_lag_min_ms: i64,
    /// `max.compaction.lag.ms`: a log with an older dirty record is cleaned whatever its ratio.
    pub compaction_lag_max_ms: i64,
    /// `delete.retention.ms`: how long tombstones and transaction markers stay once they are clean.
    pub delete_retention_ms: i64,
    /// Whether every record of a batch is walked, not only its header: for topics that are tables
    /// or compacted.
    pub validates_records: bool,
    /// `file.delete.delay.ms`: how long a retired segment's file stays, renamed.
    pub file_delete_delay_ms: i64,
}

impl Default for LogConfig {
    fn default() -> LogConfig {
        LogConfig {
            segment_bytes: 1 << 30,
            segment_ms: 7 * DAY_MS,
            segment_index_bytes: 10 << 20,
            index_interval_bytes: 4096,
            retention_ms: Some(7 * DAY_MS),
            retention_bytes: None,
            batch_bytes_max: (1 << 20) + 12,
            recompression: None,
            timestamp_type: TimestampType::CreateTime,
            timestamp_before_max_ms: i64::MAX,
            timestamp_after_max_ms: 60 * 60 * 1000,
            deletes: true,
            compacts: false,
            dirty_ratio_min: 0.5,
            compaction_lag_min_ms: 0,
            compaction_lag_max_ms: i64::MAX,
            delete_retention_ms: DAY_MS,
            validates_records: false,
            file_delete_delay_ms: 60_000,
        }
    }
}

const DAY_MS: i64 = 24 * 60 * 60 * 1000;
