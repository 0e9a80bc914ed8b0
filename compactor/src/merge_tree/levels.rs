//! Which sorted runs a bucket consists of.
//!
//! ```text
//! level 0   [f9] [f8] [f7]           each file a run of its own, newest first
//! level 1   [f4 | f5 | f6]           one run per level: files in key order that do not overlap
//! level 5   [f1 | f2 | f3]
//! ```
//!
//! A newer row of a key never lies in an older run, unless sequence fields say otherwise.

use std::cmp::Ordering;

use crate::binary_row::BinaryRowError;
use crate::data_file::DataFileMeta;
use crate::merge_tree::KeyOrder;

/// Files in the order of their keys; no two of them overlap.
#[derive(Clone, Debug, PartialEq)]
pub struct SortedRun {
    files: Vec<DataFileMeta>,
}

impl SortedRun {
    /// A run of one file.
    pub fn single(file: DataFileMeta) -> SortedRun {
        SortedRun { files: vec![file] }
    }

    /// Puts files of one level in order.
    pub(super) fn of_level(
        level: i32,
        mut files: Vec<DataFileMeta>,
        order: &KeyOrder,
    ) -> Result<SortedRun, LevelsError> {
        files.sort_by(|left, right| order.compare(&left.min_key, &right.min_key));
        for pair in files.windows(2) {
            if order.compare(&pair[0].max_key, &pair[1].min_key) != Ordering::Less {
                return Err(LevelsError::Overlap {
                    level,
                    left: pair[0].file_name.clone(),
                    right: pair[1].file_name.clone(),
                });
            }
        }
        Ok(SortedRun { files })
    }

    /// The files, in key order.
    pub fn files(&self) -> &[DataFileMeta] {
        &self.files
    }

    /// The files, in key order.
    pub fn into_files(self) -> Vec<DataFileMeta> {
        self.files
    }

    /// What the files weigh together.
    pub fn size_bytes(&self) -> i64 {
        self.files.iter().map(|file| file.file_size).sum()
    }

    /// The file with the greatest keys.
    pub fn last(&self) -> Option<&DataFileMeta> {
        self.files.last()
    }

    /// Appends a file whose keys all lie behind those of the run.
    pub(super) fn push(&mut self, file: DataFileMeta) {
        self.files.push(file);
    }
}

/// A sorted run and the level at which it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct LevelSortedRun {
    /// Its level.
    pub level: i32,
    /// Its files.
    pub run: SortedRun,
}

/// Live files that are no LSM tree.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LevelsError {
    /// Two files of one level hold overlapping key ranges.
    #[error("level {level}: the keys of files {left} and {right} overlap")]
    Overlap {
        /// The level, 1 or more.
        level: i32,
        /// The file that begins first.
        left: String,
        /// The file that begins inside it.
        right: String,
    },
    /// A file stands at a level that cannot be.
    #[error("file {file} stands at level {level}")]
    Level {
        /// The file.
        file: String,
        /// The level its metadata names.
        level: i32,
    },
    /// A file's metadata holds no key.
    #[error("a data file names keys that are none of this table: {0}")]
    Key(#[from] BinaryRowError),
    /// A change removes a file that is not there.
    #[error("file {file} of level {level} is to be removed but is not live")]
    Missing {
        /// The file.
        file: String,
        /// The level at which it was looked for.
        level: i32,
    },
}

/// The live files of one bucket by level.
#[derive(Clone, Debug)]
pub struct Levels {
    order: KeyOrder,
    /// Newest first.
    level_0: Vec<DataFileMeta>,
    /// `deeper[n]` is level `n + 1`; it may be empty.
    deeper: Vec<SortedRun>,
}

impl Levels {
    /// Sorts live files into at least `level_count` levels (level 0 counts).
    pub fn new(
        order: KeyOrder,
        level_count: usize,
        files: Vec<DataFileMeta>,
    ) -> Result<Levels, LevelsError> {
        order.check(&files)?;
        let mut by_level: Vec<Vec<DataFileMeta>> = vec![Vec::new(); level_count.max(2)];
        for file in files {
            let level = level_of(&file)?;
            if by_level.len() <= level {
                by_level.resize(level + 1, Vec::new());
            }
            by_level[level].push(file);
        }
        let mut by_level = by_level.into_iter();
        let mut level_0 = by_level.next().unwrap_or_default();
        level_0.sort_by(newest_first);
        let deeper = (1..)
            .zip(by_level)
            .map(|(level, files)| SortedRun::of_level(level, files, &order))
            .collect::<Result<_, _>>()?;
        Ok(Levels { order, level_0, deeper })
    }

    /// The deepest level there can be.
    pub fn level_max(&self) -> i32 {
        i32::try_from(self.deeper.len()).expect("levels are a handful")
    }

    /// The deepest level that holds a file; none when the bucket is empty.
    pub fn highest_non_empty_level(&self) -> Option<i32> {
        self.runs().last().map(|run| run.level)
    }

    /// All runs, the newest first.
    pub fn runs(&self) -> Vec<LevelSortedRun> {
        let newest = self.level_0.iter().cloned().map(SortedRun::single);
        let deeper = (1..).zip(&self.deeper).filter(|(_, run)| !run.files().is_empty());
        newest
            .map(|run| LevelSortedRun { level: 0, run })
            .chain(deeper.map(|(level, run)| LevelSortedRun { level, run: run.clone() }))
            .collect()
    }

    /// How many runs a reader has to merge at most.
    pub fn run_count(&self) -> usize {
        self.level_0.len() + self.deeper.iter().filter(|run| !run.files().is_empty()).count()
    }

    /// All files, the newest run first.
    pub fn files(&self) -> impl Iterator<Item = &DataFileMeta> {
        self.level_0.iter().chain(self.deeper.iter().flat_map(SortedRun::files))
    }

    /// The order of the keys.
    pub fn order(&self) -> &KeyOrder {
        &self.order
    }

    /// The levels after files went and came.
    pub fn changed(
        &self,
        removed: &[DataFileMeta],
        added: &[DataFileMeta],
    ) -> Result<Levels, LevelsError> {
        let mut files: Vec<DataFileMeta> = self.files().cloned().collect();
        for gone in removed {
            let same =
                |file: &DataFileMeta| file.file_name == gone.file_name && file.level == gone.level;
            let Some(place) = files.iter().position(same) else {
                let (file, level) = (gone.file_name.clone(), gone.level);
                return Err(LevelsError::Missing { file, level });
            };
            files.swap_remove(place);
        }
        files.extend_from_slice(added);
        Levels::new(self.order.clone(), self.deeper.len() + 1, files)
    }
}

fn level_of(file: &DataFileMeta) -> Result<usize, LevelsError> {
    // Paimon's own trees are six levels deep; a file that claims hundreds is damaged.
    let level = usize::try_from(file.level).ok().filter(|level| *level < 256);
    level.ok_or_else(|| LevelsError::Level { file: file.file_name.clone(), level: file.level })
}

/// Paimon's order of level 0, down to the name, so that every reader sees the same one.
fn newest_first(left: &DataFileMeta, right: &DataFileMeta) -> Ordering {
    right
        .max_sequence
        .cmp(&left.max_sequence)
        .then_with(|| left.min_sequence.cmp(&right.min_sequence))
        .then_with(|| left.creation_time_ms.cmp(&right.creation_time_ms))
        .then_with(|| left.file_name.cmp(&right.file_name))
}
