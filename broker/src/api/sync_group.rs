//! SyncGroup 0-5: the leader says who does what, everybody learns what to do.

use std::sync::Arc;

use bytes::Bytes;
use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::sync_group_request::SyncGroupRequest;
use kafka_protocol::messages::sync_group_response::SyncGroupResponse;

use crate::api::{NONE, code, text};
use crate::broker::Broker;
use crate::group::classic::{SyncAnswer, SyncRequest};

/// Answers the request.
pub async fn answer(
    broker: Arc<Broker>,
    request: SyncGroupRequest,
    version: i16,
) -> SyncGroupResponse {
    if request.group_id.is_empty() {
        return response(SyncAnswer::refused(ResponseError::InvalidGroupId), version);
    }
    let assignments = request.assignments.iter();
    let wish = SyncRequest {
        member_id: request.member_id.to_string(),
        instance_id: request.group_instance_id.as_ref().map(|id| id.to_string()),
        generation: request.generation_id,
        protocol_type: request.protocol_type.as_ref().map(|name| name.to_string()),
        protocol: request.protocol_name.as_ref().map(|name| name.to_string()),
        assignments: assignments
            // Copied: a slice would keep the whole request in memory.
            .map(|it| (it.member_id.to_string(), Bytes::copy_from_slice(&it.assignment)))
            .collect(),
    };
    response(broker.groups.sync(&request.group_id, wish).await, version)
}

fn response(answer: SyncAnswer, version: i16) -> SyncGroupResponse {
    let mut response = SyncGroupResponse::default()
        .with_error_code(answer.error.map_or(NONE, code))
        .with_assignment(answer.assignment);
    if version >= 5 {
        response.protocol_type = answer.protocol_type.map(text);
        response.protocol_name = answer.protocol.map(text);
    }
    response
}

#[cfg(test)]
mod tests {
    use kafka_protocol::protocol::Encodable;

    use super::*;

    #[test]
    fn every_version_takes_every_answer() {
        let full = SyncAnswer {
            error: None,
            protocol_type: Some("consumer".into()),
            protocol: Some("range".into()),
            assignment: Bytes::from_static(b"x"),
        };
        let refused = SyncAnswer::refused(ResponseError::RebalanceInProgress);
        for version in 0..=5 {
            for answer in [&full, &refused] {
                let mut bytes = bytes::BytesMut::new();
                response(answer.clone(), version).encode(&mut bytes, version).unwrap();
            }
        }
    }
}
