//! One Fetch and the loop around it: what to ask, what the answer means.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::fetch_response::PartitionData;
use kafka_protocol::messages::{ApiKey, BrokerId, FetchRequest};
use kafka_protocol::protocol::VersionRange;
use tokio::sync::mpsc;
use uuid::Uuid;
use weir_protocol::records::Offset;
use weir_protocol::records::batch::{RecordBatch, batches};

use crate::lineage::Stranger;
use crate::source::client::{Client, ClientError, REQUEST_TIMEOUT};
use crate::source::cluster::Cluster;
use crate::source::requests::{EARLIEST, LATEST, topic_name};
use crate::source::{Answered, BatchKind, Fetched, SourceError};

/// A poll waits this long for records.
const WAIT_MS_MAX: i32 = 500;
/// What one answer may bring; the first batch comes whole, however large.
const ANSWER_BYTES_MAX: i32 = 8 << 20;
const PARTITION_BYTES_MAX: i32 = 4 << 20;
const READ_COMMITTED: i8 = 1;
const ABORT_MARKER: i16 = 0;
// Up to 12 topics go by name, from 13 on by id.
const BY_NAME: VersionRange = VersionRange { min: 4, max: 12 };
const BY_ID: VersionRange = VersionRange { min: 4, max: 16 };

/// The topic that is asked for.
#[derive(Debug)]
pub(super) struct Ask {
    pub(super) topic: String,
    /// Nil where the cluster has no ids.
    pub(super) topic_id: Uuid,
}

impl Ask {
    /// One Fetch of the given partitions, served in this order as far as an answer reaches.
    pub(super) async fn fetch(
        &self,
        client: &Client,
        next: &[(i32, Offset)],
        wait_ms: i32,
    ) -> Result<Vec<PartitionData>, SourceError> {
        let ours = if self.topic_id.is_nil() { BY_NAME } else { BY_ID };
        let version = client.version_within(ApiKey::Fetch as i16, ours)?;
        let partitions = next.iter().map(|(partition, offset)| {
            FetchPartition::default()
                .with_partition(*partition)
                .with_current_leader_epoch(-1)
                .with_fetch_offset(offset.0)
                .with_last_fetched_epoch(-1)
                .with_log_start_offset(-1)
                .with_partition_max_bytes(PARTITION_BYTES_MAX)
        });
        let topic = FetchTopic::default().with_partitions(partitions.collect());
        let topic = if version > BY_NAME.max {
            topic.with_topic_id(self.topic_id)
        } else {
            topic.with_topic(topic_name(&self.topic))
        };
        let request = FetchRequest::default()
            .with_replica_id(BrokerId(-1))
            .with_max_wait_ms(wait_ms)
            .with_min_bytes(1)
            .with_max_bytes(ANSWER_BYTES_MAX)
            .with_isolation_level(READ_COMMITTED)
            .with_session_epoch(-1)
            .with_topics(vec![topic]);
        let timeout = REQUEST_TIMEOUT + Duration::from_millis(u64::from(wait_ms.unsigned_abs()));
        let answer = client.call_within(&request, version, timeout).await?;
        client.accept("Fetch", answer.error_code, None, || self.topic.clone())?;
        Ok(answer.responses.into_iter().flat_map(|topic| topic.partitions).collect())
    }

    /// A partition's error code as an error.
    pub(super) fn refused(
        &self,
        client: &Client,
        partition: i32,
        code: ResponseError,
    ) -> SourceError {
        if code == ResponseError::UnknownTopicId {
            let topic = self.topic.clone();
            return SourceError::TopicGone { topic, reason: "its id is not known any more".into() };
        }
        SourceError::Client(ClientError::Refused {
            address: client.address().to_owned(),
            api: "Fetch",
            subject: format!("{}-{partition}", self.topic),
            code,
            message: None,
        })
    }
}

/// The loop over one leader's partitions.
#[derive(Debug)]
pub(super) struct Poll {
    cluster: Arc<Cluster>,
    address: String,
    ask: Ask,
    next: BTreeMap<i32, Offset>,
    /// Whom to ask for first: an answer is full before it has come to the last.
    order: Vec<i32>,
}

impl Poll {
    pub(super) fn new(
        cluster: Arc<Cluster>,
        address: String,
        ask: Ask,
        next: BTreeMap<i32, Offset>,
    ) -> Self {
        let order = next.keys().copied().collect();
        Self { cluster, address, ask, next, order }
    }

    /// Polls until nobody listens or something fails.
    pub(super) async fn run(mut self, answers: mpsc::Sender<Result<Answered, SourceError>>) {
        loop {
            let answer = self.answer().await;
            let is_last = answer.is_err();
            if answers.send(answer).await.is_err() || is_last {
                return;
            }
        }
    }

    async fn answer(&mut self) -> Result<Answered, SourceError> {
        let client = self.cluster.at(&self.address).await?;
        let mut answered = Answered::default();
        let next = |partition: &i32| Some((*partition, *self.next.get(partition)?));
        let next: Vec<(i32, Offset)> = self.order.iter().filter_map(next).collect();
        for data in self.ask.fetch(&client, &next, WAIT_MS_MAX).await? {
            let partition = data.partition_index;
            let Some(asked) = self.next.get(&partition).copied() else { continue };
            match ResponseError::try_from_code(data.error_code) {
                None => {}
                Some(ResponseError::OffsetOutOfRange) => {
                    return Err(self.out_of_range(&client, partition, asked).await);
                }
                Some(code) => return Err(self.ask.refused(&client, partition, code)),
            }
            let end = data.last_stable_offset.max(0).max(asked.0);
            answered.ends.insert(partition, Offset(end));
            let fetched = classify(&self.ask, partition, asked, data)?;
            if let Some(last) = fetched.last() {
                self.next.insert(partition, last.batch.header().last_offset().next());
            }
            answered.batches.extend(fetched);
        }
        let served = answered.batches.iter().map(|fetched| fetched.partition).collect();
        send_back(&mut self.order, &served);
        Ok(answered)
    }

    /// Is the head gone, or the tail?
    async fn out_of_range(&self, client: &Client, partition: i32, next: Offset) -> SourceError {
        let bounds = async {
            let earliest = client.list_offsets(&self.ask.topic, &[partition], EARLIEST).await?;
            let latest = client.list_offsets(&self.ask.topic, &[partition], LATEST).await?;
            Ok::<_, ClientError>((
                earliest.get(&partition).copied(),
                latest.get(&partition).copied(),
            ))
        };
        match bounds.await {
            Err(error) => error.into(),
            Ok((Some(start), _)) if start.offset > next.0 => {
                let log_start = Offset(start.offset);
                Stranger::LostHead { partition, next, log_start }.into()
            }
            Ok((_, Some(end))) if end.offset < next.0 => {
                Stranger::LostTail { partition, next, log_end: Offset(end.offset) }.into()
            }
            Ok(_) => self.ask.refused(client, partition, ResponseError::OffsetOutOfRange),
        }
    }
}

/// PURE. Those that were served stand behind those that were not, so that nobody starves.
fn send_back(order: &mut [i32], served: &BTreeSet<i32>) {
    // Stable: among their likes all keep their places.
    order.sort_by_key(|partition| served.contains(partition));
}

/// The batches of one partition's answer, each with what it is to a reader of committed records.
pub(super) fn classify(
    ask: &Ask,
    partition: i32,
    asked: Offset,
    data: PartitionData,
) -> Result<Vec<Fetched>, SourceError> {
    let mut aborted: Vec<(i64, i64)> = data
        .aborted_transactions
        .unwrap_or_default()
        .iter()
        .map(|transaction| (transaction.first_offset, transaction.producer_id.0))
        .collect();
    aborted.sort_unstable();
    let mut aborted = aborted.into_iter().peekable();
    let mut open = BTreeSet::new();
    let mut fetched = Vec::new();
    for batch in batches(data.records.unwrap_or_default()) {
        let unreadable = |fault| SourceError::Unreadable {
            topic: ask.topic.clone(),
            partition,
            offset: asked,
            fault,
        };
        let batch = batch.map_err(unreadable)?;
        let header = *batch.header();
        if header.last_offset() < asked {
            continue;
        }
        while let Some((_, producer)) =
            aborted.next_if(|(first_offset, _)| *first_offset <= header.last_offset().0)
        {
            open.insert(producer);
        }
        let kind = if header.is_control() {
            if marker(&batch) == Some(ABORT_MARKER) {
                open.remove(&header.producer_id);
            }
            BatchKind::Control
        } else if header.is_transactional() && open.contains(&header.producer_id) {
            BatchKind::Aborted
        } else {
            BatchKind::Records
        };
        fetched.push(Fetched { partition, batch, kind });
    }
    Ok(fetched)
}

/// The type of a control batch's marker: the second number of its record's key.
fn marker(batch: &RecordBatch) -> Option<i16> {
    const MARKER_BYTES_MAX: usize = 1 << 10;
    let record = batch.records(MARKER_BYTES_MAX).ok()?.next()?.ok()?;
    let key = record.key?;
    key.get(2..4).map(|bytes| i16::from_be_bytes([bytes[0], bytes[1]]))
}

#[cfg(test)]
mod tests {
    use bytes::{Bytes, BytesMut};
    use kafka_protocol::messages::fetch_response::AbortedTransaction;
    use weir_protocol::records::builder::BatchBuilder;
    use weir_protocol::records::compression::Compression;

    use super::*;

    const TRANSACTIONAL: i16 = 1 << 4;
    const CONTROL: i16 = 1 << 5;

    /// A batch of two records at an offset; `attributes` are set as a broker would find them.
    fn batch(base_offset: i64, producer_id: i64, attributes: i16, key: &[u8]) -> Bytes {
        let mut builder = BatchBuilder::new(Compression::None).producer(producer_id, 0, 0);
        builder.append(1, Some(key), Some(b"value"), &[]);
        builder.append(2, Some(key), Some(b"value"), &[]);
        let mut bytes = BytesMut::from(&builder.finish()[..]);
        bytes[..8].copy_from_slice(&base_offset.to_be_bytes());
        bytes[21..23].copy_from_slice(&attributes.to_be_bytes());
        bytes.freeze()
    }

    fn kinds(asked: i64, aborted: &[(i64, i64)], log: &[Bytes]) -> Vec<(i64, BatchKind)> {
        let aborted = aborted.iter().map(|(producer_id, first_offset)| {
            AbortedTransaction::default()
                .with_producer_id((*producer_id).into())
                .with_first_offset(*first_offset)
        });
        let data = PartitionData::default()
            .with_records(Some(log.concat().into()))
            .with_aborted_transactions(Some(aborted.collect()));
        let ask = Ask { topic: "t".into(), topic_id: Uuid::nil() };
        let fetched = classify(&ask, 0, Offset(asked), data).unwrap();
        fetched.iter().map(|it| (it.batch.header().base_offset.0, it.kind)).collect()
    }

    #[test]
    fn an_aborted_transaction_ends_at_its_marker_and_takes_nobody_else_along() {
        use BatchKind::{Aborted, Control, Records};
        let abort = b"\0\0\0\0";
        let commit = b"\0\0\0\x01";
        let log = [
            batch(0, 7, TRANSACTIONAL, b"k"),
            batch(2, 8, TRANSACTIONAL, b"k"),
            batch(4, 7, 0, b"k"), // not part of a transaction
            batch(6, 7, TRANSACTIONAL | CONTROL, abort),
            batch(8, 7, TRANSACTIONAL, b"k"), // the same producer's next transaction
            batch(10, 8, TRANSACTIONAL | CONTROL, commit),
            batch(12, 7, TRANSACTIONAL | CONTROL, commit),
        ];
        let found = kinds(0, &[(7, 0)], &log);
        let wanted = [
            (0, Aborted),
            (2, Records),
            (4, Records),
            (6, Control),
            (8, Records),
            (10, Control),
            (12, Control),
        ];
        assert_eq!(found, wanted);
    }

    #[test]
    fn a_transaction_of_the_future_does_not_abort_what_lies_before_it() {
        let log = [batch(0, 7, TRANSACTIONAL, b"k"), batch(2, 7, TRANSACTIONAL, b"k")];
        let found = kinds(0, &[(7, 2)], &log);
        assert_eq!(found, [(0, BatchKind::Records), (2, BatchKind::Aborted)]);
    }

    #[test]
    fn whole_batches_before_the_asked_offset_and_a_cut_one_at_the_end_are_left_out() {
        let cut = batch(4, -1, 0, b"k").slice(..70);
        let log = [batch(0, -1, 0, b"k"), batch(2, -1, 0, b"k"), cut];
        assert_eq!(kinds(3, &[], &log), [(2, BatchKind::Records)]);
    }

    #[test]
    fn of_many_partitions_that_lag_each_is_served_as_often_as_the_others() {
        let mut order: Vec<i32> = (0..5).collect();
        let mut times_served = BTreeMap::new();
        for _ in 0..10 {
            // The answer is full after two of those that lag; 3 has nothing to say.
            let lagging = order.iter().filter(|partition| **partition != 3).take(2);
            let served: BTreeSet<i32> = lagging.copied().collect();
            for partition in &served {
                *times_served.entry(*partition).or_insert(0) += 1;
            }
            send_back(&mut order, &served);
        }
        assert_eq!(times_served, BTreeMap::from([(0, 5), (1, 5), (2, 5), (4, 5)]));
    }
}
