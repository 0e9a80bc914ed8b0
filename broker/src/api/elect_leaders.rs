//! ElectLeaders 0-2: who shall lead. This broker leads every partition, so no election is needed;
//! of all partitions (null) those are left out, as in Kafka, and that is all of them.

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::elect_leaders_request::ElectLeadersRequest;
use kafka_protocol::messages::elect_leaders_response::{
    ElectLeadersResponse, PartitionResult, ReplicaElectionResult,
};

use crate::api::{code, text};
use crate::broker::Broker;

/// Version 0 asks for the preferred leader only.
const TYPE_FROM: i16 = 1;
/// The preferred replica, or any that is alive.
const ELECTION_TYPES: [i8; 2] = [0, 1];

/// Answers the request.
pub fn answer(
    broker: &Broker,
    request: &ElectLeadersRequest,
    version: i16,
) -> ElectLeadersResponse {
    if version >= TYPE_FROM && !ELECTION_TYPES.contains(&request.election_type) {
        return ElectLeadersResponse::default()
            .with_error_code(code(ResponseError::InvalidRequest));
    }
    let topics = broker.catalog.topics();
    let results = request.topic_partitions.iter().flatten().map(|asked| {
        let topic = topics.named(&asked.topic);
        let partitions = asked.partitions.iter().map(|index| {
            let is_known = topic.is_some_and(|topic| topic.partition(*index).is_some());
            let (error, why) = if is_known {
                (ResponseError::ElectionNotNeeded, "This broker leads the partition already.")
            } else {
                (ResponseError::UnknownTopicOrPartition, "There is no such partition.")
            };
            PartitionResult::default()
                .with_partition_id(*index)
                .with_error_code(code(error))
                .with_error_message(Some(text(why)))
        });
        ReplicaElectionResult::default()
            .with_topic(asked.topic.clone())
            .with_partition_result(partitions.collect())
    });
    ElectLeadersResponse::default().with_replica_election_results(results.collect())
}
