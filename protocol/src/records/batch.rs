//! A checked view over the bytes of one record batch.
//!
//! Its bytes are those that the producer sent, and they stay so: on the way to the disk only the
//! base offset and the leader epoch are filled in, on a copy of the 61 header bytes. The checksum
//! covers neither. LogAppendTime is the exception, and makes a new batch.
use bytes::{Bytes, BytesMut};

use super::compression::Compression;
use super::record::{Base, Cursor, Records};
use super::{BatchError, Offset, RecordFault};

/// Bytes of a header, up to the first record.
pub const HEADER_BYTES: usize = 61;

/// Bytes before those that `batch_length` counts.
pub(super) const LENGTH_END: usize = 12;
/// The least that `batch_length` can say.
const BATCH_LENGTH_MIN: i32 = 49;
/// Where the bytes begin that the checksum covers.
pub(super) const CRC_START: usize = 21;
const MAGIC: i8 = 2;

pub(super) const COMPRESSION_BITS: i16 = 0b111;
pub(super) const LOG_APPEND_TIME_BIT: i16 = 1 << 3;
const TRANSACTIONAL_BIT: i16 = 1 << 4;
const CONTROL_BIT: i16 = 1 << 5;
pub(super) const DELETE_HORIZON_BIT: i16 = 1 << 6;

/// The header of a batch, field by field, as it stands in the bytes.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the drawing of a batch in `records` names each of them")]
pub struct BatchHeader {
    pub base_offset: Offset,
    pub batch_length: i32,
    pub leader_epoch: i32,
    pub magic: i8,
    pub crc: u32,
    pub attributes: i16,
    pub last_offset_delta: i32,
    pub base_timestamp_ms: i64,
    pub max_timestamp_ms: i64,
    pub producer_id: i64,
    pub producer_epoch: i16,
    pub base_sequence: i32,
    pub record_count: i32,
}

impl BatchHeader {
    /// Reads a header. Its counts are not judged here, only what tells where the batch ends.
    ///
    /// # Errors
    /// Fewer than 61 bytes, another magic than 2, or a length below that of a header.
    pub fn parse(bytes: &[u8]) -> Result<BatchHeader, BatchError> {
        let header: &[u8; HEADER_BYTES] = bytes
            .first_chunk()
            .ok_or(BatchError::Truncated { needed: HEADER_BYTES, available: bytes.len() })?;
        let magic = i8::from_be_bytes(field(header, 16));
        if magic != MAGIC {
            return Err(BatchError::Magic { magic });
        }
        let batch_length = i32::from_be_bytes(field(header, 8));
        if batch_length < BATCH_LENGTH_MIN {
            return Err(BatchError::Length { batch_length });
        }
        Ok(BatchHeader {
            base_offset: Offset(i64::from_be_bytes(field(header, 0))),
            batch_length,
            leader_epoch: i32::from_be_bytes(field(header, 12)),
            magic,
            crc: u32::from_be_bytes(field(header, 17)),
            attributes: i16::from_be_bytes(field(header, CRC_START)),
            last_offset_delta: i32::from_be_bytes(field(header, 23)),
            base_timestamp_ms: i64::from_be_bytes(field(header, 27)),
            max_timestamp_ms: i64::from_be_bytes(field(header, 35)),
            producer_id: i64::from_be_bytes(field(header, 43)),
            producer_epoch: i16::from_be_bytes(field(header, 51)),
            base_sequence: i32::from_be_bytes(field(header, 53)),
            record_count: i32::from_be_bytes(field(header, 57)),
        })
    }

    /// Bytes of the whole batch, header included.
    #[must_use]
    pub fn size_bytes(&self) -> usize {
        LENGTH_END + usize::try_from(self.batch_length).expect("parse refuses short lengths")
    }

    /// The offset of the last record that the batch was made with.
    #[must_use]
    pub fn last_offset(&self) -> Offset {
        self.base_offset.plus(i64::from(self.last_offset_delta))
    }

    /// How the records are compressed.
    ///
    /// # Errors
    /// A codec that is not known.
    pub fn compression(&self) -> Result<Compression, BatchError> {
        let code = (self.attributes & COMPRESSION_BITS).to_be_bytes()[1];
        Compression::from_code(code).ok_or(BatchError::UnknownCompression { code })
    }

    /// Whether it belongs to a transaction.
    #[must_use]
    pub fn is_transactional(&self) -> bool {
        self.attributes & TRANSACTIONAL_BIT != 0
    }

    /// Whether its records are markers for the broker and the consumer, not data.
    #[must_use]
    pub fn is_control(&self) -> bool {
        self.attributes & CONTROL_BIT != 0
    }

    /// Whether every record's time is that of the append, which is `max_timestamp_ms`.
    #[must_use]
    pub fn has_log_append_time(&self) -> bool {
        self.attributes & LOG_APPEND_TIME_BIT != 0
    }

    /// Whether `base_timestamp_ms` is the time after which its tombstones may go.
    #[must_use]
    pub fn has_delete_horizon(&self) -> bool {
        self.attributes & DELETE_HORIZON_BIT != 0
    }

    /// The producer sequence of its last record; -1 without an idempotent producer.
    #[must_use]
    pub fn last_sequence(&self) -> i32 {
        if self.base_sequence < 0 {
            return -1;
        }
        sequence_after(self.base_sequence, self.last_offset_delta.max(0))
    }
}

/// The producer sequence `count` records after `sequence`: after the greatest comes 0.
///
/// # Panics
/// When either is negative.
#[must_use]
pub fn sequence_after(sequence: i32, count: i32) -> i32 {
    assert!(sequence >= 0 && count >= 0, "sequence {sequence} and count {count} are not negative");
    // Both are below 2^31, so their sum as unsigned does not overflow.
    let sum = sequence.cast_unsigned() + count.cast_unsigned();
    (sum & i32::MAX.cast_unsigned()).cast_signed()
}

/// A field of `N` bytes from `start` on.
fn field<const N: usize>(header: &[u8; HEADER_BYTES], start: usize) -> [u8; N] {
    header[start..].first_chunk().copied().expect("each field lies inside the header")
}

/// What a walk over all records of a batch found.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct RecordsSummary {
    /// The latest record's time; -1 in an empty batch.
    pub max_timestamp_ms: i64,
    /// The earliest record's time, those left out that bear none; -1 when none does.
    pub min_timestamp_ms: i64,
    /// The first record without a key, counted from 0.
    pub first_keyless: Option<i32>,
    /// How many records there are.
    pub count: i32,
}

/// Exactly one whole batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordBatch {
    header: BatchHeader,
    bytes: Bytes,
}

impl RecordBatch {
    /// The batch that these bytes are, no more and no less.
    ///
    /// # Errors
    /// When they are not, or not yet, or more than that.
    pub fn parse(bytes: Bytes) -> Result<RecordBatch, BatchError> {
        let batch = RecordBatch::first_of(&bytes)?;
        let count = bytes.len() - batch.bytes.len();
        if count > 0 { Err(BatchError::Trailing { count }) } else { Ok(batch) }
    }

    /// The batch with which these bytes begin.
    ///
    /// # Errors
    /// [`BatchError::Truncated`] when it is not whole; others when it is none.
    pub fn first_of(bytes: &Bytes) -> Result<RecordBatch, BatchError> {
        let header = BatchHeader::parse(bytes)?;
        let needed = header.size_bytes();
        if needed > bytes.len() {
            return Err(BatchError::Truncated { needed, available: bytes.len() });
        }
        Ok(RecordBatch { header, bytes: bytes.slice(..needed) })
    }

    /// Its header.
    #[must_use]
    pub fn header(&self) -> &BatchHeader {
        &self.header
    }

    /// Its bytes, header included.
    #[must_use]
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// Whether the bytes are those that the checksum was made of.
    ///
    /// # Errors
    /// When they are not.
    pub fn check_crc(&self) -> Result<(), BatchError> {
        let computed = crc32c::crc32c(&self.bytes[CRC_START..]);
        let stored = self.header.crc;
        if computed == stored { Ok(()) } else { Err(BatchError::Checksum { stored, computed }) }
    }

    /// The header bytes with base offset and leader epoch filled in; the checksum stays true.
    #[must_use]
    pub fn assigned_header(&self, base_offset: Offset, leader_epoch: i32) -> [u8; HEADER_BYTES] {
        let mut header: [u8; HEADER_BYTES] =
            self.bytes.first_chunk().copied().expect("parse took no fewer bytes");
        header[..8].copy_from_slice(&base_offset.0.to_be_bytes());
        header[LENGTH_END..16].copy_from_slice(&leader_epoch.to_be_bytes());
        header
    }

    /// The same batch with the time of its append. This is a copy, and has a new checksum.
    #[must_use]
    pub fn with_log_append_time(&self, now_ms: i64) -> RecordBatch {
        let mut bytes = BytesMut::from(&self.bytes[..]);
        let attributes = self.header.attributes | LOG_APPEND_TIME_BIT;
        bytes[CRC_START..23].copy_from_slice(&attributes.to_be_bytes());
        bytes[35..43].copy_from_slice(&now_ms.to_be_bytes());
        let crc = crc32c::crc32c(&bytes[CRC_START..]);
        bytes[17..CRC_START].copy_from_slice(&crc.to_be_bytes());
        let header = BatchHeader { attributes, max_timestamp_ms: now_ms, crc, ..self.header };
        RecordBatch { header, bytes: bytes.freeze() }
    }

    /// The records, decompressed to at most so many bytes; slices of the batch where it is not
    /// compressed.
    ///
    /// # Errors
    /// When they do not decompress in that bound.
    pub fn records(&self, decompressed_bytes_max: usize) -> Result<Records, BatchError> {
        let bytes = self.decompressed(decompressed_bytes_max)?;
        Ok(Records::new(bytes, self.base()?))
    }

    /// Walks every record: lengths, headers, offset deltas that count from 0 up without a gap, and
    /// as many records as the header says. A batch that passes decodes to the last byte.
    ///
    /// # Errors
    /// The first thing that is not so.
    pub fn check_records(
        &self,
        decompressed_bytes_max: usize,
    ) -> Result<RecordsSummary, BatchError> {
        let BatchHeader { record_count: count, last_offset_delta, .. } = self.header;
        let base = self.base()?;
        if count - 1 != last_offset_delta {
            return Err(BatchError::CountMismatch { count, last_offset_delta });
        }
        let bytes = self.decompressed(decompressed_bytes_max)?;
        let mut cursor = Cursor::new(&bytes);
        let mut summary = RecordsSummary {
            max_timestamp_ms: -1,
            min_timestamp_ms: -1,
            first_keyless: None,
            count,
        };
        for index in 0..count {
            let fault = |fault| BatchError::Record { index, fault };
            let layout = cursor.record().map_err(fault)?;
            if layout.offset_delta != index {
                return Err(fault(RecordFault::OffsetDelta));
            }
            cursor.check_headers(&layout).map_err(fault)?;
            let timestamp_ms = base.timestamp_ms(layout.timestamp_delta);
            summary.max_timestamp_ms = summary.max_timestamp_ms.max(timestamp_ms);
            if timestamp_ms != -1 {
                summary.min_timestamp_ms = match summary.min_timestamp_ms {
                    -1 => timestamp_ms,
                    earliest_ms => earliest_ms.min(timestamp_ms),
                };
            }
            if layout.key.is_none() && summary.first_keyless.is_none() {
                summary.first_keyless = Some(index);
            }
        }
        match cursor.left() {
            0 => Ok(summary),
            count => Err(BatchError::TrailingRecords { count }),
        }
    }

    pub(super) fn base(&self) -> Result<Base, BatchError> {
        let count = self.header.record_count;
        if count < 0 {
            return Err(BatchError::Count { count });
        }
        Ok(Base {
            base_offset: self.header.base_offset,
            base_timestamp_ms: self.header.base_timestamp_ms,
            append_time_ms: self
                .header
                .has_log_append_time()
                .then_some(self.header.max_timestamp_ms),
            record_count: count,
        })
    }

    /// The records' bytes; a batch without records may have none, whatever its codec.
    pub(super) fn decompressed(&self, bytes_max: usize) -> Result<Bytes, BatchError> {
        let records = self.bytes.slice(HEADER_BYTES..);
        match self.header.compression()? {
            _ if records.is_empty() => Ok(records),
            Compression::None => Ok(records),
            codec => Ok(codec.decompress(&records, bytes_max)?),
        }
    }
}

/// The batches that these bytes hold one after the other. A trailing batch that is cut short, as a
/// fetch may end with, ends the walk quietly; anything else that is no batch ends it with an error.
#[must_use]
pub fn batches(bytes: Bytes) -> Batches {
    Batches { rest: bytes }
}

/// The walk over batches.
#[derive(Debug)]
pub struct Batches {
    rest: Bytes,
}

impl Iterator for Batches {
    type Item = Result<RecordBatch, BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let first = RecordBatch::first_of(&self.rest);
        match &first {
            Ok(batch) => self.rest = self.rest.slice(batch.bytes.len()..),
            Err(_) => self.rest = Bytes::new(),
        }
        match first {
            Err(BatchError::Truncated { .. }) => None,
            other => Some(other),
        }
    }
}

#[cfg(test)]
mod tests;
