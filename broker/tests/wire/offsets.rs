//! Committed offsets of simple consumers.

use kafka_protocol::error::ResponseError::{
    GroupIdNotFound, IllegalGeneration, OffsetMetadataTooLarge, UnknownTopicOrPartition,
};
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kafka_protocol::messages::offset_fetch_request::{
    OffsetFetchRequestGroup, OffsetFetchRequestTopic,
};
use kafka_protocol::messages::{
    DeleteTopicsRequest, DescribeConfigsRequest, DescribeLogDirsRequest, FindCoordinatorRequest,
    GroupId, MetadataRequest, OffsetCommitRequest, OffsetFetchRequest, TopicName,
};
use weir_broker::catalog::file::{decode, encode};
use weir_broker::start::RunningBroker;

use crate::client::{Client, broker, code, config, text};

fn commit(topic: &str, partition: i32, offset: i64, metadata: &str) -> OffsetCommitRequest {
    let partition = OffsetCommitRequestPartition::default()
        .with_partition_index(partition)
        .with_committed_offset(offset)
        .with_committed_leader_epoch(3)
        .with_committed_metadata(Some(text(metadata)));
    let topic = OffsetCommitRequestTopic::default()
        .with_name(TopicName(text(topic)))
        .with_partitions(vec![partition]);
    OffsetCommitRequest::default()
        .with_group_id(GroupId(text("g")))
        .with_generation_id_or_member_epoch(-1)
        .with_topics(vec![topic])
}

async fn committed(client: &mut Client, topic: &str) -> (i64, i32, String) {
    let topic = OffsetFetchRequestTopic::default()
        .with_name(TopicName(text(topic)))
        .with_partition_indexes(vec![0]);
    let request = OffsetFetchRequest::default()
        .with_group_id(GroupId(text("g")))
        .with_topics(Some(vec![topic]));
    let response = client.call(7, &request).await;
    assert_eq!(response.error_code, 0);
    let partition = &response.topics[0].partitions[0];
    assert_eq!(partition.error_code, 0);
    let metadata = partition.metadata.as_ref().expect("never null");
    (partition.committed_offset, partition.committed_leader_epoch, metadata.to_string())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_is_remembered_over_a_restart() {
    let folder = tempfile::tempdir().expect("a folder");
    let broker = RunningBroker::start(config(folder.path())).await.expect("it starts");
    let mut client = Client::of(&broker).await;
    client.create("t", 1, &[]).await;
    assert_eq!(committed(&mut client, "t").await, (-1, -1, String::new()));
    for offset in [5, 7] {
        let response = client.call(8, &commit("t", 0, offset, "so far")).await;
        assert_eq!(response.topics[0].partitions[0].error_code, 0);
    }
    let expected = (7, 3, "so far".to_owned());
    assert_eq!(committed(&mut client, "t").await, expected);
    drop(client);
    broker.stop().await.expect("a clean stop");

    let broker = RunningBroker::start(config(folder.path())).await.expect("it starts again");
    let mut client = Client::of(&broker).await;
    assert_eq!(committed(&mut client, "t").await, expected);
    // All of a group, and several groups at once.
    let all = OffsetFetchRequest::default().with_group_id(GroupId(text("g"))).with_topics(None);
    let response = client.call(7, &all).await;
    assert_eq!(response.topics[0].partitions[0].committed_offset, 7);
    let group = |name: &str| {
        OffsetFetchRequestGroup::default().with_group_id(GroupId(text(name))).with_topics(None)
    };
    let several = OffsetFetchRequest::default().with_groups(vec![group("g"), group("other")]);
    let response = client.call(9, &several).await;
    assert_eq!(response.groups[0].topics[0].partitions[0].committed_offset, 7);
    assert_eq!((response.groups[1].topics.len(), response.groups[1].error_code), (0, 0));
    let metadata = client.call(12, &MetadataRequest::default().with_topics(None)).await;
    assert!(metadata.topics.iter().any(|topic| topic.is_internal), "__consumer_offsets is shown");
    broker.stop().await.expect("a clean stop");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_simple_commit_is_refused() {
    let (_folder, broker) = broker().await;
    let mut client = Client::of(&broker).await;
    client.create("t", 1, &[]).await;
    let long = "m".repeat(5000);
    let member = commit("t", 0, 1, "")
        .with_member_id(text("somebody"))
        .with_generation_id_or_member_epoch(1);
    let generation = commit("t", 0, 1, "").with_generation_id_or_member_epoch(4);
    for (version, request, expected) in [
        (8, commit("unknown", 0, 1, ""), UnknownTopicOrPartition),
        (8, commit("t", 9, 1, ""), UnknownTopicOrPartition),
        (8, commit("t", 0, 1, &long), OffsetMetadataTooLarge),
        (8, member, IllegalGeneration),
        (8, generation.clone(), IllegalGeneration),
        (9, generation, GroupIdNotFound),
    ] {
        let response = client.call(version, &request).await;
        assert_eq!(response.topics[0].partitions[0].error_code, code(expected));
    }
    assert_eq!(committed(&mut client, "t").await.0, -1);
    broker.stop().await.expect("a clean stop");
}

#[tokio::test(flavor = "multi_thread")]
async fn this_broker_coordinates_every_group() {
    let (_folder, broker) = broker().await;
    let mut client = Client::of(&broker).await;
    let port = i32::from(broker.kafka_address().port());
    let request = FindCoordinatorRequest::default().with_key(text("g"));
    let old = client.call(2, &request).await;
    assert_eq!((old.error_code, old.node_id.0, old.port), (0, 1, port));
    let request =
        FindCoordinatorRequest::default().with_coordinator_keys(vec![text("a"), text("b")]);
    let new = client.call(6, &request).await;
    assert_eq!((new.coordinators.len(), new.coordinators[1].port), (2, port));
    broker.stop().await.expect("a clean stop");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_is_made_again_has_no_offsets_of_the_old_one() {
    let (_folder, broker) = broker().await;
    let mut client = Client::of(&broker).await;
    client.create("t", 1, &[]).await;
    client.create("other", 1, &[]).await;
    for topic in ["t", "other"] {
        let response = client.call(8, &commit(topic, 0, 5, "")).await;
        assert_eq!(response.topics[0].partitions[0].error_code, 0);
    }
    let request = DeleteTopicsRequest::default().with_topic_names(vec![TopicName(text("t"))]);
    assert_eq!(client.call(5, &request).await.responses[0].error_code, 0);
    client.create("t", 1, &[]).await;
    assert_eq!(committed(&mut client, "t").await.0, -1);
    assert_eq!(committed(&mut client, "other").await.0, 5);
    broker.stop().await.expect("a clean stop");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deletion_whose_client_goes_away_forgets_the_offsets_too() {
    let (_folder, broker) = broker().await;
    let mut client = Client::of(&broker).await;
    for round in 0..20 {
        client.create("t", 4, &[]).await;
        assert_eq!(committed(&mut client, "t").await.0, -1, "round {round}");
        let response = client.call(8, &commit("t", 0, 5, "")).await;
        assert_eq!(response.topics[0].partitions[0].error_code, 0);
        let request = DeleteTopicsRequest::default().with_topic_names(vec![TopicName(text("t"))]);
        let mut leaving = Client::of(&broker).await;
        leaving.send(5, &request).await;
        drop(leaving);
        while client.try_create("t", 1, &[]).await.error_code != 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(committed(&mut client, "t").await.0, -1, "round {round}");
        assert_eq!(client.call(5, &request).await.responses[0].error_code, 0);
    }
    broker.stop().await.expect("a clean stop");
}

/// Bytes of all partitions of a topic.
async fn size_of(client: &mut Client, topic: &str) -> i64 {
    let told = client.call(4, &DescribeLogDirsRequest::default().with_topics(None)).await;
    let topics = told.results[0].topics.iter().filter(|one| one.name.as_str() == topic);
    topics.flat_map(|topic| &topic.partitions).map(|partition| partition.partition_size).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_topic_of_offsets_does_not_grow_for_ever_and_forgets_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut settings = config(folder.path());
    settings.set("log.cleaner.backoff.ms", "20").expect("valid");
    let broker = RunningBroker::start(settings).await.expect("it starts");
    let mut client = Client::of(&broker).await;
    client.create("t", 1, &[]).await;
    client.create("quiet", 1, &[]).await;
    let response = client.call(8, &commit("quiet", 0, 3, "early")).await;
    assert_eq!(response.topics[0].partitions[0].error_code, 0);
    let long = "m".repeat(4000);
    let (mut offset, mut largest_bytes) = (0, 0);
    loop {
        offset += 1;
        assert!(offset < 20_000, "it was never cleaned");
        let response = client.call(8, &commit("t", 0, offset, &long)).await;
        assert_eq!(response.topics[0].partitions[0].error_code, 0);
        let size_bytes = size_of(&mut client, "__consumer_offsets").await;
        if size_bytes < largest_bytes {
            break;
        }
        largest_bytes = size_bytes;
    }
    drop(client);
    broker.stop().await.expect("a clean stop");

    let broker = RunningBroker::start(config(folder.path())).await.expect("it starts again");
    let mut client = Client::of(&broker).await;
    assert_eq!(committed(&mut client, "t").await, (offset, 3, long));
    assert_eq!(committed(&mut client, "quiet").await, (3, 3, "early".to_owned()));
    broker.stop().await.expect("a clean stop");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_of_offsets_that_an_older_program_has_made_is_compacted_too() {
    let folder = tempfile::tempdir().expect("a folder");
    let broker = RunningBroker::start(config(folder.path())).await.expect("it starts");
    let mut client = Client::of(&broker).await;
    client.create("t", 1, &[]).await;
    client.call(8, &commit("t", 0, 7, "m")).await;
    broker.stop().await.expect("a clean stop");

    // As it was saved before: without a policy of its own.
    let path = folder.path().join("weir-catalog");
    let mut saved = decode(&std::fs::read(&path).expect("it is there")).expect("a catalog");
    let offsets = saved.topics.iter_mut().find(|topic| topic.name == "__consumer_offsets");
    let policy = offsets.expect("it is saved").configs.remove("cleanup.policy");
    assert_eq!(policy.as_deref(), Some("compact"));
    std::fs::write(&path, encode(&saved)).expect("it can be written");

    let broker = RunningBroker::start(config(folder.path())).await.expect("it starts again");
    let mut client = Client::of(&broker).await;
    let resource = DescribeConfigsResource::default()
        .with_resource_type(2)
        .with_resource_name(text("__consumer_offsets"))
        .with_configuration_keys(Some(vec![text("cleanup.policy")]));
    let request = DescribeConfigsRequest::default().with_resources(vec![resource]);
    let told = client.call(4, &request).await;
    assert_eq!(told.results[0].configs[0].value.as_deref(), Some("compact"));
    assert_eq!(committed(&mut client, "t").await, (7, 3, "m".to_owned()));
    broker.stop().await.expect("a clean stop");
}
