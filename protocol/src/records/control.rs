//! Markers: the control batches that end a transaction in a partition. PURE.
//!
//! ```text
//! key    version i16 (0) | type i16: 0 abort, 1 commit
//! value  version i16 (0) | coordinator epoch i32
//! ```
//!
//! One record in a batch of its own, transactional and control bits set, without a sequence; it
//! takes one offset.

use bytes::{Bytes, BytesMut};

use super::batch::RecordBatch;
use super::builder::BatchBuilder;
use super::compression::Compression;

const ATTRIBUTES: i16 = 1 << 4 | 1 << 5;
const MARKER_BYTES_MAX: usize = 1 << 10;

/// How a transaction ends.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Marker {
    /// Its records never count.
    Abort,
    /// Its records count.
    Commit,
}

/// A batch that ends the transaction of a producer, by the word of a coordinator of that epoch.
#[must_use]
pub fn marker_batch(
    producer_id: i64,
    producer_epoch: i16,
    marker: Marker,
    coordinator_epoch: i32,
    now_ms: i64,
) -> Bytes {
    let kind: u8 = match marker {
        Marker::Abort => 0,
        Marker::Commit => 1,
    };
    let mut builder =
        BatchBuilder::new(Compression::None).producer(producer_id, producer_epoch, -1);
    let mut value = [0; 6];
    value[2..].copy_from_slice(&coordinator_epoch.to_be_bytes());
    builder.append(now_ms, Some(&[0, 0, 0, kind]), Some(&value), &[]);
    with_attributes(&builder.finish(), ATTRIBUTES)
}

/// A batch that was built, as part of a transaction.
#[must_use]
pub fn transactional(batch: &Bytes) -> Bytes {
    with_attributes(batch, 1 << 4)
}

fn with_attributes(batch: &Bytes, attributes: i16) -> Bytes {
    let mut bytes = BytesMut::from(&batch[..]);
    let before = i16::from_be_bytes([bytes[21], bytes[22]]);
    bytes[21..23].copy_from_slice(&(before | attributes).to_be_bytes());
    let crc = crc32c::crc32c(&bytes[21..]);
    bytes[17..21].copy_from_slice(&crc.to_be_bytes());
    bytes.freeze()
}

/// What a control batch says; `None`: it is none, or says something else.
#[must_use]
pub fn marker_of(batch: &RecordBatch) -> Option<Marker> {
    told_by(batch).map(|(marker, _)| marker)
}

/// The same, with the epoch of the coordinator that says so; -1 where it does not tell.
#[must_use]
pub fn told_by(batch: &RecordBatch) -> Option<(Marker, i32)> {
    if !batch.header().is_control() {
        return None;
    }
    let record = batch.records(MARKER_BYTES_MAX).ok()?.next()?.ok()?;
    let marker = match record.key?.get(2..4)? {
        [0, 0] => Marker::Abort,
        [0, 1] => Marker::Commit,
        _ => return None,
    };
    let value = record.value.unwrap_or_default();
    let coordinator_epoch = value.get(2..6).and_then(|bytes| bytes.try_into().ok());
    Some((marker, coordinator_epoch.map_or(-1, i32::from_be_bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_marker_reads_back_and_is_whole() {
        for marker in [Marker::Abort, Marker::Commit] {
            let batch = RecordBatch::parse(marker_batch(7, 3, marker, 5, 99)).unwrap();
            batch.check_crc().unwrap();
            let header = batch.header();
            assert!(header.is_control() && header.is_transactional());
            assert_eq!(
                (header.producer_id, header.producer_epoch, header.base_sequence),
                (7, 3, -1)
            );
            assert_eq!(marker_of(&batch), Some(marker));
            assert_eq!(told_by(&batch), Some((marker, 5)));
        }
        let mut builder = BatchBuilder::new(Compression::None).producer(7, 3, 0);
        builder.append(1, Some(b"\0\0\0\x01"), None, &[]);
        let data = RecordBatch::parse(transactional(&builder.finish())).unwrap();
        data.check_crc().unwrap();
        assert!(data.header().is_transactional());
        assert_eq!(marker_of(&data), None);
    }
}
