//! A row of a table as it travels from decoder to write buffer: its kind and one value per column.
//!
//! Values are in Paimon's own units (days, milliseconds of the day, milliseconds and the
//! nanoseconds beyond them, unscaled decimals), so that nothing is converted twice.

use weir_protocol::table::column::DataType;

/// What a row says about its key. The numbers are Paimon's.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum RowKind {
    /// A new row.
    Insert = 0,
    /// The row before an update.
    UpdateBefore = 1,
    /// The row after an update.
    UpdateAfter = 2,
    /// The row is gone.
    Delete = 3,
}

impl RowKind {
    /// The kind of this number, if there is one.
    pub fn of(number: i8) -> Option<Self> {
        match number {
            0 => Some(RowKind::Insert),
            1 => Some(RowKind::UpdateBefore),
            2 => Some(RowKind::UpdateAfter),
            3 => Some(RowKind::Delete),
            _ => None,
        }
    }

    /// Whether a row of this kind takes its key out of the table.
    pub fn is_retract(self) -> bool {
        matches!(self, RowKind::UpdateBefore | RowKind::Delete)
    }
}

/// One value.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Value {
    /// No value.
    #[default]
    Null,
    /// BOOLEAN.
    Boolean(bool),
    /// TINYINT.
    Int8(i8),
    /// SMALLINT.
    Int16(i16),
    /// INT.
    Int32(i32),
    /// BIGINT.
    Int64(i64),
    /// FLOAT.
    Float32(f32),
    /// DOUBLE.
    Float64(f64),
    /// DECIMAL: the number without its point.
    Decimal(i128),
    /// DATE: days since 1970-01-01.
    Date(i32),
    /// TIME: milliseconds since midnight.
    Time(i32),
    /// TIMESTAMP, with or without time zone: since 1970-01-01 00:00:00.
    Timestamp {
        /// Milliseconds.
        millis: i64,
        /// Nanoseconds beyond them, 0 to 999,999.
        nanos_of_milli: i32,
    },
    /// CHAR, VARCHAR, STRING.
    String(String),
    /// BINARY, VARBINARY, BYTES.
    Bytes(Vec<u8>),
    /// ARRAY.
    Array(Vec<Value>),
    /// MAP, in the order in which the entries came.
    Map(Vec<(Value, Value)>),
    /// ROW: one value per member.
    Row(Vec<Value>),
}

impl Value {
    /// Whether this is [`Value::Null`].
    pub fn is_null(&self) -> bool {
        matches!(self, Value::Null)
    }

    /// What stands in a NOT NULL column that has no value, as in a deletion that names only its key.
    pub fn zero(data_type: &DataType) -> Value {
        match data_type {
            DataType::Boolean => Value::Boolean(false),
            DataType::TinyInt => Value::Int8(0),
            DataType::SmallInt => Value::Int16(0),
            DataType::Int => Value::Int32(0),
            DataType::BigInt => Value::Int64(0),
            DataType::Float => Value::Float32(0.0),
            DataType::Double => Value::Float64(0.0),
            DataType::Decimal { .. } => Value::Decimal(0),
            DataType::Date => Value::Date(0),
            DataType::Time { .. } => Value::Time(0),
            DataType::Timestamp { .. } | DataType::TimestampLtz { .. } => {
                Value::Timestamp { millis: 0, nanos_of_milli: 0 }
            }
            DataType::Char(_) | DataType::VarChar(_) | DataType::String => {
                Value::String(String::new())
            }
            DataType::Binary(_) | DataType::VarBinary(_) | DataType::Bytes => {
                Value::Bytes(Vec::new())
            }
            DataType::Array(_) => Value::Array(Vec::new()),
            DataType::Map(..) => Value::Map(Vec::new()),
            DataType::Row(members) => {
                let zero =
                    |column_type: &weir_protocol::table::column::ColumnType| match column_type
                        .nullable
                    {
                        true => Value::Null,
                        false => Value::zero(&column_type.data_type),
                    };
                Value::Row(members.iter().map(|member| zero(&member.column_type)).collect())
            }
        }
    }
}

/// A row: its kind and one value for each column of the table's schema.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// What it says about its key.
    pub kind: RowKind,
    /// One value per column.
    pub values: Vec<Value>,
}
