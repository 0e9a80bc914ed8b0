//! What has to be known about a topic before the load begins: partitions, leaders, offsets.
use std::collections::BTreeMap;
use std::time::Duration;

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::{
    CreateTopicsRequest, ListOffsetsRequest, MetadataRequest, TopicName,
};
use kafka_protocol::protocol::StrBytes;

use crate::connection::Connection;
use crate::{BenchError, Target};

/// The first offset there is.
pub(crate) const EARLIEST: i64 = -2;
/// The offset behind the last that consumers see.
pub(crate) const LATEST: i64 = -1;
/// How often metadata is asked for until every partition has a leader.
const ATTEMPTS: u32 = 100;
/// How long is waited in between.
const RETRY: Duration = Duration::from_millis(100);

/// A topic's partitions, in order, each with its leader's address.
#[derive(Clone, Debug)]
pub(crate) struct Topic {
    pub(crate) name: String,
    pub(crate) leaders: Vec<String>,
}

/// Makes the topic unless it is there, and waits until its leaders serve it.
pub(crate) async fn create(
    target: &Target,
    configs: &[(String, String)],
) -> Result<Topic, BenchError> {
    let mut connection = Connection::open(&target.bootstrap_server).await?;
    let config = |(key, value): &(String, String)| {
        CreatableTopicConfig::default()
            .with_name(StrBytes::from_string(key.clone()))
            .with_value(Some(StrBytes::from_string(value.clone())))
    };
    let topic = CreatableTopic::default()
        .with_name(topic_name(&target.topic))
        .with_num_partitions(target.partitions)
        .with_replication_factor(1)
        .with_configs(configs.iter().map(config).collect());
    let request = CreateTopicsRequest::default().with_topics(vec![topic]).with_timeout_ms(30_000);
    let answer = connection.call(&request, 4).await?;
    for topic in answer.topics {
        let is_there = topic.error_code == ResponseError::TopicAlreadyExists.code();
        if topic.error_code != 0 && !is_there {
            let said = topic.error_message.unwrap_or_default();
            let code = error_name(topic.error_code);
            return Err(BenchError::Server(format!("create {}: {code}: {said}", target.topic)));
        }
    }
    let topic = find(target).await?;
    // Leaders that answer this take records too.
    offsets(&topic, LATEST).await?;
    Ok(topic)
}

/// Finds the topic and waits until every partition has a leader.
pub(crate) async fn find(target: &Target) -> Result<Topic, BenchError> {
    let mut connection = Connection::open(&target.bootstrap_server).await?;
    let mut said = String::new();
    for _ in 0..ATTEMPTS {
        let topic = MetadataRequestTopic::default().with_name(Some(topic_name(&target.topic)));
        let request = MetadataRequest::default()
            .with_topics(Some(vec![topic]))
            .with_allow_auto_topic_creation(false);
        let answer = connection.call(&request, 8).await?;
        let address = |id: i32| {
            let broker = answer.brokers.iter().find(|broker| broker.node_id.0 == id);
            broker.map(|broker| format!("{}:{}", broker.host, broker.port))
        };
        let Some(topic) = answer.topics.first() else { continue };
        let mut partitions: Vec<_> = topic.partitions.iter().collect();
        partitions.sort_by_key(|partition| partition.partition_index);
        let leaders: Option<Vec<String>> =
            partitions.iter().map(|partition| address(partition.leader_id.0)).collect();
        match leaders {
            Some(leaders) if topic.error_code == 0 && !leaders.is_empty() => {
                return Ok(Topic { name: target.topic.clone(), leaders });
            }
            _ => said = error_name(topic.error_code),
        }
        tokio::time::sleep(RETRY).await;
    }
    Err(BenchError::Server(format!("topic {} has no leaders: {said}", target.topic)))
}

/// The offset of every partition at that special timestamp.
pub(crate) async fn offsets(topic: &Topic, timestamp: i64) -> Result<Vec<i64>, BenchError> {
    let mut by_leader: BTreeMap<&String, Vec<i32>> = BTreeMap::new();
    for (index, leader) in (0..).zip(&topic.leaders) {
        by_leader.entry(leader).or_default().push(index);
    }
    let mut offsets = BTreeMap::new();
    for (leader, partitions) in by_leader {
        offsets.extend(offsets_of(leader, &topic.name, &partitions, timestamp).await?);
    }
    Ok(offsets.into_values().collect())
}

/// Asks again while the leader does not know yet that it is one: Kafka tells clients first.
async fn offsets_of(
    leader: &str,
    name: &str,
    partitions: &[i32],
    timestamp: i64,
) -> Result<BTreeMap<i32, i64>, BenchError> {
    let partition = |index: &i32| {
        ListOffsetsPartition::default().with_partition_index(*index).with_timestamp(timestamp)
    };
    let asked = ListOffsetsTopic::default()
        .with_name(topic_name(name))
        .with_partitions(partitions.iter().map(partition).collect());
    let request =
        ListOffsetsRequest::default().with_replica_id((-1).into()).with_topics(vec![asked]);
    let mut connection = Connection::open(leader).await?;
    let mut said = String::new();
    for _ in 0..ATTEMPTS {
        let answer = connection.call(&request, 5).await?;
        let found: Vec<_> = answer.topics.iter().flat_map(|topic| &topic.partitions).collect();
        let Some(wrong) = found.iter().find(|partition| partition.error_code != 0) else {
            if found.len() != partitions.len() {
                let said = format!("offsets of {name}: an answer without some partitions");
                return Err(BenchError::Server(said));
            }
            return Ok(found.iter().map(|at| (at.partition_index, at.offset)).collect());
        };
        said = format!("{name}-{}: {}", wrong.partition_index, error_name(wrong.error_code));
        let passes = [
            ResponseError::NotLeaderOrFollower.code(),
            ResponseError::UnknownTopicOrPartition.code(),
            ResponseError::LeaderNotAvailable.code(),
        ];
        if !passes.contains(&wrong.error_code) {
            break;
        }
        tokio::time::sleep(RETRY).await;
    }
    Err(BenchError::Server(format!("offsets of {said}")))
}

pub(crate) fn topic_name(name: &str) -> TopicName {
    TopicName(StrBytes::from_string(name.to_owned()))
}

/// Kafka's name of an error code.
pub(crate) fn error_name(code: i16) -> String {
    match ResponseError::try_from_code(code) {
        Some(error) => format!("{error:?} ({code})"),
        None => format!("error {code}"),
    }
}
