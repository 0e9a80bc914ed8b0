//! Buffers sorted and runs merged, against a map.

use std::collections::BTreeMap;
use std::convert::Infallible;

use arrow_array::Array;
use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, Int64Type};
use proptest::prelude::*;

use super::*;
use crate::merge_tree::tests::schema;
use crate::merge_tree::write_buffer::WriteBuffer;
use crate::row::{Row, RowKind, Value};
use crate::schema::TableSchema;

/// Key, place in the order of ages (if the table has such a field), kind.
type Change = (i32, Option<i32>, RowKind);

fn table(has_sequence_field: bool, has_text_key: bool) -> TableSchema {
    let key = if has_text_key { "STRING" } else { "INT" };
    let mut schema =
        schema(&format!("age INT, id {key} NOT NULL, n BIGINT NOT NULL"), &["id"], &[]);
    if has_sequence_field {
        schema.options.insert("sequence.field".into(), "age".into());
    }
    schema
}

fn key_value(schema: &TableSchema, key: i32) -> Value {
    match schema.key_types()[0].data_type {
        weir_protocol::table::column::DataType::Int => Value::Int32(key),
        _ => Value::String(format!("a common beginning {key:05}")),
    }
}

fn row(schema: &TableSchema, change: &Change, n: i64) -> Row {
    let (key, age, kind) = *change;
    let values =
        vec![age.map_or(Value::Null, Value::Int32), key_value(schema, key), Value::Int64(n)];
    Row { kind, values }
}

/// One flush: the change `n` has the sequence number `n`.
fn flushed(schema: &TableSchema, changes: &[Change], first_sequence: i64) -> RecordBatch {
    let merge = Merge::of(schema).unwrap();
    let mut buffer = WriteBuffer::new(schema, merge, first_sequence);
    for (change, n) in changes.iter().zip(first_sequence..) {
        buffer.append(&row(schema, change, n)).unwrap();
    }
    let first_row_bytes = buffer.size_bytes();
    assert!(changes.is_empty() || first_row_bytes > 0);
    let flushed = buffer.finish().unwrap();
    assert_eq!(flushed.next_sequence - first_sequence, i64::try_from(changes.len()).unwrap());
    flushed.rows
}

fn in_batches(rows: &RecordBatch, rows_max: usize) -> BatchStream<Infallible> {
    let starts = (0..rows.num_rows()).step_by(rows_max);
    let slice = |start| rows.slice(start, rows_max.min(rows.num_rows() - start));
    let batches: Vec<_> = starts.map(slice).map(Ok).collect();
    Box::new(batches.into_iter())
}

/// Key to (age, n, kind), as merged. Panics unless keys ascend and every row is whole.
fn collected(
    schema: &TableSchema,
    merged: SortMerge<Infallible>,
) -> Vec<(String, Option<i32>, i64, i8)> {
    let mut rows = Vec::new();
    for batch in merged {
        let batch = batch.unwrap();
        let sequences = batch.column(0).as_primitive::<Int64Type>();
        let kinds = row_order::kinds(&batch);
        let ages = batch.column(2).as_primitive::<Int32Type>();
        let numbers = batch.column(4).as_primitive::<Int64Type>();
        for at in 0..batch.num_rows() {
            let key = match key_value(schema, 0) {
                Value::Int32(_) => {
                    format!("{:+06}", batch.column(3).as_primitive::<Int32Type>().value(at))
                }
                _ => batch.column(3).as_string::<i32>().value(at).to_owned(),
            };
            let age = (!ages.is_null(at)).then(|| ages.value(at));
            assert_eq!(sequences.value(at), numbers.value(at), "a row is moved as a whole");
            rows.push((key, age, numbers.value(at), kinds.value(at)));
        }
    }
    assert!(rows.is_sorted_by(|left, right| left.0 < right.0), "keys ascend: {rows:?}");
    rows
}

fn modelled(
    schema: &TableSchema,
    flushes: &[Vec<Change>],
    deletes: Deletes,
) -> Vec<(String, Option<i32>, i64, i8)> {
    let mut model: BTreeMap<i32, (Option<i32>, i64, i8)> = BTreeMap::new();
    for (change, n) in flushes.iter().flatten().zip(0..) {
        let (key, age, kind) = *change;
        let is_older =
            |held: &(Option<i32>, i64, i8)| !schema.sequence_places().is_empty() && age < held.0;
        if !model.get(&key).is_some_and(is_older) {
            model.insert(key, (age, n, kind as i8));
        }
    }
    let text = |key: i32| match key_value(schema, key) {
        Value::String(text) => text,
        _ => format!("{key:+06}"),
    };
    let stays = |kind: i8| deletes == Deletes::Kept || kind == 0 || kind == 2;
    let rows = model.into_iter().filter(|(_, (_, _, kind))| stays(*kind));
    rows.map(|(key, (age, n, kind))| (text(key), age, n, kind)).collect()
}

fn change() -> impl Strategy<Value = Change> {
    let kind = prop_oneof![
        3 => Just(RowKind::Insert),
        2 => Just(RowKind::UpdateAfter),
        1 => Just(RowKind::UpdateBefore),
        2 => Just(RowKind::Delete),
    ];
    (0..60i32, prop::option::of(-3..3i32), kind)
}

proptest! {
    #[test]
    fn a_merge_equals_the_last_row_of_each_key(
        flushes in prop::collection::vec(prop::collection::vec(change(), 0..80), 0..9),
        has_sequence_field: bool,
        has_text_key: bool,
        batch_rows in 1..20usize,
        drops_deletes: bool,
        order in any::<prop::sample::Index>(),
    ) {
        let schema = table(has_sequence_field, has_text_key);
        let deletes = if drops_deletes { Deletes::Dropped } else { Deletes::Kept };
        let mut first_sequence = 0;
        let mut inputs = Vec::new();
        for changes in &flushes {
            let rows = flushed(&schema, changes, first_sequence);
            first_sequence += i64::try_from(changes.len()).unwrap();
            inputs.push(in_batches(&rows, batch_rows));
        }
        if !inputs.is_empty() {
            let middle = order.index(inputs.len());
            inputs.rotate_left(middle); // the order of the inputs says nothing
        }
        let merge = Merge::of(&schema).unwrap().unwrap();
        let merged = collected(&schema, SortMerge::new(inputs, merge, deletes));
        prop_assert_eq!(merged, modelled(&schema, &flushes, deletes));
    }
}

#[test]
fn long_stretches_of_one_input_pass_through_whole() {
    let schema = table(false, false);
    let insert = |key| (key, None, RowKind::Insert);
    let low: Vec<Change> = (0..40_000).map(insert).collect();
    let high: Vec<Change> = (40_000..50_000).map(insert).collect();
    let inputs = vec![
        in_batches(&flushed(&schema, &high, 40_000), 3_000),
        in_batches(&flushed(&schema, &low, 0), 7_000),
    ];
    let merge = Merge::of(&schema).unwrap().unwrap();
    let sizes: Vec<usize> = SortMerge::new(inputs, merge, Deletes::Kept)
        .map(|batch| batch.unwrap().num_rows())
        .collect();
    assert_eq!(sizes.iter().sum::<usize>(), 50_000);
    assert!(sizes.iter().all(|rows| *rows <= OUTPUT_ROWS_MAX), "{sizes:?}");
}

#[test]
fn a_run_that_does_not_ascend_is_refused() {
    let schema = table(false, false);
    let insert = |key| (key, None, RowKind::Insert);
    let rows = flushed(&schema, &[insert(1), insert(2), insert(3)], 0);
    let backwards = arrow_select::take::take_record_batch(
        &rows,
        &arrow_array::UInt32Array::from(vec![2, 1, 0]),
    )
    .unwrap();
    let merge = Merge::of(&schema).unwrap().unwrap();
    for batch_rows in [1, 3] {
        let inputs = vec![in_batches(&backwards, batch_rows)];
        let mut merged = SortMerge::new(inputs, merge.clone(), Deletes::Kept);
        assert!(merged.any(|batch| matches!(batch, Err(MergeError::Unsorted))));
        assert!(merged.next().is_none(), "nothing follows an error");
    }
    let twice: Vec<RecordBatch> = vec![rows.slice(2, 1), rows.slice(2, 1)];
    let stream: BatchStream<Infallible> = Box::new(twice.into_iter().map(Ok));
    let mut merged = SortMerge::new(vec![stream], merge, Deletes::Kept);
    assert!(merged.any(|batch| matches!(batch, Err(MergeError::Unsorted))));
}

#[test]
fn a_failing_input_ends_the_merge() {
    let schema = table(false, false);
    let rows = flushed(&schema, &[(1, None, RowKind::Insert)], 0);
    let failing: BatchStream<&str> = Box::new([Ok(rows), Err("gone")].into_iter());
    let merge = Merge::of(&schema).unwrap().unwrap();
    let mut merged = SortMerge::new(vec![failing], merge, Deletes::Kept);
    assert!(matches!(merged.next(), Some(Err(MergeError::Read("gone")))));
    assert!(merged.next().is_none());
}
