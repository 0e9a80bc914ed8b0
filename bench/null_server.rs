//! A server that keeps nothing: the floor that a real one is compared with.
//!
//! It reads requests as our broker does and acknowledges every batch unseen; a topic has as many
//! partitions as were asked for, and each holds the same batch again and again up to an end. What it
//! costs is what the sockets, the client and the protocol cost.
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::{Bytes, BytesMut};
use clap::Args;
use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::api_versions_response::ApiVersion;
use kafka_protocol::messages::create_topics_response::CreatableTopicResult;
use kafka_protocol::messages::list_offsets_response::{
    ListOffsetsPartitionResponse, ListOffsetsTopicResponse,
};
use kafka_protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use kafka_protocol::messages::produce_response::{PartitionProduceResponse, TopicProduceResponse};
use kafka_protocol::messages::{
    ApiVersionsResponse, CreateTopicsRequest, CreateTopicsResponse, ListOffsetsRequest,
    ListOffsetsResponse, MetadataRequest, MetadataResponse, ProduceResponse, TopicName,
};
use kafka_protocol::protocol::{Decodable, StrBytes};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use weir_protocol::answer::{Answer, encode_response};
use weir_protocol::api::APIS;
use weir_protocol::fetch::{FetchAnswer, FetchPartitionAnswer, FetchRequest, FetchTopicAnswer};
use weir_protocol::frame::FrameBuffer;
use weir_protocol::guard::{self, Limits};
use weir_protocol::header::RequestHeader;
use weir_protocol::produce::ProduceRequest;
use weir_protocol::records::Offset;
use weir_protocol::records::batch::{HEADER_BYTES, RecordBatch};
use weir_protocol::records::builder::BatchBuilder;
use weir_protocol::records::compression::Compression;

use crate::connection::io;
use crate::{BenchError, topic};

/// The largest request that is taken.
const REQUEST_BYTES_MAX: usize = 100 << 20;
/// Bytes of values in the batch that every partition is full of.
const BATCH_BYTES: usize = 65_536;

#[derive(Args, Clone, Debug)]
pub(crate) struct NullServer {
    /// Where to listen.
    #[arg(long, default_value = "127.0.0.1:9099")]
    listen: String,
    /// Threads of the server.
    #[arg(long, default_value_t = 1)]
    pub(crate) threads: usize,
    /// Bytes of a record that is read.
    #[arg(long, default_value_t = 1024)]
    record_size: usize,
    /// Records that a partition holds for readers.
    #[arg(long, default_value_t = 1_000_000)]
    records: i64,
}

struct Shared {
    host: String,
    port: u16,
    topics: Mutex<BTreeMap<String, i32>>,
    batch: RecordBatch,
    end: i64,
}

/// Serves until the process is ended.
pub(crate) async fn run(settings: NullServer) -> Result<(), BenchError> {
    let failed = |source| io(&settings.listen, source);
    let listener = TcpListener::bind(&settings.listen).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    eprintln!("null server ready kafka={address}");
    let mut builder = BatchBuilder::new(Compression::None);
    let value = vec![b'w'; settings.record_size];
    for _ in 0..(BATCH_BYTES / settings.record_size.max(1)).max(1) {
        builder.append(0, None, Some(&value), &[]);
    }
    let batch = RecordBatch::parse(builder.finish()).expect("what was built is a batch");
    let shared = Arc::new(Shared {
        host: address.ip().to_string(),
        port: address.port(),
        topics: Mutex::default(),
        batch,
        end: settings.records,
    });
    loop {
        let (stream, _) = listener.accept().await.map_err(failed)?;
        let shared = Arc::clone(&shared);
        tokio::spawn(async move {
            if let Err(error) = serve(stream, &shared).await {
                eprintln!("null server: {error}");
            }
        });
    }
}

async fn serve(mut stream: TcpStream, shared: &Shared) -> Result<(), BenchError> {
    let failed = |source| io("client", source);
    stream.set_nodelay(true).map_err(failed)?;
    let mut frames = FrameBuffer::new(REQUEST_BYTES_MAX);
    loop {
        let mut answers = Vec::new();
        while let Some(frame) = frames.next_frame().map_err(server)? {
            answers.extend(shared.answer(frame)?);
        }
        for answer in answers {
            for mut chunk in answer.into_chunks() {
                stream.write_all_buf(&mut chunk).await.map_err(failed)?;
            }
        }
        if stream.read_buf(frames.buffer()).await.map_err(failed)? == 0 {
            return Ok(());
        }
    }
}

fn server(error: impl std::fmt::Display) -> BenchError {
    BenchError::Server(error.to_string())
}

impl Shared {
    fn answer(&self, mut frame: Bytes) -> Result<Option<Answer>, BenchError> {
        let header = RequestHeader::parse(&mut frame).map_err(server)?;
        let RequestHeader { api_key, api_version, correlation_id, .. } = header;
        guard::check(api_key, api_version, &frame, &Limits::default()).map_err(server)?;
        let encoded = match api_key {
            0 => return self.produce(api_version, correlation_id, frame),
            1 => return self.fetch(api_version, correlation_id, frame).map(Some),
            2 => {
                let request = ListOffsetsRequest::decode(&mut frame, api_version);
                let answer = self.list_offsets(&request.map_err(server)?);
                encode_response(api_key, api_version, correlation_id, &answer)
            }
            3 => {
                let request = MetadataRequest::decode(&mut frame, api_version);
                let answer = self.metadata(&request.map_err(server)?);
                encode_response(api_key, api_version, correlation_id, &answer)
            }
            18 => encode_response(api_key, api_version, correlation_id, &api_versions()),
            19 => {
                let request = CreateTopicsRequest::decode(&mut frame, api_version);
                let answer = self.create_topics(request.map_err(server)?);
                encode_response(api_key, api_version, correlation_id, &answer)
            }
            _ => return Err(server(format!("API {api_key} is not for a null server"))),
        };
        encoded.map(Some).map_err(server)
    }

    fn produce(
        &self,
        version: i16,
        correlation_id: i32,
        body: Bytes,
    ) -> Result<Option<Answer>, BenchError> {
        let request = ProduceRequest::decode(version, body).map_err(server)?;
        if request.acks == 0 {
            return Ok(None);
        }
        let topic = |topic: weir_protocol::produce::ProduceTopic| {
            let partition = |partition: weir_protocol::produce::ProducePartition| {
                PartitionProduceResponse::default().with_index(partition.index)
            };
            TopicProduceResponse::default()
                .with_name(TopicName(topic.name))
                .with_partition_responses(topic.partitions.into_iter().map(partition).collect())
        };
        let answer = ProduceResponse::default()
            .with_responses(request.topics.into_iter().map(topic).collect());
        encode_response(0, version, correlation_id, &answer).map(Some).map_err(server)
    }

    fn fetch(&self, version: i16, correlation_id: i32, body: Bytes) -> Result<Answer, BenchError> {
        let request = FetchRequest::decode(version, body).map_err(server)?;
        let partition = |asked: &weir_protocol::fetch::FetchPartition| FetchPartitionAnswer {
            high_watermark: self.end,
            last_stable_offset: self.end,
            log_start_offset: 0,
            records: self.records(asked.fetch_offset, asked.max_bytes),
            ..FetchPartitionAnswer::error(asked.index, 0)
        };
        let topics = request.topics.iter().map(|topic| FetchTopicAnswer {
            name: topic.name.clone(),
            topic_id: topic.topic_id,
            partitions: topic.partitions.iter().map(partition).collect(),
        });
        let answer = FetchAnswer { topics: topics.collect(), ..FetchAnswer::default() };
        answer.encode(version, correlation_id).map_err(server)
    }

    /// The same batch with the offsets that are asked for, as often as it fits.
    fn records(&self, from: i64, bytes_max: i32) -> Bytes {
        let count = i64::from(self.batch.header().record_count);
        let bytes = self.batch.bytes();
        let mut out = BytesMut::new();
        let mut offset = from - from % count;
        while offset < self.end
            && (out.is_empty()
                || out.len() + bytes.len() <= usize::try_from(bytes_max).unwrap_or(0))
        {
            out.extend_from_slice(&self.batch.assigned_header(Offset(offset), 0));
            out.extend_from_slice(&bytes[HEADER_BYTES..]);
            offset += count;
        }
        out.freeze()
    }

    fn list_offsets(&self, request: &ListOffsetsRequest) -> ListOffsetsResponse {
        let topics = request.topics.iter().map(|topic| {
            let partitions = topic.partitions.iter().map(|partition| {
                let is_start = partition.timestamp == topic::EARLIEST;
                ListOffsetsPartitionResponse::default()
                    .with_partition_index(partition.partition_index)
                    .with_offset(if is_start { 0 } else { self.end })
            });
            ListOffsetsTopicResponse::default()
                .with_name(topic.name.clone())
                .with_partitions(partitions.collect())
        });
        ListOffsetsResponse::default().with_topics(topics.collect())
    }

    /// Every topic that is asked about is there.
    fn metadata(&self, request: &MetadataRequest) -> MetadataResponse {
        let broker = MetadataResponseBroker::default()
            .with_node_id(1.into())
            .with_host(StrBytes::from_string(self.host.clone()))
            .with_port(i32::from(self.port));
        let topics = self.topics.lock().unwrap_or_else(PoisonError::into_inner);
        let topic = |name: TopicName| {
            let count = topics.get(name.as_str()).copied().unwrap_or(1);
            let partition = |index| {
                MetadataResponsePartition::default()
                    .with_partition_index(index)
                    .with_leader_id(1.into())
                    .with_replica_nodes(vec![1.into()])
                    .with_isr_nodes(vec![1.into()])
            };
            MetadataResponseTopic::default()
                .with_name(Some(name))
                .with_partitions((0..count).map(partition).collect())
        };
        let asked = request.topics.iter().flatten().filter_map(|topic| topic.name.clone());
        MetadataResponse::default()
            .with_brokers(vec![broker])
            .with_controller_id(1.into())
            .with_topics(asked.map(topic).collect())
    }

    fn create_topics(&self, request: CreateTopicsRequest) -> CreateTopicsResponse {
        let mut topics = self.topics.lock().unwrap_or_else(PoisonError::into_inner);
        let created = request.topics.into_iter().map(|topic| {
            let name = topic.name.as_str().to_owned();
            let is_new = topics.insert(name, topic.num_partitions.max(1)).is_none();
            let exists = ResponseError::TopicAlreadyExists.code();
            CreatableTopicResult::default().with_name(topic.name).with_error_code(if is_new {
                0
            } else {
                exists
            })
        });
        CreateTopicsResponse::default().with_topics(created.collect())
    }
}

fn api_versions() -> ApiVersionsResponse {
    let served = APIS.iter().filter(|row| [0, 1, 2, 3, 18, 19].contains(&row.key));
    let range = |row: &weir_protocol::api::ApiRow| {
        ApiVersion::default()
            .with_api_key(row.key)
            .with_min_version(row.advertised_min)
            .with_max_version(row.max)
    };
    ApiVersionsResponse::default().with_api_keys(served.map(range).collect())
}
