//! Two ways to read a record agree, and what is wrong in a table is found.

use std::convert::Infallible;
use std::io::{BufRead, BufReader};
use std::path::Path;

use bytes::Bytes;
use proptest::prelude::*;
use serde_json::Value as Json;
use weir_protocol::records::batch::RecordBatch as LogBatch;
use weir_protocol::records::builder::BatchBuilder;
use weir_protocol::records::compression::Compression;

use super::*;
use crate::data_file::columns::ColumnBuilders;
use crate::decode::{Decoded, Decoder};
use crate::row::Row;
use crate::schema::SYSTEM_COLUMN_COUNT;

fn record(offset: i64, key: Option<&str>, value: Option<&str>) -> Record {
    let mut builder = BatchBuilder::new(Compression::None);
    builder.append(0, key.map(str::as_bytes), value.map(str::as_bytes), &[]);
    let batch = LogBatch::parse(builder.finish()).unwrap();
    let record = batch.records(1 << 30).unwrap().next().unwrap().unwrap();
    Record { offset: Offset(offset), ..record }
}

fn table(configs: &[(&str, &str)]) -> (TableSettings, TableSchema) {
    let configs: BTreeMap<String, String> =
        configs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    let settings = TableSettings::parse("t", &configs).unwrap();
    let columns = settings.columns.clone().unwrap();
    let schema = TableSchema::from_settings(&settings, &columns, 1, 0).unwrap();
    (settings, schema)
}

/// Rows as a reader sees them.
fn batch(schema: &TableSchema, rows: &[Row]) -> RecordBatch {
    let mut columns = ColumnBuilders::new(schema);
    for row in rows {
        columns.append(0, row).unwrap();
    }
    let batch = columns.finish();
    let first = if schema.has_primary_key() { SYSTEM_COLUMN_COUNT } else { 0 };
    batch.project(&(first..batch.num_columns()).collect::<Vec<_>>()).unwrap()
}

fn compared(refold: Refold, batches: Vec<RecordBatch>) -> Verified {
    let batches = batches.into_iter().map(Ok::<_, Infallible>);
    refold.compare(batches).unwrap_or_else(|never| match never {})
}

/// The rows that the decoders make of records, the last of each key.
fn decoded(
    settings: &TableSettings,
    schema: &TableSchema,
    records: &[Record],
) -> BTreeMap<String, Row> {
    let mut decoder = Decoder::new(settings, schema);
    let mut table = BTreeMap::new();
    for record in records {
        let mut rows = Vec::new();
        assert!(!matches!(decoder.decode(record, &mut rows), Ok(Decoded::NeedsSchema(_))));
        for row in rows {
            let key: Vec<_> =
                schema.trimmed_primary_key().iter().map(|at| row.values[*at].clone()).collect();
            let key = format!("{key:?}");
            match row.kind.is_retract() {
                true => drop(table.remove(&key)),
                false => drop(table.insert(key, row)),
            }
        }
    }
    table
}

fn lines(name: &str) -> Vec<Json> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data").join(name);
    let file = flate2::read::GzDecoder::new(std::fs::File::open(path).unwrap());
    let parse = |line: std::io::Result<String>| serde_json::from_str(&line.unwrap()).unwrap();
    BufReader::new(file).lines().map(parse).collect()
}

#[test]
fn captured_changes_refold_into_the_rows_that_the_decoders_make() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data/tables.json");
    let sets: Vec<Json> = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let mut set_count = 0;
    for set in sets {
        let text = |name: &str| set[name].as_str().unwrap();
        if text("primary_key").is_empty() || text("name") == "pgbench_accounts" {
            continue;
        }
        set_count += 1;
        let (settings, schema) = table(&[
            ("table.value.format", "debezium-json"),
            ("table.primary.key", text("primary_key")),
            ("table.schema", text("schema")),
            ("table.schema.evolution", "none"),
        ]);
        let lines = lines(&format!("{}.debezium.jsonl.gz", text("name")));
        let records: Vec<Record> = (0..)
            .zip(&lines)
            .map(|(offset, line)| record(offset, line["key"].as_str(), line["value"].as_str()))
            .collect();
        let mut refold = Refold::new(&settings, &schema, BTreeSet::new());
        for record in &records {
            refold.add(0, record);
        }
        let rows: Vec<Row> = decoded(&settings, &schema, &records).into_values().collect();
        let verified = compared(refold, vec![batch(&schema, &rows)]);
        assert!(verified.is_equal(), "{}: {verified:#?}", text("name"));
        assert_eq!(verified.expected_count, rows.len() as u64);
        assert_eq!(verified.record_count, records.len() as u64);
    }
    assert!(set_count >= 5);
}

const JSON: &[(&str, &str)] = &[
    ("table.schema", "id INT, name STRING"),
    ("table.primary.key", "id"),
    ("table.key.format", "json"),
];

fn named(id: i32, name: &str) -> Row {
    use crate::row::{RowKind, Value};
    let values = vec![Value::Int32(id), Value::String(name.into())];
    Row { kind: RowKind::Insert, values }
}

fn refolded(records: &[(i32, Record)]) -> Refold {
    let (settings, schema) = table(JSON);
    let mut refold = Refold::new(&settings, &schema, BTreeSet::new());
    for (partition, record) in records {
        refold.add(*partition, record);
    }
    refold
}

fn upsert(offset: i64, id: i32, name: &str) -> Record {
    record(offset, None, Some(&format!("{{\"id\":{id},\"name\":\"{name}\"}}")))
}

fn compared_rows(records: &[(i32, Record)], rows: &[Row]) -> Verified {
    let (_, schema) = table(JSON);
    compared(refolded(records), vec![batch(&schema, rows)])
}

#[test]
fn each_kind_of_difference_is_found_and_told() {
    let log = [
        (0, upsert(0, 1, "a")),
        (0, upsert(1, 1, "b")),
        (0, upsert(2, 2, "c")),
        (0, upsert(3, 3, "gone")),
        (0, record(4, Some("{\"id\":3}"), None)),
    ];
    let right = [named(1, "b"), named(2, "c")];
    assert!(compared_rows(&log, &right).is_equal());
    let found = |rows: &[Row]| compared_rows(&log, rows).differences;
    let missing = Difference::Missing { row: "[2, \"c\"]".into() };
    assert_eq!(found(&right[..1]), [missing]);
    let revived = [&right[..], &[named(3, "gone")]].concat();
    assert_eq!(found(&revived), [Difference::Unexpected { row: "[3, \"gone\"]".into() }]);
    let (expected, stale) = ("[1, \"b\"]".to_owned(), "[1, \"a\"]".to_owned());
    let differs = Difference::Differs { key: "[1]".into(), expected, found: stale };
    assert_eq!(found(&[named(1, "a"), named(2, "c")]), [differs]);
    let twice = [&right[..], &[named(2, "c")]].concat();
    assert_eq!(found(&twice), [Difference::Twice { key: "[2]".into() }]);
}

#[test]
fn a_record_that_cannot_be_read_must_be_in_the_quarantine() {
    let (settings, schema) = table(JSON);
    let bad = record(7, None, Some("{\"id\":\"one\"}"));
    for (is_set_aside, difference_count) in [(true, 0), (false, 1)] {
        let quarantined: BTreeSet<(i32, Offset)> =
            is_set_aside.then_some((0, Offset(7))).into_iter().collect();
        let mut refold = Refold::new(&settings, &schema, quarantined);
        refold.add(0, &bad);
        let verified = compared(refold, Vec::new());
        assert_eq!(verified.difference_count, difference_count, "{verified:?}");
    }
}

#[test]
fn a_key_in_two_partitions_may_end_as_either_of_them() {
    let log = [(0, upsert(0, 1, "a")), (1, upsert(0, 1, "b"))];
    for name in ["a", "b"] {
        let verified = compared_rows(&log, &[named(1, name)]);
        assert!(verified.is_equal() && verified.ambiguous_count == 1);
    }
    assert!(!compared_rows(&log, &[named(1, "c")]).is_equal());
    assert!(!compared_rows(&log, &[]).is_equal());
}

#[test]
fn the_sequence_field_counts_before_the_offset() {
    let configs = [
        &JSON[1..],
        &[("table.schema", "id INT, name STRING, age INT"), ("table.sequence.field", "age")],
    ]
    .concat();
    let (settings, schema) = table(&configs);
    let mut refold = Refold::new(&settings, &schema, BTreeSet::new());
    let ages = [("5", "late"), ("null", "none"), ("4", "early"), ("5", "last")];
    for (offset, (age, name)) in (0..).zip(ages) {
        let value = format!("{{\"id\":1,\"name\":\"{name}\",\"age\":{age}}}");
        refold.add(0, &record(offset, None, Some(&value)));
    }
    let mut row = named(1, "last");
    row.values.push(crate::row::Value::Int32(5));
    assert!(compared(refold, vec![batch(&schema, &[row])]).is_equal());
}

#[test]
fn an_append_table_holds_every_row_as_often_as_it_came() {
    let (settings, schema) = table(&[("table.schema", "id INT, name STRING")]);
    let refolded = || {
        let mut refold = Refold::new(&settings, &schema, BTreeSet::new());
        for (offset, id) in (0..).zip([1, 2, 1]) {
            refold.add(0, &upsert(offset, id, "x"));
        }
        refold
    };
    let rows = |ids: &[i32]| {
        let rows: Vec<Row> = ids.iter().map(|id| named(*id, "x")).collect();
        compared(refolded(), vec![batch(&schema, &rows)])
    };
    assert!(rows(&[2, 1, 1]).is_equal());
    assert_eq!(rows(&[2, 1, 1]).expected_count, 3);
    assert_eq!(rows(&[2, 1]).differences, [Difference::Missing { row: "[1, \"x\"]".into() }]);
    let twice = Difference::Unexpected { row: "[2, \"x\"]".into() };
    assert_eq!(rows(&[2, 1, 2, 1]).differences, [twice]);
}

// ---- whatever comes ----

const EVERY_TYPE: &str = "id INT NOT NULL, a BOOLEAN, b TINYINT, c SMALLINT, d BIGINT, e FLOAT, \
    f DOUBLE, g DECIMAL(9, 2), h DECIMAL(38, 0), i DATE, j TIME(3), k VARCHAR(5), l STRING, \
    m BINARY(3), n TIMESTAMP(3), o TIMESTAMP(6), p TIMESTAMP(0) WITH LOCAL TIME ZONE, \
    q ARRAY<INT>, r MAP<INT, STRING>, s ROW<a INT, b ARRAY<DECIMAL(5, 1)>>, \
    t MAP<STRING, ROW<x DATE NOT NULL>>, u CHAR(2), v BYTES, w TIME(0)";

fn value_text() -> impl Strategy<Value = String> {
    let text = prop_oneof![
        "[0-9]{4}-[0-1][0-9]-[0-3][0-9]",
        "[0-9]{4}-0[1-9]-[0-2][0-9][T ][0-2][0-9]:[0-5][0-9](:[0-5][0-9]([.][0-9]{1,9})?)?\
         (Z|[+-][01][0-9]:?[0-5][0-9])?",
        "[0-2][0-9]:[0-5][0-9](:[0-5][0-9]([.,][0-9]{1,9})?)?Z?",
        "[-+]?[0-9]{1,12}([.][0-9]{1,4})?",
        "[a-zA-Z0-9+/]{0,12}={0,2}",
        "true|FALSE|NaN|Infinity|-Infinity",
        "[-+:.TZ0-9eE]{0,12}",
        ".{0,6}",
    ];
    let leaf = prop_oneof![
        Just("null".to_owned()),
        Just("true".to_owned()),
        (-200..200i64).prop_map(|number| number.to_string()),
        any::<i64>().prop_map(|number| number.to_string()),
        "-?(0|[1-9][0-9]{0,20})([.][0-9]{1,4})?([eE][+-]?[0-9]{1,3})?",
        text.prop_map(|text| serde_json::to_string(&text).unwrap()),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..3)
                .prop_map(|elements| format!("[{}]", elements.join(","))),
            proptest::collection::vec(("[abx1]|[0-9]{1,2}", inner), 0..3).prop_map(|members| {
                let members: Vec<String> =
                    members.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
                format!("{{ {} }}", members.join(", "))
            }),
        ]
    })
}

/// Compares what both ways make of one record.
fn agree(configs: &[(&str, &str)], record: &Record) -> Result<(), TestCaseError> {
    let (settings, schema) = table(configs);
    let mut rows = Vec::new();
    let outcome = Decoder::new(&settings, &schema).decode(record, &mut rows);
    let mut refold = Refold::new(&settings, &schema, BTreeSet::new());
    refold.add(0, record);
    if let Err(error) = outcome {
        let verified = compared(refold, Vec::new());
        let is_refused = matches!(verified.differences[..], [Difference::Unreadable { .. }]);
        prop_assert!(is_refused, "the decoder says {error}; the refold {verified:?}");
        return Ok(());
    }
    let rows: Vec<Row> = rows.into_iter().filter(|row| !row.kind.is_retract()).collect();
    let verified = compared(refold, vec![batch(&schema, &rows)]);
    prop_assert!(verified.is_equal(), "{rows:?}: {verified:?}");
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    #[test]
    fn decoders_and_refold_agree_on_any_value(column in 1..24usize, json in value_text()) {
        let names = weir_protocol::table::sql::parse_columns(EVERY_TYPE).unwrap();
        let row = format!("{{\"id\":1,\"{}\":{json}}}", names[column].name);
        let common = [("table.schema", EVERY_TYPE), ("table.primary.key", "id"),
            ("table.schema.evolution", "none")];
        agree(&common, &record(0, None, Some(&row)))?;
        let change = format!("{{\"before\":null,\"after\":{row},\"op\":\"c\"}}");
        let debezium = [&common[..], &[("table.value.format", "debezium-json")]].concat();
        agree(&debezium, &record(0, None, Some(&change)))?;
    }
}

#[test]
fn keys_of_a_map_that_are_one_number_are_one_key_however_they_are_written() {
    let configs =
        [("table.schema", "id INT NOT NULL, m MAP<INT, STRING>"), ("table.primary.key", "id")];
    let large: Vec<String> = (0..40).map(|key| format!("\"{key}\":\"a\"")).collect();
    let large = large.join(",");
    let maps = [
        r#""01":null,"1":null"#.to_owned(),
        r#""1":"a","01":"b""#.to_owned(),
        r#""01":"a","1":"b","1":"c""#.to_owned(),
        format!(r#"{large},"3":"b","07":"c","39":"d""#),
        format!(r#""007":"b",{large}"#),
    ];
    for map in maps {
        let row = format!(r#"{{"id":1,"m":{{{map}}}}}"#);
        agree(&configs, &record(0, None, Some(&row))).unwrap();
        let (settings, schema) = table(&configs);
        let mut rows = Vec::new();
        let row = record(0, None, Some(&row));
        Decoder::new(&settings, &schema).decode(&row, &mut rows).unwrap();
        let crate::row::Value::Map(entries) = &rows[0].values[1] else { panic!("{rows:?}") };
        let keys: BTreeSet<String> = entries.iter().map(|(key, _)| format!("{key:?}")).collect();
        assert_eq!(keys.len(), entries.len(), "a key stands twice: {map}");
    }
}

#[test]
fn bytes_that_are_no_text_are_unreadable() {
    let (settings, schema) = table(JSON);
    let mut refold = Refold::new(&settings, &schema, BTreeSet::new());
    let value = Some(Bytes::from_static(b"\xff"));
    refold.add(0, &Record { value, ..record(0, None, None) });
    assert_eq!(compared(refold, Vec::new()).difference_count, 1);
}
