//! Record batches, version 2: the unit that is written, stored and read, byte for byte.
//!
//! ```text
//!  0  base_offset            i64   given by the broker          \
//!  8  batch_length           i32   bytes after this field        | not covered by the checksum
//! 12  partition_leader_epoch i32   given by the broker           |
//! 16  magic                  i8    2                             |
//! 17  crc                    u32   CRC-32C of all that follows  /
//! 21  attributes             i16   bits 0-2 codec, 3 LogAppendTime, 4 transactional, 5 control,
//!                                  6 delete horizon
//! 23  last_offset_delta      i32
//! 27  base_timestamp         i64
//! 35  max_timestamp          i64
//! 43  producer_id            i64   -1: none
//! 51  producer_epoch         i16
//! 53  base_sequence          i32
//! 57  record_count           i32
//! 61  records                      compressed as a whole, if at all
//! ```
//!
//! Nothing here believes a length that the bytes do not bear out.
pub mod batch;
pub mod builder;
pub mod compression;
pub mod control;
pub mod recompression;
pub mod record;
pub mod thinning;

use std::fmt;
use std::ops::Sub;

use compression::CompressionError;

/// The number of a record in its partition; never a byte position.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Offset(pub i64);

impl Offset {
    /// The offset `delta` records further. Stays at the end of the number line rather than wrap:
    /// offsets arrive from the network too.
    #[must_use]
    pub fn plus(self, delta: i64) -> Offset {
        Offset(self.0.saturating_add(delta))
    }

    /// The offset after this one.
    #[must_use]
    pub fn next(self) -> Offset {
        self.plus(1)
    }
}

impl Sub for Offset {
    type Output = i64;

    fn sub(self, other: Offset) -> i64 {
        self.0.saturating_sub(other.0)
    }
}

impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Why bytes are not a record batch.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    /// The bytes end before the batch does.
    #[error("the batch needs {needed} bytes, {available} are there")]
    Truncated {
        /// Bytes that the batch says it has.
        needed: usize,
        /// Bytes that are there.
        available: usize,
    },
    /// Not a batch of format version 2.
    #[error("magic is {magic}, only 2 is known")]
    Magic {
        /// What stands in byte 16.
        magic: i8,
    },
    /// A length below that of a header.
    #[error("batch length {batch_length} is less than a header takes")]
    Length {
        /// What the header says.
        batch_length: i32,
    },
    /// More than the one batch that was expected.
    #[error("{count} bytes follow the batch")]
    Trailing {
        /// How many.
        count: usize,
    },
    /// The bytes are not those that the producer checked.
    #[error("checksum {stored:08x} is stored, the bytes give {computed:08x}")]
    Checksum {
        /// What the header says.
        stored: u32,
        /// What the bytes give.
        computed: u32,
    },
    /// A codec that nobody has named yet.
    #[error("compression codec {code} is not known")]
    UnknownCompression {
        /// The low three bits of the attributes.
        code: u8,
    },
    /// The records do not decompress.
    #[error(transparent)]
    Compression(#[from] CompressionError),
    /// The header's record count cannot be.
    #[error("record count is {count}")]
    Count {
        /// What the header says.
        count: i32,
    },
    /// The header's count and last offset delta disagree.
    #[error("{count} records, but the last offset delta is {last_offset_delta}")]
    CountMismatch {
        /// What the header says.
        count: i32,
        /// What the header says beside it.
        last_offset_delta: i32,
    },
    /// One record of the batch is broken.
    #[error("record {index}: {fault}")]
    Record {
        /// Which one, from 0.
        index: i32,
        /// What is wrong with it.
        fault: RecordFault,
    },
    /// Bytes are left after the last record.
    #[error("{count} bytes follow the last record")]
    TrailingRecords {
        /// How many.
        count: usize,
    },
}

/// What can be wrong with one record.
#[derive(Copy, Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordFault {
    /// It ends before its fields do, or its batch ends before it does.
    #[error("it is cut short")]
    Truncated,
    /// A variable-length number with more bytes than its type can have.
    #[error("a number in it is too long")]
    Number,
    /// A length below -1, or below 0 where null is not allowed.
    #[error("a length in it is negative")]
    NegativeLength,
    /// Its fields end before it does.
    #[error("its length is more than its fields take")]
    Length,
    /// The offset delta is not the one that follows.
    #[error("its offset delta does not follow")]
    OffsetDelta,
}
