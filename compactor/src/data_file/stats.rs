//! Smallest and largest values and null counts of columns, as manifests keep them. PURE.
//!
//! What must hold: no value of the column is below the minimum or above the maximum, for readers
//! skip files by them. Nested columns have no statistics: null everywhere, count included. Readers
//! disagree on the order of floats, so a column with a NaN has no minimum and maximum, and a zero
//! that is one stands with the sign that lies outside (Parquet's rule).

use arrow_array::cast::AsArray;
use arrow_array::types::{
    ArrowPrimitiveType, Date32Type, Decimal128Type, Float32Type, Float64Type, Int8Type, Int16Type,
    Int32Type, Int64Type, Time32MillisecondType, TimestampMicrosecondType,
    TimestampMillisecondType,
};
use arrow_array::{Array, ArrayRef};
use arrow_schema::{DataType as ArrowType, TimeUnit};
use weir_protocol::table::column::{ColumnType, DataType};

use crate::binary_row::{BinaryRow, compare_values};
use crate::data_file::SimpleStats;
use crate::data_file::values::value_at;
use crate::row::Value;

/// Characters (of text) and bytes that stay of a truncated value.
const TRUNCATED_LENGTH: usize = 16;

/// How long values are kept.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum StatsMode {
    /// Whole, as for keys.
    Full,
    /// Text and bytes to 16; Paimon's default for columns.
    Truncated,
}

/// Gathers the statistics of some columns over many batches.
#[derive(Debug)]
pub struct StatsCollector {
    mode: StatsMode,
    columns: Vec<ColumnStats>,
}

#[derive(Debug)]
struct ColumnStats {
    column_type: ColumnType,
    min: Value,
    max: Value,
    null_count: i64,
    has_nan: bool,
}

impl StatsCollector {
    /// Statistics of columns of these types.
    pub fn new(types: Vec<ColumnType>, mode: StatsMode) -> Self {
        let column = |column_type| ColumnStats {
            column_type,
            min: Value::Null,
            max: Value::Null,
            null_count: 0,
            has_nan: false,
        };
        Self { mode, columns: types.into_iter().map(column).collect() }
    }

    /// Looks at one more batch: an array per column.
    pub fn update<'a>(&mut self, arrays: impl Iterator<Item = &'a ArrayRef>) {
        for (column, array) in self.columns.iter_mut().zip(arrays) {
            column.update(array);
        }
    }

    /// What was gathered.
    pub fn finish(self) -> SimpleStats {
        let mut mins = Vec::with_capacity(self.columns.len());
        let mut maxs = Vec::with_capacity(self.columns.len());
        let mut types = Vec::with_capacity(self.columns.len());
        let mut null_counts = Vec::with_capacity(self.columns.len());
        for column in self.columns {
            let is_nested = column.column_type.data_type.is_nested();
            null_counts.push((!is_nested).then_some(column.null_count));
            let (min, max) = match (column.has_nan, self.mode) {
                (true, _) => (Value::Null, Value::Null),
                (false, StatsMode::Full) => (column.min, column.max),
                (false, StatsMode::Truncated) => truncated(column.min, column.max),
            };
            mins.push(min);
            maxs.push(max);
            types.push(column.column_type);
        }
        SimpleStats {
            min: BinaryRow::from_values(&mins, &types),
            max: BinaryRow::from_values(&maxs, &types),
            null_counts,
        }
    }
}

impl ColumnStats {
    fn update(&mut self, array: &ArrayRef) {
        self.null_count += array.null_count() as i64;
        let Some((min_row, max_row)) = extremes(array) else { return };
        let data_type: &DataType = &self.column_type.data_type;
        let min = zero_with_sign(value_at(array, min_row, data_type), -0.0);
        let max = zero_with_sign(value_at(array, max_row, data_type), 0.0);
        // In the order of `extremes` a NaN is the largest or, with its sign bit set, the smallest.
        self.has_nan |= is_nan(&min) || is_nan(&max);
        if self.min.is_null() || compare_values(&min, &self.min).is_lt() {
            self.min = min;
        }
        if self.max.is_null() || compare_values(&max, &self.max).is_gt() {
            self.max = max;
        }
    }
}

/// Rows of the smallest and of the largest value; `None` if there is none, or no order.
fn extremes(array: &ArrayRef) -> Option<(usize, usize)> {
    fn primitive<T: ArrowPrimitiveType<Native: Ord>>(array: &ArrayRef) -> Option<(usize, usize)> {
        let values = array.as_primitive::<T>();
        by(array, |row| values.value(row))
    }
    match array.data_type() {
        ArrowType::Boolean => {
            let values = array.as_boolean();
            by(array, |row| values.value(row))
        }
        ArrowType::Int8 => primitive::<Int8Type>(array),
        ArrowType::Int16 => primitive::<Int16Type>(array),
        ArrowType::Int32 => primitive::<Int32Type>(array),
        ArrowType::Int64 => primitive::<Int64Type>(array),
        ArrowType::Float32 => {
            let values = array.as_primitive::<Float32Type>();
            by(array, |row| ordered_32(values.value(row)))
        }
        ArrowType::Float64 => {
            let values = array.as_primitive::<Float64Type>();
            by(array, |row| ordered_64(values.value(row)))
        }
        ArrowType::Decimal128(..) => primitive::<Decimal128Type>(array),
        ArrowType::Date32 => primitive::<Date32Type>(array),
        ArrowType::Time32(_) => primitive::<Time32MillisecondType>(array),
        ArrowType::Timestamp(TimeUnit::Millisecond, _) => {
            primitive::<TimestampMillisecondType>(array)
        }
        ArrowType::Timestamp(TimeUnit::Microsecond, _) => {
            primitive::<TimestampMicrosecondType>(array)
        }
        ArrowType::Utf8 => {
            let values = array.as_string::<i32>();
            by(array, |row| values.value(row).as_bytes())
        }
        ArrowType::Binary => {
            let values = array.as_binary::<i32>();
            by(array, |row| values.value(row))
        }
        _ => None,
    }
}

fn by<T: Ord>(array: &ArrayRef, value: impl Fn(usize) -> T) -> Option<(usize, usize)> {
    let mut rows = (0..array.len()).filter(|row| array.is_valid(*row));
    let first = rows.next()?;
    let (mut min, mut max) = (value(first), value(first));
    let (mut min_row, mut max_row) = (first, first);
    for row in rows {
        let value = value(row);
        if value < min {
            (min, min_row) = (value, row);
        } else if value > max {
            (max, max_row) = (value, row);
        }
    }
    Some((min_row, max_row))
}

/// Bits in the order of `f32::total_cmp`.
fn ordered_32(value: f32) -> i32 {
    let bits = value.to_bits().cast_signed();
    bits ^ ((bits >> 31).cast_unsigned() >> 1).cast_signed()
}

/// Bits in the order of `f64::total_cmp`.
fn ordered_64(value: f64) -> i64 {
    let bits = value.to_bits().cast_signed();
    bits ^ ((bits >> 63).cast_unsigned() >> 1).cast_signed()
}

fn is_nan(value: &Value) -> bool {
    match value {
        Value::Float32(value) => value.is_nan(),
        Value::Float64(value) => value.is_nan(),
        _ => false,
    }
}

/// A zero of either sign becomes the given one; some readers hold them for equal, some do not.
fn zero_with_sign(value: Value, zero: f32) -> Value {
    match value {
        Value::Float32(0.0) => Value::Float32(zero),
        Value::Float64(0.0) => Value::Float64(f64::from(zero)),
        other => other,
    }
}

/// Both ends cut to length; if nothing above the maximum can be named, none of them is kept.
fn truncated(min: Value, max: Value) -> (Value, Value) {
    match (min, max) {
        (Value::String(min), Value::String(max)) => match text_above(&max) {
            Some(max) => (Value::String(text_start(&min).to_owned()), Value::String(max)),
            None => (Value::Null, Value::Null),
        },
        (Value::Bytes(mut min), Value::Bytes(max)) => match bytes_above(max) {
            Some(max) => {
                min.truncate(TRUNCATED_LENGTH);
                (Value::Bytes(min), Value::Bytes(max))
            }
            None => (Value::Null, Value::Null),
        },
        both => both,
    }
}

fn text_start(text: &str) -> &str {
    let end = text.char_indices().nth(TRUNCATED_LENGTH).map_or(text.len(), |(end, _)| end);
    &text[..end]
}

/// The text, or a text of at most 16 characters above all that begin as it does.
fn text_above(text: &str) -> Option<String> {
    let start = text_start(text);
    if start.len() == text.len() {
        return Some(text.to_owned());
    }
    let mut letters: Vec<char> = start.chars().collect();
    while let Some(last) = letters.pop() {
        let next = if last == '\u{d7ff}' { '\u{e000}' as u32 } else { last as u32 + 1 };
        if let Some(next) = char::from_u32(next) {
            letters.push(next);
            return Some(letters.into_iter().collect());
        }
    }
    None
}

fn bytes_above(mut bytes: Vec<u8>) -> Option<Vec<u8>> {
    if bytes.len() <= TRUNCATED_LENGTH {
        return Some(bytes);
    }
    bytes.truncate(TRUNCATED_LENGTH);
    while let Some(last) = bytes.pop() {
        if last < 0xff {
            bytes.push(last + 1);
            return Some(bytes);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::Float64Array;

    use super::*;

    #[test]
    fn a_truncated_maximum_is_above_and_a_minimum_below() {
        assert_eq!(text_above("short"), Some("short".to_owned()));
        assert_eq!(text_above("0123456789abcdefg"), Some("0123456789abcdeg".to_owned()));
        let highest = "\u{10ffff}".repeat(17);
        assert_eq!(text_above(&highest), None);
        assert_eq!(text_above(&format!("a{highest}")), Some("b".to_owned()));
        let before_surrogates = "\u{d7ff}".repeat(17);
        let above = text_above(&before_surrogates).unwrap();
        assert!(above > before_surrogates && above.ends_with('\u{e000}'));
        assert_eq!(text_start("éééééééééééééééééé"), "é".repeat(16));
        assert_eq!(bytes_above(vec![0xff; 17]), None);
        assert_eq!(bytes_above([vec![1], vec![0xff; 16]].concat()), Some(vec![2]));
    }

    fn stats_of(batches: &[&[Option<f64>]]) -> (Vec<Value>, Vec<Value>, Vec<Option<i64>>) {
        let types = [DataType::Double.nullable()];
        let mut stats = StatsCollector::new(types.to_vec(), StatsMode::Full);
        for batch in batches {
            let array: ArrayRef = Arc::new(Float64Array::from(batch.to_vec()));
            stats.update([&array].into_iter());
        }
        let stats = stats.finish();
        (
            stats.min.to_values(&types).unwrap(),
            stats.max.to_values(&types).unwrap(),
            stats.null_counts,
        )
    }

    #[test]
    fn a_nan_leaves_no_minimum_and_no_maximum_in_any_order_of_readers() {
        let unknown = (vec![Value::Null], vec![Value::Null], vec![Some(1)]);
        for nan in [f64::NAN, -f64::NAN] {
            assert_eq!(stats_of(&[&[Some(1.0), None], &[Some(nan), Some(2.0)]]), unknown);
            assert_eq!(stats_of(&[&[Some(nan), None], &[Some(2.0)]]), unknown);
        }
        let (min, max, _) = stats_of(&[&[Some(f64::INFINITY), Some(-1.5)], &[None]]);
        assert_eq!((min, max), (vec![Value::Float64(-1.5)], vec![Value::Float64(f64::INFINITY)]));
    }

    #[test]
    fn a_zero_at_an_end_has_the_sign_that_lies_outside() {
        let bits = |value: &Value| match value {
            Value::Float64(value) => value.to_bits(),
            other => panic!("{other:?}"),
        };
        for zero in [0.0, -0.0] {
            let (min, max, _) = stats_of(&[&[Some(zero)]]);
            assert_eq!(bits(&min[0]), (-0.0_f64).to_bits());
            assert_eq!(bits(&max[0]), 0.0_f64.to_bits());
        }
    }

    #[test]
    fn floats_are_ordered_with_nan_last() {
        let sorted = [f64::NEG_INFINITY, -1.0, -0.0, 0.0, 1.0, f64::INFINITY, f64::NAN];
        assert!(sorted.map(ordered_64).is_sorted());
        assert!(sorted.map(|value| ordered_32(value as f32)).is_sorted());
    }
}
