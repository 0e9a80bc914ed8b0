//! Takes records out of a batch: what the log cleaner writes in its place.
//!
//! Offsets, sequences, times, keys, values and headers of what stays are those of before, byte for
//! byte; so are base offset, last offset delta, leader epoch and producer of the batch. Only these
//! change: the records that are there and their count, the latest timestamp, the length and the
//! checksum; and, when tombstones get a delete horizon, the base timestamp and the deltas to it.
//!
//! ```text
//! before  base offset 7, last offset delta 3 | 7 a=1 | 8 b=1 | 9 a=2 | 10 b=2 |
//! after   base offset 7, last offset delta 3 |               | 9 a=2 |        |
//! emptied base offset 7, last offset delta 3, no record: where the batch must stay reachable
//! ```
use std::ops::Range;

use bytes::{BufMut, Bytes, BytesMut};

use super::batch::{
    COMPRESSION_BITS, CRC_START, DELETE_HORIZON_BIT, HEADER_BYTES, LENGTH_END, RecordBatch,
};
use super::builder::{put_varint, put_varlong};
use super::compression::Compression;
use super::record::Cursor;
use super::{BatchError, Offset, RecordFault};

/// Says that a batch has no base timestamp.
const NO_TIMESTAMP: i64 = -1;

/// A batch whose records are looked at one by one, and some of them taken out.
#[derive(Debug)]
pub struct Thinning<'a> {
    batch: &'a RecordBatch,
    bytes: Bytes,
    records: Vec<Place>,
    count_before: usize,
}

/// Where a record lies.
#[derive(Clone, Debug)]
struct Place {
    /// With its length.
    whole: Range<usize>,
    /// Its attributes; the timestamp delta follows them.
    attributes: u8,
    /// Its offset delta and all after that.
    rest: Range<usize>,
    offset: Offset,
    timestamp_ms: i64,
    key: Option<Range<usize>>,
    has_value: bool,
}

/// What is asked of a record, whether it stays.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Candidate<'a> {
    /// Its number in the partition.
    pub offset: Offset,
    /// What it is about.
    pub key: Option<&'a [u8]>,
    /// Whether it says something; without, it is a tombstone.
    pub has_value: bool,
}

impl<'a> Thinning<'a> {
    /// Looks at every record of a batch, decompressed to at most so many bytes.
    ///
    /// # Errors
    /// When a record is broken, or lies outside the batch's offsets.
    pub fn of(batch: &'a RecordBatch, bytes_max: usize) -> Result<Thinning<'a>, BatchError> {
        let base = batch.base()?;
        let bytes = batch.decompressed(bytes_max)?;
        let last_delta = batch.header().last_offset_delta;
        let mut records = Vec::new();
        let (mut cursor, mut delta_min) = (Cursor::new(&bytes), 0);
        for index in 0..base.record_count {
            let fault = |fault| BatchError::Record { index, fault };
            let start = cursor.position();
            let layout = cursor.record().map_err(fault)?;
            cursor.check_headers(&layout).map_err(fault)?;
            if !(delta_min..=last_delta).contains(&layout.offset_delta) {
                return Err(fault(RecordFault::OffsetDelta));
            }
            delta_min = layout.offset_delta.saturating_add(1);
            records.push(Place {
                whole: start..cursor.position(),
                attributes: bytes[start + varint_bytes(&bytes[start..])],
                rest: layout.offset_delta_at..cursor.position(),
                offset: base.base_offset.plus(i64::from(layout.offset_delta)),
                timestamp_ms: base.timestamp_ms(layout.timestamp_delta),
                key: layout.key,
                has_value: layout.value.is_some(),
            });
        }
        if cursor.left() > 0 {
            return Err(BatchError::TrailingRecords { count: cursor.left() });
        }
        let count_before = records.len();
        Ok(Thinning { batch, bytes, records, count_before })
    }

    /// The records that are left.
    pub fn records(&self) -> impl Iterator<Item = Candidate<'_>> {
        self.records.iter().map(|place| candidate(&self.bytes, place))
    }

    /// Takes out all for which `stays` says no.
    pub fn retain(&mut self, mut stays: impl FnMut(Candidate<'_>) -> bool) {
        let bytes = &self.bytes;
        self.records.retain(|place| stays(candidate(bytes, place)));
    }

    /// How many records are left.
    #[must_use]
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether none is left.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Whether a record was taken out.
    #[must_use]
    pub fn is_thinned(&self) -> bool {
        self.records.len() < self.count_before
    }

    /// The batch with the records that are left, compressed by its own codec. A `horizon_ms` is
    /// the time after which its tombstones may go; it takes the place of the base timestamp.
    ///
    /// # Errors
    /// When they do not compress.
    ///
    /// # Panics
    /// When no record is left: see [`emptied`].
    pub fn finish(&self, horizon_ms: Option<i64>) -> Result<RecordBatch, BatchError> {
        assert!(!self.is_empty(), "a batch without records is emptied, not thinned");
        let header = self.batch.header();
        let base_timestamp_ms = horizon_ms.unwrap_or(header.base_timestamp_ms);
        let mut records = Vec::new();
        match horizon_ms {
            None => {
                for place in &self.records {
                    records.extend_from_slice(&self.bytes[place.whole.clone()]);
                }
            }
            // The deltas of a LogAppendTime batch mean nothing: its times are the batch's.
            Some(horizon_ms) => {
                let mut record = Vec::new();
                for place in &self.records {
                    record.clear();
                    record.push(place.attributes);
                    put_varlong(&mut record, place.timestamp_ms.wrapping_sub(horizon_ms));
                    record.extend_from_slice(&self.bytes[place.rest.clone()]);
                    put_varint(&mut records, count(record.len()));
                    records.extend_from_slice(&record);
                }
            }
        }
        let records = match header.compression()? {
            Compression::None => records,
            codec => codec.compress(&records)?,
        };
        let latest_ms = self.records.iter().map(|place| place.timestamp_ms).max();
        let max_timestamp_ms = match latest_ms {
            Some(latest_ms) if !header.has_log_append_time() => latest_ms,
            _ => header.max_timestamp_ms,
        };
        let attributes = match horizon_ms {
            Some(_) => header.attributes | DELETE_HORIZON_BIT,
            None => header.attributes,
        };
        let times = (base_timestamp_ms, max_timestamp_ms);
        Ok(written(self.batch, attributes, times, count(self.records.len()), &records))
    }
}

/// The batch as a header alone: its offsets and its producer's last sequence stay known.
#[must_use]
pub fn emptied(batch: &RecordBatch) -> RecordBatch {
    let header = batch.header();
    let attributes = header.attributes & !(COMPRESSION_BITS | DELETE_HORIZON_BIT);
    written(batch, attributes, (NO_TIMESTAMP, header.max_timestamp_ms), 0, &[])
}

/// A batch without records, without a producer and without a time, which bears these offsets.
///
/// # Panics
/// When they are more than a batch can bear, or none.
#[must_use]
pub fn empty_batch(first: Offset, last: Offset, leader_epoch: i32) -> RecordBatch {
    let delta = i32::try_from(last - first).ok().filter(|delta| *delta >= 0);
    let delta = delta.expect("a batch bears 1 to 2^31 offsets");
    let mut bytes = BytesMut::with_capacity(HEADER_BYTES);
    bytes.put_i64(first.0);
    bytes.put_i32(count(HEADER_BYTES - LENGTH_END));
    bytes.put_i32(leader_epoch);
    bytes.put_i8(2);
    bytes.put_u32(0);
    bytes.put_i16(0);
    bytes.put_i32(delta);
    bytes.put_i64(NO_TIMESTAMP);
    bytes.put_i64(NO_TIMESTAMP);
    bytes.put_i64(-1);
    bytes.put_i16(-1);
    bytes.put_i32(-1);
    bytes.put_i32(0);
    let crc = crc32c::crc32c(&bytes[CRC_START..]);
    bytes[17..CRC_START].copy_from_slice(&crc.to_be_bytes());
    RecordBatch::parse(bytes.freeze()).expect("its length and magic are right")
}

/// The header of `batch` with what has changed, and these records.
pub(super) fn written(
    batch: &RecordBatch,
    attributes: i16,
    (base_timestamp_ms, max_timestamp_ms): (i64, i64),
    record_count: i32,
    records: &[u8],
) -> RecordBatch {
    let mut bytes = BytesMut::with_capacity(HEADER_BYTES + records.len());
    bytes.put_slice(&batch.bytes()[..HEADER_BYTES]);
    let length = count(HEADER_BYTES - LENGTH_END + records.len());
    bytes[8..LENGTH_END].copy_from_slice(&length.to_be_bytes());
    bytes[CRC_START..23].copy_from_slice(&attributes.to_be_bytes());
    bytes[27..35].copy_from_slice(&base_timestamp_ms.to_be_bytes());
    bytes[35..43].copy_from_slice(&max_timestamp_ms.to_be_bytes());
    bytes[57..HEADER_BYTES].copy_from_slice(&record_count.to_be_bytes());
    bytes.put_slice(records);
    let crc = crc32c::crc32c(&bytes[CRC_START..]);
    bytes[17..CRC_START].copy_from_slice(&crc.to_be_bytes());
    RecordBatch::parse(bytes.freeze()).expect("its length and magic are right")
}

fn candidate<'a>(bytes: &'a Bytes, place: &Place) -> Candidate<'a> {
    let key = place.key.clone().map(|range| &bytes[range]);
    Candidate { offset: place.offset, key, has_value: place.has_value }
}

/// Bytes of the variable-length number with which these begin; it was read before.
fn varint_bytes(bytes: &[u8]) -> usize {
    bytes.iter().take_while(|byte| **byte & 0x80 != 0).count() + 1
}

fn count(count: usize) -> i32 {
    i32::try_from(count).expect("no batch grows past 2 GiB")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::records::builder::BatchBuilder;

    const BYTES_MAX: usize = 1 << 20;

    /// Offsets 100..106 of producer 7, keys a and b in turn; the last is a tombstone.
    fn batch(compression: Compression) -> RecordBatch {
        let mut builder = BatchBuilder::new(compression).producer(7, 2, 40);
        for index in 0..6_i64 {
            let key: &[u8] = if index % 2 == 0 { b"a" } else { b"b" };
            let value = index.to_be_bytes();
            let value = (index < 5).then_some(&value[..]);
            builder.append(1000 - index, Some(key), value, &[("h", Some(b"1")), ("h", None)]);
        }
        let sent = RecordBatch::parse(builder.finish()).unwrap();
        let header = sent.assigned_header(Offset(100), 3);
        let bytes = [&header[..], &sent.bytes()[HEADER_BYTES..]].concat();
        RecordBatch::parse(bytes.into()).unwrap()
    }

    #[test]
    fn what_stays_is_as_it_was_in_every_codec_with_and_without_a_horizon() {
        for codec in Compression::ALL {
            let before = batch(codec);
            let all: Vec<_> = before.records(BYTES_MAX).unwrap().collect::<Result<_, _>>().unwrap();
            for horizon_ms in [None, Some(86_400_000)] {
                let mut thinning = Thinning::of(&before, BYTES_MAX).unwrap();
                thinning.retain(|record| record.offset.0 % 3 != 1);
                assert!(thinning.is_thinned() && thinning.len() == 4);
                let after = thinning.finish(horizon_ms).unwrap();
                after.check_crc().unwrap();
                let left: Vec<_> =
                    after.records(BYTES_MAX).unwrap().collect::<Result<_, _>>().unwrap();
                let wanted: Vec<_> =
                    all.iter().filter(|record| record.offset.0 % 3 != 1).cloned().collect();
                assert_eq!(left, wanted, "{codec:?}");
                let (old, new) = (before.header(), after.header());
                assert_eq!(new.compression(), old.compression());
                assert_eq!(
                    (new.base_offset, new.last_offset(), new.leader_epoch, new.base_sequence),
                    (old.base_offset, old.last_offset(), old.leader_epoch, old.base_sequence)
                );
                assert_eq!((new.last_sequence(), new.max_timestamp_ms), (45, 999));
                assert_eq!(new.has_delete_horizon(), horizon_ms.is_some());
            }
        }
    }

    #[test]
    fn an_emptied_batch_keeps_its_offsets_and_its_sequence() {
        for codec in Compression::ALL {
            let before = batch(codec);
            let after = emptied(&before);
            after.check_crc().unwrap();
            assert_eq!(after.bytes().len(), HEADER_BYTES);
            assert_eq!(after.records(BYTES_MAX).unwrap().count(), 0);
            let (old, new) = (before.header(), after.header());
            assert_eq!((new.base_offset, new.last_offset()), (old.base_offset, old.last_offset()));
            assert_eq!((new.producer_id, new.last_sequence()), (7, 45));
        }
    }

    #[test]
    fn the_bytes_of_a_thinned_batch_are_these() {
        let before = batch(Compression::None);
        let mut thinning = Thinning::of(&before, BYTES_MAX).unwrap();
        thinning.retain(|record| record.offset == Offset(105));
        let after = thinning.finish(Some(2000)).unwrap();
        let mut wanted: Vec<u8> = Vec::new();
        wanted.extend([0, 0, 0, 0, 0, 0, 0, 100, 0, 0, 0, 65, 0, 0, 0, 3, 2]);
        wanted.extend(after.header().crc.to_be_bytes());
        wanted.extend([0, 1 << 6, 0, 0, 0, 5]);
        wanted.extend(2000_i64.to_be_bytes());
        wanted.extend(995_i64.to_be_bytes());
        wanted.extend(7_i64.to_be_bytes());
        wanted.extend([0, 2, 0, 0, 0, 40, 0, 0, 0, 1]);
        // Length 15; attributes; -1005; offset delta 5; key b; no value; two headers.
        wanted.extend([30, 0, 0xd9, 0x0f, 10, 2, b'b', 1, 4, 2, b'h', 2, b'1', 2, b'h', 1]);
        assert_eq!(after.bytes()[..], wanted);
        assert_eq!(after.header().crc, crc32c::crc32c(&wanted[21..]));
    }

    #[test]
    fn records_outside_the_batch_are_refused() {
        let before = batch(Compression::None);
        let mut bytes = BytesMut::from(&before.bytes()[..]);
        bytes[23..27].copy_from_slice(&4_i32.to_be_bytes());
        let short = RecordBatch::parse(bytes.freeze()).unwrap();
        let refused = Thinning::of(&short, BYTES_MAX).unwrap_err();
        let fault = RecordFault::OffsetDelta;
        assert_eq!(refused, BatchError::Record { index: 5, fault });
    }
}
