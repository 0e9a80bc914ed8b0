//! Fetch 4-18: reads record batches. The way of every record out of the log.
//!
//! Whole batches only, from the one that contains the asked offset. The first partition with records
//! gives at least one batch, however large; after it the limits bind. Reading is a plain function,
//! waiting is the loop around it: until `min_bytes` are there, something is wrong, or `max_wait_ms`
//! have passed. Hot records are slices of the log and go to the socket uncopied; cold ones are read
//! on the blocking pool. Only durable records are seen.
//!
//! In a fetch session what is read is the session's, and the answer leaves out what the client knows
//! (see `fetch_session`); all between is the same. Not: followers.
//!
//! A reader of committed records gets nothing at or beyond the last stable offset, and the list of
//! the aborted transactions that lie within what it gets.
//!
//! A client over its quota is answered without records (see `quota`).

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::error::ResponseError;
use tokio::sync::Notify;
use weir_protocol::fetch::{
    AbortedTransaction, FetchAnswer, FetchPartition, FetchPartitionAnswer, FetchRequest,
    FetchTopic, FetchTopicAnswer, IsolationLevel,
};
use weir_protocol::header::RequestHeader;
use weir_protocol::records::Offset;
use weir_protocol::records::batch::BatchHeader;

use crate::api::{Begun, NONE, Refusal, Reply, code};
use crate::broker::Broker;
use crate::catalog::{Topic, Topics};
use crate::fetch_session::Context;
use crate::log::error::ReadError;
use crate::log::{ColdRead, ReadSlice};
use crate::partition::Partition;

/// From here on topics are named by their ids.
const TOPIC_ID_FROM: i16 = 13;

/// Reads; waits if there is too little.
pub fn begin(broker: &Arc<Broker>, header: RequestHeader, body: Bytes) -> Result<Begun, Refusal> {
    let mut request = FetchRequest::decode(header.api_version, body)
        .map_err(|error| Refusal::Codec { api: "Fetch", reason: error.to_string() })?;
    let is_by_id = header.api_version >= TOPIC_ID_FROM;
    let opened = broker.fetch_sessions().open(&mut request, is_by_id, broker.clock.now_ms());
    let context = match opened {
        Ok(context) => context,
        Err(error) => {
            let answer = FetchAnswer { error_code: code(error), ..FetchAnswer::default() };
            return Ok(Begun::Done(encode(answer, &header)));
        }
    };
    if let Some(bytes_max) = broker.quotas.fetch_bytes_max(client_id(&header)) {
        request.max_bytes = request.max_bytes.min(bytes_max);
        request.min_bytes = request.min_bytes.min(request.max_bytes);
    }
    let asked = Asked { header, request, context };
    let collected = collect(broker, &asked.request, &asked.header);
    if collected.cold.is_empty() && collected.is_satisfied(&asked.request) {
        return Ok(Begun::Done(finish(broker, collected.answer, &asked)));
    }
    Ok(Begun::Blocking(Box::pin(wait(broker.clone(), asked))))
}

/// A request, and the session that its answer belongs to.
struct Asked {
    header: RequestHeader,
    request: FetchRequest,
    context: Context,
}

/// The loop around reading.
async fn wait(broker: Arc<Broker>, asked: Asked) -> Reply {
    let Asked { header, request, .. } = &asked;
    let wait = Duration::from_millis(u64::try_from(request.max_wait_ms).unwrap_or(0));
    let deadline = tokio::time::sleep(wait);
    tokio::pin!(deadline);
    let growth = Arc::new(Notify::new());
    for partition in asked_partitions(&broker.catalog.topics(), request, header.api_version) {
        partition.wake_on_growth(&growth);
    }
    loop {
        // Whatever grows from here on wakes us: the waiter was enrolled before this look.
        let collected = collect(&broker, request, header).load().await;
        if deadline.is_elapsed() || collected.is_satisfied(request) {
            return finish(&broker, collected.answer, &asked);
        }
        tokio::select! {
            () = growth.notified() => {}
            () = &mut deadline => {}
        }
    }
}

fn asked_partitions(topics: &Topics, request: &FetchRequest, version: i16) -> Vec<Arc<Partition>> {
    let asked = request.topics.iter().filter_map(|asked| {
        let topic = find(topics, asked, version).ok()?;
        Some(asked.partitions.iter().filter_map(|one| topic.partition(one.index).cloned()))
    });
    asked.flatten().collect()
}

/// A read of the disk, and its place in the answer.
struct Cold {
    topic: usize,
    index: usize,
    read: ColdRead,
    /// For a reader of committed records: the partition, and from where it reads.
    committed: Option<(Arc<Partition>, Offset)>,
}

/// What one look at the logs found.
struct Collected {
    answer: FetchAnswer,
    /// What is to be read from the disk, and its place in the answer.
    cold: Vec<Cold>,
    has_error: bool,
}

impl Collected {
    fn is_satisfied(&self, request: &FetchRequest) -> bool {
        let partitions = self.answer.topics.iter().flat_map(|topic| &topic.partitions);
        let size_bytes: usize = partitions.map(|partition| partition.records.len()).sum();
        request.max_wait_ms <= 0
            || self.has_error
            || request.topics.is_empty()
            || size_bytes >= usize::try_from(request.min_bytes).unwrap_or(0)
    }

    /// Reads what is cold, all on one blocking thread.
    async fn load(mut self) -> Collected {
        if self.cold.is_empty() {
            return self;
        }
        let cold = std::mem::take(&mut self.cold);
        let load = move || {
            let loaded = cold.into_iter().map(|Cold { topic, index, read, committed }| {
                (topic, index, committed, read.load())
            });
            loaded.collect::<Vec<_>>()
        };
        let Ok(loaded) = tokio::task::spawn_blocking(load).await else {
            self.has_error = true;
            for partition in self.answer.topics.iter_mut().flat_map(|topic| &mut topic.partitions) {
                let error = code(ResponseError::KafkaStorageError);
                *partition = FetchPartitionAnswer::error(partition.index, error);
            }
            return self;
        };
        for (topic, index, committed, bytes) in loaded {
            let partition = &mut self.answer.topics[topic].partitions[index];
            match bytes {
                Ok(bytes) => {
                    partition.records = bytes;
                    if let Some((of, from)) = committed {
                        keep_committed(partition, &of, from);
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "a read from the disk failed");
                    self.has_error = true;
                    *partition = failed(partition.index, &error);
                }
            }
        }
        self
    }
}

/// One look at all asked partitions, in their order.
fn collect(broker: &Broker, request: &FetchRequest, header: &RequestHeader) -> Collected {
    let version = header.api_version;
    let topics = broker.catalog.topics();
    let bytes_max = request.max_bytes.min(broker.config.fetch_max_bytes);
    let mut left = usize::try_from(bytes_max).unwrap_or(0);
    let answer = FetchAnswer { error_code: NONE, ..FetchAnswer::default() };
    let mut collected = Collected { answer, cold: Vec::new(), has_error: false };
    let mut is_first = true;
    for (topic_index, asked) in request.topics.iter().enumerate() {
        let found = find(&topics, asked, version);
        let mut answered = FetchTopicAnswer {
            name: asked.name.clone(),
            topic_id: asked.topic_id,
            partitions: Vec::with_capacity(asked.partitions.len()),
        };
        for (partition_index, one) in asked.partitions.iter().enumerate() {
            let read = found.and_then(|topic| read_one(topic, one, left, is_first));
            let (mut partition, slice) = match read {
                Ok(read) => read,
                Err(partition_error) => {
                    collected.has_error = true;
                    (FetchPartitionAnswer::error(one.index, code(partition_error)), None)
                }
            };
            let committed = found.ok().and_then(|topic| topic.partition(one.index));
            let committed = committed.filter(|_| {
                request.isolation_level == IsolationLevel::ReadCommitted
                    && partition.error_code == NONE
            });
            let from = Offset(one.fetch_offset);
            if committed.is_some() {
                partition.aborted_transactions = Some(Vec::new());
            }
            match slice {
                None => {}
                Some(ReadSlice::Hot(bytes)) => {
                    partition.records = bytes;
                    if let Some(of) = committed {
                        keep_committed(&mut partition, of, from);
                    }
                    is_first &= partition.records.is_empty();
                    left = left.saturating_sub(partition.records.len());
                }
                Some(ReadSlice::Cold(cold)) => {
                    // How much it is shows when it is read; it may be all that was asked for.
                    is_first = false;
                    left = left.saturating_sub(usize::try_from(one.max_bytes).unwrap_or(0));
                    let committed = committed.map(|of| (of.clone(), from));
                    let (topic, index) = (topic_index, partition_index);
                    collected.cold.push(Cold { topic, index, read: cold, committed });
                }
            }
            answered.partitions.push(partition);
        }
        collected.answer.topics.push(answered);
    }
    collected
}

fn find<'a>(
    topics: &'a Topics,
    asked: &FetchTopic,
    version: i16,
) -> Result<&'a Arc<Topic>, ResponseError> {
    if version >= TOPIC_ID_FROM {
        return topics.identified(&asked.topic_id).ok_or(ResponseError::UnknownTopicId);
    }
    topics.named(&asked.name).ok_or(ResponseError::UnknownTopicOrPartition)
}

type Read = (FetchPartitionAnswer, Option<ReadSlice>);

/// Reads one partition, in the order of Kafka's checks.
fn read_one(
    topic: &Topic,
    asked: &FetchPartition,
    bytes_left: usize,
    is_first: bool,
) -> Result<Read, ResponseError> {
    topic.metrics.fetch_requests.inc();
    let partition = topic.partition(asked.index).ok_or_else(|| {
        topic.metrics.failed_fetch_requests.inc();
        ResponseError::UnknownTopicOrPartition
    })?;
    check_leader_epoch(partition, asked.current_leader_epoch)?;
    let bytes_max = usize::try_from(asked.max_bytes).unwrap_or(0).min(bytes_left);
    let ends = partition.ends();
    let mut answer = FetchPartitionAnswer {
        index: asked.index,
        error_code: NONE,
        high_watermark: ends.high_watermark.0,
        last_stable_offset: ends.last_stable.0,
        log_start_offset: ends.log_start.0,
        diverging_epoch: None,
        current_leader: None,
        aborted_transactions: None,
        preferred_read_replica: -1,
        records: Bytes::new(),
    };
    if let Some(diverging) = diverging_epoch(partition, asked) {
        answer.diverging_epoch = Some(diverging);
        return Ok((answer, None));
    }
    match partition.read(Offset(asked.fetch_offset), bytes_max, is_first) {
        Ok(slice) => Ok((answer, Some(slice))),
        Err(error) => {
            topic.metrics.failed_fetch_requests.inc();
            Err(error.error_code())
        }
    }
}

/// Takes away what is not stable yet, and names who aborted in what is left.
fn keep_committed(answer: &mut FetchPartitionAnswer, partition: &Partition, from: Offset) {
    let last_stable = Offset(answer.last_stable_offset);
    if answer.last_stable_offset < answer.high_watermark {
        let stable_bytes = bytes_before(&answer.records, last_stable);
        answer.records.truncate(stable_bytes);
    }
    if answer.records.is_empty() {
        return;
    }
    // More than is read would do no harm, but the list may be long.
    let aborted = partition.aborted_within(from, last_stable).into_iter();
    let end = if aborted.len() > 0 { end_of(&answer.records) } else { last_stable };
    let aborted = aborted
        .filter(|it| it.first < end)
        .map(|it| AbortedTransaction { producer_id: it.producer_id, first_offset: it.first.0 });
    answer.aborted_transactions = Some(aborted.collect());
}

/// The bytes of the batches that begin before an offset.
fn bytes_before(records: &Bytes, limit: Offset) -> usize {
    let mut position = 0;
    while let Some(header) = header_at(records, position).filter(|it| it.base_offset < limit) {
        position += header.size_bytes();
    }
    position.min(records.len())
}

/// The offset after the last of whole batches.
fn end_of(records: &Bytes) -> Offset {
    let (mut position, mut end) = (0, Offset(0));
    while let Some(header) = header_at(records, position) {
        position += header.size_bytes();
        end = header.last_offset().next();
    }
    end
}

fn header_at(records: &Bytes, position: usize) -> Option<BatchHeader> {
    BatchHeader::parse(records.get(position..).filter(|rest| !rest.is_empty())?).ok()
}

/// Whether the client believes in another leader epoch; -1: it does not say.
pub fn check_leader_epoch(partition: &Partition, believed: i32) -> Result<(), ResponseError> {
    let current = partition.leader_epoch();
    if believed == -1 || believed == current {
        Ok(())
    } else if believed < current {
        Err(ResponseError::FencedLeaderEpoch)
    } else {
        Err(ResponseError::UnknownLeaderEpoch)
    }
}

/// Where our log ends for the epoch of the client's last record, if that lies before its offset.
fn diverging_epoch(partition: &Partition, asked: &FetchPartition) -> Option<(i32, i64)> {
    if asked.last_fetched_epoch < 0 {
        return None;
    }
    let (epoch, end) = partition.epoch_end(asked.last_fetched_epoch);
    let is_diverging = epoch >= 0
        && end.0 >= 0
        && (epoch < asked.last_fetched_epoch || end.0 < asked.fetch_offset);
    is_diverging.then_some((epoch, end.0))
}

fn failed(index: i32, error: &ReadError) -> FetchPartitionAnswer {
    FetchPartitionAnswer::error(index, code(error.error_code()))
}

/// Counts what was read, and leaves out what the session's client knows.
fn finish(broker: &Broker, mut answer: FetchAnswer, asked: &Asked) -> Reply {
    let Asked { header, request, context } = asked;
    let is_by_id = header.api_version >= TOPIC_ID_FROM;
    if broker.quotas.is_any() {
        let partitions = answer.topics.iter().flat_map(|topic| &topic.partitions);
        let bytes = partitions.map(|one| one.records.len()).sum();
        let throttle_ms = broker.quotas.charge_fetch(client_id(header), bytes);
        if throttle_ms > 0 {
            return hold_back(asked, throttle_ms);
        }
    }
    if *context != Context::Sessionless {
        let told = (is_by_id, broker.clock.now_ms());
        let draw = || rand::random_range(1..=i32::MAX);
        broker.fetch_sessions().close(*context, request, &mut answer, told, draw);
    }
    let topics = broker.catalog.topics();
    for answered in &answer.topics {
        let topic = match is_by_id {
            true => topics.identified(&answered.topic_id),
            false => topics.named(&answered.name),
        };
        let bytes: usize = answered.partitions.iter().map(|one| one.records.len()).sum();
        if let Some(topic) = topic.filter(|_| bytes > 0) {
            topic.metrics.bytes_out.inc_by(bytes as u64);
        }
    }
    encode(answer, header)
}

/// A client over its quota gets no records, and its session goes on as if it had not asked.
fn hold_back(asked: &Asked, throttle_ms: u32) -> Reply {
    let session_id = match asked.context {
        Context::Incremental { id, .. } => id,
        Context::Sessionless | Context::Full => 0,
    };
    let throttle_time_ms = i32::try_from(throttle_ms).unwrap_or(i32::MAX);
    let answer = FetchAnswer { throttle_time_ms, session_id, ..FetchAnswer::default() };
    match encode(answer, &asked.header) {
        Reply::Answer(answer) => Reply::Throttled(answer, throttle_ms),
        reply => reply,
    }
}

fn client_id(header: &RequestHeader) -> &str {
    header.client_id.as_deref().unwrap_or_default()
}

fn encode(answer: FetchAnswer, header: &RequestHeader) -> Reply {
    match answer.encode(header.api_version, header.correlation_id) {
        Ok(answer) => Reply::Answer(answer),
        Err(error) => Reply::Close(error.to_string()),
    }
}
