//! InitProducerId 0-5: an id and an epoch for a producer.
//!
//! Without a transactional id it is always a new id with epoch 0. With one it is the id's producer
//! under a newer epoch, which fences its predecessor; what that left open is aborted first, and the
//! client is told to ask again (CONCURRENT_TRANSACTIONS). A producer id without an epoch, or the
//! reverse, is INVALID_REQUEST.

use std::sync::Arc;

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::ProducerId;
use kafka_protocol::messages::init_producer_id_request::InitProducerIdRequest;
use kafka_protocol::messages::init_producer_id_response::InitProducerIdResponse;

use crate::api::{code, fenced_before};
use crate::broker::Broker;

/// From here on a fenced producer is told so.
const FENCED_FROM: i16 = 4;

/// Answers the request.
pub async fn answer(
    broker: Arc<Broker>,
    request: InitProducerIdRequest,
    version: i16,
) -> InitProducerIdResponse {
    match init(&broker, &request, version).await {
        Ok((id, epoch)) => InitProducerIdResponse::default()
            .with_producer_id(ProducerId(id))
            .with_producer_epoch(epoch),
        Err(error) => InitProducerIdResponse::default()
            .with_error_code(code(fenced_before(FENCED_FROM, version, error)))
            .with_producer_id(ProducerId(-1))
            .with_producer_epoch(-1),
    }
}

async fn init(
    broker: &Arc<Broker>,
    request: &InitProducerIdRequest,
    version: i16,
) -> Result<(i64, i16), ResponseError> {
    let (id, epoch) =
        if version >= 3 { (request.producer_id.0, request.producer_epoch) } else { (-1, -1) };
    if (id == -1) != (epoch == -1) {
        return Err(ResponseError::InvalidRequest);
    }
    let Some(transactional_id) = &request.transactional_id else {
        let shared = broker.clone();
        let next = tokio::task::spawn_blocking(move || shared.producer_ids.next()).await;
        return match next {
            Ok(Ok(id)) => Ok((id, 0)),
            Ok(Err(error)) => {
                tracing::error!(%error, "no producer id can be claimed");
                Err(ResponseError::CoordinatorNotAvailable)
            }
            Err(_) => Err(ResponseError::CoordinatorNotAvailable),
        };
    };
    if transactional_id.is_empty() {
        return Err(ResponseError::InvalidRequest);
    }
    let timeout_ms = request.transaction_timeout_ms;
    if !(1..=broker.config.transaction_max_timeout_ms).contains(&timeout_ms) {
        return Err(ResponseError::InvalidTransactionTimeout);
    }
    let claimed = (id != -1).then_some((id, epoch));
    broker.transactions.init(transactional_id, timeout_ms, claimed).await
}
