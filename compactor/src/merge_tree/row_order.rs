//! The order of the rows of a primary-key table in memory: by key, then by age.
//!
//! ```text
//! batch  | _SEQUENCE_NUMBER | _VALUE_KIND | table columns ... |
//! order    (key columns, sequence fields with nulls first, _SEQUENCE_NUMBER)
//! ```
//!
//! Whole columns are brought into a comparable form at once, never row by row.

use std::cmp::Ordering;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Int8Type, Int64Type};
use arrow_array::{Array, ArrayRef, Int8Array, Int64Array, RecordBatch};
use arrow_cast::cast;
use arrow_row::{RowConverter, Rows, SortField};
use arrow_schema::{ArrowError, DataType};

use crate::schema::{SYSTEM_COLUMN_COUNT, TableSchema};

const SEQUENCE_COLUMN: usize = 0;
const KIND_COLUMN: usize = 1;

/// Brings the rows of batches of one table into order.
#[derive(Debug)]
pub struct RowOrder {
    key_columns: Vec<usize>,
    /// Absent: the key is one integer column and compares as it is.
    key_converter: Option<RowConverter>,
    field_columns: Vec<usize>,
    /// Absent: the table has no sequence fields.
    field_converter: Option<RowConverter>,
}

impl RowOrder {
    /// The order of a primary-key table.
    pub fn of(schema: &TableSchema) -> Result<RowOrder, ArrowError> {
        let key: Vec<usize> = schema.trimmed_primary_key();
        let fields = schema.sequence_places();
        let types = schema.arrow_schema();
        let sort_fields = |columns: &[usize]| {
            let sort_field = |at: &usize| SortField::new(types.field(*at).data_type().clone());
            RowConverter::new(columns.iter().map(sort_field).collect())
        };
        let is_integer = matches!(key[..], [only] if is_integer(types.field(only).data_type()));
        let key_converter = if is_integer { None } else { Some(sort_fields(&key)?) };
        let field_converter = if fields.is_empty() { None } else { Some(sort_fields(&fields)?) };
        let in_batch = |columns: Vec<usize>| {
            columns.into_iter().map(|column| column + SYSTEM_COLUMN_COUNT).collect()
        };
        let (key_columns, field_columns) = (in_batch(key), in_batch(fields));
        Ok(RowOrder { key_columns, key_converter, field_columns, field_converter })
    }

    /// The places of all rows of a batch in the order.
    pub fn encode(&self, batch: &RecordBatch) -> Result<OrderedRows, ArrowError> {
        let columns = |places: &[usize]| -> Vec<ArrayRef> {
            places.iter().map(|place| Arc::clone(batch.column(*place))).collect()
        };
        let keys = match &self.key_converter {
            None => Keys::Integers(integers(batch.column(self.key_columns[0]))?),
            Some(converter) => Keys::Rows(converter.convert_columns(&columns(&self.key_columns))?),
        };
        let fields = match &self.field_converter {
            None => None,
            Some(converter) => Some(converter.convert_columns(&columns(&self.field_columns))?),
        };
        let sequences = integers(batch.column(SEQUENCE_COLUMN))?;
        Ok(OrderedRows { keys, fields, sequences })
    }
}

/// The kinds of the rows of a batch of a primary-key table.
pub fn kinds(batch: &RecordBatch) -> &Int8Array {
    batch.column(KIND_COLUMN).as_primitive::<Int8Type>()
}

/// The rows of one batch, ready to be compared with those of another.
#[derive(Debug)]
pub struct OrderedRows {
    pub(super) keys: Keys,
    pub(super) fields: Option<Rows>,
    sequences: Int64Array,
}

/// Keys in a form that compares cheaply.
#[derive(Debug)]
pub(super) enum Keys {
    /// The values of the one integer column.
    Integers(Int64Array),
    /// Bytes whose order is that of the columns.
    Rows(Rows),
}

impl OrderedRows {
    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.sequences.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Compares the key of a row with that of a row of another batch.
    pub fn compare_keys(&self, row: usize, other: &OrderedRows, other_row: usize) -> Ordering {
        match (&self.keys, &other.keys) {
            (Keys::Integers(left), Keys::Integers(right)) => {
                left.value(row).cmp(&right.value(other_row))
            }
            (Keys::Rows(left), Keys::Rows(right)) => left.row(row).cmp(&right.row(other_row)),
            _ => unreachable!("both were encoded by the same order"),
        }
    }

    /// Compares the age of two rows of one key.
    pub fn compare_ages(&self, row: usize, other: &OrderedRows, other_row: usize) -> Ordering {
        let fields = match (&self.fields, &other.fields) {
            (Some(left), Some(right)) => left.row(row).cmp(&right.row(other_row)),
            _ => Ordering::Equal,
        };
        fields.then_with(|| self.sequences.value(row).cmp(&other.sequences.value(other_row)))
    }
}

fn is_integer(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::Int64)
}

fn integers(column: &ArrayRef) -> Result<Int64Array, ArrowError> {
    if column.null_count() > 0 {
        return Err(ArrowError::InvalidArgumentError("a key or sequence number is null".into()));
    }
    let column = cast(column, &DataType::Int64)?;
    Ok(column.as_primitive::<Int64Type>().clone())
}
