//! OffsetCommit 2-9: remembers how far a group has read; durable before the answer.
//!
//! A member commits under its generation; a generation of -1 without a member id is a simple
//! consumer's or an admin's, and only a group without members takes it. A topic or partition that is
//! not there, or metadata that is too long, is refused by itself.

use std::sync::Arc;

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kafka_protocol::messages::offset_commit_response::{
    OffsetCommitResponse, OffsetCommitResponsePartition, OffsetCommitResponseTopic,
};

use crate::api::offsets_topic::{checked_offset, offsets_topic};
use crate::api::{NONE, code};
use crate::broker::Broker;
use crate::catalog::{Topic, Topics};
use crate::group::consumer::topics::TopicPartition;
use crate::group::coordinator::Committer;
use crate::group::offset_records::Committed;
use crate::group::offsets::{Change, Commit};

/// Answers the request.
pub async fn answer(
    broker: Arc<Broker>,
    request: OffsetCommitRequest,
    version: i16,
) -> OffsetCommitResponse {
    let refusal = check_group(&broker, &request, version).err();
    // First, so that the topics that are found below are still there when the offsets count.
    let begun = broker.offsets.begin().await;
    let now_ms = broker.clock.now_ms();
    let topics = broker.catalog.topics();
    let mut changes = Vec::new();
    let mut response = OffsetCommitResponse::default();
    for asked in &request.topics {
        let topic = find(&topics, asked);
        let partitions = asked.partitions.iter().map(|one| {
            let checked = match refusal {
                Some(error) => topic
                    .and_then(|topic| may_be_older(&broker, &request, topic, one, error))
                    .and_then(|topic| check(&broker, &request, topic, one, now_ms)),
                None => topic.and_then(|topic| check(&broker, &request, topic, one, now_ms)),
            };
            let error_code = match checked {
                Ok(change) => {
                    changes.push(change);
                    NONE
                }
                Err(error) => code(error),
            };
            OffsetCommitResponsePartition::default()
                .with_partition_index(one.partition_index)
                .with_error_code(error_code)
        });
        let answered = OffsetCommitResponseTopic::default()
            .with_name(asked.name.clone())
            .with_partitions(partitions.collect());
        response.topics.push(answered);
    }
    if !changes.is_empty()
        && let Err(error) = commit(&broker, begun, request.group_id.as_str(), changes, now_ms).await
    {
        for partition in response.topics.iter_mut().flat_map(|topic| &mut topic.partitions) {
            if partition.error_code == NONE {
                partition.error_code = code(error);
            }
        }
    }
    response
}

async fn commit(
    broker: &Arc<Broker>,
    begun: Commit<'_>,
    group: &str,
    changes: Vec<Change>,
    now_ms: i64,
) -> Result<(), ResponseError> {
    let topic = offsets_topic(broker).await?;
    begun.write(&topic, group, changes, now_ms).await.map_err(|error| {
        tracing::error!(group, %error, "offsets cannot be committed");
        ResponseError::CoordinatorNotAvailable
    })
}

fn check_group(
    broker: &Broker,
    request: &OffsetCommitRequest,
    version: i16,
) -> Result<(), ResponseError> {
    let committer = Committer {
        member_id: &request.member_id,
        instance_id: request.group_instance_id.as_deref(),
        generation: request.generation_id_or_member_epoch,
        is_transactional: false,
    };
    broker.groups.check_commit(&request.group_id, committer, version >= 9)
}

/// A member may commit with an epoch that is not its newest, for a partition that it has owned since
/// then (KIP-1251).
fn may_be_older<'a>(
    broker: &Broker,
    request: &OffsetCommitRequest,
    topic: &'a Arc<Topic>,
    asked: &OffsetCommitRequestPartition,
    refusal: ResponseError,
) -> Result<&'a Arc<Topic>, ResponseError> {
    let partition = TopicPartition::new(topic.id, asked.partition_index);
    let epoch = request.generation_id_or_member_epoch;
    let (group, member) = (&request.group_id, &request.member_id);
    let since = broker.groups.check_consumer_offsets(group, member, epoch, Some(&partition));
    if refusal == ResponseError::StaleMemberEpoch && since == Some(Ok(())) {
        return Ok(topic);
    }
    Err(refusal)
}

fn find<'a>(
    topics: &'a Topics,
    asked: &OffsetCommitRequestTopic,
) -> Result<&'a Arc<Topic>, ResponseError> {
    topics.named(&asked.name).ok_or(ResponseError::UnknownTopicOrPartition)
}

fn check(
    broker: &Broker,
    request: &OffsetCommitRequest,
    topic: &Topic,
    asked: &OffsetCommitRequestPartition,
    now_ms: i64,
) -> Result<Change, ResponseError> {
    let committed = Committed {
        offset: asked.committed_offset,
        leader_epoch: asked.committed_leader_epoch,
        metadata: asked.committed_metadata.as_deref().unwrap_or_default().to_owned(),
        commit_ms: now_ms,
    };
    let (key, committed) =
        checked_offset(broker, &request.group_id, topic, asked.partition_index, committed)?;
    Ok((key, Some(committed)))
}
