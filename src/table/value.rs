//! A value of a table as JSON, and as text in a cell.
//!
//! Numbers stay exact: a DECIMAL is a JSON number of all its digits. Moments are ISO 8601, in UTC
//! with `Z` where the type knows the zone; bytes are base64; a MAP is an object if its keys are
//! text, else a list of pairs; what JSON has no number for (`NaN`, `Infinity`) is a string.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, Days, NaiveDate, SecondsFormat};
use serde_json::{Map, Number, Value as Json};
use weir_compactor::row::Value;
use weir_protocol::table::column::{Column, ColumnType, DataType};

/// The value of a column of this type.
pub(super) fn json_of(value: &Value, column_type: &ColumnType) -> Json {
    match (value, &column_type.data_type) {
        (Value::Decimal(unscaled), DataType::Decimal { scale, .. }) => {
            exact(&decimal(*unscaled, usize::from(*scale)))
        }
        (Value::Timestamp { millis, nanos_of_milli }, data_type) => {
            Json::String(moment(*millis, *nanos_of_milli, data_type))
        }
        (Value::Array(values), DataType::Array(element)) => {
            values.iter().map(|value| json_of(value, element)).collect()
        }
        (Value::Map(entries), DataType::Map(key, value)) => map(entries, key, value),
        (Value::Row(values), DataType::Row(members)) => Json::Object(object(members, values)),
        (value, _) => scalar(value),
    }
}

/// The values of columns by their names.
fn object(columns: &[Column], values: &[Value]) -> Map<String, Json> {
    let member = |(column, value): (&Column, &Value)| {
        (column.name.clone(), json_of(value, &column.column_type))
    };
    columns.iter().zip(values).map(member).collect()
}

/// A cell: text as it is, everything else as in JSON; null is what the caller says.
pub(super) fn text_of(json: &Json, null: &str) -> String {
    match json {
        Json::Null => null.to_owned(),
        Json::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn scalar(value: &Value) -> Json {
    match value {
        Value::Null => Json::Null,
        Value::Boolean(truth) => Json::Bool(*truth),
        Value::Int8(number) => (*number).into(),
        Value::Int16(number) => (*number).into(),
        Value::Int32(number) => (*number).into(),
        Value::Int64(number) => (*number).into(),
        Value::Float32(number) => floating(f64::from(*number), &number.to_string()),
        Value::Float64(number) => floating(*number, &number.to_string()),
        Value::Decimal(unscaled) => exact(&unscaled.to_string()),
        Value::Date(days) => Json::String(date(*days)),
        Value::Time(millis) => Json::String(time(*millis)),
        Value::String(text) => Json::String(text.clone()),
        Value::Bytes(bytes) => Json::String(STANDARD.encode(bytes)),
        Value::Timestamp { millis, nanos_of_milli } => {
            Json::String(moment(*millis, *nanos_of_milli, &DataType::Timestamp { precision: 9 }))
        }
        Value::Array(_) | Value::Map(_) | Value::Row(_) => Json::Null,
    }
}

fn map(entries: &[(Value, Value)], key_type: &ColumnType, value_type: &ColumnType) -> Json {
    let is_text = entries.iter().all(|(key, _)| matches!(key, Value::String(_)));
    let entries =
        entries.iter().map(|(key, value)| (json_of(key, key_type), json_of(value, value_type)));
    if is_text {
        return Json::Object(entries.map(|(key, value)| (text_of(&key, ""), value)).collect());
    }
    entries.map(|(key, value)| Json::Array(vec![key, value])).collect()
}

/// A JSON number of exactly these digits.
fn exact(digits: &str) -> Json {
    let number: Result<Number, _> = serde_json::from_str(digits);
    number.map_or_else(|_| Json::String(digits.to_owned()), Json::Number)
}

fn floating(number: f64, digits: &str) -> Json {
    if number.is_nan() {
        return Json::String("NaN".to_owned());
    }
    if number.is_infinite() {
        let name = if number > 0.0 { "Infinity" } else { "-Infinity" };
        return Json::String(name.to_owned());
    }
    exact(digits)
}

fn decimal(unscaled: i128, scale: usize) -> String {
    let sign = if unscaled < 0 { "-" } else { "" };
    let digits = format!("{:0>width$}", unscaled.unsigned_abs(), width = scale + 1);
    let (whole, fraction) = digits.split_at(digits.len() - scale);
    if scale == 0 { format!("{sign}{whole}") } else { format!("{sign}{whole}.{fraction}") }
}

fn date(days: i32) -> String {
    let epoch = NaiveDate::from_ymd_opt(1970, 1, 1).expect("a day of the calendar");
    let distance = Days::new(u64::from(days.unsigned_abs()));
    let day =
        if days < 0 { epoch.checked_sub_days(distance) } else { epoch.checked_add_days(distance) };
    // Outside the calendar of the library: the number itself.
    day.map_or_else(|| format!("{days} days since 1970-01-01"), |day| day.to_string())
}

fn time(millis: i32) -> String {
    let seconds = millis / 1000;
    let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
    format!("{hours:02}:{minutes:02}:{:02}.{:03}", seconds % 60, millis % 1000)
}

fn moment(millis: i64, nanos_of_milli: i32, data_type: &DataType) -> String {
    let (precision, has_zone) = match data_type {
        DataType::TimestampLtz { precision } => (*precision, true),
        DataType::Timestamp { precision } => (*precision, false),
        _ => (9, false),
    };
    let moment = DateTime::from_timestamp_millis(millis).and_then(|moment| {
        moment.checked_add_signed(chrono::TimeDelta::nanoseconds(i64::from(nanos_of_milli)))
    });
    let Some(moment) = moment else { return format!("{millis} ms since 1970-01-01") };
    let digits = match precision {
        0 => SecondsFormat::Secs,
        1..=3 => SecondsFormat::Millis,
        4..=6 => SecondsFormat::Micros,
        _ => SecondsFormat::Nanos,
    };
    let text = moment.to_rfc3339_opts(digits, true);
    if has_zone { text } else { text.trim_end_matches('Z').to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(value: Value, data_type: DataType) -> String {
        json_of(&value, &data_type.nullable()).to_string()
    }

    #[test]
    fn numbers_keep_all_their_digits() {
        let wide = DataType::Decimal { precision: 38, scale: 10 };
        assert_eq!(shown(Value::Decimal(-5), wide.clone()), "-0.0000000005");
        let large = Value::Decimal(99_999_999_999_999_999_999_999_999_999_999_999_999);
        assert_eq!(shown(large, wide), "9999999999999999999999999999.9999999999");
        assert_eq!(shown(Value::Decimal(12), DataType::Decimal { precision: 2, scale: 0 }), "12");
        assert_eq!(shown(Value::Float32(0.1), DataType::Float), "0.1");
        assert_eq!(shown(Value::Float64(f64::NAN), DataType::Double), "\"NaN\"");
        assert_eq!(shown(Value::Int64(i64::MIN), DataType::BigInt), "-9223372036854775808");
    }

    #[test]
    fn moments_are_iso_and_say_their_zone() {
        let moment = |millis| Value::Timestamp { millis, nanos_of_milli: 1_000 };
        let plain = DataType::Timestamp { precision: 6 };
        assert_eq!(shown(moment(-1), plain), "\"1969-12-31T23:59:59.999001\"");
        let zoned = DataType::TimestampLtz { precision: 3 };
        assert_eq!(shown(moment(0), zoned), "\"1970-01-01T00:00:00.000Z\"");
        assert_eq!(shown(Value::Date(-1), DataType::Date), "\"1969-12-31\"");
        assert_eq!(
            shown(Value::Time(86_399_999), DataType::Time { precision: 3 }),
            "\"23:59:59.999\""
        );
        assert_eq!(
            shown(Value::Date(i32::MAX), DataType::Date),
            "\"2147483647 days since 1970-01-01\""
        );
    }

    #[test]
    fn maps_are_objects_where_their_keys_are_text() {
        let entry = |key: Value| vec![(key, Value::Null)];
        let map_of = |key: DataType| {
            DataType::Map(Box::new(key.not_null()), Box::new(DataType::Int.nullable()))
        };
        let text = Value::Map(entry(Value::String("a".into())));
        assert_eq!(shown(text, map_of(DataType::String)), r#"{"a":null}"#);
        assert_eq!(shown(Value::Map(entry(Value::Int32(1))), map_of(DataType::Int)), "[[1,null]]");
        assert_eq!(shown(Value::Bytes(vec![0, 255]), DataType::Bytes), "\"AP8=\"");
    }
}
