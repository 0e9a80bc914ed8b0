//! A Kafka client that does one thing after the other, for tests against a whole process.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use kafka_protocol::messages::delete_records_request::{
    DeleteRecordsPartition, DeleteRecordsTopic,
};
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::incremental_alter_configs_request::{
    AlterConfigsResource, AlterableConfig,
};
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{
    CreateTopicsRequest, DeleteRecordsRequest, DescribeConfigsRequest, FetchRequest,
    IncrementalAlterConfigsRequest, MetadataRequest, ProduceRequest, RequestHeader, ResponseHeader,
    TopicName,
};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, Request, StrBytes};
use weir_protocol::records::builder::BatchBuilder;
use weir_protocol::records::compression::Compression;

/// Configs of a topic, in the numbers of the protocol.
const TOPIC: i8 = 2;
/// The source of a setting that was set for the topic itself.
const SET_FOR_TOPIC: i8 = 1;

/// A connection.
pub(crate) struct Client {
    stream: TcpStream,
    correlation_id: i32,
}

/// An error code, 0 for none, and the words that came with it.
pub(crate) type Verdict = (i16, String);

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

fn topic_name(name: &str) -> TopicName {
    TopicName(text(name))
}

fn words(message: Option<StrBytes>) -> String {
    message.map(|message| message.to_string()).unwrap_or_default()
}

impl Client {
    pub(crate) fn connect(address: SocketAddr) -> Client {
        Client { stream: TcpStream::connect(address).unwrap(), correlation_id: 0 }
    }

    pub(crate) fn call<R: Request>(&mut self, version: i16, request: &R) -> R::Response {
        self.correlation_id += 1;
        let header = RequestHeader::default()
            .with_request_api_key(R::KEY)
            .with_request_api_version(version)
            .with_correlation_id(self.correlation_id)
            .with_client_id(Some(text("weir-tests")));
        let mut frame = BytesMut::new();
        frame.put_i32(0);
        header.encode(&mut frame, R::header_version(version)).unwrap();
        request.encode(&mut frame, version).unwrap();
        let length = i32::try_from(frame.len() - 4).unwrap();
        frame[..4].copy_from_slice(&length.to_be_bytes());
        self.stream.write_all(&frame).unwrap();
        let mut length = [0; 4];
        self.stream.read_exact(&mut length).unwrap();
        let mut answer = vec![0; usize::try_from(i32::from_be_bytes(length)).unwrap()];
        self.stream.read_exact(&mut answer).unwrap();
        let mut answer = Bytes::from(answer);
        let header_version = R::Response::header_version(version);
        let header = ResponseHeader::decode(&mut answer, header_version).unwrap();
        assert_eq!(header.correlation_id, self.correlation_id);
        R::Response::decode(&mut answer, version).unwrap()
    }

    pub(crate) fn create(&mut self, topic: &str, configs: &[(&str, &str)]) -> Verdict {
        let config = |(name, value): &(&str, &str)| {
            CreatableTopicConfig::default().with_name(text(name)).with_value(Some(text(value)))
        };
        let topic = CreatableTopic::default()
            .with_name(topic_name(topic))
            .with_num_partitions(1)
            .with_replication_factor(-1)
            .with_configs(configs.iter().map(config).collect());
        let request = CreateTopicsRequest::default().with_topics(vec![topic]);
        let created = self.call(7, &request).topics.remove(0);
        (created.error_code, words(created.error_message))
    }

    /// Sets configs of a topic, all or none.
    pub(crate) fn alter(&mut self, topic: &str, configs: &[(&str, &str)]) -> Verdict {
        let config = |(name, value): &(&str, &str)| {
            AlterableConfig::default().with_name(text(name)).with_value(Some(text(value)))
        };
        let resource = AlterConfigsResource::default()
            .with_resource_type(TOPIC)
            .with_resource_name(text(topic))
            .with_configs(configs.iter().map(config).collect());
        let request = IncrementalAlterConfigsRequest::default().with_resources(vec![resource]);
        let altered = self.call(1, &request).responses.remove(0);
        (altered.error_code, words(altered.error_message))
    }

    /// What is set for a topic itself.
    pub(crate) fn settings(&mut self, topic: &str) -> Vec<(String, String)> {
        let resource = DescribeConfigsResource::default()
            .with_resource_type(TOPIC)
            .with_resource_name(text(topic))
            .with_configuration_keys(None);
        let request = DescribeConfigsRequest::default().with_resources(vec![resource]);
        let result = self.call(4, &request).results.remove(0);
        let set = result.configs.into_iter().filter(|it| it.config_source == SET_FOR_TOPIC);
        set.map(|it| (it.name.to_string(), words(it.value))).collect()
    }

    /// Whether there is a topic of this name.
    pub(crate) fn has(&mut self, topic: &str) -> bool {
        let topic = MetadataRequestTopic::default().with_name(Some(topic_name(topic)));
        let request = MetadataRequest::default()
            .with_topics(Some(vec![topic]))
            .with_allow_auto_topic_creation(false);
        self.call(12, &request).topics[0].error_code == 0
    }

    /// Appends values without keys to partition 0, acknowledged by all.
    pub(crate) fn produce<V: AsRef<[u8]>>(&mut self, topic: &str, values: &[V]) -> Verdict {
        let mut batch = BatchBuilder::new(Compression::None);
        for value in values {
            batch.append(1_000_000, None, Some(value.as_ref()), &[]);
        }
        let data = PartitionProduceData::default().with_records(Some(batch.finish()));
        let topic = TopicProduceData::default()
            .with_name(topic_name(topic))
            .with_partition_data(vec![data]);
        let request = ProduceRequest::default()
            .with_acks(-1)
            .with_timeout_ms(60_000)
            .with_topic_data(vec![topic]);
        let answered = self.call(9, &request).responses.remove(0).partition_responses.remove(0);
        (answered.error_code, words(answered.error_message))
    }

    /// Reads partition 0 at an offset: bytes of record batches, and the high watermark.
    pub(crate) fn fetch(&mut self, topic: &str, offset: i64) -> (i16, Bytes, i64) {
        let partition =
            FetchPartition::default().with_fetch_offset(offset).with_partition_max_bytes(1 << 20);
        let topic =
            FetchTopic::default().with_topic(topic_name(topic)).with_partitions(vec![partition]);
        let request = FetchRequest::default()
            .with_max_bytes(1 << 20)
            .with_session_epoch(-1)
            .with_topics(vec![topic]);
        let mut answered = self.call(12, &request).responses.remove(0);
        let partition = answered.partitions.remove(0);
        (partition.error_code, partition.records.unwrap_or_default(), partition.high_watermark)
    }

    /// Deletes the records of partition 0 before an offset; the error code.
    pub(crate) fn delete_before(&mut self, topic: &str, offset: i64) -> i16 {
        let partition = DeleteRecordsPartition::default().with_offset(offset);
        let topic = DeleteRecordsTopic::default()
            .with_name(topic_name(topic))
            .with_partitions(vec![partition]);
        let request =
            DeleteRecordsRequest::default().with_topics(vec![topic]).with_timeout_ms(60_000);
        self.call(2, &request).topics[0].partitions[0].error_code
    }
}
