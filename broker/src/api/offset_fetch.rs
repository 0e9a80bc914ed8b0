//! OffsetFetch 1-9: how far groups have read.
//!
//! Nothing committed is offset -1 and no error. Null topics (from version 2 on) mean all. From
//! version 8 on several groups are asked for at once.

use std::sync::Arc;

use kafka_protocol::messages::TopicName;
use kafka_protocol::messages::offset_fetch_request::{
    OffsetFetchRequest, OffsetFetchRequestGroup, OffsetFetchRequestTopics,
};
use kafka_protocol::messages::offset_fetch_response::{
    OffsetFetchResponse, OffsetFetchResponseGroup, OffsetFetchResponsePartition,
    OffsetFetchResponsePartitions, OffsetFetchResponseTopic, OffsetFetchResponseTopics,
};

use crate::api::text;
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
        let groups = request.groups.iter().map(|asked| group(broker, asked));
        return OffsetFetchResponse::default().with_groups(groups.collect());
    }
    let name = request.group_id.as_str();
    let topics = match &request.topics {
        Some(asked) => asked
            .iter()
            .map(|topic| {
                let partitions = topic.partition_indexes.iter().map(|index| {
                    old_partition(
                        *index,
                        broker.offsets.committed(name, &topic.name, *index),
                        version,
                    )
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
                last.partitions.push(old_partition(index, Some(committed), version));
            }
            topics
        }
    };
    OffsetFetchResponse::default().with_topics(topics)
}

fn old_partition(
    index: i32,
    committed: Option<Committed>,
    version: i16,
) -> OffsetFetchResponsePartition {
    let (offset, leader_epoch, metadata) = values(committed);
    let mut partition = OffsetFetchResponsePartition::default()
        .with_partition_index(index)
        .with_committed_offset(offset)
        .with_metadata(Some(text(metadata)));
    if version >= 5 {
        partition.committed_leader_epoch = leader_epoch;
    }
    partition
}

fn values(committed: Option<Committed>) -> (i64, i32, String) {
    committed.map_or((-1, -1, String::new()), |c| (c.offset, c.leader_epoch, c.metadata))
}

fn group(broker: &Broker, asked: &OffsetFetchRequestGroup) -> OffsetFetchResponseGroup {
    let name = asked.group_id.as_str();
    let response = OffsetFetchResponseGroup::default().with_group_id(asked.group_id.clone());
    let topics = match &asked.topics {
        Some(asked) => asked.iter().map(|asked| topic(broker, name, asked)).collect(),
        None => all(broker, name),
    };
    response.with_topics(topics)
}

fn topic(
    broker: &Broker,
    group: &str,
    asked: &OffsetFetchRequestTopics,
) -> OffsetFetchResponseTopics {
    let partitions = asked
        .partition_indexes
        .iter()
        .map(|index| partition(*index, broker.offsets.committed(group, &asked.name, *index)));
    OffsetFetchResponseTopics::default()
        .with_name(asked.name.clone())
        .with_partitions(partitions.collect())
}

fn partition(index: i32, committed: Option<Committed>) -> OffsetFetchResponsePartitions {
    let (offset, leader_epoch, metadata) = values(committed);
    OffsetFetchResponsePartitions::default()
        .with_partition_index(index)
        .with_committed_offset(offset)
        .with_committed_leader_epoch(leader_epoch)
        .with_metadata(Some(text(metadata)))
}

fn all(broker: &Broker, group: &str) -> Vec<OffsetFetchResponseTopics> {
    let mut topics: Vec<OffsetFetchResponseTopics> = Vec::new();
    for (topic, index, committed) in broker.offsets.all_of(group) {
        if topics.last().is_none_or(|last| last.name.as_str() != topic) {
            topics.push(OffsetFetchResponseTopics::default().with_name(TopicName(text(topic))));
        }
        let last = topics.last_mut().expect("it was just put there");
        last.partitions.push(partition(index, Some(committed)));
    }
    topics
}
