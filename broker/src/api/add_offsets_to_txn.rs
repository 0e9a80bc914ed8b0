//! AddOffsetsToTxn 0-4: a transaction is about to commit offsets of a group.

use std::sync::Arc;

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::add_offsets_to_txn_request::AddOffsetsToTxnRequest;
use kafka_protocol::messages::add_offsets_to_txn_response::AddOffsetsToTxnResponse;

use crate::api::{NONE, code, fenced_before};
use crate::broker::Broker;
use crate::group::internal::internal_topic;
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
    let place = place_of(broker, &request.group_id).await?;
    let producer = (request.producer_id.0, request.producer_epoch);
    broker.transactions.add(&request.transactional_id, producer, vec![place]).await
}

/// The partition that keeps a group's offsets; the topic is made if there is none.
pub(super) async fn place_of(broker: &Arc<Broker>, group: &str) -> Result<Place, ResponseError> {
    let shared = broker.clone();
    let make = move || internal_topic(&shared.catalog, &shared.config);
    match tokio::task::spawn_blocking(make).await {
        Ok(Ok(topic)) => Ok((topic.name.to_string(), partition_of(group, topic.partition_count()))),
        Ok(Err(error)) => {
            tracing::error!(%error, "the topic of committed offsets cannot be made");
            Err(ResponseError::CoordinatorNotAvailable)
        }
        Err(_) => Err(ResponseError::CoordinatorNotAvailable),
    }
}
