//! DescribeQuorum 0-2: who keeps the metadata, told as of a KRaft cluster of one node.
//!
//! There is no topic `__cluster_metadata`: the catalog is a file that is saved whole. So its log ends
//! at 0, and its one voter, this broker, is always there.

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::describe_quorum_request::{self, DescribeQuorumRequest};
use kafka_protocol::messages::describe_quorum_response::{
    DescribeQuorumResponse, Listener, Node, PartitionData, ReplicaState, TopicData,
};

use crate::api::{Caller, NONE, code, text};
use crate::broker::Broker;

const METADATA_TOPIC: &str = "__cluster_metadata";
/// From here on it is told when a voter was heard last.
const TIMES_FROM: i16 = 1;
/// From here on directories and nodes are told.
const NODES_FROM: i16 = 2;

/// Answers the request.
pub fn answer(
    broker: &Broker,
    caller: &Caller,
    request: &DescribeQuorumRequest,
    version: i16,
) -> DescribeQuorumResponse {
    let is_valid = match request.topics.as_slice() {
        [topic] => {
            let indexes: Vec<i32> = topic.partitions.iter().map(|it| it.partition_index).collect();
            topic.topic_name.as_str() == METADATA_TOPIC && indexes == [0]
        }
        _ => false,
    };
    let topics = request.topics.iter().map(|asked| {
        let partitions = asked.partitions.iter().map(|partition| match is_valid {
            true => describe(broker, version),
            false => unknown(partition),
        });
        TopicData::default()
            .with_topic_name(asked.topic_name.clone())
            .with_partitions(partitions.collect())
    });
    let mut response =
        DescribeQuorumResponse::default().with_error_code(NONE).with_topics(topics.collect());
    if version >= NODES_FROM {
        let listener = Listener::default()
            .with_name(text("PLAINTEXT"))
            .with_host(caller.endpoint.host.clone())
            .with_port(caller.endpoint.port);
        let own = Node::default().with_node_id(broker.node_id()).with_listeners(vec![listener]);
        response.nodes = vec![own];
    }
    response
}

fn unknown(asked: &describe_quorum_request::PartitionData) -> PartitionData {
    PartitionData::default()
        .with_partition_index(asked.partition_index)
        .with_error_code(code(ResponseError::UnknownTopicOrPartition))
}

fn describe(broker: &Broker, version: i16) -> PartitionData {
    let mut voter =
        ReplicaState::default().with_replica_id(broker.node_id()).with_log_end_offset(0);
    if version >= TIMES_FROM {
        let now_ms = broker.clock.now_ms();
        voter.last_fetch_timestamp = now_ms;
        voter.last_caught_up_timestamp = now_ms;
    }
    PartitionData::default()
        .with_partition_index(0)
        .with_error_code(NONE)
        .with_leader_id(broker.node_id())
        .with_leader_epoch(0)
        .with_high_watermark(0)
        .with_current_voters(vec![voter])
}
