//! PURE over bytes. What a segment's files hold, with a checksum, so that a sealed segment need not
//! be read again at a start. Big-endian; a cache: what does not fit is made anew from the log.
//!
//! ```text
//! "WSUM" | version u16 | base offset i64 | next offset i64 | log bytes u64 | first timestamp i64
//! | max timestamp i64 | last append i64 | CRC-32 of .index u32 | of .timeindex u32
//! | CRC-32 of the above u32
//! ```
use weir_protocol::records::Offset;
use weir_protocol::records::batch::BatchHeader;

const MAGIC: &[u8; 4] = b"WSUM";
const VERSION: u16 = 1;
const BYTES: usize = 66;

/// What a segment holds.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Contents {
    /// The offset of its first record, and its name.
    pub base_offset: Offset,
    /// The offset after its last.
    pub next_offset: Offset,
    /// Bytes of its batches.
    pub size_bytes: u64,
    /// The time that its first batch bears; -1 when none does.
    pub first_timestamp_ms: i64,
    /// The latest time that a record bears; -1 when none does.
    pub max_timestamp_ms: i64,
    /// When it last grew, by the broker's clock.
    pub last_append_ms: i64,
}

impl Contents {
    /// Those of an empty segment.
    #[must_use]
    pub fn empty(base_offset: Offset, now_ms: i64) -> Contents {
        Contents {
            base_offset,
            next_offset: base_offset,
            size_bytes: 0,
            first_timestamp_ms: -1,
            max_timestamp_ms: -1,
            last_append_ms: now_ms,
        }
    }

    /// Adds a batch at the end.
    pub fn add(&mut self, header: &BatchHeader, now_ms: i64) {
        if self.size_bytes == 0 {
            self.first_timestamp_ms = header.max_timestamp_ms;
        }
        self.next_offset = header.last_offset().next();
        self.size_bytes += header.size_bytes() as u64;
        self.max_timestamp_ms = self.max_timestamp_ms.max(header.max_timestamp_ms);
        self.last_append_ms = now_ms;
    }
}

/// The contents of a segment and the checksums of its indexes.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) struct Summary {
    pub(super) contents: Contents,
    pub(super) index_checksum: u32,
    pub(super) time_index_checksum: u32,
}

impl Summary {
    /// The file.
    pub(super) fn to_bytes(self) -> Vec<u8> {
        let Contents {
            base_offset,
            next_offset,
            size_bytes,
            first_timestamp_ms,
            max_timestamp_ms,
            last_append_ms,
        } = self.contents;
        let mut bytes = Vec::with_capacity(BYTES);
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&VERSION.to_be_bytes());
        let fields = [
            base_offset.0.cast_unsigned(),
            next_offset.0.cast_unsigned(),
            size_bytes,
            first_timestamp_ms.cast_unsigned(),
            max_timestamp_ms.cast_unsigned(),
            last_append_ms.cast_unsigned(),
        ];
        bytes.extend(fields.iter().flat_map(|field| field.to_be_bytes()));
        bytes.extend_from_slice(&self.index_checksum.to_be_bytes());
        bytes.extend_from_slice(&self.time_index_checksum.to_be_bytes());
        let checksum = crc32fast::hash(&bytes);
        bytes.extend_from_slice(&checksum.to_be_bytes());
        bytes
    }

    /// What a file says; `None` when it is damaged or of another version.
    pub(super) fn parse(bytes: &[u8]) -> Option<Summary> {
        let (body, checksum) = bytes.split_last_chunk::<4>()?;
        let known = crc32fast::hash(body) == u32::from_be_bytes(*checksum);
        let fields = body.strip_prefix(MAGIC)?.strip_prefix(&VERSION.to_be_bytes())?;
        if !known || bytes.len() != BYTES {
            return None;
        }
        let (numbers, checksums) = fields.as_chunks::<8>();
        let number = |place: usize| i64::from_be_bytes(numbers[place]);
        // The two checksums are the last chunk of eight; nothing is left over.
        let (sums, _) = numbers.last()?.as_chunks::<4>();
        checksums.is_empty().then(|| Summary {
            contents: Contents {
                base_offset: Offset(number(0)),
                next_offset: Offset(number(1)),
                size_bytes: number(2).cast_unsigned(),
                first_timestamp_ms: number(3),
                max_timestamp_ms: number(4),
                last_append_ms: number(5),
            },
            index_checksum: u32::from_be_bytes(sums[0]),
            time_index_checksum: u32::from_be_bytes(sums[1]),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_reads_back_the_same_and_every_flipped_bit_is_seen() {
        let summary = Summary {
            contents: Contents {
                base_offset: Offset(1),
                next_offset: Offset(2),
                size_bytes: 3,
                first_timestamp_ms: -1,
                max_timestamp_ms: 5,
                last_append_ms: 6,
            },
            index_checksum: 7,
            time_index_checksum: 8,
        };
        let bytes = summary.to_bytes();
        assert_eq!(bytes.len(), BYTES);
        assert_eq!(Summary::parse(&bytes), Some(summary));
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Summary::parse(&flipped), None, "bit {bit}");
        }
    }
}
