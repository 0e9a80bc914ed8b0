//! A schema as the JSON that Paimon keeps in `schema/schema-<N>`. PURE.
//!
//! Keys stand in Paimon's order. Scalar types are strings (`BIGINT NOT NULL`), nested types objects
//! (`{"type":"ARRAY NOT NULL","element":"INT"}`). What we do not know (MULTISET, VARIANT, a newer
//! version) is refused by name.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value as Json;
use weir_protocol::table::column::{Column, ColumnType, DataType};
use weir_protocol::table::sql::parse_type;

use crate::schema::{SchemaError, TableSchema};

const VERSION: i64 = 3;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct SchemaJson<'a> {
    version: i64,
    id: i64,
    fields: Vec<FieldJson<'a>>,
    highest_field_id: i32,
    partition_keys: &'a [String],
    primary_keys: &'a [String],
    options: &'a BTreeMap<String, String>,
    #[serde(skip_serializing_if = "str::is_empty")]
    comment: &'a str,
    time_millis: i64,
}

#[derive(Serialize)]
struct FieldJson<'a> {
    id: i32,
    name: &'a str,
    #[serde(rename = "type")]
    field_type: TypeJson<'a>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum TypeJson<'a> {
    Scalar(String),
    Array {
        #[serde(rename = "type")]
        name: &'static str,
        element: Box<TypeJson<'a>>,
    },
    Map {
        #[serde(rename = "type")]
        name: &'static str,
        key: Box<TypeJson<'a>>,
        value: Box<TypeJson<'a>>,
    },
    Row {
        #[serde(rename = "type")]
        name: &'static str,
        fields: Vec<FieldJson<'a>>,
    },
}

pub(super) fn write(schema: &TableSchema) -> String {
    let json = SchemaJson {
        version: VERSION,
        id: schema.id,
        fields: fields_of(&schema.columns),
        highest_field_id: schema.highest_field_id,
        partition_keys: &schema.partition_keys,
        primary_keys: &schema.primary_keys,
        options: &schema.options,
        comment: &schema.comment,
        time_millis: schema.time_ms,
    };
    serde_json::to_string_pretty(&json).expect("text keys and numbers always make JSON")
}

fn fields_of(columns: &[Column]) -> Vec<FieldJson<'_>> {
    let mut fields = Vec::with_capacity(columns.len());
    for Column { id, name, column_type } in columns {
        fields.push(FieldJson { id: *id, name, field_type: type_json(column_type) });
    }
    fields
}

fn type_json(column_type: &ColumnType) -> TypeJson<'_> {
    let named = |null: &'static str, not_null: &'static str| {
        if column_type.nullable { null } else { not_null }
    };
    match &column_type.data_type {
        DataType::Array(element) => TypeJson::Array {
            name: named("ARRAY", "ARRAY NOT NULL"),
            element: Box::new(type_json(element)),
        },
        DataType::Map(key, value) => TypeJson::Map {
            name: named("MAP", "MAP NOT NULL"),
            key: Box::new(type_json(key)),
            value: Box::new(type_json(value)),
        },
        DataType::Row(members) => {
            TypeJson::Row { name: named("ROW", "ROW NOT NULL"), fields: fields_of(members) }
        }
        _ => TypeJson::Scalar(column_type.to_string()),
    }
}

pub(super) fn read(bytes: &[u8]) -> Result<TableSchema, SchemaError> {
    let json: Json =
        serde_json::from_slice(bytes).map_err(|error| unreadable(error.to_string()))?;
    let version = number(&json, "version")?;
    if version != VERSION {
        return Err(unreadable(format!("version {version}, not {VERSION}")));
    }
    Ok(TableSchema {
        id: number(&json, "id")?,
        columns: read_fields(member(&json, "fields")?)?,
        highest_field_id: small_number(&json, "highestFieldId")?,
        partition_keys: texts(&json, "partitionKeys")?,
        primary_keys: texts(&json, "primaryKeys")?,
        options: read_options(member(&json, "options")?)?,
        comment: json.get("comment").and_then(Json::as_str).unwrap_or_default().to_owned(),
        time_ms: number(&json, "timeMillis")?,
    })
}

fn read_fields(json: &Json) -> Result<Vec<Column>, SchemaError> {
    let fields = json.as_array().ok_or_else(|| unreadable("fields are no list".into()))?;
    let read = |field: &Json| {
        Ok(Column {
            id: small_number(field, "id")?,
            name: text(field, "name")?.to_owned(),
            column_type: read_type(member(field, "type")?)?,
        })
    };
    fields.iter().map(read).collect()
}

fn read_type(json: &Json) -> Result<ColumnType, SchemaError> {
    if let Some(sql) = json.as_str() {
        return parse_type(sql).map_err(|error| unreadable(format!("type {sql}: {error}")));
    }
    let name = text(json, "type")?;
    let (name, nullable) = match name.strip_suffix(" NOT NULL") {
        Some(name) => (name, false),
        None => (name, true),
    };
    let boxed = |key: &str| Ok::<_, SchemaError>(Box::new(read_type(member(json, key)?)?));
    let data_type = match name {
        "ARRAY" => DataType::Array(boxed("element")?),
        "MAP" => DataType::Map(boxed("key")?, boxed("value")?),
        "ROW" => DataType::Row(read_fields(member(json, "fields")?)?),
        _ => return Err(unreadable(format!("type {name} is not supported by this version"))),
    };
    Ok(ColumnType { data_type, nullable })
}

fn read_options(json: &Json) -> Result<BTreeMap<String, String>, SchemaError> {
    let options = json.as_object().ok_or_else(|| unreadable("options are no object".into()))?;
    let pair = |(key, value): (&String, &Json)| match value.as_str() {
        Some(value) => Ok((key.clone(), value.to_owned())),
        None => Err(unreadable(format!("option {key} is no text"))),
    };
    options.iter().map(pair).collect()
}

fn member<'a>(json: &'a Json, key: &str) -> Result<&'a Json, SchemaError> {
    json.get(key).ok_or_else(|| unreadable(format!("{key} is missing")))
}

fn number(json: &Json, key: &str) -> Result<i64, SchemaError> {
    member(json, key)?.as_i64().ok_or_else(|| unreadable(format!("{key} is no number")))
}

fn small_number(json: &Json, key: &str) -> Result<i32, SchemaError> {
    let number = number(json, key)?;
    i32::try_from(number).map_err(|_| unreadable(format!("{key} is {number}")))
}

fn text<'a>(json: &'a Json, key: &str) -> Result<&'a str, SchemaError> {
    member(json, key)?.as_str().ok_or_else(|| unreadable(format!("{key} is no text")))
}

fn texts(json: &Json, key: &str) -> Result<Vec<String>, SchemaError> {
    let list = member(json, key)?.as_array();
    let list = list.ok_or_else(|| unreadable(format!("{key} is no list")))?;
    let text = |item: &Json| {
        let text = item.as_str().map(str::to_owned);
        text.ok_or_else(|| unreadable(format!("{key} holds what is no text")))
    };
    list.iter().map(text).collect()
}

fn unreadable(reason: String) -> SchemaError {
    SchemaError::Unreadable { reason }
}
