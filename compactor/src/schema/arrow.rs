//! Columns as Arrow fields, as Paimon's Parquet files hold them. PURE.
//!
//! Every field carries its id (`PARQUET:field_id`), for readers find columns by it. Elements, keys
//! and values of nested types have ids too, made from the id of the column or member around them:
//!
//! ```text
//! base = 536,870,911; depth counts ARRAYs and MAPs below the column or member, from 1
//! list element, map value: base + 1024 * id + depth          map key: base - 1024 * id - depth
//! ```

use std::collections::HashMap;
use std::sync::Arc;

use arrow_schema::{DataType as ArrowType, Field, FieldRef, Schema, SchemaRef, TimeUnit};
use weir_protocol::table::column::{Column, ColumnType, DataType};

use crate::schema::{SEQUENCE_NUMBER, TableSchema, VALUE_KIND};

/// The metadata key under which Parquet's writer and reader keep field ids.
pub const FIELD_ID: &str = "PARQUET:field_id";
const SEQUENCE_NUMBER_ID: i32 = i32::MAX - 1;
const VALUE_KIND_ID: i32 = i32::MAX - 2;
const NESTED_BASE_ID: i32 = i32::MAX / 4;
const NESTED_STEP: i32 = 1024;

/// The table's columns.
pub(super) fn table_schema(schema: &TableSchema) -> SchemaRef {
    Arc::new(Schema::new(schema.columns.iter().map(field_of).collect::<Vec<_>>()))
}

/// The columns of the table's files.
pub(super) fn file_schema(schema: &TableSchema) -> SchemaRef {
    if !schema.has_primary_key() {
        return table_schema(schema);
    }
    let mut fields = vec![
        with_id(Field::new(SEQUENCE_NUMBER, ArrowType::Int64, false), SEQUENCE_NUMBER_ID),
        with_id(Field::new(VALUE_KIND, ArrowType::Int8, false), VALUE_KIND_ID),
    ];
    fields.extend(schema.columns.iter().map(field_of));
    Arc::new(Schema::new(fields))
}

/// One column as an Arrow field.
pub fn field_of(column: &Column) -> FieldRef {
    field(&column.name, &column.column_type, column.id, Place { id: column.id, depth: 0 })
}

/// The id of the column or member around a nested type, and how deep in it we are.
#[derive(Copy, Clone)]
struct Place {
    id: i32,
    depth: i32,
}

impl Place {
    fn deeper(self) -> Self {
        Self { id: self.id, depth: self.depth + 1 }
    }

    /// Ids that would not fit into 32 bits are of tables with half a million columns.
    fn value_id(self) -> i32 {
        NESTED_BASE_ID.wrapping_add(NESTED_STEP.wrapping_mul(self.id)).wrapping_add(self.depth)
    }

    fn key_id(self) -> i32 {
        NESTED_BASE_ID.wrapping_sub(NESTED_STEP.wrapping_mul(self.id)).wrapping_sub(self.depth)
    }
}

fn field(name: &str, column_type: &ColumnType, id: i32, place: Place) -> FieldRef {
    let arrow_type = arrow_type(&column_type.data_type, place);
    with_id(Field::new(name, arrow_type, column_type.nullable), id)
}

fn with_id(field: Field, id: i32) -> FieldRef {
    Arc::new(field.with_metadata(HashMap::from([(FIELD_ID.to_owned(), id.to_string())])))
}

fn arrow_type(data_type: &DataType, place: Place) -> ArrowType {
    match data_type {
        DataType::Boolean => ArrowType::Boolean,
        DataType::TinyInt => ArrowType::Int8,
        DataType::SmallInt => ArrowType::Int16,
        DataType::Int => ArrowType::Int32,
        DataType::BigInt => ArrowType::Int64,
        DataType::Float => ArrowType::Float32,
        DataType::Double => ArrowType::Float64,
        DataType::Decimal { precision, scale } => {
            ArrowType::Decimal128(*precision, scale.cast_signed())
        }
        DataType::Date => ArrowType::Date32,
        DataType::Time { .. } => ArrowType::Time32(TimeUnit::Millisecond),
        DataType::Char(_) | DataType::VarChar(_) | DataType::String => ArrowType::Utf8,
        DataType::Binary(_) | DataType::VarBinary(_) | DataType::Bytes => ArrowType::Binary,
        DataType::Timestamp { precision } => ArrowType::Timestamp(unit_of(*precision), None),
        DataType::TimestampLtz { precision } => {
            ArrowType::Timestamp(unit_of(*precision), Some("UTC".into()))
        }
        DataType::Array(element) => {
            let place = place.deeper();
            ArrowType::List(field("element", element, place.value_id(), place))
        }
        DataType::Map(key, value) => {
            let place = place.deeper();
            let key = ColumnType { nullable: false, ..(**key).clone() };
            let key = field("key", &key, place.key_id(), place);
            let value = field("value", value, place.value_id(), place);
            let entries = ArrowType::Struct(vec![key, value].into());
            ArrowType::Map(Arc::new(Field::new("key_value", entries, false)), false)
        }
        DataType::Row(members) => ArrowType::Struct(members.iter().map(field_of).collect()),
    }
}

/// Paimon keeps timestamps to the millisecond up to precision 3, to the microsecond beyond.
fn unit_of(precision: u8) -> TimeUnit {
    if precision <= 3 { TimeUnit::Millisecond } else { TimeUnit::Microsecond }
}
