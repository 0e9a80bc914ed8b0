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

use crate::api::{NONE, code};
use crate::broker::Broker;
use crate::catalog::{Topic, Topics};
use crate::group::coordinator::Committer;
use crate::group::internal::internal_topic;
use crate::group::offset_records::{Committed, OffsetKey};
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
                Some(error) => Err(error),
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
    let shared = broker.clone();
    let make = move || internal_topic(&shared.catalog, &shared.config);
    let made = tokio::task::spawn_blocking(make).await;
    let topic = match made {
        Ok(Ok(topic)) => topic,
        Ok(Err(error)) => {
            tracing::error!(%error, "the topic of committed offsets cannot be made");
            return Err(ResponseError::CoordinatorNotAvailable);
        }
        Err(_) => return Err(ResponseError::CoordinatorNotAvailable),
    };
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
    if topic.partition(asked.partition_index).is_none() {
        return Err(ResponseError::UnknownTopicOrPartition);
    }
    let metadata = asked.committed_metadata.as_deref().unwrap_or_default();
    if i32::try_from(metadata.len())
        .map_or(true, |len| len > broker.config.offset_metadata_max_bytes)
    {
        return Err(ResponseError::OffsetMetadataTooLarge);
    }
    let key = OffsetKey {
        group: request.group_id.to_string(),
        topic: topic.name.to_string(),
        partition: asked.partition_index,
    };
    let committed = Committed {
        offset: asked.committed_offset,
        leader_epoch: asked.committed_leader_epoch,
        metadata: metadata.to_owned(),
        commit_ms: now_ms,
    };
    Ok((key, Some(committed)))
}
