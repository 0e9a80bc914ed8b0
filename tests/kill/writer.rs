//! An idempotent producer: several batches under way in each partition; what was not answered when
//! the connection broke goes out again, the very same bytes in the same order, until it is.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::{ApiKey, ProduceRequest, ProduceResponse};
use kafka_protocol::protocol::VersionRange;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinHandle;
use weir_compactor::source::client::{Answering, Client, ClientError};
use weir_compactor::source::requests::produce_request;
use weir_protocol::records::builder::BatchBuilder;
use weir_protocol::records::compression::Compression;

use crate::kill::content::{Author, HEADER, Origin};
use crate::kill::machine::{Machine, PARTITIONS, TOPIC};

/// As many as Kafka's clients have under way, and as the broker remembers of each producer.
const UNDER_WAY_MAX: usize = 5;
const PRODUCE_BY_NAME: VersionRange = VersionRange { min: 3, max: 12 };
const RECORD_TIME_MS: i64 = 1_700_000_000_000;

/// A batch that the broker has acknowledged.
#[derive(Copy, Clone, Debug)]
pub(super) struct Acknowledged {
    /// Of its first record.
    pub(super) origin: Origin,
    pub(super) count: u64,
    /// Absent where the broker only said that it had the batch already.
    pub(super) base_offset: Option<i64>,
    /// Whether it was sent more than once.
    pub(super) is_repeated: bool,
}

struct Batch {
    first_number: u64,
    count: u64,
    bytes: Bytes,
    sent_count: u32,
}

/// The batches of one partition.
#[derive(Default)]
struct Lane {
    next_number: u64,
    unanswered: VecDeque<Batch>,
}

type UnderWay = VecDeque<(usize, Answering<ProduceRequest>)>;

/// One producer.
pub(super) struct Writer {
    number: u32,
    address: String,
    author: Author,
    acks: i16,
    identity: Option<(i64, i16)>,
    lanes: Vec<Lane>,
    chance: StdRng,
    lives: watch::Receiver<u64>,
    budget: Arc<Semaphore>,
    finish: watch::Receiver<bool>,
    acknowledged: mpsc::UnboundedSender<Acknowledged>,
}

/// Writers at work, and what was acknowledged to them.
pub(super) struct Writers {
    /// One permit for each batch that may be sent.
    budget: Arc<Semaphore>,
    finish: watch::Sender<bool>,
    tasks: Vec<JoinHandle<Vec<u64>>>,
    incoming: mpsc::UnboundedReceiver<Acknowledged>,
    acknowledged: Vec<Acknowledged>,
}

impl Writers {
    /// Starts so many writers; the first asks for `acks=1`, the others for `acks=all`.
    pub(super) fn start(
        machine: &Machine,
        count: u32,
        author: Author,
        chance: &mut StdRng,
    ) -> Writers {
        let budget = Arc::new(Semaphore::new(0));
        let (finish, finished) = watch::channel(false);
        let (acknowledged, incoming) = mpsc::unbounded_channel();
        let start = |number| {
            let writer = Writer {
                number,
                address: machine.address(),
                author,
                acks: if number == 0 { 1 } else { -1 },
                identity: None,
                lanes: (0..PARTITIONS).map(|_| Lane::default()).collect(),
                chance: StdRng::seed_from_u64(chance.random()),
                lives: machine.lives(),
                budget: Arc::clone(&budget),
                finish: finished.clone(),
                acknowledged: acknowledged.clone(),
            };
            tokio::spawn(writer.run())
        };
        let tasks = (0..count).map(start).collect();
        Writers { budget, finish, tasks, incoming, acknowledged: Vec::new() }
    }

    /// Lets so many more batches be sent.
    pub(super) fn allow(&self, batches: usize) {
        self.budget.add_permits(batches);
    }

    /// Lets batches be sent at a steady pace, until it is aborted.
    pub(super) fn allow_steadily(&self, batches: usize, every_ms: u64) -> JoinHandle<()> {
        let budget = Arc::clone(&self.budget);
        tokio::spawn(async move {
            let mut tick = tokio::time::interval(std::time::Duration::from_millis(every_ms));
            loop {
                tick.tick().await;
                budget.add_permits(batches);
            }
        })
    }

    /// All that was acknowledged up to now.
    pub(super) fn acknowledged(&mut self) -> &[Acknowledged] {
        while let Ok(one) = self.incoming.try_recv() {
            self.acknowledged.push(one);
        }
        let failed = self.tasks.iter().any(JoinHandle::is_finished) && !*self.finish.borrow();
        assert!(!failed, "a writer has failed");
        &self.acknowledged
    }

    /// Lets everything be acknowledged that was sent: by writer and partition, how many records.
    pub(super) async fn finish(&mut self) -> Vec<Vec<u64>> {
        self.finish.send_replace(true);
        let mut sent = Vec::new();
        for task in std::mem::take(&mut self.tasks) {
            let ended = tokio::time::timeout(crate::kill::PATIENCE, task).await;
            sent.push(ended.expect("everything is acknowledged in the end").expect("no failure"));
        }
        self.acknowledged();
        sent
    }
}

impl Writer {
    async fn run(mut self) -> Vec<u64> {
        loop {
            // Seen before connecting: whichever life comes after the one that is lost wakes us.
            self.lives.borrow_and_update();
            if self.write().await.is_ok() {
                return self.lanes.iter().map(|lane| lane.next_number).collect();
            }
            self.lives.changed().await.expect("the machine is there");
        }
    }

    /// Writes over one connection until it is lost, or until everything is acknowledged.
    async fn write(&mut self) -> Result<(), ClientError> {
        let client = Client::connect(&self.address, "writer").await?;
        if self.identity.is_none() {
            self.identity = Some(client.init_producer_id().await?);
        }
        let version = client.version_within(ApiKey::Produce as i16, PRODUCE_BY_NAME)?;
        let mut under_way = UnderWay::new();
        for partition in 0..self.lanes.len() {
            for place in 0..self.lanes[partition].unanswered.len() {
                under_way.push_back((partition, self.send(&client, version, partition, place)?));
            }
        }
        loop {
            self.send_more(&client, version, &mut under_way)?;
            match under_way.pop_front() {
                Some((partition, answer)) => {
                    let answer = answer.await?;
                    self.note(partition, &answer);
                }
                None if *self.finish.borrow() => return Ok(()),
                None => {
                    let finished = self.finish.wait_for(|finish| *finish);
                    tokio::select! {
                        finished = finished => drop(finished.expect("the test goes on")),
                        permit = self.budget.acquire() => drop(permit.expect("it stays open")),
                    }
                }
            }
        }
    }

    /// Fills what may be under way, as far as the budget goes.
    fn send_more(
        &mut self,
        client: &Client,
        version: i16,
        under_way: &mut UnderWay,
    ) -> Result<(), ClientError> {
        while !*self.finish.borrow() {
            let has_room = |it: &usize| self.lanes[*it].unanswered.len() < UNDER_WAY_MAX;
            let open: Vec<usize> = (0..self.lanes.len()).filter(has_room).collect();
            let Ok(permit) = self.budget.try_acquire() else { break };
            if open.is_empty() {
                break;
            }
            permit.forget();
            let partition = open[self.chance.random_range(0..open.len())];
            let batch = self.make(partition);
            let lane = &mut self.lanes[partition];
            lane.unanswered.push_back(batch);
            let place = lane.unanswered.len() - 1;
            under_way.push_back((partition, self.send(client, version, partition, place)?));
        }
        Ok(())
    }

    fn make(&mut self, partition: usize) -> Batch {
        let (id, epoch) = self.identity.expect("it was asked for");
        let codecs = [Compression::None, Compression::None, Compression::Lz4, Compression::Zstd];
        let codec = codecs[self.chance.random_range(0..codecs.len())];
        let lane = &mut self.lanes[partition];
        let first_number = lane.next_number;
        let sequence = i32::try_from(first_number).expect("a short test");
        let mut builder = BatchBuilder::new(codec).producer(id, epoch, sequence);
        let count = self.chance.random_range(1..=8);
        for number in first_number..first_number + count {
            let origin = Origin { writer: self.number, partition: partition as i32, number };
            let content = (self.author)(origin);
            let header = origin.text();
            let headers = [(HEADER, Some(header.as_bytes()))];
            let (key, value) = (content.key.as_deref(), content.value.as_deref());
            builder.append(RECORD_TIME_MS, key, value, &headers);
        }
        lane.next_number += count;
        Batch { first_number, count, bytes: builder.finish(), sent_count: 0 }
    }

    fn send(
        &mut self,
        client: &Client,
        version: i16,
        partition: usize,
        place: usize,
    ) -> Result<Answering<ProduceRequest>, ClientError> {
        let batch = &mut self.lanes[partition].unanswered[place];
        batch.sent_count += 1;
        let request = produce_request(TOPIC, partition as i32, batch.bytes.clone(), self.acks);
        client.start(&request, version)
    }

    /// Takes in the answer to the oldest batch of a partition.
    fn note(&mut self, partition: usize, answer: &ProduceResponse) {
        let answer = &answer.responses[0].partition_responses[0];
        assert_eq!(answer.index, partition as i32);
        let batch = self.lanes[partition].unanswered.pop_front().expect("it was sent");
        let origin =
            Origin { writer: self.number, partition: partition as i32, number: batch.first_number };
        let base_offset = match ResponseError::try_from_code(answer.error_code) {
            None => Some(answer.base_offset),
            Some(ResponseError::DuplicateSequenceNumber) => None,
            Some(error) => panic!("{origin:?}: {error}: {:?}", answer.error_message),
        };
        let is_repeated = batch.sent_count > 1;
        let count = batch.count;
        let acknowledged = Acknowledged { origin, count, base_offset, is_repeated };
        // Nobody listens any more when the test has failed elsewhere.
        let _ = self.acknowledged.send(acknowledged);
    }
}
