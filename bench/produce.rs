//! Writes batches: throughput, and the time from when a record was due to its acknowledgement.
//!
//! Open loop: a producer's records are due one by one at its share of the rate. Those of one linger
//! time travel together, as in any client; the batch is sent when its last record is due.
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use clap::Args;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde::Serialize;
use serde_json::json;
use tokio::sync::mpsc;
use tokio::time::Instant;
use weir_protocol::records::builder::BatchBuilder;
use weir_protocol::records::compression::Compression;

use crate::connection::Connection;
use crate::measure::{Latencies, LatencyMs, Server, ServerUse, per_second, round};
use crate::pipeline::{Ack, Pipeline, Sent};
use crate::report::{Report, progress};
use crate::tail::Tail;
use crate::topic::{self, Topic};
use crate::{BenchError, Target, clock};

/// Different batches that are sent in turn.
const TEMPLATES: usize = 8;

#[derive(Args, Clone, Debug)]
pub(crate) struct Produce {
    #[command(flatten)]
    pub(crate) target: Target,
    /// Bytes of a record's value.
    #[arg(long, default_value_t = 1024)]
    record_size: usize,
    /// Connections that write.
    #[arg(long, default_value_t = 1)]
    producers: u32,
    /// Whose acknowledgement is waited for: 0, 1 or all.
    #[arg(long, default_value = "all", value_parser = crate::acks, allow_hyphen_values = true)]
    acks: i16,
    /// none, gzip, snappy, lz4 or zstd.
    #[arg(long, default_value = "none", value_parser = crate::codec)]
    compression: Compression,
    /// Bytes of values in a batch, at most.
    #[arg(long, default_value_t = 65_536)]
    batch_bytes: usize,
    /// Requests in flight by producer.
    #[arg(long, default_value_t = 5)]
    in_flight: usize,
    /// Records due by second, all producers together (open loop). Absent: as fast as it goes.
    #[arg(long)]
    rate: Option<f64>,
    /// Open loop: records due within so many milliseconds travel together.
    #[arg(long, default_value_t = 1.0)]
    linger_ms: f64,
    /// Seconds of load that is measured.
    #[arg(long, default_value = "10", value_parser = crate::seconds)]
    duration: Duration,
    /// Stop after so many records instead; nothing is left out as warm-up.
    #[arg(long)]
    records: Option<u64>,
    /// Seconds of load before that.
    #[arg(long, default_value = "1", value_parser = crate::seconds)]
    warmup: Duration,
    /// Connections that follow the end of the topic meanwhile (not with acks=0).
    #[arg(long, default_value_t = 0)]
    tail_consumers: usize,
}

#[derive(Serialize)]
struct Produced {
    records: u64,
    seconds: f64,
    records_per_second: u64,
    /// 10^6 bytes of values.
    mb_per_second: f64,
    batches: u64,
    latency_ms: LatencyMs,
    /// From when a record was due to when a consumer had it.
    end_to_end_ms: Option<LatencyMs>,
    server: Option<ServerUse>,
}

/// What a producer measured.
struct Tally {
    latencies: Latencies,
    records: u64,
    bytes: u64,
    batches: u64,
    last_ack: Option<Instant>,
    /// Each of them, where consumers follow.
    acks: Vec<Ack>,
}

/// When a producer sends what, and for how long.
struct Plan {
    templates: Vec<Bytes>,
    records_per_batch: u64,
    record_size: u64,
    /// Between two records of one producer; `None` is as fast as it goes.
    interval: Option<Duration>,
    start: Instant,
    measure_from: Instant,
    stop: Stop,
    is_followed: bool,
    acknowledged: Arc<AtomicU64>,
}

enum Stop {
    At(Instant),
    /// Each producer after so many.
    Batches(u64),
}

pub(crate) async fn run(settings: Produce) -> Result<Report, BenchError> {
    let producers = settings.producers.max(1);
    if settings.tail_consumers > 0 && settings.acks == 0 {
        let said = "consumers that follow need acknowledgements, which tell offsets";
        return Err(BenchError::Usage(said.to_owned()));
    }
    let topic = topic::create(&settings.target, &settings.target.topic_configs).await?;
    let rate = settings.rate.map(|rate| rate / f64::from(producers));
    let records_per_batch = records_per_batch(&settings, rate);
    let templates = templates(&settings, records_per_batch);
    let warmup = if settings.records.is_some() { Duration::ZERO } else { settings.warmup };
    let mut opened = Vec::new();
    for number in 0..producers {
        let partitions = partitions_of(&topic, number, producers);
        let connection = Connection::open(&topic.leaders[partitions[0] as usize]).await?;
        let pipeline =
            Pipeline::new(connection, &topic.name, settings.acks, settings.in_flight.max(1))?;
        opened.push((partitions, pipeline));
    }
    let tail = match settings.tail_consumers {
        0 => None,
        consumers => Some(Tail::follow(&topic, consumers).await?),
    };
    // All connections stand before the clock starts.
    let start = clock::now() + Duration::from_millis(20);
    let stop = match settings.records {
        None => Stop::At(start + warmup + settings.duration),
        Some(records) => {
            let per_producer = records.div_ceil(u64::from(producers));
            Stop::Batches(per_producer.div_ceil(records_per_batch))
        }
    };
    let plan = Arc::new(Plan {
        templates,
        records_per_batch,
        record_size: settings.record_size as u64,
        interval: rate.map(|rate| Duration::from_secs_f64(1.0 / rate)),
        start,
        measure_from: start + warmup,
        stop,
        is_followed: settings.tail_consumers > 0,
        acknowledged: Arc::default(),
    });
    let tasks: Vec<_> = (0..)
        .zip(opened)
        .map(|(number, (partitions, (pipeline, acks)))| {
            let tally = tokio::spawn(tally(acks, Arc::clone(&plan)));
            let shift = plan.interval.unwrap_or_default() * number / producers;
            (tokio::spawn(produce(pipeline, Arc::clone(&plan), partitions, shift)), tally)
        })
        .collect();
    let progress = tokio::spawn(show(Arc::clone(&plan.acknowledged), start));
    clock::until(plan.measure_from).await;
    let server = Server::watch(settings.target.server_pid);
    let mut total = Tally::new();
    for (producer, tally) in tasks {
        let joined = |error: tokio::task::JoinError| BenchError::Server(error.to_string());
        producer.await.map_err(joined)??;
        total.add(tally.await.map_err(joined)?);
    }
    progress.abort();
    let server = server.and_then(|server| server.spent(total.bytes));
    let end_to_end_ms = match tail {
        Some(tail) => Some(tail.finish(&total.acks).await?.summary()),
        None => None,
    };
    Ok(report(&settings, &plan, &total, end_to_end_ms, server))
}

fn report(
    settings: &Produce,
    plan: &Plan,
    total: &Tally,
    end_to_end_ms: Option<LatencyMs>,
    server: Option<ServerUse>,
) -> Report {
    let end = total.last_ack.unwrap_or(plan.measure_from);
    let seconds = end.saturating_duration_since(plan.measure_from).as_secs_f64().max(1e-9);
    let result = Produced {
        records: total.records,
        seconds: round(seconds),
        records_per_second: per_second(total.records, seconds),
        mb_per_second: round(total.bytes as f64 / 1e6 / seconds),
        batches: total.batches,
        latency_ms: total.latencies.summary(),
        end_to_end_ms,
        server,
    };
    let said = json!({
        "topic": settings.target.topic,
        "partitions": settings.target.partitions,
        "producers": settings.producers,
        "record_size": settings.record_size,
        "records_per_batch": plan.records_per_batch,
        "acks": if settings.acks < 0 { "all".to_owned() } else { settings.acks.to_string() },
        "compression": settings.compression.name(),
        "in_flight": settings.in_flight,
        "rate": settings.rate,
        "tail_consumers": settings.tail_consumers,
    });
    Report::new("produce", said, &result)
}

/// Partitions that a producer writes to in turn: its share of those that one broker leads.
fn partitions_of(topic: &Topic, number: u32, producers: u32) -> Vec<i32> {
    let count = topic.leaders.len();
    let first = number as usize % count;
    let leader = &topic.leaders[first];
    let step = (producers as usize).min(count);
    (first..count)
        .step_by(step)
        .filter(|index| topic.leaders[*index] == *leader)
        .map(|index| i32::try_from(index).expect("partitions are counted in 32 bits"))
        .collect()
}

fn records_per_batch(settings: &Produce, rate: Option<f64>) -> u64 {
    let full = (settings.batch_bytes / settings.record_size.max(1)).max(1) as u64;
    match rate {
        None => full,
        Some(rate) => ((rate * settings.linger_ms / 1e3) as u64).clamp(1, full),
    }
}

/// Batches as they will be sent: letters and digits, half of each record repeated, so that codecs
/// find about what they find in real records.
fn templates(settings: &Produce, records: u64) -> Vec<Bytes> {
    let mut chance = StdRng::seed_from_u64(7);
    let now_ms = clock::wall_ms();
    (0..TEMPLATES)
        .map(|_| {
            let mut builder = BatchBuilder::new(settings.compression);
            for _ in 0..records {
                let mut value = vec![b'w'; settings.record_size];
                let half = settings.record_size.div_ceil(2);
                chance.fill_bytes(&mut value[..half]);
                value[..half].iter_mut().for_each(|byte| *byte = b'0' + (*byte & 63));
                builder.append(now_ms, None, Some(&value), &[]);
            }
            builder.finish()
        })
        .collect()
}

async fn produce(
    mut pipeline: Pipeline,
    plan: Arc<Plan>,
    partitions: Vec<i32>,
    shift: Duration,
) -> Result<(), BenchError> {
    clock::until(plan.start).await;
    let origin = plan.start + shift;
    let turns = plan.templates.iter().zip(0u64..).cycle().map(|(template, _)| template);
    for (batch, template) in (0u64..).zip(turns) {
        let (first_due, last_due) = match plan.interval {
            None => (clock::now(), clock::now()),
            Some(interval) => {
                let first = batch * plan.records_per_batch;
                let due = |record: u64| origin + interval.mul_f64(record as f64);
                (due(first), due(first + plan.records_per_batch - 1))
            }
        };
        let is_over = match plan.stop {
            Stop::At(end) => last_due >= end,
            Stop::Batches(batches) => batch >= batches,
        };
        if is_over {
            break;
        }
        if plan.interval.is_some() {
            clock::until(last_due).await;
        }
        let turn = usize::try_from(batch % partitions.len() as u64).expect("below a length");
        let sent = Sent {
            partition: partitions[turn],
            records: plan.records_per_batch,
            bytes: plan.records_per_batch * plan.record_size,
            first_due,
            last_due,
        };
        pipeline.send(template, sent).await?;
    }
    pipeline.finish().await
}

async fn tally(mut acks: mpsc::UnboundedReceiver<Ack>, plan: Arc<Plan>) -> Tally {
    let mut tally = Tally::new();
    while let Some(ack) = acks.recv().await {
        plan.acknowledged.fetch_add(ack.sent.records, Ordering::Relaxed);
        if ack.at >= plan.measure_from {
            tally.take(&ack);
            if plan.is_followed {
                tally.acks.push(ack);
            }
        }
    }
    tally
}

impl Tally {
    fn new() -> Tally {
        let latencies = Latencies::new();
        Tally { latencies, records: 0, bytes: 0, batches: 0, last_ack: None, acks: Vec::new() }
    }

    fn take(&mut self, ack: &Ack) {
        let Sent { records, bytes, .. } = ack.sent;
        self.records += records;
        self.bytes += bytes;
        self.batches += 1;
        self.last_ack = self.last_ack.max(Some(ack.at));
        ack.sent.record_latency(ack.at, &mut self.latencies);
    }

    fn add(&mut self, other: Tally) {
        self.latencies.add(&other.latencies);
        self.records += other.records;
        self.bytes += other.bytes;
        self.batches += other.batches;
        self.last_ack = self.last_ack.max(other.last_ack);
        self.acks.extend(other.acks);
    }
}

async fn show(acknowledged: Arc<AtomicU64>, start: Instant) {
    let bar = progress();
    let mut before = 0;
    loop {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let now = acknowledged.load(Ordering::Relaxed);
        let seconds = start.elapsed().as_secs();
        bar.set_message(format!("{seconds} s: {now} records, {} in the last second", now - before));
        before = now;
    }
}
