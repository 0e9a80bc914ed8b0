//! The schema that Kafka Connect's JsonConverter sends with each record: what the values mean.
//!
//! | logical type | column if inferred | how it is written |
//! |---|---|---|
//! | Connect Decimal | DECIMAL(precision or 38, scale) | base64, scale as a parameter |
//! | VariableScaleDecimal | STRING | object of scale and base64 |
//! | Date (both) | DATE | days |
//! | Time (both) | TIME(3) | milliseconds |
//! | MicroTime, NanoTime | BIGINT, for Paimon keeps times to the millisecond | micro-, nanoseconds |
//! | Timestamp (both), MicroTimestamp | TIMESTAMP(3), TIMESTAMP(6) | milli-, microseconds |
//! | NanoTimestamp | BIGINT | nanoseconds |
//! | ZonedTimestamp, IsoTimestamp | TIMESTAMP(6), the first with local time zone | ISO 8601 |
//! | IsoDate | DATE | ISO 8601 |
//! | ZonedTime, IsoTime, Interval, Uuid, Json, Xml, Enum, … | STRING | text |
//! | Bits | BYTES | base64 |

use std::collections::HashMap;

use serde_json::Value as Json;
use weir_protocol::table::column::{Column, DataType, number_columns};

use crate::decode::encoding::Encoding;
use crate::decode::infer;

/// Schemas nest no deeper than the values that they describe.
const DEPTH_MAX: usize = 32;

/// What the fields of a change record's rows are.
#[derive(Clone, Debug, Default)]
pub(super) struct RowSchema {
    /// Columns for them, all nullable.
    pub(super) columns: Vec<Column>,
    /// How they are written, by name.
    pub(super) encodings: HashMap<String, Encoding>,
}

impl RowSchema {
    /// The schema of the field `name` (`after`) in an envelope's schema; `None` if it has none.
    pub(super) fn in_envelope(schema: &str, name: &str) -> Option<Self> {
        let schema: Json = serde_json::from_str(schema).ok()?;
        let fields = schema.get("fields")?.as_array()?;
        let row = fields.iter().find(|field| text(field, "field") == Some(name))?;
        Self::of_fields(row.get("fields")?.as_array()?, 0)
    }

    fn of_fields(fields: &[Json], depth: usize) -> Option<Self> {
        let mut row = Self::default();
        for field in fields {
            let name = text(field, "field")?.to_owned();
            let (data_type, encoding) = type_of(field, depth)?;
            row.columns.extend(infer::column(name.clone(), data_type));
            row.encodings.insert(name, encoding);
        }
        number_columns(&mut row.columns, 0);
        Some(row)
    }
}

fn type_of(schema: &Json, depth: usize) -> Option<(DataType, Encoding)> {
    if depth > DEPTH_MAX {
        return None;
    }
    match text(schema, "name").and_then(|name| logical_type(name, schema)) {
        Some(logical) => Some(logical),
        None => physical_type(schema, depth),
    }
}

fn logical_type(name: &str, schema: &Json) -> Option<(DataType, Encoding)> {
    let per_second = |data_type, units| (data_type, Encoding::PerSecond(units));
    let (connect, debezium) =
        (name.strip_prefix("org.apache.kafka.connect.data."), name.strip_prefix("io.debezium."));
    Some(match (connect, debezium) {
        (Some("Decimal"), _) => return decimal(schema),
        (Some("Date"), _) | (_, Some("time.Date" | "time.IsoDate")) => {
            (DataType::Date, Encoding::Typed)
        }
        (Some("Time"), _) | (_, Some("time.Time")) => {
            per_second(DataType::Time { precision: 3 }, 1_000)
        }
        (Some("Timestamp"), _) | (_, Some("time.Timestamp")) => {
            per_second(DataType::Timestamp { precision: 3 }, 1_000)
        }
        (_, Some("time.MicroTime")) => per_second(DataType::BigInt, 1_000_000),
        (_, Some("time.NanoTime" | "time.NanoTimestamp")) => {
            per_second(DataType::BigInt, 1_000_000_000)
        }
        (_, Some("time.MicroTimestamp")) => {
            per_second(DataType::Timestamp { precision: 6 }, 1_000_000)
        }
        (_, Some("time.ZonedTimestamp")) => {
            (DataType::TimestampLtz { precision: 6 }, Encoding::Typed)
        }
        (_, Some("time.IsoTimestamp")) => (DataType::Timestamp { precision: 6 }, Encoding::Typed),
        (_, Some("data.VariableScaleDecimal")) => (DataType::String, Encoding::VariableScale),
        (_, Some("data.Bits")) => (DataType::Bytes, Encoding::Typed),
        _ => return None,
    })
}

/// A decimal of more digits than Paimon has becomes text.
fn decimal(schema: &Json) -> Option<(DataType, Encoding)> {
    let parameters = schema.get("parameters")?;
    let scale: i32 = text(parameters, "scale")?.parse().ok()?;
    let precision = text(parameters, "connect.decimal.precision");
    let precision = precision.map_or(Some(38), |precision| precision.parse::<u32>().ok())?;
    let data_type = match (u8::try_from(precision), u8::try_from(scale)) {
        (Ok(precision @ 1..=38), Ok(scale)) if scale <= precision => {
            DataType::Decimal { precision, scale }
        }
        _ => DataType::String,
    };
    Some((data_type, Encoding::Unscaled(scale)))
}

fn physical_type(schema: &Json, depth: usize) -> Option<(DataType, Encoding)> {
    let data_type = match text(schema, "type")? {
        "boolean" => DataType::Boolean,
        "int8" => DataType::TinyInt,
        "int16" => DataType::SmallInt,
        "int32" => DataType::Int,
        "int64" => DataType::BigInt,
        "float" | "float32" => DataType::Float,
        "double" | "float64" => DataType::Double,
        "bytes" => DataType::Bytes,
        "array" => {
            let (element, encoding) = type_of(schema.get("items")?, depth + 1)?;
            let data_type = DataType::Array(Box::new(element.nullable()));
            return Some((data_type, Encoding::Elements(Box::new(encoding))));
        }
        "map" if schema.get("keys").and_then(|keys| text(keys, "type")) == Some("string") => {
            let (value, encoding) = type_of(schema.get("values")?, depth + 1)?;
            let key = Box::new(DataType::String.not_null());
            let data_type = DataType::Map(key, Box::new(value.nullable()));
            return Some((data_type, Encoding::Elements(Box::new(encoding))));
        }
        "struct" => {
            let row = RowSchema::of_fields(schema.get("fields")?.as_array()?, depth + 1)?;
            match row.columns.is_empty() {
                true => DataType::String,
                false => {
                    return Some((DataType::Row(row.columns), Encoding::Members(row.encodings)));
                }
            }
        }
        _ => DataType::String,
    };
    Some((data_type, Encoding::Typed))
}

fn text<'a>(json: &'a Json, key: &str) -> Option<&'a str> {
    json.get(key).and_then(Json::as_str)
}
