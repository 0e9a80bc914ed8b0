//! DescribeShareGroupOffsets 0: from where on a share group still has something to do.
//!
//! A partition that the group has not begun has the offset -1.

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::describe_share_group_offsets_request::{
    DescribeShareGroupOffsetsRequest, DescribeShareGroupOffsetsRequestGroup,
};
use kafka_protocol::messages::describe_share_group_offsets_response::{
    DescribeShareGroupOffsetsResponse, DescribeShareGroupOffsetsResponseGroup,
    DescribeShareGroupOffsetsResponsePartition, DescribeShareGroupOffsetsResponseTopic,
};

use crate::api::{code, text};
use crate::broker::Broker;
use crate::catalog::Topic;
use crate::share::session::Place;

/// Nothing was begun.
const UNINITIALIZED: i64 = -1;

/// Answers the request.
pub fn answer(
    broker: &Broker,
    request: &DescribeShareGroupOffsetsRequest,
) -> DescribeShareGroupOffsetsResponse {
    let groups = request.groups.iter().map(|asked| describe(broker, asked));
    DescribeShareGroupOffsetsResponse::default().with_groups(groups.collect())
}

fn describe(
    broker: &Broker,
    asked: &DescribeShareGroupOffsetsRequestGroup,
) -> DescribeShareGroupOffsetsResponseGroup {
    let answered =
        DescribeShareGroupOffsetsResponseGroup::default().with_group_id(asked.group_id.clone());
    let group = asked.group_id.as_str();
    if !broker.shares.groups.contains(group) {
        return answered
            .with_error_code(code(ResponseError::GroupIdNotFound))
            .with_error_message(Some(text(format!("Group {group} not found."))));
    }
    let topics = broker.catalog.topics();
    let mut described = Vec::new();
    match &asked.topics {
        Some(asked) => {
            for one in asked {
                let topic = topics.named(&one.topic_name);
                let partitions = one.partitions.iter().map(|index| match topic {
                    Some(topic) => partition(broker, group, topic, *index),
                    None => DescribeShareGroupOffsetsResponsePartition::default()
                        .with_partition_index(*index)
                        .with_start_offset(UNINITIALIZED)
                        .with_error_code(code(ResponseError::UnknownTopicOrPartition)),
                });
                let described_topic = DescribeShareGroupOffsetsResponseTopic::default()
                    .with_topic_name(one.topic_name.clone())
                    .with_topic_id(topic.map(|topic| topic.id).unwrap_or_default())
                    .with_partitions(partitions.collect());
                described.push(described_topic);
            }
        }
        None => {
            let places = broker.shares.cells_of(group);
            let places: Vec<Place> = places.into_iter().map(|(place, _)| place).collect();
            for places in places.chunk_by(|one, other| one.topic == other.topic) {
                let Some(topic) = topics.identified(&places[0].topic) else { continue };
                let partitions =
                    places.iter().map(|place| partition(broker, group, topic, place.partition));
                let described_topic = DescribeShareGroupOffsetsResponseTopic::default()
                    .with_topic_name(topic.name.clone())
                    .with_topic_id(topic.id)
                    .with_partitions(partitions.collect());
                described.push(described_topic);
            }
        }
    }
    answered.with_topics(described)
}

fn partition(
    broker: &Broker,
    group: &str,
    topic: &Topic,
    index: i32,
) -> DescribeShareGroupOffsetsResponsePartition {
    let described = DescribeShareGroupOffsetsResponsePartition::default()
        .with_partition_index(index)
        .with_start_offset(UNINITIALIZED);
    let Some(partition) = topic.partition(index) else {
        return described.with_error_code(code(ResponseError::UnknownTopicOrPartition));
    };
    let Some(cell) = broker.shares.cell(group, &Place { topic: topic.id, partition: index }) else {
        return described;
    };
    let settings = broker.shares.settings(group);
    let moment = broker.shares.moment(&settings, broker.clock.now_ms());
    let log_start = partition.ends().log_start.0;
    match cell.act(&moment, |share| (share.start().max(log_start), None)) {
        Ok((start, _)) => {
            described.with_start_offset(start).with_leader_epoch(partition.leader_epoch())
        }
        Err(error) => described.with_error_code(code(crate::api::share_routes::error_of(&error))),
    }
}
