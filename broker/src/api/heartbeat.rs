//! Heartbeat 0-4: a member of a group says that it lives, and learns whether it has to join again.

use std::sync::Arc;

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::heartbeat_request::HeartbeatRequest;
use kafka_protocol::messages::heartbeat_response::HeartbeatResponse;

use crate::api::{NONE, code};
use crate::broker::Broker;

/// Answers the request.
pub fn answer(broker: &Arc<Broker>, request: &HeartbeatRequest) -> HeartbeatResponse {
    let result = if request.group_id.is_empty() {
        Err(ResponseError::InvalidGroupId)
    } else {
        broker.groups.heartbeat(
            &request.group_id,
            &request.member_id,
            request.group_instance_id.as_deref(),
            request.generation_id,
        )
    };
    HeartbeatResponse::default().with_error_code(result.err().map_or(NONE, code))
}
