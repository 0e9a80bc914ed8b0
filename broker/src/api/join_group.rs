//! JoinGroup 0-9: a member comes into a group, or into its next generation.
//!
//! The answer waits until all members have joined. From version 4 on a new member is given an id
//! first and has to come back with it (KIP-394).

use std::sync::Arc;

use bytes::Bytes;
use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::join_group_request::JoinGroupRequest;
use kafka_protocol::messages::join_group_response::{JoinGroupResponse, JoinGroupResponseMember};
use uuid::Uuid;

use crate::api::offsets_topic::offsets_topic;
use crate::api::{Caller, NONE, code, text};
use crate::broker::Broker;
use crate::group::classic::{JoinAnswer, JoinRequest};

/// Answers the request.
pub async fn answer(
    broker: Arc<Broker>,
    caller: Arc<Caller>,
    client_id: String,
    request: JoinGroupRequest,
    version: i16,
) -> JoinGroupResponse {
    let answer = match check(&broker, &request) {
        Err(error) => JoinAnswer::refused(error, request.member_id.as_str()),
        // Groups are stored before their members work: the topic for that must be there.
        Ok(()) => match offsets_topic(&broker).await {
            Err(error) => JoinAnswer::refused(error, request.member_id.as_str()),
            Ok(_) => {
                let join = wish(&request, &caller, client_id, version);
                broker.groups.join(&request.group_id, join).await
            }
        },
    };
    response(answer, version)
}

fn check(broker: &Broker, request: &JoinGroupRequest) -> Result<(), ResponseError> {
    if request.group_id.is_empty() {
        return Err(ResponseError::InvalidGroupId);
    }
    if broker.shares.groups.contains(&request.group_id) {
        return Err(ResponseError::InconsistentGroupProtocol);
    }
    let config = &broker.config;
    let session = config.group_min_session_timeout_ms..=config.group_max_session_timeout_ms;
    if !session.contains(&request.session_timeout_ms) {
        return Err(ResponseError::InvalidSessionTimeout);
    }
    let said_bytes: usize =
        request.protocols.iter().map(|it| it.name.len() + it.metadata.len()).sum();
    let bytes_max = usize::try_from(config.group_member_metadata_max_bytes).unwrap_or(0);
    if said_bytes > bytes_max {
        return Err(ResponseError::MessageTooLarge);
    }
    Ok(())
}

fn wish(
    request: &JoinGroupRequest,
    caller: &Caller,
    client_id: String,
    version: i16,
) -> JoinRequest {
    let instance_id = request.group_instance_id.as_ref().map(|id| id.to_string());
    let named = instance_id.as_deref().unwrap_or(&client_id);
    let rebalance_timeout_ms =
        if version >= 1 { request.rebalance_timeout_ms } else { request.session_timeout_ms };
    JoinRequest {
        member_id: request.member_id.to_string(),
        new_member_id: format!("{named}-{}", Uuid::new_v4()),
        instance_id,
        client_id,
        client_host: caller.host.clone(),
        session_timeout_ms: request.session_timeout_ms,
        rebalance_timeout_ms: rebalance_timeout_ms.max(0),
        protocol_type: request.protocol_type.to_string(),
        protocols: request
            .protocols
            .iter()
            // Copied: a slice would keep the whole request in memory.
            .map(|it| (it.name.to_string(), Bytes::copy_from_slice(&it.metadata)))
            .collect(),
        requires_known_id: version >= 4,
        can_skip_assignment: version >= 9,
    }
}

fn response(answer: JoinAnswer, version: i16) -> JoinGroupResponse {
    let members = answer.members.into_iter().map(|member| {
        let mut told = JoinGroupResponseMember::default()
            .with_member_id(text(member.member_id))
            .with_metadata(member.metadata);
        if version >= 5 {
            told.group_instance_id = member.instance_id.map(text);
        }
        told
    });
    let mut response = JoinGroupResponse::default()
        .with_error_code(answer.error.map_or(NONE, code))
        .with_generation_id(answer.generation)
        .with_leader(text(answer.leader))
        .with_member_id(text(answer.member_id))
        .with_members(members.collect());
    response.protocol_name = answer.protocol.map(text);
    if version >= 7 {
        response.protocol_type = answer.protocol_type.map(text);
    } else {
        // Older versions know no null.
        response.protocol_name.get_or_insert_default();
    }
    if version >= 9 {
        response.skip_assignment = answer.skip_assignment;
    }
    response
}

#[cfg(test)]
mod tests {
    use kafka_protocol::protocol::Encodable;

    use super::*;
    use crate::group::classic::JoinedMember;

    #[test]
    fn every_version_takes_every_answer() {
        let told = JoinedMember {
            member_id: "m".into(),
            instance_id: Some("i".into()),
            metadata: Bytes::from_static(b"x"),
        };
        let full = JoinAnswer {
            error: None,
            generation: 1,
            protocol_type: Some("consumer".into()),
            protocol: Some("range".into()),
            leader: "m".into(),
            skip_assignment: true,
            member_id: "m".into(),
            members: vec![told],
        };
        let refused = JoinAnswer::refused(ResponseError::MemberIdRequired, "m");
        for version in 0..=9 {
            for answer in [&full, &refused] {
                let mut bytes = bytes::BytesMut::new();
                response(answer.clone(), version).encode(&mut bytes, version).unwrap();
            }
        }
    }
}
