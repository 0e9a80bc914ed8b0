//! Many rows of one key become one.

/// How the rows of one key are merged (`table.merge.engine`).
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum MergeFunction {
    /// The last row counts.
    Deduplicate,
}

impl MergeFunction {
    /// Which of `row_count` rows of one key, ordered oldest first, stands for the key.
    pub fn winner(self, row_count: usize) -> usize {
        assert!(row_count > 0, "a key has at least one row");
        match self {
            MergeFunction::Deduplicate => row_count - 1,
        }
    }
}
