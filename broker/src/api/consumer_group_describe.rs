//! ConsumerGroupDescribe 0-1: groups whose partitions the broker assigns, with their members.

use std::sync::Arc;

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::consumer_group_describe_request::ConsumerGroupDescribeRequest;
use kafka_protocol::messages::consumer_group_describe_response::{
    Assignment, ConsumerGroupDescribeResponse, DescribedGroup, Member, TopicPartitions,
};
use kafka_protocol::messages::{GroupId, TopicName};

use crate::api::describe_groups::GROUP_OPERATIONS;
use crate::api::{code, text};
use crate::broker::Broker;
use crate::group::consumer;
use crate::group::consumer::topics::{Partitions, Topics, by_topic};
use crate::group::coordinator::ConsumerView;

/// From here on members are told by the protocol that they speak: 0 classic, 1 consumer.
const MEMBER_TYPES_FROM: i16 = 1;

/// Answers the request.
pub fn answer(
    broker: &Arc<Broker>,
    request: &ConsumerGroupDescribeRequest,
    version: i16,
) -> ConsumerGroupDescribeResponse {
    let groups = request.group_ids.iter().map(|id| {
        let mut described = describe(broker, id, version);
        if request.include_authorized_operations {
            described.authorized_operations = GROUP_OPERATIONS;
        }
        described
    });
    ConsumerGroupDescribeResponse::default().with_groups(groups.collect())
}

fn describe(broker: &Arc<Broker>, id: &GroupId, version: i16) -> DescribedGroup {
    let described = DescribedGroup::default().with_group_id(id.clone());
    if id.is_empty() {
        return described.with_error_code(code(ResponseError::InvalidGroupId));
    }
    let Some(ConsumerView { group, topics, assignor, .. }) = broker.groups.consumer_view(id) else {
        let message = format!("Group {} is not a consumer group.", id.as_str());
        return described
            .with_error_code(code(ResponseError::GroupIdNotFound))
            .with_error_message(Some(text(message)));
    };
    let members = group.members().iter().map(|(id, one)| {
        let target = group.target(id).cloned().unwrap_or_default();
        member(id, one, &target, &topics, version)
    });
    described
        .with_group_state(text(group.state().name()))
        .with_group_epoch(group.epoch())
        .with_assignment_epoch(group.target_epoch())
        .with_assignor_name(text(assignor.name()))
        .with_members(members.collect())
}

fn member(
    id: &str,
    member: &consumer::member::Member,
    target: &Partitions,
    topics: &Topics,
    version: i16,
) -> Member {
    let profile = &member.profile;
    let names = profile.topic_names.iter().map(|name| TopicName(text(name.clone())));
    let mut told = Member::default()
        .with_member_id(text(id))
        .with_instance_id(profile.instance_id.clone().map(text))
        .with_rack_id(profile.rack_id.clone().map(text))
        .with_member_epoch(member.standing.epoch)
        .with_client_id(text(profile.client_id.clone()))
        .with_client_host(text(profile.client_host.clone()))
        .with_subscribed_topic_names(names.collect())
        .with_subscribed_topic_regex(profile.topic_regex.clone().map(text))
        .with_assignment(assignment(&member.standing.owned(), topics))
        .with_target_assignment(assignment(target, topics));
    if version >= MEMBER_TYPES_FROM {
        told.member_type = i8::from(!member.is_classic());
    }
    told
}

/// Topics that are gone have no name to tell, and are left out.
fn assignment(partitions: &Partitions, topics: &Topics) -> Assignment {
    let named = by_topic(partitions).into_iter().filter_map(|(topic, indexes)| {
        let name = topics.name_of(&topic)?;
        let told = TopicPartitions::default().with_topic_id(topic).with_partitions(indexes);
        Some(told.with_topic_name(TopicName(text(name))))
    });
    Assignment::default().with_topic_partitions(named.collect())
}
