//! A value as the refold keeps it: few kinds, one total order, readable.

use std::fmt;

use crate::row::Value;

/// One value of a row.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cell {
    /// No value; before all others.
    Null,
    /// A truth.
    Boolean(bool),
    /// An integer; an unscaled decimal; days, milliseconds of the day, microseconds since 1970.
    Number(i128),
    /// A floating number by the order of its bits.
    Float(i64),
    /// Text.
    Text(String),
    /// Bytes.
    Bytes(Vec<u8>),
    /// Elements of an array, members of a row.
    List(Vec<Cell>),
    /// Entries of a map, by key.
    Entries(Vec<(Cell, Cell)>),
}

impl Cell {
    /// A floating number. All that are not numbers are the same one.
    pub fn float(number: f64) -> Cell {
        let number = if number.is_nan() { f64::NAN } else { number };
        let bits = number.to_bits().cast_signed();
        // Negative numbers grow with their bits; turned over, the order is that of the numbers.
        Cell::Float(if bits < 0 { bits ^ i64::MAX } else { bits })
    }

    /// A map, whatever the order of its entries was.
    pub fn entries(mut entries: Vec<(Cell, Cell)>) -> Cell {
        entries.sort();
        Cell::Entries(entries)
    }

    /// What the table holds.
    pub fn of(value: Value) -> Cell {
        let list = |values: Vec<Value>| Cell::List(values.into_iter().map(Cell::of).collect());
        match value {
            Value::Null => Cell::Null,
            Value::Boolean(truth) => Cell::Boolean(truth),
            Value::Int8(number) => Cell::Number(number.into()),
            Value::Int16(number) => Cell::Number(number.into()),
            Value::Int32(number) | Value::Date(number) | Value::Time(number) => {
                Cell::Number(number.into())
            }
            Value::Int64(number) => Cell::Number(number.into()),
            Value::Decimal(unscaled) => Cell::Number(unscaled),
            Value::Timestamp { millis, nanos_of_milli } => {
                Cell::Number(i128::from(millis) * 1000 + i128::from(nanos_of_milli / 1000))
            }
            Value::Float32(number) => Cell::float(number.into()),
            Value::Float64(number) => Cell::float(number),
            Value::String(text) => Cell::Text(text),
            Value::Bytes(bytes) => Cell::Bytes(bytes),
            Value::Array(values) | Value::Row(values) => list(values),
            Value::Map(entries) => {
                let entry = |(key, value)| (Cell::of(key), Cell::of(value));
                Cell::entries(entries.into_iter().map(entry).collect())
            }
        }
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Cell::Null => to.write_str("null"),
            Cell::Boolean(truth) => truth.fmt(to),
            Cell::Number(number) => number.fmt(to),
            Cell::Float(bits) => {
                let bits = if *bits < 0 { bits ^ i64::MAX } else { *bits };
                f64::from_bits(bits.cast_unsigned()).fmt(to)
            }
            Cell::Text(text) => write!(to, "{text:?}"),
            Cell::Bytes(bytes) => {
                to.write_str("0x")?;
                bytes.iter().try_for_each(|byte| write!(to, "{byte:02x}"))
            }
            Cell::List(cells) => {
                to.write_str("[")?;
                write_all(cells, to)?;
                to.write_str("]")
            }
            Cell::Entries(entries) => {
                to.write_str("{")?;
                for (at, (key, value)) in entries.iter().enumerate() {
                    let comma = if at == 0 { "" } else { ", " };
                    write!(to, "{comma}{key}: {value}")?;
                }
                to.write_str("}")
            }
        }
    }
}

fn write_all(cells: &[Cell], to: &mut fmt::Formatter<'_>) -> fmt::Result {
    for (at, cell) in cells.iter().enumerate() {
        let comma = if at == 0 { "" } else { ", " };
        write!(to, "{comma}{cell}")?;
    }
    Ok(())
}

/// Cells for people.
pub fn shown(cells: &[Cell]) -> String {
    Cell::List(cells.to_vec()).to_string()
}
