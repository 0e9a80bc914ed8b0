//! DescribeGroups 0-6: classic groups with their members.
//!
//! A group that is not there is `Dead`; from version 6 on it is also GROUP_ID_NOT_FOUND. One that
//! only has offsets is `Empty`.

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::GroupId;
use kafka_protocol::messages::describe_groups_request::DescribeGroupsRequest;
use kafka_protocol::messages::describe_groups_response::{
    DescribeGroupsResponse, DescribedGroup, DescribedGroupMember,
};

use crate::api::{code, text};
use crate::broker::Broker;
use crate::group::classic::{ClassicGroup, State};

/// What a group may have done to it: READ, DELETE and DESCRIBE, as bits.
const GROUP_OPERATIONS: i32 = 1 << 3 | 1 << 6 | 1 << 8;

/// Answers the request.
pub fn answer(
    broker: &Broker,
    request: &DescribeGroupsRequest,
    version: i16,
) -> DescribeGroupsResponse {
    let groups = request.groups.iter().map(|id| {
        let mut described = describe(broker, id, version);
        if version >= 3 && request.include_authorized_operations {
            described.authorized_operations = GROUP_OPERATIONS;
        }
        described
    });
    DescribeGroupsResponse::default().with_groups(groups.collect())
}

fn describe(broker: &Broker, id: &GroupId, version: i16) -> DescribedGroup {
    let described = DescribedGroup::default().with_group_id(id.clone());
    if id.is_empty() {
        return described.with_error_code(code(ResponseError::InvalidGroupId));
    }
    if let Some(view) = broker.groups.view(id) {
        return with_members(described, &view.group, version);
    }
    if !broker.offsets.all_of(id).is_empty() {
        return described.with_group_state(text(State::Empty.name()));
    }
    let described = described.with_group_state(text("Dead"));
    if version < 6 {
        return described;
    }
    described
        .with_error_code(code(ResponseError::GroupIdNotFound))
        .with_error_message(Some(text(format!("Group {} not found.", id.as_str()))))
}

fn with_members(described: DescribedGroup, group: &ClassicGroup, version: i16) -> DescribedGroup {
    let is_stable = group.state() == State::Stable;
    let protocol = group.protocol().filter(|_| is_stable).unwrap_or_default();
    let members = group.members().iter().map(|(id, member)| {
        let mut told = DescribedGroupMember::default()
            .with_member_id(text(id.clone()))
            .with_client_id(text(member.client_id.clone()))
            .with_client_host(text(member.client_host.clone()));
        if is_stable {
            told.member_metadata = member.metadata(protocol);
            told.member_assignment = member.assignment.clone();
        }
        if version >= 4 {
            told.group_instance_id = member.instance_id.clone().map(text);
        }
        told
    });
    described
        .with_group_state(text(group.state().name()))
        .with_protocol_type(text(group.protocol_type().unwrap_or_default()))
        .with_protocol_data(text(protocol))
        .with_members(members.collect())
}
