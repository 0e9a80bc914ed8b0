//! Where the records come from: a topic's partitions from given offsets on, as a plain Kafka
//! client reads them.
//!
//! - Committed records only: up to the last stable offset; batches of aborted transactions and
//!   control batches come along, named as such, because their offsets count.
//! - Never resets by itself: an offset outside the log is a typed refusal ([`Stranger`]).
//! - Any failure ends the source. Whoever reads it opens another one, where the table stands.
//!
//! One task per leading broker polls and fills a short channel, so that fetching goes on while
//! rows are decoded and written; [`Source::next`] may be cancelled without loss.

pub mod client;
pub mod cluster;
mod fetch;
mod group_offsets;
mod link;
pub mod requests;

use std::collections::BTreeMap;
use std::sync::Arc;

use kafka_protocol::error::ResponseError;
use tokio::sync::mpsc;
use uuid::Uuid;
use weir_protocol::records::batch::RecordBatch;
use weir_protocol::records::{BatchError, Offset};

use crate::lineage::Stranger;
use crate::source::client::ClientError;
use crate::source::cluster::Cluster;
use crate::source::fetch::{Ask, Poll, classify};
use crate::source::requests::{EARLIEST, LATEST, TopicMetadata};

/// Answers that wait to be folded, at most; one more is under way.
const WAITING_ANSWERS_MAX: usize = 1;

/// Why a source has ended.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The broker is away or refuses.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The log is not the one that the offsets belong to.
    #[error(transparent)]
    Stranger(#[from] Stranger),
    /// The topic is not there, or not under the id that it had.
    #[error("topic {topic} is gone: {reason}")]
    TopicGone {
        /// Its name.
        topic: String,
        /// How that was noticed.
        reason: String,
    },
    /// A partition has no leader at the moment.
    #[error("topic {topic}, partition {partition}: no leader now")]
    NoLeader {
        /// The topic.
        topic: String,
        /// The partition.
        partition: i32,
    },
    /// What lies at an offset is no record batch of the format that we read (magic 2).
    #[error("topic {topic}, partition {partition}, offset {offset}: {fault}")]
    Unreadable {
        /// The topic.
        topic: String,
        /// The partition.
        partition: i32,
        /// The offset that was asked for.
        offset: Offset,
        /// What is wrong.
        fault: BatchError,
    },
}

/// What a batch is to a reader of committed records.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum BatchKind {
    /// Its records count.
    Records,
    /// It marks the end of a transaction.
    Control,
    /// Its transaction was aborted.
    Aborted,
}

/// A batch of one partition, its checksum not yet looked at.
#[derive(Clone, Debug)]
pub struct Fetched {
    /// The partition.
    pub partition: i32,
    /// The batch as it lies in the log.
    pub batch: RecordBatch,
    /// Whether its records count.
    pub kind: BatchKind,
}

/// What one answer of a broker brought.
#[derive(Debug, Default)]
pub struct Answered {
    /// Batches in the order of their offsets within a partition.
    pub batches: Vec<Fetched>,
    /// By partition where committed records end now.
    pub ends: BTreeMap<i32, Offset>,
}

/// A topic's partitions, from given offsets on.
#[derive(Debug)]
pub struct Source {
    answers: mpsc::Receiver<Result<Answered, SourceError>>,
    polls: Vec<tokio::task::JoinHandle<()>>,
}

impl Drop for Source {
    fn drop(&mut self) {
        for poll in &self.polls {
            poll.abort();
        }
    }
}

impl Source {
    /// Begins to poll the given partitions, each from its offset on.
    pub async fn open(
        cluster: &Cluster,
        topic: &str,
        topic_id: Uuid,
        next: &BTreeMap<i32, Offset>,
    ) -> Result<Source, SourceError> {
        let cluster = Arc::new(cluster.apart());
        let mut by_leader: BTreeMap<String, BTreeMap<i32, Offset>> = BTreeMap::new();
        let leaders = Leaders::ask(&cluster, topic, topic_id).await?;
        for (partition, offset) in next {
            let leader = leaders.of(*partition)?.to_owned();
            by_leader.entry(leader).or_default().insert(*partition, *offset);
        }
        let (sender, answers) = mpsc::channel(WAITING_ANSWERS_MAX);
        let polls = by_leader.into_iter().map(|(address, next)| {
            let ask = Ask { topic: topic.to_owned(), topic_id };
            let poll = Poll::new(Arc::clone(&cluster), address, ask, next);
            tokio::spawn(poll.run(sender.clone()))
        });
        Ok(Source { polls: polls.collect(), answers })
    }

    /// The next answer. It may be empty; after an error there is no other.
    pub async fn next(&mut self) -> Result<Answered, SourceError> {
        match self.answers.recv().await {
            Some(answer) => answer,
            // All polls are over, or there were no partitions to poll: nothing will come.
            None => std::future::pending().await,
        }
    }
}

/// The batch that holds an offset today; none if the log has no such place.
pub async fn batch_at(
    cluster: &Cluster,
    topic: &str,
    topic_id: Uuid,
    partition: i32,
    offset: Offset,
) -> Result<Option<RecordBatch>, SourceError> {
    let leaders = Leaders::ask(cluster, topic, topic_id).await?;
    let client = cluster.at(leaders.of(partition)?).await?;
    let ask = Ask { topic: topic.to_owned(), topic_id };
    let answer = ask.fetch(&client, &[(partition, offset)], 0).await?;
    let Some(data) = answer.into_iter().find(|data| data.partition_index == partition) else {
        return Ok(None);
    };
    match ResponseError::try_from_code(data.error_code) {
        None => {}
        Some(ResponseError::OffsetOutOfRange) => return Ok(None),
        Some(code) => return Err(ask.refused(&client, partition, code)),
    }
    let batches = classify(&ask, partition, offset, data)?;
    let holds = |batch: &RecordBatch| {
        let header = batch.header();
        header.base_offset <= offset && offset <= header.last_offset()
    };
    Ok(batches.into_iter().map(|fetched| fetched.batch).find(holds))
}

/// Where a partition's log begins, and where its committed records end.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// The first offset that is still there.
    pub start: Offset,
    /// One past the last committed record.
    pub end: Offset,
}

/// The bounds of the given partitions.
pub async fn bounds(
    cluster: &Cluster,
    topic: &str,
    topic_id: Uuid,
    partitions: &[i32],
) -> Result<BTreeMap<i32, Bounds>, SourceError> {
    let leaders = Leaders::ask(cluster, topic, topic_id).await?;
    let mut by_leader: BTreeMap<&str, Vec<i32>> = BTreeMap::new();
    for partition in partitions {
        by_leader.entry(leaders.of(*partition)?).or_default().push(*partition);
    }
    let mut bounds = BTreeMap::new();
    for (address, partitions) in by_leader {
        let client = cluster.at(address).await?;
        let starts = client.list_offsets(topic, &partitions, EARLIEST).await?;
        let ends = client.list_offsets(topic, &partitions, LATEST).await?;
        for (partition, start) in starts {
            let start = Offset(start.offset);
            let end = ends.get(&partition).map_or(start, |end| Offset(end.offset).max(start));
            bounds.insert(partition, Bounds { start, end });
        }
    }
    Ok(bounds)
}

/// The addresses of a topic's leading brokers.
#[derive(Debug)]
struct Leaders {
    topic: String,
    addresses: BTreeMap<i32, String>,
}

impl Leaders {
    async fn ask(cluster: &Cluster, topic: &str, topic_id: Uuid) -> Result<Self, SourceError> {
        let metadata = cluster.any().await?.metadata(Some(&[topic])).await?;
        let found = metadata.topics.into_iter().find(|it| it.name == topic);
        let found = present(topic, topic_id, found)?;
        let addresses = found.leaders.into_iter().filter_map(|(partition, leader)| {
            Some((partition, metadata.brokers.get(&leader)?.clone()))
        });
        Ok(Self { topic: topic.to_owned(), addresses: addresses.collect() })
    }

    fn of(&self, partition: i32) -> Result<&str, SourceError> {
        let missing = || SourceError::NoLeader { topic: self.topic.clone(), partition };
        self.addresses.get(&partition).map(String::as_str).ok_or_else(missing)
    }
}

fn present(
    topic: &str,
    topic_id: Uuid,
    found: Option<TopicMetadata>,
) -> Result<TopicMetadata, SourceError> {
    let gone = |reason: String| SourceError::TopicGone { topic: topic.to_owned(), reason };
    let found = found.ok_or_else(|| gone("the broker does not name it".into()))?;
    match found.error {
        Some(error) if !error.is_retriable() => return Err(gone(error.to_string())),
        Some(ResponseError::UnknownTopicOrPartition) => {
            return Err(gone("the broker does not know it".into()));
        }
        _ => {}
    }
    if found.topic_id != topic_id {
        return Err(gone(format!("its id was {topic_id} and is now {}", found.topic_id)));
    }
    Ok(found)
}
