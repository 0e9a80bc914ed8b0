//! `weir table read`: the rows of a snapshot, merged, bucket by bucket.

use std::io::{BufWriter, Write};

use arrow_array::RecordBatch;
use clap::{Args, ValueEnum};
use serde_json::Value as Json;
use weir_compactor::data_file::values::value_at;
use weir_compactor::row::Value;
use weir_protocol::table::column::Column;

use crate::failure::Failure;
use crate::print;
use crate::table::Warehouse;
use crate::table::open::{OpenTable, open_warehouse};
use crate::table::value::{json_of, text_of};

/// So many rows are shown to people who do not say how many.
const ROWS_SHOWN: usize = 50;

#[derive(Args, Clone, Debug)]
pub(crate) struct Read {
    /// database.table, or the name of a table in the database `default`.
    name: String,
    #[command(flatten)]
    warehouse: Warehouse,
    /// How to print rows: json is one object a line, csv has a line of names first.
    #[arg(short = 'o', long, visible_alias = "output", value_enum, default_value_t = Format::Table)]
    format: Format,
    /// At most so many rows [default: 50 for --format table, else all].
    #[arg(long, value_name = "ROWS")]
    limit: Option<usize>,
    /// An older snapshot.
    #[arg(long, value_name = "ID")]
    snapshot: Option<i64>,
}

/// How rows are printed.
#[derive(Copy, Clone, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people.
    Table,
    /// One object a line.
    Json,
    /// Comma-separated values; null is an empty field.
    Csv,
}

pub(crate) async fn run(read: Read) -> Result<(), Failure> {
    let store = open_warehouse(&read.warehouse.warehouse)?;
    let table = OpenTable::open(&store, &read.name, read.snapshot).await?;
    let live = table.live_files().await?;
    // Reading files blocks.
    tokio::task::spawn_blocking(move || {
        let rows = Rows::new(table.scan(live)?, table.schema().columns.clone());
        match read.format {
            Format::Table => print_table(rows, read.limit.unwrap_or(ROWS_SHOWN)),
            Format::Json => print_json(rows, read.limit.unwrap_or(usize::MAX)),
            Format::Csv => print_csv(rows, read.limit.unwrap_or(usize::MAX)),
        }
    })
    .await
    .map_err(|error| Failure::new(format!("reading failed: {error}")))?
}

/// The first rows of a table, ready to print. Blocks.
pub(crate) fn rows_as_text(
    table: &OpenTable,
    live: Vec<weir_compactor::paimon::manifest::FileEntry>,
    limit: usize,
) -> Result<String, Failure> {
    let rows = Rows::new(table.scan(live)?, table.schema().columns.clone());
    Ok(as_table(rows, limit)?.0)
}

/// How many rows a reader sees. Blocks.
pub(crate) fn row_count(
    table: &OpenTable,
    live: Vec<weir_compactor::paimon::manifest::FileEntry>,
) -> Result<usize, Failure> {
    table.scan(live)?.try_fold(0, |count, batch| Ok(count + batch?.num_rows()))
}

/// Rows one by one.
struct Rows<I> {
    columns: Vec<Column>,
    batches: I,
    batch: Option<RecordBatch>,
    next: usize,
}

impl<I, E> Rows<I>
where
    I: Iterator<Item = Result<RecordBatch, E>>,
    Failure: From<E>,
{
    fn new(batches: I, columns: Vec<Column>) -> Self {
        Self { columns, batches, batch: None, next: 0 }
    }

    fn row(&mut self) -> Result<Option<Vec<Value>>, Failure> {
        loop {
            if let Some(batch) = self.batch.as_ref().filter(|batch| self.next < batch.num_rows()) {
                let value = |(column, array): (&Column, &arrow_array::ArrayRef)| {
                    value_at(array, self.next, &column.column_type.data_type)
                };
                let row = self.columns.iter().zip(batch.columns()).map(value).collect();
                self.next += 1;
                return Ok(Some(row));
            }
            let Some(batch) = self.batches.next() else { return Ok(None) };
            (self.batch, self.next) = (Some(batch?), 0);
        }
    }

    fn cells(&mut self, null: &str) -> Result<Option<Vec<String>>, Failure> {
        let Some(row) = self.row()? else { return Ok(None) };
        let cell = |(column, value): (&Column, &Value)| {
            text_of(&json_of(value, &column.column_type), null)
        };
        Ok(Some(self.columns.iter().zip(&row).map(cell).collect()))
    }

    fn names(&self) -> Vec<&str> {
        self.columns.iter().map(|column| column.name.as_str()).collect()
    }
}

/// The text, and whether there are more rows.
fn as_table<I, E>(mut rows: Rows<I>, limit: usize) -> Result<(String, bool), Failure>
where
    I: Iterator<Item = Result<RecordBatch, E>>,
    Failure: From<E>,
{
    let mut table = print::table(&rows.names());
    for _ in 0..limit {
        let Some(cells) = rows.cells("NULL")? else { return Ok((table.to_string(), false)) };
        table.add_row(cells);
    }
    let has_more = rows.row()?.is_some();
    Ok((table.to_string(), has_more))
}

fn print_table<I, E>(rows: Rows<I>, limit: usize) -> Result<(), Failure>
where
    I: Iterator<Item = Result<RecordBatch, E>>,
    Failure: From<E>,
{
    let (text, has_more) = as_table(rows, limit)?;
    print::lines(&[text])?;
    if has_more {
        eprintln!("{limit} rows are shown and there are more: --limit says how many");
    }
    Ok(())
}

fn print_json<I, E>(mut rows: Rows<I>, limit: usize) -> Result<(), Failure>
where
    I: Iterator<Item = Result<RecordBatch, E>>,
    Failure: From<E>,
{
    let mut out = BufWriter::new(std::io::stdout().lock());
    for _ in 0..limit {
        let Some(row) = rows.row()? else { break };
        writeln!(out, "{}", line_of(&rows.columns, &row))?;
    }
    Ok(out.flush()?)
}

/// An object whose members stand in the order of the columns.
fn line_of(columns: &[Column], row: &[Value]) -> String {
    let member = |(column, value): (&Column, &Value)| {
        let name = Json::String(column.name.clone());
        format!("{name}:{}", json_of(value, &column.column_type))
    };
    let members: Vec<String> = columns.iter().zip(row).map(member).collect();
    format!("{{{}}}", members.join(","))
}

fn print_csv<I, E>(mut rows: Rows<I>, limit: usize) -> Result<(), Failure>
where
    I: Iterator<Item = Result<RecordBatch, E>>,
    Failure: From<E>,
{
    let mut out = csv::Writer::from_writer(std::io::stdout().lock());
    out.write_record(rows.names())?;
    for _ in 0..limit {
        let Some(cells) = rows.cells("")? else { break };
        out.write_record(&cells)?;
    }
    Ok(out.flush()?)
}
