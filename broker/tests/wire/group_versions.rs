//! The APIs of groups in every version, for groups that are there, empty, and missing.

use bytes::Bytes;
use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::leave_group_request::MemberIdentity;
use kafka_protocol::messages::offset_delete_request::{
    OffsetDeleteRequestPartition, OffsetDeleteRequestTopic,
};
use kafka_protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use kafka_protocol::messages::{
    DeleteGroupsRequest, DescribeGroupsRequest, GroupId, HeartbeatRequest, JoinGroupRequest,
    LeaveGroupRequest, ListGroupsRequest, OffsetDeleteRequest, SyncGroupRequest, TopicName,
};

use crate::client::{Client, text};
use crate::every_version::all;

/// A wish to join.
pub(crate) fn join(group: &str, member: &str) -> JoinGroupRequest {
    let protocol = JoinGroupRequestProtocol::default()
        .with_name(text("range"))
        .with_metadata(Bytes::from_static(b"\0\0\0\0\0\x01\0\x01t\0\0\0\0"));
    JoinGroupRequest::default()
        .with_group_id(GroupId(text(group)))
        .with_session_timeout_ms(10_000)
        .with_member_id(text(member))
        .with_protocol_type(text("consumer"))
        .with_protocols(vec![protocol])
}

pub(crate) async fn ask(client: &mut Client) {
    // Groups that nobody else knows: an answer that waits for other members would wait for ever.
    all(client, |version| {
        let mut request = join(&format!("join-{version}"), "");
        if version >= 1 {
            request.rebalance_timeout_ms = 10_000;
        }
        if version >= 5 {
            request.group_instance_id = Some(text("i"));
        }
        request
    })
    .await;
    let joined = client.call(3, &join("stable", "").with_rebalance_timeout_ms(10_000)).await;
    all(client, |version| {
        let work = SyncGroupRequestAssignment::default()
            .with_member_id(joined.member_id.clone())
            .with_assignment(Bytes::from_static(b"work"));
        let mut request = SyncGroupRequest::default()
            .with_group_id(GroupId(text("stable")))
            .with_generation_id(joined.generation_id)
            .with_member_id(joined.member_id.clone())
            .with_assignments(vec![work]);
        if version >= 5 {
            request.protocol_type = Some(text("consumer"));
            request.protocol_name = Some(text("range"));
        }
        request
    })
    .await;
    all(client, |_| {
        HeartbeatRequest::default()
            .with_group_id(GroupId(text("stable")))
            .with_generation_id(joined.generation_id)
            .with_member_id(joined.member_id.clone())
    })
    .await;
    all(client, |version| {
        let names = ["stable", "g", "missing", ""].map(|name| GroupId(text(name)));
        DescribeGroupsRequest::default()
            .with_groups(names.to_vec())
            .with_include_authorized_operations(version >= 3)
    })
    .await;
    all(client, |version| {
        let mut request = ListGroupsRequest::default();
        if version >= 4 {
            request.states_filter = vec![text("stable"), text("Empty")];
        }
        if version >= 5 {
            request.types_filter = vec![text("Classic")];
        }
        request
    })
    .await;
    all(client, |_| {
        let partition = OffsetDeleteRequestPartition::default().with_partition_index(0);
        let topics = ["t", "missing"].map(|topic| {
            OffsetDeleteRequestTopic::default()
                .with_name(TopicName(text(topic)))
                .with_partitions(vec![partition.clone()])
        });
        OffsetDeleteRequest::default()
            .with_group_id(GroupId(text("g")))
            .with_topics(topics.to_vec())
    })
    .await;
    all(client, |_| {
        let names = ["stable", "g", "missing"].map(|name| GroupId(text(name)));
        DeleteGroupsRequest::default().with_groups_names(names.to_vec())
    })
    .await;
    all(client, |version| {
        let request = LeaveGroupRequest::default().with_group_id(GroupId(text("stable")));
        if version < 3 {
            return request.with_member_id(joined.member_id.clone());
        }
        let member = MemberIdentity::default().with_member_id(joined.member_id.clone());
        let other = MemberIdentity::default().with_group_instance_id(Some(text("i")));
        request.with_members(vec![member, other])
    })
    .await;
}
