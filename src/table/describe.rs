//! `weir table describe`: everything that one wants to know of a table at a glance.

use std::collections::BTreeMap;

use clap::Args;
use serde::Serialize;
use weir_compactor::paimon::manifest::FileEntry;
use weir_compactor::source::cluster::Cluster;
use weir_compactor::source::requests::LATEST;

use crate::failure::Failure;
use crate::print;
use crate::table::open::{OpenTable, open_warehouse};
use crate::table::{Bootstrap, Output, Warehouse, status};

#[derive(Args, Clone, Debug)]
pub(crate) struct Describe {
    /// database.table, or the name of a table in the database `default`.
    name: String,
    #[command(flatten)]
    warehouse: Warehouse,
    #[command(flatten)]
    bootstrap: Bootstrap,
    /// Where the compactor serves its state.
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:9645")]
    compactor_http: String,
    /// How to print it.
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    output: Output,
}

#[derive(Debug, Serialize)]
struct Description {
    name: String,
    location: String,
    columns: Vec<ColumnLine>,
    primary_key: Vec<String>,
    partition_by: Vec<String>,
    options: BTreeMap<String, String>,
    schema_id: i64,
    snapshot: Option<SnapshotLine>,
    topic: Option<String>,
    partitions: Vec<PartitionLine>,
    /// Why lag is not known.
    lag_unknown: Option<String>,
    levels: Vec<LevelLine>,
    /// What the compactor says it is doing.
    state: Option<String>,
    last_error: Option<String>,
    /// Why state and last error are not known.
    state_unknown: Option<String>,
}

#[derive(Debug, Serialize)]
struct ColumnLine {
    id: i32,
    name: String,
    r#type: String,
}

#[derive(Debug, Serialize)]
struct SnapshotLine {
    id: i64,
    /// The oldest that is kept.
    oldest_id: i64,
    kind: String,
    committed_ms: i64,
    schema_id: i64,
    /// Rows in the data files, not merged.
    file_rows: i64,
    folded: u64,
    quarantined: u64,
    skipped: u64,
}

#[derive(Debug, Serialize)]
struct PartitionLine {
    partition: i32,
    /// The next offset to fold.
    next_offset: i64,
    /// Where the log ends now.
    end_offset: Option<i64>,
    lag: Option<i64>,
}

#[derive(Clone, Debug, Default, Serialize)]
struct LevelLine {
    /// The table partition as a path, empty if the table has none.
    partition: String,
    bucket: i32,
    level: i32,
    files: u64,
    /// Not merged.
    rows: i64,
    deletes: i64,
    bytes: i64,
}

pub(crate) async fn run(describe: &Describe) -> Result<(), Failure> {
    let store = open_warehouse(&describe.warehouse.warehouse)?;
    let table = OpenTable::open(&store, &describe.name, None).await?;
    let description = description(describe, &table).await?;
    match describe.output {
        Output::Json => print::json(&description),
        Output::Table => print::lines(&text(&description)),
    }
}

async fn description(describe: &Describe, table: &OpenTable) -> Result<Description, Failure> {
    let schema = table.schema();
    let column = |column: &weir_protocol::table::column::Column| ColumnLine {
        id: column.id,
        name: column.name.clone(),
        r#type: column.column_type.to_string(),
    };
    let mut description = Description {
        name: table.name.clone(),
        location: format!("{}/{}", table.files.store().location(), table.files.paths().root()),
        columns: schema.columns.iter().map(column).collect(),
        primary_key: schema.primary_keys.clone(),
        partition_by: schema.partition_keys.clone(),
        options: schema.options.clone(),
        schema_id: schema.id,
        snapshot: None,
        topic: None,
        partitions: Vec::new(),
        lag_unknown: None,
        levels: levels(table, &table.live_files().await?)?,
        state: None,
        last_error: None,
        state_unknown: None,
    };
    if let Some(snapshot) = &table.snapshot {
        let counts = snapshot.counts()?;
        description.snapshot = Some(SnapshotLine {
            id: snapshot.id,
            oldest_id: table.snapshot_ids.first().copied().unwrap_or(snapshot.id),
            kind: format!("{:?}", snapshot.commit_kind).to_uppercase(),
            committed_ms: snapshot.time_millis,
            schema_id: snapshot.schema_id,
            file_rows: snapshot.total_record_count,
            folded: counts.folded,
            quarantined: counts.quarantined,
            skipped: counts.skipped,
        });
        description.topic = snapshot.lineage()?.map(|lineage| lineage.topic);
        let next = snapshot.checkpoint()?.next;
        let next = next.into_iter().map(|(partition, next)| (partition, next.0)).collect();
        add_partitions(&mut description, &describe.bootstrap, next).await;
    }
    match status::of_table(&describe.compactor_http, &table.name).await {
        Ok(status) => {
            description.state = status["state"].as_str().map(str::to_owned);
            description.last_error = status["last_error"].as_str().map(str::to_owned);
        }
        Err(why) => description.state_unknown = Some(why),
    }
    Ok(description)
}

/// A broker that is away only hides the lag.
async fn add_partitions(
    description: &mut Description,
    bootstrap: &Bootstrap,
    next: BTreeMap<i32, i64>,
) {
    let topic = description.topic.clone().unwrap_or_default();
    let ends = async {
        let cluster = Cluster::new(&bootstrap.bootstrap_server, "weir-table-describe");
        let partitions: Vec<i32> = next.keys().copied().collect();
        cluster.any().await?.list_offsets(&topic, &partitions, LATEST).await
    };
    let ends = ends.await.unwrap_or_else(|error| {
        description.lag_unknown = Some(error.to_string());
        BTreeMap::new()
    });
    let line = |(partition, next_offset): (i32, i64)| {
        let end_offset = ends.get(&partition).map(|end| end.offset);
        let lag = end_offset.map(|end| (end - next_offset).max(0));
        PartitionLine { partition, next_offset, end_offset, lag }
    };
    description.partitions = next.into_iter().map(line).collect();
}

fn levels(table: &OpenTable, live: &[FileEntry]) -> Result<Vec<LevelLine>, Failure> {
    let mut levels: BTreeMap<(String, i32, i32), LevelLine> = BTreeMap::new();
    for FileEntry { partition, bucket, file, .. } in live {
        let place = table.files.paths().partition(partition)?;
        let line =
            levels.entry((place.clone(), *bucket, file.level)).or_insert_with(|| LevelLine {
                partition: place,
                bucket: *bucket,
                level: file.level,
                ..LevelLine::default()
            });
        line.files += 1;
        line.rows += file.row_count;
        line.deletes += file.delete_row_count;
        line.bytes += file.file_size;
    }
    Ok(levels.into_values().collect())
}

fn text(described: &Description) -> Vec<String> {
    let mut lines = vec![format!("{}  {}", described.name, described.location)];
    let mut columns = print::table(&["id", "column", "type"]);
    for column in &described.columns {
        columns.add_row([column.id.to_string(), column.name.clone(), column.r#type.clone()]);
    }
    lines.push(columns.to_string());
    let keys = |names: &[String]| match names.is_empty() {
        true => "none".to_owned(),
        false => names.join(", "),
    };
    lines.push(format!("primary key: {}", keys(&described.primary_key)));
    lines.push(format!("partitioned by: {}", keys(&described.partition_by)));
    for (name, value) in &described.options {
        lines.push(format!("option {name} = {value}"));
    }
    lines.push(match &described.snapshot {
        None => "no snapshot yet".to_owned(),
        Some(it) => format!(
            "snapshot {} ({}, schema {}), the oldest kept is {}; {} rows in files; \
             records: {} folded, {} quarantined, {} skipped",
            it.id,
            it.kind,
            it.schema_id,
            it.oldest_id,
            it.file_rows,
            it.folded,
            it.quarantined,
            it.skipped
        ),
    });
    if !described.partitions.is_empty() {
        lines.push(format!("topic {}", described.topic.as_deref().unwrap_or("unknown")));
        let mut partitions = print::table(&["partition", "next offset", "log end", "lag"]);
        let known = |number: Option<i64>| number.map_or("unknown".to_owned(), |it| it.to_string());
        for it in &described.partitions {
            let (partition, next) = (it.partition.to_string(), it.next_offset.to_string());
            partitions.add_row([partition, next, known(it.end_offset), known(it.lag)]);
        }
        lines.push(partitions.to_string());
    }
    lines.extend(described.lag_unknown.iter().map(|why| format!("lag is not known: {why}")));
    if !described.levels.is_empty() {
        let head = ["partition", "bucket", "level", "files", "rows", "deletes", "size"];
        let mut levels = print::table(&head);
        for it in &described.levels {
            levels.add_row([
                it.partition.clone(),
                it.bucket.to_string(),
                it.level.to_string(),
                it.files.to_string(),
                it.rows.to_string(),
                it.deletes.to_string(),
                print::bytes(it.bytes),
            ]);
        }
        lines.push(levels.to_string());
    }
    match (&described.state, &described.state_unknown) {
        (Some(state), _) => lines.push(format!("state: {state}")),
        (None, Some(why)) => lines.push(format!("state is not known: {why}")),
        (None, None) => {}
    }
    let error = described.last_error.as_deref();
    if described.state.is_some() {
        lines.push(format!("last error: {}", error.unwrap_or("none")));
    }
    lines
}
