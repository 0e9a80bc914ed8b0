//! Requests that are as large as the guard lets them be: their answers are no larger than what there
//! is to tell, and nobody else waits for them.

use std::time::Duration;

use kafka_protocol::error::ResponseError::{InvalidRequest, PolicyViolation};
use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::{
    CreateTopicsRequest, DescribeConfigsRequest, ListOffsetsRequest, MetadataRequest, TopicName,
};

use crate::client::{Client, broker, code, text};

const MANY: usize = 150_000;
/// Looking at every pair of them would take minutes.
const PATIENCE: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread")]
async fn what_is_named_many_times_is_answered_once() {
    let (_folder, broker) = broker().await;
    let mut client = Client::of(&broker).await;
    client.create("t", 20, &[]).await;
    let named = MetadataRequestTopic::default().with_name(Some(TopicName(text("t"))));
    let request = MetadataRequest::default().with_topics(Some(vec![named; MANY]));
    let answer = client.call(12, &request).await;
    assert_eq!((answer.topics.len(), answer.topics[0].partitions.len()), (1, 20));

    let named =
        DescribeConfigsResource::default().with_resource_type(4).with_resource_name(text("1"));
    let request = DescribeConfigsRequest::default().with_resources(vec![named; MANY]);
    let answer = client.call(4, &request).await;
    assert_eq!((answer.results.len(), answer.results[0].error_code), (1, 0));
    broker.stop().await.expect("a clean stop");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_of_many_partitions_is_looked_at_once() {
    let (_folder, broker) = broker().await;
    let mut client = Client::of(&broker).await;
    client.create("t", 1, &[]).await;
    let partition = |index| {
        ListOffsetsPartition::default()
            .with_partition_index(index)
            .with_current_leader_epoch(-1)
            .with_timestamp(-1)
    };
    let mut partitions: Vec<ListOffsetsPartition> = (0..MANY as i32).map(partition).collect();
    partitions.push(partition(7));
    let topic =
        ListOffsetsTopic::default().with_name(TopicName(text("t"))).with_partitions(partitions);
    let request = ListOffsetsRequest::default().with_topics(vec![topic]);
    let answer = tokio::time::timeout(PATIENCE, client.call(7, &request)).await;
    let answer = answer.expect("it is answered in time");
    let answered = &answer.topics[0].partitions;
    assert_eq!((answered.len(), answered[0].error_code), (MANY + 1, 0));
    assert_eq!(answered[7].error_code, code(InvalidRequest));
    broker.stop().await.expect("a clean stop");
}

#[tokio::test(flavor = "multi_thread")]
async fn more_topics_than_one_request_may_create_are_refused() {
    let (_folder, broker) = broker().await;
    let mut client = Client::of(&broker).await;
    let topic = |number: usize| {
        CreatableTopic::default()
            .with_name(TopicName(text(&format!("t{number}"))))
            .with_num_partitions(1)
            .with_replication_factor(1)
    };
    let topics: Vec<CreatableTopic> = (0..10_001).map(topic).collect();
    let request = CreateTopicsRequest::default().with_topics(topics).with_validate_only(true);
    let answer = client.call(7, &request).await;
    assert_eq!(answer.topics.len(), 10_001);
    assert!(answer.topics.iter().all(|topic| topic.error_code == code(PolicyViolation)));
    broker.stop().await.expect("a clean stop");
}
