//! The picks of the universal compaction, run by run.

use super::*;
use crate::merge_tree::tests::{file, int_order};

/// A bucket of runs `(level, size)`, the newest first, with the default options.
fn levels(runs: &[(i32, i64)]) -> Levels {
    let files = runs.iter().enumerate().map(|(age, (level, size_bytes))| {
        let mut file = file(&format!("f{age}"), *level, 0, 10, *size_bytes);
        file.max_sequence = 1_000 - i64::try_from(age).unwrap();
        file
    });
    Levels::new(int_order(), 6, files.collect()).unwrap()
}

/// The output level and how many runs are merged, and whether deletes go.
fn picked(runs: &[(i32, i64)]) -> Option<(i32, usize, bool)> {
    let unit = pick(&levels(runs), &Options::default())?;
    Some((unit.output_level, unit.files.len(), unit.drops_deletes))
}

#[test]
fn nothing_is_picked_below_the_trigger() {
    assert_eq!(picked(&[]), None);
    assert_eq!(picked(&[(0, 1)]), None);
    assert_eq!(picked(&[(0, 100), (0, 100), (0, 100), (5, 1)]), None);
}

#[test]
fn size_amplification_merges_all_into_the_deepest_level() {
    // The four younger runs weigh 200 percent of the oldest, then a byte more.
    assert_eq!(picked(&[(0, 1), (0, 10), (0, 30), (0, 161), (5, 101)]), None);
    assert_eq!(picked(&[(0, 1), (0, 10), (0, 30), (0, 162), (5, 101)]), Some((5, 5, true)));
}

#[test]
fn size_ratio_grows_while_the_next_run_is_no_heavier() {
    // 100 + 1 percent takes 101, not 102.
    assert_eq!(
        picked(&[(0, 100), (0, 101), (0, 400), (4, 500), (5, 9_000)]),
        Some((4, 4, false)) // the next older run is at level 0: taken in, and level 4 too
    );
    assert_eq!(picked(&[(0, 100), (0, 102), (0, 400), (4, 900), (5, 9_000)]), None);
}

#[test]
fn the_output_stands_right_above_the_next_older_run() {
    assert_eq!(picked(&[(0, 10), (0, 10), (0, 10), (3, 900), (5, 9_000)]), Some((2, 3, false)));
    assert_eq!(picked(&[(0, 10), (0, 10), (0, 10), (0, 10), (5, 9_000)]), Some((4, 4, false)));
}

#[test]
fn level_0_is_no_output_so_further_runs_are_taken_in() {
    // Two light runs; the next is at level 0, so everything down to level 1 is merged there.
    assert_eq!(picked(&[(0, 10), (0, 10), (0, 300), (1, 900), (5, 9_000)]), Some((1, 4, false)));
    // A run at level 1 is next: its level less one would be 0.
    assert_eq!(picked(&[(0, 10), (0, 10), (0, 10), (1, 900), (5, 9_000)]), Some((1, 4, false)));
    // All are at level 0: all go to the deepest level.
    assert_eq!(picked(&[(0, 10), (0, 10), (0, 300), (0, 9_000), (0, 900_000)]), Some((5, 5, true)));
}

#[test]
fn one_run_too_many_is_merged_with_the_next() {
    // Each run is much heavier than all before it, so that no ratio holds.
    let heavier = [(0, 1), (0, 10), (0, 100), (0, 1_000), (4, 10_000), (5, 100_000)];
    assert_eq!(picked(&heavier[1..]), None);
    // Six runs: two are merged. Their output would be level 0, so level 4 goes with them.
    assert_eq!(picked(&heavier), Some((4, 5, false)));
}

#[test]
fn deletes_stay_where_sequence_fields_may_bring_older_rows() {
    let runs = [(0, 500), (0, 1), (0, 1), (0, 1), (5, 100)];
    let options = Options { keeps_deletes: true, ..Options::default() };
    assert!(!pick(&levels(&runs), &options).unwrap().drops_deletes);
    assert!(pick(&levels(&runs), &Options::default()).unwrap().drops_deletes);
}

#[test]
fn a_full_compaction_ends_when_all_is_at_the_deepest_level() {
    let full = |runs| pick_full(&levels(runs), &Options::default());
    assert_eq!(full(&[]), None);
    assert_eq!(full(&[(5, 100)]), None);
    let unit = full(&[(0, 100)]).unwrap();
    assert_eq!((unit.output_level, unit.files.len(), unit.drops_deletes), (5, 1, true));
    assert_eq!(full(&[(0, 1), (3, 10), (5, 100)]).unwrap().files.len(), 3);
}

#[test]
fn a_steady_stream_of_flushes_stays_below_the_stop_trigger() {
    let options = Options::default();
    let mut levels = levels(&[]);
    let mut written_bytes = 0;
    for flush in 0..500 {
        let mut flushed = file(&format!("l0-{flush}"), 0, 0, 10, 100);
        flushed.max_sequence = flush;
        levels = levels.changed(&[], &[flushed]).unwrap();
        if let Some(unit) = pick(&levels, &options) {
            let size_bytes = unit.files.iter().map(|file| file.file_size).sum();
            written_bytes += size_bytes;
            let merged = file(&format!("m-{flush}"), unit.output_level, 0, 10, size_bytes);
            levels = levels.changed(&unit.files, &[merged]).unwrap();
        }
        assert!(levels.run_count() <= options.run_count_trigger, "after flush {flush}");
    }
    let amplification = written_bytes / (500 * 100);
    assert!(amplification <= 8, "each byte was rewritten {amplification} times");
}

#[test]
fn an_append_table_joins_its_youngest_small_files() {
    let joined = |sizes: &[i64]| {
        let runs: Vec<(i32, i64)> = sizes.iter().map(|size_bytes| (0, *size_bytes)).collect();
        let unit = pick_to_join(&levels(&runs), &Options::default(), 100)?;
        assert_eq!((unit.output_level, unit.drops_deletes), (0, false));
        Some(unit.files.into_iter().map(|file| file.file_name).collect::<Vec<_>>())
    };
    assert_eq!(joined(&[10, 10, 10, 10]), None, "not worth it yet");
    assert_eq!(joined(&[10, 10, 10, 10, 40]).unwrap().len(), 5);
    assert_eq!(joined(&[10, 10, 10, 10, 90]).unwrap().len(), 4);
    assert_eq!(joined(&[10, 10, 10, 10, 100]), None, "a large file stays, and ends the stretch");
    assert_eq!(joined(&[1, 2, 4, 8, 16, 32]).unwrap(), ["f0", "f1"]);
}
