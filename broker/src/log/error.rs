//! What can go wrong with a log, in words for the operator and codes for the client.
use std::io;

use kafka_protocol::error::ResponseError;
use uuid::Uuid;
use weir_protocol::records::{BatchError, Offset};

use crate::log::recovery::Damage;
use crate::log::validate::InvalidBatch;
use crate::producers::ProducerError;

/// The world's fault: a log cannot be opened, kept or deleted.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The operating system refuses.
    #[error("cannot {doing} {path}: {source}")]
    Disk {
        /// What was tried.
        doing: &'static str,
        /// With which file or folder of the data directory.
        path: String,
        /// What it says.
        source: io::Error,
    },
    /// The directory has failed before.
    #[error("the log directory is offline: {reason}")]
    Offline {
        /// The first failure.
        reason: String,
    },
    /// The data directory is another program's, or of a later version of this one.
    #[error("{path}: {reason}; use an empty directory, or the program that wrote this one")]
    Foreign {
        /// The file that says so.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The data directory is another broker's.
    #[error(
        "{path}: its node.id is {found}, this broker's is {asked}; set node.id={found}, or use another directory"
    )]
    OtherNode {
        /// The file that says so.
        path: String,
        /// The number of the broker that wrote it.
        found: i32,
        /// The number of this one.
        asked: i32,
    },
    /// The folder holds another topic's log of the same name.
    #[error("{folder} belongs to topic id {found}, not to {wanted}")]
    ForeignTopic {
        /// The folder.
        folder: String,
        /// The id in its `partition.metadata`.
        found: Uuid,
        /// The id of the topic that was asked for.
        wanted: Uuid,
    },
    /// The folder's records were durable up to an offset, and the folder is gone or empty.
    #[error("{folder} is lost: it held durable records up to offset {recovery_point}")]
    Lost {
        /// The folder.
        folder: String,
        /// Up to where its records were durable.
        recovery_point: Offset,
    },
}

/// Why a batch was not appended.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// The client's mistake.
    #[error(transparent)]
    Invalid(#[from] InvalidBatch),
    /// It does not follow what the producer sent before.
    #[error(transparent)]
    Producer(#[from] ProducerError),
    /// The disk is full or failed, or the log is damaged.
    #[error("{folder}: {reason}")]
    Storage {
        /// The partition's folder.
        folder: String,
        /// What is wrong.
        reason: String,
    },
    /// The partition was deleted meanwhile.
    #[error("{folder} was deleted")]
    Deleted {
        /// The partition's folder.
        folder: String,
    },
}

impl AppendError {
    /// The code for the client.
    #[must_use]
    pub fn error_code(&self) -> ResponseError {
        match self {
            AppendError::Invalid(invalid) => invalid.error_code(),
            AppendError::Producer(refused) => refused.error_code(),
            AppendError::Storage { .. } => ResponseError::KafkaStorageError,
            AppendError::Deleted { .. } => ResponseError::UnknownTopicOrPartition,
        }
    }
}

/// Why nothing was read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The client asks for what is not there.
    #[error("offset {asked} is outside the log, which holds {start}..{end}")]
    OutOfRange {
        /// The offset that was asked for.
        asked: Offset,
        /// The first that is there.
        start: Offset,
        /// The one after the last.
        end: Offset,
    },
    /// What the log holds there is no record batch.
    #[error("{path}: no record batch at byte {position}: {source}")]
    Corrupt {
        /// The segment's file.
        path: String,
        /// Where in it.
        position: u64,
        /// What is wrong.
        source: BatchError,
    },
    /// A batch that does not follow the one before it.
    #[error("{path}: the batch at byte {position} has offset {found}, expected {expected}")]
    Displaced {
        /// The segment's file.
        path: String,
        /// Where in it.
        position: u64,
        /// The offset that the batch bears.
        found: Offset,
        /// The one that it should bear.
        expected: Offset,
    },
    /// What was durable there once is lost.
    #[error("{folder}: durable offsets {}..{} are damaged ({})", damage.from, damage.to, damage.place)]
    Damaged {
        /// The partition's folder.
        folder: String,
        /// What is lost.
        damage: Damage,
    },
    /// The operating system refuses.
    #[error("cannot read {path}: {source}")]
    Disk {
        /// The segment's file.
        path: String,
        /// What it says.
        source: io::Error,
    },
}

impl ReadError {
    /// The code for the client.
    #[must_use]
    pub fn error_code(&self) -> ResponseError {
        match self {
            ReadError::OutOfRange { .. } => ResponseError::OffsetOutOfRange,
            ReadError::Corrupt { .. } | ReadError::Displaced { .. } => {
                ResponseError::CorruptMessage
            }
            ReadError::Damaged { .. } | ReadError::Disk { .. } => ResponseError::KafkaStorageError,
        }
    }
}

/// Why no records were deleted.
#[derive(Debug, thiserror::Error)]
pub enum DeleteError {
    /// The client asks for more than is there.
    #[error("offset {asked} is past the high watermark {high_watermark}")]
    OutOfRange {
        /// The offset that was asked for.
        asked: Offset,
        /// The most that can be asked for.
        high_watermark: Offset,
    },
    /// The new start could not be made durable.
    #[error(transparent)]
    Log(#[from] LogError),
}

impl DeleteError {
    /// The code for the client.
    #[must_use]
    pub fn error_code(&self) -> ResponseError {
        match self {
            DeleteError::OutOfRange { .. } => ResponseError::OffsetOutOfRange,
            DeleteError::Log(_) => ResponseError::KafkaStorageError,
        }
    }
}
