//! What the log is known to hold, offset by offset: each consumer that reads adds to it or must
//! find what was found there before.

use std::collections::BTreeMap;
use std::sync::Arc;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::sync::{Mutex, watch};
use uuid::Uuid;
use weir_compactor::source::cluster::Cluster;
use weir_compactor::source::requests::LATEST;
use weir_compactor::source::{BatchKind, Fetched, Source, SourceError};
use weir_protocol::records::Offset;

use crate::kill::PATIENCE;
use crate::kill::content::{Author, Origin};
use crate::kill::machine::{Machine, PARTITIONS, TOPIC};
use crate::kill::writer::Acknowledged;

const DECOMPRESSED_BYTES_MAX: usize = 1 << 20;
/// A consumer that comes back looks again at up to so many of the records that were seen last.
const LOOKED_AT_AGAIN_MAX: usize = 500;

/// The records of each partition by offset.
pub(super) struct History {
    author: Author,
    partitions: Vec<Vec<Origin>>,
    /// Records that were read once more, and were the same.
    pub(super) read_again: u64,
}

impl History {
    pub(super) fn new(author: Author) -> History {
        let partitions = (0..PARTITIONS).map(|_| Vec::new()).collect();
        History { author, partitions, read_again: 0 }
    }

    /// The records of a partition.
    pub(super) fn partition(&self, partition: i32) -> &[Origin] {
        &self.partitions[partition as usize]
    }

    /// How many records there are.
    pub(super) fn record_count(&self) -> usize {
        self.partitions.iter().map(Vec::len).sum()
    }

    /// Takes in what a consumer reads.
    fn take(&mut self, fetched: &Fetched) {
        let Fetched { partition, batch, kind } = fetched;
        let place = batch.header().base_offset;
        assert_eq!(*kind, BatchKind::Records, "partition {partition}, offset {place}");
        batch.check_crc().unwrap_or_else(|error| panic!("partition {partition}, {place}: {error}"));
        let records = batch.records(DECOMPRESSED_BYTES_MAX).expect("a batch that was sent by us");
        for record in records {
            let record = record.expect("a record that was sent by us");
            let (origin, offset) = (Origin::of(&record), record.offset);
            assert_eq!(origin.partition, *partition, "offset {offset}: it belongs elsewhere");
            let known = &mut self.partitions[*partition as usize];
            match known.get(offset.0 as usize) {
                Some(known) => {
                    let place = format!("partition {partition}, offset {offset}");
                    assert_eq!(origin, *known, "{place}: it was another record before");
                    self.read_again += 1;
                }
                None => {
                    let end = known.len() as i64;
                    assert_eq!(offset.0, end, "partition {partition}: a hole in the offsets");
                    known.push(origin);
                }
            }
            let content = (self.author)(origin);
            assert_eq!((record.key, record.value), (content.key, content.value), "{origin:?}");
        }
    }

    /// Every acknowledged batch lies where the broker said.
    pub(super) fn check_acknowledged(&self, acknowledged: &[Acknowledged]) {
        for Acknowledged { origin, count, base_offset, .. } in acknowledged {
            let Some(base_offset) = base_offset else { continue };
            for step in 0..*count {
                let offset = *base_offset as u64 + step;
                let found = self.partition(origin.partition).get(offset as usize);
                let wanted = Origin { number: origin.number + step, ..*origin };
                assert_eq!(found, Some(&wanted), "acknowledged at offset {offset}");
            }
        }
    }

    /// Each writer's records come once each, without a gap, in the order in which they were sent;
    /// how many there are, by writer and partition.
    pub(super) fn check_order(&self) -> BTreeMap<(u32, i32), u64> {
        let mut next: BTreeMap<(u32, i32), u64> = BTreeMap::new();
        for origin in self.partitions.iter().flatten() {
            let next = next.entry((origin.writer, origin.partition)).or_default();
            assert_eq!(origin.number, *next, "{origin:?}: lost, doubled or out of order");
            *next += 1;
        }
        next
    }

    /// All that was sent is there, and nothing else.
    pub(super) fn check_complete(&self, sent: &[Vec<u64>]) {
        let found = self.check_order();
        for (writer, partitions) in sent.iter().enumerate() {
            for (partition, count) in partitions.iter().enumerate() {
                let found = found.get(&(writer as u32, partition as i32)).copied().unwrap_or(0);
                assert_eq!(found, *count, "writer {writer}, partition {partition}");
            }
        }
        let sent: u64 = sent.iter().flatten().sum();
        assert_eq!(self.record_count() as u64, sent);
    }
}

/// A history that several consumers write, and the log that they read.
#[derive(Clone)]
pub(super) struct Reading {
    pub(super) history: Arc<Mutex<History>>,
    topic_id: Uuid,
    address: String,
}

impl Reading {
    pub(super) fn new(machine: &Machine, topic_id: Uuid, author: Author) -> Reading {
        let history = Arc::new(Mutex::new(History::new(author)));
        Reading { history, topic_id, address: machine.address() }
    }

    fn cluster(&self) -> Cluster {
        Cluster::new(&self.address, "reader")
    }

    /// Reads from the given offsets to the end of the log, whose broker must live. What anybody
    /// has seen must lie before that end.
    async fn read(&self, from: impl Fn(&[Origin]) -> usize) {
        let seen: Vec<usize> = self.history.lock().await.partitions.iter().map(Vec::len).collect();
        let cluster = self.cluster();
        let client = cluster.any().await.expect("the broker lives");
        let partitions: Vec<i32> = (0..PARTITIONS).collect();
        let ends = client.list_offsets(TOPIC, &partitions, LATEST).await.expect("it answers");
        let mut left: BTreeMap<i32, Offset> = BTreeMap::new();
        let mut next = BTreeMap::new();
        for (partition, end) in ends {
            let seen = seen[partition as usize] as i64;
            let end = end.offset;
            assert!(end >= seen, "partition {partition}: the log ends at {end}, {seen} were seen");
            let from = from(self.history.lock().await.partition(partition)) as i64;
            next.insert(partition, Offset(from));
            if from < end {
                left.insert(partition, Offset(end));
            }
        }
        let opened = Source::open(&cluster, TOPIC, self.topic_id, &next).await;
        let mut source = opened.expect("the topic is there");
        while !left.is_empty() {
            let answer = tokio::time::timeout(PATIENCE, source.next()).await;
            let answer = answer.expect("the log can be read").expect("the log can be read");
            let mut history = self.history.lock().await;
            for fetched in &answer.batches {
                history.take(fetched);
                let next = fetched.batch.header().last_offset().next();
                if left.get(&fetched.partition).is_some_and(|end| next >= *end) {
                    left.remove(&fetched.partition);
                }
            }
        }
    }

    /// Reads everything once more.
    pub(super) async fn read_all(&self) {
        self.read(|_| 0).await;
    }

    /// Reads what is new.
    pub(super) async fn read_on(&self) {
        self.read(<[Origin]>::len).await;
    }

    /// A consumer that reads on and on, through all lives of the broker; each time it comes back
    /// it looks once more at some of what was seen last.
    pub(super) async fn follow(
        self,
        mut lives: watch::Receiver<u64>,
        mut finish: watch::Receiver<bool>,
        seed: u64,
    ) {
        let mut chance = StdRng::seed_from_u64(seed);
        loop {
            lives.borrow_and_update();
            let next = {
                let history = self.history.lock().await;
                let from = |known: &Vec<Origin>| {
                    let again = chance.random_range(0..=LOOKED_AT_AGAIN_MAX);
                    Offset(known.len().saturating_sub(again) as i64)
                };
                (0..PARTITIONS).zip(history.partitions.iter().map(from)).collect()
            };
            tokio::select! {
                lost = self.follow_from(&next) => assert_lost(&lost),
                _ = finish.wait_for(|finish| *finish) => return,
            }
            tokio::select! {
                changed = lives.changed() => changed.expect("the machine is there"),
                _ = finish.wait_for(|finish| *finish) => return,
            }
        }
    }

    async fn follow_from(&self, next: &BTreeMap<i32, Offset>) -> SourceError {
        let opened = Source::open(&self.cluster(), TOPIC, self.topic_id, next).await;
        let mut source = match opened {
            Ok(source) => source,
            Err(error) => return error,
        };
        loop {
            match source.next().await {
                Ok(answer) => {
                    let mut history = self.history.lock().await;
                    answer.batches.iter().for_each(|fetched| history.take(fetched));
                }
                Err(error) => return error,
            }
        }
    }
}

/// A consumer may lose its connection; it must never be told that offsets are gone.
fn assert_lost(error: &SourceError) {
    let is_lost = matches!(error, SourceError::Client(error) if error.code().is_none());
    assert!(is_lost, "a consumer was told: {error}");
}
