//! DescribeLogDirs 1-4: what lies in the log directory, and how much room its volume has.
//!
//! There is one log directory. A topic or partition that is not there is left out, as in Kafka, and
//! an offline directory is told by its error alone. The sizes are of the batches, without indexes.

use std::collections::{HashMap, HashSet};

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::TopicName;
use kafka_protocol::messages::describe_log_dirs_request::{
    DescribableLogDirTopic, DescribeLogDirsRequest,
};
use kafka_protocol::messages::describe_log_dirs_response::{
    DescribeLogDirsPartition, DescribeLogDirsResponse, DescribeLogDirsResult, DescribeLogDirsTopic,
};

use crate::api::{NONE, code, text};
use crate::broker::Broker;
use crate::catalog::Topic;

/// From here on the room of the volume is told.
const ROOM_FROM: i16 = 4;

/// Answers the request. Asks the disk.
pub fn answer(
    broker: &Broker,
    request: &DescribeLogDirsRequest,
    version: i16,
) -> DescribeLogDirsResponse {
    let volume = broker.logs.disk().volume();
    let mut result = DescribeLogDirsResult::default().with_log_dir(text(volume.path));
    if broker.logs.failed().is_some() {
        result.error_code = code(ResponseError::KafkaStorageError);
        return DescribeLogDirsResponse::default().with_results(vec![result]);
    }
    result.error_code = NONE;
    if version >= ROOM_FROM {
        // -1: the operating system does not say.
        let told = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
        result.total_bytes = volume.room.map_or(-1, |room| told(room.total_bytes));
        result.usable_bytes = volume.room.map_or(-1, |room| told(room.usable_bytes));
    }
    result.topics = topics(broker, request.topics.as_deref());
    DescribeLogDirsResponse::default().with_results(vec![result])
}

fn topics(broker: &Broker, asked: Option<&[DescribableLogDirTopic]>) -> Vec<DescribeLogDirsTopic> {
    let topics = broker.catalog.topics();
    let Some(asked) = asked else {
        return topics.iter().map(|topic| describe(topic, |_| true)).collect();
    };
    let mut wanted: HashMap<&str, HashSet<i32>> = HashMap::new();
    for one in asked {
        wanted.entry(one.topic.as_str()).or_default().extend(&one.partitions);
    }
    let found = wanted.iter().filter_map(|(name, partitions)| {
        let described = describe(topics.named(name)?, |index| partitions.contains(&index));
        (!described.partitions.is_empty()).then_some(described)
    });
    found.collect()
}

fn describe(topic: &Topic, is_asked: impl Fn(i32) -> bool) -> DescribeLogDirsTopic {
    let partitions = (0..).zip(&topic.partitions).filter(|(index, _)| is_asked(*index));
    let partitions = partitions.map(|(index, partition)| {
        DescribeLogDirsPartition::default()
            .with_partition_index(index)
            .with_partition_size(i64::try_from(partition.size_bytes()).unwrap_or(i64::MAX))
    });
    DescribeLogDirsTopic::default()
        .with_name(TopicName(text(topic.name.as_str())))
        .with_partitions(partitions.collect())
}
