//! ConsumerGroupHeartbeat 0-1: a member joins, stays, is told what it owns, and leaves (KIP-848).
//!
//! Fields are sent only when they changed. From version 1 on the client makes its own member id.

use std::collections::BTreeSet;
use std::sync::Arc;

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::consumer_group_heartbeat_request::ConsumerGroupHeartbeatRequest;
use kafka_protocol::messages::consumer_group_heartbeat_response::{
    Assignment, ConsumerGroupHeartbeatResponse, TopicPartitions,
};
use uuid::Uuid;

use crate::api::offsets_topic::offsets_topic;
use crate::api::{Caller, code, text};
use crate::broker::Broker;
use crate::group::consumer::heartbeat::{Answer, Heartbeat, Refused};
use crate::group::consumer::member::{AWAY_EPOCH, JOIN_EPOCH};
use crate::group::consumer::records::NAME_BYTES_MAX;
use crate::group::consumer::topics::{Partitions, TopicPartition, by_topic};

/// From here on clients make their own ids.
const OWN_IDS_FROM: i16 = 1;

/// Answers the request.
pub async fn answer(
    broker: Arc<Broker>,
    caller: Arc<Caller>,
    client_id: String,
    request: ConsumerGroupHeartbeatRequest,
    version: i16,
) -> ConsumerGroupHeartbeatResponse {
    let refuse = |error, message: String| {
        ConsumerGroupHeartbeatResponse::default()
            .with_error_code(code(error))
            .with_error_message(Some(text(message)))
    };
    let bytes_max = usize::try_from(broker.config.group_member_metadata_max_bytes).unwrap_or(0);
    if let Err(message) = check(&request, version, bytes_max) {
        return refuse(ResponseError::InvalidRequest, message.into());
    }
    if broker.shares.groups.contains(&request.group_id) {
        let message = format!("Group {} is not a consumer group.", request.group_id.as_str());
        return refuse(ResponseError::GroupIdNotFound, message);
    }
    if let Err(error) = offsets_topic(&broker).await {
        return refuse(error, "the topic of groups cannot be made".into());
    }
    let beat = heartbeat(&request, client_id, caller.host.clone());
    match broker.groups.consumer_heartbeat(&request.group_id, &beat).await {
        Ok((answer, interval_ms)) => response(answer, interval_ms),
        Err(Refused { error, message }) => refuse(error, message),
    }
}

/// What Kafka asks of a request before it looks at the group.
fn check(
    request: &ConsumerGroupHeartbeatRequest,
    version: i16,
    bytes_max: usize,
) -> Result<(), &'static str> {
    let is_empty = |text: &Option<_>| {
        text.as_ref()
            .is_some_and(|text: &kafka_protocol::protocol::StrBytes| text.trim().is_empty())
    };
    if request.group_id.trim().is_empty() {
        return Err("GroupId can't be empty.");
    }
    if is_empty(&request.instance_id) {
        return Err("InstanceId can't be empty.");
    }
    if is_empty(&request.rack_id) {
        return Err("RackId can't be empty.");
    }
    if request.group_id.len() > NAME_BYTES_MAX || request.member_id.len() > NAME_BYTES_MAX {
        return Err("GroupId and MemberId can't be longer than 32767 bytes.");
    }
    let needs_id = version >= OWN_IDS_FROM || request.member_epoch != JOIN_EPOCH;
    if needs_id && request.member_id.trim().is_empty() {
        return Err("MemberId can't be empty.");
    }
    let named =
        request.subscribed_topic_names.iter().flatten().map(|name| name.len()).sum::<usize>();
    let told = [&request.instance_id, &request.rack_id, &request.subscribed_topic_regex];
    let told = told.into_iter().flatten().map(|text| text.len()).sum::<usize>();
    if named + told > bytes_max {
        return Err("The member tells more of itself than group.member.metadata.max.bytes.");
    }
    match request.member_epoch {
        JOIN_EPOCH if request.rebalance_timeout_ms == -1 => {
            Err("RebalanceTimeoutMs must be provided in first request.")
        }
        JOIN_EPOCH if request.topic_partitions.as_ref().is_none_or(|owned| !owned.is_empty()) => {
            Err("TopicPartitions must be empty when (re-)joining.")
        }
        JOIN_EPOCH
            if request.subscribed_topic_names.is_none()
                && request.subscribed_topic_regex.is_none() =>
        {
            Err("SubscribedTopicNames or SubscribedTopicRegex must be set in first request.")
        }
        AWAY_EPOCH if request.instance_id.is_none() => Err("InstanceId can't be null."),
        i32::MIN..AWAY_EPOCH => Err("MemberEpoch is invalid."),
        _ => Ok(()),
    }
}

fn heartbeat(
    request: &ConsumerGroupHeartbeatRequest,
    client_id: String,
    client_host: String,
) -> Heartbeat {
    let member_id = match request.member_id.as_str() {
        "" => Uuid::new_v4().to_string(),
        known => known.to_owned(),
    };
    let names = request
        .subscribed_topic_names
        .as_ref()
        .map(|names| names.iter().map(|name| name.to_string()).collect::<BTreeSet<String>>());
    let owned = request.topic_partitions.as_ref().map(|topics| {
        let partitions = topics.iter().flat_map(|topic| {
            topic.partitions.iter().map(|index| TopicPartition::new(topic.topic_id, *index))
        });
        partitions.collect::<Partitions>()
    });
    Heartbeat {
        member_id,
        epoch: request.member_epoch,
        instance_id: request.instance_id.as_deref().map(str::to_owned),
        rack_id: request.rack_id.as_deref().map(str::to_owned),
        rebalance_timeout_ms: Some(request.rebalance_timeout_ms).filter(|ms| *ms >= 0),
        topic_names: names,
        topic_regex: request.subscribed_topic_regex.as_deref().map(str::to_owned),
        assignor: request.server_assignor.as_deref().map(str::to_owned),
        owned,
        client_id,
        client_host,
    }
}

fn response(answer: Answer, interval_ms: i32) -> ConsumerGroupHeartbeatResponse {
    let assignment = answer.assignment.map(|owned| {
        let topics = by_topic(&owned).into_iter().map(|(topic, indexes)| {
            TopicPartitions::default().with_topic_id(topic).with_partitions(indexes)
        });
        Assignment::default().with_topic_partitions(topics.collect())
    });
    ConsumerGroupHeartbeatResponse::default()
        .with_member_id(Some(text(answer.member_id)))
        .with_member_epoch(answer.epoch)
        .with_heartbeat_interval_ms(if answer.epoch < 0 { 0 } else { interval_ms })
        .with_assignment(assignment)
}

#[cfg(test)]
mod tests {
    use kafka_protocol::messages::GroupId;

    use super::*;

    fn joining() -> ConsumerGroupHeartbeatRequest {
        ConsumerGroupHeartbeatRequest::default()
            .with_group_id(GroupId(text("g")))
            .with_member_id(text("m"))
            .with_rebalance_timeout_ms(1000)
            .with_subscribed_topic_names(Some(Vec::new()))
            .with_topic_partitions(Some(Vec::new()))
    }

    #[test]
    fn a_request_that_lacks_what_kafka_asks_for_is_refused() {
        let ok = |request: &ConsumerGroupHeartbeatRequest, version| check(request, version, 100);
        assert_eq!(ok(&joining(), 1), Ok(()));
        let anonymous = joining().with_member_id(text(""));
        assert_eq!(ok(&anonymous, 0), Ok(()));
        assert!(ok(&anonymous, 1).is_err());
        assert!(ok(&anonymous.with_member_epoch(3), 0).is_err());
        assert!(ok(&joining().with_group_id(GroupId(text(" "))), 1).is_err());
        assert!(ok(&joining().with_rebalance_timeout_ms(-1), 1).is_err());
        assert!(ok(&joining().with_topic_partitions(None), 1).is_err());
        assert!(ok(&joining().with_instance_id(Some(text(""))), 1).is_err());
        assert!(ok(&joining().with_member_epoch(-2), 1).is_err());
        assert!(ok(&joining().with_member_epoch(-3), 1).is_err());
        let unsubscribed = joining().with_subscribed_topic_names(None);
        assert!(ok(&unsubscribed, 1).is_err());
        assert_eq!(ok(&unsubscribed.with_subscribed_topic_regex(Some(text(""))), 1), Ok(()));
        assert!(ok(&joining().with_rack_id(Some(text("r".repeat(101)))), 1).is_err());
    }
}
