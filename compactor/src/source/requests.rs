//! The questions that Weir asks a broker, each as a function: ask, check the error codes, answer
//! with plain values. An error code of the broker is a [`ClientError::Refused`].

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::create_partitions_request::CreatePartitionsTopic;
use kafka_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use kafka_protocol::messages::delete_records_request::{
    DeleteRecordsPartition, DeleteRecordsTopic,
};
use kafka_protocol::messages::delete_topics_request::DeleteTopicState;
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::incremental_alter_configs_request::{
    AlterConfigsResource, AlterableConfig,
};
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{
    ApiKey, BrokerId, CreatePartitionsRequest, CreateTopicsRequest, DeleteRecordsRequest,
    DeleteTopicsRequest, DescribeConfigsRequest, IncrementalAlterConfigsRequest,
    InitProducerIdRequest, ListOffsetsRequest, MetadataRequest, ProduceRequest, ProducerId,
    TopicName,
};
use kafka_protocol::protocol::{Message, StrBytes, VersionRange};
use uuid::Uuid;

use crate::source::client::{Client, ClientError, REQUEST_TIMEOUT};

/// The offset of the first record that is still there, as a timestamp of ListOffsets.
pub const EARLIEST: i64 = -2;
/// The offset after the last record, as a timestamp of ListOffsets.
pub const LATEST: i64 = -1;

const BROKER_TIMEOUT_MS: i32 = 30_000;
const RESOURCE_TOPIC: i8 = 2;
const SOURCE_DYNAMIC_TOPIC: i8 = 1;
// The newest versions that name topics by name; later ones name them by id alone.
const PRODUCE_VERSIONS: VersionRange = VersionRange { min: 3, max: 12 };

/// What a cluster says of itself and of its topics.
#[derive(Clone, Debug)]
pub struct Metadata {
    /// Host and port by broker id.
    pub brokers: BTreeMap<i32, String>,
    /// Every topic that was asked for, or all.
    pub topics: Vec<TopicMetadata>,
}

/// One topic of [`Metadata`].
#[derive(Clone, Debug)]
pub struct TopicMetadata {
    /// Its name.
    pub name: String,
    /// Its id; nil where the broker is too old for ids.
    pub topic_id: Uuid,
    /// Kept by the broker for itself.
    pub is_internal: bool,
    /// Why the broker says nothing about it.
    pub error: Option<ResponseError>,
    /// Broker id of the leader by partition; -1: none now.
    pub leaders: BTreeMap<i32, i32>,
}

/// A config of a topic as DescribeConfigs shows it.
#[derive(Clone, Debug)]
pub struct ConfigEntry {
    /// Kafka's or our name.
    pub name: String,
    /// Absent where the broker keeps it secret or there is none.
    pub value: Option<String>,
    /// Whether it was set on the topic itself rather than being a default.
    pub is_set: bool,
    /// What the broker says that it means.
    pub documentation: Option<String>,
}

/// One answer of ListOffsets. Both numbers are -1 if no record matches.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct ListedOffset {
    /// The record's offset, or the log's start or end.
    pub offset: i64,
    /// The record's timestamp.
    pub timestamp_ms: i64,
}

/// Where a produced batch went.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Produced {
    /// Offset of the batch's first record; -1 with acks 0.
    pub base_offset: i64,
    /// The broker's time if the topic uses it, else -1.
    pub log_append_time_ms: i64,
}

/// A topic's name as the codec wants it.
pub fn topic_name(name: &str) -> TopicName {
    TopicName(text(name))
}

pub(super) fn text(value: &str) -> StrBytes {
    StrBytes::from_string(value.to_owned())
}

/// Topics.
impl Client {
    /// The cluster's brokers and the named topics, or all topics. Nothing is created.
    pub async fn metadata(&self, topics: Option<&[&str]>) -> Result<Metadata, ClientError> {
        let asked = topics.map(|topics| {
            let named =
                |name: &&str| MetadataRequestTopic::default().with_name(Some(topic_name(name)));
            topics.iter().map(named).collect()
        });
        let request =
            MetadataRequest::default().with_topics(asked).with_allow_auto_topic_creation(false);
        // Before version 4 a broker creates what it is asked about.
        let ours = VersionRange { min: 4, max: MetadataRequest::VERSIONS.max };
        let version = self.version_within(ApiKey::Metadata as i16, ours)?;
        let answer = self.call(&request, version).await?;
        let brokers =
            answer.brokers.iter().map(|it| (it.node_id.0, host_and_port(&it.host, it.port)));
        let topics = answer.topics.iter().map(|topic| TopicMetadata {
            name: topic.name.as_ref().map(|name| name.to_string()).unwrap_or_default(),
            topic_id: topic.topic_id,
            is_internal: topic.is_internal,
            error: ResponseError::try_from_code(topic.error_code),
            leaders: topic
                .partitions
                .iter()
                .map(|partition| (partition.partition_index, partition.leader_id.0))
                .collect(),
        });
        Ok(Metadata { brokers: brokers.collect(), topics: topics.collect() })
    }

    /// Creates a topic with one replica. Its id, if the broker is new enough to tell.
    pub async fn create_topic(
        &self,
        name: &str,
        partitions: i32,
        configs: &[(&str, &str)],
    ) -> Result<Uuid, ClientError> {
        let config = |(name, value): &(&str, &str)| {
            CreatableTopicConfig::default().with_name(text(name)).with_value(Some(text(value)))
        };
        let topic = CreatableTopic::default()
            .with_name(topic_name(name))
            .with_num_partitions(partitions)
            .with_replication_factor(1)
            .with_configs(configs.iter().map(config).collect());
        let request = CreateTopicsRequest::default()
            .with_topics(vec![topic])
            .with_timeout_ms(BROKER_TIMEOUT_MS);
        let answer = self.ask(&request).await?;
        for topic in &answer.topics {
            let message = topic.error_message.as_ref();
            self.accept("CreateTopics", topic.error_code, message, || subject(name))?;
        }
        Ok(answer.topics.first().map(|topic| topic.topic_id).unwrap_or_default())
    }

    /// Adds partitions, so that the topic has `count`.
    pub async fn create_partitions(&self, name: &str, count: i32) -> Result<(), ClientError> {
        let topic = CreatePartitionsTopic::default().with_name(topic_name(name)).with_count(count);
        let request = CreatePartitionsRequest::default()
            .with_topics(vec![topic])
            .with_timeout_ms(BROKER_TIMEOUT_MS);
        for result in self.ask(&request).await?.results {
            let message = result.error_message.as_ref();
            self.accept("CreatePartitions", result.error_code, message, || subject(name))?;
        }
        Ok(())
    }

    /// Deletes a topic with all its records.
    pub async fn delete_topic(&self, name: &str) -> Result<(), ClientError> {
        let version =
            self.version_within(ApiKey::DeleteTopics as i16, DeleteTopicsRequest::VERSIONS)?;
        let request = DeleteTopicsRequest::default().with_timeout_ms(BROKER_TIMEOUT_MS);
        let request = if version >= 6 {
            let topic = DeleteTopicState::default().with_name(Some(topic_name(name)));
            request.with_topics(vec![topic])
        } else {
            request.with_topic_names(vec![topic_name(name)])
        };
        for result in self.call(&request, version).await?.responses {
            let message = result.error_message.as_ref();
            self.accept("DeleteTopics", result.error_code, message, || subject(name))?;
        }
        Ok(())
    }

    /// Deletes the records below `offset` of one partition.
    pub async fn delete_records(
        &self,
        topic: &str,
        partition: i32,
        offset: i64,
    ) -> Result<i64, ClientError> {
        let asked =
            DeleteRecordsPartition::default().with_partition_index(partition).with_offset(offset);
        let request =
            DeleteRecordsRequest::default().with_timeout_ms(BROKER_TIMEOUT_MS).with_topics(vec![
                DeleteRecordsTopic::default()
                    .with_name(topic_name(topic))
                    .with_partitions(vec![asked]),
            ]);
        let mut low_watermark = -1;
        for result in self.ask(&request).await?.topics.iter().flat_map(|topic| &topic.partitions) {
            self.accept("DeleteRecords", result.error_code, None, || place(topic, partition))?;
            low_watermark = result.low_watermark;
        }
        Ok(low_watermark)
    }

    /// All configs of each named topic. A topic that the broker refuses is an error of its own.
    pub async fn describe_configs(
        &self,
        topics: &[&str],
    ) -> Result<BTreeMap<String, Result<Vec<ConfigEntry>, ClientError>>, ClientError> {
        let resource = |name: &&str| {
            DescribeConfigsResource::default()
                .with_resource_type(RESOURCE_TOPIC)
                .with_resource_name(text(name))
                .with_configuration_keys(None)
        };
        let request =
            DescribeConfigsRequest::default().with_resources(topics.iter().map(resource).collect());
        let mut configs = BTreeMap::new();
        for result in self.ask(&request).await?.results {
            let name = result.resource_name.to_string();
            let message = result.error_message.as_ref();
            let accepted =
                self.accept("DescribeConfigs", result.error_code, message, || subject(&name));
            let entries = accepted.map(|()| {
                let entries = result.configs.iter().map(|config| ConfigEntry {
                    name: config.name.to_string(),
                    value: config.value.as_ref().map(|value| value.to_string()),
                    is_set: config.config_source == SOURCE_DYNAMIC_TOPIC,
                    documentation: config.documentation.as_ref().map(|text| text.to_string()),
                });
                entries.collect()
            });
            configs.insert(name, entries);
        }
        Ok(configs)
    }

    /// Sets (or, without a value, unsets) configs of a topic; the others stay.
    pub async fn alter_configs(
        &self,
        topic: &str,
        configs: &[(&str, Option<&str>)],
    ) -> Result<(), ClientError> {
        let config = |(name, value): &(&str, Option<&str>)| {
            AlterableConfig::default()
                .with_name(text(name))
                .with_config_operation(i8::from(value.is_none()))
                .with_value(value.map(text))
        };
        let resource = AlterConfigsResource::default()
            .with_resource_type(RESOURCE_TOPIC)
            .with_resource_name(text(topic))
            .with_configs(configs.iter().map(config).collect());
        let request = IncrementalAlterConfigsRequest::default().with_resources(vec![resource]);
        for result in self.ask(&request).await?.responses {
            let message = result.error_message.as_ref();
            self.accept("AlterConfigs", result.error_code, message, || subject(topic))?;
        }
        Ok(())
    }
}

/// Records and their offsets.
impl Client {
    /// An offset of each partition by timestamp, [`EARLIEST`] or [`LATEST`] (the last stable one).
    pub async fn list_offsets(
        &self,
        topic: &str,
        partitions: &[i32],
        timestamp: i64,
    ) -> Result<BTreeMap<i32, ListedOffset>, ClientError> {
        let partition = |index: &i32| {
            ListOffsetsPartition::default()
                .with_partition_index(*index)
                .with_current_leader_epoch(-1)
                .with_timestamp(timestamp)
        };
        let asked = ListOffsetsTopic::default()
            .with_name(topic_name(topic))
            .with_partitions(partitions.iter().map(partition).collect());
        let version = self.version_for(ApiKey::ListOffsets as i16, 9)?;
        let request = ListOffsetsRequest::default()
            .with_replica_id(BrokerId(-1))
            .with_isolation_level(i8::from(version >= 2))
            .with_topics(vec![asked]);
        let mut offsets = BTreeMap::new();
        let answer = self.call(&request, version).await?;
        for found in answer.topics.iter().flat_map(|topic| &topic.partitions) {
            let index = found.partition_index;
            self.accept("ListOffsets", found.error_code, None, || place(topic, index))?;
            let listed = ListedOffset { offset: found.offset, timestamp_ms: found.timestamp };
            offsets.insert(index, listed);
        }
        Ok(offsets)
    }

    /// Appends one record batch. `acks`: 0 (no answer, no offset), 1 or -1 (durable).
    pub async fn produce(
        &self,
        topic: &str,
        partition: i32,
        batch: Bytes,
        acks: i16,
    ) -> Result<Produced, ClientError> {
        let version = self.version_within(ApiKey::Produce as i16, PRODUCE_VERSIONS)?;
        let request = produce_request(topic, partition, batch, acks);
        if acks == 0 {
            self.send_only(&request, version)?;
            return Ok(Produced { base_offset: -1, log_append_time_ms: -1 });
        }
        let wait =
            REQUEST_TIMEOUT + Duration::from_millis(u64::from(BROKER_TIMEOUT_MS.unsigned_abs()));
        let answer = self.call_within(&request, version, wait).await?;
        let result = answer.responses.first().and_then(|it| it.partition_responses.first());
        let Some(result) = result else {
            return Err(ClientError::Codec {
                address: self.address().to_owned(),
                api: "Produce",
                doing: "decode",
                version,
                reason: "the answer names no partition".to_owned(),
            });
        };
        let message = result.error_message.as_ref();
        self.accept("Produce", result.error_code, message, || place(topic, partition))?;
        let log_append_time_ms = result.log_append_time_ms;
        Ok(Produced { base_offset: result.base_offset, log_append_time_ms })
    }

    /// A new producer id with its epoch, for idempotent batches.
    pub async fn init_producer_id(&self) -> Result<(i64, i16), ClientError> {
        let request = InitProducerIdRequest::default()
            .with_transactional_id(None)
            .with_transaction_timeout_ms(60_000)
            .with_producer_id(ProducerId(-1))
            .with_producer_epoch(-1);
        let version = self.version_for(ApiKey::InitProducerId as i16, 5)?;
        let answer = self.call(&request, version).await?;
        self.accept("InitProducerId", answer.error_code, None, || "producer".to_owned())?;
        Ok((answer.producer_id.0, answer.producer_epoch))
    }
}

/// A Produce of one batch, for callers that keep several under way with [`Client::start`].
pub fn produce_request(topic: &str, partition: i32, batch: Bytes, acks: i16) -> ProduceRequest {
    let data = PartitionProduceData::default().with_index(partition).with_records(Some(batch));
    let topic =
        TopicProduceData::default().with_name(topic_name(topic)).with_partition_data(vec![data]);
    ProduceRequest::default()
        .with_acks(acks)
        .with_timeout_ms(BROKER_TIMEOUT_MS)
        .with_topic_data(vec![topic])
}

pub(super) fn host_and_port(host: &str, port: i32) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

fn subject(topic: &str) -> String {
    format!("topic {topic}")
}

pub(super) fn place(topic: &str, partition: i32) -> String {
    format!("{topic}-{partition}")
}
