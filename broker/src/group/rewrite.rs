//! Keeps `__consumer_offsets` from growing for ever: all that counts is written again at its end,
//! and what lies before is cut off.

use crate::catalog::Topic;
use crate::group::coordinator::Groups;
use crate::group::offsets::{CommitError, Offsets};
use crate::log::error::DeleteError;
use weir_protocol::records::Offset;

/// The topic is rewritten when one of its partitions is this many times larger than a segment.
const REWRITE_SEGMENTS: u64 = 2;

/// Why the topic stays as long as it is.
#[derive(Debug, thiserror::Error)]
pub enum RewriteError {
    /// Offsets cannot be written.
    #[error(transparent)]
    Offsets(#[from] CommitError),
    /// Groups cannot be written.
    #[error("the groups cannot be written: {0}")]
    Groups(kafka_protocol::error::ResponseError),
    /// What lies before cannot be cut off.
    #[error(transparent)]
    Cut(#[from] DeleteError),
}

/// Rewrites the topic if it is large.
///
/// # Errors
/// When the disk fails or is full; then nothing is cut off.
pub async fn rewrite_if_large(
    topic: &Topic,
    offsets: &Offsets,
    groups: &Groups,
    now_ms: i64,
) -> Result<(), RewriteError> {
    let bytes_max = REWRITE_SEGMENTS * u64::from(topic.config.log.segment_bytes);
    if topic.partitions.iter().all(|partition| partition.size_bytes() <= bytes_max) {
        return Ok(());
    }
    let cuts: Vec<Offset> =
        topic.partitions.iter().map(|partition| partition.ends().log_end).collect();
    offsets.write_again(topic, now_ms).await?;
    if !groups.write_again().await.map_err(RewriteError::Groups)? {
        return Ok(());
    }
    for (partition, cut) in topic.partitions.iter().zip(cuts) {
        partition.durable(cut).await.map_err(|error| CommitError::Storage(error.to_string()))?;
        partition.delete_records_before(cut)?;
    }
    Ok(())
}
