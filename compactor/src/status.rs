//! What a table says of itself to people: kept by its task, shown by the HTTP page.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;

/// What a table is doing.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// Reads its newest snapshot and compares the log with it.
    Opening,
    /// Has no columns yet: waits for records to infer them from.
    WaitingForRecords,
    /// Folds.
    Folding,
    /// Met a record that cannot be a row and is told to halt; goes on when the settings change.
    Halted,
    /// Records were deleted from the log before they were folded.
    Gap,
    /// The log is not the one that was folded before.
    Refused,
    /// The settings cannot be.
    Invalid,
    /// Something failed; tried again after a while.
    Retrying,
    /// Flushed and closed.
    Stopped,
}

/// The files of one level in one bucket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LevelFiles {
    /// The table partition as a path, empty if the table has none.
    pub partition: String,
    /// The bucket.
    pub bucket: i32,
    /// The level.
    pub level: i32,
    /// How many files.
    pub files: u64,
    /// Rows in them, not merged.
    pub rows: i64,
    /// Their size.
    pub bytes: i64,
}

/// A table as `/v1/tables` shows it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TableStatus {
    /// `database.table`.
    pub name: String,
    /// The topic that is folded.
    pub topic: String,
    /// What the table is doing.
    pub state: State,
    /// The newest snapshot.
    pub snapshot_id: Option<i64>,
    /// The newest schema.
    pub schema_id: Option<i64>,
    /// By partition the next offset to fold, as the newest snapshot holds it.
    pub offsets: BTreeMap<i32, i64>,
    /// By partition where committed records end, as last seen.
    pub end_offsets: BTreeMap<i32, i64>,
    /// Offsets between the two, of all partitions.
    pub lag_records: i64,
    /// Age of the newest folded record while there is lag, else 0.
    pub lag_seconds: f64,
    /// Of the last commit: from the arrival of its oldest record here to the snapshot.
    pub freshness_ms: Option<i64>,
    /// When the last commit succeeded.
    pub last_commit_ms: Option<i64>,
    /// Rows in the live files, not merged.
    pub rows: i64,
    /// Live files by bucket and level.
    pub files: Vec<LevelFiles>,
    /// Records folded since the table began.
    pub folded: u64,
    /// Records set aside since the table began.
    pub quarantined: u64,
    /// Offsets without a row since the table began.
    pub skipped: u64,
    /// The last failure; absent once the table folds again.
    pub last_error: Option<String>,
    /// Why a bucket's last compaction failed; absent once compactions succeed again. The table
    /// folds on meanwhile, and the compaction is tried again.
    pub compaction_error: Option<String>,
}

impl TableStatus {
    /// A table that has not begun.
    pub fn new(name: &str, topic: &str) -> Self {
        Self {
            name: name.to_owned(),
            topic: topic.to_owned(),
            state: State::Opening,
            snapshot_id: None,
            schema_id: None,
            offsets: BTreeMap::new(),
            end_offsets: BTreeMap::new(),
            lag_records: 0,
            lag_seconds: 0.0,
            freshness_ms: None,
            last_commit_ms: None,
            rows: 0,
            files: Vec::new(),
            folded: 0,
            quarantined: 0,
            skipped: 0,
            last_error: None,
            compaction_error: None,
        }
    }

    /// Offsets that the log holds and no snapshot does; what was never folded counts from `start`.
    pub fn count_lag(&mut self) {
        let lag = |(partition, end): (&i32, &i64)| {
            let next = self.offsets.get(partition).copied().unwrap_or(0);
            end.saturating_sub(next).max(0)
        };
        self.lag_records = self.end_offsets.iter().map(lag).sum();
    }
}

/// A status that its task writes and others read.
#[derive(Clone, Debug)]
pub struct StatusCell(Arc<Mutex<TableStatus>>);

impl StatusCell {
    /// A cell that holds the given status.
    pub fn new(status: TableStatus) -> Self {
        Self(Arc::new(Mutex::new(status)))
    }

    /// A copy of what it says now.
    pub fn get(&self) -> TableStatus {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Changes it; nobody sees it half changed.
    pub fn update<T>(&self, change: impl FnOnce(&mut TableStatus) -> T) -> T {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Every table's status, and whether the cluster was reached.
#[derive(Debug, Default)]
pub struct Board {
    tables: Mutex<BTreeMap<String, StatusCell>>,
    not_ready: Mutex<Option<String>>,
}

impl Board {
    /// An empty board that is not ready yet.
    pub fn new() -> Self {
        let not_ready = Mutex::new(Some("the cluster was not asked yet".to_owned()));
        Self { tables: Mutex::default(), not_ready }
    }

    /// Puts up the status of a topic's table.
    pub fn put(&self, topic: &str, cell: StatusCell) {
        let mut tables = self.tables.lock().unwrap_or_else(PoisonError::into_inner);
        tables.insert(topic.to_owned(), cell);
    }

    /// Takes it down.
    pub fn take(&self, topic: &str) {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner).remove(topic);
    }

    /// All statuses, by topic.
    pub fn tables(&self) -> Vec<TableStatus> {
        let tables = self.tables.lock().unwrap_or_else(PoisonError::into_inner);
        tables.values().map(StatusCell::get).collect()
    }

    /// Says whether the cluster could be reached, or why not.
    pub fn set_ready(&self, ready: Result<(), String>) {
        *self.not_ready.lock().unwrap_or_else(PoisonError::into_inner) = ready.err();
    }

    /// Why the compactor is not ready, if it is not.
    pub fn not_ready(&self) -> Option<String> {
        self.not_ready.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
