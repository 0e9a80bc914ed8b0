//! A client that sends what it is told, and a broker on free ports to send it to.

use std::net::SocketAddr;
use std::path::Path;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use kafka_protocol::messages::create_topics_response::CreatableTopicResult;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::fetch_response::PartitionData;
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::list_offsets_response::ListOffsetsPartitionResponse;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::produce_response::PartitionProduceResponse;
use kafka_protocol::messages::{
    CreateTopicsRequest, FetchRequest, ListOffsetsRequest, ProduceRequest, RequestHeader,
    ResponseHeader, TopicName,
};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, Request, StrBytes};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use weir_broker::config::Config;
use weir_broker::start::RunningBroker;
use weir_protocol::records::builder::BatchBuilder;
use weir_protocol::records::compression::Compression;

/// Settings for a test: free ports, that folder.
pub(crate) fn config(folder: &Path) -> Config {
    let mut config = Config::default();
    let folder = folder.to_str().expect("a path in UTF-8");
    for (name, value) in [
        ("listeners", "PLAINTEXT://127.0.0.1:0"),
        ("http.listen", "127.0.0.1:0"),
        ("log.dirs", folder),
        ("log.segment.bytes", "1048576"),
        ("offsets.topic.segment.bytes", "1048576"),
    ] {
        config.set(name, value).expect("valid");
    }
    config
}

/// A broker in a folder of its own.
pub(crate) async fn broker() -> (tempfile::TempDir, RunningBroker) {
    let folder = tempfile::tempdir().expect("a folder");
    let broker = RunningBroker::start(config(folder.path())).await.expect("it starts");
    (folder, broker)
}

/// A connection.
pub(crate) struct Client {
    stream: TcpStream,
    correlation_id: i32,
    /// Every request that was sent, as a frame.
    pub(crate) sent: Vec<Bytes>,
}

impl Client {
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.expect("it listens");
        stream.set_nodelay(true).expect("a socket");
        Self { stream, correlation_id: 0, sent: Vec::new() }
    }

    pub(crate) async fn of(broker: &RunningBroker) -> Self {
        Self::connect(broker.kafka_address()).await
    }

    /// Sends a request and gives its correlation id.
    pub(crate) async fn send<R: Request>(&mut self, version: i16, request: &R) -> i32 {
        self.correlation_id += 1;
        let frame = frame(version, self.correlation_id, request);
        self.send_bytes(&frame).await;
        self.sent.push(frame);
        self.correlation_id
    }

    pub(crate) async fn send_bytes(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.expect("it takes the bytes");
    }

    /// The next frame, whoever it answers.
    pub(crate) async fn frame(&mut self) -> Bytes {
        self.try_frame().await.expect("an answer")
    }

    pub(crate) async fn try_frame(&mut self) -> std::io::Result<Bytes> {
        let length = self.stream.read_i32().await?;
        let mut bytes = vec![0; usize::try_from(length).expect("a length")];
        self.stream.read_exact(&mut bytes).await?;
        Ok(bytes.into())
    }

    /// Whether the broker has closed the connection.
    pub(crate) async fn is_closed(&mut self) -> bool {
        self.try_frame().await.is_err()
    }

    /// The next answer, which must be the one to `correlation_id`.
    pub(crate) async fn receive<R: Request>(
        &mut self,
        version: i16,
        correlation_id: i32,
    ) -> R::Response {
        let mut frame = self.frame().await;
        let header = ResponseHeader::decode(&mut frame, R::Response::header_version(version));
        assert_eq!(header.expect("a header").correlation_id, correlation_id);
        let response = R::Response::decode(&mut frame, version).expect("it decodes");
        assert!(!frame.has_remaining(), "bytes follow the answer");
        response
    }

    pub(crate) async fn call<R: Request>(&mut self, version: i16, request: &R) -> R::Response {
        let id = self.send(version, request).await;
        self.receive::<R>(version, id).await
    }

    /// An answer, unless the connection ends first.
    pub(crate) async fn try_call<R: Request>(
        &mut self,
        version: i16,
        request: &R,
    ) -> Option<R::Response> {
        self.correlation_id += 1;
        let frame = frame(version, self.correlation_id, request);
        self.stream.write_all(&frame).await.ok()?;
        let mut answer = self.try_frame().await.ok()?;
        ResponseHeader::decode(&mut answer, R::Response::header_version(version)).ok()?;
        R::Response::decode(&mut answer, version).ok()
    }

    pub(crate) async fn create(&mut self, name: &str, partitions: i32, configs: &[(&str, &str)]) {
        let created = self.try_create(name, partitions, configs).await;
        assert_eq!(created.error_code, 0, "{:?}", created.error_message);
    }

    pub(crate) async fn try_create(
        &mut self,
        name: &str,
        partitions: i32,
        configs: &[(&str, &str)],
    ) -> CreatableTopicResult {
        let configs = configs.iter().map(|(name, value)| {
            CreatableTopicConfig::default().with_name(text(name)).with_value(Some(text(value)))
        });
        let topic = CreatableTopic::default()
            .with_name(TopicName(text(name)))
            .with_num_partitions(partitions)
            .with_replication_factor(-1)
            .with_configs(configs.collect());
        let request = CreateTopicsRequest::default().with_topics(vec![topic]);
        self.call(7, &request).await.topics.remove(0)
    }

    pub(crate) async fn produce(
        &mut self,
        topic: &str,
        records: Bytes,
    ) -> PartitionProduceResponse {
        let mut response = self.call(9, &produce_request(topic, 0, -1, records)).await;
        response.responses.remove(0).partition_responses.remove(0)
    }

    pub(crate) async fn fetch(&mut self, topic: &str, offset: i64) -> PartitionData {
        let mut response = self.call(12, &fetch_request(topic, 0, offset, 0)).await;
        response.responses.remove(0).partitions.remove(0)
    }

    pub(crate) async fn list_offset(
        &mut self,
        topic: &str,
        timestamp: i64,
    ) -> ListOffsetsPartitionResponse {
        let partition = ListOffsetsPartition::default()
            .with_partition_index(0)
            .with_current_leader_epoch(-1)
            .with_timestamp(timestamp);
        let topic = ListOffsetsTopic::default()
            .with_name(TopicName(text(topic)))
            .with_partitions(vec![partition]);
        let request = ListOffsetsRequest::default().with_topics(vec![topic]);
        self.call(10, &request).await.topics.remove(0).partitions.remove(0)
    }
}

/// A request's frame.
pub(crate) fn frame<R: Request>(version: i16, correlation_id: i32, request: &R) -> Bytes {
    let header = RequestHeader::default()
        .with_request_api_key(R::KEY)
        .with_request_api_version(version)
        .with_correlation_id(correlation_id)
        .with_client_id(Some(text("wire-test")));
    let mut frame = BytesMut::new();
    frame.put_i32(0);
    header.encode(&mut frame, R::header_version(version)).expect("a header");
    request.encode(&mut frame, version).expect("a request");
    let length = i32::try_from(frame.len() - 4).expect("a frame");
    frame[..4].copy_from_slice(&length.to_be_bytes());
    frame.freeze()
}

pub(crate) fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

pub(crate) fn produce_request(
    topic: &str,
    partition: i32,
    acks: i16,
    records: Bytes,
) -> ProduceRequest {
    let data = PartitionProduceData::default().with_index(partition).with_records(Some(records));
    let topic = TopicProduceData::default()
        .with_name(TopicName(text(topic)))
        .with_partition_data(vec![data]);
    ProduceRequest::default().with_acks(acks).with_timeout_ms(10_000).with_topic_data(vec![topic])
}

pub(crate) fn fetch_request(
    topic: &str,
    partition: i32,
    offset: i64,
    max_wait_ms: i32,
) -> FetchRequest {
    let partition = FetchPartition::default()
        .with_partition(partition)
        .with_fetch_offset(offset)
        .with_partition_max_bytes(1 << 20);
    let topic =
        FetchTopic::default().with_topic(TopicName(text(topic))).with_partitions(vec![partition]);
    FetchRequest::default()
        .with_max_wait_ms(max_wait_ms)
        .with_min_bytes(1)
        .with_max_bytes(50 << 20)
        .with_session_epoch(-1)
        .with_topics(vec![topic])
}

/// A batch of values without a producer.
pub(crate) fn batch(values: &[&str]) -> Bytes {
    batch_at(1_000_000, values)
}

/// The same, with timestamps that begin at `timestamp_ms` and grow by one.
pub(crate) fn batch_at(timestamp_ms: i64, values: &[&str]) -> Bytes {
    let mut builder = BatchBuilder::new(Compression::None);
    for (delta, value) in values.iter().enumerate() {
        builder.append(timestamp_ms + delta as i64, None, Some(value.as_bytes()), &[]);
    }
    builder.finish()
}

/// A batch of an idempotent producer.
pub(crate) fn idempotent_batch(producer_id: i64, sequence: i32, values: &[&str]) -> Bytes {
    let mut builder = BatchBuilder::new(Compression::None).producer(producer_id, 0, sequence);
    for value in values {
        builder.append(1_000_000, None, Some(value.as_bytes()), &[]);
    }
    builder.finish()
}

/// The values of fetched batches, with their offsets.
pub(crate) fn values(partition: &PartitionData) -> Vec<(i64, String)> {
    let bytes = partition.records.clone().expect("never null");
    let mut values = Vec::new();
    for batch in weir_protocol::records::batch::batches(bytes) {
        let batch = batch.expect("a batch");
        batch.check_crc().expect("an intact batch");
        for record in batch.records(1 << 20).expect("records") {
            let record = record.expect("a record");
            let value = record.value.expect("a value");
            values.push((record.offset.0, String::from_utf8(value.to_vec()).expect("text")));
        }
    }
    values
}

pub(crate) fn code(error: ResponseError) -> i16 {
    error.code()
}
