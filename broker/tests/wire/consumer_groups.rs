//! Groups of KIP-848 over the wire: members are given partitions, are fenced, and outlive a restart.

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kafka_protocol::messages::offset_fetch_request::OffsetFetchRequestGroup;
use kafka_protocol::messages::{
    ApiVersionsRequest, ConsumerGroupDescribeRequest, ConsumerGroupHeartbeatRequest,
    ConsumerGroupHeartbeatResponse, DeleteGroupsRequest, DescribeGroupsRequest, GroupId,
    ListGroupsRequest, OffsetCommitRequest, OffsetFetchRequest, TopicName,
};
use weir_broker::start::RunningBroker;

use crate::client::{Client, broker, code, config, text};
use crate::every_version::all;

fn id(group: &str) -> GroupId {
    GroupId(text(group))
}

pub(crate) fn joins(group: &str, member: &str) -> ConsumerGroupHeartbeatRequest {
    ConsumerGroupHeartbeatRequest::default()
        .with_group_id(id(group))
        .with_member_id(text(member))
        .with_rebalance_timeout_ms(10_000)
        .with_subscribed_topic_names(Some(vec![TopicName(text("t"))]))
        .with_topic_partitions(Some(Vec::new()))
}

pub(crate) fn beats(group: &str, member: &str, epoch: i32) -> ConsumerGroupHeartbeatRequest {
    ConsumerGroupHeartbeatRequest::default()
        .with_group_id(id(group))
        .with_member_id(text(member))
        .with_member_epoch(epoch)
        .with_rebalance_timeout_ms(-1)
}

pub(crate) fn owned(response: &ConsumerGroupHeartbeatResponse) -> Option<Vec<i32>> {
    let assignment = response.assignment.as_ref()?;
    let topics = assignment.topic_partitions.iter();
    Some(topics.flat_map(|topic| topic.partitions.clone()).collect())
}

pub(crate) async fn commit(client: &mut Client, member: &str, epoch: i32) -> i16 {
    let partition =
        OffsetCommitRequestPartition::default().with_partition_index(0).with_committed_offset(5);
    let topic = OffsetCommitRequestTopic::default()
        .with_name(TopicName(text("t")))
        .with_partitions(vec![partition]);
    let request = OffsetCommitRequest::default()
        .with_group_id(id("g"))
        .with_generation_id_or_member_epoch(epoch)
        .with_member_id(text(member))
        .with_topics(vec![topic]);
    client.call(9, &request).await.topics[0].partitions[0].error_code
}

/// Heartbeats and descriptions in every version.
pub(crate) async fn ask(client: &mut Client) {
    all(client, |version| {
        let request =
            joins(&format!("kip848-{version}"), "m").with_server_assignor(Some(text("range")));
        if version == 0 { request } else { request.with_subscribed_topic_regex(Some(text("t.*"))) }
    })
    .await;
    all(client, |_| {
        ConsumerGroupDescribeRequest::default()
            .with_group_ids(["kip848-0", "kip848-1", "missing", ""].map(id).to_vec())
            .with_include_authorized_operations(true)
    })
    .await;
    all(client, |version| beats(&format!("kip848-{version}"), "m", -1)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_members_share_a_topic_and_whoever_comes_with_a_wrong_epoch_is_fenced() {
    let (_folder, broker) = broker().await;
    let mut client = Client::of(&broker).await;
    client.create("t", 4, &[]).await;
    let ada = client.call(1, &joins("g", "ada")).await;
    assert_eq!((ada.error_code, ada.member_epoch, ada.heartbeat_interval_ms), (0, 1, 5_000));
    assert_eq!(owned(&ada), Some(vec![0, 1, 2, 3]));
    let topic = ada.assignment.expect("partitions").topic_partitions[0].topic_id;
    let bob = client.call(1, &joins("g", "bob")).await;
    assert_eq!((bob.member_epoch, owned(&bob)), (2, Some(Vec::new())));
    let told = client.call(1, &beats("g", "ada", 1)).await;
    assert_eq!((told.member_epoch, owned(&told)), (1, Some(vec![0, 1])));
    let mut done = beats("g", "ada", 1);
    let kept =
        kafka_protocol::messages::consumer_group_heartbeat_request::TopicPartitions::default();
    done.topic_partitions = Some(vec![kept.with_topic_id(topic).with_partitions(vec![0, 1])]);
    assert_eq!(client.call(1, &done).await.member_epoch, 2);
    let given = client.call(1, &beats("g", "bob", 2)).await;
    assert_eq!(owned(&given), Some(vec![2, 3]));

    let refused = |response: ConsumerGroupHeartbeatResponse| response.error_code;
    let fenced = code(ResponseError::FencedMemberEpoch);
    assert_eq!(refused(client.call(1, &beats("g", "ada", 7)).await), fenced);
    let unknown = code(ResponseError::UnknownMemberId);
    assert_eq!(refused(client.call(1, &beats("g", "eve", 1)).await), unknown);
    let missing = code(ResponseError::GroupIdNotFound);
    assert_eq!(refused(client.call(1, &beats("missing", "eve", 1)).await), missing);
    let mut strange = joins("g", "eve").with_subscribed_topic_regex(Some(text("(")));
    let invalid = code(ResponseError::InvalidRegularExpression);
    assert_eq!(refused(client.call(1, &strange).await), invalid);
    strange = joins("g", "eve").with_server_assignor(Some(text("mine")));
    let unsupported = code(ResponseError::UnsupportedAssignor);
    assert_eq!(refused(client.call(1, &strange).await), unsupported);
    assert_eq!(commit(&mut client, "ada", 2).await, 0);
    assert_eq!(commit(&mut client, "ada", 1).await, 0, "partition 0 is Ada's since epoch 1");
    assert_eq!(commit(&mut client, "bob", 1).await, code(ResponseError::StaleMemberEpoch));
    assert_eq!(commit(&mut client, "eve", 2).await, unknown);
    assert_eq!(commit(&mut client, "", -1).await, unknown, "no admin while members read");
    for (member, epoch, wanted) in
        [("ada", 2, 0), ("ada", 1, code(ResponseError::StaleMemberEpoch)), ("eve", 2, unknown)]
    {
        let group = OffsetFetchRequestGroup::default()
            .with_group_id(id("g"))
            .with_member_id(Some(text(member)))
            .with_member_epoch(epoch)
            .with_topics(None);
        let request = OffsetFetchRequest::default().with_groups(vec![group]);
        assert_eq!(client.call(9, &request).await.groups[0].error_code, wanted, "{member} {epoch}");
    }
    broker.stop().await.expect("a clean stop");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_is_listed_described_and_deleted_by_its_type() {
    let (_folder, broker) = broker().await;
    let mut client = Client::of(&broker).await;
    client.create("t", 1, &[]).await;
    client.call(1, &joins("g", "ada")).await;
    for (kind, count) in [("consumer", 1), ("classic", 0)] {
        let request = ListGroupsRequest::default().with_types_filter(vec![text(kind)]);
        let listed = client.call(5, &request).await;
        assert_eq!(listed.groups.len(), count, "{kind}");
    }
    let request = ConsumerGroupDescribeRequest::default().with_group_ids(vec![id("g"), id("no")]);
    let described = client.call(1, &request).await.groups;
    let (group, missing) = (&described[0], &described[1]);
    assert_eq!((group.group_state.as_str(), group.assignor_name.as_str()), ("Stable", "uniform"));
    assert_eq!((group.group_epoch, group.assignment_epoch), (1, 1));
    let member = &group.members[0];
    assert_eq!((member.member_id.as_str(), member.member_type), ("ada", 1));
    assert_eq!(member.assignment.topic_partitions[0].topic_name.as_str(), "t");
    assert_eq!(member.assignment, member.target_assignment);
    assert_eq!(missing.error_code, code(ResponseError::GroupIdNotFound));
    let request = DescribeGroupsRequest::default().with_groups(vec![id("g")]);
    assert_eq!(client.call(5, &request).await.groups[0].group_state.as_str(), "Dead");
    let delete = DeleteGroupsRequest::default().with_groups_names(vec![id("g")]);
    let refused = client.call(2, &delete).await.results[0].error_code;
    assert_eq!(refused, code(ResponseError::NonEmptyGroup));
    client.call(1, &beats("g", "ada", -1)).await;
    assert_eq!(client.call(2, &delete).await.results[0].error_code, 0);
    assert!(client.call(5, &ListGroupsRequest::default()).await.groups.is_empty());
    broker.stop().await.expect("a clean stop");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_changes_nothing_for_the_members() {
    let folder = tempfile::tempdir().expect("a folder");
    let broker = RunningBroker::start(config(folder.path())).await.expect("a start");
    let mut client = Client::of(&broker).await;
    client.create("t", 2, &[]).await;
    client.call(1, &joins("g", "ada")).await;
    client.call(1, &joins("g", "bob")).await;
    let told = client.call(1, &beats("g", "ada", 1)).await;
    assert_eq!(owned(&told), Some(vec![0]));
    broker.stop().await.expect("a clean stop");

    let broker = RunningBroker::start(config(folder.path())).await.expect("a start");
    let mut client = Client::of(&broker).await;
    // Ada has not said that she let go of partition 1: Bob does not get it.
    let bob = client.call(1, &beats("g", "bob", 2)).await;
    assert_eq!((bob.error_code, bob.member_epoch, owned(&bob)), (0, 2, None));
    // She leaves: all is Bob's, and stays his.
    client.call(1, &beats("g", "ada", -1)).await;
    let bob = client.call(1, &beats("g", "bob", 2)).await;
    assert_eq!((bob.member_epoch, owned(&bob)), (3, Some(vec![0, 1])));
    broker.stop().await.expect("a clean stop");
    let broker = RunningBroker::start(config(folder.path())).await.expect("a start");
    let mut client = Client::of(&broker).await;
    let ada = client.call(1, &beats("g", "ada", 1)).await;
    assert_eq!(ada.error_code, code(ResponseError::UnknownMemberId));
    let bob = client.call(1, &beats("g", "bob", 3)).await;
    assert_eq!((bob.error_code, bob.member_epoch), (0, 3));
    broker.stop().await.expect("a clean stop");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_feature_is_told_and_old_clients_are_spared_its_levels() {
    let (_folder, broker) = broker().await;
    let mut client = Client::of(&broker).await;
    let request = ApiVersionsRequest::default()
        .with_client_software_name(text("c"))
        .with_client_software_version(text("1"));
    for version in [3, 4] {
        let told = client.call(version, &request).await;
        assert_eq!(told.supported_features.is_empty(), version < 4);
        let level = told.finalized_features.iter().find(|it| it.name.as_str() == "group.version");
        assert_eq!(level.map(|it| it.max_version_level), Some(1));
        assert_eq!(told.finalized_features_epoch, 0);
    }
    broker.stop().await.expect("a clean stop");
}
