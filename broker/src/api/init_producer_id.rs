//! InitProducerId 0-5: an id for an idempotent producer; always a new one, with epoch 0.
//!
//! Not: transactions. A transactional id is refused with TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
//! which every client takes as final instead of asking again for ever. A producer id without an
//! epoch, or the reverse, is INVALID_REQUEST.

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::ProducerId;
use kafka_protocol::messages::init_producer_id_request::InitProducerIdRequest;
use kafka_protocol::messages::init_producer_id_response::InitProducerIdResponse;

use crate::api::code;
use crate::broker::Broker;

/// Answers the request.
pub fn answer(broker: &Broker, request: &InitProducerIdRequest) -> InitProducerIdResponse {
    match next(broker, request) {
        Ok(id) => InitProducerIdResponse::default()
            .with_producer_id(ProducerId(id))
            .with_producer_epoch(0),
        Err(error) => InitProducerIdResponse::default()
            .with_error_code(code(error))
            .with_producer_id(ProducerId(-1))
            .with_producer_epoch(-1),
    }
}

fn next(broker: &Broker, request: &InitProducerIdRequest) -> Result<i64, ResponseError> {
    if request.transactional_id.is_some() {
        tracing::info!("a transactional producer was refused: transactions are not served");
        return Err(ResponseError::TransactionalIdAuthorizationFailed);
    }
    if (request.producer_id.0 == -1) != (request.producer_epoch == -1) {
        return Err(ResponseError::InvalidRequest);
    }
    broker.producer_ids.next().map_err(|error| {
        tracing::error!(%error, "no producer id can be claimed");
        ResponseError::CoordinatorNotAvailable
    })
}
