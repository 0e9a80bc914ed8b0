//! Rows into a topic that is a table, and the time until a committed snapshot holds them.
//!
//! - Without `--rate`: all rows as fast as they go, then wait: rows a second from log to snapshot.
//!   `--no-wait` only writes, `--no-produce` only waits, so that a compactor can be started between.
//! - With `--rate`: freshness at a steady rate. A record's freshness is the time from its
//!   acknowledgement to the first answer of the compactor whose snapshot covers its offset.
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use serde::Serialize;
use serde_json::json;
use tokio::sync::mpsc;
use tokio::time::Instant;
use weir_protocol::records::compression::Compression;

use crate::feed::Feed;
use crate::measure::{Latencies, LatencyMs, Server, ServerUse, per_second, round};
use crate::pipeline::Ack;
use crate::report::{Report, progress};
use crate::rows::{self, Format, Rows};
use crate::tables::{TableState, Tables};
use crate::topic::{self, Topic};
use crate::{BenchError, Target, clock};

#[derive(Args, Clone, Debug)]
pub(crate) struct Fold {
    #[command(flatten)]
    pub(crate) target: Target,
    /// The compactor's HTTP address.
    #[arg(long, default_value = "127.0.0.1:9645")]
    compactor_http: String,
    /// How rows are written.
    #[arg(long, value_enum, default_value_t = Format::Json)]
    format: Format,
    /// Rows that are made up.
    #[arg(long, default_value_t = 1_000_000)]
    rows: u64,
    /// Different keys among them; as many as rows unless given.
    #[arg(long)]
    keys: Option<u64>,
    /// Records to send instead: lines of {"key": ..., "value": ...}, plain or .gz. Name the
    /// table's settings by --topic-config.
    #[arg(long)]
    input: Option<PathBuf>,
    /// none, gzip, snappy, lz4 or zstd.
    #[arg(long, default_value = "none", value_parser = crate::codec)]
    compression: Compression,
    /// Measure freshness at so many records a second.
    #[arg(long, conflicts_with_all = ["no_wait", "no_produce", "input"])]
    rate: Option<f64>,
    /// With --rate: seconds that are measured.
    #[arg(long, default_value = "30", value_parser = crate::seconds)]
    duration: Duration,
    /// With --rate: seconds before that.
    #[arg(long, default_value = "5", value_parser = crate::seconds)]
    warmup: Duration,
    /// With --rate: records due within so many milliseconds travel together.
    #[arg(long, default_value_t = 5.0)]
    linger_ms: f64,
    /// Milliseconds between two looks at the compactor.
    #[arg(long, default_value_t = 3)]
    poll_ms: u64,
    /// Give up after so many seconds without a new snapshot.
    #[arg(long, default_value = "120", value_parser = crate::seconds)]
    patience: Duration,
    /// Only write.
    #[arg(long, conflicts_with = "no_produce")]
    no_wait: bool,
    /// Only wait until the table has reached the end of the topic.
    #[arg(long)]
    no_produce: bool,
}

#[derive(Serialize)]
struct Folded {
    rows: u64,
    /// 10^6 bytes of keys and values.
    mb: f64,
    produce_seconds: f64,
    /// From the first record sent (or from the start of the wait) to the snapshot.
    seconds: Option<f64>,
    rows_per_second: Option<u64>,
    snapshot_id: Option<i64>,
    server: Option<ServerUse>,
}

#[derive(Serialize)]
struct Fresh {
    rows: u64,
    seconds: f64,
    rows_per_second: u64,
    snapshots: u64,
    acknowledged_ms: LatencyMs,
    freshness_ms: LatencyMs,
    server: Option<ServerUse>,
}

pub(crate) async fn run(settings: Fold) -> Result<Report, BenchError> {
    let topic = if settings.no_produce {
        topic::find(&settings.target).await?
    } else {
        topic::create(&settings.target, &configs(&settings)).await?
    };
    match settings.rate {
        Some(rate) => freshness(&settings, &topic, rate).await,
        None => bulk(&settings, &topic).await,
    }
}

/// The topic's configs: what is given, and what makes it a table where nothing is said.
fn configs(settings: &Fold) -> Vec<(String, String)> {
    let mut configs = settings.target.topic_configs.clone();
    let mut default = |key: &str, value: &str| {
        if !configs.iter().any(|(given, _)| given == key) {
            configs.push((key.to_owned(), value.to_owned()));
        }
    };
    default("table.enabled", "true");
    default("table.value.format", settings.format.name());
    if settings.input.is_none() {
        default("table.schema", rows::SCHEMA);
        default("table.primary.key", rows::PRIMARY_KEY);
    }
    configs
}

fn said(settings: &Fold, topic: &Topic) -> serde_json::Value {
    json!({
        "topic": topic.name,
        "partitions": topic.leaders.len(),
        "format": settings.format.name(),
        "input": settings.input,
        "keys": settings.keys,
        "rate": settings.rate,
        "compression": settings.compression.name(),
    })
}

async fn bulk(settings: &Fold, topic: &Topic) -> Result<Report, BenchError> {
    let bar = progress();
    let source = match &settings.input {
        Some(path) => Rows::read(path)?,
        None => {
            let keys = settings.keys.unwrap_or(settings.rows);
            Rows::made(settings.format, settings.rows, keys)
        }
    };
    let server = Server::watch(settings.target.server_pid);
    let start = clock::now();
    let (mut count, mut bytes) = (0, 0);
    if !settings.no_produce {
        let mut feed = Feed::open(topic, settings.compression).await?;
        for row in source {
            feed.add(row, None).await?;
        }
        feed.flush().await?;
        (count, bytes) = (feed.rows, feed.bytes);
        feed.finish().await?;
        bar.set_message(format!("{count} rows are in the log"));
    }
    let produce_seconds = start.elapsed().as_secs_f64();
    let ends = topic::offsets(topic, topic::LATEST).await?;
    let mut result = Folded {
        rows: count,
        mb: round(bytes as f64 / 1e6),
        produce_seconds: round(produce_seconds),
        seconds: None,
        rows_per_second: None,
        snapshot_id: None,
        server: None,
    };
    if !settings.no_wait {
        let starts = topic::offsets(topic, topic::EARLIEST).await?;
        let (reached, first, table) = wait(settings, topic, &ends, &bar).await?;
        if settings.no_produce {
            let from = |index: usize| {
                let index = i32::try_from(index).unwrap_or(i32::MAX);
                first.offsets.get(&index).copied()
            };
            let left = ends.iter().zip(starts).enumerate().map(|(index, (end, start))| {
                u64::try_from(end - from(index).unwrap_or(start)).unwrap_or(0)
            });
            result.rows = left.sum();
        }
        let seconds = (reached - start).as_secs_f64();
        result.seconds = Some(round(seconds));
        result.rows_per_second = Some(per_second(result.rows, seconds));
        result.snapshot_id = table.snapshot_id;
    }
    result.server = server.and_then(|server| server.spent(bytes));
    bar.finish_and_clear();
    Ok(Report::new("fold", said(settings, topic), &result))
}

/// Polls until the table's snapshot covers these offsets: when that was, the first state that was
/// seen, and the last.
async fn wait(
    settings: &Fold,
    topic: &Topic,
    ends: &[i64],
    bar: &indicatif::ProgressBar,
) -> Result<(Instant, TableState, TableState), BenchError> {
    let mut tables = Tables::open(&settings.compactor_http).await?;
    let mut first: Option<TableState> = None;
    let mut last = TableState::default();
    let mut moved = clock::now();
    loop {
        if let Some(table) = tables.of_topic(&topic.name).await? {
            let now = clock::now();
            first.get_or_insert_with(|| table.clone());
            if table.offsets != last.offsets {
                moved = now;
                let folded: i64 = table.offsets.values().sum();
                let end: i64 = ends.iter().sum();
                bar.set_message(format!("offset {folded} of {end} is in a snapshot"));
            }
            last = table;
            if last.covers(ends) {
                return Ok((now, first.unwrap_or_default(), last));
            }
        }
        if moved.elapsed() > settings.patience {
            let why = last.last_error.unwrap_or_else(|| "no new snapshot".to_owned());
            return Err(BenchError::Server(format!("table of {}: {why}", topic.name)));
        }
        tokio::time::sleep(Duration::from_millis(settings.poll_ms)).await;
    }
}

async fn freshness(settings: &Fold, topic: &Topic, rate: f64) -> Result<Report, BenchError> {
    let keys = settings.keys.unwrap_or(settings.rows);
    let mut source = Rows::made(settings.format, u64::MAX, keys);
    let mut feed = Feed::open(topic, settings.compression).await?;
    let acks = feed.acks.take().expect("a feed is opened with its acks");
    let start = clock::now() + Duration::from_millis(20);
    let measure_from = start + settings.warmup;
    let end = measure_from + settings.duration;
    let watcher = tokio::spawn(watch(settings.clone(), topic.clone(), acks, measure_from));
    let per_tick = (rate * settings.linger_ms / 1e3).max(1.0);
    let tick = Duration::from_secs_f64(per_tick / rate);
    let mut server = None;
    let mut owed = 0.0;
    for number in 1u32.. {
        let last_due = start + tick * number;
        if last_due >= end {
            break;
        }
        clock::until(last_due).await;
        if server.is_none() && last_due >= measure_from {
            server = Server::watch(settings.target.server_pid);
        }
        owed += per_tick;
        while owed >= 1.0 {
            owed -= 1.0;
            if let Some(row) = source.next() {
                feed.add(row, Some(last_due)).await?;
            }
        }
        feed.flush().await?;
    }
    let bytes = feed.bytes;
    feed.finish().await?;
    let watched = watcher.await.map_err(|error| BenchError::Server(error.to_string()))??;
    let seconds = settings.duration.as_secs_f64();
    let result = Fresh {
        rows: watched.rows,
        seconds: round(seconds),
        rows_per_second: per_second(watched.rows, seconds),
        snapshots: watched.snapshots,
        acknowledged_ms: watched.acknowledged.summary(),
        freshness_ms: watched.freshness.summary(),
        server: server.and_then(|server| server.spent(bytes)),
    };
    Ok(Report::new("freshness", said(settings, topic), &result))
}

struct Watched {
    rows: u64,
    snapshots: u64,
    acknowledged: Latencies,
    freshness: Latencies,
}

/// Holds acknowledged batches against the table's offsets until all are covered.
async fn watch(
    settings: Fold,
    topic: Topic,
    mut acks: mpsc::UnboundedReceiver<Ack>,
    measure_from: Instant,
) -> Result<Watched, BenchError> {
    let bar = progress();
    let mut tables = Tables::open(&settings.compactor_http).await?;
    let mut watched = Watched {
        rows: 0,
        snapshots: 0,
        acknowledged: Latencies::new(),
        freshness: Latencies::new(),
    };
    let mut pending: Vec<Ack> = Vec::new();
    let mut last = TableState::default();
    let mut moved = clock::now();
    let mut is_open = true;
    while is_open || !pending.is_empty() {
        let table = tables.of_topic(&topic.name).await?.unwrap_or_default();
        let seen = clock::now();
        // Acknowledged before the answer came; what comes later cannot be in it any earlier.
        loop {
            match acks.try_recv() {
                Ok(ack) => pending.push(ack),
                Err(mpsc::error::TryRecvError::Empty) => break,
                Err(mpsc::error::TryRecvError::Disconnected) => {
                    is_open = false;
                    break;
                }
            }
        }
        if table.offsets != last.offsets {
            moved = seen;
            watched.snapshots += u64::from(seen >= measure_from);
        }
        pending.retain(|ack| {
            let end = ack.base_offset + i64::try_from(ack.sent.records).unwrap_or(i64::MAX);
            let is_covered =
                table.offsets.get(&ack.sent.partition).is_some_and(|next| *next >= end);
            if is_covered && ack.sent.last_due >= measure_from {
                let records = ack.sent.records;
                watched.rows += records;
                let fresh = seen.saturating_duration_since(ack.at);
                watched.freshness.record(fresh, records);
                let acknowledged = ack.at.saturating_duration_since(ack.sent.last_due);
                watched.acknowledged.record(acknowledged, records);
            }
            !is_covered
        });
        if moved.elapsed() > settings.patience {
            let why = table.last_error.unwrap_or_else(|| "no new snapshot".to_owned());
            return Err(BenchError::Server(format!("table of {}: {why}", topic.name)));
        }
        bar.set_message(format!("{} rows measured, {} batches wait", watched.rows, pending.len()));
        last = table;
        tokio::time::sleep(Duration::from_millis(settings.poll_ms)).await;
    }
    bar.finish_and_clear();
    Ok(watched)
}
