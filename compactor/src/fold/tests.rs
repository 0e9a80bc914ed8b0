//! Offsets counted once, rows routed and deduplicated, and a planted mistake found.

use proptest::prelude::*;

use super::*;
use crate::checkpoint::Checkpoint;
use crate::merge_tree::tests::schema;
use crate::row::{RowKind, Value};

const LIMITS: FoldLimits = FoldLimits { memory_bytes_max: 1 << 20, age_ms_max: 1000 };

fn table() -> Arc<TableSchema> {
    Arc::new(schema("id INT NOT NULL, name STRING", &["id"], &[]))
}

fn fold_from(next: i64) -> Fold {
    let start = FoldStart { next: BTreeMap::from([(0, Offset(next))]), ..FoldStart::default() };
    Fold::new(table(), start, LIMITS).unwrap()
}

fn batch(base_offset: i64, last_offset: i64) -> LastBatch {
    let (base_offset, last_offset) = (Offset(base_offset), Offset(last_offset));
    LastBatch { base_offset, last_offset, leader_epoch: 1, crc: 7 }
}

fn row(id: i32, name: &str) -> Row {
    Row { kind: RowKind::Insert, values: vec![Value::Int32(id), Value::String(name.into())] }
}

fn bad(offset: i64) -> QuarantinedRecord {
    QuarantinedRecord {
        topic: "t".into(),
        partition: 0,
        offset: Offset(offset),
        timestamp_ms: 0,
        key: None,
        value: Some(Bytes::from_static(b"{")),
        reason: "no JSON".into(),
    }
}

fn range(from: i64, to: i64) -> OffsetRange {
    OffsetRange { partition: 0, from: Offset(from), to: Offset(to) }
}

/// Folds a batch whose every offset holds the row (offset, "v").
fn fold_batch(fold: &mut Fold, base_offset: i64, last_offset: i64) -> Vec<Outcome> {
    fold.begin_batch(0, batch(base_offset, last_offset)).unwrap();
    let outcomes = (base_offset..=last_offset)
        .map(|n| fold.add(0, Offset(n), &[row(i32::try_from(n).unwrap(), "v")], 0).unwrap())
        .collect();
    fold.end_batch(0, 0).unwrap();
    outcomes
}

fn row_count(flush: &Flush) -> usize {
    flush.buckets.iter().map(|bucket| bucket.rows.num_rows()).sum()
}

#[test]
fn a_flush_covers_what_was_folded_and_the_next_begins_there() {
    let mut fold = fold_from(10);
    fold_batch(&mut fold, 10, 14);
    let flush = fold.flush().unwrap();
    assert_eq!(flush.ranges, [range(10, 15)]);
    assert_eq!(flush.counts, Counts { folded: 5, quarantined: 0, skipped: 0 });
    assert_eq!(flush.lineage.partitions[&0], batch(10, 14));
    assert_eq!(flush.buckets[0].first_sequence, 0);
    fold_batch(&mut fold, 15, 15);
    let flush = fold.flush().unwrap();
    assert_eq!((flush.ranges, flush.buckets[0].first_sequence), (vec![range(15, 16)], 5));
    let empty = fold.flush().unwrap();
    assert!(empty.ranges.is_empty() && empty.buckets.is_empty());
}

#[test]
fn what_lies_before_the_place_is_dropped_not_counted() {
    let mut fold = fold_from(12);
    let wanted = fold.begin_batch(0, batch(10, 14)).unwrap();
    assert_eq!(wanted, Offset(12));
    assert_eq!(fold.add(0, Offset(11), &[row(1, "old")], 0).unwrap(), Outcome::Before);
    assert_eq!(fold.skip(0, Offset(11), 0).unwrap(), Outcome::Before);
    assert_eq!(fold.quarantine(bad(11), 0).unwrap(), Outcome::Before);
    assert_eq!(fold.add(0, Offset(12), &[row(1, "new")], 0).unwrap(), Outcome::Taken);
    assert_eq!(fold.add(0, Offset(12), &[row(1, "twice")], 0).unwrap(), Outcome::Before);
    fold.end_batch(0, 0).unwrap();
    let flush = fold.flush().unwrap();
    assert_eq!(flush.ranges, [range(12, 15)]);
    assert_eq!(flush.counts, Counts { folded: 1, quarantined: 0, skipped: 2 });
    // A batch that was folded wholly changes nothing.
    assert_eq!(fold_batch(&mut fold, 10, 14), vec![Outcome::Before; 5]);
    assert!(fold.is_empty() && fold.flush().unwrap().ranges.is_empty());
}

#[test]
fn a_gap_is_refused() {
    let mut fold = fold_from(10);
    let refused = fold.begin_batch(0, batch(11, 14));
    let (next, found) = (Offset(10), Offset(11));
    assert!(
        matches!(refused, Err(FoldError::Gap { partition: 0, next: n, found: f }) if n == next && f == found)
    );
    // Unless the caller knows that the log has a hole there.
    fold.skip_hole(0, Offset(11), 0).unwrap();
    fold_batch(&mut fold, 11, 14);
    let flush = fold.flush().unwrap();
    assert_eq!((flush.ranges, flush.counts.skipped), (vec![range(10, 15)], 1));
}

#[test]
fn records_outside_the_batch_and_unknown_partitions_are_refused() {
    let mut fold = fold_from(10);
    let outside = |fold: &mut Fold, offset| fold.add(0, Offset(offset), &[row(1, "a")], 0);
    assert!(matches!(outside(&mut fold, 10), Err(FoldError::OutsideBatch { .. })));
    fold.begin_batch(0, batch(10, 12)).unwrap();
    assert!(matches!(outside(&mut fold, 13), Err(FoldError::OutsideBatch { .. })));
    let unknown = fold.begin_batch(1, batch(0, 1));
    assert!(matches!(unknown, Err(FoldError::UnknownPartition { partition: 1 })));
    fold.start_partition(1, Offset(0));
    fold.begin_batch(1, batch(0, 1)).unwrap();
}

#[test]
fn holes_in_a_batch_count_as_skipped() {
    let mut fold = fold_from(0);
    fold.begin_batch(0, batch(0, 9)).unwrap(); // the cleaner left 3 and 5
    fold.add(0, Offset(3), &[row(3, "c")], 0).unwrap();
    fold.quarantine(bad(5), 0).unwrap();
    fold.end_batch(0, 0).unwrap();
    let flush = fold.flush().unwrap();
    assert_eq!(flush.ranges, [range(0, 10)]);
    assert_eq!(flush.counts, Counts { folded: 1, quarantined: 1, skipped: 8 });
    assert_eq!(flush.quarantine, [bad(5)]);
}

#[test]
fn a_flush_may_stand_inside_a_batch() {
    let mut fold = fold_from(0);
    fold.begin_batch(0, batch(0, 9)).unwrap();
    fold.add(0, Offset(0), &[row(0, "a")], 0).unwrap();
    let flush = fold.flush().unwrap();
    assert_eq!((flush.ranges, flush.lineage.partitions[&0]), (vec![range(0, 1)], batch(0, 9)));
    fold.add(0, Offset(1), &[row(1, "b")], 0).unwrap();
    fold.end_batch(0, 0).unwrap();
    assert_eq!(fold.flush().unwrap().ranges, [range(1, 10)]);
}

#[test]
fn a_bad_record_leaves_no_trace_and_may_be_set_aside() {
    let mut fold = fold_from(0);
    fold.begin_batch(0, batch(0, 0)).unwrap();
    let null_key = Row { kind: RowKind::Delete, values: vec![Value::Null, Value::Null] };
    let column = "id".to_owned();
    let outcome = fold.add(0, Offset(0), &[row(1, "good"), null_key], 0).unwrap();
    assert_eq!(outcome, Outcome::Bad(BadRecord::NullKey { column }));
    assert_eq!((fold.counts(), fold.is_empty()), (Counts::default(), true));
    assert_eq!(fold.quarantine(bad(0), 0).unwrap(), Outcome::Taken);
    fold.end_batch(0, 0).unwrap();
    let flush = fold.flush().unwrap();
    assert_eq!((row_count(&flush), flush.counts.quarantined), (0, 1));
}

#[test]
fn a_fold_is_ripe_by_age_or_by_memory() {
    let mut fold = fold_from(0);
    assert!(!fold.is_ripe(i64::MAX), "nothing waits");
    fold.begin_batch(0, batch(0, 99)).unwrap();
    fold.skip(0, Offset(0), 5_000).unwrap(); // skipped offsets are progress too
    assert_eq!(fold.ripe_at_ms(), Some(6_000));
    assert!(!fold.is_ripe(5_999) && fold.is_ripe(6_000));
    assert!(!fold.is_ripe(4_000), "a clock that went back");
    let big = "x".repeat(1 << 20);
    fold.add(0, Offset(1), &[row(1, &big)], 5_000).unwrap();
    assert!(fold.memory_bytes() >= 1 << 20 && fold.is_ripe(5_000));
    fold.flush().unwrap();
    assert_eq!((fold.memory_bytes(), fold.is_ripe(i64::MAX)), (0, false));
}

#[test]
fn rows_find_their_table_partition_and_bucket() {
    let mut schema = schema("d STRING NOT NULL, id BIGINT NOT NULL, n INT", &["d", "id"], &["d"]);
    schema.options.insert("bucket".into(), "4".into());
    let start = FoldStart { next: BTreeMap::from([(0, Offset(0))]), ..FoldStart::default() };
    let mut fold = Fold::new(Arc::new(schema.clone()), start, LIMITS).unwrap();
    fold.begin_batch(0, batch(0, 99)).unwrap();
    for offset in 0..100 {
        let day = if offset % 2 == 0 { "monday" } else { "tuesday" };
        let values = vec![Value::String(day.into()), Value::Int64(offset), Value::Int32(0)];
        let row = Row { kind: RowKind::Insert, values };
        fold.add(0, Offset(offset), &[row], 0).unwrap();
    }
    fold.end_batch(0, 0).unwrap();
    let flush = fold.flush().unwrap();
    assert_eq!((flush.buckets.len(), row_count(&flush)), (8, 100));
    // reference/filestore.md: bigint 42 lies in bucket 1 of 4.
    let days = schema.partition_types();
    let monday = BinaryRow::from_values(&[Value::String("monday".into())], &days);
    let ids = |rows: &RecordBatch| -> Vec<i64> {
        use arrow_array::cast::AsArray;
        rows.column(3).as_primitive::<arrow_array::types::Int64Type>().values().to_vec()
    };
    let holds_42 = |bucket: &&BucketRows| ids(&bucket.rows).contains(&42);
    let bucket = flush.buckets.iter().find(holds_42).unwrap();
    assert_eq!((&bucket.partition, bucket.bucket), (&monday, 1));
    assert!(flush.buckets.iter().all(|bucket| bucket.first_sequence == 0));
}

#[test]
fn an_append_table_keeps_rows_in_the_order_of_arrival() {
    let mut schema = schema("id INT, name STRING", &[], &[]);
    schema.options.insert("bucket".into(), "-1".into());
    let start = FoldStart { next: BTreeMap::from([(0, Offset(0))]), ..FoldStart::default() };
    let mut fold = Fold::new(Arc::new(schema), start, LIMITS).unwrap();
    fold.begin_batch(0, batch(0, 2)).unwrap();
    for (offset, id) in [(0, 9), (1, 3), (2, 9)] {
        fold.add(0, Offset(offset), &[row(id, "same")], 0).unwrap();
    }
    fold.end_batch(0, 0).unwrap();
    let flush = fold.flush().unwrap();
    assert_eq!(flush.buckets.len(), 1);
    let bucket = &flush.buckets[0];
    assert_eq!((bucket.bucket, bucket.rows.num_rows(), bucket.rows.num_columns()), (0, 3, 2));
}

/// Folds batches of these sizes with a restart after each flush: an error unless the table holds
/// each record, which is a key of its own, once.
fn check_restarts(sizes: &[i64], bug: Option<SeededBug>) -> Result<(), String> {
    let mut checkpoint = Checkpoint::default();
    checkpoint.advance(&range(0, 0)).unwrap();
    let (mut rows, mut base_offset) = (0, 0);
    for size in sizes {
        let mut fold = fold_from(checkpoint.next_of(0).unwrap().0);
        if let Some(bug) = bug {
            fold.seed_bug(bug);
        }
        fold_batch(&mut fold, base_offset, base_offset + size - 1);
        base_offset += size;
        let flush = fold.flush().unwrap();
        for range in &flush.ranges {
            checkpoint.advance(range).map_err(|misfit| misfit.to_string())?;
        }
        rows += row_count(&flush);
    }
    match checkpoint.next_of(0) {
        Some(next) if next == Offset(base_offset) && rows as i64 == base_offset => Ok(()),
        next => Err(format!("{rows} rows of {base_offset} records, folded up to {next:?}")),
    }
}

proptest! {
    #[test]
    fn every_record_is_folded_once_whatever_the_restarts(
        sizes in prop::collection::vec(1..9i64, 1..20)
    ) {
        prop_assert_eq!(check_restarts(&sizes, None), Ok(()));
    }
}

#[test]
fn the_suite_sees_a_fold_that_begins_at_the_offset_plus_one() {
    let sizes = [3, 4, 5];
    assert_eq!(check_restarts(&sizes, None), Ok(()));
    let bug = Some(SeededBug::FoldsFromNextOffset);
    // The offsets look complete, and that is why rows must be counted: one is lost per start.
    let seen = "9 rows of 12 records, folded up to Some(Offset(12))";
    assert_eq!(check_restarts(&sizes, bug), Err(seen.to_owned()));
}

#[test]
fn a_partition_whose_folder_no_file_system_takes_is_a_bad_record() {
    let schema = schema("id INT NOT NULL, name STRING", &["id", "name"], &["name"]);
    let start = FoldStart { next: BTreeMap::from([(0, Offset(0))]), ..FoldStart::default() };
    let mut fold = Fold::new(Arc::new(schema), start, LIMITS).unwrap();
    fold.begin_batch(0, batch(0, 3)).unwrap();
    // `name=` and 250 bytes: the longest there is. Escaped letters take three.
    let mut add = |offset: i64, name: &str| fold.add(0, Offset(offset), &[row(1, name)], 0);
    assert_eq!(add(0, &"x".repeat(250)).unwrap(), Outcome::Taken);
    let long = |bytes| BadRecord::LongPartition { column: "name".into(), bytes, bytes_max: 255 };
    assert_eq!(add(1, &"x".repeat(251)).unwrap(), Outcome::Bad(long(256)));
    assert_eq!(add(1, &"/".repeat(84)).unwrap(), Outcome::Bad(long(257)));
    assert_eq!(add(1, &"/".repeat(83)).unwrap(), Outcome::Taken);
    assert_eq!(add(2, "").unwrap(), Outcome::Taken);
}
