//! `weir table verify`: the log folded once more, in another and simpler way (a map in memory), up
//! to the offsets of a snapshot, and compared row by row with what a reader of the table sees.

use std::collections::{BTreeMap, BTreeSet};
use std::process::ExitCode;

use clap::Args;
use serde::Serialize;
use weir_compactor::lineage::Lineage;
use weir_compactor::paimon::snapshot::Snapshot;
use weir_compactor::source::cluster::Cluster;
use weir_compactor::source::{self, BatchKind, Source};
use weir_compactor::verify::{Difference, Refold, Verified};
use weir_protocol::records::Offset;
use weir_protocol::table::settings::TableSettings;

use crate::failure::Failure;
use crate::print;
use crate::table::open::{OpenTable, open_warehouse};
use crate::table::{Bootstrap, Output, Warehouse};

/// What a batch may become when it is decompressed.
const DECOMPRESSED_BYTES_MAX: usize = 256 << 20;
/// The exit code when table and log differ.
const EXIT_DIFFERENT: u8 = 3;

#[derive(Args, Clone, Debug)]
pub(crate) struct Verify {
    /// database.table, or the name of a table in the database `default`.
    name: String,
    #[command(flatten)]
    warehouse: Warehouse,
    #[command(flatten)]
    bootstrap: Bootstrap,
    /// An older snapshot.
    #[arg(long, value_name = "ID", conflicts_with = "every_snapshot")]
    snapshot: Option<i64>,
    /// Every snapshot that is kept, one after the other.
    #[arg(long)]
    every_snapshot: bool,
    /// The compactor.properties that declares the table, if the topic's configs do not.
    #[arg(long, value_name = "FILE")]
    config: Option<std::path::PathBuf>,
    /// How to print what was found.
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    output: Output,
}

/// What was found at one snapshot, for scripts.
#[derive(Debug, Serialize)]
struct Finding {
    table: String,
    snapshot_id: i64,
    equal: bool,
    records: u64,
    quarantined: u64,
    rows_expected: u64,
    rows_found: u64,
    /// Keys with records in several partitions of the topic, where any of the last rows is right.
    ambiguous_keys: u64,
    difference_count: u64,
    /// The first of them.
    differences: Vec<String>,
}

pub(crate) async fn run(verify: &Verify) -> Result<ExitCode, Failure> {
    let store = open_warehouse(&verify.warehouse.warehouse)?;
    let table = OpenTable::open(&store, &verify.name, verify.snapshot).await?;
    let Some(snapshot) = &table.snapshot else {
        return Err(Failure::new(format!(
            "{} has no snapshot yet: nothing to compare",
            table.name
        )));
    };
    let log = Log::of(verify, &table, snapshot).await?;
    let ids = match verify.every_snapshot {
        true => table.snapshot_ids.clone(),
        false => vec![snapshot.id],
    };
    let quarantined = quarantined(&table, snapshot).await?;
    let mut findings = Vec::new();
    let mut pass: Option<Pass> = None;
    let newest = ids.last().copied();
    for id in ids {
        // Expired meanwhile: the next one is there.
        if verify.every_snapshot && table.files.snapshot_if_there(id).await?.is_none() {
            continue;
        }
        let table = table.at(id).await?;
        let going_on = pass.take().filter(|pass| pass.schema_id == table.schema().id);
        let mut going_on = going_on.unwrap_or_else(|| Pass::new(&table, &log, quarantined.clone()));
        going_on.read_on(&table, &log).await?;
        // A copy of all rows, unless nothing comes after.
        let refold = match newest == Some(id) {
            true => going_on.refold,
            false => pass.insert(going_on).refold.clone(),
        };
        let verified = compare(refold, &table).await?;
        findings.push(finding(&table.name, id, &verified));
    }
    match verify.output {
        Output::Json => print::json(&findings)?,
        Output::Table => print::lines(&findings.iter().flat_map(text).collect::<Vec<_>>())?,
    }
    match findings.iter().all(|finding| finding.equal) {
        true => Ok(ExitCode::SUCCESS),
        false => Ok(ExitCode::from(EXIT_DIFFERENT)),
    }
}

/// The topic that was folded, and by which settings.
#[derive(Debug)]
pub(crate) struct Log {
    cluster: Cluster,
    lineage: Lineage,
    settings: TableSettings,
}

impl Log {
    async fn of(verify: &Verify, table: &OpenTable, snapshot: &Snapshot) -> Result<Log, Failure> {
        let mut declared = BTreeMap::new();
        if let Some(path) = &verify.config {
            let place = path.display();
            let text = std::fs::read_to_string(path)
                .map_err(|error| Failure::new(format!("--config {place}: {error}")))?;
            let config = weir_compactor::config::Config::from_properties(&text)
                .map_err(|error| Failure::new(format!("{place}: {error}")))?;
            declared = config.topics;
        }
        Log::open(&verify.bootstrap.bootstrap_server, &table.name, snapshot, declared).await
    }

    /// Finds the topic of a snapshot. `declared` are settings that stand beside the topic's own.
    pub(crate) async fn open(
        bootstrap_server: &str,
        table: &str,
        snapshot: &Snapshot,
        mut declared: BTreeMap<String, BTreeMap<String, String>>,
    ) -> Result<Log, Failure> {
        let Some(lineage) = snapshot.lineage()? else {
            let id = snapshot.id;
            let why = "was not folded from a log";
            return Err(Failure::new(format!(
                "snapshot {id} of {table} {why}: nothing to compare"
            )));
        };
        let cluster = Cluster::new(bootstrap_server, "weir-table-verify");
        let topic = lineage.topic.as_str();
        let mut described = cluster.any().await?.describe_configs(&[topic]).await?;
        let mut configs = BTreeMap::new();
        if let Some(entries) = described.remove(topic) {
            let set = entries?.into_iter().filter(|entry| entry.is_set);
            configs.extend(set.filter_map(|entry| Some((entry.name, entry.value?))));
        }
        configs.extend(declared.remove(topic).unwrap_or_default());
        let settings = TableSettings::parse(topic, &configs)
            .map_err(|error| Failure::new(format!("topic {topic}: {error}")))?;
        if !settings.enabled {
            return Err(Failure::new(format!(
                "topic {topic} is not declared a table; name the compactor's file by --config"
            )));
        }
        Ok(Log { cluster, lineage, settings })
    }

    /// Gives the records from `next` up to `end` to the refold, and moves `next` there.
    async fn read(
        &self,
        next: &mut BTreeMap<i32, Offset>,
        end: &BTreeMap<i32, Offset>,
        refold: &mut Refold,
    ) -> Result<(), Failure> {
        let Lineage { topic, topic_id, .. } = &self.lineage;
        let partitions: Vec<i32> = end.keys().copied().collect();
        let bounds = source::bounds(&self.cluster, topic, *topic_id, &partitions).await?;
        for (partition, bounds) in &bounds {
            if bounds.start > Offset(0) {
                return Err(Failure::new(format!(
                    "topic {topic}, partition {partition}: records before offset {} were deleted; \
                     only a log that is still whole can be folded once more",
                    bounds.start
                )));
            }
            if bounds.end < end[partition] {
                return Err(Failure::new(format!(
                    "topic {topic}, partition {partition}: the log ends at {}, the snapshot at {}: \
                     the log is not the one that was folded",
                    bounds.end, end[partition]
                )));
            }
        }
        for partition in end.keys() {
            next.entry(*partition).or_insert(Offset(0));
        }
        let is_left = |next: &BTreeMap<i32, Offset>| {
            end.iter().any(|(partition, end)| next[partition] < *end)
        };
        if !is_left(next) {
            return Ok(());
        }
        let mut source = Source::open(&self.cluster, topic, *topic_id, next).await?;
        while is_left(next) {
            for fetched in source.next().await?.batches {
                let (partition, batch) = (fetched.partition, fetched.batch);
                let (Some(next), Some(end)) = (next.get_mut(&partition), end.get(&partition))
                else {
                    continue;
                };
                let after = batch.header().last_offset().next();
                if after <= *next || *next >= *end {
                    continue;
                }
                if fetched.kind == BatchKind::Records {
                    batch.check_crc()?;
                    for record in batch.records(DECOMPRESSED_BYTES_MAX)? {
                        let record = record?;
                        if (*next..*end).contains(&record.offset) {
                            refold.add(partition, &record);
                        }
                    }
                }
                // A batch that reaches beyond is read again for the next snapshot.
                *next = after.min(*end);
            }
        }
        Ok(())
    }
}

/// Compares a table at its snapshot with the log.
pub(crate) async fn verify_snapshot(table: &OpenTable, log: &Log) -> Result<Verified, Failure> {
    let snapshot = table.snapshot.as_ref().expect("a table is verified at a snapshot");
    let mut pass = Pass::new(table, log, quarantined(table, snapshot).await?);
    pass.read_on(table, log).await?;
    compare(pass.refold, table).await
}

async fn compare(refold: Refold, table: &OpenTable) -> Result<Verified, Failure> {
    let live = table.live_files().await?;
    let table = table.clone();
    let compared = tokio::task::spawn_blocking(move || Ok(refold.compare(table.scan(live)?)?));
    compared.await.map_err(|error| Failure::new(format!("the comparison failed: {error}")))?
}

/// Where the records lie that a snapshot set aside. Those of a later snapshot hold for an earlier one
/// too: what lies beyond its offsets is not read for it.
async fn quarantined(
    table: &OpenTable,
    snapshot: &Snapshot,
) -> Result<BTreeSet<(i32, Offset)>, Failure> {
    let records = table.files.quarantined_records(snapshot).await?;
    Ok(records.into_iter().map(|record| (record.partition, record.offset)).collect())
}

/// One pass over the log: it stops at the offsets of one snapshot after the other, as long as they
/// have the same columns.
struct Pass {
    schema_id: i64,
    next: BTreeMap<i32, Offset>,
    refold: Refold,
}

impl Pass {
    fn new(table: &OpenTable, log: &Log, quarantined: BTreeSet<(i32, Offset)>) -> Pass {
        let schema = table.schema();
        let refold = Refold::new(&log.settings, schema, quarantined);
        Pass { schema_id: schema.id, next: BTreeMap::new(), refold }
    }

    /// Reads on up to the snapshot of the table.
    async fn read_on(&mut self, table: &OpenTable, log: &Log) -> Result<(), Failure> {
        let snapshot = table.snapshot.as_ref().expect("a table is verified at a snapshot");
        let bar = print::progress(&format!("{} at snapshot {}", table.name, snapshot.id));
        let end = snapshot.checkpoint()?.next;
        let read = log.read(&mut self.next, &end, &mut self.refold).await;
        bar.finish_and_clear();
        read
    }
}

fn finding(table: &str, snapshot_id: i64, verified: &Verified) -> Finding {
    Finding {
        table: table.to_owned(),
        snapshot_id,
        equal: verified.is_equal(),
        records: verified.record_count,
        quarantined: verified.quarantined_count,
        rows_expected: verified.expected_count,
        rows_found: verified.found_count,
        ambiguous_keys: verified.ambiguous_count,
        difference_count: verified.difference_count,
        differences: verified.differences.iter().map(shown).collect(),
    }
}

fn shown(difference: &Difference) -> String {
    match difference {
        Difference::Missing { row } => format!("missing: {row}"),
        Difference::Unexpected { row } => format!("unexpected: {row}"),
        Difference::Differs { key, expected, found } => {
            format!("differs: key {key}: expected {expected}, found {found}")
        }
        Difference::Twice { key } => format!("twice: key {key}"),
        Difference::Unreadable { partition, offset, reason } => {
            format!("not quarantined: partition {partition}, offset {offset}: {reason}")
        }
    }
}

fn text(finding: &Finding) -> Vec<String> {
    let mut lines = finding.differences.clone();
    let left = finding.difference_count - finding.differences.len() as u64;
    if left > 0 {
        lines.push(format!("and {left} more"));
    }
    let Finding { table, snapshot_id, records, rows_expected, rows_found, .. } = finding;
    let outcome = match finding.equal {
        true => "equal".to_owned(),
        false => format!("{} differences", finding.difference_count),
    };
    let mut line = format!(
        "{table} at snapshot {snapshot_id}: {outcome} ({records} records make {rows_expected} \
         rows, the table has {rows_found}"
    );
    if finding.quarantined > 0 {
        line += &format!(", {} records are in quarantine", finding.quarantined);
    }
    if finding.ambiguous_keys > 0 {
        line += &format!(", {} keys in several partitions", finding.ambiguous_keys);
    }
    lines.push(line + ")");
    lines
}
