//! Files in sections and levels, and the picks of the universal compaction.

use std::collections::BTreeMap;

use bytes::Bytes;
use proptest::prelude::*;
use weir_protocol::table::column::{ColumnType, DataType};
use weir_protocol::table::sql::parse_columns;

use super::*;
use crate::data_file::{FileSource, SimpleStats};
use crate::merge_tree::interval_partition::sections;
use crate::merge_tree::levels::{Levels, LevelsError};
use crate::row::Value;

const INT: ColumnType = ColumnType { data_type: DataType::Int, nullable: false };

/// A table of these columns and keys.
pub(crate) fn schema(columns: &str, primary_keys: &[&str], partition_keys: &[&str]) -> TableSchema {
    let columns = parse_columns(columns).unwrap();
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    TableSchema {
        id: 0,
        highest_field_id: columns.iter().map(|column| column.id).max().unwrap_or(-1),
        columns,
        partition_keys: names(partition_keys),
        primary_keys: names(primary_keys),
        options: BTreeMap::from([("bucket".to_owned(), "1".to_owned())]),
        comment: String::new(),
        time_ms: 0,
    }
}

/// Keys of one INT column.
pub(crate) fn int_order() -> KeyOrder {
    KeyOrder::new(vec![INT])
}

fn key(value: i32) -> BinaryRow {
    BinaryRow::from_values(&[Value::Int32(value)], &[INT])
}

/// A file of the keys `from..=to`.
pub(crate) fn file(name: &str, level: i32, from: i32, to: i32, size_bytes: i64) -> DataFileMeta {
    let stats =
        SimpleStats { min: BinaryRow::EMPTY, max: BinaryRow::EMPTY, null_counts: Vec::new() };
    DataFileMeta {
        file_name: name.into(),
        file_size: size_bytes,
        row_count: 1,
        min_key: key(from),
        max_key: key(to),
        key_stats: stats.clone(),
        value_stats: stats,
        min_sequence: 0,
        max_sequence: 0,
        schema_id: 0,
        level,
        extra_files: Vec::new(),
        creation_time_ms: 0,
        delete_row_count: 0,
        source: FileSource::Append,
        value_stats_cols: None,
    }
}

fn names(section: &[levels::SortedRun]) -> Vec<Vec<&str>> {
    section.iter().map(names_of_run).collect()
}

fn names_of_run(run: &levels::SortedRun) -> Vec<&str> {
    run.files().iter().map(|file| file.file_name.as_str()).collect()
}

#[test]
fn sections_part_where_no_file_reaches_over() {
    let files = vec![
        file("f3", 0, 30, 40, 1),
        file("f1", 0, 0, 10, 1),
        file("f2", 0, 10, 20, 1), // touches f1's last key
        file("f5", 0, 35, 36, 1),
        file("f4", 0, 41, 50, 1), // begins right behind f3
    ];
    let sections = sections(files, &int_order()).unwrap();
    let sections: Vec<_> = sections.iter().map(|section| names(section)).collect();
    assert_eq!(
        sections,
        [vec![vec!["f1"], vec!["f2"]], vec![vec!["f3"], vec!["f5"]], vec![vec!["f4"]]]
    );
}

#[test]
fn a_run_that_has_ended_takes_the_next_file_of_its_section() {
    let files = vec![
        file("long", 0, 0, 100, 1),
        file("a", 0, 1, 10, 1),
        file("b", 0, 11, 20, 1),
        file("c", 0, 15, 30, 1),
    ];
    let sections = sections(files, &int_order()).unwrap();
    assert_eq!(sections.len(), 1);
    assert_eq!(names(&sections[0]), [vec!["long"], vec!["a", "b"], vec!["c"]]);
}

proptest! {
    #[test]
    fn sections_hold_every_file_once_and_nothing_overlaps_in_a_run(
        ranges in prop::collection::vec((0..200i32, 0..20i32), 0..40)
    ) {
        let order = int_order();
        let files: Vec<DataFileMeta> = ranges
            .iter()
            .enumerate()
            .map(|(at, (from, length))| file(&at.to_string(), 0, *from, from + length, 1))
            .collect();
        let sections = sections(files.clone(), &order).unwrap();
        let mut seen: Vec<String> = Vec::new();
        let mut last_key: Option<BinaryRow> = None;
        for section in &sections {
            let mut end: Option<BinaryRow> = None;
            for run in section {
                for pair in run.files().windows(2) {
                    prop_assert!(order.compare(&pair[0].max_key, &pair[1].min_key).is_lt());
                }
                for file in run.files() {
                    seen.push(file.file_name.clone());
                    if let Some(last) = &last_key {
                        prop_assert!(order.compare(last, &file.min_key).is_lt());
                    }
                    let is_later = |end: &BinaryRow| order.compare(&file.max_key, end).is_gt();
                    if end.as_ref().is_none_or(is_later) {
                        end = Some(file.max_key.clone());
                    }
                }
            }
            last_key = end;
        }
        seen.sort();
        let mut all: Vec<String> = files.into_iter().map(|file| file.file_name).collect();
        all.sort();
        prop_assert_eq!(seen, all);
    }
}

#[test]
fn level_0_is_read_newest_first_and_a_deeper_level_in_key_order() {
    let with_sequences = |name: &str, min, max| {
        let file = file(name, 0, 0, 9, 1);
        DataFileMeta { min_sequence: min, max_sequence: max, ..file }
    };
    let levels = Levels::new(
        int_order(),
        6,
        vec![
            file("right", 3, 10, 20, 1),
            with_sequences("old", 0, 4),
            with_sequences("new", 5, 9),
            file("left", 3, 0, 9, 1),
        ],
    )
    .unwrap();
    let names: Vec<&str> = levels.files().map(|file| file.file_name.as_str()).collect();
    assert_eq!(names, ["new", "old", "left", "right"]);
    assert_eq!(levels.run_count(), 3);
    assert_eq!(levels.highest_non_empty_level(), Some(3));
    assert_eq!(levels.level_max(), 5);
}

#[test]
fn overlap_in_a_deeper_level_is_refused() {
    let files = vec![file("a", 1, 0, 10, 1), file("b", 1, 10, 20, 1)];
    let refused = Levels::new(int_order(), 6, files).unwrap_err();
    let (left, right) = ("a".into(), "b".into());
    assert_eq!(refused, LevelsError::Overlap { level: 1, left, right });
}

#[test]
fn damaged_metadata_is_refused() {
    let negative = Levels::new(int_order(), 6, vec![file("a", -1, 0, 1, 1)]);
    assert!(matches!(negative, Err(LevelsError::Level { level: -1, .. })));
    let mut other = file("a", 1, 0, 1, 1);
    other.min_key = BinaryRow::from_bytes(Bytes::from_static(&[0; 12])).unwrap();
    assert!(matches!(Levels::new(int_order(), 6, vec![other]), Err(LevelsError::Key(_))));
}

#[test]
fn a_change_takes_out_by_name_and_level() {
    let old = file("a", 0, 0, 10, 1);
    let levels = Levels::new(int_order(), 6, vec![old.clone()]).unwrap();
    let upgraded = DataFileMeta { level: 5, ..old.clone() };
    let levels = levels.changed(std::slice::from_ref(&old), &[upgraded]).unwrap();
    assert_eq!(levels.highest_non_empty_level(), Some(5));
    assert!(matches!(levels.changed(&[old], &[]), Err(LevelsError::Missing { level: 0, .. })));
}
