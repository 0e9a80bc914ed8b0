//! What the APIs of groups have in common: the topic in which they are stored, and the checks of an
//! offset that somebody commits.

use std::sync::Arc;

use kafka_protocol::error::ResponseError;

use crate::broker::Broker;
use crate::catalog::Topic;
use crate::catalog::names::CONSUMER_OFFSETS;
use crate::group::internal::internal_topic;
use crate::group::offset_records::{Committed, OffsetKey};

/// `__consumer_offsets`, made now if there is none.
pub(super) async fn offsets_topic(broker: &Arc<Broker>) -> Result<Arc<Topic>, ResponseError> {
    if let Some(topic) = broker.catalog.topic(CONSUMER_OFFSETS) {
        return Ok(topic);
    }
    let shared = broker.clone();
    let make = move || internal_topic(&shared.catalog, &shared.config);
    match tokio::task::spawn_blocking(make).await {
        Ok(Ok(topic)) => Ok(topic),
        Ok(Err(error)) => {
            tracing::error!(%error, "the topic of groups and committed offsets cannot be made");
            Err(ResponseError::CoordinatorNotAvailable)
        }
        Err(_) => Err(ResponseError::CoordinatorNotAvailable),
    }
}

/// Checks an offset that a group commits; `committed` bears everything but its place.
pub(super) fn checked_offset(
    broker: &Broker,
    group: &str,
    topic: &Topic,
    partition: i32,
    committed: Committed,
) -> Result<(OffsetKey, Committed), ResponseError> {
    if topic.partition(partition).is_none() {
        return Err(ResponseError::UnknownTopicOrPartition);
    }
    let bytes_max = usize::try_from(broker.config.offset_metadata_max_bytes).unwrap_or(0);
    if committed.metadata.len() > bytes_max {
        return Err(ResponseError::OffsetMetadataTooLarge);
    }
    let key = OffsetKey { group: group.to_owned(), topic: topic.name.to_string(), partition };
    Ok((key, committed))
}
