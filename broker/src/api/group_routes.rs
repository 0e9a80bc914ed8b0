//! Which handler answers which API of consumer groups.

use std::sync::Arc;

use bytes::Bytes;
use kafka_protocol::messages::ApiKey;
use weir_protocol::header::RequestHeader;

use crate::api::{
    Begun, Caller, Refusal, consumer_group_describe, consumer_group_heartbeat, decode,
    delete_groups, describe_groups, heartbeat, join_group, later, leave_group, list_groups,
    offset_commit, offset_delete, offset_fetch, reply, share_routes, sync_group,
};
use crate::broker::Broker;

/// Begins a request of one of these APIs; the others are for the next to know.
pub(super) fn dispatch(
    api: ApiKey,
    broker: &Arc<Broker>,
    caller: &Arc<Caller>,
    header: &RequestHeader,
    body: Bytes,
) -> Result<Begun, Refusal> {
    let version = header.api_version;
    let shared = broker.clone();
    Ok(match api {
        ApiKey::OffsetCommit => {
            later(header, offset_commit::answer(shared, decode(header, body)?, version))
        }
        ApiKey::OffsetFetch => {
            later(header, offset_fetch::answer(shared, decode(header, body)?, version))
        }
        ApiKey::JoinGroup => {
            let client_id = header.client_id.as_deref().unwrap_or_default().to_owned();
            let (caller, request) = (caller.clone(), decode(header, body)?);
            later(header, join_group::answer(shared, caller, client_id, request, version))
        }
        ApiKey::SyncGroup => {
            later(header, sync_group::answer(shared, decode(header, body)?, version))
        }
        ApiKey::Heartbeat => {
            Begun::Done(reply(header, &heartbeat::answer(broker, &decode(header, body)?)))
        }
        ApiKey::LeaveGroup => {
            let request = decode(header, body)?;
            Begun::Done(reply(header, &leave_group::answer(broker, &request, version)))
        }
        ApiKey::DescribeGroups => {
            let request = decode(header, body)?;
            Begun::Done(reply(header, &describe_groups::answer(broker, &request, version)))
        }
        ApiKey::ListGroups => {
            let request = decode(header, body)?;
            Begun::Done(reply(header, &list_groups::answer(broker, &request, version)))
        }
        ApiKey::DeleteGroups => later(header, delete_groups::answer(shared, decode(header, body)?)),
        ApiKey::OffsetDelete => later(header, offset_delete::answer(shared, decode(header, body)?)),
        ApiKey::ConsumerGroupHeartbeat => {
            let client_id = header.client_id.as_deref().unwrap_or_default().to_owned();
            let (caller, request) = (caller.clone(), decode(header, body)?);
            let answer =
                consumer_group_heartbeat::answer(shared, caller, client_id, request, version);
            later(header, answer)
        }
        ApiKey::ConsumerGroupDescribe => {
            let request = decode(header, body)?;
            Begun::Done(reply(header, &consumer_group_describe::answer(broker, &request, version)))
        }
        _ => return share_routes::dispatch(api, broker, caller, header, body),
    })
}
