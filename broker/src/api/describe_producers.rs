//! DescribeProducers 0: who has written to a partition lately, and what each has open there.

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::ProducerId;
use kafka_protocol::messages::describe_producers_request::DescribeProducersRequest;
use kafka_protocol::messages::describe_producers_response::{
    DescribeProducersResponse, PartitionResponse, ProducerState, TopicResponse,
};

use crate::api::{NONE, code};
use crate::broker::Broker;
use crate::partition::Partition;

/// Answers the request.
pub fn answer(broker: &Broker, request: &DescribeProducersRequest) -> DescribeProducersResponse {
    let topics = broker.catalog.topics();
    let answered = request.topics.iter().map(|asked| {
        let topic = topics.named(&asked.name);
        let partitions = asked.partition_indexes.iter().map(|index| {
            let response = PartitionResponse::default().with_partition_index(*index);
            match topic.and_then(|topic| topic.partition(*index)) {
                Some(partition) => {
                    response.with_error_code(NONE).with_active_producers(producers(partition))
                }
                None => response.with_error_code(code(ResponseError::UnknownTopicOrPartition)),
            }
        });
        TopicResponse::default().with_name(asked.name.clone()).with_partitions(partitions.collect())
    });
    DescribeProducersResponse::default().with_topics(answered.collect())
}

fn producers(partition: &Partition) -> Vec<ProducerState> {
    let told = partition.producers().into_iter().map(|(id, producer)| {
        ProducerState::default()
            .with_producer_id(ProducerId(id))
            .with_producer_epoch(i32::from(producer.epoch))
            .with_last_sequence(producer.batches.back().map_or(-1, |batch| batch.last_sequence))
            .with_last_timestamp(producer.last_append_ms)
            .with_coordinator_epoch(producer.coordinator_epoch)
            .with_current_txn_start_offset(producer.open_from.map_or(-1, |first| first.0))
    });
    told.collect()
}
