//! OffsetForLeaderEpoch 2-4: where the records of a leader epoch end, so that a consumer notices
//! when the log it read is no longer this one.

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::offset_for_leader_epoch_request::{
    OffsetForLeaderEpochRequest, OffsetForLeaderPartition,
};
use kafka_protocol::messages::offset_for_leader_epoch_response::{
    EpochEndOffset, OffsetForLeaderEpochResponse, OffsetForLeaderTopicResult,
};

use crate::api::fetch::check_leader_epoch;
use crate::api::{NONE, code};
use crate::broker::Broker;
use crate::catalog::Topic;

/// Answers the request.
pub fn answer(
    broker: &Broker,
    request: &OffsetForLeaderEpochRequest,
) -> OffsetForLeaderEpochResponse {
    let topics = broker.catalog.topics();
    let answered = request.topics.iter().map(|asked| {
        let topic = topics.named(&asked.topic);
        let partitions = asked.partitions.iter().map(|one| {
            let (error_code, leader_epoch, end_offset) = match find(topic.map(|t| &**t), one) {
                Ok((leader_epoch, end_offset)) => (NONE, leader_epoch, end_offset),
                Err(error) => (code(error), -1, -1),
            };
            EpochEndOffset::default()
                .with_partition(one.partition)
                .with_error_code(error_code)
                .with_leader_epoch(leader_epoch)
                .with_end_offset(end_offset)
        });
        OffsetForLeaderTopicResult::default()
            .with_topic(asked.topic.clone())
            .with_partitions(partitions.collect())
    });
    OffsetForLeaderEpochResponse::default().with_topics(answered.collect())
}

fn find(
    topic: Option<&Topic>,
    asked: &OffsetForLeaderPartition,
) -> Result<(i32, i64), ResponseError> {
    let partition = topic.and_then(|topic| topic.partition(asked.partition));
    let partition = partition.ok_or(ResponseError::UnknownTopicOrPartition)?;
    check_leader_epoch(partition, asked.current_leader_epoch)?;
    let (epoch, end) = partition.epoch_end(asked.leader_epoch);
    Ok((epoch, end.0))
}
