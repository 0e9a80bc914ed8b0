//! OffsetFetch 1-9: how far groups have read.
//!
//! Nothing committed is offset -1 and no error. Null topics (from version 2 on) mean all. From
//! version 8 on several groups are asked for at once. Who asks for what is stable (7) is told
//! UNSTABLE_OFFSET_COMMIT while an open transaction commits there.

use std::sync::Arc;

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::TopicName;
use kafka_protocol::messages::offset_fetch_request::{
    OffsetFetchRequest, OffsetFetchRequestGroup, OffsetFetchRequestTopics,
};
use kafka_protocol::messages::offset_fetch_response::{
    OffsetFetchResponse, OffsetFetchResponseGroup, OffsetFetchResponsePartition,
    OffsetFetchResponsePartitions, OffsetFetchResponseTopic, OffsetFetchResponseTopics,
};

use crate::api::{NONE, code, text};
use crate::broker::Broker;
use crate::group::offset_records::Committed;

/// From here on several groups are asked for.
const GROUPS_FROM: i16 = 8;

/// Answers the request. While topics are deleted it waits: what was committed for another topic of
/// the same name is not told.
pub async fn answer(
    broker: Arc<Broker>,
    request: OffsetFetchRequest,
    version: i16,
) -> OffsetFetchResponse {
    let _begun = broker.offsets.begin().await;
    fetch(&broker, &request, version)
}

fn fetch(broker: &Broker, request: &OffsetFetchRequest, version: i16) -> OffsetFetchResponse {
    if version >= GROUPS_FROM {
        let stable = request.require_stable;
        let groups = request.groups.iter().map(|asked| group(broker, asked, stable));
        return OffsetFetchResponse::default().with_groups(groups.collect());
    }
    let name = request.group_id.as_str();
    let topics = match &request.topics {
        Some(asked) => asked
            .iter()
            .map(|topic| {
                let partitions = topic.partition_indexes.iter().map(|index| {
                    let found = find(broker, name, &topic.name, *index, request.require_stable);
                    old_partition(*index, found, version)
                });
                OffsetFetchResponseTopic::default()
                    .with_name(topic.name.clone())
                    .with_partitions(partitions.collect())
            })
            .collect(),
        None => {
            let mut topics: Vec<OffsetFetchResponseTopic> = Vec::new();
            for (topic, index, committed) in broker.offsets.all_of(name) {
                if topics.last().is_none_or(|last| last.name.as_str() != topic) {
                    let named = OffsetFetchResponseTopic::default();
                    topics.push(named.with_name(TopicName(text(topic))));
                }
                let last = topics.last_mut().expect("it was just put there");
                last.partitions.push(old_partition(index, Ok(Some(committed)), version));
            }
            topics
        }
    };
    OffsetFetchResponse::default().with_topics(topics)
}

/// What is committed, or why that is not known yet.
type Lookup = Result<Option<Committed>, ResponseError>;

fn find(broker: &Broker, group: &str, topic: &str, index: i32, stable: bool) -> Lookup {
    if stable && broker.offsets.is_unstable(group, topic, index) {
        return Err(ResponseError::UnstableOffsetCommit);
    }
    Ok(broker.offsets.committed(group, topic, index))
}

fn old_partition(index: i32, found: Lookup, version: i16) -> OffsetFetchResponsePartition {
    let error_code = found.as_ref().err().map_or(NONE, |error| code(*error));
    let (offset, leader_epoch, metadata) = values(found.ok().flatten());
    let mut partition = OffsetFetchResponsePartition::default()
        .with_partition_index(index)
        .with_committed_offset(offset)
        .with_metadata(Some(text(metadata)))
        .with_error_code(error_code);
    if version >= 5 {
        partition.committed_leader_epoch = leader_epoch;
    }
    partition
}

fn values(committed: Option<Committed>) -> (i64, i32, String) {
    committed.map_or((-1, -1, String::new()), |c| (c.offset, c.leader_epoch, c.metadata))
}

fn group(
    broker: &Broker,
    asked: &OffsetFetchRequestGroup,
    stable: bool,
) -> OffsetFetchResponseGroup {
    let name = asked.group_id.as_str();
    let response = OffsetFetchResponseGroup::default().with_group_id(asked.group_id.clone());
    // Whoever tells neither is an admin, or a consumer that does not know its epoch.
    if let Some(member) = asked.member_id.as_ref().filter(|_| asked.member_epoch >= 0)
        && let Some(Err(error)) =
            broker.groups.check_consumer_offsets(name, member, asked.member_epoch, None)
    {
        return response.with_error_code(code(error));
    }
    let topics = match &asked.topics {
        Some(asked) => asked.iter().map(|asked| topic(broker, name, asked, stable)).collect(),
        None => all(broker, name),
    };
    response.with_topics(topics)
}

fn topic(
    broker: &Broker,
    group: &str,
    asked: &OffsetFetchRequestTopics,
    stable: bool,
) -> OffsetFetchResponseTopics {
    let partitions = asked
        .partition_indexes
        .iter()
        .map(|index| partition(*index, find(broker, group, &asked.name, *index, stable)));
    OffsetFetchResponseTopics::default()
        .with_name(asked.name.clone())
        .with_partitions(partitions.collect())
}

fn partition(index: i32, found: Lookup) -> OffsetFetchResponsePartitions {
    let error_code = found.as_ref().err().map_or(NONE, |error| code(*error));
    let (offset, leader_epoch, metadata) = values(found.ok().flatten());
    OffsetFetchResponsePartitions::default()
        .with_partition_index(index)
        .with_committed_offset(offset)
        .with_committed_leader_epoch(leader_epoch)
        .with_metadata(Some(text(metadata)))
        .with_error_code(error_code)
}

fn all(broker: &Broker, group: &str) -> Vec<OffsetFetchResponseTopics> {
    let mut topics: Vec<OffsetFetchResponseTopics> = Vec::new();
    for (topic, index, committed) in broker.offsets.all_of(group) {
        if topics.last().is_none_or(|last| last.name.as_str() != topic) {
            topics.push(OffsetFetchResponseTopics::default().with_name(TopicName(text(topic))));
        }
        let last = topics.last_mut().expect("it was just put there");
        last.partitions.push(partition(index, Ok(Some(committed))));
    }
    topics
}
