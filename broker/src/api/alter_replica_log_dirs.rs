//! AlterReplicaLogDirs 1-2: which log directory a replica is to lie in. There is one, and every
//! replica lies there already: that wish is granted, any other directory is not found.

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::alter_replica_log_dirs_request::{
    AlterReplicaLogDir, AlterReplicaLogDirsRequest,
};
use kafka_protocol::messages::alter_replica_log_dirs_response::{
    AlterReplicaLogDirPartitionResult, AlterReplicaLogDirTopicResult, AlterReplicaLogDirsResponse,
};

use crate::api::{NONE, code};
use crate::broker::Broker;

/// Answers the request.
pub fn answer(
    broker: &Broker,
    request: &AlterReplicaLogDirsRequest,
) -> AlterReplicaLogDirsResponse {
    let path = broker.logs.disk().volume().path;
    let results = request.dirs.iter().flat_map(|dir| move_all(broker, dir, &path));
    AlterReplicaLogDirsResponse::default().with_results(results.collect())
}

fn move_all(
    broker: &Broker,
    dir: &AlterReplicaLogDir,
    path: &str,
) -> Vec<AlterReplicaLogDirTopicResult> {
    let topics = broker.catalog.topics();
    let results = dir.topics.iter().map(|asked| {
        let topic = topics.named(&asked.name);
        let partitions = asked.partitions.iter().map(|index| {
            let error = if dir.path.as_str() != path {
                code(ResponseError::LogDirNotFound)
            } else if broker.logs.failed().is_some() {
                code(ResponseError::KafkaStorageError)
            } else if topic.is_none_or(|topic| topic.partition(*index).is_none()) {
                code(ResponseError::UnknownTopicOrPartition)
            } else {
                NONE
            };
            AlterReplicaLogDirPartitionResult::default()
                .with_partition_index(*index)
                .with_error_code(error)
        });
        AlterReplicaLogDirTopicResult::default()
            .with_topic_name(asked.name.clone())
            .with_partitions(partitions.collect())
    });
    results.collect()
}
