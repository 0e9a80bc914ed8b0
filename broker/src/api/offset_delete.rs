//! OffsetDelete 0: forgets what a group has committed for some partitions (KIP-496).
//!
//! What members read at the moment is refused with GROUP_SUBSCRIBED_TO_TOPIC.

use std::collections::BTreeSet;
use std::sync::Arc;

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::offset_delete_request::OffsetDeleteRequest;
use kafka_protocol::messages::offset_delete_response::{
    OffsetDeleteResponse, OffsetDeleteResponsePartition, OffsetDeleteResponseTopic,
};

use crate::api::{NONE, code};
use crate::broker::Broker;
use crate::group::classic::State;
use crate::group::subscription::subscribed_topics;

/// Answers the request.
pub async fn answer(broker: Arc<Broker>, request: OffsetDeleteRequest) -> OffsetDeleteResponse {
    let group = request.group_id.as_str();
    let read = match topics_in_use(&broker, group) {
        Ok(read) => read,
        Err(error) => return OffsetDeleteResponse::default().with_error_code(code(error)),
    };
    let mut forgotten = BTreeSet::new();
    let mut response = OffsetDeleteResponse::default();
    for asked in &request.topics {
        let topic = broker.catalog.topic(&asked.name);
        let partitions = asked.partitions.iter().map(|one| {
            let index = one.partition_index;
            let error = if read.contains(asked.name.as_str()) {
                Some(ResponseError::GroupSubscribedToTopic)
            } else if topic.as_ref().is_none_or(|topic| topic.partition(index).is_none()) {
                Some(ResponseError::UnknownTopicOrPartition)
            } else {
                forgotten.insert((asked.name.to_string(), index));
                None
            };
            OffsetDeleteResponsePartition::default()
                .with_partition_index(index)
                .with_error_code(error.map_or(NONE, code))
        });
        let answered = OffsetDeleteResponseTopic::default()
            .with_name(asked.name.clone())
            .with_partitions(partitions.collect());
        response.topics.push(answered);
    }
    let now_ms = broker.clock.now_ms();
    let done = broker.offsets.forget(&broker.catalog, now_ms, |key, _| {
        key.group == group && forgotten.contains(&(key.topic.clone(), key.partition))
    });
    if let Err(error) = done.await {
        tracing::error!(group, %error, "offsets cannot be forgotten");
        response.error_code = code(ResponseError::CoordinatorNotAvailable);
    }
    response
}

/// The topics that the group's members read.
fn topics_in_use(broker: &Broker, group: &str) -> Result<BTreeSet<String>, ResponseError> {
    if group.is_empty() {
        return Err(ResponseError::InvalidGroupId);
    }
    let Some(view) = broker.groups.view(group) else {
        let has_offsets = !broker.offsets.all_of(group).is_empty();
        return if has_offsets { Ok(BTreeSet::new()) } else { Err(ResponseError::GroupIdNotFound) };
    };
    if view.group.state() == State::Empty {
        return Ok(BTreeSet::new());
    }
    subscribed_topics(&view.group).ok_or(ResponseError::NonEmptyGroup)
}
