//! LeaveGroup 0-5: members go. From version 3 on several at once, static ones by their instance id.

use std::sync::Arc;

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::leave_group_request::{LeaveGroupRequest, MemberIdentity};
use kafka_protocol::messages::leave_group_response::{LeaveGroupResponse, MemberResponse};

use crate::api::{NONE, code};
use crate::broker::Broker;

/// Answers the request.
pub fn answer(
    broker: &Arc<Broker>,
    request: &LeaveGroupRequest,
    version: i16,
) -> LeaveGroupResponse {
    let response = LeaveGroupResponse::default();
    if request.group_id.is_empty() {
        return response.with_error_code(code(ResponseError::InvalidGroupId));
    }
    let leave = |member_id: &str, instance_id: Option<&str>| {
        let left = broker.groups.leave(&request.group_id, member_id, instance_id);
        left.err().map_or(NONE, code)
    };
    if version < 3 {
        return response.with_error_code(leave(&request.member_id, None));
    }
    let members = request.members.iter().map(|member: &MemberIdentity| {
        let instance_id = member.group_instance_id.as_deref();
        MemberResponse::default()
            .with_member_id(member.member_id.clone())
            .with_group_instance_id(member.group_instance_id.clone())
            .with_error_code(leave(&member.member_id, instance_id))
    });
    response.with_members(members.collect())
}
