//! `weir demo`: the whole purpose once, on real input. Change records that Debezium captured go
//! into topics through the Kafka protocol; the compactor folds them into Paimon tables; the tables
//! are read, and compared with an independent fold of the log and with what PostgreSQL held.

mod sample;
mod send;

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use weir_compactor::source::client::Client;
use weir_compactor::status::{State, TableStatus};
use weir_compactor::store::Store;

use crate::demo::sample::Set;
use crate::demo::send::{Sent, send};
use crate::failure::Failure;
use crate::print;
use crate::serve::{Both, Stop, Up};
use crate::table::{Log, OpenTable, row_count, rows_as_text, verify_snapshot};

/// So long nothing may move before the demo gives up.
const PATIENCE: Duration = Duration::from_secs(60);
const LOOK_INTERVAL: Duration = Duration::from_millis(50);
/// The table that is shown, and how much of it.
const SHOWN: &str = "orders";
const SHOWN_ROWS: usize = 5;

#[derive(Args, Clone, Debug)]
pub(crate) struct Demo {
    /// Keep the data here; without it, a temporary folder that goes away at the end.
    #[arg(long, value_name = "DIR")]
    data_dir: Option<String>,
    /// Stop at once when the tables are shown, instead of serving until Ctrl-C.
    #[arg(long)]
    exit: bool,
}

/// What became of one set.
struct Folded {
    set: Set,
    sent: Sent,
    status: TableStatus,
    table: OpenTable,
    rows: usize,
    parquet_bytes: i64,
    is_equal: bool,
}

pub(crate) async fn run(demo: &Demo) -> Result<(), Failure> {
    let mut stop = Stop::listen()?;
    let folder = Folder::of(demo)?;
    let both = Both::start(&up(&folder.path)).await?;
    let shown = show(demo, &both, &folder);
    // Ctrl-C ends the demo at any moment; what was begun is stopped in order.
    let outcome = tokio::select! {
        outcome = shown => Some(outcome),
        () = stop.wait() => None,
    };
    if !demo.exit && matches!(outcome, Some(Ok(()))) {
        stop.wait().await;
    }
    both.stop().await?;
    folder.clear()?;
    outcome.unwrap_or(Ok(()))
}

/// Default ports where they are free, else any.
fn up(data_dir: &str) -> Up {
    let free = |port: u16| match TcpListener::bind(("127.0.0.1", port)) {
        Ok(_) => port,
        Err(_) => 0,
    };
    Up {
        data_dir: data_dir.to_owned(),
        listeners: Some(format!("PLAINTEXT://127.0.0.1:{}", free(9092))),
        http: Some(format!("127.0.0.1:{}", free(9644))),
        compactor_http: Some(format!("127.0.0.1:{}", free(9645))),
        ..Up::default()
    }
}

/// Where the data lies.
struct Folder {
    path: String,
    is_temporary: bool,
}

impl Folder {
    fn of(demo: &Demo) -> Result<Folder, Failure> {
        if let Some(path) = &demo.data_dir {
            return Ok(Folder { path: path.clone(), is_temporary: false });
        }
        let name = format!("weir-demo-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        let place = path.display().to_string();
        std::fs::create_dir(&path)
            .map_err(|error| Failure::new(format!("{place}: {error}; name a --data-dir")))?;
        Ok(Folder { path: place, is_temporary: true })
    }

    fn clear(&self) -> Result<(), Failure> {
        if !self.is_temporary {
            return Ok(());
        }
        std::fs::remove_dir_all(PathBuf::from(&self.path))
            .map_err(|error| Failure::new(format!("{} cannot be removed: {error}", self.path)))
    }
}

async fn show(demo: &Demo, both: &Both, folder: &Folder) -> Result<(), Failure> {
    let kafka = both.broker.kafka_address().to_string();
    print::lines(&[
        "Weir demo: change records from a real PostgreSQL become tables.".to_owned(),
        format!("  broker     {kafka}, metrics on http://{}/metrics", both.broker.http_address()),
        format!("  compactor  metrics on http://{}/metrics", both.compactor.http_address()),
        format!("  data       {}", folder.path),
    ])?;
    let sets = sample::sets();
    let sent = send_all(&kafka, &sets).await?;
    let statuses = folded(both, &sets, &sent).await?;
    let store = Store::open(&both.warehouse)?;
    let mut all = Vec::new();
    for ((set, sent), status) in sets.into_iter().zip(sent).zip(statuses) {
        all.push(look_at(&kafka, &store, set, sent, status).await?);
    }
    tell(&all).await?;
    if let Some(wrong) = all.iter().find(|it| !it.is_equal) {
        return Err(Failure::new(format!(
            "{} is not what the log says; `weir table verify` tells the differences",
            wrong.table.name
        )));
    }
    if demo.exit {
        return Ok(());
    }
    print::lines(&attach(&kafka, &both.warehouse))
}

async fn send_all(kafka: &str, sets: &[Set]) -> Result<Vec<Sent>, Failure> {
    let client = Client::connect(kafka, "weir-demo").await?;
    let bar = print::progress("sending records");
    let mut sent = Vec::new();
    for set in sets {
        sent.push(send(&client, set, &bar).await?);
    }
    bar.finish_and_clear();
    Ok(sent)
}

/// Waits until the newest snapshot of each table holds all that was sent.
async fn folded(both: &Both, sets: &[Set], sent: &[Sent]) -> Result<Vec<TableStatus>, Failure> {
    let bar = print::progress("folding");
    let mut last: BTreeMap<String, i64> = BTreeMap::new();
    let mut quiet = Duration::ZERO;
    loop {
        let known: BTreeMap<String, TableStatus> =
            both.compactor.tables().into_iter().map(|it| (it.topic.clone(), it)).collect();
        let reached =
            |set: &Set| -> i64 { known.get(&set.topic).map_or(0, |it| it.offsets.values().sum()) };
        for status in known.values() {
            if matches!(status.state, State::Invalid | State::Halted | State::Refused | State::Gap)
            {
                let why = status.last_error.clone().unwrap_or_default();
                return Err(Failure::new(format!("the table of {}: {why}", status.topic)));
            }
        }
        let places: BTreeMap<String, i64> =
            sets.iter().map(|set| (set.topic.clone(), reached(set))).collect();
        let is_done =
            |(set, sent): (&Set, &Sent)| places[&set.topic].unsigned_abs() == sent.records;
        if sets.iter().zip(sent).all(is_done) {
            bar.finish_and_clear();
            return Ok(sets.iter().map(|set| known[&set.topic].clone()).collect());
        }
        quiet = if places == last { quiet + LOOK_INTERVAL } else { Duration::ZERO };
        if quiet > PATIENCE {
            return Err(Failure::new("no table moved for a minute; WEIR_LOG=info may tell why"));
        }
        bar.set_message(format!("{} records are in snapshots", places.values().sum::<i64>()));
        last = places;
        tokio::time::sleep(LOOK_INTERVAL).await;
    }
}

async fn look_at(
    kafka: &str,
    store: &Store,
    set: Set,
    sent: Sent,
    status: TableStatus,
) -> Result<Folded, Failure> {
    let table = OpenTable::open(store, &set.table(), None).await?;
    let snapshot = table.snapshot.as_ref().expect("a table that was folded has a snapshot");
    let log = Log::open(kafka, &table.name, snapshot, BTreeMap::new()).await?;
    let verified = verify_snapshot(&table, &log).await?;
    let live = table.live_files().await?;
    let parquet_bytes = live.iter().map(|entry| entry.file.file_size).sum();
    let reader = table.clone();
    let counted = tokio::task::spawn_blocking(move || row_count(&reader, live)).await;
    let rows = counted.map_err(|error| Failure::new(format!("reading failed: {error}")))??;
    let is_equal = verified.is_equal() && rows == set.rows;
    Ok(Folded { set, sent, status, table, rows, parquet_bytes, is_equal })
}

async fn tell(all: &[Folded]) -> Result<(), Failure> {
    let head = [
        "table",
        "records",
        "rows",
        "snapshots",
        "freshness",
        "in the log",
        "in Parquet",
        "refolded",
    ];
    let mut lines = print::table(&head);
    let mut sum = (Sent::default(), 0);
    for it in all {
        let snapshot = it.table.snapshot.as_ref().map_or(0, |snapshot| snapshot.id);
        let freshness = it.status.freshness_ms.map_or(String::new(), |ms| format!("{ms} ms"));
        lines.add_row([
            it.table.name.clone(),
            it.sent.records.to_string(),
            it.rows.to_string(),
            snapshot.to_string(),
            freshness,
            print::bytes(it.sent.log_bytes),
            print::bytes(it.parquet_bytes),
            if it.is_equal { "equal" } else { "DIFFERS" }.to_owned(),
        ]);
        sum.0.records += it.sent.records;
        sum.0.plain_bytes += it.sent.plain_bytes;
        sum.0.log_bytes += it.sent.log_bytes;
        sum.1 += it.parquet_bytes;
    }
    let shown = all.iter().find(|it| it.set.name == SHOWN).expect("it is one of the sets");
    let live = shown.table.live_files().await?;
    let table = shown.table.clone();
    let text = tokio::task::spawn_blocking(move || rows_as_text(&table, live, SHOWN_ROWS)).await;
    let text = text.map_err(|error| Failure::new(format!("reading failed: {error}")))??;
    let verdict = match all.iter().all(|it| it.is_equal) {
        true => {
            "Each table equals an independent fold of its log, row by row, and has as many rows \
             as PostgreSQL had."
        }
        false => "A table is not what it should be.",
    };
    print::lines(&[
        String::new(),
        lines.to_string(),
        format!(
            "{} change records, {} of JSON, lie in the log as {} (lz4) and in Parquet as {}.",
            sum.0.records,
            print::bytes(sum.0.plain_bytes),
            print::bytes(sum.0.log_bytes),
            print::bytes(sum.1)
        ),
        verdict.to_owned(),
        String::new(),
        format!("The first rows of {}:", shown.table.name),
        text,
    ])
}

fn attach(kafka: &str, warehouse: &str) -> Vec<String> {
    let text = format!(
        r#"
Weir keeps serving; Ctrl-C stops it. Attach:

  kcat       kcat -b {kafka} -t shop.public.orders -C -o beginning -c 3
  weir       weir table describe shop.orders --warehouse {warehouse} --bootstrap-server {kafka}
  pypaimon   pip install pypaimon==2.1.0, then in Python:
               from pypaimon import CatalogFactory
               table = CatalogFactory.create({{"warehouse": "{warehouse}"}}).get_table("shop.orders")
               builder = table.new_read_builder()
               rows = builder.new_read().to_arrow(builder.new_scan().plan().splits())
  DuckDB     pip install duckdb, then after the lines above:
               import duckdb
               duckdb.sql("SELECT status, count(*), sum(total) FROM rows GROUP BY status").show()"#
    );
    text.lines().map(str::to_owned).collect()
}
