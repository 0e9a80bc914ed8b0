//! Reads a topic from its start to the end that it has when the run begins, as fast as it comes.
//!
//! Every batch is checked: its checksum, and that its offsets follow those before it.
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use clap::Args;
use kafka_protocol::messages::FetchRequest;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use serde::Serialize;
use serde_json::json;
use tokio::time::Instant;
use weir_protocol::records::batch::batches;

use crate::connection::Connection;
use crate::measure::{Latencies, LatencyMs, Server, ServerUse, per_second, round};
use crate::report::{Report, progress};
use crate::topic::{self, Topic};
use crate::{BenchError, Target, clock};

/// The Fetch version that is spoken where the broker does: the last that names topics.
pub(crate) const VERSION: i16 = 12;

#[derive(Args, Clone, Debug)]
pub(crate) struct Consume {
    #[command(flatten)]
    pub(crate) target: Target,
    /// Connections that read; each takes its share of the partitions.
    #[arg(long, default_value_t = 1)]
    consumers: usize,
    /// Bytes asked for by partition and request.
    #[arg(long, default_value_t = 1 << 20)]
    fetch_bytes: i32,
    /// How often the topic is read from its start.
    #[arg(long, default_value_t = 1)]
    passes: u32,
    /// Stop after so many seconds, wherever that is.
    #[arg(long, value_parser = crate::seconds)]
    duration: Option<Duration>,
    /// Do not check checksums.
    #[arg(long)]
    no_verify: bool,
}

#[derive(Serialize)]
struct Consumed {
    records: u64,
    seconds: f64,
    records_per_second: u64,
    /// 10^6 bytes of record batches, as they travel.
    mb_per_second: f64,
    batches: u64,
    fetches: u64,
    fetch_latency_ms: LatencyMs,
    server: Option<ServerUse>,
}

/// One partition on its way to the end.
#[derive(Clone, Debug)]
pub(crate) struct Position {
    pub(crate) partition: i32,
    pub(crate) next: i64,
    end: i64,
}

struct Tally {
    latencies: Latencies,
    records: u64,
    bytes: u64,
    batches: u64,
    fetches: u64,
}

pub(crate) async fn run(settings: Consume) -> Result<Report, BenchError> {
    let topic = topic::find(&settings.target).await?;
    let starts = topic::offsets(&topic, topic::EARLIEST).await?;
    let ends = topic::offsets(&topic, topic::LATEST).await?;
    let mut shares = shares(&topic, &starts, &ends, settings.consumers.max(1));
    shares.retain(|(_, positions)| !positions.is_empty());
    if shares.is_empty() {
        return Err(BenchError::Server(format!("topic {} is empty", topic.name)));
    }
    let mut connections = Vec::new();
    for (leader, positions) in shares {
        connections.push((Connection::open(&leader).await?, positions));
    }
    let server = Server::watch(settings.target.server_pid);
    let start = clock::now();
    let deadline = settings.duration.map(|duration| start + duration);
    let read = Arc::new(AtomicU64::new(0));
    let tasks: Vec<_> = connections
        .into_iter()
        .map(|(connection, positions)| {
            let (settings, name) = (settings.clone(), topic.name.clone());
            tokio::spawn(consume(
                settings,
                name,
                connection,
                positions,
                deadline,
                Arc::clone(&read),
            ))
        })
        .collect();
    let progress = tokio::spawn(show(read, start));
    let mut total = Tally::new();
    for task in tasks {
        let tally = task.await.map_err(|error| BenchError::Server(error.to_string()))??;
        total.add(&tally);
    }
    progress.abort();
    let seconds = start.elapsed().as_secs_f64();
    let result = Consumed {
        records: total.records,
        seconds: round(seconds),
        records_per_second: per_second(total.records, seconds),
        mb_per_second: round(total.bytes as f64 / 1e6 / seconds),
        batches: total.batches,
        fetches: total.fetches,
        fetch_latency_ms: total.latencies.summary(),
        server: server.and_then(|server| server.spent(total.bytes)),
    };
    let said = json!({
        "topic": topic.name,
        "partitions": topic.leaders.len(),
        "consumers": settings.consumers,
        "fetch_bytes": settings.fetch_bytes,
        "passes": settings.passes,
        "verified": !settings.no_verify,
    });
    Ok(Report::new("consume", said, &result))
}

/// Partitions by consumer: in turn, and each consumer stays with one leader.
pub(crate) fn shares(
    topic: &Topic,
    starts: &[i64],
    ends: &[i64],
    consumers: usize,
) -> Vec<(String, Vec<Position>)> {
    let mut shares: Vec<(String, usize, Vec<Position>)> = Vec::new();
    for (index, leader) in topic.leaders.iter().enumerate() {
        let position = Position {
            partition: i32::try_from(index).expect("partitions are counted in 32 bits"),
            next: starts[index],
            end: ends[index],
        };
        if position.next >= position.end {
            continue;
        }
        let seat = index % consumers;
        match shares.iter_mut().find(|(of, at, _)| of == leader && *at == seat) {
            Some((_, _, positions)) => positions.push(position),
            None => shares.push((leader.clone(), seat, vec![position])),
        }
    }
    shares.into_iter().map(|(leader, _, positions)| (leader, positions)).collect()
}

async fn consume(
    settings: Consume,
    topic: String,
    mut connection: Connection,
    from: Vec<Position>,
    deadline: Option<Instant>,
    read: Arc<AtomicU64>,
) -> Result<Tally, BenchError> {
    let mut tally = Tally::new();
    for _ in 0..settings.passes.max(1) {
        let mut positions = from.clone();
        while !positions.is_empty() && deadline.is_none_or(|deadline| clock::now() < deadline) {
            let request = fetch(&topic, &positions, settings.fetch_bytes);
            let asked = clock::now();
            let answer = connection.call(&request, VERSION).await?;
            tally.latencies.record(asked.elapsed(), 1);
            tally.fetches += 1;
            if answer.error_code != 0 {
                let code = topic::error_name(answer.error_code);
                return Err(BenchError::Server(format!("fetch: {code}")));
            }
            let before = tally.records;
            for partition in answer.responses.iter().flat_map(|topic| &topic.partitions) {
                let index = partition.partition_index;
                if partition.error_code != 0 {
                    let code = topic::error_name(partition.error_code);
                    return Err(BenchError::Server(format!("fetch from {topic}-{index}: {code}")));
                }
                let position = positions.iter_mut().find(|position| position.partition == index);
                if let (Some(position), Some(records)) = (position, &partition.records) {
                    take(&mut tally, position, records.clone(), !settings.no_verify)?;
                }
            }
            read.fetch_add(tally.records - before, Ordering::Relaxed);
            positions.retain(|position| position.next < position.end);
        }
    }
    Ok(tally)
}

pub(crate) fn fetch(topic: &str, positions: &[Position], fetch_bytes: i32) -> FetchRequest {
    let partition = |position: &Position| {
        FetchPartition::default()
            .with_partition(position.partition)
            .with_fetch_offset(position.next)
            .with_partition_max_bytes(fetch_bytes)
    };
    let asked = FetchTopic::default()
        .with_topic(topic::topic_name(topic))
        .with_partitions(positions.iter().map(partition).collect());
    FetchRequest::default()
        .with_max_wait_ms(500)
        .with_min_bytes(1)
        .with_max_bytes(i32::MAX)
        .with_topics(vec![asked])
}

fn take(
    tally: &mut Tally,
    position: &mut Position,
    records: bytes::Bytes,
    is_verified: bool,
) -> Result<(), BenchError> {
    let broken = |what: String| {
        BenchError::Server(format!(
            "partition {}, offset {}: {what}",
            position.partition, position.next
        ))
    };
    let mut next = position.next;
    for batch in batches(records) {
        let batch = batch.map_err(|error| broken(error.to_string()))?;
        if is_verified {
            batch.check_crc().map_err(|error| broken(error.to_string()))?;
        }
        let header = batch.header();
        if header.last_offset().0 < next || header.base_offset.0 > next {
            return Err(broken(format!("a batch begins at offset {}", header.base_offset)));
        }
        next = header.last_offset().next().0;
        tally.records += u64::try_from(header.record_count).unwrap_or(0);
        tally.bytes += header.size_bytes() as u64;
        tally.batches += 1;
    }
    position.next = next;
    Ok(())
}

impl Tally {
    fn new() -> Tally {
        Tally { latencies: Latencies::new(), records: 0, bytes: 0, batches: 0, fetches: 0 }
    }

    fn add(&mut self, other: &Tally) {
        self.latencies.add(&other.latencies);
        self.records += other.records;
        self.bytes += other.bytes;
        self.batches += other.batches;
        self.fetches += other.fetches;
    }
}

async fn show(read: Arc<AtomicU64>, start: Instant) {
    let bar = progress();
    loop {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let records = read.load(Ordering::Relaxed);
        bar.set_message(format!("{} s: {records} records read", start.elapsed().as_secs()));
    }
}
