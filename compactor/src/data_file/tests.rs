//! Rows go into files and come back; damaged files are errors; old files fit new schemas.

use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::prelude::*;
use weir_protocol::table::column::{ColumnType, DataType};
use weir_protocol::table::settings::TableSettings;
use weir_protocol::table::sql::parse_columns;

use super::columns::{ColumnBuilders, RowError};
use super::reader::{FileReader, ReadError, ReadOptions};
use super::values::rows_of;
use super::writer::{FileWriter, WriterOptions};
use super::{DataFileMeta, FileSource};
use crate::binary_row::{BinaryRow, compare_values};
use crate::row::{Row, RowKind, Value};
use crate::schema::TableSchema;
use crate::schema::evolution::evolve;
use crate::store::Store;

const ALL_TYPES: &str = "k1 BIGINT NOT NULL, k2 STRING NOT NULL, a BOOLEAN, b TINYINT, c SMALLINT, \
    d INT, e BIGINT NOT NULL, f FLOAT, g DOUBLE, h DECIMAL(9, 2), i DECIMAL(18, 0), \
    j DECIMAL(38, 10), k DATE, l TIME(3), m CHAR(3), n VARCHAR(20), o STRING NOT NULL, p BINARY(4), \
    q BYTES, r TIMESTAMP(3), s TIMESTAMP(6), t TIMESTAMP(3) WITH LOCAL TIME ZONE, \
    u TIMESTAMP(6) WITH LOCAL TIME ZONE, v ARRAY<INT>, w MAP<STRING, DECIMAL(20, 1)>, \
    x ROW<y INT NOT NULL, z ARRAY<ROW<q STRING, m MAP<INT, DATE>>>>";

fn schema_of(sql: &str, primary_key: &str) -> TableSchema {
    let configs = [("table.enabled", "true"), ("table.schema", sql)];
    let mut configs: BTreeMap<String, String> =
        configs.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
    configs.insert("table.primary.key".to_owned(), primary_key.to_owned());
    let settings = TableSettings::parse("t", &configs).unwrap();
    TableSchema::from_settings(&settings, settings.columns.as_deref().unwrap(), 1, 7).unwrap()
}

/// Any value that the type can hold.
fn value(column_type: &ColumnType) -> BoxedStrategy<Value> {
    let value = match &column_type.data_type {
        DataType::Boolean => any::<bool>().prop_map(Value::Boolean).boxed(),
        DataType::TinyInt => any::<i8>().prop_map(Value::Int8).boxed(),
        DataType::SmallInt => any::<i16>().prop_map(Value::Int16).boxed(),
        DataType::Int => any::<i32>().prop_map(Value::Int32).boxed(),
        DataType::BigInt => any::<i64>().prop_map(Value::Int64).boxed(),
        DataType::Float => any::<f32>().prop_map(Value::Float32).boxed(),
        DataType::Double => any::<f64>().prop_map(Value::Float64).boxed(),
        DataType::Decimal { precision, .. } => {
            let end = 10_i128.pow(u32::from(*precision));
            (1 - end..end).prop_map(Value::Decimal).boxed()
        }
        DataType::Date => any::<i32>().prop_map(Value::Date).boxed(),
        DataType::Time { .. } => (0..86_400_000).prop_map(Value::Time).boxed(),
        DataType::Char(length) | DataType::VarChar(length) => {
            let pattern = format!(".{{0,{length}}}");
            proptest::string::string_regex(&pattern).unwrap().prop_map(Value::String).boxed()
        }
        DataType::String => ".{0,30}".prop_map(Value::String).boxed(),
        DataType::Binary(_) | DataType::VarBinary(_) | DataType::Bytes => {
            vec(any::<u8>(), 0..4).prop_map(Value::Bytes).boxed()
        }
        DataType::Timestamp { precision } | DataType::TimestampLtz { precision } => {
            let micros = if *precision > 3 { 0..1000 } else { 0..1 };
            let millis = i64::MIN / 1000 + 1..i64::MAX / 1000;
            (millis, micros)
                .prop_map(|(millis, micros)| Value::Timestamp {
                    millis,
                    nanos_of_milli: micros * 1000,
                })
                .boxed()
        }
        DataType::Array(element) => vec(value(element), 0..4).prop_map(Value::Array).boxed(),
        DataType::Map(key, of) => {
            let key = ColumnType { nullable: false, ..(**key).clone() };
            vec((value(&key), value(of)), 0..3).prop_map(Value::Map).boxed()
        }
        DataType::Row(members) => {
            let members: Vec<_> = members.iter().map(|member| value(&member.column_type)).collect();
            members.prop_map(Value::Row).boxed()
        }
    };
    match column_type.nullable {
        true => prop_oneof![1 => Just(Value::Null), 4 => value].boxed(),
        false => value,
    }
}

fn rows(schema: &TableSchema, count: usize) -> BoxedStrategy<Vec<Row>> {
    let types: Vec<_> = schema.columns.iter().map(|column| value(&column.column_type)).collect();
    let kind = prop_oneof![
        Just(RowKind::Insert),
        Just(RowKind::UpdateBefore),
        Just(RowKind::UpdateAfter),
        Just(RowKind::Delete)
    ];
    let row = (kind, types).prop_map(|(kind, values)| Row { kind, values });
    vec(row, 0..count).boxed()
}

fn sorted_by_key(schema: &TableSchema, mut rows: Vec<Row>) -> Vec<Row> {
    let places = schema.trimmed_primary_key();
    let by_key = |left: &Row, right: &Row| {
        let orders =
            places.iter().map(|place| compare_values(&left.values[*place], &right.values[*place]));
        orders.fold(std::cmp::Ordering::Equal, std::cmp::Ordering::then)
    };
    rows.sort_by(by_key);
    rows.dedup_by(|left, right| by_key(left, right).is_eq());
    rows
}

/// NaN equals itself here.
fn shown(rows: &[Row]) -> String {
    format!("{rows:?}")
}

struct Written {
    store: Store,
    _folder: tempfile::TempDir,
    meta: DataFileMeta,
}

fn write(schema: &TableSchema, rows: &[Row], options: WriterOptions) -> Written {
    let mut writer =
        FileWriter::new(schema, 0, FileSource::Append, "data-0.parquet".to_owned(), 5, options);
    for (place, chunk) in rows.chunks(7).enumerate() {
        let mut columns = ColumnBuilders::new(schema);
        for (row_place, row) in chunk.iter().enumerate() {
            columns.append((place * 7 + row_place) as i64 + 100, row).unwrap();
        }
        assert_eq!(columns.len(), chunk.len());
        writer.write(&columns.finish()).unwrap();
    }
    let (bytes, meta) = writer.finish().unwrap();
    assert_eq!(bytes.len() as i64, meta.file_size);
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("data-0.parquet"), &bytes).unwrap();
    let store = Store::open(folder.path().to_str().unwrap()).unwrap();
    Written { store, _folder: folder, meta }
}

fn read(
    written: &Written,
    schema: &TableSchema,
    current: &TableSchema,
    options: &ReadOptions,
) -> Result<Vec<Row>, ReadError> {
    let path = "data-0.parquet";
    let reader = FileReader::open(&written.store, path, &written.meta, schema, current, options)?;
    let mut rows = Vec::new();
    for batch in reader {
        rows.extend(rows_of(&batch?, current));
    }
    Ok(rows)
}

#[test]
fn however_small_large_rows_are_on_disk_few_of_them_come_at_a_time() {
    // Given rows of 64 KiB that compression and a dictionary make next to nothing.
    let schema = schema_of("k BIGINT NOT NULL, v STRING", "k");
    let text = "x".repeat(64 << 10);
    let row = |key: i64| Row {
        kind: RowKind::Insert,
        values: vec![Value::Int64(key), Value::String(text.clone())],
    };
    let rows: Vec<Row> = (0..500).map(row).collect();
    let written = write(&schema, &rows, WriterOptions::default());
    assert!(written.meta.file_size < 1 << 20, "{} bytes", written.meta.file_size);
    // When they are read, then a batch is about as large as it may be.
    let options = ReadOptions::default();
    let path = "data-0.parquet";
    let reader = FileReader::open(&written.store, path, &written.meta, &schema, &schema, &options);
    let sizes: Vec<usize> = reader.unwrap().map(|batch| batch.unwrap().num_rows()).collect();
    assert_eq!(sizes.iter().sum::<usize>(), 500);
    assert!(sizes.iter().all(|rows| rows * (64 << 10) <= 2 * options.batch_bytes), "{sizes:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn rows_come_back_from_a_file_of_a_primary_key_table(
        rows in rows(&schema_of(ALL_TYPES, "k1,k2"), 40),
        row_group_bytes in prop_oneof![Just(1), Just(4 << 20)],
    ) {
        let schema = schema_of(ALL_TYPES, "k1,k2");
        let rows = sorted_by_key(&schema, rows);
        let options = WriterOptions { row_group_bytes, ..WriterOptions::default() };
        let written = write(&schema, &rows, options);
        let options = ReadOptions { batch_rows: 3, ..ReadOptions::default() };
        let read = read(&written, &schema, &schema, &options).unwrap();
        prop_assert_eq!(shown(&read), shown(&rows));

        let meta = &written.meta;
        let retracts = rows.iter().filter(|row| row.kind.is_retract()).count() as i64;
        prop_assert_eq!((meta.row_count, meta.delete_row_count), (rows.len() as i64, retracts));
        if let (Some(first), Some(last)) = (rows.first(), rows.last()) {
            let types = schema.key_types();
            prop_assert_eq!(&meta.min_key, &BinaryRow::from_values(&first.values[..2], &types));
            prop_assert_eq!(&meta.max_key, &BinaryRow::from_values(&last.values[..2], &types));
            prop_assert_eq!(meta.min_sequence, 100);
            prop_assert_eq!(meta.max_sequence, 99 + rows.len() as i64);
        }
        check_stats(&schema, meta, &rows);
    }

    #[test]
    fn rows_come_back_from_a_file_of_an_append_table(rows in rows(&schema_of(ALL_TYPES, ""), 20)) {
        let schema = schema_of(ALL_TYPES, "");
        let rows: Vec<Row> = rows.into_iter().map(|row| Row { kind: RowKind::Insert, ..row }).collect();
        let written = write(&schema, &rows, WriterOptions::default());
        let read = read(&written, &schema, &schema, &ReadOptions::default()).unwrap();
        prop_assert_eq!(shown(&read), shown(&rows));
        prop_assert_eq!(&written.meta.min_key, &BinaryRow::EMPTY);
        prop_assert_eq!(written.meta.key_stats.null_counts.len(), 0);
    }

    #[test]
    fn a_damaged_file_is_an_error_and_never_a_panic(
        place in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<bool>(),
    ) {
        let schema = schema_of(ALL_TYPES, "k1,k2");
        let row = |key: i64| {
            let zero = |column: &weir_protocol::table::column::Column| Value::zero(&column.column_type.data_type);
            let mut values: Vec<Value> = schema.columns.iter().map(zero).collect();
            values[0] = Value::Int64(key);
            values[16] = Value::String(format!("text {key}"));
            Row { kind: RowKind::Insert, values }
        };
        let rows: Vec<Row> = (0..50).map(row).collect();
        let mut written = write(&schema, &rows, WriterOptions::default());
        let path = written._folder.path().join("data-0.parquet");
        let mut bytes = std::fs::read(&path).unwrap();
        let place = place.index(bytes.len());
        if cut {
            bytes.truncate(place);
            written.meta.file_size = bytes.len() as i64;
        } else {
            bytes[place] = byte;
        }
        std::fs::write(&path, &bytes).unwrap();
        if let Err(error) = read(&written, &schema, &schema, &ReadOptions::default()) {
            prop_assert!(error.to_string().contains("data-0.parquet"), "{}", error);
        }
    }
}

/// No value lies outside the statistics; without truncation they are exact.
fn check_stats(schema: &TableSchema, meta: &DataFileMeta, rows: &[Row]) {
    let types: Vec<ColumnType> =
        schema.columns.iter().map(|column| column.column_type.clone()).collect();
    let min = meta.value_stats.min.to_values(&types).unwrap();
    let max = meta.value_stats.max.to_values(&types).unwrap();
    for (place, column_type) in types.iter().enumerate() {
        let nulls = rows.iter().filter(|row| row.values[place].is_null()).count() as i64;
        if column_type.data_type.is_nested() {
            assert_eq!(meta.value_stats.null_counts[place], None);
            assert!(min[place].is_null() && max[place].is_null());
            continue;
        }
        assert_eq!(meta.value_stats.null_counts[place], Some(nulls));
        for row in rows.iter().filter(|row| !row.values[place].is_null()) {
            let value = &row.values[place];
            assert!(min[place].is_null() || compare_values(&min[place], value).is_le());
            assert!(max[place].is_null() || compare_values(&max[place], value).is_ge());
        }
    }
}

#[test]
fn a_deletion_gets_zeroes_where_null_is_refused_and_other_rows_do_not() {
    let schema = schema_of("id INT, name STRING NOT NULL, n INT", "id");
    let mut columns = ColumnBuilders::new(&schema);
    let row = |kind, id| Row { kind, values: vec![id, Value::Null, Value::Null] };
    columns.append(1, &row(RowKind::Delete, Value::Int32(1))).unwrap();
    let refused = |error: RowError, name: &str| {
        assert_eq!(error, RowError::Null { column: name.to_owned() });
    };
    refused(columns.append(2, &row(RowKind::Insert, Value::Int32(1))).unwrap_err(), "name");
    refused(columns.append(3, &row(RowKind::Delete, Value::Null)).unwrap_err(), "id");
    assert!(columns.size_bytes() > 0);
    let batch = columns.finish();
    assert_eq!((batch.num_rows(), columns.len(), columns.size_bytes()), (1, 0, 0));
    let rows = rows_of(&batch, &schema);
    assert_eq!(rows[0].values, [Value::Int32(1), Value::String(String::new()), Value::Null]);
}

#[test]
fn an_old_file_is_read_by_the_new_schema() {
    let old = schema_of("id INT NOT NULL, a INT, s ROW<x INT, y STRING>, l ARRAY<INT>", "id");
    let rows = [
        Row {
            kind: RowKind::Insert,
            values: vec![
                Value::Int32(1),
                Value::Int32(-7),
                Value::Row(vec![Value::Int32(5), Value::String("y".to_owned())]),
                Value::Array(vec![Value::Int32(3), Value::Null]),
            ],
        },
        Row {
            kind: RowKind::Delete,
            values: vec![Value::Int32(2), Value::Null, Value::Null, Value::Null],
        },
    ];
    let written = write(&old, &rows, WriterOptions::default());
    let wanted = parse_columns(
        "b STRING, a BIGINT, s ROW<z DOUBLE, x BIGINT>, l ARRAY<DOUBLE>, c TIMESTAMP(3)",
    );
    let mut new = evolve(&old, &wanted.unwrap()).unwrap().unwrap();
    new.columns.swap(1, 4); // order is free, ids decide
    new.columns[4].name = "renamed".to_owned();
    let read = read(&written, &old, &new, &ReadOptions::default()).unwrap();
    let member = vec![Value::Int64(5), Value::String("y".to_owned()), Value::Null];
    assert_eq!(
        read[0].values,
        [
            Value::Int32(1),
            Value::Null,
            Value::Row(member),
            Value::Array(vec![Value::Float64(3.0), Value::Null]),
            Value::Int64(-7),
            Value::Null
        ]
    );
    assert_eq!(read[1].kind, RowKind::Delete);
}

#[test]
fn only_the_wanted_columns_are_read() {
    let schema = schema_of("id INT NOT NULL, a STRING, b STRING", "id");
    let values = vec![Value::Int32(1), Value::String("a".into()), Value::String("b".into())];
    let written =
        write(&schema, &[Row { kind: RowKind::Insert, values }], WriterOptions::default());
    let options = ReadOptions { columns: Some(vec![0, 2, 4]), ..ReadOptions::default() };
    let path = "data-0.parquet";
    let reader =
        FileReader::open(&written.store, path, &written.meta, &schema, &schema, &options).unwrap();
    let names: Vec<String> =
        reader.schema().fields().iter().map(|field| field.name().clone()).collect();
    assert_eq!(names, ["_SEQUENCE_NUMBER", "id", "b"]);
    let batch = reader.map(Result::unwrap).next().unwrap();
    assert_eq!((batch.num_columns(), batch.num_rows()), (3, 1));
}

#[test]
fn rows_that_the_manifest_knows_must_be_there() {
    let schema = schema_of("id INT NOT NULL", "id");
    let row = Row { kind: RowKind::Insert, values: vec![Value::Int32(1)] };
    for claimed in [0, 2] {
        let mut written = write(&schema, std::slice::from_ref(&row), WriterOptions::default());
        written.meta.row_count = claimed;
        assert!(read(&written, &schema, &schema, &ReadOptions::default()).is_err());
    }
    let mut written = write(&schema, &[row], WriterOptions::default());
    written.meta.file_size += 1;
    assert!(read(&written, &schema, &schema, &ReadOptions::default()).is_err());
}

#[test]
fn a_large_file_is_fetched_in_ranges() {
    let schema = schema_of("id INT NOT NULL, text STRING", "id");
    // Text that does not compress.
    let text = |id: i32| {
        let mut state = id.cast_unsigned().wrapping_add(12345);
        let mut letter = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            char::from(33 + (state >> 24) as u8 % 90)
        };
        (0..6000).map(|_| letter()).collect::<String>()
    };
    let row =
        |id| Row { kind: RowKind::Insert, values: vec![Value::Int32(id), Value::String(text(id))] };
    let rows: Vec<Row> = (0..1200).map(row).collect();
    let options = WriterOptions { row_group_bytes: 1 << 20, ..WriterOptions::default() };
    let written = write(&schema, &rows, options);
    assert!(written.meta.file_size > 4 << 20, "{}", written.meta.file_size);
    assert_eq!(read(&written, &schema, &schema, &ReadOptions::default()).unwrap(), rows);
}
