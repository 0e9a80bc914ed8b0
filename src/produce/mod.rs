//! `weir produce`: lines of standard input become records.
//!
//! Each line is a record, sent as an idempotent producer does; with `acks=all` what was told to be
//! produced is durable. Lines that arrive together travel together; a lone one goes at once.

mod partitioner;

use std::collections::BTreeMap;
use std::io::BufRead;
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, ValueEnum};
use serde::Serialize;
use tokio::sync::mpsc;
use weir_broker::clock::{Clock, SystemClock};
use weir_compactor::source::client::Client;
use weir_compactor::source::cluster::Cluster;
use weir_protocol::records::batch::sequence_after;
use weir_protocol::records::builder::BatchBuilder;
use weir_protocol::records::compression::Compression;

use crate::failure::Failure;
use crate::print;
use crate::produce::partitioner::partition_of;
use crate::table::{Bootstrap, Output};

/// Lines that wait to be sent; who writes faster waits.
const WAITING_LINES_MAX: usize = 10_000;
/// A batch is sent when it has grown to this, far below `max.message.bytes`.
const BATCH_BYTES: usize = 512 << 10;
/// A batch is sent when no line has come for this long.
const LINGER: Duration = Duration::from_millis(5);

#[derive(Args, Clone, Debug)]
pub(crate) struct Produce {
    /// The topic.
    topic: String,
    #[command(flatten)]
    bootstrap: Bootstrap,
    /// The key of every record.
    #[arg(short, long, conflicts_with = "key_separator")]
    key: Option<String>,
    /// Lines are KEY, this separator, VALUE; a line without it has no key.
    #[arg(short = 'K', long, value_name = "TEXT")]
    key_separator: Option<String>,
    /// A header of every record as name=value; may be repeated.
    #[arg(short = 'H', long = "header", value_name = "NAME=VALUE", value_parser = name_and_value)]
    headers: Vec<(String, String)>,
    /// The partition of every record [default: by the key's hash, as Kafka's own producer; records
    /// without a key in turn].
    #[arg(short, long, value_parser = clap::value_parser!(i32).range(0..))]
    partition: Option<i32>,
    /// How batches are compressed.
    #[arg(short = 'z', long, value_enum, default_value_t = Codec::None)]
    compression: Codec,
    /// What is waited for: all (durable), 1 (appended) or 0 (nothing).
    #[arg(long, value_enum, default_value_t = Acks::All)]
    acks: Acks,
    /// An empty value is a tombstone: it deletes the key.
    #[arg(short = 'Z', long)]
    tombstone: bool,
    /// json: one object a record, with its partition and offset.
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    output: Output,
}

#[derive(Copy, Clone, Debug, PartialEq, Eq, ValueEnum)]
enum Codec {
    None,
    Gzip,
    Snappy,
    Lz4,
    Zstd,
}

impl From<Codec> for Compression {
    fn from(codec: Codec) -> Compression {
        match codec {
            Codec::None => Compression::None,
            Codec::Gzip => Compression::Gzip,
            Codec::Snappy => Compression::Snappy,
            Codec::Lz4 => Compression::Lz4,
            Codec::Zstd => Compression::Zstd,
        }
    }
}

#[derive(Copy, Clone, Debug, PartialEq, Eq, ValueEnum)]
enum Acks {
    All,
    #[value(name = "1")]
    One,
    #[value(name = "0")]
    None,
}

#[derive(Debug, Serialize)]
struct Told<'a> {
    topic: &'a str,
    partition: i32,
    offset: i64,
}

fn name_and_value(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("expected name=value")?;
    Ok((name.to_owned(), value.to_owned()))
}

pub(crate) async fn run(produce: Produce) -> Result<(), Failure> {
    let cluster = Cluster::new(&produce.bootstrap.bootstrap_server, "weir-produce");
    let mut sender = Sender::open(&cluster, produce).await?;
    let (lines, mut waiting) = mpsc::channel(WAITING_LINES_MAX);
    // Not joined: a terminal keeps it waiting for the next line.
    std::thread::spawn(move || read_lines(&lines));
    loop {
        match tokio::time::timeout(LINGER, waiting.recv()).await {
            Err(_) if sender.filling.is_empty() => match waiting.recv().await {
                Some(line) => sender.add(&line?).await?,
                None => break,
            },
            Err(_) => sender.send_all().await?,
            Ok(Some(line)) => sender.add(&line?).await?,
            Ok(None) => break,
        }
    }
    sender.send_all().await?;
    if sender.produce.output == Output::Json {
        return Ok(());
    }
    print::lines(&[format!("produced {} records to {}", sender.sent_count, sender.produce.topic)])
}

/// Standard input line by line, bytes as they are. Blocks.
fn read_lines(lines: &mpsc::Sender<Result<Vec<u8>, Failure>>) {
    let mut input = std::io::stdin().lock();
    loop {
        let mut line = Vec::new();
        let read = input.read_until(b'\n', &mut line);
        let line = match read {
            Ok(0) => return,
            Ok(_) => {
                if line.last() == Some(&b'\n') {
                    line.pop();
                }
                Ok(line)
            }
            Err(error) => Err(Failure::new(format!("standard input: {error}"))),
        };
        let is_last = line.is_err();
        if lines.blocking_send(line).is_err() || is_last {
            return;
        }
    }
}

impl Produce {
    /// A line as key and value.
    fn split<'a>(&'a self, line: &'a [u8]) -> (Option<&'a [u8]>, &'a [u8]) {
        if let Some(key) = &self.key {
            return (Some(key.as_bytes()), line);
        }
        let Some(separator) = self.key_separator.as_deref().map(str::as_bytes) else {
            return (None, line);
        };
        if separator.is_empty() {
            return (None, line);
        }
        let place = line.windows(separator.len()).position(|window| window == separator);
        place.map_or((None, line), |place| (Some(&line[..place]), &line[place + separator.len()..]))
    }
}

/// The batches that fill, and who they come from.
struct Sender {
    produce: Produce,
    /// By partition: its leader.
    leaders: BTreeMap<i32, Arc<Client>>,
    producer: (i64, i16),
    filling: BTreeMap<i32, BatchBuilder>,
    next_sequence: BTreeMap<i32, i32>,
    /// Where records without a key go until the next batch is sent.
    turn: i32,
    sent_count: u64,
}

impl Sender {
    async fn open(cluster: &Cluster, produce: Produce) -> Result<Self, Failure> {
        let any = cluster.any().await?;
        let metadata = any.metadata(Some(&[&produce.topic])).await?;
        let name = &produce.topic;
        let found = metadata.topics.iter().find(|topic| &topic.name == name);
        let topic = found.filter(|topic| topic.error.is_none()).ok_or_else(|| {
            Failure::new(format!("there is no topic {name}; `weir topic create {name}` makes it"))
        })?;
        let mut leaders = BTreeMap::new();
        for (partition, leader) in &topic.leaders {
            let address = metadata.brokers.get(leader).ok_or_else(|| {
                Failure::new(format!("{name}-{partition} has no leader now; try again later"))
            })?;
            leaders.insert(*partition, cluster.at(address).await?);
        }
        if let Some(partition) = produce.partition.filter(|it| !leaders.contains_key(it)) {
            let last = leaders.len() - 1;
            let line = format!("topic {name} has no partition {partition}; its last is {last}");
            return Err(Failure::new(line));
        }
        let producer = any.init_producer_id().await?;
        Ok(Self {
            produce,
            leaders,
            producer,
            filling: BTreeMap::new(),
            next_sequence: BTreeMap::new(),
            turn: 0,
            sent_count: 0,
        })
    }

    async fn add(&mut self, line: &[u8]) -> Result<(), Failure> {
        let (key, value) = self.produce.split(line);
        let count = i32::try_from(self.leaders.len()).unwrap_or(i32::MAX);
        let partition = match (self.produce.partition, key) {
            (Some(partition), _) => partition,
            (None, Some(key)) => partition_of(key, count),
            (None, None) => self.turn % count,
        };
        let value = Some(value).filter(|value| !(self.produce.tombstone && value.is_empty()));
        let headers: Vec<(&str, Option<&[u8]>)> = self
            .produce
            .headers
            .iter()
            .map(|(name, value)| (name.as_str(), Some(value.as_bytes())))
            .collect();
        let batch = self.filling.entry(partition).or_insert_with(|| {
            let sequence = self.next_sequence.get(&partition).copied().unwrap_or(0);
            let (id, epoch) = self.producer;
            let codec = self.produce.compression.into();
            BatchBuilder::new(codec).producer(id, epoch, sequence)
        });
        batch.append(SystemClock.now_ms(), key, value, &headers);
        if batch.size_bytes() >= BATCH_BYTES {
            self.send(partition).await?;
        }
        Ok(())
    }

    async fn send_all(&mut self) -> Result<(), Failure> {
        let partitions: Vec<i32> = self.filling.keys().copied().collect();
        for partition in partitions {
            self.send(partition).await?;
        }
        Ok(())
    }

    async fn send(&mut self, partition: i32) -> Result<(), Failure> {
        let Some(batch) = self.filling.remove(&partition) else { return Ok(()) };
        let count = i32::try_from(batch.record_count()).expect("a batch is small");
        let acks = match self.produce.acks {
            Acks::All => -1,
            Acks::One => 1,
            Acks::None => 0,
        };
        let topic = self.produce.topic.as_str();
        let leader = &self.leaders[&partition];
        let produced = leader.produce(topic, partition, batch.finish(), acks).await?;
        let sequence = self.next_sequence.entry(partition).or_insert(0);
        *sequence = sequence_after(*sequence, count);
        self.turn = self.turn.wrapping_add(1) & i32::MAX;
        self.sent_count += u64::from(count.unsigned_abs());
        if self.produce.output == Output::Json && acks != 0 {
            let told = (0..i64::from(count)).map(|delta| {
                let offset = produced.base_offset + delta;
                serde_json::to_string(&Told { topic, partition, offset })
                    .map_err(|error| Failure::new(error.to_string()))
            });
            print::lines(&told.collect::<Result<Vec<_>, _>>()?)?;
        }
        Ok(())
    }
}
