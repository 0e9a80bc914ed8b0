//! Single values out of Arrow columns: keys, statistics, rows for people. Not for hot loops.

use arrow_array::cast::AsArray;
use arrow_array::types::{
    Date32Type, Decimal128Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type,
    Int64Type, Time32MillisecondType, TimestampMicrosecondType, TimestampMillisecondType,
};
use arrow_array::{Array, ArrayRef, RecordBatch};
use weir_protocol::table::column::{Column, ColumnType, DataType};

use crate::row::{Row, RowKind, Value};
use crate::schema::{SYSTEM_COLUMN_COUNT, TableSchema};

/// The value of a column in one row. The column must have the Arrow type of its data type.
pub fn value_at(array: &dyn Array, row: usize, data_type: &DataType) -> Value {
    if array.is_null(row) {
        return Value::Null;
    }
    match data_type {
        DataType::Boolean => Value::Boolean(array.as_boolean().value(row)),
        DataType::TinyInt => Value::Int8(array.as_primitive::<Int8Type>().value(row)),
        DataType::SmallInt => Value::Int16(array.as_primitive::<Int16Type>().value(row)),
        DataType::Int => Value::Int32(array.as_primitive::<Int32Type>().value(row)),
        DataType::BigInt => Value::Int64(array.as_primitive::<Int64Type>().value(row)),
        DataType::Float => Value::Float32(array.as_primitive::<Float32Type>().value(row)),
        DataType::Double => Value::Float64(array.as_primitive::<Float64Type>().value(row)),
        DataType::Decimal { .. } => {
            Value::Decimal(array.as_primitive::<Decimal128Type>().value(row))
        }
        DataType::Date => Value::Date(array.as_primitive::<Date32Type>().value(row)),
        DataType::Time { .. } => {
            Value::Time(array.as_primitive::<Time32MillisecondType>().value(row))
        }
        DataType::Timestamp { precision: 0..=3 } | DataType::TimestampLtz { precision: 0..=3 } => {
            let millis = array.as_primitive::<TimestampMillisecondType>().value(row);
            Value::Timestamp { millis, nanos_of_milli: 0 }
        }
        DataType::Timestamp { .. } | DataType::TimestampLtz { .. } => {
            let micros = array.as_primitive::<TimestampMicrosecondType>().value(row);
            let nanos_of_milli = micros.rem_euclid(1000) as i32 * 1000;
            Value::Timestamp { millis: micros.div_euclid(1000), nanos_of_milli }
        }
        DataType::Char(_) | DataType::VarChar(_) | DataType::String => {
            Value::String(array.as_string::<i32>().value(row).to_owned())
        }
        DataType::Binary(_) | DataType::VarBinary(_) | DataType::Bytes => {
            Value::Bytes(array.as_binary::<i32>().value(row).to_vec())
        }
        DataType::Array(element) => {
            Value::Array(values_of(&array.as_list::<i32>().value(row), element))
        }
        DataType::Map(key, value) => {
            let entries = array.as_map().value(row);
            let keys = values_of(entries.column(0), key);
            Value::Map(keys.into_iter().zip(values_of(entries.column(1), value)).collect())
        }
        DataType::Row(members) => Value::Row(members_at(array.as_struct().columns(), members, row)),
    }
}

/// The rows of a batch in the layout of the table's files; rows of append tables are insertions.
pub fn rows_of(batch: &RecordBatch, schema: &TableSchema) -> Vec<Row> {
    let skipped = if schema.has_primary_key() { SYSTEM_COLUMN_COUNT } else { 0 };
    let kinds = (skipped > 0).then(|| batch.column(1).as_primitive::<Int8Type>());
    let kind = |row| kinds.and_then(|kinds| RowKind::of(kinds.value(row)));
    let columns = &batch.columns()[skipped..];
    (0..batch.num_rows())
        .map(|row| Row {
            kind: kind(row).unwrap_or(RowKind::Insert),
            values: members_at(columns, &schema.columns, row),
        })
        .collect()
}

fn members_at(arrays: &[ArrayRef], columns: &[Column], row: usize) -> Vec<Value> {
    let members = arrays.iter().zip(columns);
    members.map(|(array, column)| value_at(array, row, &column.column_type.data_type)).collect()
}

fn values_of(array: &ArrayRef, column_type: &ColumnType) -> Vec<Value> {
    (0..array.len()).map(|row| value_at(array, row, &column_type.data_type)).collect()
}
