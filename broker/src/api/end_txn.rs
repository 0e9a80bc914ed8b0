//! EndTxn 0-5: commits or aborts. Answered when readers see how it ended.
//!
//! From version 5 on the epoch is bumped, and the answer tells with which id and epoch the producer
//! goes on (KIP-890, part 2).

use std::sync::Arc;

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::ProducerId;
use kafka_protocol::messages::end_txn_request::EndTxnRequest;
use kafka_protocol::messages::end_txn_response::EndTxnResponse;
use weir_protocol::records::control::Marker;

use crate::api::{code, fenced_before};
use crate::broker::Broker;
use crate::transaction::state::Version;

/// From here on a fenced producer is told so.
const FENCED_FROM: i16 = 2;
/// From here on the epoch is bumped.
const BUMPS_FROM: i16 = 5;

/// Answers the request.
pub async fn answer(broker: Arc<Broker>, request: EndTxnRequest, version: i16) -> EndTxnResponse {
    let marker = if request.committed { Marker::Commit } else { Marker::Abort };
    let producer = (request.producer_id.0, request.producer_epoch);
    let bumps = version >= BUMPS_FROM;
    let rules = if bumps { Version::Two } else { Version::One };
    let ended = if request.transactional_id.is_empty() {
        Err(ResponseError::InvalidRequest)
    } else {
        broker.transactions.end(&request.transactional_id, producer, marker, rules).await
    };
    match ended {
        Ok((id, epoch)) if bumps => {
            EndTxnResponse::default().with_producer_id(ProducerId(id)).with_producer_epoch(epoch)
        }
        Ok(_) => EndTxnResponse::default(),
        Err(error) => EndTxnResponse::default().with_error_code(code(fenced_before(
            FENCED_FROM,
            version,
            error,
        ))),
    }
}
