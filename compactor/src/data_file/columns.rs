//! Rows become Arrow columns, and back.
//!
//! What must hold: a row that [`ColumnBuilders::append`] refuses leaves no trace, so that the rows
//! around it stay whole; a batch has exactly the layout of `TableSchema::file_schema`.

use std::sync::Arc;

use arrow_array::builder::{Int8Builder, Int64Builder};
use arrow_array::{ArrayRef, RecordBatch};
use arrow_schema::SchemaRef;
use weir_protocol::table::column::{ColumnType, DataType};

use crate::data_file::builder::Builder;
use crate::row::{Row, Value};
use crate::schema::{SYSTEM_COLUMN_COUNT, TableSchema};

/// Text, bytes and elements of one column of a batch: Arrow counts them with 31 bits.
const COLUMN_BYTES_MAX: usize = i32::MAX as usize;

/// A row cannot become a row of this table.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RowError {
    /// A NOT NULL column has no value.
    #[error("column {column} is NOT NULL and has no value")]
    Null {
        /// The column.
        column: String,
    },
    /// The timestamp is beyond what 64 bits of its unit hold.
    #[error("column {column}: the timestamp is out of range")]
    TimestampRange {
        /// The column.
        column: String,
    },
    /// The batch must be finished first; the row is good.
    #[error("column {column} of the batch is full")]
    Full {
        /// The column.
        column: String,
    },
}

/// A batch in the making.
#[derive(Debug)]
pub struct ColumnBuilders {
    schema: SchemaRef,
    system: Option<(Int64Builder, Int8Builder)>,
    columns: Vec<ColumnBuilder>,
    row_count: usize,
    /// Bytes of a row that do not depend on its values.
    row_bytes: usize,
    size_bytes: usize,
}

#[derive(Debug)]
struct ColumnBuilder {
    name: String,
    column_type: ColumnType,
    is_key: bool,
    builder: Builder,
}

impl ColumnBuilders {
    /// An empty batch in the layout of the table's files.
    pub fn new(schema: &TableSchema) -> Self {
        let file_schema = schema.file_schema();
        let skipped = if schema.has_primary_key() { SYSTEM_COLUMN_COUNT } else { 0 };
        let fields = file_schema.fields().iter().skip(skipped);
        let columns: Vec<ColumnBuilder> = schema
            .columns
            .iter()
            .zip(fields)
            .map(|(column, field)| ColumnBuilder {
                name: column.name.clone(),
                column_type: column.column_type.clone(),
                is_key: schema.primary_keys.contains(&column.name)
                    || schema.partition_keys.contains(&column.name),
                builder: Builder::new(&column.column_type.data_type, field),
            })
            .collect();
        let widths = columns.iter().map(|column| fixed_bytes(&column.column_type.data_type));
        Self {
            row_bytes: widths.sum::<usize>() + if skipped == 0 { 0 } else { 9 },
            system: (skipped > 0).then(Default::default),
            schema: file_schema,
            columns,
            row_count: 0,
            size_bytes: 0,
        }
    }

    /// Adds a row. Of a row that deletes, columns outside the key may be without value although
    /// they are NOT NULL: the type's zero value stands in.
    pub fn append(&mut self, sequence: i64, row: &Row) -> Result<(), RowError> {
        let variable = self.check(row)?;
        for (column, value) in self.columns.iter_mut().zip(&row.values) {
            if value.is_null() && !column.column_type.nullable {
                column.builder.append(&Value::zero(&column.column_type.data_type));
            } else {
                column.builder.append(value);
            }
        }
        if let Some((sequences, kinds)) = &mut self.system {
            sequences.append_value(sequence);
            kinds.append_value(row.kind as i8);
        }
        self.row_count += 1;
        self.size_bytes += self.row_bytes + variable;
        Ok(())
    }

    /// Whether a row fits, and how many bytes its values of no fixed length take.
    pub fn check(&self, row: &Row) -> Result<usize, RowError> {
        assert_eq!(row.values.len(), self.columns.len(), "one value per column");
        let is_retract = row.kind.is_retract();
        let mut variable = 0;
        for (column, value) in self.columns.iter().zip(&row.values) {
            variable += column.check(value, is_retract)?;
        }
        Ok(variable)
    }

    /// Rows so far.
    pub fn len(&self) -> usize {
        self.row_count
    }

    /// Whether there is no row yet.
    pub fn is_empty(&self) -> bool {
        self.row_count == 0
    }

    /// Bytes of all values, roughly what the batch will take in memory.
    pub fn size_bytes(&self) -> usize {
        self.size_bytes
    }

    /// The batch; the builders are empty again.
    pub fn finish(&mut self) -> RecordBatch {
        let mut arrays: Vec<ArrayRef> = Vec::with_capacity(self.schema.fields().len());
        if let Some((sequences, kinds)) = &mut self.system {
            arrays.push(Arc::new(sequences.finish()));
            arrays.push(Arc::new(kinds.finish()));
        }
        arrays.extend(self.columns.iter_mut().map(|column| column.builder.finish()));
        self.row_count = 0;
        self.size_bytes = 0;
        RecordBatch::try_new(Arc::clone(&self.schema), arrays)
            .expect("the builders were made from this schema")
    }
}

impl ColumnBuilder {
    /// Whether the value may be appended, and its bytes of variable length.
    fn check(&self, value: &Value, is_retract: bool) -> Result<usize, RowError> {
        let column = || self.name.clone();
        if value.is_null() {
            let zero_fits = is_retract && !self.is_key;
            return match self.column_type.nullable || zero_fits {
                true => Ok(0),
                false => Err(RowError::Null { column: column() }),
            };
        }
        let bytes = match value {
            Value::String(text) => text.len(),
            Value::Bytes(bytes) => bytes.len(),
            Value::Timestamp { millis, .. } if is_beyond_micros(*millis) => {
                return Err(RowError::TimestampRange { column: column() });
            }
            Value::Array(_) | Value::Map(_) | Value::Row(_) => {
                check_nested(&self.name, value, &self.column_type.data_type)?
            }
            _ => 0,
        };
        if bytes > COLUMN_BYTES_MAX - self.builder.variable_bytes() {
            return Err(RowError::Full { column: column() });
        }
        Ok(bytes)
    }
}

/// Refuses nulls where members are NOT NULL; returns roughly the bytes of the value.
fn check_nested(path: &str, value: &Value, data_type: &DataType) -> Result<usize, RowError> {
    let check = |path: &str, value: &Value, column_type: &ColumnType| {
        if value.is_null() && !column_type.nullable {
            return Err(RowError::Null { column: path.to_owned() });
        }
        Ok(fixed_bytes(&column_type.data_type) + check_nested(path, value, &column_type.data_type)?)
    };
    let mut bytes = 0;
    match (value, data_type) {
        (Value::String(text), _) => bytes += text.len(),
        (Value::Bytes(value), _) => bytes += value.len(),
        (Value::Timestamp { millis, .. }, _) if is_beyond_micros(*millis) => {
            return Err(RowError::TimestampRange { column: path.to_owned() });
        }
        (Value::Array(elements), DataType::Array(element)) => {
            for value in elements {
                bytes += check(path, value, element)?;
            }
        }
        (Value::Map(entries), DataType::Map(key, value)) => {
            for (entry_key, entry_value) in entries {
                if entry_key.is_null() {
                    return Err(RowError::Null { column: format!("{path} (a key)") });
                }
                bytes += check(path, entry_key, key)? + check(path, entry_value, value)?;
            }
        }
        (Value::Row(values), DataType::Row(members)) => {
            for (value, member) in values.iter().zip(members) {
                let path = format!("{path}.{}", member.name);
                bytes += check(&path, value, &member.column_type)?;
            }
        }
        _ => {}
    }
    Ok(bytes)
}

fn fixed_bytes(data_type: &DataType) -> usize {
    match data_type {
        DataType::Boolean | DataType::TinyInt => 1,
        DataType::SmallInt => 2,
        DataType::Int | DataType::Float | DataType::Date | DataType::Time { .. } => 4,
        DataType::Decimal { .. } => 16,
        DataType::Row(_) => 1,
        _ => 8,
    }
}

/// Whether a timestamp of these milliseconds has no place among 64-bit microseconds.
fn is_beyond_micros(millis: i64) -> bool {
    millis.checked_mul(1000).and_then(|micros| micros.checked_add(999)).is_none()
}
