//! One Arrow array in the making, of any type, filled with values.
//!
//! Values must be of the builder's type: decoders see to that, so a misfit here is our own mistake.

use std::sync::Arc;

use arrow_array::builder::{
    BinaryBuilder, BooleanBuilder, Date32Builder, Decimal128Builder, Float32Builder,
    Float64Builder, Int8Builder, Int16Builder, Int32Builder, Int64Builder, StringBuilder,
    Time32MillisecondBuilder, TimestampMicrosecondBuilder, TimestampMillisecondBuilder,
};
use arrow_array::{ArrayRef, ListArray, MapArray, StructArray};
use arrow_buffer::{NullBuffer, NullBufferBuilder, OffsetBuffer};
use arrow_schema::{DataType as ArrowType, FieldRef, Fields};
use weir_protocol::table::column::{Column, DataType};

use crate::row::Value;

/// One Arrow builder per type. Nested ones hold their own offsets and nulls.
#[derive(Debug)]
pub(super) enum Builder {
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
pub(super) struct Ends {
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

    fn finish(&mut self) -> (OffsetBuffer<i32>, Option<NullBuffer>) {
        let offsets = std::mem::replace(&mut self.offsets, vec![0]);
        (OffsetBuffer::new(offsets.into()), self.nulls.finish())
    }
}

impl Builder {
    pub(super) fn new(data_type: &DataType, field: &FieldRef) -> Self {
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
                let member = |(column, field): (&Column, _)| {
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
    pub(super) fn variable_bytes(&self) -> usize {
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

    pub(super) fn append(&mut self, value: &Value) {
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

    pub(super) fn finish(&mut self) -> ArrayRef {
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
