//! Column types as Paimon names them; `Display` gives Paimon's own type strings.
//!
//! What must hold: a type that is displayed and parsed again (`sql::parse_type`) is the same type.

use std::fmt;

/// The longest CHAR, VARCHAR, BINARY and VARBINARY; a VARCHAR of this length is STRING.
pub const LENGTH_MAX: u32 = i32::MAX as u32;

/// What a column holds, without its nullability.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum DataType {
    /// True or false.
    Boolean,
    /// 8 bits, signed.
    TinyInt,
    /// 16 bits, signed.
    SmallInt,
    /// 32 bits, signed.
    Int,
    /// 64 bits, signed.
    BigInt,
    /// IEEE 754, 32 bits.
    Float,
    /// IEEE 754, 64 bits.
    Double,
    /// An exact number of `precision` digits, `scale` of them behind the point.
    Decimal {
        /// Digits in all, 1 to 38.
        precision: u8,
        /// Digits behind the point, 0 to `precision`.
        scale: u8,
    },
    /// A day.
    Date,
    /// A time of day, kept to the millisecond.
    Time {
        /// Digits of the second's fraction, 0 to 3.
        precision: u8,
    },
    /// Text of this many characters.
    Char(u32),
    /// Text of at most this many characters.
    VarChar(u32),
    /// Text.
    String,
    /// This many bytes.
    Binary(u32),
    /// At most this many bytes.
    VarBinary(u32),
    /// Bytes.
    Bytes,
    /// A date and a time of day, of no time zone.
    Timestamp {
        /// Digits of the second's fraction.
        precision: u8,
    },
    /// An instant, shown in the reader's time zone.
    TimestampLtz {
        /// Digits of the second's fraction.
        precision: u8,
    },
    /// Elements of one type.
    Array(Box<ColumnType>),
    /// Keys and values of one type each.
    Map(Box<ColumnType>, Box<ColumnType>),
    /// Named members.
    Row(Vec<Column>),
}

impl DataType {
    /// Whether the type is made of other types; such columns cannot be keys.
    pub fn is_nested(&self) -> bool {
        matches!(self, DataType::Array(_) | DataType::Map(..) | DataType::Row(_))
    }

    /// Whether every reader makes the same text of a value. Only then can a column partition a
    /// table: readers work out the folder of a file from that text. Digits of floats differ between
    /// languages, instants are shown in the reader's own time zone, bytes are no text.
    pub fn has_one_text(&self) -> bool {
        let differs = matches!(
            self,
            DataType::Float
                | DataType::Double
                | DataType::TimestampLtz { .. }
                | DataType::Binary(_)
                | DataType::VarBinary(_)
                | DataType::Bytes
        );
        !differs && !self.is_nested()
    }

    /// This type, admitting null.
    pub fn nullable(self) -> ColumnType {
        ColumnType { data_type: self, nullable: true }
    }

    /// This type, refusing null.
    pub fn not_null(self) -> ColumnType {
        ColumnType { data_type: self, nullable: false }
    }
}

impl fmt::Display for DataType {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DataType::Boolean => out.write_str("BOOLEAN"),
            DataType::TinyInt => out.write_str("TINYINT"),
            DataType::SmallInt => out.write_str("SMALLINT"),
            DataType::Int => out.write_str("INT"),
            DataType::BigInt => out.write_str("BIGINT"),
            DataType::Float => out.write_str("FLOAT"),
            DataType::Double => out.write_str("DOUBLE"),
            DataType::Decimal { precision, scale } => write!(out, "DECIMAL({precision}, {scale})"),
            DataType::Date => out.write_str("DATE"),
            DataType::Time { precision } => write!(out, "TIME({precision})"),
            DataType::Char(length) => write!(out, "CHAR({length})"),
            DataType::VarChar(length) => write!(out, "VARCHAR({length})"),
            DataType::String => out.write_str("STRING"),
            DataType::Binary(length) => write!(out, "BINARY({length})"),
            DataType::VarBinary(length) => write!(out, "VARBINARY({length})"),
            DataType::Bytes => out.write_str("BYTES"),
            DataType::Timestamp { precision } => write!(out, "TIMESTAMP({precision})"),
            DataType::TimestampLtz { precision } => {
                write!(out, "TIMESTAMP({precision}) WITH LOCAL TIME ZONE")
            }
            DataType::Array(element) => write!(out, "ARRAY<{element}>"),
            DataType::Map(key, value) => write!(out, "MAP<{key}, {value}>"),
            DataType::Row(members) => {
                out.write_str("ROW<")?;
                for (place, member) in members.iter().enumerate() {
                    let comma = if place == 0 { "" } else { ", " };
                    write!(out, "{comma}{member}")?;
                }
                out.write_str(">")
            }
        }
    }
}

/// A data type and whether it admits null.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ColumnType {
    /// What it holds.
    pub data_type: DataType,
    /// Whether it may hold null.
    pub nullable: bool,
}

impl fmt::Display for ColumnType {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let suffix = if self.nullable { "" } else { " NOT NULL" };
        write!(out, "{}{suffix}", self.data_type)
    }
}

/// A named column of a table, or a member of a ROW.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Column {
    /// The field id: given once, in the order of declaration, ROW members from the same counter.
    pub id: i32,
    /// The name, in the writing of the declaration.
    pub name: String,
    /// The type.
    pub column_type: ColumnType,
}

impl fmt::Display for Column {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "`{}` {}", self.name.replace('`', "``"), self.column_type)
    }
}

/// Gives every column and every ROW member its field id, from `next` on; returns the id after the last.
pub fn number_columns(columns: &mut [Column], mut next: i32) -> i32 {
    for column in columns {
        column.id = next;
        next = number_members(&mut column.column_type, next + 1);
    }
    next
}

fn number_members(column_type: &mut ColumnType, next: i32) -> i32 {
    match &mut column_type.data_type {
        DataType::Array(element) => number_members(element, next),
        DataType::Map(key, value) => {
            let next = number_members(key, next);
            number_members(value, next)
        }
        DataType::Row(members) => number_columns(members, next),
        _ => next,
    }
}
