//! Which handler answers which API of those who look after a cluster.

use std::sync::Arc;

use bytes::Bytes;
use kafka_protocol::messages::{ApiKey, ListPartitionReassignmentsRequest};
use weir_protocol::header::RequestHeader;

use crate::api::{
    Begun, Caller, Refusal, alter_partition_reassignments, alter_replica_log_dirs, decode,
    describe_log_dirs, describe_quorum, elect_leaders, group_routes, list_partition_reassignments,
    reply, update_features, wait,
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
    let response = match api {
        ApiKey::AlterReplicaLogDirs => {
            let (shared, request) = (broker.clone(), decode(header, body)?);
            return Ok(wait(header, move || alter_replica_log_dirs::answer(&shared, &request)));
        }
        ApiKey::DescribeLogDirs => {
            let (shared, request) = (broker.clone(), decode(header, body)?);
            return Ok(wait(header, move || describe_log_dirs::answer(&shared, &request, version)));
        }
        ApiKey::ElectLeaders => {
            reply(header, &elect_leaders::answer(broker, &decode(header, body)?, version))
        }
        ApiKey::AlterPartitionReassignments => {
            let request = decode(header, body)?;
            reply(header, &alter_partition_reassignments::answer(broker, &request, version))
        }
        ApiKey::ListPartitionReassignments => {
            let _: ListPartitionReassignmentsRequest = decode(header, body)?;
            reply(header, &list_partition_reassignments::answer())
        }
        ApiKey::DescribeQuorum => {
            let request = decode(header, body)?;
            reply(header, &describe_quorum::answer(broker, caller, &request, version))
        }
        ApiKey::UpdateFeatures => {
            reply(header, &update_features::answer(&decode(header, body)?, version))
        }
        _ => return group_routes::dispatch(api, broker, caller, header, body),
    };
    Ok(Begun::Done(response))
}
