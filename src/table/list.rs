//! `weir table list`: a line for each table of a warehouse.

use clap::Args;
use serde::Serialize;
use weir_compactor::store::Store;

use crate::failure::Failure;
use crate::print;
use crate::table::open::{OpenTable, open_warehouse};
use crate::table::{Output, Warehouse};

#[derive(Args, Clone, Debug)]
pub(crate) struct List {
    #[command(flatten)]
    warehouse: Warehouse,
    /// How to print them.
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    output: Output,
}

/// One table in short.
#[derive(Debug, Serialize)]
struct Line {
    name: String,
    /// The topic that is folded; absent before the first commit.
    topic: Option<String>,
    primary_key: Vec<String>,
    snapshot_id: Option<i64>,
    /// Rows in the data files, not merged.
    file_rows: i64,
    files: usize,
    bytes: i64,
    committed_ms: Option<i64>,
}

pub(crate) async fn run(list: &List) -> Result<(), Failure> {
    let store = open_warehouse(&list.warehouse.warehouse)?;
    let mut lines = Vec::new();
    for name in names(&store).await? {
        lines.push(line(&OpenTable::open(&store, &name, None).await?).await?);
    }
    if list.output == Output::Json {
        return print::json(&lines);
    }
    let mut table = print::table(&[
        "table",
        "topic",
        "primary key",
        "snapshot",
        "rows in files",
        "files",
        "size",
    ]);
    for line in lines {
        table.add_row([
            line.name,
            line.topic.unwrap_or_default(),
            line.primary_key.join(", "),
            line.snapshot_id.map(|id| id.to_string()).unwrap_or_default(),
            line.file_rows.to_string(),
            line.files.to_string(),
            print::bytes(line.bytes),
        ]);
    }
    print::lines(&[table.to_string()])
}

/// Every folder `<database>.db/<table>` that has a schema.
async fn names(store: &Store) -> Result<Vec<String>, Failure> {
    let mut names = Vec::new();
    for folder in store.list_folders("").await? {
        let Some(database) = folder.strip_suffix(".db") else { continue };
        for table in store.list_folders(&folder).await? {
            if !store.list(&format!("{folder}/{table}/schema")).await?.is_empty() {
                names.push(format!("{database}.{table}"));
            }
        }
    }
    names.sort();
    Ok(names)
}

async fn line(table: &OpenTable) -> Result<Line, Failure> {
    let live = table.live_files().await?;
    let lineage = table.snapshot.as_ref().and_then(|snapshot| snapshot.lineage().ok()).flatten();
    Ok(Line {
        name: table.name.clone(),
        topic: lineage.map(|lineage| lineage.topic),
        primary_key: table.schema().primary_keys.clone(),
        snapshot_id: table.snapshot.as_ref().map(|snapshot| snapshot.id),
        file_rows: live.iter().map(|entry| entry.file.row_count).sum(),
        files: live.len(),
        bytes: live.iter().map(|entry| entry.file.file_size).sum(),
        committed_ms: table.snapshot.as_ref().map(|snapshot| snapshot.time_millis),
    })
}
