//! JSON to [`Cell`]s, the plain way: through `serde_json`, value by value, by the column's type.
//!
//! The rules are those that the decoders document; nothing of their code is used.

use std::collections::BTreeMap;
use std::fmt;

use base64::Engine;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::Value as Json;
use serde_json::value::RawValue;
use weir_protocol::table::types::{Column, ColumnType, DataType};

use crate::verify::cell::Cell;
use crate::verify::notation::{
    BASE64, cut_moment, cut_time, date, digits, moment_nanos, plain_decimal, rescaled, time_nanos,
    unscaled,
};

/// The fields of an object, each as the text that stands there. The last of a name counts.
pub(super) type Fields = BTreeMap<String, Box<RawValue>>;

const UNAVAILABLE: &str = "__debezium_unavailable_value";

/// Who wrote a value.
#[derive(Clone, Copy, Debug)]
pub(super) enum Wire<'a> {
    /// Anybody: it means what it says.
    Plain,
    /// Debezium, without a schema.
    Bare,
    /// Debezium, with this schema of Kafka Connect for the value.
    Connect(&'a Json),
}

impl<'a> Wire<'a> {
    /// How a member of a row is written.
    pub(super) fn member(self, name: &str) -> Wire<'a> {
        let Wire::Connect(schema) = self else { return self };
        let fields = schema.get("fields").and_then(Json::as_array);
        let is_named = |field: &&Json| field.get("field").and_then(Json::as_str) == Some(name);
        match fields.and_then(|fields| fields.iter().find(is_named)) {
            Some(field) => Wire::Connect(field),
            None => Wire::Plain,
        }
    }

    fn element(self) -> Wire<'a> {
        let Wire::Connect(schema) = self else { return self };
        schema.get("items").or_else(|| schema.get("values")).map_or(Wire::Plain, Wire::Connect)
    }

    fn logical_name(self) -> &'a str {
        let Wire::Connect(schema) = self else { return "" };
        schema.get("name").and_then(Json::as_str).unwrap_or("")
    }

    /// The scale of Connect's decimals.
    fn scale(self) -> Option<i32> {
        let Wire::Connect(schema) = self else { return None };
        let is_decimal = self.logical_name() == "org.apache.kafka.connect.data.Decimal";
        let scale = schema.get("parameters")?.get("scale")?.as_str()?.parse().ok()?;
        is_decimal.then_some(scale)
    }

    /// How many units of a time or moment make a second, if the schema says it.
    fn units_per_second(self) -> Option<i128> {
        let name = self.logical_name();
        let known = |name: &str| {
            Some(match name {
                "Time" | "Timestamp" => 1_000,
                "MicroTime" | "MicroTimestamp" => 1_000_000,
                "NanoTime" | "NanoTimestamp" => 1_000_000_000,
                _ => return None,
            })
        };
        let connect = name.strip_prefix("org.apache.kafka.connect.data.");
        connect.or_else(|| name.strip_prefix("io.debezium.time.")).and_then(known)
    }
}

/// Reads rows; it remembers how a topic writes decimals when only the values tell.
#[derive(Clone, Debug, Default)]
pub(super) struct Coercion {
    writes_digits: Option<bool>,
}

impl Coercion {
    /// The wanted columns of an object; what is absent is null.
    pub(super) fn row(
        &mut self,
        fields: &Fields,
        columns: &[Column],
        wire: Wire<'_>,
        is_wanted: impl Fn(&Column) -> bool,
    ) -> Result<Vec<Cell>, String> {
        let mut cells = Vec::with_capacity(columns.len());
        for column in columns {
            cells.push(match fields.get(&column.name) {
                Some(raw) if is_wanted(column) => self
                    .cell(raw, &column.column_type.data_type, wire.member(&column.name))
                    .map_err(|reason| format!("column {}: {reason}", column.name))?,
                _ => Cell::Null,
            });
        }
        Ok(cells)
    }

    fn cell(
        &mut self,
        raw: &RawValue,
        data_type: &DataType,
        wire: Wire<'_>,
    ) -> Result<Cell, String> {
        let text = raw.get();
        let json: Json = parsed(text)?;
        if json.is_null() {
            return Ok(Cell::Null);
        }
        if !matches!(wire, Wire::Plain)
            && let Json::String(text) = &json
            && (text == UNAVAILABLE || *text == BASE64.encode(UNAVAILABLE))
        {
            return Err("the record does not hold the value".to_owned());
        }
        match (data_type, &json) {
            (DataType::String | DataType::Char(_) | DataType::VarChar(_), _) => {
                text_cell(text, &json, data_type, wire)
            }
            (DataType::Array(element), Json::Array(_)) => {
                let elements: Vec<Box<RawValue>> = parsed(text)?;
                let mut cells = Vec::with_capacity(elements.len());
                for raw in elements {
                    cells.push(self.inner(&raw, element, wire.element())?);
                }
                Ok(Cell::List(cells))
            }
            (DataType::Map(key, value), Json::Object(_)) => {
                // `1` and `01` are one number: of equal keys the last counts, as of equal names.
                let mut last = BTreeMap::new();
                for (name, raw) in parsed::<Members>(text)?.0 {
                    last.insert(self.key(&name, &key.data_type)?, raw);
                }
                let mut entries = Vec::with_capacity(last.len());
                for (key, raw) in last {
                    entries.push((key, self.inner(&raw, value, wire.element())?));
                }
                Ok(Cell::entries(entries))
            }
            (DataType::Row(members), Json::Object(_)) => {
                let cells = self.row(&parsed(text)?, members, wire, |_| true)?;
                missing(&cells, members)?;
                Ok(Cell::List(cells))
            }
            (DataType::Decimal { precision, scale }, _) => {
                let (precision, scale) = (*precision, i32::from(*scale));
                let (unscaled, from_scale) = self.decimal(&json, scale, wire)?;
                let unscaled = rescaled(unscaled, from_scale, scale).ok_or("digits are lost")?;
                let is_small = unscaled.unsigned_abs() < 10_u128.pow(u32::from(precision));
                is_small.then_some(Cell::Number(unscaled)).ok_or_else(|| "it is too large".into())
            }
            (_, Json::String(text)) => scalar_of_text(text, data_type),
            (_, Json::Number(number)) => scalar_of_number(&number.to_string(), data_type, wire),
            (DataType::Boolean, Json::Bool(truth)) => Ok(Cell::Boolean(*truth)),
            _ => Err(format!("{text} is no {data_type}")),
        }
    }

    fn inner(
        &mut self,
        raw: &RawValue,
        column_type: &ColumnType,
        wire: Wire<'_>,
    ) -> Result<Cell, String> {
        let cell = self.cell(raw, &column_type.data_type, wire)?;
        if cell == Cell::Null && !column_type.nullable {
            return Err("it is NOT NULL and has no value".to_owned());
        }
        Ok(cell)
    }

    /// Keys of maps are text in JSON.
    fn key(&mut self, name: &str, data_type: &DataType) -> Result<Cell, String> {
        let is_moment = matches!(
            data_type,
            DataType::Date | DataType::Time { .. } | DataType::Timestamp { .. }
        );
        if is_moment && name.parse::<i64>().is_ok() {
            return scalar_of_number(name, data_type, Wire::Plain);
        }
        let json = Json::String(name.to_owned()).to_string();
        let raw = RawValue::from_string(json).map_err(|error| error.to_string())?;
        self.cell(&raw, data_type, Wire::Plain)
    }

    /// A number and its scale.
    fn decimal(&mut self, json: &Json, scale: i32, wire: Wire<'_>) -> Result<(i128, i32), String> {
        match json {
            Json::Number(number) => digits(&number.to_string()),
            Json::Object(_) if !matches!(wire, Wire::Plain) => variable_scale(json),
            Json::String(text) => match (wire, wire.scale()) {
                (_, Some(scale)) => Ok((unscaled(text)?, scale)),
                (Wire::Bare, _) if !self.is_in_digits(text, scale)? => Ok((unscaled(text)?, scale)),
                _ => digits(text),
            },
            other => Err(format!("{other} is no number")),
        }
    }

    /// Without a schema `1234` may be digits or base64; a point, a sign, an odd length tells, and
    /// what the topic wrote before.
    fn is_in_digits(&mut self, text: &str, scale: i32) -> Result<bool, String> {
        let may_be_base64 = text.len().is_multiple_of(4) && BASE64.decode(text).is_ok();
        let number = digits(text).ok().and_then(|(number, from)| rescaled(number, from, scale));
        let told = match (may_be_base64, number.is_some()) {
            (true, true) => {
                return match self.writes_digits {
                    Some(known) => Ok(known),
                    None if scale > 0 && !text.contains(['.', '+', 'e', 'E']) => Ok(false),
                    None => Err(format!("{text} may mean two numbers")),
                };
            }
            (true, false) => false,
            (false, true) => true,
            (false, false) => return Ok(true),
        };
        match self.writes_digits.replace(told) {
            Some(known) if known != told => {
                self.writes_digits = Some(known);
                Err(format!("{text} contradicts how the topic wrote numbers before"))
            }
            _ => Ok(told),
        }
    }
}

/// Refuses a row that lacks what must be there.
pub(super) fn missing(cells: &[Cell], columns: &[Column]) -> Result<(), String> {
    let is_missing =
        |(cell, column): &(&Cell, &Column)| **cell == Cell::Null && !column.column_type.nullable;
    match cells.iter().zip(columns).find(is_missing) {
        Some((_, column)) => Err(format!("column {} is NOT NULL and has no value", column.name)),
        None => Ok(()),
    }
}

/// The members of an object in the order in which they stand, however often a name comes.
struct Members(Vec<(String, Box<RawValue>)>);

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Members, D::Error> {
        json.deserialize_map(MembersVisitor)
    }
}

struct MembersVisitor;

impl<'de> Visitor<'de> for MembersVisitor {
    type Value = Members;

    fn expecting(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
        let mut members = Vec::new();
        while let Some(member) = map.next_entry()? {
            members.push(member);
        }
        Ok(Members(members))
    }
}

/// JSON text as a value of ours.
pub(super) fn parsed<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, String> {
    serde_json::from_str(text).map_err(|error| error.to_string())
}

fn text_cell(raw: &str, json: &Json, data_type: &DataType, wire: Wire<'_>) -> Result<Cell, String> {
    let text = match (json, wire.scale()) {
        (Json::String(text), Some(scale)) => plain_decimal(unscaled(text)?, scale),
        (Json::String(text), None) => text.clone(),
        (Json::Object(_), _) if wire.logical_name() == "io.debezium.data.VariableScaleDecimal" => {
            let (number, scale) = variable_scale(json)?;
            plain_decimal(number, scale)
        }
        _ => raw.to_owned(),
    };
    match data_type {
        DataType::Char(length) | DataType::VarChar(length)
            if text.chars().count() > *length as usize =>
        {
            Err(format!("{text:?} is too long"))
        }
        _ => Ok(Cell::Text(text)),
    }
}

fn scalar_of_text(text: &str, data_type: &DataType) -> Result<Cell, String> {
    let refused = || format!("{text:?} is no {data_type}");
    match data_type {
        DataType::Boolean => match text.to_ascii_lowercase().as_str() {
            "true" => Ok(Cell::Boolean(true)),
            "false" => Ok(Cell::Boolean(false)),
            _ => Err(refused()),
        },
        DataType::Float | DataType::Double => match text {
            "NaN" => Ok(Cell::float(f64::NAN)),
            "Infinity" => Ok(Cell::float(f64::INFINITY)),
            "-Infinity" => Ok(Cell::float(f64::NEG_INFINITY)),
            _ => float(text, data_type).ok_or_else(refused),
        },
        DataType::Binary(_) | DataType::VarBinary(_) | DataType::Bytes => {
            let bytes = BASE64.decode(text).map_err(|_| refused())?;
            let length = match data_type {
                DataType::Binary(length) | DataType::VarBinary(length) => *length as usize,
                _ => usize::MAX,
            };
            if bytes.len() > length { Err(refused()) } else { Ok(Cell::Bytes(bytes)) }
        }
        DataType::Date => {
            let days = text.strip_suffix('Z').unwrap_or(text);
            date(days).map(Cell::Number).ok_or_else(refused)
        }
        DataType::Time { precision } => {
            let time = text.strip_suffix('Z').unwrap_or(text);
            let millis = time_nanos(time).ok_or_else(refused)? / 1_000_000;
            cut_time(millis, *precision).ok_or_else(refused)
        }
        DataType::Timestamp { precision } | DataType::TimestampLtz { precision } => {
            moment_nanos(text).and_then(|at| cut_moment(at, *precision)).ok_or_else(refused)
        }
        _ => integer(text, data_type).ok_or_else(refused),
    }
}

fn scalar_of_number(text: &str, data_type: &DataType, wire: Wire<'_>) -> Result<Cell, String> {
    let number = || text.parse::<i64>().ok().map(i128::from);
    let cell = match data_type {
        DataType::Boolean => match text {
            "0" => Some(Cell::Boolean(false)),
            "1" => Some(Cell::Boolean(true)),
            _ => None,
        },
        DataType::Float | DataType::Double => float(text, data_type),
        DataType::Date => text.parse::<i32>().ok().map(|days| Cell::Number(days.into())),
        DataType::Time { precision } => {
            let per_second = wire.units_per_second().unwrap_or(1000);
            let millis = number().map(|units| units.div_euclid(per_second / 1000));
            millis.and_then(|millis| cut_time(millis, *precision))
        }
        DataType::Timestamp { precision } | DataType::TimestampLtz { precision } => {
            let by_precision = if *precision <= 3 { 1000 } else { 1_000_000 };
            let per_second = wire.units_per_second().unwrap_or(by_precision);
            let nanos = number().map(|units| units * (1_000_000_000 / per_second));
            nanos.and_then(|nanos| cut_moment(nanos, *precision))
        }
        _ => integer(text, data_type),
    };
    cell.ok_or_else(|| format!("{text} is no {data_type}"))
}

fn integer(text: &str, data_type: &DataType) -> Option<Cell> {
    let (number, scale) = digits(text).ok()?;
    let number = rescaled(number, scale, 0)?;
    let bits = match data_type {
        DataType::TinyInt => 8,
        DataType::SmallInt => 16,
        DataType::Int => 32,
        DataType::BigInt => 64,
        _ => return None,
    };
    let limit = 1_i128 << (bits - 1);
    (-limit..limit).contains(&number).then_some(Cell::Number(number))
}

fn float(text: &str, data_type: &DataType) -> Option<Cell> {
    let is_letter = |letter: char| letter.is_ascii_digit() || "+-.eE".contains(letter);
    if !text.chars().all(is_letter) {
        return None;
    }
    let number = match data_type {
        DataType::Float => text.parse::<f32>().ok()?.into(),
        _ => text.parse::<f64>().ok()?,
    };
    number.is_finite().then(|| Cell::float(number))
}

fn variable_scale(json: &Json) -> Result<(i128, i32), String> {
    let scale = json.get("scale").and_then(Json::as_i64).and_then(|it| i32::try_from(it).ok());
    let value = json.get("value").and_then(Json::as_str);
    match (value, scale.filter(|scale| scale.unsigned_abs() < 1000)) {
        (Some(value), Some(scale)) => Ok((unscaled(value)?, scale)),
        _ => Err(format!("{json} is no number with its scale")),
    }
}
