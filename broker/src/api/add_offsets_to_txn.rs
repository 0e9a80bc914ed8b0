//! AddOffsetsToTxn 0-4: a transaction is about to commit offsets of a group.

use std::sync::Arc;

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::add_offsets_to_txn_request::AddOffsetsToTxnRequest;
use kafka_protocol::messages::add_offsets_to_txn_response::AddOffsetsToTxnResponse;

use crate::api::offsets_topic::offsets_topic;
use crate::api::{NONE, code, fenced_before};
use crate::broker::Broker;
use crate::catalog::Topic;
use crate::group::offset_records::partition_of;
use crate::transaction::state::Place;

/// From here on a fenced producer is told so.
const FENCED_FROM: i16 = 2;

/// Answers the request.
pub async fn answer(
    broker: Arc<Broker>,
    request: AddOffsetsToTxnRequest,
    version: i16,
) -> AddOffsetsToTxnResponse {
    let added = add(&broker, &request).await;
    let error = added.err().map(|error| fenced_before(FENCED_FROM, version, error));
    AddOffsetsToTxnResponse::default().with_error_code(error.map_or(NONE, code))
}

async fn add(broker: &Arc<Broker>, request: &AddOffsetsToTxnRequest) -> Result<(), ResponseError> {
    if request.group_id.is_empty() {
        return Err(ResponseError::InvalidGroupId);
    }
    if request.transactional_id.is_empty() {
        return Err(ResponseError::InvalidRequest);
    }
    let place = place_in(&*offsets_topic(broker).await?, &request.group_id);
    let producer = (request.producer_id.0, request.producer_epoch);
    broker.transactions.add(&request.transactional_id, producer, vec![place]).await
}

/// The partition of the topic that keeps a group's offsets.
pub(super) fn place_in(topic: &Topic, group: &str) -> Place {
    (topic.name.to_string(), partition_of(group, topic.partition_count()))
}
