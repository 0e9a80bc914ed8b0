//! The rows of one bucket on their way into a level-0 file, as columns.
//!
//! Rows come in the order of the log and get the bucket's next sequence numbers. At the end they
//! are sorted by key and age, one row per key is kept, and only then are the columns moved, once.
//! The rows of an append table stay as they came.

use std::sync::Arc;

use arrow_array::{RecordBatch, UInt32Array};
use arrow_schema::ArrowError;
use arrow_select::take::take_record_batch;

use crate::data_file::columns::{ColumnBuilders, RowError};
use crate::merge_tree::merge_function::MergeFunction;
use crate::merge_tree::row_order::{Keys, OrderedRows, RowOrder};
use crate::row::Row;
use crate::schema::TableSchema;

/// What makes one row of many: absent in append tables.
#[derive(Clone, Debug)]
pub struct Merge {
    /// The order of the rows.
    pub order: Arc<RowOrder>,
    /// What becomes of several rows of one key.
    pub function: MergeFunction,
}

impl Merge {
    /// How the table merges; none for an append table.
    pub fn of(schema: &TableSchema) -> Result<Option<Merge>, ArrowError> {
        if schema.primary_keys.is_empty() {
            return Ok(None);
        }
        let order = Arc::new(RowOrder::of(schema)?);
        Ok(Some(Merge { order, function: MergeFunction::Deduplicate }))
    }
}

/// Rows of one bucket, waiting.
#[derive(Debug)]
pub struct WriteBuffer {
    columns: ColumnBuilders,
    first_sequence: i64,
    next_sequence: i64,
    merge: Option<Merge>,
}

/// What a bucket's level-0 file will hold.
#[derive(Clone, Debug)]
pub struct BufferedRows {
    /// In key order and one row per key, or in the order of arrival.
    pub rows: RecordBatch,
    /// The sequence number of the first row that came in.
    pub first_sequence: i64,
    /// One past the sequence number of the last row that came in.
    pub next_sequence: i64,
}

impl WriteBuffer {
    /// An empty buffer of a bucket that has used the sequence numbers below `first_sequence`.
    pub fn new(schema: &TableSchema, merge: Option<Merge>, first_sequence: i64) -> WriteBuffer {
        let columns = ColumnBuilders::new(schema);
        WriteBuffer { columns, first_sequence, next_sequence: first_sequence, merge }
    }

    /// Takes in the next row. A row that does not fit the columns leaves no trace.
    pub fn append(&mut self, row: &Row) -> Result<(), RowError> {
        self.columns.append(self.next_sequence, row)?;
        self.next_sequence += 1;
        Ok(())
    }

    /// How many rows came in.
    pub fn row_count(&self) -> usize {
        self.columns.len()
    }

    /// The memory that the rows take.
    pub fn size_bytes(&self) -> usize {
        self.columns.size_bytes()
    }

    /// The rows as a level-0 file holds them.
    pub fn finish(self) -> Result<BufferedRows, ArrowError> {
        let WriteBuffer { mut columns, first_sequence, next_sequence, merge } = self;
        let arrived = columns.finish();
        let rows = match merge {
            None => arrived,
            Some(merge) => sorted(&arrived, &merge)?,
        };
        Ok(BufferedRows { rows, first_sequence, next_sequence })
    }
}

/// The rows in key order, one per key.
pub fn sorted(arrived: &RecordBatch, merge: &Merge) -> Result<RecordBatch, ArrowError> {
    let rows = merge.order.encode(arrived)?;
    let order = sorted_rows(&rows);
    let mut kept: Vec<u32> = Vec::with_capacity(order.len());
    let same_key =
        |left: &u32, right: &u32| rows.compare_keys(*left as usize, &rows, *right as usize).is_eq();
    for rows_of_key in order.chunk_by(same_key) {
        kept.push(rows_of_key[merge.function.winner(rows_of_key.len())]);
    }
    let is_in_order = kept.len() == arrived.num_rows() && kept.is_sorted();
    if is_in_order {
        return Ok(arrived.clone());
    }
    take_record_batch(arrived, &UInt32Array::from(kept))
}

/// The numbers of all rows by key, the oldest of a key first. Rows of one batch ascend in
/// sequence number, so that the row number stands for it and sorting need not be stable.
fn sorted_rows(rows: &OrderedRows) -> Vec<u32> {
    let row_count = u32::try_from(rows.len()).expect("a buffer holds less than 2^32 rows");
    let by_age = |left: u32, right: u32| match &rows.fields {
        Some(fields) => {
            fields.row(left as usize).cmp(&fields.row(right as usize)).then(left.cmp(&right))
        }
        None => left.cmp(&right),
    };
    match &rows.keys {
        Keys::Integers(keys) => {
            let mut order: Vec<(i64, u32)> = keys.values().iter().copied().zip(0..).collect();
            order.sort_unstable_by(|left, right| {
                left.0.cmp(&right.0).then_with(|| by_age(left.1, right.1))
            });
            order.into_iter().map(|(_, row)| row).collect()
        }
        Keys::Rows(keys) => {
            // The first eight bytes settle most comparisons without a look into memory.
            let prefixed = |row: u32| (prefix(keys.row(row as usize).data()), row);
            let mut order: Vec<(u64, u32)> = (0..row_count).map(prefixed).collect();
            order.sort_unstable_by(|left, right| {
                left.0
                    .cmp(&right.0)
                    .then_with(|| keys.row(left.1 as usize).cmp(&keys.row(right.1 as usize)))
                    .then_with(|| by_age(left.1, right.1))
            });
            order.into_iter().map(|(_, row)| row).collect()
        }
    }
}

fn prefix(bytes: &[u8]) -> u64 {
    let mut head = [0; 8];
    let length = bytes.len().min(head.len());
    head[..length].copy_from_slice(&bytes[..length]);
    u64::from_be_bytes(head)
}
