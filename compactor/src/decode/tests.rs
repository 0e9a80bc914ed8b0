//! Decoders on their usual writings, on what Debezium captured, and on whatever comes.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::Path;

use bytes::Bytes;
use proptest::prelude::*;
use serde_json::Value as Json;
use weir_protocol::records::Offset;
use weir_protocol::records::record::{Headers, Record};
use weir_protocol::table::column::{Column, DataType};
use weir_protocol::table::settings::TableSettings;

use super::*;
use crate::row::{RowKind, Value};
use crate::schema::evolution::evolve;

fn settings(configs: &[(&str, &str)]) -> TableSettings {
    let mut all = vec![("table.enabled", "true")];
    all.extend_from_slice(configs);
    let configs = all.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    TableSettings::parse("t", &configs).unwrap()
}

/// A topic's decoder as the walk uses it: inferring first, evolving when asked.
struct Topic {
    settings: TableSettings,
    schema: TableSchema,
    decoder: Decoder,
}

impl Topic {
    fn new(configs: &[(&str, &str)], sample: &[Record]) -> Self {
        let settings = settings(configs);
        let columns = match &settings.columns {
            Some(columns) => columns.clone(),
            None => Decoder::infer(&settings, sample).unwrap(),
        };
        let schema = TableSchema::from_settings(&settings, &columns, 1, 0).unwrap();
        let decoder = Decoder::new(&settings, &schema);
        Self { settings, schema, decoder }
    }

    fn decode(&mut self, record: &Record) -> Result<Vec<Row>, DecodeError> {
        for _ in 0..3 {
            let mut rows = Vec::new();
            match self.decoder.decode(record, &mut rows)? {
                Decoded::Rows => return Ok(rows),
                Decoded::Skipped => return Ok(Vec::new()),
                Decoded::NeedsSchema(columns) => {
                    self.schema = evolve(&self.schema, &columns).unwrap().unwrap();
                    let before = std::mem::replace(
                        &mut self.decoder,
                        Decoder::new(&self.settings, &self.schema),
                    );
                    self.decoder.learn_from(&before);
                }
            }
        }
        panic!("the decoder keeps asking for columns")
    }

    fn one(&mut self, value: &str) -> Vec<Value> {
        let mut rows = self.decode(&record(None, Some(value))).unwrap();
        assert_eq!(rows.len(), 1, "{value}");
        rows.remove(0).values
    }

    fn reason(&mut self, value: &str) -> String {
        self.decode(&record(None, Some(value))).unwrap_err().reason
    }
}

fn record(key: Option<&str>, value: Option<&str>) -> Record {
    let bytes = |text: &str| Bytes::copy_from_slice(text.as_bytes());
    Record {
        offset: Offset(0),
        timestamp_ms: 0,
        key: key.map(bytes),
        value: value.map(bytes),
        headers: Headers::default(),
    }
}

fn text(text: &str) -> Value {
    Value::String(text.to_owned())
}

#[test]
fn every_type_is_read_from_its_usual_writings() {
    let cases = [
        ("BOOLEAN", "true", Value::Boolean(true)),
        ("BOOLEAN", "\"FALSE\"", Value::Boolean(false)),
        ("BOOLEAN", "1", Value::Boolean(true)),
        ("TINYINT", "-128", Value::Int8(-128)),
        ("SMALLINT", "\"32767\"", Value::Int16(32767)),
        ("INT", "1e3", Value::Int32(1000)),
        ("BIGINT", "-9223372036854775808", Value::Int64(i64::MIN)),
        ("FLOAT", "3.4028235E38", Value::Float32(f32::MAX)),
        ("DOUBLE", "\"-Infinity\"", Value::Float64(f64::NEG_INFINITY)),
        ("DOUBLE", "1", Value::Float64(1.0)),
        ("DECIMAL(10, 2)", "12.5", Value::Decimal(1250)),
        ("DECIMAL(10, 2)", "\"1234\"", Value::Decimal(123_400)),
        ("DATE", "\"1969-12-31\"", Value::Date(-1)),
        ("DATE", "20000", Value::Date(20000)),
        ("TIME(3)", "\"00:00:01.234567\"", Value::Time(1234)),
        ("TIME(0)", "1999", Value::Time(1000)),
        (
            "TIMESTAMP(3)",
            "1700000000123",
            Value::Timestamp { millis: 1_700_000_000_123, nanos_of_milli: 0 },
        ),
        (
            "TIMESTAMP(6)",
            "1700000000123456",
            Value::Timestamp { millis: 1_700_000_000_123, nanos_of_milli: 456_000 },
        ),
        (
            "TIMESTAMP(6)",
            "\"1970-01-01 01:00:00+01:00\"",
            Value::Timestamp { millis: 0, nanos_of_milli: 0 },
        ),
        (
            "TIMESTAMP(3) WITH LOCAL TIME ZONE",
            "\"1970-01-01T00:00:00.001Z\"",
            Value::Timestamp { millis: 1, nanos_of_milli: 0 },
        ),
        ("STRING", "\"a\\u00e9\"", text("aé")),
        ("STRING", "{\"a\": [1, 2.50]}", text("{\"a\": [1, 2.50]}")),
        ("STRING", "12.50", text("12.50")),
        ("VARCHAR(3)", "\"äöü\"", text("äöü")),
        ("BYTES", "\"AP8=\"", Value::Bytes(vec![0, 255])),
        ("BYTES", "\"AP8\"", Value::Bytes(vec![0, 255])),
        ("ARRAY<INT>", "[1, null]", Value::Array(vec![Value::Int32(1), Value::Null])),
        (
            "MAP<INT, BOOLEAN>",
            "{\"7\": true}",
            Value::Map(vec![(Value::Int32(7), Value::Boolean(true))]),
        ),
        (
            "MAP<STRING, INT>",
            "{\"a\": 1, \"a\": 2}",
            Value::Map(vec![(text("a"), Value::Int32(2))]),
        ),
        (
            "ROW<x INT, y ROW<z STRING>>",
            "{\"y\": {\"z\": \"q\", \"more\": null}}",
            Value::Row(vec![Value::Null, Value::Row(vec![text("q")])]),
        ),
    ];
    for (sql, json, expected) in cases {
        let schema = format!("c {sql}");
        let mut topic = Topic::new(&[("table.schema", &schema)], &[]);
        assert_eq!(topic.one(&format!("{{\"c\": {json}}}")), [expected], "{sql} of {json}");
        assert_eq!(topic.one("{\"c\":null}"), [Value::Null]);
        assert_eq!(topic.one("{}"), [Value::Null]);
    }
}

#[test]
fn what_does_not_fit_is_refused_by_name() {
    let cases = [
        ("TINYINT", "128", "column c: a number \"128\" is no TINYINT"),
        ("INT", "1.5", "is no INT"),
        ("INT", "true", "column c: a boolean \"true\" is no INT"),
        ("BIGINT", "9223372036854775808", "is no BIGINT"),
        ("FLOAT", "1e39", "is no FLOAT"),
        ("DOUBLE", "1e400", "is no DOUBLE"),
        ("DOUBLE", "\"inf\"", "is no DOUBLE"),
        ("DECIMAL(4, 2)", "100", "100.00 does not fit into DECIMAL(4, 2)"),
        ("DECIMAL(4, 2)", "1.005", "is no DECIMAL(4, 2)"),
        ("DATE", "\"2023-02-30\"", "is no DATE"),
        ("DATE", "99999999999", "is no DATE"),
        ("TIME(3)", "86400000", "is no TIME(3)"),
        ("TIMESTAMP(3)", "9223372036854775807", "is no TIMESTAMP(3)"),
        ("TIMESTAMP(6)", "\"yesterday\"", "is no TIMESTAMP(6)"),
        ("VARCHAR(3)", "\"äöüß\"", "is too long for VARCHAR(3)"),
        ("BINARY(1)", "\"AP8=\"", "2 bytes are too long for BINARY(1)"),
        ("BYTES", "\"§\"", "is not base64"),
        ("BOOLEAN", "2", "is no BOOLEAN"),
        ("ARRAY<INT>", "{}", "column c: an object \"{}\" is no ARRAY<INT>"),
        ("ARRAY<INT>", "[1, \"x\"]", "column c[1]: a string \"x\" is no INT"),
        ("ARRAY<INT NOT NULL>", "[null]", "column c[0]: it is NOT NULL"),
        ("MAP<INT, INT>", "{\"x\": 1}", "column c.(a key): a string \"x\" is no INT"),
        ("ROW<x ROW<y INT>>", "{\"x\": {\"y\": []}}", "column c.x.y: an array \"[]\" is no INT"),
        ("ROW<x INT NOT NULL>", "{}", "column c.x: it is NOT NULL and has no value"),
        ("INT NOT NULL", "null", "column c: it is NOT NULL and has no value"),
    ];
    for (sql, json, expected) in cases {
        let schema = format!("c {sql}");
        let mut topic = Topic::new(&[("table.schema", &schema)], &[]);
        let reason = topic.reason(&format!("{{\"c\": {json}}}"));
        assert!(reason.contains(expected), "{sql} of {json}: {reason}");
    }
}

#[test]
fn the_last_of_fields_with_one_name_counts_even_if_an_earlier_one_does_not_fit() {
    let schema = ("table.schema", "id BIGINT, r ROW<x DATE NOT NULL>, m MAP<STRING, INT>");
    let mut topic = Topic::new(&[schema], &[]);
    let fits = topic.one(r#"{"id":"one","id":{"a":[1]},"id":2}"#);
    assert_eq!(fits[0], Value::Int64(2));
    let members = topic.one(r#"{"id":1,"r":{"x":true,"x":7},"m":{"a":"?","b":1,"a":3}}"#);
    assert_eq!(members[1], Value::Row(vec![Value::Date(7)]));
    assert_eq!(
        members[2],
        Value::Map(vec![(text("a"), Value::Int32(3)), (text("b"), Value::Int32(1)),])
    );
    let reason = topic.reason(r#"{"id":1,"id":"one"}"#);
    assert!(reason.contains("column id"), "{reason}");
    let reason = topic.reason(r#"{"id":1,"r":{"x":7,"x":true}}"#);
    assert!(reason.contains("column r.x"), "{reason}");
    assert!(topic.reason(r#"{"id":"one","id":}"#).contains("value"), "no JSON stays no JSON");
}

#[test]
fn values_that_are_no_object_are_refused_and_null_ones_skipped() {
    let mut topic = Topic::new(&[("table.schema", "c INT")], &[]);
    assert_eq!(topic.reason("[1]"), "the value is an array, not an object");
    assert!(topic.reason("{\"c\": 1").starts_with("no valid JSON at byte 7"));
    assert!(topic.reason("").contains("ends too early"));
    assert!(topic.reason("{\"c\":1} {}").contains("should end here"));
    let broken =
        Record { value: Some(Bytes::from_static(b"{\"c\":\"\xff\"}")), ..record(None, None) };
    let mut rows = Vec::new();
    let error = topic.decoder.decode(&broken, &mut rows).unwrap_err();
    assert_eq!(error.reason, "the value is not UTF-8 from byte 6 on");
    for value in [None, Some("null"), Some(" null ")] {
        let decoded = topic.decoder.decode(&record(Some("k"), value), &mut rows);
        assert_eq!(decoded, Ok(Decoded::Skipped));
    }
    assert!(rows.is_empty());
    let deep = format!("{{\"other\": {}1{}}}", "[".repeat(100), "]".repeat(100));
    assert!(topic.reason(&deep).contains("nested more than 64 deep"));
}

#[test]
fn a_decoded_key_merges_and_deletes() {
    let configs = [
        ("table.schema", "id BIGINT, day DATE, v STRING NOT NULL"),
        ("table.primary.key", "id"),
        ("table.key.format", "json"),
    ];
    let mut topic = Topic::new(&configs, &[]);
    let rows = topic.decode(&record(Some("{\"id\":1}"), Some("{\"id\":2,\"v\":\"x\"}"))).unwrap();
    assert_eq!(rows[0].values, [Value::Int64(1), Value::Null, text("x")]);
    let rows = topic.decode(&record(Some("{\"id\":1}"), None)).unwrap();
    assert_eq!(rows[0].kind, RowKind::Delete);
    assert_eq!(rows[0].values, [Value::Int64(1), Value::Null, Value::Null]);
    let error = topic.decode(&record(Some("{\"x\":1}"), None)).unwrap_err();
    assert_eq!(error.reason, "column id: the deletion does not say which row it deletes");
    assert!(
        topic.decode(&record(Some("7"), None)).unwrap_err().reason.contains("the key is a number")
    );
    assert_eq!(topic.decode(&record(None, None)).unwrap(), []);
}

#[test]
fn new_fields_become_columns_unless_the_settings_say_no() {
    let mut topic = Topic::new(&[("table.schema", "a INT NOT NULL, r ROW<x INT>")], &[]);
    topic.one("{\"a\":1,\"z\":null}");
    assert_eq!(topic.schema.columns.len(), 2);
    let values = topic.one("{\"a\":1,\"b\":[1,2.5],\"r\":{\"x\":1,\"y\":\"t\"},\"e\":{}}");
    let shown: Vec<String> = topic.schema.columns.iter().map(ToString::to_string).collect();
    assert_eq!(shown, ["`a` INT NOT NULL", "`r` ROW<`x` INT, `y` STRING>", "`b` ARRAY<DOUBLE>"]);
    assert_eq!(values[1], Value::Row(vec![Value::Int32(1), text("t")]));
    assert_eq!(topic.schema.columns[1].id, 1);
    assert_eq!(topic.schema.highest_field_id, 4);
    // Declared types are not widened.
    assert!(topic.reason("{\"a\":1.5}").contains("is no INT"));

    let none = [("table.schema", "a INT"), ("table.schema.evolution", "none")];
    let mut topic = Topic::new(&none, &[]);
    assert_eq!(topic.one("{\"b\":1,\"a\":2}"), [Value::Int32(2)]);
}

#[test]
fn inferred_columns_hold_the_sample_and_widen_later() {
    let sample = [
        record(None, Some("{\"id\":1,\"n\":null,\"x\":1,\"l\":[]}")),
        record(None, Some("broken")),
        record(None, None),
        record(None, Some("{\"id\":2,\"x\":2,\"s\":\"t\",\"m\":1,\"l\":[{\"k\":true}]}")),
        record(None, Some("{\"id\":18446744073709551615,\"m\":\"one\"}")),
    ];
    let mut topic = Topic::new(&[("table.primary.key", "id")], &sample);
    let shown: Vec<String> = topic.schema.columns.iter().map(ToString::to_string).collect();
    let expected = [
        "`id` DECIMAL(38, 0) NOT NULL",
        "`x` BIGINT",
        "`l` ARRAY<ROW<`k` BOOLEAN>>",
        "`s` STRING",
        "`m` STRING",
    ];
    assert_eq!(shown, expected);
    let values = topic.one("{\"id\":3,\"x\":2.5,\"n\":7,\"m\":1}");
    assert_eq!(values[1], Value::Float64(2.5));
    assert_eq!(values[4], text("1"));
    assert_eq!(values[5], Value::Int64(7));
    // A key keeps its type.
    assert!(topic.reason("{\"id\":3.5}").contains("column id"));
    // A number is no text the other way round.
    assert!(topic.reason("{\"id\":3,\"x\":\"text\"}").contains("column x"));

    let settings = settings(&[("table.primary.key", "key")]);
    let error = Decoder::infer(&settings, &sample).unwrap_err();
    assert!(error.reason.contains("the column key is in none of the first 5 records"));
    assert_eq!(Decoder::infer(&settings, &sample[1..3]), Ok(Vec::new()));
}

#[test]
fn what_is_nested_too_deeply_is_text_so_that_the_schema_stays_readable() {
    let nested = |depth: usize| {
        let (open, close) = ("{\"a\":".repeat(depth), "}".repeat(depth));
        format!("{{\"id\":1,\"v\":{open}1{close}}}")
    };
    let deep = nested(60);
    let inferred = Topic::new(&[], &[record(None, Some(&deep))]);
    let mut evolved = Topic::new(&[], &[record(None, Some("{\"id\":1}"))]);
    evolved.one(&deep);
    for topic in [inferred, evolved] {
        let json = topic.schema.to_json();
        assert_eq!(TableSchema::from_json(json.as_bytes()).as_ref(), Ok(&topic.schema));
        assert!(json.contains("\"STRING\""), "{json}");
    }
}

#[test]
fn a_deletion_without_its_sequence_would_never_count_and_is_refused() {
    let configs = [
        ("table.schema", "id BIGINT, at INT"),
        ("table.primary.key", "id"),
        ("table.sequence.field", "at"),
    ];
    let mut with_key = configs.to_vec();
    with_key.push(("table.key.format", "json"));
    let mut topic = Topic::new(&with_key, &[]);
    let error = topic.decode(&record(Some("{\"id\":1}"), None)).unwrap_err();
    assert!(error.reason.starts_with("column at: the deletion has no value"), "{error}");

    let mut debezium = configs.to_vec();
    debezium.push(DEBEZIUM[0]);
    let mut topic = Topic::new(&debezium, &[]);
    assert!(topic.reason(r#"{"op":"d","before":{"id":1,"at":null}}"#).starts_with("column at"));
    assert_eq!(
        topic.one(r#"{"op":"d","before":{"id":1,"at":7}}"#),
        [Value::Int64(1), Value::Int32(7)]
    );
    let moved = r#"{"op":"u","before":{"id":1},"after":{"id":2,"at":8}}"#;
    assert!(topic.reason(moved).starts_with("column at"));
}

#[test]
fn a_row_before_of_made_up_zeroes_is_no_more_than_its_key() {
    let mut topic = Topic::new(
        &[
            DEBEZIUM[0],
            ("table.schema", "id BIGINT, at BIGINT NOT NULL, v STRING, d DECIMAL(9, 2), b BOOLEAN"),
            ("table.primary.key", "id"),
            ("table.sequence.field", "at"),
        ],
        &[],
    );
    let made_up = r#"{"id":7,"at":0,"v":"","d":"AA==","b":false,"t":"1970-01-01T00:00:00Z"}"#;
    for change in [
        format!(r#"{{"op":"d","before":{made_up},"after":null}}"#),
        r#"{"op":"d","before":{"id":7,"at":0,"v":null}}"#.into(),
        format!(r#"{{"op":"u","before":{made_up},"after":{{"id":8,"at":5}}}}"#),
    ] {
        let reason = topic.reason(&change);
        assert!(reason.starts_with("column at") && reason.contains("REPLICA IDENTITY"), "{reason}");
    }
    // One value that is none of these shows that the row is whole, and its zero is a zero.
    let whole = r#"{"op":"d","before":{"id":7,"at":0,"v":"x","d":"AA==","b":false}}"#;
    assert_eq!(topic.one(whole)[1], Value::Int64(0));
    // Without a sequence field the key is all that counts.
    let mut topic = debezium("id INT, v STRING NOT NULL");
    assert_eq!(topic.one(r#"{"op":"d","before":{"id":7,"v":""}}"#)[0], Value::Int32(7));
}

const DEBEZIUM: [(&str, &str); 2] =
    [("table.value.format", "debezium-json"), ("table.primary.key", "id")];

fn debezium(schema: &str) -> Topic {
    let configs = [DEBEZIUM[0], DEBEZIUM[1], ("table.schema", schema)];
    Topic::new(&configs, &[])
}

#[test]
fn changes_become_rows() {
    let mut topic = debezium("id INT, v STRING");
    let mut kinds = |value: &str| -> Vec<(RowKind, Value)> {
        let rows = topic.decode(&record(Some("{\"id\":9}"), Some(value))).unwrap();
        rows.into_iter().map(|row| (row.kind, row.values[0].clone())).collect()
    };
    let id = Value::Int32;
    assert_eq!(kinds(r#"{"op":"r","after":{"id":1}}"#), [(RowKind::Insert, id(1))]);
    assert_eq!(kinds(r#"{"before":null,"after":{"id":1},"op":"c"}"#), [(RowKind::Insert, id(1))]);
    assert_eq!(
        kinds(r#"{"before":{"id":1},"after":{"id":1},"op":"u"}"#),
        [(RowKind::UpdateAfter, id(1))]
    );
    assert_eq!(
        kinds(r#"{"before":{"id":1},"after":{"id":2},"op":"u"}"#),
        [(RowKind::Delete, id(1)), (RowKind::UpdateAfter, id(2))]
    );
    assert_eq!(kinds(r#"{"before":{"id":1},"after":null,"op":"d"}"#), [(RowKind::Delete, id(1))]);
    assert_eq!(kinds(r#"{"before":null,"after":null,"op":"d"}"#), [(RowKind::Delete, id(9))]);
    assert_eq!(kinds(r#"{"payload":{"op":"d","before":{"id":1}}}"#), [(RowKind::Delete, id(1))]);
    for skipped in [
        r#"{"ts_ms":1}"#,
        r#"{"status":"BEGIN","id":"571","event_count":null}"#,
        r#"{"status":"END","id":"571","event_count":2,"data_collections":[{}],"ts_ms":1}"#,
        r#"{"schema":{},"payload":{"ts_ms":1}}"#,
        r#"{"source":{},"ts_ms":1,"databaseName":"d","schemaName":null,"ddl":"CREATE TABLE"}"#,
        r#"{"source":{},"position":{},"databaseName":"d","ddl":"","tableChanges":[]}"#,
        r#"{"op":"m","message":{"prefix":"p"}}"#,
        r#"{"schema":null,"payload":null}"#,
    ] {
        assert_eq!(kinds(skipped), [], "{skipped}");
    }
    for (refused, reason) in [
        (r#"{"id":1}"#, "no op"),
        (r#"{"id":1,"status":"PAID","total":3}"#, "no op"),
        (r#"{"id":"1","status":"PAID"}"#, "no op"),
        (r#"{"id":"1","ts_ms":1}"#, "no op"),
        (r#"{"ts_ms":1,"v":"x"}"#, "no op"),
        (r#"{"message":"hello"}"#, "no op"),
        (r#"{"ddl":"CREATE TABLE"}"#, "no op"),
        (r#"{"before":null,"after":{"id":1},"source":{},"ts_ms":1}"#, "no op"),
        (r#"{"payload":{}}"#, "no op"),
        (r#"{"op":"t"}"#, "truncated"),
        (r#"{"op":"x"}"#, "op \"x\" is unknown"),
        (r#"{"op":"c","after":null}"#, "no row after"),
        (r#"{"op":"d","before":{"v":"x"}}"#, "column id: the deletion does not say"),
        (r#"{"op":"c","after":{"v":"x"}}"#, "column id: it is NOT NULL"),
        (r#"{"op":"u","after":{"id":1,"v":"__debezium_unavailable_value"}}"#, "REPLICA IDENTITY"),
    ] {
        assert!(topic.reason(refused).contains(reason), "{refused}: {}", topic.reason(refused));
    }
    assert_eq!(topic.decode(&record(Some("{\"id\":9}"), None)).unwrap(), []);
}

#[test]
fn a_decimal_without_schema_is_base64_or_digits_and_never_guessed() {
    let change = |decimal: &str| format!("{{\"op\":\"c\",\"after\":{{\"id\":1,\"d\":{decimal}}}}}");
    let mut topic = debezium("id INT, d DECIMAL(18, 0)");
    assert!(topic.reason(&change("\"1234\"")).contains("may be a number or base64"));
    assert_eq!(topic.one(&change("\"-12\""))[1], Value::Decimal(-12));
    assert_eq!(topic.one(&change("\"1234\""))[1], Value::Decimal(1234));
    assert_eq!(topic.one(&change("12"))[1], Value::Decimal(12));
    let mut topic = debezium("id INT, d DECIMAL(18, 2)");
    assert_eq!(topic.one(&change("\"AQ==\""))[1], Value::Decimal(1));
    assert_eq!(topic.one(&change("\"1234\""))[1], Value::Decimal(-2_658_824));
    assert!(topic.reason(&change("\"12.34\"")).contains("the topic wrote base64 before"));
    assert_eq!(topic.one(&change("\"AQ==\""))[1], Value::Decimal(1));
    assert_eq!(topic.one(&change(r#"{"scale":1,"value":"AQ=="}"#))[1], Value::Decimal(10));
}

#[test]
fn a_topic_that_writes_digits_goes_on_writing_digits() {
    let change = |decimal: &str| format!("{{\"op\":\"c\",\"after\":{{\"id\":1,\"d\":{decimal}}}}}");
    let mut topic = debezium("id INT, d DECIMAL(18, 2)");
    // Nothing was seen yet: taken as most topics mean it, and nothing learned from it.
    assert_eq!(topic.one(&change("\"1234\""))[1], Value::Decimal(-2_658_824));
    assert_eq!(topic.one(&change("\"12.34\""))[1], Value::Decimal(1234));
    assert_eq!(topic.one(&change("\"1234\""))[1], Value::Decimal(123_400));
    assert!(topic.reason(&change("\"AQ==\"")).contains("the topic wrote digits before"));
    assert_eq!(topic.one(&change("\"1234\""))[1], Value::Decimal(123_400));
    // Nor is it forgotten when a new column makes a new decoder.
    topic.one(r#"{"op":"c","after":{"id":2,"new":true}}"#);
    assert_eq!(topic.one(&change("\"1234\""))[1], Value::Decimal(123_400));
}

#[test]
fn an_envelope_says_what_values_mean() {
    let envelope = |fields: &str, after: &str| {
        format!(
            "{{\"schema\":{{\"type\":\"struct\",\"fields\":[{{\"field\":\"after\",\"type\":\"struct\",\
             \"fields\":[{{\"field\":\"id\",\"type\":\"int32\"}},{fields}]}}]}},\
             \"payload\":{{\"op\":\"c\",\"after\":{{\"id\":1,{after}}}}}}}"
        )
    };
    let field = |name: &str, physical: &str, more: &str| {
        format!("{{\"field\":\"v\",\"type\":\"{physical}\",\"name\":\"{name}\"{more}}}")
    };
    let at = |millis, nanos_of_milli| Value::Timestamp { millis, nanos_of_milli };
    let cases = [
        (
            "org.apache.kafka.connect.data.Decimal",
            "bytes",
            ",\"parameters\":{\"scale\":\"1\",\"connect.decimal.precision\":\"9\"}",
            "\"AQ==\"",
            "DECIMAL(9, 1)",
            Value::Decimal(1),
        ),
        (
            "org.apache.kafka.connect.data.Decimal",
            "bytes",
            ",\"parameters\":{\"scale\":\"1\",\"connect.decimal.precision\":\"60\"}",
            "\"AQ==\"",
            "STRING",
            text("0.1"),
        ),
        (
            "io.debezium.data.VariableScaleDecimal",
            "struct",
            "",
            "{\"scale\":3,\"value\":\"/w==\"}",
            "STRING",
            text("-0.001"),
        ),
        ("org.apache.kafka.connect.data.Date", "int32", "", "3", "DATE", Value::Date(3)),
        ("io.debezium.time.Time", "int32", "", "7", "TIME(3)", Value::Time(7)),
        ("io.debezium.time.MicroTime", "int64", "", "7", "BIGINT", Value::Int64(7)),
        ("io.debezium.time.Timestamp", "int64", "", "-1", "TIMESTAMP(3)", at(-1, 0)),
        ("io.debezium.time.MicroTimestamp", "int64", "", "-1", "TIMESTAMP(6)", at(-1, 999_000)),
        ("io.debezium.time.NanoTimestamp", "int64", "", "5", "BIGINT", Value::Int64(5)),
        (
            "io.debezium.time.ZonedTimestamp",
            "string",
            "",
            "\"1970-01-01T00:00:01Z\"",
            "TIMESTAMP(6) WITH LOCAL TIME ZONE",
            at(1000, 0),
        ),
        ("io.debezium.time.Year", "int32", "", "2024", "INT", Value::Int32(2024)),
        ("io.debezium.data.Uuid", "string", "", "\"u\"", "STRING", text("u")),
        ("io.debezium.data.Json", "string", "", "\"{}\"", "STRING", text("{}")),
        ("io.debezium.data.Bits", "bytes", "", "\"AQ==\"", "BYTES", Value::Bytes(vec![1])),
        (
            "x",
            "array",
            ",\"items\":{\"type\":\"int32\",\"name\":\"io.debezium.time.Date\"}",
            "[1]",
            "ARRAY<DATE>",
            Value::Array(vec![Value::Date(1)]),
        ),
        (
            "x",
            "map",
            ",\"keys\":{\"type\":\"string\"},\"values\":{\"type\":\"int16\"}",
            "{\"a\":1}",
            "MAP<STRING NOT NULL, SMALLINT>",
            Value::Map(vec![(text("a"), Value::Int16(1))]),
        ),
        (
            "io.debezium.data.geometry.Point",
            "struct",
            ",\"fields\":[{\"field\":\"x\",\"type\":\"double\"},{\"field\":\"wkb\",\"type\":\"bytes\"}]",
            "{\"x\":1.5,\"wkb\":\"AQ==\"}",
            "ROW<`x` DOUBLE, `wkb` BYTES>",
            Value::Row(vec![Value::Float64(1.5), Value::Bytes(vec![1])]),
        ),
    ];
    for (name, physical, more, json, sql, expected) in cases {
        let value = envelope(&field(name, physical, more), &format!("\"v\":{json}"));
        let sample = [record(None, Some(&value))];
        let mut topic = Topic::new(&DEBEZIUM, &sample);
        assert_eq!(topic.schema.columns[1].column_type.to_string(), sql, "{name}");
        assert_eq!(topic.one(&value)[1], expected, "{name}");
        // Met later, it becomes the same column.
        let mut topic = debezium("id INT");
        assert_eq!(topic.one(&value)[1], expected, "{name}");
        assert_eq!(topic.schema.columns[1].column_type.to_string(), sql, "{name}");
    }
    // A declared type counts in the units of the envelope.
    let value = envelope(&field("io.debezium.time.NanoTimestamp", "int64", ""), "\"v\":1234567");
    assert_eq!(debezium("id INT, v TIMESTAMP(6)").one(&value)[1], at(1, 234_000));
    let value = envelope(&field("io.debezium.time.MicroTime", "int64", ""), "\"v\":1234567");
    assert_eq!(debezium("id INT, v TIME(3)").one(&value)[1], Value::Time(1234));
}

// ---- what Debezium captured from PostgreSQL ----

fn lines(name: &str) -> Vec<Json> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data").join(name);
    let file = flate2::read::GzDecoder::new(std::fs::File::open(path).unwrap());
    let parse = |line: std::io::Result<String>| serde_json::from_str(&line.unwrap()).unwrap();
    BufReader::new(file).lines().map(parse).collect()
}

fn captured(name: &str) -> Vec<Record> {
    let record_of = |line: Json| record(line["key"].as_str(), line["value"].as_str());
    lines(&format!("{name}.debezium.jsonl.gz")).into_iter().map(record_of).collect()
}

/// The rows that are left when all changes are applied, by the text of their key.
fn folded(topic: &mut Topic, records: &[Record]) -> BTreeMap<String, Vec<Value>> {
    let mut table = BTreeMap::new();
    for record in records {
        for row in topic.decode(record).unwrap() {
            let places = topic.schema.trimmed_primary_key();
            let key: Vec<&Value> = places.iter().map(|place| &row.values[*place]).collect();
            let key = format!("{key:?}");
            match row.kind.is_retract() {
                true => drop(table.remove(&key)),
                false => drop(table.insert(key, row.values)),
            }
        }
    }
    table
}

/// Year, month and day of a number of days since 1970, the long way round.
fn civil(days: i64) -> String {
    let (mut year, mut left) = (1970 + days.div_euclid(146_097) * 400, days.rem_euclid(146_097));
    let is_leap = |year: i64| year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    while left >= 365 + i64::from(is_leap(year)) {
        left -= 365 + i64::from(is_leap(year));
        year += 1;
    }
    let february = 28 + i64::from(is_leap(year));
    let mut month = 1;
    for days in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
        if left < days {
            break;
        }
        left -= days;
        month += 1;
    }
    format!("{year:04}-{month:02}-{:02}", left + 1)
}

fn clock(micros: i64) -> String {
    let seconds = micros / 1_000_000;
    let whole = format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60);
    match micros % 1_000_000 {
        0 => whole,
        fraction => format!("{whole}.{}", format!("{fraction:06}").trim_end_matches('0')),
    }
}

/// The value as PostgreSQL's `to_json` shows it.
fn as_postgres(value: &Value, column: &Column) -> Json {
    let text = |text: String| Json::from(text);
    match (value, &column.column_type.data_type) {
        (Value::Null, _) => Json::Null,
        (Value::Boolean(value), _) => (*value).into(),
        (Value::Int16(value), _) => (*value).into(),
        (Value::Int32(value), _) => (*value).into(),
        (Value::Int64(micros), _) if column.name == "c_time_6" => text(clock(*micros)),
        (Value::Int64(value), _) => (*value).into(),
        (Value::Decimal(value), DataType::Decimal { scale, .. }) => {
            let shown = scalar::decimal_text(*value, i32::from(*scale));
            serde_json::from_str(&shown).unwrap()
        }
        (Value::Date(days), _) => text(civil(i64::from(*days))),
        (Value::Time(millis), _) => text(clock(i64::from(*millis) * 1000)),
        (Value::Timestamp { millis, nanos_of_milli }, data_type) => {
            let micros = millis * 1000 + i64::from(nanos_of_milli / 1000);
            let day = 86_400_000_000;
            let zone =
                if matches!(data_type, DataType::TimestampLtz { .. }) { "+00:00" } else { "" };
            let date = civil(micros.div_euclid(day));
            text(format!("{date}T{}{zone}", clock(micros.rem_euclid(day))))
        }
        (Value::String(value), _) => text(value.clone()),
        (Value::Bytes(bytes), _) => {
            let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            text(format!("\\x{hex}"))
        }
        (Value::Array(values), DataType::Array(_)) => {
            values.iter().map(|value| as_postgres(value, column)).collect()
        }
        (value, data_type) => panic!("{value:?} of {data_type}"),
    }
}

fn is_same(value: &Value, column: &Column, expected: &Json) -> bool {
    let number = expected.as_str().map_or_else(|| expected.to_string(), str::to_owned);
    match value {
        Value::Float32(value) => {
            let number: f32 = number.parse().unwrap();
            *value == number || (value.is_nan() && number.is_nan())
        }
        Value::Float64(value) => {
            let number: f64 = number.parse().unwrap();
            *value == number || (value.is_nan() && number.is_nan())
        }
        _ => as_postgres(value, column) == *expected,
    }
}

fn check_final(name: &str, topic: &Topic, table: &BTreeMap<String, Vec<Value>>, file: &str) {
    let expected = lines(file);
    assert_eq!(table.len(), expected.len(), "{name}");
    let mut seen = 0;
    for row in &expected {
        let fits = |values: &&Vec<Value>| {
            topic.schema.trimmed_primary_key().iter().all(|place| {
                let column = &topic.schema.columns[*place];
                is_same(&values[*place], column, &row[&column.name])
            })
        };
        // Keys are found by value where they are unique texts or numbers: cheap enough here.
        let places = topic.schema.trimmed_primary_key();
        let values = match places.as_slice() {
            [place] => {
                let key = &row[&topic.schema.columns[*place].name];
                let key = match topic.schema.columns[*place].column_type.data_type {
                    DataType::Int => Value::Int32(key.as_i64().unwrap() as i32),
                    DataType::BigInt => Value::Int64(key.as_i64().unwrap()),
                    _ => text(key.as_str().unwrap()),
                };
                table.get(&format!("{:?}", [key]))
            }
            _ => table.values().find(fits),
        };
        let values = values.unwrap_or_else(|| panic!("{name}: {row} is missing"));
        for (value, column) in values.iter().zip(&topic.schema.columns) {
            let expected = &row[&column.name];
            assert!(
                is_same(value, column, expected),
                "{name}: {column}: {value:?} is not {expected}"
            );
        }
        seen += 1;
    }
    assert_eq!(seen, expected.len());
}

fn catalogue() -> Vec<Json> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data/tables.json");
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

#[test]
fn captured_changes_fold_into_the_rows_that_postgresql_held() {
    for set in catalogue() {
        let (name, key) = (set["name"].as_str().unwrap(), set["primary_key"].as_str().unwrap());
        // Of pgbench_accounts the first records would do; the whole file is for the whole system.
        if key.is_empty() || name == "pgbench_accounts" || name == "order_items" {
            continue;
        }
        let configs = [
            ("table.value.format", "debezium-json"),
            ("table.primary.key", key),
            ("table.schema", set["schema"].as_str().unwrap()),
            ("table.schema.evolution", "none"),
        ];
        let records = captured(name);
        assert_eq!(records.len() as u64, set["records"].as_u64().unwrap());
        let mut topic = Topic::new(&configs, &records);
        let table = folded(&mut topic, &records);
        match set["final_file"].as_str() {
            Some(file) => check_final(name, &topic, &table, file),
            None => assert_eq!(table.len() as u64, set["rows"].as_u64().unwrap()),
        }
    }
}

#[test]
fn captured_changes_with_an_envelope_need_no_declared_schema() {
    for (name, key, file) in [
        ("types.envelope", "id", "types.final.jsonl.gz"),
        ("products.envelope", "sku", "products.final.jsonl.gz"),
    ] {
        let records = captured(name);
        let configs = [("table.value.format", "debezium-json"), ("table.primary.key", key)];
        let mut topic = Topic::new(&configs, &records[..1]);
        assert_eq!(topic.schema.columns.len(), if key == "id" { 24 } else { 8 });
        let table = folded(&mut topic, &records);
        assert_eq!(topic.schema.id, 0);
        check_final(name, &topic, &table, file);
    }
}

#[test]
fn captured_decimals_written_as_digits_are_the_same_numbers() {
    let set = catalogue().into_iter().find(|set| set["name"] == "types.text").unwrap();
    let configs = [DEBEZIUM[0], DEBEZIUM[1], ("table.schema", set["schema"].as_str().unwrap())];
    let mut topic = Topic::new(&configs, &[]);
    let table = folded(&mut topic, &captured("types.text"));
    for row in lines("types.final.jsonl.gz") {
        let id = Value::Int32(row["id"].as_i64().unwrap() as i32);
        let values = &table[&format!("{:?}", [id])];
        for (value, column) in values.iter().zip(&topic.schema.columns) {
            if !matches!(column.name.as_str(), "c_bytea" | "c_time_6") {
                assert!(is_same(value, column, &row[&column.name]), "{column}: {value:?}");
            }
        }
    }
}

// ---- whatever comes ----

/// JSON of any shape that is no larger than a few lines.
fn any_json() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("null".to_owned()),
        Just("true".to_owned()),
        any::<i64>().prop_map(|number| number.to_string()),
        any::<f64>().prop_map(|number| format!("{number:e}")),
        "-?[0-9]{1,40}(\\.[0-9]{1,40})?([eE][+-]?[0-9]{1,12})?",
        "\"[a-zA-Z0-9+/=:.TZ-]{0,30}\"",
        "[+]?[0-9]{4,10}-[0-9]{2}-[0-9]{2}".prop_map(|text| format!("\"{text}\"")),
        ".{0,12}".prop_map(|text| serde_json::to_string(&text).unwrap()),
    ];
    leaf.prop_recursive(4, 24, 5, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..5)
                .prop_map(|elements| format!("[{}]", elements.join(","))),
            proptest::collection::vec(("[a-z]{1,2}|id|scale|value", inner), 0..5).prop_map(
                |members| {
                    let members: Vec<String> =
                        members.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
                    format!("{{{}}}", members.join(","))
                }
            ),
        ]
    })
}

const EVERY_TYPE: &str = "id INT NOT NULL, a BOOLEAN, b TINYINT, c SMALLINT, d BIGINT, e FLOAT, \
    f DOUBLE, g DECIMAL(9, 2), h DECIMAL(38, 0), i DATE, j TIME(3), k VARCHAR(5), l STRING, \
    m BINARY(3), n TIMESTAMP(3), o TIMESTAMP(6), p TIMESTAMP(0) WITH LOCAL TIME ZONE, q ARRAY<INT>, \
    r MAP<INT, STRING>, s ROW<a INT, b ARRAY<DECIMAL(5, 1)>>, t MAP<STRING, ROW<x DATE NOT NULL>>";

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn no_value_makes_a_decoder_panic(
        column in 0_usize..21, json in any_json(), op in "[rcudtm]", cut in any::<prop::sample::Index>(),
    ) {
        let column = &parse_names()[column];
        let row = format!("{{\"id\":1,\"{column}\":{json}}}");
        let change = format!("{{\"before\":{row},\"after\":{row},\"op\":\"{op}\"}}");
        let mut json_topic = Topic::new(
            &[("table.schema", EVERY_TYPE), ("table.primary.key", "id"), ("table.key.format", "json")],
            &[],
        );
        let mut debezium_topic = debezium(EVERY_TYPE);
        for (topic, value) in [(&mut json_topic, &row), (&mut debezium_topic, &change)] {
            let whole = record(Some(value), Some(value));
            check_rows(topic, &whole);
            let cut = cut.index(value.len());
            if value.is_char_boundary(cut) {
                let torn = topic.decode(&record(None, Some(&value[..cut])));
                prop_assert!(torn.is_err(), "{}", value);
            }
            check_rows(topic, &record(Some(value), None));
        }
        if serde_json::from_str::<Json>(&row).is_err() {
            return Ok(());
        }
        let sample = [record(None, Some(&row))];
        let mut inferred = Topic::new(&[], &sample);
        prop_assert!(inferred.decode(&sample[0]).is_ok(), "{} {:?}", row, inferred.schema.columns);
    }

    #[test]
    fn no_bytes_make_a_decoder_panic(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
        let bytes = Bytes::from(bytes);
        let record = Record { key: Some(bytes.clone()), value: Some(bytes), ..record(None, None) };
        check_rows(&mut debezium("id INT"), &record);
        check_rows(&mut Topic::new(&[("table.schema", "id INT")], &[]), &record);
    }
}

fn parse_names() -> Vec<String> {
    let columns = weir_protocol::table::sql::parse_columns(EVERY_TYPE).unwrap();
    columns.into_iter().map(|column| column.name).collect()
}

/// Whatever is decoded becomes a row of a batch.
fn check_rows(topic: &mut Topic, record: &Record) {
    let Ok(rows) = topic.decode(record) else { return };
    let mut columns = crate::data_file::columns::ColumnBuilders::new(&topic.schema);
    for row in rows {
        columns.append(0, &row).unwrap();
        let batch = columns.finish();
        let read = crate::data_file::values::rows_of(&batch, &topic.schema);
        if row.kind == RowKind::Insert {
            assert_eq!(format!("{:?}", read[0].values), format!("{:?}", row.values));
        }
    }
}
