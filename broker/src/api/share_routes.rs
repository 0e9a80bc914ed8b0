//! The way to the APIs of share groups (KIP-932), and what they share.

use std::sync::Arc;

use bytes::Bytes;
use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::ApiKey;
use weir_protocol::header::RequestHeader;

use crate::api::{
    Begun, Caller, Refusal, alter_share_group_offsets, decode, delete_share_group_offsets,
    describe_share_group_offsets, later, reply, share_acknowledge, share_fetch,
    share_group_describe, share_group_heartbeat, transaction_routes,
};
use crate::broker::Broker;
use crate::share::cell::CellError;
use crate::share::state_log::Written;

/// Begins a request about share groups; the others are for the next to know.
pub(super) fn dispatch(
    api: ApiKey,
    broker: &Arc<Broker>,
    caller: &Arc<Caller>,
    header: &RequestHeader,
    body: Bytes,
) -> Result<Begun, Refusal> {
    let shared = broker.clone();
    Ok(match api {
        ApiKey::ShareGroupHeartbeat => {
            let client_id = header.client_id.as_deref().unwrap_or_default().to_owned();
            let client = share_group_heartbeat::Client { id: client_id, host: caller.host.clone() };
            later(header, share_group_heartbeat::answer(shared, decode(header, body)?, client))
        }
        ApiKey::ShareGroupDescribe => Begun::Done(reply(
            header,
            &share_group_describe::answer(broker, &decode(header, body)?),
        )),
        ApiKey::ShareFetch => later(header, share_fetch::answer(shared, decode(header, body)?)),
        ApiKey::ShareAcknowledge => {
            later(header, share_acknowledge::answer(shared, decode(header, body)?))
        }
        ApiKey::DescribeShareGroupOffsets => Begun::Done(reply(
            header,
            &describe_share_group_offsets::answer(broker, &decode(header, body)?),
        )),
        ApiKey::AlterShareGroupOffsets => {
            later(header, alter_share_group_offsets::answer(shared, decode(header, body)?))
        }
        ApiKey::DeleteShareGroupOffsets => {
            later(header, delete_share_group_offsets::answer(shared, decode(header, body)?))
        }
        _ => return transaction_routes::dispatch(api, broker, header, body),
    })
}

/// Waits until all of it is durable.
pub(super) async fn durable(written: &[Written]) -> Result<(), ResponseError> {
    for one in written {
        one.durable().await.map_err(|error| {
            tracing::error!(%error, "the state of a share group is not durable");
            ResponseError::KafkaStorageError
        })?;
    }
    Ok(())
}

/// Kafka's code for what a share-partition answered.
pub(super) fn error_of(error: &CellError) -> ResponseError {
    match error {
        CellError::Gone => ResponseError::UnknownTopicOrPartition,
        CellError::Storage(why) => {
            tracing::error!(why, "the state of a share group cannot be written");
            ResponseError::KafkaStorageError
        }
    }
}

/// Makes the internal topics of share groups, if they are not there.
pub(super) async fn internal_topics(
    broker: &Arc<Broker>,
) -> Result<Arc<crate::catalog::Topic>, ResponseError> {
    let shared = broker.clone();
    let make = move || shared.shares.internal_topics(&shared.catalog);
    match tokio::task::spawn_blocking(make).await {
        Ok(Ok(topic)) => Ok(topic),
        Ok(Err(error)) => {
            tracing::error!(%error, "the topics of share groups cannot be made");
            Err(ResponseError::CoordinatorNotAvailable)
        }
        Err(_) => Err(ResponseError::CoordinatorNotAvailable),
    }
}
