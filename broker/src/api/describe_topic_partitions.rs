//! DescribeTopicPartitions 0: topics and partitions by pages.
//!
//! No topics named means all. A page holds at most as many partitions as the client and
//! `max.request.partition.size.limit` allow; the cursor says where the next one begins.

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::TopicName;
use kafka_protocol::messages::describe_topic_partitions_request::DescribeTopicPartitionsRequest;
use kafka_protocol::messages::describe_topic_partitions_response::{
    Cursor, DescribeTopicPartitionsResponse, DescribeTopicPartitionsResponsePartition,
    DescribeTopicPartitionsResponseTopic,
};

use crate::api::code;
use crate::api::metadata::TOPIC_OPERATIONS;
use crate::broker::Broker;
use crate::catalog::Topic;
use crate::catalog::names::check_name;

/// Answers the request.
pub fn answer(
    broker: &Broker,
    request: &DescribeTopicPartitionsRequest,
) -> DescribeTopicPartitionsResponse {
    let topics = broker.catalog.topics();
    let mut names: Vec<TopicName> = if request.topics.is_empty() {
        topics.iter().map(|topic| topic.name.clone()).collect()
    } else {
        request.topics.iter().map(|topic| topic.name.clone()).collect()
    };
    names.sort();
    names.dedup();
    let cursor = request.cursor.as_ref();
    let limit =
        request.response_partition_limit.min(broker.config.max_request_partition_size_limit);
    let mut left = usize::try_from(limit.max(1)).unwrap_or(1);
    let mut response = DescribeTopicPartitionsResponse::default();
    for name in names {
        let mut first = 0;
        if let Some(cursor) = cursor {
            if name < cursor.topic_name {
                continue;
            }
            if name == cursor.topic_name {
                first = usize::try_from(cursor.partition_index).unwrap_or(0);
            }
        }
        if left == 0 {
            response.next_cursor = Some(cursor_at(&name, first));
            break;
        }
        let Some(topic) = topics.named(&name) else {
            response.topics.push(unknown(name));
            continue;
        };
        let described = describe(broker, topic, first, left);
        let next = first + described.partitions.len();
        left -= described.partitions.len();
        response.topics.push(described);
        if next < topic.partitions.len() {
            response.next_cursor = Some(cursor_at(&name, next));
            break;
        }
    }
    response
}

fn cursor_at(name: &TopicName, partition: usize) -> Cursor {
    let index = i32::try_from(partition).unwrap_or(i32::MAX);
    Cursor::default().with_topic_name(name.clone()).with_partition_index(index)
}

fn unknown(name: TopicName) -> DescribeTopicPartitionsResponseTopic {
    let error = match check_name(&name) {
        Ok(()) => ResponseError::UnknownTopicOrPartition,
        Err(_) => ResponseError::InvalidTopicException,
    };
    DescribeTopicPartitionsResponseTopic::default()
        .with_name(Some(name))
        .with_error_code(code(error))
}

fn describe(
    broker: &Broker,
    topic: &Topic,
    first: usize,
    count_max: usize,
) -> DescribeTopicPartitionsResponseTopic {
    let own = vec![broker.node_id()];
    let partitions = topic.partitions.iter().enumerate().skip(first).take(count_max);
    let partitions = partitions.map(|(index, partition)| {
        DescribeTopicPartitionsResponsePartition::default()
            .with_partition_index(index as i32)
            .with_leader_id(broker.node_id())
            .with_leader_epoch(partition.leader_epoch())
            .with_replica_nodes(own.clone())
            .with_isr_nodes(own.clone())
            .with_eligible_leader_replicas(Some(Vec::new()))
            .with_last_known_elr(Some(Vec::new()))
    });
    DescribeTopicPartitionsResponseTopic::default()
        .with_name(Some(topic.name.clone()))
        .with_topic_id(topic.id)
        .with_is_internal(topic.is_internal)
        .with_partitions(partitions.collect())
        .with_topic_authorized_operations(TOPIC_OPERATIONS)
}
