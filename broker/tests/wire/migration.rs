//! Groups that change their kind while members work: up, down, refused, and over a restart.

use bytes::Bytes;
use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::consumer_group_heartbeat_request::TopicPartitions;
use kafka_protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use kafka_protocol::messages::{
    ConsumerGroupDescribeRequest, DescribeGroupsRequest, GroupId, HeartbeatRequest,
    JoinGroupResponse, LeaveGroupRequest, ListGroupsRequest, SyncGroupRequest,
};
use weir_broker::config::Config;
use weir_broker::start::RunningBroker;

use crate::client::{Client, code, config, text};
use crate::consumer_groups::{beats, commit, joins, owned};
use crate::group_versions::join;

/// All four partitions of `t`, as a leader writes it.
const ALL: &[u8] =
    b"\0\0\0\0\0\x01\0\x01t\0\0\0\x04\0\0\0\0\0\0\0\x01\0\0\0\x02\0\0\0\x03\xff\xff\xff\xff";

fn settings(folder: &std::path::Path, policy: &str) -> Config {
    let mut config = config(folder);
    config.set("group.initial.rebalance.delay.ms", "0").expect("valid");
    config.set("group.consumer.migration.policy", policy).expect("valid");
    config
}

async fn joined(client: &mut Client, member: &str) -> JoinGroupResponse {
    client.call(6, &join("g", member).with_rebalance_timeout_ms(10_000)).await
}

async fn synced(client: &mut Client, joined: &JoinGroupResponse, work: &[u8]) -> (i16, Bytes) {
    let mut request = SyncGroupRequest::default()
        .with_group_id(GroupId(text("g")))
        .with_generation_id(joined.generation_id)
        .with_member_id(joined.member_id.clone())
        .with_protocol_type(Some(text("consumer")))
        .with_protocol_name(Some(text("range")));
    if !work.is_empty() {
        let assignment = SyncGroupRequestAssignment::default()
            .with_member_id(joined.member_id.clone())
            .with_assignment(Bytes::copy_from_slice(work));
        request.assignments.push(assignment);
    }
    let answer = client.call(5, &request).await;
    (answer.error_code, answer.assignment)
}

async fn beaten(client: &mut Client, member: &str, generation: i32) -> i16 {
    let request = HeartbeatRequest::default()
        .with_group_id(GroupId(text("g")))
        .with_generation_id(generation)
        .with_member_id(text(member));
    client.call(4, &request).await.error_code
}

/// A classic group of one member, Ada, who reads all.
async fn ada(client: &mut Client) -> String {
    let asked = joined(client, "").await;
    assert_eq!(asked.error_code, code(ResponseError::MemberIdRequired));
    let led = joined(client, &asked.member_id).await;
    assert_eq!((led.generation_id, &led.leader), (1, &led.member_id));
    assert_eq!(synced(client, &led, ALL).await.0, 0);
    led.member_id.to_string()
}

async fn listed(client: &mut Client) -> (String, String) {
    let groups = client.call(5, &ListGroupsRequest::default()).await.groups;
    assert_eq!(groups.len(), 1);
    (groups[0].group_type.to_string(), groups[0].group_state.to_string())
}

/// The partitions of `t` in an assignment.
fn partitions(assignment: &[u8]) -> Vec<i32> {
    let (head, rest) = assignment.split_at(13);
    assert_eq!(head, &[b"\0\0\0\0\0\x01\0\x01t\0\0\0", &head[12..]].concat());
    let numbers = rest.chunks(4).map(|it| i32::from_be_bytes(it.try_into().expect("four bytes")));
    numbers.take(usize::from(head[12])).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_classic_group_is_upgraded_and_downgraded_while_its_member_reads() {
    let folder = tempfile::tempdir().expect("a folder");
    let settings = settings(folder.path(), "Bidirectional");
    let broker = RunningBroker::start(settings.clone()).await.expect("a start");
    let mut client = Client::of(&broker).await;
    client.create("t", 4, &[]).await;
    let ada = ada(&mut client).await;
    assert_eq!(listed(&mut client).await, ("classic".into(), "Stable".into()));

    let eve = client.call(1, &joins("g", "eve")).await;
    assert_eq!((eve.error_code, eve.member_epoch, owned(&eve)), (0, 2, Some(vec![])));
    assert_eq!(listed(&mut client).await, ("consumer".into(), "Reconciling".into()));
    let called = code(ResponseError::RebalanceInProgress);
    assert_eq!(beaten(&mut client, &ada, 1).await, called);
    assert_eq!(commit(&mut client, &ada, 1).await, 0, "before she lets go");
    broker.stop().await.expect("a clean stop");

    // The broker restarts in the middle of it.
    let broker = RunningBroker::start(settings.clone()).await.expect("a start");
    let mut client = Client::of(&broker).await;
    assert_eq!(owned(&client.call(1, &beats("g", "eve", 2)).await), None, "nothing is free");
    assert_eq!(beaten(&mut client, &ada, 1).await, called);
    let again = joined(&mut client, &ada).await;
    assert_eq!((again.error_code, again.generation_id, again.leader.as_str()), (0, 2, ""));
    let (error, work) = synced(&mut client, &again, b"").await;
    assert_eq!((error, partitions(&work).len()), (0, 2));
    let given = owned(&client.call(1, &beats("g", "eve", 2)).await).expect("her share");
    assert!(given.len() == 2 && !given.iter().any(|it| partitions(&work).contains(it)));
    assert_eq!(beaten(&mut client, &ada, 2).await, 0);
    assert_eq!(commit(&mut client, &ada, 2).await, 0);
    let illegal = code(ResponseError::IllegalGeneration);
    assert_eq!(commit(&mut client, &ada, 1).await, illegal);
    let request = ConsumerGroupDescribeRequest::default().with_group_ids(vec![GroupId(text("g"))]);
    let described = client.call(1, &request).await.groups.remove(0);
    let mut kinds: Vec<(&str, i8)> =
        described.members.iter().map(|it| (it.member_id.as_str(), it.member_type)).collect();
    kinds.sort_by_key(|(_, kind)| *kind);
    assert_eq!((kinds, described.group_state.as_str()), (vec![(&*ada, 0), ("eve", 1)], "Stable"));
    let request = DescribeGroupsRequest::default().with_groups(vec![GroupId(text("g"))]);
    let missing = code(ResponseError::GroupIdNotFound);
    assert_eq!(client.call(6, &request).await.groups[0].error_code, missing);

    // Eve leaves: the group is classic again, and all is to be shared out by Ada.
    assert_eq!(client.call(1, &beats("g", "eve", -1)).await.error_code, 0);
    assert_eq!(listed(&mut client).await, ("classic".into(), "PreparingRebalance".into()));
    broker.stop().await.expect("a clean stop");
    let broker = RunningBroker::start(settings).await.expect("a start");
    let mut client = Client::of(&broker).await;
    assert_eq!(listed(&mut client).await, ("classic".into(), "PreparingRebalance".into()));
    assert_eq!(client.call(1, &beats("g", "eve", 2)).await.error_code, missing);
    assert_eq!(beaten(&mut client, &ada, 2).await, called);
    let led = joined(&mut client, &ada).await;
    assert_eq!((led.generation_id, led.leader.as_str()), (3, &*ada));
    assert_eq!(synced(&mut client, &led, ALL).await, (0, Bytes::from_static(ALL)));
    assert_eq!(beaten(&mut client, &ada, 3).await, 0);
    broker.stop().await.expect("a clean stop");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_classic_member_joins_and_leaves_a_consumer_group() {
    let folder = tempfile::tempdir().expect("a folder");
    let broker = RunningBroker::start(settings(folder.path(), "upgrade")).await.expect("a start");
    let mut client = Client::of(&broker).await;
    client.create("t", 4, &[]).await;
    let eve = client.call(1, &joins("g", "eve")).await;
    let topic = eve.assignment.expect("partitions").topic_partitions[0].topic_id;
    let asked = joined(&mut client, "").await;
    assert_eq!(asked.error_code, code(ResponseError::MemberIdRequired));
    let first = joined(&mut client, &asked.member_id).await;
    let (error, work) = synced(&mut client, &first, b"").await;
    assert_eq!((error, first.generation_id), (0, 2));
    assert_eq!(work, Bytes::from_static(b"\0\0\0\0\0\0\xff\xff\xff\xff"), "all is Eve's");
    let told = owned(&client.call(1, &beats("g", "eve", 1)).await).expect("to let go of two");
    assert_eq!(beaten(&mut client, &first.member_id, 2).await, 0, "nothing is free yet");
    let mut done = beats("g", "eve", 1);
    let kept = TopicPartitions::default().with_topic_id(topic).with_partitions(told.clone());
    done.topic_partitions = Some(vec![kept]);
    assert_eq!(client.call(1, &done).await.member_epoch, 2);
    let called = code(ResponseError::RebalanceInProgress);
    assert_eq!(beaten(&mut client, &first.member_id, 2).await, called, "now there is");
    let second = joined(&mut client, &first.member_id).await;
    let (_, work) = synced(&mut client, &second, b"").await;
    assert_eq!((partitions(&work).len(), second.generation_id), (2, 2));
    // Who knows of no assignor that the others know is turned away.
    let mut strange = join("g", "").with_rebalance_timeout_ms(10_000);
    strange.protocols[0].name = text("mine");
    let inconsistent = code(ResponseError::InconsistentGroupProtocol);
    assert_eq!(client.call(6, &strange).await.error_code, inconsistent);

    // By this policy it stays a consumer group when only classic members are left.
    client.call(1, &beats("g", "eve", -1)).await;
    assert_eq!(beaten(&mut client, &first.member_id, 2).await, called);
    let third = joined(&mut client, &first.member_id).await;
    let (_, work) = synced(&mut client, &third, b"").await;
    assert_eq!((partitions(&work), third.generation_id), (vec![0, 1, 2, 3], 3));
    assert_eq!(listed(&mut client).await, ("consumer".into(), "Stable".into()));
    let leave = LeaveGroupRequest::default()
        .with_group_id(GroupId(text("g")))
        .with_member_id(first.member_id.clone());
    assert_eq!(client.call(2, &leave).await.error_code, 0);
    assert_eq!(listed(&mut client).await, ("consumer".into(), "Empty".into()));
    broker.stop().await.expect("a clean stop");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_that_may_not_or_cannot_change_stays_what_it_is() {
    let missing = code(ResponseError::GroupIdNotFound);
    for policy in ["disabled", "downgrade"] {
        let folder = tempfile::tempdir().expect("a folder");
        let broker = RunningBroker::start(settings(folder.path(), policy)).await.expect("a start");
        let mut client = Client::of(&broker).await;
        client.create("t", 4, &[]).await;
        let ada = ada(&mut client).await;
        assert_eq!(client.call(1, &joins("g", "eve")).await.error_code, missing, "{policy}");
        assert_eq!(beaten(&mut client, &ada, 1).await, 0);
        broker.stop().await.expect("a clean stop");
    }
    let folder = tempfile::tempdir().expect("a folder");
    let broker = RunningBroker::start(settings(folder.path(), "disabled")).await.expect("a start");
    let mut client = Client::of(&broker).await;
    client.create("t", 4, &[]).await;
    client.call(1, &joins("g", "eve")).await;
    let inconsistent = code(ResponseError::InconsistentGroupProtocol);
    assert_eq!(joined(&mut client, "").await.error_code, inconsistent);
    client.call(1, &beats("g", "eve", -1)).await;
    let ada = ada(&mut client).await;
    assert_eq!(beaten(&mut client, &ada, 1).await, 0, "an empty group changes its kind");
    broker.stop().await.expect("a clean stop");

    // What an assignor of one's own has told the members would be lost.
    let folder = tempfile::tempdir().expect("a folder");
    let bidirectional = settings(folder.path(), "bidirectional");
    let broker = RunningBroker::start(bidirectional).await.expect("a start");
    let mut client = Client::of(&broker).await;
    let asked = joined(&mut client, "").await;
    let led = joined(&mut client, &asked.member_id).await;
    synced(&mut client, &led, b"\0\0\0\0\0\0\0\0\0\x01x").await;
    let refused = client.call(1, &joins("g", "eve")).await;
    let reason = refused.error_message.expect("a reason");
    assert!(refused.error_code == missing && reason.contains("assignor"), "{reason}");
    assert_eq!(beaten(&mut client, &led.member_id, 1).await, 0);
    broker.stop().await.expect("a clean stop");
}
