//! PURE. May this batch be appended: the checks in Kafka's order, each with Kafka's answer.
//!
//! The header and the checksum are looked at always; the records only where the topic asks for it.
use std::borrow::Cow;

use bytes::BytesMut;
use kafka_protocol::error::ResponseError;
use weir_protocol::records::batch::{BatchHeader, HEADER_BYTES, RecordBatch};
use weir_protocol::records::compression::Compression;
use weir_protocol::records::recompression::recompressed;
use weir_protocol::records::{BatchError, Offset};

use crate::log::config::{LogConfig, Recompression, TimestampType};

/// The most that the records of one batch may decompress to when they are walked.
pub const DECOMPRESSED_BYTES_MAX: usize = 32 << 20;

/// The least that a record takes: lengths and deltas of a byte each, no key, value or header.
const RECORD_BYTES_MIN: usize = 7;

/// Says that a record has no time.
const NO_TIMESTAMP: i64 = -1;

/// Who made a batch.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A client: it may only send data.
    Client,
    /// A client, within a transaction that its coordinator has found open.
    Transaction,
    /// The same, where each transaction has an epoch of its own.
    BumpingTransaction,
    /// The broker itself: its internal topics, and markers of its own coordinator.
    Broker,
    /// Somebody else who ends a transaction: an operator, or another broker.
    Marker,
}

impl Origin {
    fn is_client(self) -> bool {
        matches!(self, Origin::Client | Origin::Transaction | Origin::BumpingTransaction)
    }
}

/// Why a batch is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidBatch {
    /// Offsets are the broker's to give.
    #[error("the batch has base offset {found}, a producer's batch has 0")]
    BaseOffset {
        /// What it has.
        found: Offset,
    },
    /// It is bigger than the topic allows.
    #[error("the batch has {found} bytes, max.message.bytes is {bytes_max}")]
    TooLarge {
        /// Its size.
        found: usize,
        /// The topic's bound.
        bytes_max: u32,
    },
    /// It fits into no segment.
    #[error("the batch has {found} bytes, segment.bytes is {bytes_max}")]
    LargerThanSegment {
        /// Its size.
        found: usize,
        /// The topic's bound.
        bytes_max: u32,
    },
    /// Its bytes are not those that were sent.
    #[error("the batch is corrupt: {0}")]
    Corrupt(BatchError),
    /// A count in its header cannot be.
    #[error("the batch claims {count} records and last offset delta {last_offset_delta}")]
    Count {
        /// How many records it claims.
        count: i32,
        /// And where the last one stands.
        last_offset_delta: i32,
    },
    /// Control batches are the broker's.
    #[error("a producer must not send control batches")]
    Control,
    /// Transactions need a coordinator, which has not heard of this one.
    #[error("the batch belongs to a transaction that is not open")]
    Transaction,
    /// A producer id without a sequence.
    #[error("producer {producer_id} sent sequence {base_sequence}")]
    Sequence {
        /// Whose.
        producer_id: i64,
        /// What it sent.
        base_sequence: i32,
    },
    /// A codec that nobody knows.
    #[error("{0}")]
    Compression(BatchError),
    /// The append time is the broker's to give.
    #[error("a producer must not set the LogAppendTime bit")]
    AppendTime,
    /// A record claims to be from too far away.
    #[error("timestamp {timestamp_ms} is outside {oldest_ms}..={newest_ms}")]
    Timestamp {
        /// What a record claims.
        timestamp_ms: i64,
        /// The oldest that is taken.
        oldest_ms: i64,
        /// The newest that is taken.
        newest_ms: i64,
    },
    /// A compacted topic keeps the newest record of each key, and this one has none.
    #[error("record {index} has no key, which a compacted topic asks for")]
    NoKey {
        /// Which one, from 0.
        index: i32,
    },
    /// Its records are not what the header says.
    #[error("the batch's records are invalid: {0}")]
    Records(BatchError),
}

impl InvalidBatch {
    /// Which record is to blame, from 0, where it is one.
    #[must_use]
    pub fn record_index(&self) -> Option<i32> {
        match self {
            InvalidBatch::NoKey { index }
            | InvalidBatch::Records(BatchError::Record { index, .. }) => Some(*index),
            _ => None,
        }
    }

    /// The code for the client.
    #[must_use]
    pub fn error_code(&self) -> ResponseError {
        match self {
            InvalidBatch::TooLarge { .. } => ResponseError::MessageTooLarge,
            InvalidBatch::LargerThanSegment { .. } => ResponseError::RecordListTooLarge,
            InvalidBatch::Corrupt(_) => ResponseError::CorruptMessage,
            InvalidBatch::Compression(_) => ResponseError::UnsupportedCompressionType,
            InvalidBatch::Transaction => ResponseError::InvalidTxnState,
            InvalidBatch::AppendTime | InvalidBatch::Timestamp { .. } => {
                ResponseError::InvalidTimestamp
            }
            InvalidBatch::BaseOffset { .. }
            | InvalidBatch::Count { .. }
            | InvalidBatch::Control
            | InvalidBatch::Sequence { .. }
            | InvalidBatch::NoKey { .. }
            | InvalidBatch::Records(_) => ResponseError::InvalidRecord,
        }
    }
}

/// Checks a batch and returns what to append: the batch itself; or, where the topic bears the time
/// of the append or asks for another codec, or the header lied about the latest timestamp, a copy
/// that says so. What the topic does not ask about is not looked at beyond the header.
///
/// # Errors
/// The first check that it fails.
pub fn validate<'a>(
    batch: &'a RecordBatch,
    config: &LogConfig,
    origin: Origin,
    now_ms: i64,
) -> Result<Cow<'a, RecordBatch>, InvalidBatch> {
    check_header(batch, config, origin)?;
    let header = batch.header();
    let is_client = origin.is_client();
    let recompression = config.recompression.filter(|wanted| {
        // The broker's own batches, its markers above all, are not compressed.
        is_client && header.compression() != Ok(wanted.codec)
    });
    let mut times = (header.base_timestamp_ms, header.max_timestamp_ms);
    if config.validates_records || recompression.is_some() {
        let records = batch.check_records(DECOMPRESSED_BYTES_MAX).map_err(InvalidBatch::Records)?;
        times = (records.min_timestamp_ms, records.max_timestamp_ms);
        if let Some(index) = records.first_keyless.filter(|_| config.compacts) {
            return Err(InvalidBatch::NoKey { index });
        }
    }
    let mut taken = Cow::Borrowed(batch);
    if let Some(Recompression { codec, level }) = recompression {
        let anew = recompressed(batch, codec, level, DECOMPRESSED_BYTES_MAX);
        taken = Cow::Owned(anew.map_err(InvalidBatch::Records)?);
        check_size(taken.bytes().len(), config)?;
    }
    if config.timestamp_type == TimestampType::LogAppendTime {
        return Ok(Cow::Owned(taken.with_log_append_time(now_ms)));
    }
    if is_client {
        check_times(times, config, now_ms)?;
    }
    if times.1 != header.max_timestamp_ms {
        taken = Cow::Owned(with_max_timestamp(&taken, times.1));
    }
    Ok(taken)
}

fn check_times(
    (earliest_ms, latest_ms): (i64, i64),
    config: &LogConfig,
    now_ms: i64,
) -> Result<(), InvalidBatch> {
    let oldest_ms = now_ms.saturating_sub(config.timestamp_before_max_ms);
    let newest_ms = now_ms.saturating_add(config.timestamp_after_max_ms);
    for timestamp_ms in [earliest_ms, latest_ms] {
        let is_near = (oldest_ms..=newest_ms).contains(&timestamp_ms);
        if timestamp_ms != NO_TIMESTAMP && !is_near {
            return Err(InvalidBatch::Timestamp { timestamp_ms, oldest_ms, newest_ms });
        }
    }
    Ok(())
}

/// Once more, of a batch that was compressed anew.
fn check_size(found: usize, config: &LogConfig) -> Result<(), InvalidBatch> {
    if found > config.batch_bytes_max as usize {
        return Err(InvalidBatch::TooLarge { found, bytes_max: config.batch_bytes_max });
    }
    if found > config.segment_bytes as usize {
        return Err(InvalidBatch::LargerThanSegment { found, bytes_max: config.segment_bytes });
    }
    Ok(())
}

fn check_header(
    batch: &RecordBatch,
    config: &LogConfig,
    origin: Origin,
) -> Result<(), InvalidBatch> {
    let BatchHeader { record_count: count, last_offset_delta, base_sequence, producer_id, .. } =
        *batch.header();
    let header = batch.header();
    let found = batch.bytes().len();
    let is_client = origin.is_client();
    if is_client && header.base_offset != Offset(0) {
        return Err(InvalidBatch::BaseOffset { found: header.base_offset });
    }
    if is_client && found > config.batch_bytes_max as usize {
        return Err(InvalidBatch::TooLarge { found, bytes_max: config.batch_bytes_max });
    }
    batch.check_crc().map_err(InvalidBatch::Corrupt)?;
    if count <= 0 || last_offset_delta != count - 1 {
        return Err(InvalidBatch::Count { count, last_offset_delta });
    }
    if is_client && header.is_control() {
        return Err(InvalidBatch::Control);
    }
    if origin == Origin::Client && header.is_transactional() {
        return Err(InvalidBatch::Transaction);
    }
    if is_client && producer_id >= 0 && base_sequence < 0 {
        return Err(InvalidBatch::Sequence { producer_id, base_sequence });
    }
    let compression = header.compression().map_err(InvalidBatch::Compression)?;
    // A count that the bytes cannot hold would burn offsets by the billion.
    let records_bytes = match compression {
        Compression::None => found - HEADER_BYTES,
        _ => DECOMPRESSED_BYTES_MAX,
    };
    if usize::try_from(count).unwrap_or(usize::MAX) > records_bytes / RECORD_BYTES_MIN {
        return Err(InvalidBatch::Count { count, last_offset_delta });
    }
    if is_client && header.has_log_append_time() {
        return Err(InvalidBatch::AppendTime);
    }
    if found > config.segment_bytes as usize {
        return Err(InvalidBatch::LargerThanSegment { found, bytes_max: config.segment_bytes });
    }
    Ok(())
}

/// The same batch with the latest time that its records really bear. This is a copy.
fn with_max_timestamp(batch: &RecordBatch, max_timestamp_ms: i64) -> RecordBatch {
    let mut bytes = BytesMut::from(&batch.bytes()[..]);
    bytes[35..43].copy_from_slice(&max_timestamp_ms.to_be_bytes());
    let crc = crc32c::crc32c(&bytes[21..]);
    bytes[17..21].copy_from_slice(&crc.to_be_bytes());
    RecordBatch::parse(bytes.freeze()).expect("neither its size nor its magic was touched")
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_protocol::records::builder::BatchBuilder;

    const NOW_MS: i64 = 10_000_000;

    fn batch(times: &[i64]) -> RecordBatch {
        let mut builder = BatchBuilder::new(Compression::None).producer(1, 0, 0);
        for time in times {
            builder.append(*time, Some(b"key"), Some(b"value"), &[]);
        }
        RecordBatch::parse(builder.finish()).unwrap()
    }

    /// The same batch with other header bytes, and the checksum that fits them.
    fn with(batch: &RecordBatch, position: usize, bytes: &[u8]) -> RecordBatch {
        let mut changed = BytesMut::from(&batch.bytes()[..]);
        changed[position..position + bytes.len()].copy_from_slice(bytes);
        let crc = crc32c::crc32c(&changed[21..]);
        changed[17..21].copy_from_slice(&crc.to_be_bytes());
        RecordBatch::parse(changed.freeze()).unwrap()
    }

    /// The same batch, which claims so many records.
    fn claiming(batch: &RecordBatch, count: i32) -> RecordBatch {
        let claimed = with(batch, 57, &count.to_be_bytes());
        with(&claimed, 23, &(count - 1).to_be_bytes())
    }

    #[test]
    fn as_many_records_are_believed_as_the_bytes_can_hold() {
        let mut builder = BatchBuilder::new(Compression::None);
        for _ in 0..10 {
            builder.append(NOW_MS, None, None, &[]);
        }
        let smallest = RecordBatch::parse(builder.finish()).unwrap();
        assert_eq!(smallest.bytes().len(), HEADER_BYTES + 10 * RECORD_BYTES_MIN);
        let config = LogConfig { validates_records: false, ..LogConfig::default() };
        assert_eq!(refusal(&smallest, &config), None);
        let more = claiming(&smallest, 11);
        assert_eq!(refusal(&more, &config), Some(ResponseError::InvalidRecord));
    }

    fn refusal(batch: &RecordBatch, config: &LogConfig) -> Option<ResponseError> {
        validate(batch, config, Origin::Client, NOW_MS).err().map(|error| error.error_code())
    }

    #[test]
    fn each_fault_has_kafkas_code() {
        let good = batch(&[NOW_MS, NOW_MS]);
        let config = LogConfig::default();
        assert_eq!(refusal(&good, &config), None);
        let small = LogConfig { batch_bytes_max: 80, ..config.clone() };
        let short = LogConfig { segment_bytes: 80, ..config.clone() };
        let mut corrupt = BytesMut::from(&good.bytes()[..]);
        corrupt[70] ^= 1;
        let corrupt = RecordBatch::parse(corrupt.freeze()).unwrap();
        let cases = [
            (
                "base offset",
                with(&good, 0, &5_i64.to_be_bytes()),
                &config,
                ResponseError::InvalidRecord,
            ),
            ("size", good.clone(), &small, ResponseError::MessageTooLarge),
            ("size before checksum", corrupt.clone(), &small, ResponseError::MessageTooLarge),
            ("checksum", corrupt, &config, ResponseError::CorruptMessage),
            ("count", with(&good, 57, &3_i32.to_be_bytes()), &config, ResponseError::InvalidRecord),
            (
                "count beyond the bytes",
                claiming(&good, i32::MAX),
                &config,
                ResponseError::InvalidRecord,
            ),
            (
                "no records",
                with(&good, 57, &0_i32.to_be_bytes()),
                &config,
                ResponseError::InvalidRecord,
            ),
            (
                "last delta",
                with(&good, 23, &7_i32.to_be_bytes()),
                &config,
                ResponseError::InvalidRecord,
            ),
            ("negative delta", with(&good, 23, &[0xff; 4]), &config, ResponseError::InvalidRecord),
            ("control bit", with(&good, 22, &[1 << 5]), &config, ResponseError::InvalidRecord),
            ("transaction", with(&good, 22, &[1 << 4]), &config, ResponseError::InvalidTxnState),
            (
                "sequence",
                with(&good, 53, &(-1_i32).to_be_bytes()),
                &config,
                ResponseError::InvalidRecord,
            ),
            ("codec", with(&good, 22, &[7]), &config, ResponseError::UnsupportedCompressionType),
            ("append time", with(&good, 22, &[1 << 3]), &config, ResponseError::InvalidTimestamp),
            ("segment", good.clone(), &short, ResponseError::RecordListTooLarge),
        ];
        for (fault, batch, config, code) in cases {
            assert_eq!(refusal(&batch, config), Some(code), "{fault}");
        }
    }

    #[test]
    fn times_are_bound_on_both_sides_and_absent_ones_pass() {
        let config = LogConfig {
            timestamp_before_max_ms: 500,
            timestamp_after_max_ms: 100,
            ..LogConfig::default()
        };
        let refused = |times: &[i64]| refusal(&batch(times), &config).is_some();
        assert!(!refused(&[NOW_MS - 500, NOW_MS + 100]) && !refused(&[-1]));
        assert!(refused(&[NOW_MS + 101]) && refused(&[NOW_MS - 501]));
        assert!(!refused(&[NOW_MS]) && refused(&[NOW_MS, NOW_MS + 101]));
    }

    #[test]
    fn records_are_walked_only_where_the_topic_asks_for_it() {
        let good = batch(&[NOW_MS, NOW_MS]);
        // The second record claims to be longer than it is.
        let second = HEADER_BYTES + (good.bytes().len() - HEADER_BYTES) / 2;
        let bad = with(&good, second, &[0x7e]);
        let walked = LogConfig { validates_records: true, ..LogConfig::default() };
        assert_eq!(refusal(&bad, &LogConfig::default()), None);
        assert_eq!(refusal(&bad, &walked), Some(ResponseError::InvalidRecord));
        assert_eq!(refusal(&good, &walked), None);
    }

    #[test]
    fn a_compacted_topic_refuses_a_record_without_a_key_by_its_index() {
        let mut builder = BatchBuilder::new(Compression::Zstd);
        builder.append(NOW_MS, Some(b"key"), None, &[]);
        builder.append(NOW_MS, None, Some(b"value"), &[]);
        let batch = RecordBatch::parse(builder.finish()).unwrap();
        for timestamp_type in [TimestampType::CreateTime, TimestampType::LogAppendTime] {
            let walked =
                LogConfig { validates_records: true, timestamp_type, ..LogConfig::default() };
            assert_eq!(refusal(&batch, &walked), None);
            let compacted = LogConfig { compacts: true, ..walked };
            let refused = validate(&batch, &compacted, Origin::Client, NOW_MS).unwrap_err();
            assert_eq!(refused, InvalidBatch::NoKey { index: 1 });
            assert_eq!(refused.record_index(), Some(1));
            assert_eq!(refused.error_code(), ResponseError::InvalidRecord);
        }
    }

    #[test]
    fn a_latest_time_that_is_not_the_records_is_put_right() {
        let good = batch(&[NOW_MS - 5, NOW_MS - 3]);
        let lies = with(&good, 35, &(NOW_MS + 50).to_be_bytes());
        let walked = LogConfig { validates_records: true, ..LogConfig::default() };
        let taken = validate(&lies, &walked, Origin::Client, NOW_MS).unwrap();
        assert_eq!(taken.bytes(), good.bytes());
        let as_it_is = validate(&lies, &LogConfig::default(), Origin::Client, NOW_MS).unwrap();
        assert!(matches!(as_it_is, Cow::Borrowed(_)));
    }

    #[test]
    fn a_topic_gets_the_codec_that_it_asks_for_and_nothing_else_changes() {
        let mut builder = BatchBuilder::new(Compression::Lz4).producer(3, 1, 9);
        for _ in 0..30 {
            builder.append(NOW_MS, None, Some(&[7; 100]), &[]);
        }
        let sent = RecordBatch::parse(builder.finish()).unwrap();
        let asks = |codec| LogConfig {
            recompression: Some(Recompression { codec, level: None }),
            ..LogConfig::default()
        };
        let taken = |config: &LogConfig, origin| validate(&sent, config, origin, NOW_MS);
        let same = asks(Compression::Lz4);
        assert!(matches!(taken(&same, Origin::Client), Ok(Cow::Borrowed(_))));
        let broker = taken(&asks(Compression::Zstd), Origin::Broker);
        assert!(matches!(broker, Ok(Cow::Borrowed(_))));
        for codec in [Compression::Zstd, Compression::Gzip, Compression::None] {
            let anew = taken(&asks(codec), Origin::Client).unwrap();
            anew.check_crc().unwrap();
            let (old, new) = (sent.header(), anew.header());
            assert_eq!((new.compression(), new.record_count), (Ok(codec), 30));
            assert_eq!((new.producer_id, new.base_sequence), (old.producer_id, old.base_sequence));
            assert_eq!(new.max_timestamp_ms, old.max_timestamp_ms);
        }
        let small = LogConfig { batch_bytes_max: 2000, ..asks(Compression::None) };
        let refused = taken(&small, Origin::Client).unwrap_err();
        assert_eq!(refused.error_code(), ResponseError::MessageTooLarge);
    }

    #[test]
    fn where_records_are_walked_each_of_them_must_be_near_in_time() {
        let walked = LogConfig {
            validates_records: true,
            timestamp_before_max_ms: 500,
            timestamp_after_max_ms: 100,
            ..LogConfig::default()
        };
        let refused = |times: &[i64]| refusal(&batch(times), &walked).is_some();
        assert!(!refused(&[NOW_MS, NOW_MS - 500, NOW_MS + 100]) && !refused(&[NOW_MS, -1]));
        assert!(refused(&[NOW_MS, NOW_MS - 501, NOW_MS]));
        assert!(refused(&[NOW_MS, NOW_MS + 101, NOW_MS]));
    }

    #[test]
    fn the_broker_itself_may_write_control_batches() {
        let control = with(&batch(&[NOW_MS]), 22, &[1 << 5 | 1 << 4]);
        let config = LogConfig::default();
        assert!(validate(&control, &config, Origin::Broker, NOW_MS).is_ok());
    }
}
