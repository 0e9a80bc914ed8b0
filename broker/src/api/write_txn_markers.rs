//! WriteTxnMarkers 1: ends transactions in partitions, past their coordinator.
//!
//! In Kafka brokers send it to each other; here it is for the operator who finds a transaction that
//! stays open (`kafka-transactions.sh abort`). Answered when all markers are durable.

use std::sync::Arc;

use kafka_protocol::messages::write_txn_markers_request::{
    WritableTxnMarker, WriteTxnMarkersRequest,
};
use kafka_protocol::messages::write_txn_markers_response::{
    WritableTxnMarkerPartitionResult, WritableTxnMarkerResult, WritableTxnMarkerTopicResult,
    WriteTxnMarkersResponse,
};
use weir_protocol::records::control::Marker;

use crate::api::{NONE, code};
use crate::broker::Broker;
use crate::transaction::markers::Mark;

/// Answers the request.
pub async fn answer(
    broker: Arc<Broker>,
    request: WriteTxnMarkersRequest,
) -> WriteTxnMarkersResponse {
    let marks = request.markers.iter().flat_map(marks).collect();
    let mut codes = broker.transactions.mark(marks).await.into_iter().map(|marked| match marked {
        Ok(()) => NONE,
        Err(error) => code(error),
    });
    // In the order in which they were asked for.
    let mut response = WriteTxnMarkersResponse::default();
    for marker in &request.markers {
        let mut result = WritableTxnMarkerResult::default().with_producer_id(marker.producer_id);
        for topic in &marker.topics {
            let partitions = topic.partition_indexes.iter().zip(&mut codes);
            let partitions = partitions.map(|(index, error_code)| {
                WritableTxnMarkerPartitionResult::default()
                    .with_partition_index(*index)
                    .with_error_code(error_code)
            });
            let topic = WritableTxnMarkerTopicResult::default()
                .with_name(topic.name.clone())
                .with_partitions(partitions.collect());
            result.topics.push(topic);
        }
        response.markers.push(result);
    }
    response
}

fn marks(marker: &WritableTxnMarker) -> impl Iterator<Item = Mark> {
    let places = marker.topics.iter().flat_map(|topic| {
        topic.partition_indexes.iter().map(|index| (topic.name.to_string(), *index))
    });
    places.map(|place| Mark {
        place,
        producer: (marker.producer_id.0, marker.producer_epoch),
        marker: if marker.transaction_result { Marker::Commit } else { Marker::Abort },
        coordinator_epoch: marker.coordinator_epoch,
    })
}
