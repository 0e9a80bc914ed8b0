//! Produce 3-13: appends record batches. The way of every record into the log.
//!
//! Exactly one batch of format 2 per partition. All batches of a request are appended before the
//! next request of the connection begins, so what a client pipelines keeps its order; waiting for
//! the disk (`acks=all`) overlaps with the requests that follow. `acks=1` is answered when the
//! operating system has the bytes, `acks=0` not at all: its failures end the connection, so that the
//! client notices. The order of the checks is Kafka's.
//!
//! A batch of a transaction is appended while the transaction is held open. From version 12 on its
//! partition need not have been added before (`joining`); then each transaction has an epoch of its
//! own, and whatever of it comes late finds that epoch over.

mod joining;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::TopicName;
use kafka_protocol::messages::produce_response::{
    BatchIndexAndErrorMessage, PartitionProduceResponse, ProduceResponse, TopicProduceResponse,
};
use weir_protocol::header::RequestHeader;
use weir_protocol::produce::{ProducePartition, ProduceRequest, ProduceTopic};
use weir_protocol::records::Offset;
use weir_protocol::records::batch::RecordBatch;
use weir_protocol::records::compression::Compression;

use crate::api::produce::joining::Joining;
use crate::api::{Begun, NONE, Refusal, Reply, code, reply, text};
use crate::broker::Broker;
use crate::catalog::{Topic, Topics};
use crate::log::Appended;
use crate::log::error::AppendError;
use crate::partition::Partition;
use crate::producers::Start;

/// From here on a batch's failure comes with words.
const MESSAGE_FROM: i16 = 8;
/// From here on a producer is told that a transaction can be saved by aborting it.
const ABORTABLE_FROM: i16 = 11;
/// From here on a transaction takes in what is written under it (KIP-890, part 2).
const JOINS_FROM: i16 = 12;
/// From here on topics are named by their ids.
const TOPIC_ID_FROM: i16 = 13;
/// From here on zstd may be used.
const ZSTD_FROM: i16 = 7;
/// The only client that may write into internal topics.
const ADMIN_CLIENT: &str = "__admin_client";

/// An appended batch whose answer waits for the disk.
struct Waiting {
    partition: Arc<Partition>,
    next_offset: Offset,
    topic_index: usize,
    partition_index: usize,
}

/// Appends everything; what is left is at most to wait. Only where a transaction has to take
/// partitions in before, nothing is appended until that is durable.
pub fn begin(broker: &Arc<Broker>, header: RequestHeader, body: Bytes) -> Result<Begun, Refusal> {
    let request = ProduceRequest::decode(header.api_version, body)
        .map_err(|error| Refusal::Codec { api: "Produce", reason: error.to_string() })?;
    Ok(match joining::join(broker, &header, &request) {
        Joining::Done(joined) => append_all(broker, header, request, joined),
        Joining::Waits(appending) => {
            let broker = broker.clone();
            Begun::Blocking(Box::pin(async move {
                let joined = appending.durable().await;
                match append_all(&broker, header, request, joined) {
                    Begun::Done(reply) => reply,
                    Begun::Overlapping(pending)
                    | Begun::Blocking(pending)
                    | Begun::Working(pending) => pending.await,
                }
            }))
        }
    })
}

fn append_all(
    broker: &Arc<Broker>,
    header: RequestHeader,
    request: ProduceRequest,
    joined: Result<(), ResponseError>,
) -> Begun {
    let version = header.api_version;
    let acks = request.acks;
    let timeout = Duration::from_millis(u64::try_from(request.timeout_ms).unwrap_or(0));
    let topics = broker.catalog.topics();
    let transactional_id = request.transactional_id.as_deref();
    let writing = Writing { broker, transactional_id, joined, version };
    let mut waiting = Vec::new();
    let mut response = ProduceResponse::default();
    for (topic_index, asked) in request.topics.into_iter().enumerate() {
        let found = find(&topics, &asked, version);
        let may = check_request(&header, acks, found);
        let mut answered = TopicProduceResponse::default();
        if version >= TOPIC_ID_FROM {
            answered.topic_id = asked.topic_id;
        } else {
            answered.name = TopicName(asked.name);
        }
        for (partition_index, asked) in asked.partitions.into_iter().enumerate() {
            let index = asked.index;
            let appended = may
                .as_ref()
                .map_err(Failure::clone)
                .and_then(|topic| append(&writing, topic, asked));
            answered.partition_responses.push(match appended {
                Ok((partition, appended)) => {
                    let next_offset = appended.last_offset.next();
                    waiting.push(Waiting { partition, next_offset, topic_index, partition_index });
                    succeeded(index, &appended, version)
                }
                Err(failure) => failed(index, failure, version),
            });
        }
        response.responses.push(answered);
    }
    match acks {
        0 => Begun::Done(silence(&response)),
        -1 => wait_for_disk(header, response, waiting, timeout),
        _ => Begun::Done(reply(&header, &response)),
    }
}

/// Why nothing was appended: the code and the words for the client.
#[derive(Clone, Debug)]
struct Failure {
    error: ResponseError,
    message: String,
    /// The record to blame, from 0, where it is one.
    record_index: Option<i32>,
}

fn fail<T>(error: ResponseError, message: impl Into<String>) -> Result<T, Failure> {
    Err(Failure { error, message: message.into(), record_index: None })
}

fn find<'a>(
    topics: &'a Topics,
    asked: &ProduceTopic,
    version: i16,
) -> Result<&'a Arc<Topic>, Failure> {
    if version >= TOPIC_ID_FROM {
        let unknown = || Failure {
            error: ResponseError::UnknownTopicId,
            message: "There is no topic of that id.".into(),
            record_index: None,
        };
        return topics.identified(&asked.topic_id).ok_or_else(unknown);
    }
    topics.named(&asked.name).ok_or_else(|| Failure {
        error: ResponseError::UnknownTopicOrPartition,
        message: "This server does not host this topic-partition.".into(),
        record_index: None,
    })
}

/// The checks that concern all batches of a topic alike.
fn check_request<'a>(
    header: &RequestHeader,
    acks: i16,
    topic: Result<&'a Arc<Topic>, Failure>,
) -> Result<&'a Arc<Topic>, Failure> {
    if !(-1..=1).contains(&acks) {
        return fail(ResponseError::InvalidRequiredAcks, "acks must be -1, 0 or 1.");
    }
    let topic = topic?;
    if topic.is_internal && header.client_id.as_deref() != Some(ADMIN_CLIENT) {
        let message = format!("{} is an internal topic.", topic.name.as_str());
        return fail(ResponseError::InvalidTopicException, message);
    }
    Ok(topic)
}

/// What holds for all partitions of a request.
struct Writing<'a> {
    broker: &'a Broker,
    transactional_id: Option<&'a str>,
    /// Whether the transaction has taken in what is written under it.
    joined: Result<(), ResponseError>,
    version: i16,
}

fn append(
    writing: &Writing<'_>,
    topic: &Topic,
    asked: ProducePartition,
) -> Result<(Arc<Partition>, Appended), Failure> {
    topic.metrics.produce_requests.inc();
    let appended = append_checked(writing, topic, asked);
    if appended.is_err() {
        topic.metrics.failed_produce_requests.inc();
    }
    appended
}

fn append_checked(
    writing: &Writing<'_>,
    topic: &Topic,
    asked: ProducePartition,
) -> Result<(Arc<Partition>, Appended), Failure> {
    let Some(partition) = topic.partition(asked.index) else {
        return fail(
            ResponseError::UnknownTopicOrPartition,
            "This server does not host this topic-partition.",
        );
    };
    let batch = one_batch(asked.records, writing.version)?;
    let size_bytes = batch.header().size_bytes() as u64;
    let record_count = u64::try_from(batch.header().record_count).unwrap_or(0);
    let appended = match writing.transactional_id.filter(|_| batch.header().is_transactional()) {
        Some(id) => within_transaction(writing, id, topic, (asked.index, partition), &batch)?,
        None => partition.append(&batch),
    };
    match appended {
        Ok(appended) => {
            if !appended.is_duplicate {
                topic.metrics.bytes_in.inc_by(size_bytes);
                topic.metrics.messages_in.inc_by(record_count);
            }
            Ok((partition.clone(), appended))
        }
        Err(error) => Err(Failure {
            error: error.error_code(),
            message: error.to_string(),
            record_index: match &error {
                AppendError::Invalid(invalid) => invalid.record_index(),
                _ => None,
            },
        }),
    }
}

/// Appends while the transaction is held open: no marker comes in between.
fn within_transaction(
    writing: &Writing<'_>,
    id: &str,
    topic: &Topic,
    (index, partition): (i32, &Arc<Partition>),
    batch: &RecordBatch,
) -> Result<Result<Appended, AppendError>, Failure> {
    let header = batch.header();
    let producer = (header.producer_id, header.producer_epoch);
    let place = (topic.name.to_string(), index);
    let start = if writing.version >= JOINS_FROM { Start::AtZero } else { Start::Anywhere };
    let append = || partition.append_in_transaction(batch, start);
    let appended = writing
        .joined
        .and_then(|()| writing.broker.transactions.within(id, producer, &place, append));
    appended.or_else(|error| {
        let error = transaction_error(error, writing.version);
        fail(error, "The partition is not part of an open transaction of this producer.")
    })
}

/// What a producer of that version is told, in place of what the coordinator says.
fn transaction_error(error: ResponseError, version: i16) -> ResponseError {
    match error {
        ResponseError::ProducerFenced => ResponseError::InvalidProducerEpoch,
        ResponseError::TransactionAbortable if version < ABORTABLE_FROM => {
            ResponseError::InvalidTxnState
        }
        ResponseError::ConcurrentTransactions if version >= JOINS_FROM => error,
        // Retried by every producer, and without new metadata.
        ResponseError::ConcurrentTransactions | ResponseError::CoordinatorNotAvailable => {
            ResponseError::NotEnoughReplicas
        }
        error => error,
    }
}

/// The one batch that a partition's records must be.
fn one_batch(records: Option<Bytes>, version: i16) -> Result<RecordBatch, Failure> {
    const ONE: &str =
        "Produce requests must contain exactly one record batch of magic 2 per partition.";
    let Some(records) = records.filter(|records| !records.is_empty()) else {
        return fail(ResponseError::InvalidRecord, ONE);
    };
    // The magic byte stands at the same place in all formats.
    if records.get(16).is_some_and(|magic| *magic != 2) {
        return fail(ResponseError::InvalidRecord, ONE);
    }
    let batch = match RecordBatch::first_of(&records) {
        Ok(batch) => batch,
        Err(error) => return fail(ResponseError::CorruptMessage, error.to_string()),
    };
    if batch.bytes().len() != records.len() {
        return fail(ResponseError::InvalidRecord, ONE);
    }
    if version < ZSTD_FROM && matches!(batch.header().compression(), Ok(Compression::Zstd)) {
        let message = "Produce requests below version 7 cannot carry zstd.";
        return fail(ResponseError::UnsupportedCompressionType, message);
    }
    Ok(batch)
}

fn succeeded(index: i32, appended: &Appended, version: i16) -> PartitionProduceResponse {
    let mut response = PartitionProduceResponse::default()
        .with_index(index)
        .with_error_code(NONE)
        .with_base_offset(appended.base_offset.0)
        .with_log_append_time_ms(appended.log_append_time_ms);
    if version >= 5 {
        response.log_start_offset = appended.log_start.0;
    }
    response
}

fn failed(index: i32, failure: Failure, version: i16) -> PartitionProduceResponse {
    let Failure { mut error, message, record_index } = failure;
    // Codes that are younger than the version become the nearest that it knows.
    if version < 4 && error == ResponseError::KafkaStorageError {
        error = ResponseError::NotLeaderOrFollower;
    }
    let mut response = PartitionProduceResponse::default()
        .with_index(index)
        .with_error_code(code(error))
        .with_base_offset(-1)
        .with_log_append_time_ms(-1);
    if version >= MESSAGE_FROM {
        let blame = |index| {
            let error = BatchIndexAndErrorMessage::default().with_batch_index(index);
            error.with_batch_index_error_message(Some(text(message.clone())))
        };
        response.record_errors = record_index.map(blame).into_iter().collect();
        response.error_message = Some(text(message));
    }
    response
}

/// `acks=0`: nothing is answered, and a failure ends the connection.
fn silence(response: &ProduceResponse) -> Reply {
    let mut partitions = response.responses.iter().flat_map(|topic| &topic.partition_responses);
    match partitions.find(|partition| partition.error_code != NONE) {
        None => Reply::Silence,
        Some(failed) => {
            Reply::Close(format!("a produce with acks=0 failed with error {}", failed.error_code))
        }
    }
}

/// `acks=all`: the answer waits until all batches are durable.
fn wait_for_disk(
    header: RequestHeader,
    mut response: ProduceResponse,
    waiting: Vec<Waiting>,
    timeout: Duration,
) -> Begun {
    let is_durable = |one: &Waiting| one.partition.ends().high_watermark >= one.next_offset;
    if waiting.iter().all(is_durable) {
        return Begun::Done(reply(&header, &response));
    }
    let version = header.api_version;
    Begun::Overlapping(Box::pin(async move {
        let deadline = tokio::time::sleep(timeout);
        tokio::pin!(deadline);
        for one in waiting {
            let failure = tokio::select! {
                biased;
                durable = one.partition.durable(one.next_offset) => durable.err().map(|failure| {
                    let (error, message) = (ResponseError::KafkaStorageError, failure.to_string());
                    Failure { error, message, record_index: None }
                }),
                () = &mut deadline => Some(Failure {
                    error: ResponseError::RequestTimedOut,
                    message: "The batch was not durable in time.".into(),
                    record_index: None,
                }),
            };
            if let Some(failure) = failure {
                let topic = &mut response.responses[one.topic_index];
                let partition = &mut topic.partition_responses[one.partition_index];
                *partition = failed(partition.index, failure, version);
            }
        }
        reply(&header, &response)
    }))
}
