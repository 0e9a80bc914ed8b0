//! Every API in every version: the answers are filled, encode, and decode again.

use kafka_protocol::messages::alter_configs_request;
use kafka_protocol::messages::create_partitions_request::CreatePartitionsTopic;
use kafka_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use kafka_protocol::messages::delete_records_request::{
    DeleteRecordsPartition, DeleteRecordsTopic,
};
use kafka_protocol::messages::delete_topics_request::DeleteTopicState;
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::describe_topic_partitions_request::TopicRequest;
use kafka_protocol::messages::incremental_alter_configs_request;
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kafka_protocol::messages::offset_fetch_request::{
    OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
};
use kafka_protocol::messages::offset_for_leader_epoch_request::{
    OffsetForLeaderPartition, OffsetForLeaderTopic,
};
use kafka_protocol::messages::{
    AlterConfigsRequest, ApiVersionsRequest, CreatePartitionsRequest, CreateTopicsRequest,
    DeleteRecordsRequest, DeleteTopicsRequest, DescribeClusterRequest, DescribeConfigsRequest,
    DescribeTopicPartitionsRequest, FindCoordinatorRequest, GroupId,
    IncrementalAlterConfigsRequest, InitProducerIdRequest, ListOffsetsRequest, MetadataRequest,
    OffsetCommitRequest, OffsetFetchRequest, OffsetForLeaderEpochRequest, ProducerId, TopicName,
};
use kafka_protocol::protocol::Request;
use uuid::Uuid;
use weir_protocol::api::{APIS, find};

use crate::client::{Client, batch, broker, fetch_request, produce_request, text};

/// Topics that are asked for: one that is there and one that is not.
const NAMES: [&str; 2] = ["t", "missing"];

fn name(name: &str) -> TopicName {
    TopicName(text(name))
}

/// Asks in every version; the answer must decode, and say the same when decoded.
pub(crate) async fn all<R: Request>(client: &mut Client, of: impl Fn(i16) -> R) {
    let row = find(R::KEY).expect("it is served");
    for version in row.min..=row.max {
        client.call(version, &of(version)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_encodes_in_every_version() {
    let (_folder, broker) = broker().await;
    let mut client = Client::of(&broker).await;
    ask_everything(&mut client).await;
    broker.stop().await.expect("a clean stop");
}

/// Every API in every version, once at least.
pub(crate) async fn ask_everything(client: &mut Client) {
    client.create("t", 2, &[]).await;
    let metadata = client.call(12, &MetadataRequest::default().with_topics(None)).await;
    let id = metadata.topics[0].topic_id;
    hot_apis(client, id).await;
    reading_apis(client, id).await;
    offset_apis(client).await;
    crate::group_versions::ask(client).await;
    crate::transactions::ask(client).await;
    crate::consumer_groups::ask(client).await;
    config_apis(client).await;
    crate::admin::ask(client).await;
    crate::security::ask(client).await;
    crate::quotas::ask(client).await;
    crate::config_resources::ask(client).await;
    crate::share::ask_everything(client, id).await;
    changing_apis(client).await;
    assert_eq!(APIS.len(), 63, "an API was added: ask it here too");
}

async fn hot_apis(client: &mut Client, id: Uuid) {
    all(client, |version| {
        let mut request = produce_request("t", 0, -1, batch(&["a", "b"]));
        // An unknown topic, an unknown partition, a broken batch.
        let mut missing = request.topic_data[0].clone();
        missing.name = name("missing");
        missing.topic_id = Uuid::from_u128(1);
        request.topic_data.push(missing);
        let mut wrong = request.topic_data[0].partition_data[0].clone();
        wrong.index = 1;
        wrong.records = Some("no batch at all".into());
        request.topic_data[0].partition_data.push(wrong.clone());
        wrong.index = 7;
        request.topic_data[0].partition_data.push(wrong);
        request.topic_data[0].topic_id = id;
        for topic in &mut request.topic_data {
            if version >= 13 {
                topic.name = TopicName::default();
            } else {
                topic.topic_id = Uuid::nil();
            }
        }
        request
    })
    .await;
    all(client, |version| {
        let mut request = fetch_request("t", 0, 0, 0).with_isolation_level(1);
        if version < 7 {
            request.session_epoch = -1;
        }
        let mut beyond = request.topics[0].partitions[0].clone();
        beyond.partition = 1;
        beyond.fetch_offset = 99;
        request.topics[0].partitions.push(beyond);
        let mut missing = request.topics[0].clone();
        missing.topic = name("missing");
        missing.topic_id = Uuid::from_u128(1);
        request.topics.push(missing);
        request.topics[0].topic_id = id;
        for topic in &mut request.topics {
            if version >= 13 {
                topic.topic = TopicName::default();
            } else {
                topic.topic_id = Uuid::nil();
            }
        }
        request
    })
    .await;
    all(client, |_| {
        let topics = NAMES.map(|topic| {
            let partitions = [-1, -2, -3, -4, -5, 0, 5].map(|timestamp| {
                // One partition each, as a partition may be asked about only once.
                ListOffsetsPartition::default()
                    .with_partition_index(i32::from(timestamp == -2))
                    .with_current_leader_epoch(-1)
                    .with_timestamp(timestamp)
            });
            ListOffsetsTopic::default()
                .with_name(name(topic))
                .with_partitions(partitions[..2].to_vec())
        });
        ListOffsetsRequest::default().with_topics(topics.to_vec())
    })
    .await;
}

async fn reading_apis(client: &mut Client, id: Uuid) {
    all(client, |_| {
        ApiVersionsRequest::default()
            .with_client_software_name(text("weir-tests"))
            .with_client_software_version(text("1.0"))
    })
    .await;
    all(client, |version| {
        let mut topics: Vec<_> = NAMES
            .map(|topic| MetadataRequestTopic::default().with_name(Some(name(topic))))
            .to_vec();
        if version >= 12 {
            for id in [id, Uuid::from_u128(1)] {
                topics.push(MetadataRequestTopic::default().with_name(None).with_topic_id(id));
            }
        }
        MetadataRequest::default()
            .with_topics(Some(topics))
            .with_allow_auto_topic_creation(version < 4)
            .with_include_cluster_authorized_operations((8..=10).contains(&version))
            .with_include_topic_authorized_operations(version >= 8)
    })
    .await;
    for endpoint_type in [1, 2] {
        all(client, |version| {
            DescribeClusterRequest::default()
                .with_include_cluster_authorized_operations(true)
                .with_endpoint_type(if version >= 1 { endpoint_type } else { 1 })
        })
        .await;
    }
    all(client, |_| {
        let topics = NAMES.map(|topic| TopicRequest::default().with_name(name(topic)));
        DescribeTopicPartitionsRequest::default()
            .with_topics(topics.to_vec())
            .with_response_partition_limit(1)
    })
    .await;
    all(client, |_| {
        let topics = NAMES.map(|topic| {
            let partition = OffsetForLeaderPartition::default()
                .with_partition(0)
                .with_current_leader_epoch(-1)
                .with_leader_epoch(0);
            OffsetForLeaderTopic::default().with_topic(name(topic)).with_partitions(vec![partition])
        });
        OffsetForLeaderEpochRequest::default().with_topics(topics.to_vec())
    })
    .await;
}

async fn offset_apis(client: &mut Client) {
    for key_type in [0, 1] {
        all(client, |version| {
            let mut request = FindCoordinatorRequest::default();
            if version >= 1 {
                request.key_type = key_type;
            }
            if version >= 4 {
                request.coordinator_keys = vec![text("g"), text("h")];
            } else {
                request.key = text("g");
            }
            request
        })
        .await;
    }
    all(client, |version| {
        let topics = NAMES.map(|topic| {
            let mut partition = OffsetCommitRequestPartition::default()
                .with_partition_index(0)
                .with_committed_offset(1)
                .with_committed_metadata(Some(text("m")));
            if version >= 6 {
                partition.committed_leader_epoch = 1;
            }
            OffsetCommitRequestTopic::default()
                .with_name(name(topic))
                .with_partitions(vec![partition])
        });
        OffsetCommitRequest::default()
            .with_group_id(GroupId(text("g")))
            .with_generation_id_or_member_epoch(-1)
            .with_topics(topics.to_vec())
    })
    .await;
    for is_all in [false, true] {
        all(client, |version| offset_fetch(version, is_all && version >= 2)).await;
    }
}

fn offset_fetch(version: i16, is_all: bool) -> OffsetFetchRequest {
    if version < 8 {
        let topics = NAMES.map(|topic| {
            OffsetFetchRequestTopic::default()
                .with_name(name(topic))
                .with_partition_indexes(vec![0, 1])
        });
        return OffsetFetchRequest::default()
            .with_group_id(GroupId(text("g")))
            .with_topics((!is_all).then(|| topics.to_vec()));
    }
    let topics = NAMES.map(|topic| {
        OffsetFetchRequestTopics::default()
            .with_name(name(topic))
            .with_partition_indexes(vec![0, 1])
    });
    let group = OffsetFetchRequestGroup::default()
        .with_group_id(GroupId(text("g")))
        .with_topics((!is_all).then(|| topics.to_vec()));
    OffsetFetchRequest::default().with_groups(vec![group])
}

async fn config_apis(client: &mut Client) {
    all(client, |version| {
        let resources = [(2, "t"), (2, "missing"), (4, "1"), (4, ""), (4, "9"), (99, "x")];
        let resources = resources.map(|(resource_type, name)| {
            DescribeConfigsResource::default()
                .with_resource_type(resource_type)
                .with_resource_name(text(name))
                .with_configuration_keys(None)
        });
        DescribeConfigsRequest::default()
            .with_resources(resources.to_vec())
            .with_include_synonyms(true)
            .with_include_documentation(version >= 3)
    })
    .await;
    all(client, |_| {
        let resources = ["t", "missing"].map(|name| {
            let config = alter_configs_request::AlterableConfig::default()
                .with_name(text("retention.ms"))
                .with_value(Some(text("5")));
            alter_configs_request::AlterConfigsResource::default()
                .with_resource_type(2)
                .with_resource_name(text(name))
                .with_configs(vec![config])
        });
        AlterConfigsRequest::default().with_resources(resources.to_vec())
    })
    .await;
    all(client, |_| {
        let resources = ["t", "missing"].map(|name| {
            let config = incremental_alter_configs_request::AlterableConfig::default()
                .with_name(text("retention.ms"))
                .with_config_operation(1);
            incremental_alter_configs_request::AlterConfigsResource::default()
                .with_resource_type(2)
                .with_resource_name(text(name))
                .with_configs(vec![config])
        });
        IncrementalAlterConfigsRequest::default().with_resources(resources.to_vec())
    })
    .await;
}

async fn changing_apis(client: &mut Client) {
    all(client, |version| {
        let topics = [format!("made-{version}"), "t".to_owned(), "not legal".to_owned()];
        let topics = topics.map(|topic| {
            let config = CreatableTopicConfig::default()
                .with_name(text("retention.ms"))
                .with_value(Some(text("5")));
            CreatableTopic::default()
                .with_name(name(&topic))
                .with_num_partitions(1)
                .with_replication_factor(1)
                .with_configs(vec![config])
        });
        CreateTopicsRequest::default().with_topics(topics.to_vec())
    })
    .await;
    all(client, |version| {
        let topics = [("t", 3 + i32::from(version)), ("missing", 2)].map(|(topic, count)| {
            CreatePartitionsTopic::default()
                .with_name(name(topic))
                .with_count(count)
                .with_assignments(None)
        });
        CreatePartitionsRequest::default().with_topics(topics.to_vec())
    })
    .await;
    all(client, |_| {
        let topics = NAMES.map(|topic| {
            let partition =
                DeleteRecordsPartition::default().with_partition_index(0).with_offset(1);
            DeleteRecordsTopic::default().with_name(name(topic)).with_partitions(vec![partition])
        });
        DeleteRecordsRequest::default().with_topics(topics.to_vec())
    })
    .await;
    for transactional_id in [None, Some(text("tx").into())] {
        all(client, |_| {
            InitProducerIdRequest::default()
                .with_transactional_id(transactional_id.clone())
                .with_producer_id(ProducerId(-1))
                .with_producer_epoch(-1)
        })
        .await;
    }
    all(client, |version| {
        let names = [format!("made-{}", version + 1), "missing".to_owned()];
        if version < 6 {
            let names = names.map(|topic| name(&topic)).to_vec();
            return DeleteTopicsRequest::default().with_topic_names(names);
        }
        let mut topics: Vec<_> =
            names.map(|topic| DeleteTopicState::default().with_name(Some(name(&topic)))).to_vec();
        let id = Uuid::from_u128(1);
        topics.push(DeleteTopicState::default().with_name(None).with_topic_id(id));
        DeleteTopicsRequest::default().with_topics(topics)
    })
    .await;
}
