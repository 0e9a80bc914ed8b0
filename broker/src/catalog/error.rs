//! Why the catalog was not changed, or cannot be opened.

use kafka_protocol::error::ResponseError;

use crate::catalog::names::{FILE, VERSION};
use crate::log::error::LogError;

/// Why the catalog was not changed.
#[derive(Debug, thiserror::Error)]
pub enum CatalogError {
    /// The name breaks Kafka's rules, or is kept for the broker.
    #[error("Topic name is invalid: {0}")]
    InvalidName(String),
    /// There is a topic of that name.
    #[error("Topic '{0}' already exists.")]
    Exists(String),
    /// There is no such topic.
    #[error("This server does not host this topic-partition.")]
    Unknown,
    /// The number of partitions cannot be.
    #[error("{0}")]
    PartitionCount(String),
    /// A setting is refused.
    #[error("{0}")]
    Config(String),
    /// A setting of the broker that cannot be changed while it runs.
    #[error(
        "Cannot update these configs dynamically: {0} (change the broker's file and restart it)"
    )]
    NotDynamic(String),
    /// The broker does not let this be done.
    #[error("{0}")]
    Forbidden(String),
    /// The operator lets no topic be deleted.
    #[error("topics cannot be deleted: delete.topic.enable is false")]
    DeletionDisabled,
    /// The disk failed.
    #[error("the log directory failed: {0}")]
    Log(#[from] LogError),
}

impl CatalogError {
    /// What the client is told.
    pub fn code(&self) -> ResponseError {
        match self {
            CatalogError::InvalidName(_) => ResponseError::InvalidTopicException,
            CatalogError::Exists(_) => ResponseError::TopicAlreadyExists,
            CatalogError::Unknown => ResponseError::UnknownTopicOrPartition,
            CatalogError::PartitionCount(_) => ResponseError::InvalidPartitions,
            CatalogError::Config(_) => ResponseError::InvalidConfig,
            CatalogError::NotDynamic(_) => ResponseError::InvalidRequest,
            CatalogError::Forbidden(_) => ResponseError::PolicyViolation,
            CatalogError::DeletionDisabled => ResponseError::TopicDeletionDisabled,
            CatalogError::Log(_) => ResponseError::KafkaStorageError,
        }
    }
}

/// Why the catalog cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The file is not what this program wrote.
    #[error("{FILE} is damaged ({0}); restore it from a copy")]
    Damaged(String),
    /// There are logs, and no file that says whose they are.
    #[error("{folder} holds a log, but there is no {FILE}; restore it from a copy")]
    Missing {
        /// One of the logs.
        folder: String,
    },
    /// The first catalog of a new directory cannot be saved.
    #[error("{FILE} cannot be made: {0}")]
    First(LogError),
    /// What clients have set for the broker cannot be read.
    #[error("what clients have set for the broker cannot be read: {0}")]
    Defaults(std::io::Error),
    /// The file was written by a newer program.
    #[error("{FILE} has format {found}, this program knows up to {VERSION}; use the newer program")]
    Newer {
        /// Its format.
        found: u32,
    },
    /// A saved setting is no longer accepted.
    #[error("topic {topic} has a setting that this program refuses: {reason}")]
    Setting {
        /// The topic.
        topic: String,
        /// Why.
        reason: String,
    },
    /// A log cannot be opened.
    #[error("topic {topic}, partition {partition}: {source}")]
    Log {
        /// The topic.
        topic: String,
        /// Its partition.
        partition: i32,
        /// Why.
        source: LogError,
    },
    /// The folders cannot be listed.
    #[error("the folders cannot be listed: {0}")]
    Folders(String),
    /// The file cannot be read.
    #[error("{FILE} cannot be read: {0}")]
    Read(#[from] std::io::Error),
}
