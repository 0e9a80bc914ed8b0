//! ShareGroupDescribe 1: who is in a share group, and works on what.

use std::collections::{BTreeMap, BTreeSet};

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::share_group_describe_response::{
    Assignment, DescribedGroup, Member, ShareGroupDescribeResponse, TopicPartitions,
};
use kafka_protocol::messages::{GroupId, ShareGroupDescribeRequest, TopicName};
use uuid::Uuid;

use crate::api::{code, text};
use crate::broker::Broker;
use crate::catalog::Topics;
use crate::share::assignor;
use crate::share::membership;
use crate::share::session::Place;

/// Says that nobody asked who may do what.
const NOT_ASKED: i32 = i32::MIN;

/// Answers the request.
pub fn answer(broker: &Broker, request: &ShareGroupDescribeRequest) -> ShareGroupDescribeResponse {
    let topics = broker.catalog.topics();
    let groups = request.group_ids.iter().map(|group| describe(broker, &topics, group));
    ShareGroupDescribeResponse::default().with_groups(groups.collect())
}

fn describe(broker: &Broker, topics: &Topics, id: &GroupId) -> DescribedGroup {
    let described =
        DescribedGroup::default().with_group_id(id.clone()).with_authorized_operations(NOT_ASKED);
    if id.is_empty() {
        return described.with_error_code(code(ResponseError::InvalidGroupId));
    }
    let Some(group) = broker.shares.groups.named(id.as_str()) else {
        return described
            .with_error_code(code(ResponseError::GroupIdNotFound))
            .with_error_message(Some(text(format!("Group {} not found.", id.as_str()))))
            .with_group_state(text("Dead"));
    };
    let members = group.members().iter().map(|(id, member)| describe_member(topics, id, member));
    described
        .with_group_state(text(group.state()))
        .with_group_epoch(group.epoch())
        .with_assignment_epoch(group.assignment_epoch())
        .with_assignor_name(text(assignor::NAME))
        .with_members(members.collect())
}

fn describe_member(topics: &Topics, id: &str, member: &membership::Member) -> Member {
    let subscribed = member.metadata.topics.iter();
    let subscribed = subscribed.map(|name| TopicName(text(name.clone())));
    Member::default()
        .with_member_id(text(id))
        .with_rack_id(member.metadata.rack.clone().map(text))
        .with_member_epoch(member.current.epoch)
        .with_client_id(text(member.metadata.client_id.clone()))
        .with_client_host(text(member.metadata.client_host.clone()))
        .with_subscribed_topic_names(subscribed.collect())
        .with_assignment(assignment(topics, &member.current.places))
}

fn assignment(topics: &Topics, places: &BTreeSet<Place>) -> Assignment {
    let mut by_topic: BTreeMap<Uuid, Vec<i32>> = BTreeMap::new();
    for place in places {
        by_topic.entry(place.topic).or_default().push(place.partition);
    }
    // A topic that is gone has no name to tell.
    let named = by_topic.into_iter().filter_map(|(id, partitions)| {
        let topic = topics.identified(&id)?;
        let named = TopicPartitions::default()
            .with_topic_id(id)
            .with_topic_name(topic.name.clone())
            .with_partitions(partitions);
        Some(named)
    });
    Assignment::default().with_topic_partitions(named.collect())
}
