//! Where replicas lie, who leads, who keeps the metadata: the answers of a cluster of one broker.

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::alter_partition_reassignments_request::{
    ReassignablePartition, ReassignableTopic,
};
use kafka_protocol::messages::alter_replica_log_dirs_request::{
    AlterReplicaLogDir, AlterReplicaLogDirTopic,
};
use kafka_protocol::messages::describe_log_dirs_request::DescribableLogDirTopic;
use kafka_protocol::messages::describe_quorum_request::{PartitionData, TopicData};
use kafka_protocol::messages::elect_leaders_request::TopicPartitions;
use kafka_protocol::messages::list_partition_reassignments_request::ListPartitionReassignmentsTopics;
use kafka_protocol::messages::update_features_request::FeatureUpdateKey;
use kafka_protocol::messages::{
    AlterPartitionReassignmentsRequest, AlterReplicaLogDirsRequest, BrokerId,
    DescribeLogDirsRequest, DescribeQuorumRequest, ElectLeadersRequest,
    ListPartitionReassignmentsRequest, TopicName, UpdateFeaturesRequest,
};

use crate::client::{Client, batch, broker, produce_request, text};
use crate::every_version::all;

fn name(name: &str) -> TopicName {
    TopicName(text(name))
}

fn log_dirs(topics: Option<&[(&str, &[i32])]>) -> DescribeLogDirsRequest {
    let topics = topics.map(|topics| {
        let topics = topics.iter().map(|(topic, partitions)| {
            DescribableLogDirTopic::default()
                .with_topic(name(topic))
                .with_partitions(partitions.to_vec())
        });
        topics.collect()
    });
    DescribeLogDirsRequest::default().with_topics(topics)
}

fn quorum(topic: &str, partition: i32) -> DescribeQuorumRequest {
    let partition = PartitionData::default().with_partition_index(partition);
    let topic = TopicData::default().with_topic_name(name(topic)).with_partitions(vec![partition]);
    DescribeQuorumRequest::default().with_topics(vec![topic])
}

fn reassign(topic: &str, partition: i32, replicas: Option<&[i32]>) -> ReassignableTopic {
    let replicas = replicas.map(|ids| ids.iter().map(|id| BrokerId(*id)).collect());
    let partition =
        ReassignablePartition::default().with_partition_index(partition).with_replicas(replicas);
    ReassignableTopic::default().with_name(name(topic)).with_partitions(vec![partition])
}

fn feature(feature: &str, level: i16, version: i16) -> UpdateFeaturesRequest {
    let mut update =
        FeatureUpdateKey::default().with_feature(text(feature)).with_max_version_level(level);
    if version >= 1 {
        update.upgrade_type = 1;
    }
    UpdateFeaturesRequest::default().with_feature_updates(vec![update])
}

fn move_to(path: &str) -> AlterReplicaLogDirsRequest {
    let topics = [("t", vec![0, 9]), ("missing", vec![0])].map(|(topic, partitions)| {
        AlterReplicaLogDirTopic::default().with_name(name(topic)).with_partitions(partitions)
    });
    let dir = AlterReplicaLogDir::default().with_path(text(path)).with_topics(topics.to_vec());
    AlterReplicaLogDirsRequest::default().with_dirs(vec![dir])
}

fn elect(version: i16, topics: &[(&str, &[i32])]) -> ElectLeadersRequest {
    let topics = topics.iter().map(|(topic, partitions)| {
        TopicPartitions::default().with_topic(name(topic)).with_partitions(partitions.to_vec())
    });
    let mut request = ElectLeadersRequest::default().with_topic_partitions(Some(topics.collect()));
    if version >= 1 {
        request.election_type = 1;
    }
    request
}

/// Every one of these APIs in every version.
pub(crate) async fn ask(client: &mut Client) {
    all(client, |_| log_dirs(None)).await;
    all(client, |_| log_dirs(Some(&[("t", &[0, 9]), ("missing", &[0])]))).await;
    all(client, |_| move_to("/nowhere")).await;
    all(client, |version| elect(version, &[("t", &[0, 9]), ("missing", &[0])])).await;
    all(client, |_| {
        let topics = vec![reassign("t", 0, Some(&[1])), reassign("missing", 0, None)];
        AlterPartitionReassignmentsRequest::default().with_topics(topics)
    })
    .await;
    all(client, |_| {
        let topic = ListPartitionReassignmentsTopics::default()
            .with_name(name("t"))
            .with_partition_indexes(vec![0]);
        ListPartitionReassignmentsRequest::default().with_topics(Some(vec![topic]))
    })
    .await;
    all(client, |_| quorum("__cluster_metadata", 0)).await;
    all(client, |_| quorum("t", 0)).await;
    for level in [1, 7] {
        all(client, |version| feature("group.version", level, version)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_directory_shows_its_partitions_and_the_room_that_is_left() {
    let (folder, broker) = broker().await;
    let mut client = Client::of(&broker).await;
    client.create("t", 2, &[]).await;
    client.create("other", 1, &[]).await;
    client.call(9, &produce_request("t", 0, -1, batch(&["a", "b"]))).await;

    let told = client.call(4, &log_dirs(None)).await;
    let [dir] = told.results.as_slice() else { panic!("one directory: {told:?}") };
    let path = folder.path().canonicalize().expect("it is there");
    assert!(
        path.starts_with(dir.log_dir.as_str()) || dir.log_dir.starts_with(path.to_str().unwrap())
    );
    assert!(0 < dir.usable_bytes && dir.usable_bytes <= dir.total_bytes, "{dir:?}");
    let names: Vec<_> = dir.topics.iter().map(|it| it.name.as_str()).collect();
    assert!(names.contains(&"t") && names.contains(&"other"), "{names:?}");

    let told = client.call(3, &log_dirs(Some(&[("t", &[0, 9]), ("missing", &[0])]))).await;
    let dir = &told.results[0];
    let [topic] = dir.topics.as_slice() else { panic!("only what is there: {dir:?}") };
    let [partition] = topic.partitions.as_slice() else { panic!("only partition 0: {topic:?}") };
    assert_eq!(partition.partition_size, batch(&["a", "b"]).len() as i64);
    assert!(!partition.is_future_key && partition.offset_lag == 0);

    // It lies there already; there is no other place.
    let own = dir.log_dir.to_string();
    for (path, of_0) in [(own.as_str(), 0), ("/nowhere", ResponseError::LogDirNotFound.code())] {
        let moved = client.call(2, &move_to(path)).await;
        assert_eq!(moved.results[0].partitions[0].error_code, of_0, "{path}");
        assert_ne!(moved.results[0].partitions[1].error_code, 0);
        assert_ne!(moved.results[1].partitions[0].error_code, 0);
    }
    broker.stop().await.expect("a clean stop");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_broker_leads_and_holds_everything() {
    let (_folder, broker) = broker().await;
    let mut client = Client::of(&broker).await;
    client.create("t", 1, &[]).await;
    let code = |error: ResponseError| error.code();

    let elected = client.call(2, &elect(2, &[("t", &[0, 9])])).await;
    let [of_0, of_9] = elected.replica_election_results[0].partition_result.as_slice() else {
        panic!("one result each: {elected:?}")
    };
    assert_eq!(of_0.error_code, code(ResponseError::ElectionNotNeeded));
    assert_eq!(of_9.error_code, code(ResponseError::UnknownTopicOrPartition));
    let of_all = ElectLeadersRequest::default().with_topic_partitions(None);
    let elected = client.call(2, &of_all).await;
    assert_eq!((elected.error_code, elected.replica_election_results.len()), (0, 0));
    let elected = client.call(2, &of_all.with_election_type(5)).await;
    assert_eq!(elected.error_code, code(ResponseError::InvalidRequest));

    for (topic, replicas, error) in [
        ("t", Some([1].as_slice()), 0),
        ("t", Some([1, 1].as_slice()), code(ResponseError::InvalidReplicaAssignment)),
        ("t", Some([2].as_slice()), code(ResponseError::InvalidReplicaAssignment)),
        ("t", Some([].as_slice()), code(ResponseError::InvalidReplicaAssignment)),
        ("t", None, code(ResponseError::NoReassignmentInProgress)),
        ("missing", Some([1].as_slice()), code(ResponseError::UnknownTopicOrPartition)),
    ] {
        let topics = vec![reassign(topic, 0, replicas)];
        let request = AlterPartitionReassignmentsRequest::default().with_topics(topics);
        let answer = client.call(1, &request).await;
        let got = answer.responses[0].partitions[0].error_code;
        assert_eq!(got, error, "{topic} {replicas:?}");
    }

    let told = client.call(2, &quorum("__cluster_metadata", 0)).await;
    let partition = &told.topics[0].partitions[0];
    assert_eq!((partition.error_code, partition.leader_id), (0, BrokerId(1)));
    assert_eq!(partition.current_voters.len(), 1);
    assert!(partition.current_voters[0].last_caught_up_timestamp > 0);
    assert_eq!(told.nodes[0].node_id, BrokerId(1));
    for (topic, index) in [("t", 0), ("__cluster_metadata", 1)] {
        let told = client.call(2, &quorum(topic, index)).await;
        let error = told.topics[0].partitions[0].error_code;
        assert_eq!(error, code(ResponseError::UnknownTopicOrPartition));
    }
    broker.stop().await.expect("a clean stop");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_feature_has_one_level() {
    let (_folder, broker) = broker().await;
    let mut client = Client::of(&broker).await;
    let invalid = ResponseError::InvalidUpdateVersion.code();
    for (name, level, error) in
        [("group.version", 1, 0), ("group.version", 0, invalid), ("nonsense", 1, invalid)]
    {
        for version in 0..=2 {
            let answer = client.call(version, &feature(name, level, version)).await;
            assert_eq!(answer.error_code, error, "{name} {level}: {answer:?}");
        }
    }
    broker.stop().await.expect("a clean stop");
}
