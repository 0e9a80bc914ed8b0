//! Which sorted runs to merge next: Paimon's universal compaction, in Paimon's order.
//!
//! 1. Size amplification: all younger runs together outweigh the oldest too much: merge all.
//! 2. Size ratio: from the youngest run on, take in the next one while it is no heavier than what
//!    is taken so far.
//! 3. Count: more runs than the trigger: merge so many that the trigger holds again.
//!
//! The output goes right above the next older run, never to level 0, and to the deepest level
//! when every run is merged.

use crate::data_file::DataFileMeta;
use crate::merge_tree::levels::{LevelSortedRun, Levels};

/// When to merge.
#[derive(Clone, Debug)]
pub struct Options {
    /// No run is merged while there are fewer than this (`num-sorted-run.compaction-trigger`).
    pub run_count_trigger: usize,
    /// How much the younger runs may weigh, in percent of the oldest
    /// (`compaction.max-size-amplification-percent`).
    pub size_amplification_percent: u32,
    /// How much heavier the next run may be, in percent (`compaction.size-ratio`).
    pub size_ratio_percent: u32,
    /// Whether delete rows outlive even the merge that reaches the oldest run. A table with
    /// sequence fields needs them: an older row may still come, and must not revive the key.
    pub keeps_deletes: bool,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            run_count_trigger: 5,
            size_amplification_percent: 200,
            size_ratio_percent: 1,
            keeps_deletes: false,
        }
    }
}

impl Options {
    /// Writers wait while a bucket has this many runs (`num-sorted-run.stop-trigger`).
    pub fn run_count_stop(&self) -> usize {
        self.run_count_trigger + 3
    }

    /// Paimon's default for `num-levels`.
    pub fn level_count(&self) -> usize {
        self.run_count_trigger + 1
    }
}

/// Files to merge and where the result goes.
#[derive(Clone, Debug, PartialEq)]
pub struct CompactUnit {
    /// The level of all files after the compaction.
    pub output_level: i32,
    /// The files of the picked runs, the newest run first.
    pub files: Vec<DataFileMeta>,
    /// Whether nothing older than the picked runs is left, so that deletes have done their work.
    pub drops_deletes: bool,
}

/// The next merge that is due, if one is.
pub fn pick(levels: &Levels, options: &Options) -> Option<CompactUnit> {
    let runs = levels.runs();
    let picked = pick_for_size_amplification(&runs, options)
        .or_else(|| pick_for_size_ratio(&runs, options))
        .or_else(|| pick_for_run_count(&runs, options))?;
    unit(levels, &runs, picked, options)
}

/// Merges every run into the deepest level; none if they are there already.
pub fn pick_full(levels: &Levels, options: &Options) -> Option<CompactUnit> {
    let runs = levels.runs();
    unit(levels, &runs, runs.len(), options)
}

/// The files of an append table to join into larger ones: by the same rules, the youngest files in
/// the order of arrival up to the first that is no longer small. Their rows keep their order.
pub fn pick_to_join(
    levels: &Levels,
    options: &Options,
    small_file_bytes: i64,
) -> Option<CompactUnit> {
    let mut runs = levels.runs();
    let is_large = |run: &LevelSortedRun| run.run.size_bytes() >= small_file_bytes;
    runs.truncate(runs.iter().position(is_large).unwrap_or(runs.len()));
    let picked =
        pick_for_size_ratio(&runs, options).or_else(|| pick_for_run_count(&runs, options))?;
    runs.truncate(picked);
    let files = runs.into_iter().flat_map(|run| run.run.into_files()).collect();
    Some(CompactUnit { output_level: 0, files, drops_deletes: false })
}

/// How many of the youngest runs to merge.
type RunCount = usize;

fn pick_for_size_amplification(runs: &[LevelSortedRun], options: &Options) -> Option<RunCount> {
    let (oldest, younger) = runs.split_last()?;
    let candidate_bytes = size_bytes(younger);
    let is_due = runs.len() >= options.run_count_trigger
        && candidate_bytes * 100
            > i128::from(options.size_amplification_percent) * size_bytes([oldest]);
    is_due.then_some(runs.len())
}

fn pick_for_size_ratio(runs: &[LevelSortedRun], options: &Options) -> Option<RunCount> {
    if runs.len() < options.run_count_trigger {
        return None;
    }
    grown_by_ratio(runs, 1, options)
}

fn pick_for_run_count(runs: &[LevelSortedRun], options: &Options) -> Option<RunCount> {
    if runs.len() <= options.run_count_trigger {
        return None;
    }
    grown_by_ratio(runs, runs.len() - options.run_count_trigger + 1, options)
}

fn grown_by_ratio(
    runs: &[LevelSortedRun],
    run_count: RunCount,
    options: &Options,
) -> Option<RunCount> {
    let mut candidate_bytes = size_bytes(&runs[..run_count]);
    let mut picked = run_count;
    for next in &runs[run_count..] {
        let next_bytes = size_bytes([next]);
        if candidate_bytes * (100 + i128::from(options.size_ratio_percent)) < next_bytes * 100 {
            break;
        }
        candidate_bytes += next_bytes;
        picked += 1;
    }
    (picked > 1).then_some(picked)
}

fn unit(
    levels: &Levels,
    runs: &[LevelSortedRun],
    mut picked: RunCount,
    options: &Options,
) -> Option<CompactUnit> {
    let highest = levels.highest_non_empty_level()?;
    let mut output_level = runs.get(picked).map_or(levels.level_max(), |next| next.level - 1);
    // Not to level 0: take in what is left of it and the first run below.
    while output_level <= 0 && picked < runs.len() {
        output_level = runs[picked].level;
        picked += 1;
    }
    if picked == runs.len() {
        output_level = levels.level_max();
    }
    let files: Vec<DataFileMeta> =
        runs[..picked].iter().flat_map(|run| run.run.files().iter().cloned()).collect();
    let moves = runs[..picked].iter().any(|run| run.level != output_level) || picked > 1;
    moves.then(|| CompactUnit {
        output_level,
        files,
        drops_deletes: !options.keeps_deletes && output_level != 0 && output_level >= highest,
    })
}

fn size_bytes<'a>(runs: impl IntoIterator<Item = &'a LevelSortedRun>) -> i128 {
    runs.into_iter().map(|run| i128::from(run.run.size_bytes())).sum()
}

#[cfg(test)]
mod tests;
