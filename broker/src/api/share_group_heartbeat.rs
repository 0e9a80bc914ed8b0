//! ShareGroupHeartbeat 1: a member of a share group joins, stays, subscribes anew or leaves.
//!
//! The answer says its epoch and, when it has to hear of them, its partitions. What it changes is
//! durable before the answer.

use std::collections::BTreeMap;
use std::sync::Arc;

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::ShareGroupHeartbeatRequest;
use kafka_protocol::messages::share_group_heartbeat_response::{
    Assignment, ShareGroupHeartbeatResponse, TopicPartitions,
};
use uuid::Uuid;

use crate::api::share_routes::{durable, internal_topics};
use crate::api::{code, text};
use crate::broker::Broker;
use crate::share::groups::HeartbeatError;
use crate::share::membership::{Heartbeat, LEAVE_EPOCH, Told};
use crate::share::session::{Place, SessionKey};

/// Where a heartbeat comes from.
pub struct Client {
    /// What the client calls itself.
    pub id: String,
    /// Its address.
    pub host: String,
}

/// Answers the request.
pub async fn answer(
    broker: Arc<Broker>,
    request: ShareGroupHeartbeatRequest,
    client: Client,
) -> ShareGroupHeartbeatResponse {
    let settings = broker.shares.settings(request.group_id.as_str());
    match beat(&broker, &request, client).await {
        Ok(told) => ShareGroupHeartbeatResponse::default()
            .with_member_id(Some(request.member_id))
            .with_member_epoch(told.epoch)
            .with_heartbeat_interval_ms(settings.heartbeat_ms)
            .with_assignment(told.places.map(assignment)),
        Err((error, why)) => ShareGroupHeartbeatResponse::default()
            .with_error_code(code(error))
            .with_error_message(Some(text(why))),
    }
}

async fn beat(
    broker: &Arc<Broker>,
    request: &ShareGroupHeartbeatRequest,
    client: Client,
) -> Result<Told, (ResponseError, String)> {
    let invalid = |why: &str| Err((ResponseError::InvalidRequest, why.to_owned()));
    let group = request.group_id.as_str();
    if group.is_empty() {
        return invalid("GroupId can't be empty.");
    }
    if request.member_id.is_empty() {
        return invalid("MemberId can't be empty.");
    }
    if request.rack_id.as_ref().is_some_and(|rack| rack.is_empty()) {
        return invalid("RackId can't be empty.");
    }
    if broker.groups.view(group).is_some() || broker.groups.consumer_view(group).is_some() {
        let why = format!("Group {group} is not a share group.");
        return Err((ResponseError::GroupIdNotFound, why));
    }
    let topics = request.subscribed_topic_names.as_ref();
    let heartbeat = Heartbeat {
        member: request.member_id.to_string(),
        epoch: request.member_epoch,
        rack: request.rack_id.as_ref().map(ToString::to_string),
        client_id: client.id,
        client_host: client.host,
        topics: topics.map(|names| names.iter().map(|name| name.to_string()).collect()),
    };
    let log = internal_topics(broker).await.map_err(|error| (error, String::new()))?;
    let topics = broker.catalog.topics();
    let find = |name: &str| topics.named(name).map(|topic| (topic.id, topic.partition_count()));
    let now_ms = broker.clock.now_ms();
    let until_ms = now_ms.saturating_add(broker.shares.settings(group).session_ms);
    let members_max = usize::try_from(broker.config.group_share_max_size).unwrap_or(0);
    let groups = &broker.shares.groups;
    let beaten = groups.heartbeat(&log, group, &heartbeat, &find, members_max, (now_ms, until_ms));
    let (told, written) = beaten.map_err(|error| match error {
        HeartbeatError::Refused(error) => (error, refusal(error, request)),
        HeartbeatError::Storage(error) => {
            tracing::error!(group, %error, "a share group cannot be written");
            (ResponseError::CoordinatorNotAvailable, String::new())
        }
    })?;
    let mut written: Vec<_> = written.into_iter().collect();
    if told.epoch == LEAVE_EPOCH {
        let key = SessionKey { group: group.to_owned(), member: heartbeat.member };
        broker.shares.sessions().end_all(|other, _| *other == key);
        written.extend(broker.shares.release(&key, now_ms));
    }
    let durable = durable(&written).await;
    durable.map_err(|_| (ResponseError::CoordinatorNotAvailable, String::new()))?;
    Ok(told)
}

fn refusal(error: ResponseError, request: &ShareGroupHeartbeatRequest) -> String {
    let (group, member) = (request.group_id.as_str(), request.member_id.as_str());
    match error {
        ResponseError::InvalidRequest if request.member_epoch < LEAVE_EPOCH => {
            "MemberEpoch is invalid.".into()
        }
        ResponseError::InvalidRequest => {
            "SubscribedTopicNames must be set in first request.".into()
        }
        ResponseError::UnknownMemberId => {
            format!("Member {member} is not a member of group {group}.")
        }
        ResponseError::FencedMemberEpoch => format!(
            "The share group member's epoch {} is not that of the group's coordinator: it must \
             abandon its partitions and join again.",
            request.member_epoch
        ),
        ResponseError::GroupMaxSizeReached => {
            format!("The share group {group} has reached its maximum capacity.")
        }
        _ => String::new(),
    }
}

fn assignment(places: std::collections::BTreeSet<Place>) -> Assignment {
    let mut topics: BTreeMap<Uuid, Vec<i32>> = BTreeMap::new();
    for place in places {
        topics.entry(place.topic).or_default().push(place.partition);
    }
    let topics = topics.into_iter().map(|(topic, partitions)| {
        TopicPartitions::default().with_topic_id(topic).with_partitions(partitions)
    });
    Assignment::default().with_topic_partitions(topics.collect())
}
