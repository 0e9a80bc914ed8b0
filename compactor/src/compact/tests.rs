//! Flushes and compactions in any order against a map: whatever is merged, and whenever, a reader
//! sees the same rows.

use std::collections::BTreeMap;
use std::sync::Arc;

use object_store::memory::InMemory;
use proptest::prelude::*;
use weir_protocol::records::Offset;
use weir_protocol::table::column::DataType;

use super::*;
use crate::binary_row::compare_values;
use crate::data_file::values::value_at;
use crate::fold::{Fold, FoldLimits, FoldStart, next_sequences};
use crate::lineage::LastBatch;
use crate::merge_tree::levels::Levels;
use crate::merge_tree::tests::schema;
use crate::merge_tree::universal_compaction::{Options, pick, pick_full};
use crate::paimon::paths::TablePaths;
use crate::row::{Row, RowKind, Value};
use crate::scan::{ScanError, scan};
use crate::schema::{SYSTEM_COLUMN_COUNT, TableSchema};
use crate::store::Store;

/// Every type that may be a key.
const KEY_TYPES: &[&str] = &[
    "BOOLEAN",
    "TINYINT",
    "SMALLINT",
    "INT",
    "BIGINT",
    "FLOAT",
    "DOUBLE",
    "DECIMAL(9, 2)",
    "DECIMAL(18, 0)",
    "DECIMAL(38, 4)",
    "DATE",
    "TIME(3)",
    "CHAR(8)",
    "VARCHAR(40)",
    "STRING",
    "BINARY(4)",
    "BYTES",
    "TIMESTAMP(3)",
    "TIMESTAMP(6)",
    "TIMESTAMP(3) WITH LOCAL TIME ZONE",
    "TIMESTAMP(6) WITH LOCAL TIME ZONE",
];

/// A value of a type for each number; negative ones, long ones and prefixes of others among them.
fn value(data_type: &DataType, n: i32) -> Value {
    let centred = n - 10;
    match data_type {
        DataType::Boolean => Value::Boolean(n % 2 == 1),
        DataType::TinyInt => Value::Int8(i8::try_from(centred).unwrap()),
        DataType::SmallInt => Value::Int16(i16::try_from(centred * 300).unwrap()),
        DataType::Int => Value::Int32(centred * 100_000_000),
        DataType::BigInt => Value::Int64(i64::from(centred) << 40),
        DataType::Float => Value::Float32(f32::from(i16::try_from(centred).unwrap()) / 8.0),
        DataType::Double => Value::Float64(f64::from(centred) * 1e200),
        DataType::Decimal { precision, .. } if *precision > 18 => {
            Value::Decimal(i128::from(centred) * 10_i128.pow(30))
        }
        DataType::Decimal { .. } => Value::Decimal(i128::from(centred) * 10_007),
        DataType::Date => Value::Date(centred * 1000),
        DataType::Time { .. } => Value::Time(n * 3_599_999),
        DataType::Char(_) => Value::String(format!("{n:08}")),
        DataType::VarChar(_) => Value::String("é".repeat(usize::try_from(n).unwrap())),
        DataType::String => Value::String(format!("a long beginning and {}", n * 7919 % 97)),
        DataType::Binary(_) => Value::Bytes((n * 7919).to_be_bytes().to_vec()),
        DataType::Bytes => Value::Bytes(vec![0xff; usize::try_from(n).unwrap()]),
        DataType::Timestamp { precision } | DataType::TimestampLtz { precision } => {
            let nanos_of_milli = if *precision > 3 { n * 7000 % 1_000_000 } else { 0 };
            Value::Timestamp { millis: i64::from(centred) * 86_399_999, nanos_of_milli }
        }
        other => panic!("{other} is no key"),
    }
}

/// What a test case is about.
#[derive(Clone, Debug)]
struct Shape {
    keys: Vec<&'static str>,
    is_partitioned: bool,
    has_sequence_field: bool,
    bucket_count: i32,
    file_bytes_target: u64,
}

impl Shape {
    fn schema(&self) -> TableSchema {
        let mut columns = String::from("payload STRING, age INT, day STRING NOT NULL");
        let mut names = vec!["day".to_owned()];
        for (at, key) in self.keys.iter().enumerate() {
            columns.push_str(&format!(", k{at} {key} NOT NULL"));
            names.push(format!("k{at}"));
        }
        let primary_keys: Vec<&str> = names.iter().map(String::as_str).collect();
        let partition_keys: &[&str] = if self.is_partitioned { &["day"] } else { &[] };
        let mut schema = schema(&columns, &primary_keys, partition_keys);
        schema.options.insert("bucket".into(), self.bucket_count.to_string());
        if self.has_sequence_field {
            schema.options.insert("sequence.field".into(), "age".into());
        }
        schema
    }
}

/// One record: day, key, age, kind.
#[derive(Clone, Debug)]
struct Change {
    day: u8,
    key: i32,
    age: Option<i32>,
    is_delete: bool,
}

/// What happens after a flush.
#[derive(Clone, Copy, Debug)]
enum Then {
    Nothing,
    Pick { run_count_trigger: usize },
    Full,
}

/// The rows of a table by the text of their key.
type Rows = BTreeMap<String, Vec<Value>>;

struct World {
    table: TableFiles,
    options: CompactOptions,
    files: Vec<FileEntry>,
    /// Key to the last change by age, and its row.
    model: BTreeMap<String, (Option<i32>, bool, Vec<Value>)>,
    has_sequence_field: bool,
    next: i64,
    names: u32,
}

impl World {
    fn new(schema: TableSchema, file_bytes_target: u64) -> World {
        let schema = Arc::new(schema);
        let partition_columns =
            schema.partition_places().iter().map(|at| schema.columns[*at].clone()).collect();
        let table = TableFiles {
            store: Store::of_objects(Arc::new(InMemory::new())),
            paths: TablePaths::new("db", "t", partition_columns).unwrap(),
            schemas: Arc::new(BTreeMap::from([(0, (*schema).clone())])),
            schema: Arc::clone(&schema),
        };
        let writer = WriterOptions { row_group_bytes: 2_000, ..WriterOptions::default() };
        World {
            table,
            options: CompactOptions { file_bytes_target, small_file_percent: 70, writer },
            files: Vec::new(),
            model: BTreeMap::new(),
            has_sequence_field: !schema.sequence_places().is_empty(),
            next: 0,
            names: 0,
        }
    }

    fn name(&mut self) -> String {
        self.names += 1;
        format!("data-{}", self.names)
    }

    fn row(&self, change: &Change, n: i64) -> Row {
        let columns = &self.table.schema.columns;
        let mut values = vec![
            Value::String(format!("payload {n}")),
            change.age.map_or(Value::Null, Value::Int32),
            Value::String(format!("day {}", change.day)),
        ];
        for (at, column) in columns[3..].iter().enumerate() {
            let n = if at == 0 { change.key % 7 } else { change.key };
            let n = if columns.len() == 4 { change.key } else { n };
            values.push(value(&column.column_type.data_type, n));
        }
        let kind = if change.is_delete { RowKind::Delete } else { RowKind::Insert };
        Row { kind, values }
    }

    /// Folds the changes as a batch of the log and writes level-0 files.
    fn flush(&mut self, changes: &[Change]) {
        let start = FoldStart {
            next: BTreeMap::from([(0, Offset(self.next))]),
            sequences: next_sequences(&self.files),
            ..FoldStart::default()
        };
        let limits = FoldLimits { memory_bytes_max: 1 << 20, age_ms_max: 1 };
        let mut fold = Fold::new(Arc::clone(&self.table.schema), start, limits).unwrap();
        let end = self.next + i64::try_from(changes.len()).unwrap();
        let batch = LastBatch {
            base_offset: Offset(self.next),
            last_offset: Offset(end - 1),
            leader_epoch: 0,
            crc: 0,
        };
        fold.begin_batch(0, batch).unwrap();
        for (change, n) in changes.iter().zip(self.next..) {
            let row = self.row(change, n);
            fold.add(0, Offset(n), std::slice::from_ref(&row), 0).unwrap();
            let key = format!("{:?}", &row.values[2..]);
            let is_older = |held: &(Option<i32>, bool, Vec<Value>)| {
                self.has_sequence_field && change.age < held.0
            };
            if !self.model.get(&key).is_some_and(is_older) {
                self.model.insert(key, (change.age, change.is_delete, row.values));
            }
        }
        fold.end_batch(0, 0).unwrap();
        self.next = end;
        for bucket in fold.flush().unwrap().buckets {
            let name = format!("{}.parquet", self.name());
            let (writer, source) = (self.options.writer, FileSource::Append);
            let mut file = FileWriter::new(&self.table.schema, 0, source, name, 0, writer);
            file.write(&bucket.rows).unwrap();
            let (bytes, meta) = file.finish().unwrap();
            let paths = &self.table.paths;
            let path = paths.data_file(&bucket.partition, bucket.bucket, &meta.file_name).unwrap();
            self.table.store.put_new_blocking(&path, bytes).unwrap();
            self.files.push(FileEntry {
                partition: bucket.partition,
                bucket: bucket.bucket,
                total_buckets: self.table.schema.bucket_count(),
                file: meta,
            });
        }
    }

    fn buckets(&self) -> BTreeMap<BucketPlace, Vec<DataFileMeta>> {
        let mut buckets: BTreeMap<BucketPlace, Vec<DataFileMeta>> = BTreeMap::new();
        for entry in &self.files {
            let place = (entry.partition.clone(), entry.bucket);
            buckets.entry(place).or_default().push(entry.file.clone());
        }
        buckets
    }

    fn compact(&mut self, then: Then) {
        for (place, files) in self.buckets() {
            let levels = Levels::new(KeyOrder::of(&self.table.schema), 6, files).unwrap();
            let keeps_deletes = self.has_sequence_field;
            let unit = match then {
                Then::Nothing => None,
                Then::Pick { run_count_trigger } => {
                    let defaults = Options::default();
                    pick(&levels, &Options { run_count_trigger, keeps_deletes, ..defaults })
                }
                Then::Full => pick_full(&levels, &Options { keeps_deletes, ..Options::default() }),
            };
            let Some(unit) = unit else { continue };
            let compaction = Compaction {
                table: self.table.clone(),
                place,
                total_buckets: self.table.schema.bucket_count(),
                unit,
                options: self.options,
                file_prefix: self.name(),
                now_ms: 1,
            };
            let result = run(&compaction).unwrap();
            for gone in &result.removed {
                let before = self.files.len();
                self.files.retain(|live| live != gone);
                assert_eq!(self.files.len() + 1, before, "what is removed was live");
            }
            for entry in &result.added {
                assert_eq!(entry.file.level, compaction.unit.output_level);
                assert!(!compaction.unit.drops_deletes || entry.file.delete_row_count == 0);
            }
            self.files.extend(result.added);
        }
    }

    /// The rows that a reader of these files sees.
    fn read(&self, files: &[FileEntry]) -> Rows {
        let mut rows = Rows::new();
        for batch in scan(self.table.clone(), files.to_vec()).unwrap() {
            let batch = batch.unwrap();
            assert_eq!(batch.schema(), self.table.schema.arrow_schema());
            for row in rows_of(&self.table.schema, &batch, 0) {
                let key = format!("{:?}", &row[2..]);
                assert!(rows.insert(key, row).is_none(), "a key is read once");
            }
        }
        rows
    }

    fn modelled(&self) -> Rows {
        let live = self.model.iter().filter(|(_, (_, is_deleted, _))| !is_deleted);
        live.map(|(key, (_, _, row))| (key.clone(), row.clone())).collect()
    }

    /// What must hold of the files themselves.
    fn check_files(&self) {
        let schema = &self.table.schema;
        let key_places = schema.trimmed_primary_key();
        for (place, files) in self.buckets() {
            Levels::new(KeyOrder::of(schema), 6, files.clone()).unwrap();
            for file in files {
                let mut last: Option<Vec<Value>> = None;
                let (mut row_count, mut delete_count) = (0, 0);
                for batch in self.table.run(&place, vec![file.clone()]) {
                    let batch = batch.unwrap();
                    let kinds = crate::merge_tree::row_order::kinds(&batch).values().to_vec();
                    delete_count += kinds.iter().filter(|kind| **kind == 3).count();
                    for row in rows_of(schema, &batch, SYSTEM_COLUMN_COUNT) {
                        row_count += 1;
                        let key: Vec<Value> =
                            key_places.iter().map(|at| row[*at].clone()).collect();
                        if let Some(last) = &last {
                            let order = last.iter().zip(&key).map(|(l, r)| compare_values(l, r));
                            let order = order.fold(std::cmp::Ordering::Equal, |a, b| a.then(b));
                            assert!(order.is_lt(), "{last:?} before {key:?}");
                        } else {
                            assert_eq!(file.min_key.to_values(&schema.key_types()).unwrap(), key);
                        }
                        last = Some(key);
                    }
                }
                assert_eq!(file.max_key.to_values(&schema.key_types()).ok(), last);
                assert_eq!(usize::try_from(file.row_count).unwrap(), row_count);
                assert_eq!(usize::try_from(file.delete_row_count).unwrap(), delete_count);
            }
        }
    }
}

fn rows_of(schema: &TableSchema, batch: &RecordBatch, first_column: usize) -> Vec<Vec<Value>> {
    let value = |row: usize, at: usize| {
        let column = batch.column(first_column + at);
        value_at(column, row, &schema.columns[at].column_type.data_type)
    };
    let row = |row| (0..schema.columns.len()).map(|at| value(row, at)).collect();
    (0..batch.num_rows()).map(row).collect()
}

fn shape() -> impl Strategy<Value = Shape> {
    let key = prop::sample::select(KEY_TYPES);
    (prop::collection::vec(key, 1..3), any::<bool>(), any::<bool>(), 1..4i32, 0..2u64).prop_map(
        |(keys, is_partitioned, has_sequence_field, bucket_count, large)| Shape {
            keys,
            is_partitioned,
            has_sequence_field,
            bucket_count,
            file_bytes_target: [1_500, 1 << 20][usize::try_from(large).unwrap()],
        },
    )
}

fn change() -> impl Strategy<Value = Change> {
    (0..2u8, 0..24i32, prop::option::of(0..4i32), prop::bool::weighted(0.3))
        .prop_map(|(day, key, age, is_delete)| Change { day, key, age, is_delete })
}

fn then() -> impl Strategy<Value = Then> {
    prop_oneof![
        2 => Just(Then::Nothing),
        6 => (2..6usize).prop_map(|run_count_trigger| Then::Pick { run_count_trigger }),
        1 => Just(Then::Full),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]
    #[test]
    fn every_snapshot_reads_as_the_model_before_and_after_compaction(
        shape in shape(),
        steps in prop::collection::vec((prop::collection::vec(change(), 1..40), then()), 1..12),
    ) {
        let mut world = World::new(shape.schema(), shape.file_bytes_target);
        let mut snapshots: Vec<(Vec<FileEntry>, Rows)> = Vec::new();
        for (changes, then) in &steps {
            world.flush(changes);
            prop_assert_eq!(world.read(&world.files), world.modelled());
            snapshots.push((world.files.clone(), world.modelled()));
            world.compact(*then);
            world.check_files();
            snapshots.push((world.files.clone(), world.modelled()));
        }
        for (files, rows) in &snapshots {
            prop_assert_eq!(&world.read(files), rows);
        }
    }
}

fn simple_world() -> World {
    let shape = Shape {
        keys: vec!["INT"],
        is_partitioned: false,
        has_sequence_field: false,
        bucket_count: 1,
        file_bytes_target: 1 << 20,
    };
    World::new(shape.schema(), shape.file_bytes_target)
}

fn upserts(keys: std::ops::Range<i32>) -> Vec<Change> {
    keys.map(|key| Change { day: 0, key, age: None, is_delete: false }).collect()
}

fn names_and_levels(files: &[FileEntry]) -> Vec<(&str, i32)> {
    files.iter().map(|entry| (entry.file.file_name.as_str(), entry.file.level)).collect()
}

#[test]
fn a_large_file_that_overlaps_nothing_changes_its_level_only() {
    let mut world = simple_world();
    world.options.small_file_percent = 0; // every file is large
    world.flush(&upserts(0..5));
    world.flush(&upserts(10..15));
    world.compact(Then::Full);
    assert_eq!(names_and_levels(&world.files), [("data-1.parquet", 5), ("data-2.parquet", 5)]);
    assert_eq!(world.read(&world.files), world.modelled());
}

#[test]
fn a_file_with_deletes_is_rewritten_on_its_way_to_the_deepest_level() {
    let mut world = simple_world();
    world.options.small_file_percent = 0;
    let mut changes = upserts(0..5);
    changes.push(Change { day: 0, key: 2, age: None, is_delete: true });
    world.flush(&changes);
    assert_eq!(world.files[0].file.delete_row_count, 1);
    world.compact(Then::Full);
    assert_eq!(names_and_levels(&world.files), [("data-2-0.parquet", 5)]);
    assert_eq!((world.files[0].file.row_count, world.files[0].file.delete_row_count), (4, 0));
}

#[test]
fn small_neighbours_become_one_file() {
    let mut world = simple_world();
    world.flush(&upserts(0..5));
    world.flush(&upserts(10..15));
    world.compact(Then::Full);
    assert_eq!(names_and_levels(&world.files), [("data-3-0.parquet", 5)]);
    assert_eq!(world.files[0].file.source, FileSource::Compact);
}

#[test]
fn when_every_row_is_deleted_no_file_is_left() {
    let mut world = simple_world();
    world.flush(&upserts(0..5));
    let deletes = upserts(0..5).into_iter().map(|change| Change { is_delete: true, ..change });
    world.flush(&deletes.collect::<Vec<_>>());
    world.compact(Then::Full);
    assert!(world.files.is_empty());
    world.flush(&upserts(3..4));
    assert_eq!(world.read(&world.files), world.modelled());
}

#[test]
fn a_late_row_does_not_revive_a_deleted_key() {
    let shape = Shape {
        keys: vec!["INT"],
        is_partitioned: false,
        has_sequence_field: true,
        bucket_count: 1,
        file_bytes_target: 1 << 20,
    };
    let mut world = World::new(shape.schema(), shape.file_bytes_target);
    let change = |age, is_delete| Change { day: 0, key: 1, age: Some(age), is_delete };
    world.flush(&[change(5, false), change(6, true)]);
    world.compact(Then::Full);
    world.flush(&[change(4, false)]); // older than the deletion
    assert!(world.read(&world.files).is_empty());
    world.compact(Then::Full);
    assert!(world.read(&world.files).is_empty());
    world.flush(&[change(7, false)]);
    assert_eq!(world.read(&world.files).len(), 1);
}

#[test]
fn a_failed_compaction_leaves_no_file_behind() {
    let mut world = simple_world();
    world.options.file_bytes_target = 1; // a file per row
    world.flush(&upserts(0..10));
    world.flush(&upserts(5..20));
    // The second file is a lie: the store holds other bytes under its name.
    let path = format!("db.db/t/bucket-0/{}", world.files[1].file.file_name);
    let store = world.table.store.clone();
    store.delete_blocking(&path).unwrap();
    store.put_new_blocking(&path, bytes::Bytes::from_static(b"PAR1 and nothing else")).unwrap();
    let files: Vec<DataFileMeta> = world.files.iter().map(|entry| entry.file.clone()).collect();
    let levels = Levels::new(KeyOrder::of(&world.table.schema), 6, files).unwrap();
    let compaction = Compaction {
        table: world.table.clone(),
        place: (world.files[0].partition.clone(), 0),
        total_buckets: 1,
        unit: pick_full(&levels, &Options::default()).unwrap(),
        options: world.options,
        file_prefix: "data-x".into(),
        now_ms: 0,
    };
    assert!(matches!(run(&compaction), Err(CompactError::Merge(_))));
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let left = runtime.block_on(store.list("")).unwrap();
    assert!(left.iter().all(|file| !file.name().starts_with("data-x")), "{left:?}");
    let read = scan(world.table.clone(), world.files.clone()).unwrap();
    let read: Vec<Result<RecordBatch, ScanError>> = read.collect();
    assert!(matches!(read.last(), Some(Err(ScanError::Merge(_)))), "an error ends the scan");
}

/// An append table of files of these sizes in rows; the ids of the rows count up.
fn append_world(file_rows: &[i32]) -> World {
    let mut table = schema("id INT", &[], &[]);
    table.options.insert("bucket".into(), "-1".into());
    let mut world = World::new(table, 1 << 20);
    let mut next = 0;
    for rows in file_rows {
        let schema = &world.table.schema;
        let mut columns = crate::data_file::columns::ColumnBuilders::new(schema);
        for id in next..next + rows {
            columns
                .append(0, &Row { kind: RowKind::Insert, values: vec![Value::Int32(id)] })
                .unwrap();
        }
        let name = format!("{}.parquet", 1000 - next); // names say nothing about the order
        let (writer, source) = (WriterOptions::default(), FileSource::Append);
        let mut file = FileWriter::new(schema, 0, source, name.clone(), 0, writer);
        file.write(&columns.finish()).unwrap();
        let (bytes, mut file) = file.finish().unwrap();
        file.min_sequence += i64::from(next);
        file.max_sequence += i64::from(next);
        let partition = crate::binary_row::BinaryRow::EMPTY;
        let path = world.table.paths.data_file(&partition, 0, &name).unwrap();
        world.table.store.put_new_blocking(&path, bytes).unwrap();
        world.files.push(FileEntry { partition, bucket: 0, total_buckets: -1, file });
        next += rows;
    }
    world
}

fn ids(world: &World) -> Vec<Value> {
    let batches = scan(world.table.clone(), world.files.clone()).unwrap();
    let rows = |batch: Result<RecordBatch, _>| rows_of(&world.table.schema, &batch.unwrap(), 0);
    batches.flat_map(rows).flatten().collect()
}

#[test]
fn an_append_table_is_read_in_the_order_of_arrival() {
    let mut world = append_world(&[3, 2, 4]);
    world.files.reverse();
    assert_eq!(ids(&world), (0..9).map(Value::Int32).collect::<Vec<_>>());
}

#[test]
fn joined_files_of_an_append_table_hold_the_same_rows_in_the_same_order() {
    for file_bytes_target in [1, 1 << 20] {
        let mut world = append_world(&[3, 2, 4, 1, 5, 2]);
        let middle: Vec<FileEntry> = world.files.drain(1..5).collect();
        let files = middle.iter().rev().map(|entry| entry.file.clone()).collect();
        let compaction = Compaction {
            table: world.table.clone(),
            place: (crate::binary_row::BinaryRow::EMPTY, 0),
            total_buckets: -1,
            unit: CompactUnit { output_level: 0, files, drops_deletes: false },
            options: CompactOptions { file_bytes_target, ..world.options },
            file_prefix: "joined".into(),
            now_ms: 0,
        };
        let result = run(&compaction).unwrap();
        assert_eq!(result.removed, middle);
        assert_eq!(result.added.len(), if file_bytes_target == 1 { 12 } else { 1 });
        let sequences = |entry: &FileEntry| (entry.file.min_sequence, entry.file.max_sequence);
        assert_eq!(sequences(&result.added[0]).0, 3);
        assert_eq!(result.added.last().map(sequences).unwrap().1, 14);
        world.files.extend(result.added);
        assert_eq!(ids(&world), (0..17).map(Value::Int32).collect::<Vec<_>>());
    }
}
