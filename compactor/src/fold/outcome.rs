//! What may become of a record in the fold, and why a fold cannot go on.

use weir_protocol::records::Offset;

use crate::data_file::columns::RowError;

/// What is wrong with a record although it could be decoded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadRecord {
    /// A key column is null or missing: the row cannot be found again.
    #[error("primary key column `{column}` is null or missing")]
    NullKey {
        /// The column.
        column: String,
    },
    /// The folder of its table partition cannot be made.
    #[error(
        "partition column `{column}`: a folder for this value needs a name of {bytes} bytes, and \
         {bytes_max} are possible"
    )]
    LongPartition {
        /// The column.
        column: String,
        /// Bytes that the name would have.
        bytes: usize,
        /// Bytes that it may have.
        bytes_max: usize,
    },
    /// A value does not fit its column.
    #[error(transparent)]
    Row(#[from] RowError),
}

/// What became of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is in, and counted.
    Taken,
    /// It lies before the fold's place: dropped, not counted.
    Before,
    /// It is not in and not counted: quarantine it or halt.
    Bad(BadRecord),
}

/// Why a fold cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum FoldError {
    /// Offsets between the fold's place and the batch would never be folded.
    #[error(
        "partition {partition}: the next batch begins at offset {found}, but the fold stands at \
         {next}: offsets in between would be lost"
    )]
    Gap {
        /// The partition of the topic.
        partition: i32,
        /// The next offset to fold.
        next: Offset,
        /// Where the batch begins.
        found: Offset,
    },
    /// A record lies outside the batch that it is said to come from.
    #[error("partition {partition}: offset {offset} is not in the batch that was begun")]
    OutsideBatch {
        /// The partition of the topic.
        partition: i32,
        /// The record's offset.
        offset: Offset,
    },
    /// Nobody asked in time whether the fold is ripe: the row does not fit in any more.
    #[error("partition {partition}, offset {offset}: the rows that wait take too much memory")]
    Full {
        /// The partition of the topic.
        partition: i32,
        /// The record's offset.
        offset: Offset,
    },
    /// Nobody said where the partition begins.
    #[error("partition {partition} has no place to fold from")]
    UnknownPartition {
        /// The partition of the topic.
        partition: i32,
    },
}
