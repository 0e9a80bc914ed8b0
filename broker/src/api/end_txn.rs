//! EndTxn 0-4: commits or aborts. Answered when readers see how it ended.

use std::sync::Arc;

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::end_txn_request::EndTxnRequest;
use kafka_protocol::messages::end_txn_response::EndTxnResponse;
use weir_protocol::records::control::Marker;

use crate::api::{NONE, code, fenced_before};
use crate::broker::Broker;

/// From here on a fenced producer is told so.
const FENCED_FROM: i16 = 2;

/// Answers the request.
pub async fn answer(broker: Arc<Broker>, request: EndTxnRequest, version: i16) -> EndTxnResponse {
    let marker = if request.committed { Marker::Commit } else { Marker::Abort };
    let producer = (request.producer_id.0, request.producer_epoch);
    let ended = if request.transactional_id.is_empty() {
        Err(ResponseError::InvalidRequest)
    } else {
        broker.transactions.end(&request.transactional_id, producer, marker).await
    };
    let error = ended.err().map(|error| fenced_before(FENCED_FROM, version, error));
    EndTxnResponse::default().with_error_code(error.map_or(NONE, code))
}
