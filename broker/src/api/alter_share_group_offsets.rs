//! AlterShareGroupOffsets 0: lets a share group without members go on at other offsets.
//!
//! All that was in flight of a partition is forgotten with it. Durable before the answer.

use std::sync::Arc;

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::alter_share_group_offsets_request::AlterShareGroupOffsetsRequest;
use kafka_protocol::messages::alter_share_group_offsets_response::{
    AlterShareGroupOffsetsResponse, AlterShareGroupOffsetsResponsePartition,
    AlterShareGroupOffsetsResponseTopic,
};
use weir_protocol::records::Offset;

use crate::api::share_routes::{durable, error_of, internal_topics};
use crate::api::{NONE, code, text};
use crate::broker::Broker;
use crate::catalog::Topic;
use crate::share::session::Place;
use crate::share::state_log::Written;

/// Answers the request.
pub async fn answer(
    broker: Arc<Broker>,
    request: AlterShareGroupOffsetsRequest,
) -> AlterShareGroupOffsetsResponse {
    let failed = |error, why: String| {
        AlterShareGroupOffsetsResponse::default()
            .with_error_code(code(error))
            .with_error_message(Some(text(why)))
    };
    let group = request.group_id.as_str();
    if let Err(error) = check_idle(&broker, group) {
        return failed(error, refusal(error, group));
    }
    if let Err(error) = internal_topics(&broker).await {
        return failed(error, String::new());
    }
    let topics = broker.catalog.topics();
    let mut written = Vec::new();
    let mut response = AlterShareGroupOffsetsResponse::default();
    for asked in &request.topics {
        let topic = topics.named(&asked.topic_name);
        let partitions = asked.partitions.iter().map(|one| {
            let altered = match topic {
                Some(topic) => {
                    let (index, start) = (one.partition_index, one.start_offset);
                    alter(&broker, group, topic, index, start, &mut written)
                }
                None => Err(ResponseError::UnknownTopicOrPartition),
            };
            AlterShareGroupOffsetsResponsePartition::default()
                .with_partition_index(one.partition_index)
                .with_error_code(altered.map_or_else(code, |()| NONE))
        });
        let answered = AlterShareGroupOffsetsResponseTopic::default()
            .with_topic_name(asked.topic_name.clone())
            .with_topic_id(topic.map(|topic| topic.id).unwrap_or_default())
            .with_partitions(partitions.collect());
        response.responses.push(answered);
    }
    match durable(&written).await {
        Ok(()) => response,
        Err(error) => failed(error, String::new()),
    }
}

/// Whether a group is there, and has no members.
pub(super) fn check_idle(broker: &Broker, group: &str) -> Result<(), ResponseError> {
    let known = broker.shares.groups.named(group).ok_or(ResponseError::GroupIdNotFound)?;
    if known.members().is_empty() { Ok(()) } else { Err(ResponseError::NonEmptyGroup) }
}

/// Why a group's offsets are left as they are.
pub(super) fn refusal(error: ResponseError, group: &str) -> String {
    match error {
        ResponseError::NonEmptyGroup => format!("Group {group} is not empty."),
        _ => format!("Group {group} not found."),
    }
}

fn alter(
    broker: &Broker,
    group: &str,
    topic: &Topic,
    index: i32,
    start: i64,
    written: &mut Vec<Written>,
) -> Result<(), ResponseError> {
    let partition = topic.partition(index).ok_or(ResponseError::UnknownTopicOrPartition)?;
    let ends = partition.ends();
    // Beyond the log there is nothing to begin at: the nearest end is meant.
    let start = start.clamp(ends.log_start.0, ends.high_watermark.0);
    let now_ms = broker.clock.now_ms();
    let place = Place { topic: topic.id, partition: index };
    let begun = broker.shares.begin(group, place, partition, Offset(start), now_ms);
    let (cell, first) = begun.map_err(|error| error_of(&error))?;
    written.extend(first);
    let settings = broker.shares.settings(group);
    let reset = cell.reset(start, &broker.shares.moment(&settings, now_ms));
    written.push(reset.map_err(|error| error_of(&error))?);
    Ok(())
}
