//! Topics come, grow, change and go.

use kafka_protocol::error::ResponseError::{
    InvalidConfig, InvalidPartitions, InvalidReplicationFactor, InvalidTopicException,
    OffsetOutOfRange, TopicAlreadyExists, UnknownTopicId, UnknownTopicOrPartition,
};
use kafka_protocol::messages::create_partitions_request::CreatePartitionsTopic;
use kafka_protocol::messages::delete_records_request::{
    DeleteRecordsPartition, DeleteRecordsTopic,
};
use kafka_protocol::messages::delete_topics_request::DeleteTopicState;
use kafka_protocol::messages::describe_topic_partitions_request::{Cursor, TopicRequest};
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::metadata_response::MetadataResponseTopic;
use kafka_protocol::messages::{
    CreatePartitionsRequest, CreateTopicsRequest, DeleteRecordsRequest, DeleteTopicsRequest,
    DescribeTopicPartitionsRequest, MetadataRequest, TopicName,
};
use weir_broker::start::RunningBroker;

use crate::client::{Client, batch, broker, code, config, text};

async fn metadata(client: &mut Client, name: &str, creates: bool) -> MetadataResponseTopic {
    let topic = MetadataRequestTopic::default().with_name(Some(TopicName(text(name))));
    let request = MetadataRequest::default()
        .with_topics(Some(vec![topic]))
        .with_allow_auto_topic_creation(creates);
    client.call(12, &request).await.topics.remove(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_is_seen_at_once_and_survives_a_restart() {
    let folder = tempfile::tempdir().expect("a folder");
    let broker = RunningBroker::start(config(folder.path())).await.expect("it starts");
    let mut client = Client::of(&broker).await;
    client.create("orders", 3, &[("retention.ms", "1234")]).await;
    let seen = metadata(&mut client, "orders", false).await;
    assert_eq!((seen.error_code, seen.partitions.len()), (0, 3));
    assert_eq!(seen.partitions[2].replica_nodes, [1]);
    assert!(!seen.topic_id.is_nil());
    client.produce("orders", batch(&["kept"])).await;
    drop(client);
    broker.stop().await.expect("a clean stop");

    let broker = RunningBroker::start(config(folder.path())).await.expect("it starts again");
    let mut client = Client::of(&broker).await;
    let again = metadata(&mut client, "orders", false).await;
    assert_eq!((again.topic_id, again.partitions.len()), (seen.topic_id, 3));
    assert!(again.partitions[0].leader_epoch >= seen.partitions[0].leader_epoch);
    assert_eq!(client.list_offset("orders", -1).await.offset, 1);
    broker.stop().await.expect("a clean stop");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_is_created_by_being_asked_for_if_that_is_allowed() {
    let (_folder, broker) = broker().await;
    let mut client = Client::of(&broker).await;
    let unknown = metadata(&mut client, "auto", false).await;
    assert_eq!(unknown.error_code, code(UnknownTopicOrPartition));
    let created = metadata(&mut client, "auto", true).await;
    assert_eq!((created.error_code, created.partitions.len()), (0, 1));
    let illegal = metadata(&mut client, "not legal", true).await;
    assert_eq!(illegal.error_code, code(InvalidTopicException));
    let colliding = metadata(&mut client, "a.b", true).await;
    assert_eq!(colliding.error_code, 0);
    let colliding = metadata(&mut client, "a_b", true).await;
    assert_eq!(colliding.error_code, code(InvalidTopicException));
    broker.stop().await.expect("a clean stop");
}

#[tokio::test(flavor = "multi_thread")]
async fn creation_is_refused_by_kafkas_codes() {
    let (_folder, broker) = broker().await;
    let mut client = Client::of(&broker).await;
    client.create("t", 1, &[]).await;
    let code_of = async |client: &mut Client, name: &str, count, configs: &[(&str, &str)]| {
        client.try_create(name, count, configs).await.error_code
    };
    assert_eq!(code_of(&mut client, "t", 1, &[]).await, code(TopicAlreadyExists));
    assert_eq!(code_of(&mut client, "a/b", 1, &[]).await, code(InvalidTopicException));
    assert_eq!(code_of(&mut client, "u", 0, &[]).await, code(InvalidPartitions));
    let unknown = [("no.such.setting", "1")];
    assert_eq!(code_of(&mut client, "u", 1, &unknown).await, code(InvalidConfig));
    let tiered = client.try_create("u", 1, &[("remote.storage.enable", "true")]).await;
    assert_eq!(tiered.error_code, code(InvalidConfig));
    assert!(tiered.error_message.expect("words").contains("there is no remote storage"));
    let table = [("table.enabled", "true"), ("table.merge.engine", "no-such-engine")];
    assert_eq!(code_of(&mut client, "u", 1, &table).await, code(InvalidConfig));

    // Three replicas are asked for, and one is what there is.
    let topic = kafka_protocol::messages::create_topics_request::CreatableTopic::default()
        .with_name(TopicName(text("replicated")))
        .with_num_partitions(-1)
        .with_replication_factor(3);
    let request = CreateTopicsRequest::default().with_topics(vec![topic.clone()]);
    let created = client.call(5, &request).await.topics.remove(0);
    assert_eq!((created.error_code, created.replication_factor), (0, 1));
    assert!(created.configs.expect("settings").len() > 20);
    let none = topic.with_name(TopicName(text("none"))).with_replication_factor(0);
    let request = CreateTopicsRequest::default().with_topics(vec![none.clone(), none]);
    let twice = client.call(5, &request).await.topics;
    assert_eq!((twice.len(), twice[0].error_code), (1, 42));
    let single = CreateTopicsRequest::default().with_topics(request.topics[..1].to_vec());
    let refused = client.call(5, &single).await.topics.remove(0);
    assert_eq!(refused.error_code, code(InvalidReplicationFactor));

    // Checked, and not made.
    let topic = kafka_protocol::messages::create_topics_request::CreatableTopic::default()
        .with_name(TopicName(text("dry")))
        .with_num_partitions(2)
        .with_replication_factor(1);
    let request = CreateTopicsRequest::default().with_topics(vec![topic]).with_validate_only(true);
    assert_eq!(client.call(7, &request).await.topics[0].error_code, 0);
    let unmade = metadata(&mut client, "dry", false).await;
    assert_eq!(unmade.error_code, code(UnknownTopicOrPartition));
    broker.stop().await.expect("a clean stop");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_is_made_again_is_another_one() {
    let (_folder, broker) = broker().await;
    let mut client = Client::of(&broker).await;
    client.create("t", 1, &[]).await;
    client.produce("t", batch(&["old"])).await;
    let old = metadata(&mut client, "t", false).await.topic_id;
    let topic = DeleteTopicState::default().with_name(None).with_topic_id(old);
    let request = DeleteTopicsRequest::default().with_topics(vec![topic]);
    let deleted = client.call(6, &request).await.responses.remove(0);
    assert_eq!((deleted.error_code, deleted.name), (0, Some(TopicName(text("t")))));
    let gone = metadata(&mut client, "t", false).await;
    assert_eq!(gone.error_code, code(UnknownTopicOrPartition));
    let again = client.call(6, &request).await.responses.remove(0);
    assert_eq!(again.error_code, code(UnknownTopicId));
    client.create("t", 1, &[]).await;
    let new = metadata(&mut client, "t", false).await;
    assert_ne!(new.topic_id, old);
    assert_eq!(client.list_offset("t", -1).await.offset, 0);
    broker.stop().await.expect("a clean stop");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_grows_and_never_shrinks() {
    let (_folder, broker) = broker().await;
    let mut client = Client::of(&broker).await;
    client.create("t", 1, &[]).await;
    let grow = |name: &str, count| {
        let topic = CreatePartitionsTopic::default()
            .with_name(TopicName(text(name)))
            .with_count(count)
            .with_assignments(None);
        CreatePartitionsRequest::default().with_topics(vec![topic])
    };
    for (name, count, expected) in [
        ("t", 3, 0),
        ("t", 3, code(InvalidPartitions)),
        ("t", 2, code(InvalidPartitions)),
        ("unknown", 2, code(UnknownTopicOrPartition)),
    ] {
        let results = client.call(3, &grow(name, count)).await.results;
        assert_eq!(results.len(), 1);
        assert_eq!(results[0].error_code, expected, "{name} to {count}");
    }
    assert_eq!(metadata(&mut client, "t", false).await.partitions.len(), 3);
    broker.stop().await.expect("a clean stop");
}

#[tokio::test(flavor = "multi_thread")]
async fn deleted_records_are_out_of_range() {
    let (_folder, broker) = broker().await;
    let mut client = Client::of(&broker).await;
    client.create("t", 1, &[]).await;
    for value in ["a", "b", "c"] {
        client.produce("t", batch(&[value])).await;
    }
    let before = |offset| {
        let partition =
            DeleteRecordsPartition::default().with_partition_index(0).with_offset(offset);
        let topic = DeleteRecordsTopic::default()
            .with_name(TopicName(text("t")))
            .with_partitions(vec![partition]);
        DeleteRecordsRequest::default().with_topics(vec![topic]).with_timeout_ms(1000)
    };
    let response = client.call(2, &before(2)).await;
    assert_eq!(response.topics[0].partitions[0].low_watermark, 2);
    assert_eq!(client.list_offset("t", -2).await.offset, 2);
    assert_eq!(client.fetch("t", 1).await.error_code, code(OffsetOutOfRange));
    let response = client.call(2, &before(9)).await;
    assert_eq!(response.topics[0].partitions[0].error_code, code(OffsetOutOfRange));
    let response = client.call(2, &before(-1)).await;
    assert_eq!(response.topics[0].partitions[0].low_watermark, 3);
    broker.stop().await.expect("a clean stop");
}

#[tokio::test(flavor = "multi_thread")]
async fn topics_are_described_page_by_page() {
    let (_folder, broker) = broker().await;
    let mut client = Client::of(&broker).await;
    client.create("a", 2, &[]).await;
    client.create("b", 3, &[]).await;
    let mut request = DescribeTopicPartitionsRequest::default()
        .with_topics(Vec::new())
        .with_response_partition_limit(2)
        .with_cursor(None);
    let mut seen = Vec::new();
    loop {
        let response = client.call(0, &request).await;
        for topic in response.topics {
            let name = topic.name.expect("a name").to_string();
            seen.extend(topic.partitions.iter().map(|p| (name.clone(), p.partition_index)));
        }
        let Some(next) = response.next_cursor else { break };
        request.cursor = Some(
            Cursor::default()
                .with_topic_name(next.topic_name)
                .with_partition_index(next.partition_index),
        );
    }
    let expected = [("a", 0), ("a", 1), ("b", 0), ("b", 1), ("b", 2)];
    assert_eq!(seen, expected.map(|(name, index)| (name.to_owned(), index)));
    let unknown = TopicRequest::default().with_name(TopicName(text("c")));
    let request = DescribeTopicPartitionsRequest::default().with_topics(vec![unknown]);
    let response = client.call(0, &request).await;
    assert_eq!(response.topics[0].error_code, code(UnknownTopicOrPartition));
    broker.stop().await.expect("a clean stop");
}
