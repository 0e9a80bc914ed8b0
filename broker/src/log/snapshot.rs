//! PURE over bytes. The producers of a log as they were before an offset, with all their remembered
//! batches. Big-endian.
//!
//! ```text
//! "WPRO" | version u16 | producers u32
//! | per producer: id i64 | epoch i16 | last append i64 | open from i64 (-1: none; from version 2)
//!   | coordinator epoch i32 (from version 3, else -1) | batches u32
//!   | per batch: first sequence i32 | last sequence i32 | base offset i64 | last offset i64
//!     | log append time i64
//! | aborted transactions u32 (from version 2), each: producer id i64 | first i64 | marker i64
//! | CRC-32 of the above u32
//! ```
use std::collections::VecDeque;

use weir_protocol::records::Offset;

use crate::producers::{Aborted, ProducedBatch, Producer, Producers};

const MAGIC: &[u8; 4] = b"WPRO";
const VERSION: u16 = 3;

/// The file.
pub(super) fn write(producers: &Producers) -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&VERSION.to_be_bytes());
    bytes.extend_from_slice(&count(producers.len()));
    for (id, producer) in producers.iter() {
        bytes.extend_from_slice(&id.to_be_bytes());
        bytes.extend_from_slice(&producer.epoch.to_be_bytes());
        bytes.extend_from_slice(&producer.last_append_ms.to_be_bytes());
        bytes.extend_from_slice(&producer.open_from.map_or(-1, |open| open.0).to_be_bytes());
        bytes.extend_from_slice(&producer.coordinator_epoch.to_be_bytes());
        bytes.extend_from_slice(&count(producer.batches.len()));
        for batch in &producer.batches {
            bytes.extend_from_slice(&batch.first_sequence.to_be_bytes());
            bytes.extend_from_slice(&batch.last_sequence.to_be_bytes());
            bytes.extend_from_slice(&batch.base_offset.0.to_be_bytes());
            bytes.extend_from_slice(&batch.last_offset.0.to_be_bytes());
            bytes.extend_from_slice(&batch.log_append_time_ms.to_be_bytes());
        }
    }
    bytes.extend_from_slice(&count(producers.aborted().len()));
    for Aborted { producer_id, first, last } in producers.aborted() {
        bytes.extend_from_slice(&producer_id.to_be_bytes());
        bytes.extend_from_slice(&first.0.to_be_bytes());
        bytes.extend_from_slice(&last.0.to_be_bytes());
    }
    let checksum = crc32fast::hash(&bytes);
    bytes.extend_from_slice(&checksum.to_be_bytes());
    bytes
}

/// The producers in a file; `None` when it is damaged or of another version.
pub(super) fn read(bytes: &[u8], batches_remembered: usize) -> Option<Producers> {
    let (body, checksum) = bytes.split_last_chunk::<4>()?;
    if crc32fast::hash(body) != u32::from_be_bytes(*checksum) {
        return None;
    }
    let mut rest = body.strip_prefix(MAGIC)?;
    let version = u16::from_be_bytes(take(&mut rest)?);
    if !(1..=VERSION).contains(&version) {
        return None;
    }
    let mut producers = Producers::new(batches_remembered);
    for _ in 0..u32::from_be_bytes(take(&mut rest)?) {
        let id = i64::from_be_bytes(take(&mut rest)?);
        let epoch = i16::from_be_bytes(take(&mut rest)?);
        let last_append_ms = i64::from_be_bytes(take(&mut rest)?);
        let open_from = if version >= 2 { i64::from_be_bytes(take(&mut rest)?) } else { -1 };
        let open_from = (open_from >= 0).then_some(Offset(open_from));
        let coordinator_epoch =
            if version >= 3 { i32::from_be_bytes(take(&mut rest)?) } else { -1 };
        let mut batches = VecDeque::new();
        for _ in 0..u32::from_be_bytes(take(&mut rest)?) {
            batches.push_back(ProducedBatch {
                first_sequence: i32::from_be_bytes(take(&mut rest)?),
                last_sequence: i32::from_be_bytes(take(&mut rest)?),
                base_offset: Offset(i64::from_be_bytes(take(&mut rest)?)),
                last_offset: Offset(i64::from_be_bytes(take(&mut rest)?)),
                log_append_time_ms: i64::from_be_bytes(take(&mut rest)?),
            });
        }
        let producer = Producer { epoch, last_append_ms, batches, open_from, coordinator_epoch };
        producers.restore(id, producer);
    }
    let aborted_count = if version >= 2 { u32::from_be_bytes(take(&mut rest)?) } else { 0 };
    for _ in 0..aborted_count {
        producers.restore_aborted(Aborted {
            producer_id: i64::from_be_bytes(take(&mut rest)?),
            first: Offset(i64::from_be_bytes(take(&mut rest)?)),
            last: Offset(i64::from_be_bytes(take(&mut rest)?)),
        });
    }
    rest.is_empty().then_some(producers)
}

fn count(count: usize) -> [u8; 4] {
    u32::try_from(count).expect("fewer than 2^32 producers fit in memory").to_be_bytes()
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, left) = rest.split_first_chunk::<N>()?;
    *rest = left;
    Some(*taken)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::producers::BATCHES_REMEMBERED;

    #[test]
    fn producers_read_back_the_same_and_every_flipped_bit_is_seen() {
        let mut producers = Producers::new(BATCHES_REMEMBERED);
        for (id, batches) in [(7, 5), (1 << 40, 1)] {
            let batch = |number: i32| ProducedBatch {
                first_sequence: number * 10,
                last_sequence: number * 10 + 9,
                base_offset: Offset(i64::from(number) * 100),
                last_offset: Offset(i64::from(number) * 100 + 9),
                log_append_time_ms: -1,
            };
            let batches = (0..batches).map(batch).collect();
            let open_from = (id == 7).then_some(Offset(40));
            let (epoch, last_append_ms, coordinator_epoch) = (3, 99, 5);
            let producer =
                Producer { epoch, last_append_ms, batches, open_from, coordinator_epoch };
            producers.restore(id, producer);
        }
        let aborted = Aborted { producer_id: 9, first: Offset(3), last: Offset(8) };
        producers.restore_aborted(aborted);
        let bytes = write(&producers);
        assert_eq!(read(&bytes, BATCHES_REMEMBERED), Some(producers));
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(read(&flipped, BATCHES_REMEMBERED), None, "bit {bit}");
        }
    }
}
