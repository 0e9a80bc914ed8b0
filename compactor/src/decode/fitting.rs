//! Scalars of JSON as values of a column's type, or the reason why they do not fit. PURE.

use weir_protocol::table::column::DataType;

use crate::decode::encoding::Encoding;
use crate::decode::scalar;
use crate::decode::scanner::{Kind, Scanner};
use crate::decode::{Fault, quoted};
use crate::row::Value;

/// What Debezium writes for a large value that an update did not touch and the log does not hold.
const UNAVAILABLE: &str = "__debezium_unavailable_value";
/// The same as base64.
const UNAVAILABLE_BASE64: &str = "X19kZWJleml1bV91bmF2YWlsYWJsZV92YWx1ZQ==";

/// The text of any value: strings without quotes, the rest as it stands.
pub(super) fn text(
    scanner: &mut Scanner<'_>,
    kind: Kind,
    encoding: &Encoding,
) -> Result<String, Fault> {
    match (kind, encoding) {
        (Kind::String, Encoding::Plain) => Ok(scanner.string()?.into_owned()),
        (Kind::String, Encoding::Unscaled(scale)) => {
            let text = scanner.string()?;
            check_available(&text)?;
            let number = scalar::base64(&text).and_then(|bytes| scalar::big_endian(&bytes));
            let number = number.filter(|_| scale.unsigned_abs() < 1000);
            match number {
                Some(number) => Ok(scalar::decimal_text(number, *scale)),
                None => Err(Fault::value(format!("{} is no unscaled number", quoted(&text)))),
            }
        }
        (Kind::String, _) => {
            let text = scanner.string()?;
            check_available(&text)?;
            Ok(text.into_owned())
        }
        (Kind::Object, Encoding::VariableScale) => {
            let (unscaled, scale) = variable_scale(scanner)?;
            Ok(scalar::decimal_text(unscaled, scale))
        }
        _ => Ok(scanner.skip()?.to_owned()),
    }
}

pub(super) fn check_available(text: &str) -> Result<(), Fault> {
    if text != UNAVAILABLE && text != UNAVAILABLE_BASE64 {
        return Ok(());
    }
    Err(Fault::value(
        "the change record does not hold its value, which the update left as it was: give the \
         source table REPLICA IDENTITY FULL",
    ))
}

pub(super) fn number(
    text: &str,
    data_type: &DataType,
    encoding: &Encoding,
) -> Result<Value, Fault> {
    let long = || text.parse::<i64>().ok();
    let value = match (data_type, encoding) {
        (DataType::Boolean, _) => match text {
            "0" => Some(Value::Boolean(false)),
            "1" => Some(Value::Boolean(true)),
            _ => None,
        },
        (DataType::Float | DataType::Double, _) => finite(text, data_type),
        (DataType::Decimal { scale, .. }, _) => {
            return match scalar::decimal(text, *scale) {
                Some(number) => decimal_value(number, i32::from(*scale), data_type),
                None => refuse(data_type, Kind::Number, text),
            };
        }
        (DataType::Date, _) => text.parse().ok().map(Value::Date),
        (DataType::Time { precision }, Encoding::PerSecond(per_second)) => {
            let per_milli = (per_second / 1000).max(1);
            long().and_then(|units| scalar::cut_time(units.div_euclid(per_milli), *precision))
        }
        (DataType::Time { precision }, _) => {
            long().and_then(|millis| scalar::cut_time(millis, *precision))
        }
        (DataType::Timestamp { precision } | DataType::TimestampLtz { precision }, encoding) => {
            let per_second = match encoding {
                Encoding::PerSecond(per_second) => *per_second,
                _ if *precision <= 3 => 1_000,
                _ => 1_000_000,
            };
            let at = long().map(|units| scalar::timestamp_of(units, per_second));
            at.and_then(|at| scalar::cut_timestamp(at, *precision))
        }
        _ => integer_of(text, data_type),
    };
    value.map_or_else(|| refuse(data_type, Kind::Number, text), Ok)
}

pub(super) fn integer_of(text: &str, data_type: &DataType) -> Option<Value> {
    let number = scalar::integer(text)?;
    match data_type {
        DataType::TinyInt => number.try_into().ok().map(Value::Int8),
        DataType::SmallInt => number.try_into().ok().map(Value::Int16),
        DataType::Int => number.try_into().ok().map(Value::Int32),
        DataType::BigInt => Some(Value::Int64(number)),
        _ => None,
    }
}

/// A number that fits; JSON has no infinity, so one is a number beyond the type's range.
pub(super) fn finite(text: &str, data_type: &DataType) -> Option<Value> {
    let is_number =
        text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E'));
    if !is_number {
        return None;
    }
    match data_type {
        DataType::Float => {
            text.parse().ok().filter(|number: &f32| number.is_finite()).map(Value::Float32)
        }
        _ => text.parse().ok().filter(|number: &f64| number.is_finite()).map(Value::Float64),
    }
}

pub(super) fn not_finite(data_type: &DataType, float: f32, double: f64) -> Value {
    match data_type {
        DataType::Float => Value::Float32(float),
        _ => Value::Float64(double),
    }
}

pub(super) fn decimal_value(
    number: i128,
    from_scale: i32,
    data_type: &DataType,
) -> Result<Value, Fault> {
    let DataType::Decimal { precision, scale } = data_type else {
        return Err(Fault::value(format!("a decimal is no {data_type}")));
    };
    let value = scalar::rescale(number, from_scale, i32::from(*scale));
    match value.filter(|value| scalar::fits(*value, *precision)) {
        Some(value) => Ok(Value::Decimal(value)),
        None => {
            let shown = match from_scale.unsigned_abs() < 1000 {
                true => scalar::decimal_text(number, from_scale),
                false => format!("{number}e{}", -i64::from(from_scale)),
            };
            Err(Fault::value(format!("{shown} does not fit into {data_type}")))
        }
    }
}

/// `{"scale": 2, "value": "<base64>"}`, as Debezium writes numbers of no fixed scale.
pub(super) fn variable_scale(scanner: &mut Scanner<'_>) -> Result<(i128, i32), Fault> {
    let (mut scale, mut unscaled) = (None, None);
    let mut first = true;
    scanner.enter_object()?;
    while let Some(name) = scanner.next_key(first)? {
        first = false;
        match (name.as_ref(), scanner.peek()?) {
            ("scale", Kind::Number) => scale = scanner.number()?.parse::<i32>().ok(),
            ("value", Kind::String) => {
                let bytes = scalar::base64(&scanner.string()?);
                unscaled = bytes.and_then(|bytes| scalar::big_endian(&bytes));
            }
            _ => drop(scanner.skip()?),
        }
    }
    match (unscaled, scale) {
        (Some(unscaled), Some(scale)) if scale.unsigned_abs() < 1000 => Ok((unscaled, scale)),
        _ => Err(Fault::value("the object is no number with its scale")),
    }
}

pub(super) fn of_length(text: String, length: u32, data_type: &DataType) -> Result<Value, Fault> {
    let is_longer = text.len() > length as usize && text.chars().count() > length as usize;
    match is_longer {
        true => Err(Fault::value(format!("{} is too long for {data_type}", quoted(&text)))),
        false => Ok(Value::String(text)),
    }
}

pub(super) fn of_bytes(bytes: Vec<u8>, data_type: &DataType) -> Result<Value, Fault> {
    match data_type {
        DataType::Binary(length) | DataType::VarBinary(length)
            if bytes.len() > *length as usize =>
        {
            Err(Fault::value(format!("{} bytes are too long for {data_type}", bytes.len())))
        }
        _ => Ok(Value::Bytes(bytes)),
    }
}

pub(super) fn refuse(data_type: &DataType, kind: Kind, text: &str) -> Result<Value, Fault> {
    let text = quoted(text);
    Err(Fault::value(format!("{} {text} is no {data_type}", kind.shown())))
}
