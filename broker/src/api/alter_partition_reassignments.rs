//! AlterPartitionReassignments 0-1: which brokers shall hold a partition. Only this one can: that
//! wish is granted at once, so no reassignment is ever in progress, and none can be cancelled.

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::alter_partition_reassignments_request::{
    AlterPartitionReassignmentsRequest, ReassignablePartition,
};
use kafka_protocol::messages::alter_partition_reassignments_response::{
    AlterPartitionReassignmentsResponse, ReassignablePartitionResponse, ReassignableTopicResponse,
};

use crate::api::{NONE, code, text};
use crate::broker::Broker;
use crate::catalog::Topic;

/// From here on the answer repeats whether the count of replicas may change.
const FACTOR_FROM: i16 = 1;

/// Answers the request.
pub fn answer(
    broker: &Broker,
    request: &AlterPartitionReassignmentsRequest,
    version: i16,
) -> AlterPartitionReassignmentsResponse {
    let topics = broker.catalog.topics();
    let responses = request.topics.iter().map(|asked| {
        let topic = topics.named(&asked.name);
        let partitions = asked.partitions.iter().map(|partition| {
            let response = ReassignablePartitionResponse::default()
                .with_partition_index(partition.partition_index);
            match check(broker, topic.map(AsRef::as_ref), partition) {
                Ok(()) => response.with_error_code(NONE),
                Err((error, why)) => {
                    response.with_error_code(code(error)).with_error_message(Some(text(why)))
                }
            }
        });
        ReassignableTopicResponse::default()
            .with_name(asked.name.clone())
            .with_partitions(partitions.collect())
    });
    let mut response =
        AlterPartitionReassignmentsResponse::default().with_responses(responses.collect());
    if version >= FACTOR_FROM {
        response.allow_replication_factor_change = request.allow_replication_factor_change;
    }
    response
}

fn check(
    broker: &Broker,
    topic: Option<&Topic>,
    asked: &ReassignablePartition,
) -> Result<(), (ResponseError, &'static str)> {
    let is_known = topic.is_some_and(|topic| topic.partition(asked.partition_index).is_some());
    match &asked.replicas {
        _ if !is_known => {
            Err((ResponseError::UnknownTopicOrPartition, "There is no such partition."))
        }
        None => Err((ResponseError::NoReassignmentInProgress, "The partition is not being moved.")),
        Some(replicas) if *replicas == [broker.node_id()] => Ok(()),
        Some(_) => Err((
            ResponseError::InvalidReplicaAssignment,
            "A partition can only lie on this one broker, once.",
        )),
    }
}
