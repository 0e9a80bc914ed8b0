//! Groups over the wire: members share work, commit under their generation, and outlive a restart.

use std::time::Duration;

use tokio::time::Instant;

use bytes::Bytes;
use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kafka_protocol::messages::offset_fetch_request::{
    OffsetFetchRequestGroup, OffsetFetchRequestTopics,
};
use kafka_protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use kafka_protocol::messages::{
    DeleteGroupsRequest, DescribeGroupsRequest, GroupId, HeartbeatRequest, JoinGroupResponse,
    ListGroupsRequest, OffsetCommitRequest, OffsetFetchRequest, SyncGroupRequest, TopicName,
};
use weir_broker::config::Config;
use weir_broker::start::RunningBroker;

use crate::client::{Client, config, text};
use crate::group_versions::join;

fn quick(folder: &std::path::Path) -> Config {
    let mut config = config(folder);
    config.set("group.initial.rebalance.delay.ms", "50").expect("valid");
    config
}

fn id(group: &str) -> GroupId {
    GroupId(text(group))
}

async fn joined(client: &mut Client, member: &str) -> JoinGroupResponse {
    client.call(3, &join("g", member).with_rebalance_timeout_ms(10_000)).await
}

fn sync(joined: &JoinGroupResponse, work: &[(&str, &'static [u8])]) -> SyncGroupRequest {
    let assignments = work.iter().map(|(member, work)| {
        SyncGroupRequestAssignment::default()
            .with_member_id(text(member))
            .with_assignment(Bytes::from_static(work))
    });
    SyncGroupRequest::default()
        .with_group_id(id("g"))
        .with_generation_id(joined.generation_id)
        .with_member_id(joined.member_id.clone())
        .with_assignments(assignments.collect())
}

async fn beat(client: &mut Client, joined: &JoinGroupResponse) -> i16 {
    let request = HeartbeatRequest::default()
        .with_group_id(id("g"))
        .with_generation_id(joined.generation_id)
        .with_member_id(joined.member_id.clone());
    client.call(4, &request).await.error_code
}

async fn commit(client: &mut Client, member: &str, generation: i32, offset: i64) -> i16 {
    let partition = OffsetCommitRequestPartition::default()
        .with_partition_index(0)
        .with_committed_offset(offset)
        .with_committed_metadata(Some(text("note")));
    let topic = OffsetCommitRequestTopic::default()
        .with_name(TopicName(text("t")))
        .with_partitions(vec![partition]);
    let request = OffsetCommitRequest::default()
        .with_group_id(id("g"))
        .with_generation_id_or_member_epoch(generation)
        .with_member_id(text(member))
        .with_topics(vec![topic]);
    client.call(8, &request).await.topics[0].partitions[0].error_code
}

async fn committed(client: &mut Client) -> (i64, String) {
    let topic = OffsetFetchRequestTopics::default()
        .with_name(TopicName(text("t")))
        .with_partition_indexes(vec![0]);
    let group =
        OffsetFetchRequestGroup::default().with_group_id(id("g")).with_topics(Some(vec![topic]));
    let request = OffsetFetchRequest::default().with_groups(vec![group]);
    let answer = client.call(8, &request).await;
    let found = &answer.groups[0].topics[0].partitions[0];
    (found.committed_offset, found.metadata.as_deref().unwrap_or_default().to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn members_share_the_work_commit_and_outlive_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let broker = RunningBroker::start(quick(folder.path())).await.unwrap();
    let (mut one, mut two) = (Client::of(&broker).await, Client::of(&broker).await);
    one.create("t", 1, &[]).await;
    let (first, second) = tokio::join!(joined(&mut one, ""), joined(&mut two, ""));
    assert_eq!((first.error_code, second.error_code), (0, 0));
    assert_eq!((first.generation_id, second.generation_id), (1, 1));
    let (leader, follower) =
        if first.leader == first.member_id { (&first, &second) } else { (&second, &first) };
    assert_eq!(leader.members.len(), 2);
    assert!(follower.members.is_empty());
    let work: [(&str, &[u8]); 2] = [(&leader.member_id, b"L"), (&follower.member_id, b"F")];
    let (mine, other) = (sync(&first, &work), sync(&second, &work));
    let (mine, other) = tokio::join!(one.call(3, &mine), two.call(3, &other));
    let of =
        |answer: &JoinGroupResponse| if answer.member_id == leader.member_id { "L" } else { "F" };
    assert_eq!(&mine.assignment[..], of(&first).as_bytes());
    assert_eq!(&other.assignment[..], of(&second).as_bytes());

    assert_eq!(commit(&mut one, &first.member_id, 1, 5).await, 0);
    assert_eq!(
        commit(&mut one, &first.member_id, 0, 6).await,
        ResponseError::IllegalGeneration.code()
    );
    assert_eq!(commit(&mut one, "", -1, 6).await, ResponseError::UnknownMemberId.code());
    assert_eq!(committed(&mut two).await, (5, "note".to_owned()));
    let delete = DeleteGroupsRequest::default().with_groups_names(vec![id("g")]);
    let refused = one.call(2, &delete).await.results[0].error_code;
    assert_eq!(refused, ResponseError::NonEmptyGroup.code());

    broker.stop().await.unwrap();
    let broker = RunningBroker::start(quick(folder.path())).await.unwrap();
    let mut one = Client::of(&broker).await;
    // The members go on in the same generation, with the same work.
    assert_eq!(beat(&mut one, &first).await, 0);
    assert_eq!(beat(&mut one, &second).await, 0);
    assert_eq!(&one.call(3, &sync(&first, &[])).await.assignment[..], of(&first).as_bytes());
    assert_eq!(committed(&mut one).await, (5, "note".to_owned()));
    let listed = one.call(5, &ListGroupsRequest::default()).await;
    let group = &listed.groups[0];
    assert_eq!((group.group_state.as_str(), group.group_type.as_str()), ("Stable", "classic"));
    let describe = DescribeGroupsRequest::default().with_groups(vec![id("g")]);
    let described = one.call(6, &describe).await;
    assert_eq!(described.groups[0].members.len(), 2);
    assert_eq!(described.groups[0].protocol_data.as_str(), "range");
    broker.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_group_is_gone_for_good_and_with_it_its_offsets() {
    let folder = tempfile::tempdir().unwrap();
    let broker = RunningBroker::start(quick(folder.path())).await.unwrap();
    let mut client = Client::of(&broker).await;
    client.create("t", 1, &[]).await;
    assert_eq!(commit(&mut client, "", -1, 9).await, 0);
    let describe = DescribeGroupsRequest::default().with_groups(vec![id("g")]);
    assert_eq!(client.call(5, &describe).await.groups[0].group_state.as_str(), "Empty");
    let delete = DeleteGroupsRequest::default().with_groups_names(vec![id("g")]);
    assert_eq!(client.call(2, &delete).await.results[0].error_code, 0);
    assert_eq!(client.call(5, &describe).await.groups[0].group_state.as_str(), "Dead");
    let missing = client.call(2, &delete).await.results[0].error_code;
    assert_eq!(missing, ResponseError::GroupIdNotFound.code());
    broker.stop().await.unwrap();
    let broker = RunningBroker::start(quick(folder.path())).await.unwrap();
    let mut client = Client::of(&broker).await;
    assert_eq!(committed(&mut client).await, (-1, String::new()));
    broker.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_is_too_short_is_refused_and_one_that_ends_frees_the_work() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = quick(folder.path());
    config.set("group.min.session.timeout.ms", "100").unwrap();
    let broker = RunningBroker::start(config).await.unwrap();
    let mut client = Client::of(&broker).await;
    let short = join("g", "").with_session_timeout_ms(99).with_rebalance_timeout_ms(1000);
    let refused = client.call(3, &short).await.error_code;
    assert_eq!(refused, ResponseError::InvalidSessionTimeout.code());
    let brief = join("g", "").with_session_timeout_ms(300).with_rebalance_timeout_ms(1000);
    let joined = client.call(3, &brief).await;
    client.call(3, &sync(&joined, &[])).await;
    assert_eq!(beat(&mut client, &joined).await, 0);
    let began = Instant::now();
    let describe = DescribeGroupsRequest::default().with_groups(vec![id("g")]);
    while client.call(5, &describe).await.groups[0].group_state.as_str() != "Empty" {
        assert!(began.elapsed() < Duration::from_secs(20), "the session never ends");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    broker.stop().await.unwrap();
}
