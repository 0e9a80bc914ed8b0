//! Reads JSON values into the columns of a table, by the column's type and the value's encoding.
//!
//! | column | taken from JSON |
//! |---|---|
//! | BOOLEAN | `true`, `false`; the strings of that; 0 and 1 |
//! | integers | numbers without fraction, and strings of them |
//! | FLOAT, DOUBLE | numbers, strings of them, `"NaN"`, `"Infinity"`, `"-Infinity"` |
//! | DECIMAL | numbers and strings of them; digits beyond the scale must be zeroes |
//! | DATE | `"2024-02-29"`; a number is days since 1970 |
//! | TIME | `"12:30:15.123"`; a number is milliseconds since midnight |
//! | TIMESTAMP | ISO 8601, an offset is applied, without one UTC; a number is since 1970: milliseconds up to precision 3, microseconds from 4 on |
//! | STRING, CHAR, VARCHAR | strings; other values as the JSON text that stands there |
//! | BYTES, BINARY, VARBINARY | base64 |
//! | ARRAY, MAP, ROW | arrays, objects, objects |
//!
//! The last of fields with the same name counts, even where an earlier one does not fit.

use std::borrow::Cow;
use std::collections::HashMap;

use weir_protocol::table::column::{Column, ColumnType, DataType};

use crate::decode::decimal_habit::DecimalHabit;
use crate::decode::encoding::Encoding;
use crate::decode::fitting::{
    check_available, decimal_value, finite, integer_of, not_finite, number, of_bytes, of_length,
    refuse, text, variable_scale,
};
use crate::decode::scalar;
use crate::decode::scanner::{Kind, Scanner};
use crate::decode::{Fault, quoted};
use crate::row::Value;

/// From this many entries on a map looks keys up by hash.
const ENTRIES_LINEAR_MAX: usize = 16;

/// Reads objects into rows of a table.
#[derive(Debug)]
pub(super) struct RowReader {
    columns: Vec<Column>,
    places: HashMap<String, usize>,
    not_null: Vec<usize>,
    pub(super) habit: DecimalHabit,
    /// Set when a field was met that is no column (or member); the caller resets it.
    pub(super) met_unknown: bool,
}

impl RowReader {
    pub(super) fn new(columns: &[Column]) -> Self {
        let place = |(place, column): (usize, &Column)| (column.name.clone(), place);
        let is_not_null = |(_, column): &(usize, &Column)| !column.column_type.nullable;
        Self {
            places: columns.iter().enumerate().map(place).collect(),
            not_null: columns
                .iter()
                .enumerate()
                .filter(is_not_null)
                .map(|(place, _)| place)
                .collect(),
            columns: columns.to_vec(),
            habit: DecimalHabit::Unknown,
            met_unknown: false,
        }
    }

    /// A row of nulls.
    pub(super) fn empty_row(&self) -> Vec<Value> {
        vec![Value::Null; self.columns.len()]
    }

    /// The name of a NOT NULL column without value.
    pub(super) fn missing(&self, values: &[Value]) -> Option<&str> {
        let place = self.not_null.iter().find(|place| values[**place].is_null())?;
        Some(&self.columns[*place].name)
    }

    /// Reads an object's fields into the row. Columns that `wanted` does not want are passed over.
    pub(super) fn read(
        &mut self,
        scanner: &mut Scanner<'_>,
        encodings: &[Encoding],
        wanted: impl Fn(usize) -> bool,
        values: &mut [Value],
    ) -> Result<(), Fault> {
        scanner.enter_object()?;
        let habit_before = self.habit;
        let mut faults = Faults::default();
        let mut first = true;
        // Fields mostly come in the order of the columns.
        let mut guess = 0;
        while let Some(name) = scanner.next_key(first)? {
            first = false;
            let place = match self.columns.get(guess) {
                Some(column) if column.name == name => Some(guess),
                _ => self.places.get(name.as_ref()).copied(),
            };
            let Some(place) = place else {
                self.note_unknown(scanner)?;
                continue;
            };
            guess = place + 1;
            if !wanted(place) {
                scanner.skip()?;
                continue;
            }
            let column = &self.columns[place];
            let encoding = encodings.get(place).unwrap_or(&Encoding::Plain);
            let mut values_reader =
                ValueReader { habit: &mut self.habit, met_unknown: &mut self.met_unknown };
            values[place] = values_reader.field(scanner, place, column, encoding, &mut faults)?;
        }
        // A record that is refused teaches nothing.
        faults.first().inspect_err(|_| self.habit = habit_before)
    }

    /// A field that is no column: worth a look if it has a value.
    fn note_unknown(&mut self, scanner: &mut Scanner<'_>) -> Result<(), Fault> {
        self.met_unknown |= scanner.peek()? != Kind::Null;
        scanner.skip()?;
        Ok(())
    }
}

/// Fields of one object whose values do not fit, by place; a later field of the same name may.
#[derive(Default)]
struct Faults(Vec<(usize, Fault)>);

impl Faults {
    /// Takes the place of what was said of it before: a value, or null and a fault that waits.
    fn settle<'t>(
        &mut self,
        scanner: &mut Scanner<'t>,
        start: Scanner<'t>,
        place: usize,
        outcome: Result<Value, Fault>,
        name: impl FnOnce() -> String,
    ) -> Result<Value, Fault> {
        self.0.retain(|(known, _)| *known != place);
        match outcome {
            Err(fault @ Fault::Value { .. }) => {
                *scanner = start;
                scanner.skip()?;
                self.0.push((place, fault.within(&name())));
                Ok(Value::Null)
            }
            other => other,
        }
    }

    fn first(self) -> Result<(), Fault> {
        self.0.into_iter().next().map_or(Ok(()), |(_, fault)| Err(fault))
    }
}

/// Reads single values; what it learns on the way belongs to the [`RowReader`].
struct ValueReader<'r> {
    habit: &'r mut DecimalHabit,
    met_unknown: &'r mut bool,
}

impl ValueReader<'_> {
    /// The value of a field; null if it does not fit, for the last of its name decides.
    fn field(
        &mut self,
        scanner: &mut Scanner<'_>,
        place: usize,
        column: &Column,
        encoding: &Encoding,
        faults: &mut Faults,
    ) -> Result<Value, Fault> {
        let start = scanner.clone();
        let value = self.value(scanner, &column.column_type, encoding);
        faults.settle(scanner, start, place, value, || column.name.clone())
    }

    fn value(
        &mut self,
        scanner: &mut Scanner<'_>,
        column_type: &ColumnType,
        encoding: &Encoding,
    ) -> Result<Value, Fault> {
        let kind = scanner.peek()?;
        if kind == Kind::Null {
            scanner.null()?;
            return Ok(Value::Null);
        }
        let data_type = &column_type.data_type;
        match (data_type, kind) {
            (DataType::Char(length) | DataType::VarChar(length), _) => {
                text(scanner, kind, encoding).and_then(|text| of_length(text, *length, data_type))
            }
            (DataType::String, _) => text(scanner, kind, encoding).map(Value::String),
            (DataType::Array(element), Kind::Array) => self.array(scanner, element, encoding),
            (DataType::Map(key, value), Kind::Object) => self.map(scanner, key, value, encoding),
            (DataType::Row(members), Kind::Object) => self.row(scanner, members, encoding),
            (DataType::Decimal { .. }, Kind::Object) if *encoding != Encoding::Plain => {
                let (unscaled, scale) = variable_scale(scanner)?;
                decimal_value(unscaled, scale, data_type)
            }
            (_, Kind::Number) => number(scanner.number()?, data_type, encoding),
            (DataType::Boolean, Kind::Boolean) => Ok(Value::Boolean(scanner.boolean()?)),
            (DataType::Array(_) | DataType::Map(..) | DataType::Row(_), _) => {
                let text = scanner.skip()?;
                refuse(data_type, kind, text)
            }
            (_, Kind::String) => {
                let text = scanner.string()?;
                if *encoding != Encoding::Plain {
                    check_available(&text)?;
                }
                self.scalar_text(&text, data_type, encoding)
            }
            _ => {
                let text = scanner.skip()?;
                refuse(data_type, kind, text)
            }
        }
    }

    fn scalar_text(
        &mut self,
        text: &str,
        data_type: &DataType,
        encoding: &Encoding,
    ) -> Result<Value, Fault> {
        let value = match data_type {
            DataType::Boolean if text.eq_ignore_ascii_case("true") => Some(Value::Boolean(true)),
            DataType::Boolean if text.eq_ignore_ascii_case("false") => Some(Value::Boolean(false)),
            DataType::Decimal { .. } => return self.decimal_text(text, data_type, encoding),
            DataType::Float | DataType::Double => match text {
                "NaN" => Some(not_finite(data_type, f32::NAN, f64::NAN)),
                "Infinity" => Some(not_finite(data_type, f32::INFINITY, f64::INFINITY)),
                "-Infinity" => Some(not_finite(data_type, f32::NEG_INFINITY, f64::NEG_INFINITY)),
                _ => finite(text, data_type),
            },
            DataType::Date => scalar::date(text).map(Value::Date),
            DataType::Time { precision } => {
                scalar::time(text).and_then(|nanos| scalar::cut_time(nanos / 1_000_000, *precision))
            }
            DataType::Timestamp { precision } | DataType::TimestampLtz { precision } => {
                scalar::timestamp(text).and_then(|at| scalar::cut_timestamp(at, *precision))
            }
            DataType::Binary(_) | DataType::VarBinary(_) | DataType::Bytes => {
                return scalar::base64(text)
                    .ok_or_else(|| Fault::value(format!("{} is not base64", quoted(text))))
                    .and_then(|bytes| of_bytes(bytes, data_type));
            }
            _ => integer_of(text, data_type),
        };
        value.map_or_else(|| refuse(data_type, Kind::String, text), Ok)
    }

    fn decimal_text(
        &mut self,
        text: &str,
        data_type: &DataType,
        encoding: &Encoding,
    ) -> Result<Value, Fault> {
        let DataType::Decimal { scale, .. } = data_type else {
            return refuse(data_type, Kind::String, text);
        };
        let unscaled = || scalar::base64(text).and_then(|bytes| scalar::big_endian(&bytes));
        let (number, from_scale) = match encoding {
            Encoding::Unscaled(from_scale) => (unscaled(), *from_scale),
            Encoding::Debezium => match self.habit.of(text, *scale)? {
                DecimalHabit::Digits => (scalar::decimal(text, *scale), i32::from(*scale)),
                _ => (unscaled(), i32::from(*scale)),
            },
            _ => (scalar::decimal(text, *scale), i32::from(*scale)),
        };
        match number {
            Some(number) => decimal_value(number, from_scale, data_type),
            None => refuse(data_type, Kind::String, text),
        }
    }

    fn array(
        &mut self,
        scanner: &mut Scanner<'_>,
        element: &ColumnType,
        encoding: &Encoding,
    ) -> Result<Value, Fault> {
        let encoding = encoding.of_elements();
        let mut values = Vec::new();
        scanner.enter_array()?;
        while scanner.next_element(values.is_empty())? {
            let value = self.value(scanner, element, encoding);
            let value = value.and_then(|value| not_null(value, element));
            values.push(value.map_err(|fault| fault.within(&format!("[{}]", values.len())))?);
        }
        Ok(Value::Array(values))
    }

    fn map(
        &mut self,
        scanner: &mut Scanner<'_>,
        key_type: &ColumnType,
        value_type: &ColumnType,
        encoding: &Encoding,
    ) -> Result<Value, Fault> {
        let mut entries: Vec<(Value, Value)> = Vec::new();
        let mut places: HashMap<String, usize> = HashMap::new();
        let mut faults = Faults::default();
        scanner.enter_object()?;
        let mut first = true;
        while let Some(name) = scanner.next_key(first)? {
            first = false;
            let key = match &key_type.data_type {
                DataType::String => Ok(Value::String(name.as_ref().to_owned())),
                other => self.key(&name, other).map_err(|fault| fault.within("(a key)")),
            }?;
            let known = match places.is_empty() {
                true => entries.iter().position(|(known, _)| *known == key),
                false => places.get(identity(&key).as_ref()).copied(),
            };
            let place = known.unwrap_or(entries.len());
            let start = scanner.clone();
            let value = self.value(scanner, value_type, encoding.of_elements());
            let value = value.and_then(|value| not_null(value, value_type));
            let in_brackets = || format!("[{}]", quoted(&name));
            let value = faults.settle(scanner, start, place, value, in_brackets)?;
            match known {
                Some(place) => entries[place].1 = value,
                None => {
                    entries.push((key, value));
                    if !places.is_empty() || entries.len() > ENTRIES_LINEAR_MAX {
                        index_entries(&mut places, &entries);
                    }
                }
            }
        }
        faults.first().map(|()| Value::Map(entries))
    }

    fn key(&mut self, name: &str, data_type: &DataType) -> Result<Value, Fault> {
        match data_type {
            DataType::Char(length) | DataType::VarChar(length) => {
                of_length(name.to_owned(), *length, data_type)
            }
            DataType::Date | DataType::Time { .. } | DataType::Timestamp { .. }
                if name.parse::<i64>().is_ok() =>
            {
                number(name, data_type, &Encoding::Plain)
            }
            _ => self.scalar_text(name, data_type, &Encoding::Plain),
        }
    }

    fn row(
        &mut self,
        scanner: &mut Scanner<'_>,
        members: &[Column],
        encoding: &Encoding,
    ) -> Result<Value, Fault> {
        let mut values = vec![Value::Null; members.len()];
        let mut faults = Faults::default();
        let mut guess = 0;
        let mut first = true;
        scanner.enter_object()?;
        while let Some(name) = scanner.next_key(first)? {
            first = false;
            let place = match members.get(guess) {
                Some(member) if member.name == name => Some(guess),
                _ => members.iter().position(|member| member.name == name),
            };
            let Some(place) = place else {
                *self.met_unknown |= scanner.peek()? != Kind::Null;
                scanner.skip()?;
                continue;
            };
            guess = place + 1;
            let member = &members[place];
            let encoding = encoding.of_member(&member.name);
            values[place] = self.field(scanner, place, member, encoding, &mut faults)?;
        }
        faults.first()?;
        for (value, member) in values.iter().zip(members) {
            if value.is_null() && !member.column_type.nullable {
                return Err(Fault::value("it is NOT NULL and has no value").within(&member.name));
            }
        }
        Ok(Value::Row(values))
    }
}

/// Keys by what they are, once a map is large: `1` and `01` are one number.
fn index_entries(places: &mut HashMap<String, usize>, entries: &[(Value, Value)]) {
    let from = if places.is_empty() { 0 } else { entries.len() - 1 };
    for (place, (key, _)) in entries.iter().enumerate().skip(from) {
        places.insert(identity(key).into_owned(), place);
    }
}

/// Tells a key from all others of its type.
fn identity(key: &Value) -> Cow<'_, str> {
    match key {
        Value::String(text) => Cow::Borrowed(text),
        other => Cow::Owned(format!("{other:?}")),
    }
}

fn not_null(value: Value, column_type: &ColumnType) -> Result<Value, Fault> {
    match value.is_null() && !column_type.nullable {
        true => Err(Fault::value("it is NOT NULL and has no value")),
        false => Ok(value),
    }
}
