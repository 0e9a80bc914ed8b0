//! Rows become Arrow columns, and back.
//!
//! What must hold: a row that [`ColumnBuilders::append`] refuses leaves no trace, so that the rows
//! around it stay whole; a batch has exactly the layout of `TableSchema::file_schema`.

use std::sync::Arc;

use arrow_array::builder::{
    BinaryBuilder, BooleanBuilder, Date32Builder, Decimal128Builder, Float32Builder,
    Float64Builder, Int8Builder, Int16Builder, Int32Builder, Int64Builder, StringBuilder,
    Time32MillisecondBuilder, TimestampMicrosecondBuilder, TimestampMillisecondBuilder,
};
use arrow_array::{ArrayRef, ListArray, MapArray, RecordBatch, StructArray};
use arrow_buffer::{NullBufferBuilder, OffsetBuffer};
use arrow_schema::{DataType as ArrowType, FieldRef, Fields, SchemaRef};
use weir_protocol::table::types::{ColumnType, DataType};

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
            Value::Timestamp { millis, .. } if millis.checked_mul(1000).is_none() => {
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
        (Value::Timestamp { millis, .. }, _) if millis.checked_mul(1000).is_none() => {
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

/// One Arrow builder per type. Nested ones hold their own offsets and nulls.
#[derive(Debug)]
enum Builder {
    Boolean(BooleanBuilder),
    Int8(Int8Builder),
    Int16(Int16Builder),
    Int32(Int32Builder),
    Int64(Int64Builder),
    Float32(Float32Builder),
    Float64(Float64Builder),
    Decimal(Decimal128Builder),
    Date(Date32Builder),
    Time(Time32MillisecondBuilder),
    Millis(TimestampMillisecondBuilder),
    Micros(TimestampMicrosecondBuilder),
    String(StringBuilder),
    Bytes(BinaryBuilder),
    Array { field: FieldRef, ends: Ends, element: Box<Builder> },
    Map { field: FieldRef, ends: Ends, key: Box<Builder>, value: Box<Builder> },
    Row { fields: Fields, nulls: NullBufferBuilder, len: usize, members: Vec<Builder> },
}

/// Offsets and nulls of a column of lists or maps.
#[derive(Debug)]
struct Ends {
    offsets: Vec<i32>,
    nulls: NullBufferBuilder,
}

impl Ends {
    fn new() -> Self {
        Self { offsets: vec![0], nulls: NullBufferBuilder::new(0) }
    }

    fn push(&mut self, length: Option<usize>) {
        let last = self.offsets.last().copied().unwrap_or(0);
        let length = i32::try_from(length.unwrap_or(0)).expect("checked before it is appended");
        self.offsets.push(last + length);
    }

    fn finish(&mut self) -> (OffsetBuffer<i32>, Option<arrow_buffer::NullBuffer>) {
        let offsets = std::mem::replace(&mut self.offsets, vec![0]);
        (OffsetBuffer::new(offsets.into()), self.nulls.finish())
    }
}

impl Builder {
    fn new(data_type: &DataType, field: &FieldRef) -> Self {
        let arrow_type = field.data_type().clone();
        match (data_type, &arrow_type) {
            (DataType::Boolean, _) => Builder::Boolean(BooleanBuilder::new()),
            (DataType::TinyInt, _) => Builder::Int8(Int8Builder::new()),
            (DataType::SmallInt, _) => Builder::Int16(Int16Builder::new()),
            (DataType::Int, _) => Builder::Int32(Int32Builder::new()),
            (DataType::BigInt, _) => Builder::Int64(Int64Builder::new()),
            (DataType::Float, _) => Builder::Float32(Float32Builder::new()),
            (DataType::Double, _) => Builder::Float64(Float64Builder::new()),
            (DataType::Decimal { .. }, _) => {
                Builder::Decimal(Decimal128Builder::new().with_data_type(arrow_type))
            }
            (DataType::Date, _) => Builder::Date(Date32Builder::new()),
            (DataType::Time { .. }, _) => Builder::Time(Time32MillisecondBuilder::new()),
            (
                DataType::Timestamp { precision: 0..=3 }
                | DataType::TimestampLtz { precision: 0..=3 },
                _,
            ) => Builder::Millis(TimestampMillisecondBuilder::new().with_data_type(arrow_type)),
            (DataType::Timestamp { .. } | DataType::TimestampLtz { .. }, _) => {
                Builder::Micros(TimestampMicrosecondBuilder::new().with_data_type(arrow_type))
            }
            (DataType::Char(_) | DataType::VarChar(_) | DataType::String, _) => {
                Builder::String(StringBuilder::new())
            }
            (DataType::Binary(_) | DataType::VarBinary(_) | DataType::Bytes, _) => {
                Builder::Bytes(BinaryBuilder::new())
            }
            (DataType::Array(element), ArrowType::List(field)) => Builder::Array {
                element: Box::new(Builder::new(&element.data_type, field)),
                field: Arc::clone(field),
                ends: Ends::new(),
            },
            (DataType::Map(key, value), ArrowType::Map(field, _)) => {
                let ArrowType::Struct(entries) = field.data_type() else {
                    panic!("the entries of a map are a struct")
                };
                Builder::Map {
                    key: Box::new(Builder::new(&key.data_type, &entries[0])),
                    value: Box::new(Builder::new(&value.data_type, &entries[1])),
                    field: Arc::clone(field),
                    ends: Ends::new(),
                }
            }
            (DataType::Row(columns), ArrowType::Struct(fields)) => {
                let members = columns.iter().zip(fields);
                let member = |(column, field): (&weir_protocol::table::types::Column, _)| {
                    Builder::new(&column.column_type.data_type, field)
                };
                Builder::Row {
                    members: members.map(member).collect(),
                    fields: fields.clone(),
                    nulls: NullBufferBuilder::new(0),
                    len: 0,
                }
            }
            _ => panic!("{data_type} is not {arrow_type} in Arrow"),
        }
    }

    /// What counts towards [`COLUMN_BYTES_MAX`].
    fn variable_bytes(&self) -> usize {
        match self {
            Builder::String(builder) => builder.values_slice().len(),
            Builder::Bytes(builder) => builder.values_slice().len(),
            Builder::Array { ends, element, .. } => element.variable_bytes().max(last_offset(ends)),
            Builder::Map { ends, key, value, .. } => {
                key.variable_bytes().max(value.variable_bytes()).max(last_offset(ends))
            }
            Builder::Row { members, .. } => {
                members.iter().map(Builder::variable_bytes).max().unwrap_or(0)
            }
            _ => 0,
        }
    }

    fn append(&mut self, value: &Value) {
        match (self, value) {
            (Builder::Boolean(builder), Value::Boolean(value)) => builder.append_value(*value),
            (Builder::Int8(builder), Value::Int8(value)) => builder.append_value(*value),
            (Builder::Int16(builder), Value::Int16(value)) => builder.append_value(*value),
            (Builder::Int32(builder), Value::Int32(value)) => builder.append_value(*value),
            (Builder::Int64(builder), Value::Int64(value)) => builder.append_value(*value),
            (Builder::Float32(builder), Value::Float32(value)) => builder.append_value(*value),
            (Builder::Float64(builder), Value::Float64(value)) => builder.append_value(*value),
            (Builder::Decimal(builder), Value::Decimal(value)) => builder.append_value(*value),
            (Builder::Date(builder), Value::Date(value)) => builder.append_value(*value),
            (Builder::Time(builder), Value::Time(value)) => builder.append_value(*value),
            (Builder::Millis(builder), Value::Timestamp { millis, .. }) => {
                builder.append_value(*millis);
            }
            (Builder::Micros(builder), Value::Timestamp { millis, nanos_of_milli }) => {
                builder.append_value(millis * 1000 + i64::from(nanos_of_milli / 1000));
            }
            (Builder::String(builder), Value::String(text)) => builder.append_value(text),
            (Builder::Bytes(builder), Value::Bytes(bytes)) => builder.append_value(bytes),
            (Builder::Array { ends, element, .. }, Value::Array(values)) => {
                values.iter().for_each(|value| element.append(value));
                ends.push(Some(values.len()));
                ends.nulls.append_non_null();
            }
            (Builder::Map { ends, key, value, .. }, Value::Map(entries)) => {
                for (entry_key, entry_value) in entries {
                    key.append(entry_key);
                    value.append(entry_value);
                }
                ends.push(Some(entries.len()));
                ends.nulls.append_non_null();
            }
            (Builder::Row { members, nulls, len, .. }, Value::Row(values)) => {
                assert_eq!(members.len(), values.len(), "one value per member");
                members.iter_mut().zip(values).for_each(|(member, value)| member.append(value));
                nulls.append_non_null();
                *len += 1;
            }
            (builder, Value::Null) => builder.append_null(),
            (builder, value) => panic!("{value:?} is no value for {builder:?}"),
        }
    }

    fn append_null(&mut self) {
        match self {
            Builder::Boolean(builder) => builder.append_null(),
            Builder::Int8(builder) => builder.append_null(),
            Builder::Int16(builder) => builder.append_null(),
            Builder::Int32(builder) => builder.append_null(),
            Builder::Int64(builder) => builder.append_null(),
            Builder::Float32(builder) => builder.append_null(),
            Builder::Float64(builder) => builder.append_null(),
            Builder::Decimal(builder) => builder.append_null(),
            Builder::Date(builder) => builder.append_null(),
            Builder::Time(builder) => builder.append_null(),
            Builder::Millis(builder) => builder.append_null(),
            Builder::Micros(builder) => builder.append_null(),
            Builder::String(builder) => builder.append_null(),
            Builder::Bytes(builder) => builder.append_null(),
            Builder::Array { ends, .. } | Builder::Map { ends, .. } => {
                ends.push(None);
                ends.nulls.append_null();
            }
            Builder::Row { members, nulls, len, .. } => {
                members.iter_mut().for_each(Builder::append_null);
                nulls.append_null();
                *len += 1;
            }
        }
    }

    fn finish(&mut self) -> ArrayRef {
        match self {
            Builder::Boolean(builder) => Arc::new(builder.finish()),
            Builder::Int8(builder) => Arc::new(builder.finish()),
            Builder::Int16(builder) => Arc::new(builder.finish()),
            Builder::Int32(builder) => Arc::new(builder.finish()),
            Builder::Int64(builder) => Arc::new(builder.finish()),
            Builder::Float32(builder) => Arc::new(builder.finish()),
            Builder::Float64(builder) => Arc::new(builder.finish()),
            Builder::Decimal(builder) => Arc::new(builder.finish()),
            Builder::Date(builder) => Arc::new(builder.finish()),
            Builder::Time(builder) => Arc::new(builder.finish()),
            Builder::Millis(builder) => Arc::new(builder.finish()),
            Builder::Micros(builder) => Arc::new(builder.finish()),
            Builder::String(builder) => Arc::new(builder.finish()),
            Builder::Bytes(builder) => Arc::new(builder.finish()),
            Builder::Array { field, ends, element } => {
                let (offsets, nulls) = ends.finish();
                Arc::new(ListArray::new(Arc::clone(field), offsets, element.finish(), nulls))
            }
            Builder::Map { field, ends, key, value } => {
                let (offsets, nulls) = ends.finish();
                let ArrowType::Struct(fields) = field.data_type() else {
                    panic!("the entries of a map are a struct")
                };
                let entries = vec![key.finish(), value.finish()];
                let entries = StructArray::new(fields.clone(), entries, None);
                Arc::new(MapArray::new(Arc::clone(field), offsets, entries, nulls, false))
            }
            Builder::Row { fields, nulls, len, members } => {
                let arrays: Vec<ArrayRef> = members.iter_mut().map(Builder::finish).collect();
                let rows = std::mem::take(len);
                let nulls = nulls.finish();
                let array = StructArray::try_new_with_length(fields.clone(), arrays, nulls, rows);
                Arc::new(array.expect("every member has a value per row"))
            }
        }
    }
}

fn last_offset(ends: &Ends) -> usize {
    ends.offsets.last().map_or(0, |last| *last as usize)
}
