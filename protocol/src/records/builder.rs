//! Makes batches: for internal topics, for tests and for the load generator.
//!
//! What comes out is what a producer sends: base offset 0, leader epoch -1.
use bytes::{BufMut, Bytes, BytesMut};

use super::batch::HEADER_BYTES;
use super::compression::Compression;

/// Gathers records and writes them as one batch.
#[derive(Clone, Debug)]
pub struct BatchBuilder {
    compression: Compression,
    producer_id: i64,
    producer_epoch: i16,
    base_sequence: i32,
    base_timestamp_ms: i64,
    max_timestamp_ms: i64,
    record_count: i32,
    records: Vec<u8>,
    scratch: Vec<u8>,
}

impl BatchBuilder {
    /// A batch without records and without a producer id.
    #[must_use]
    pub fn new(compression: Compression) -> BatchBuilder {
        BatchBuilder {
            compression,
            producer_id: -1,
            producer_epoch: -1,
            base_sequence: -1,
            base_timestamp_ms: -1,
            max_timestamp_ms: -1,
            record_count: 0,
            records: Vec::new(),
            scratch: Vec::new(),
        }
    }

    /// The idempotent producer that sends it, and the sequence of its first record.
    #[must_use]
    pub fn producer(mut self, id: i64, epoch: i16, base_sequence: i32) -> BatchBuilder {
        self.producer_id = id;
        self.producer_epoch = epoch;
        self.base_sequence = base_sequence;
        self
    }

    /// Adds a record.
    ///
    /// # Panics
    /// When the record or the batch grows past 2 GiB, more than any broker takes.
    pub fn append(
        &mut self,
        timestamp_ms: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[(&str, Option<&[u8]>)],
    ) {
        if self.record_count == 0 {
            self.base_timestamp_ms = timestamp_ms;
        }
        self.max_timestamp_ms = self.max_timestamp_ms.max(timestamp_ms);
        let record = &mut self.scratch;
        record.clear();
        record.push(0);
        put_varlong(record, timestamp_ms.wrapping_sub(self.base_timestamp_ms));
        put_varint(record, self.record_count);
        put_nullable(record, key);
        put_nullable(record, value);
        put_varint(record, length(headers.len()));
        for (name, value) in headers {
            put_nullable(record, Some(name.as_bytes()));
            put_nullable(record, *value);
        }
        put_varint(&mut self.records, length(record.len()));
        self.records.extend_from_slice(record);
        self.record_count += 1;
    }

    /// Records so far.
    #[must_use]
    pub fn record_count(&self) -> usize {
        usize::try_from(self.record_count).expect("it only counts up")
    }

    /// Bytes so far, header included, not compressed.
    #[must_use]
    pub fn size_bytes(&self) -> usize {
        HEADER_BYTES + self.records.len()
    }

    /// The batch as bytes.
    ///
    /// # Panics
    /// When it has no record.
    #[must_use]
    pub fn finish(self) -> Bytes {
        assert!(self.record_count > 0, "a batch has a record at least");
        let records = match self.compression {
            Compression::None => self.records,
            codec => codec.compress(&self.records).expect("what is in memory compresses"),
        };
        let mut bytes = BytesMut::with_capacity(HEADER_BYTES + records.len());
        bytes.put_i64(0);
        bytes.put_i32(length(HEADER_BYTES - 12 + records.len()));
        bytes.put_i32(-1);
        bytes.put_i8(2);
        bytes.put_u32(0);
        bytes.put_i16(self.compression as i16);
        bytes.put_i32(self.record_count - 1);
        bytes.put_i64(self.base_timestamp_ms);
        bytes.put_i64(self.max_timestamp_ms);
        bytes.put_i64(self.producer_id);
        bytes.put_i16(self.producer_epoch);
        bytes.put_i32(self.base_sequence);
        bytes.put_i32(self.record_count);
        bytes.put_slice(&records);
        let crc = crc32c::crc32c(&bytes[21..]);
        bytes[17..21].copy_from_slice(&crc.to_be_bytes());
        bytes.freeze()
    }
}

fn length(count: usize) -> i32 {
    i32::try_from(count).expect("no batch grows past 2 GiB")
}

fn put_nullable(out: &mut Vec<u8>, bytes: Option<&[u8]>) {
    match bytes {
        None => put_varint(out, -1),
        Some(bytes) => {
            put_varint(out, length(bytes.len()));
            out.extend_from_slice(bytes);
        }
    }
}

pub(super) fn put_varint(out: &mut Vec<u8>, value: i32) {
    put_varlong(out, i64::from(value));
}

/// Zig-zag: small numbers of either sign take few bytes. A varint is the same bytes as the varlong
/// of the same number.
pub(super) fn put_varlong(out: &mut Vec<u8>, value: i64) {
    let mut rest = ((value << 1) ^ (value >> 63)).cast_unsigned();
    while rest >= 0x80 {
        out.push((rest & 0x7f) as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}
