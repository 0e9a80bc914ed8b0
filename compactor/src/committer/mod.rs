//! Acts on plans: writes what the next snapshot names, then creates the snapshot, once.
//!
//! `put_new(snapshot-<N+1>)` is the commit. Everything before it is files that nobody knows;
//! everything after it is courtesy, but for one look: expiry frees the names of old snapshots, so
//! the ids are listed right before the put and again after it, and a snapshot that filled a hole
//! in the past is taken away as lost. The put is lost to somebody else: the table is read again and
//! the change planned again, or refused. The outcome is unknown: the file is read back, and its
//! uuid tells whose it is.
//!
//! Data files of a change that was refused or whose outcome is unknown are not deleted here, nor
//! should a caller delete them: the clean-up of orphans does, once they are old.

pub mod expiry;
pub mod files;
mod write;

use bytes::Bytes;
use weir_protocol::table::column::ColumnType;

use crate::binary_row::BinaryRowError;
use crate::checkpoint::{Checkpoint, OffsetRange};
use crate::committer::files::TableFiles;
use crate::committer::write::{Attempt, Names, Place, place_of};
use crate::crash::{crash_point, seeded_bug};
use crate::lineage::Lineage;
use crate::paimon::avro::AvroError;
use crate::paimon::commit::{Change, Conflict, FileEntry, TableState, plan};
use crate::paimon::live_files::Contradiction;
use crate::paimon::paths::{PathError, TablePaths};
use crate::paimon::snapshot::{Snapshot, SnapshotError};
use crate::quarantine::QuarantineError;
use crate::schema::{SchemaError, TableSchema};
use crate::store::{Store, StoreError};

/// So often a commit is planned anew because somebody else was faster.
const LOST_RACES_MAX: u32 = 100;

/// A change did not become a snapshot, or the table cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// The change does not fit the table as it is now. Nothing of it is visible.
    #[error("the change does not fit the table: {0}")]
    Conflict(#[from] Conflict),
    /// The store failed before the commit. Nothing of the change is visible.
    #[error("{0}")]
    Store(#[from] StoreError),
    /// The store failed while the snapshot was put, and cannot say whether it is there. The next
    /// commit finds out; the same change may be given again.
    #[error("whether snapshot {id} was created is not known: {source}")]
    Unknown {
        /// Id of the snapshot.
        id: i64,
        /// What the store said.
        source: StoreError,
    },
    /// A snapshot is damaged.
    #[error("{path}: {source}")]
    Snapshot {
        /// Where.
        path: String,
        /// What is wrong.
        source: SnapshotError,
    },
    /// A snapshot file holds another snapshot.
    #[error("{path} says that it is snapshot {found}")]
    OtherId {
        /// Where.
        path: String,
        /// The id inside.
        found: i64,
    },
    /// A schema is damaged.
    #[error("{path}: {source}")]
    Schema {
        /// Where.
        path: String,
        /// What is wrong.
        source: SchemaError,
    },
    /// A schema would be damaged from the start; it was not put.
    #[error("schema {id} cannot be kept: its file could not be read: {source}")]
    UnreadableSchema {
        /// Its number.
        id: i64,
        /// What is wrong.
        source: SchemaError,
    },
    /// A schema would be another one once it is read again; it was not put.
    #[error("schema {id} cannot be kept: its file would be read as another schema")]
    LossySchema {
        /// Its number.
        id: i64,
    },
    /// A manifest or manifest list is damaged.
    #[error("{path}: {source}")]
    Manifest {
        /// Where.
        path: String,
        /// What is wrong.
        source: AvroError,
    },
    /// The manifests of a snapshot contradict each other.
    #[error("snapshot {id}: {source}")]
    Contradiction {
        /// The snapshot.
        id: i64,
        /// What is wrong.
        source: Contradiction,
    },
    /// A partition does not fit the table's schema.
    #[error("a file's partition: {0}")]
    Partition(#[from] BinaryRowError),
    /// A name or partition has no place in the table.
    #[error("{0}")]
    Path(#[from] PathError),
    /// Quarantined records cannot be written or read.
    #[error("{path}: {source}")]
    Quarantine {
        /// Where.
        path: String,
        /// What is wrong.
        source: QuarantineError,
    },
    /// The file of a reader's position is damaged; nothing is expired while it is.
    #[error("{path}: {source}")]
    Consumer {
        /// Where.
        path: String,
        /// What is wrong.
        source: serde_json::Error,
    },
    /// No snapshot of ours is left, and older ones were expired by others.
    #[error(
        "the table's oldest snapshot is {oldest} and none is ours: how far the log was folded is \
         not known any more"
    )]
    ProgressLost {
        /// The oldest snapshot.
        oldest: i64,
    },
    /// The folder holds no table.
    #[error("there is no table at {path}")]
    NoTable {
        /// Where.
        path: String,
    },
    /// Many others commit to this table at the same time.
    #[error("gave up after losing the race for {id} and {races} snapshots before it")]
    Crowded {
        /// The snapshot that was lost last.
        id: i64,
        /// How many were lost.
        races: u32,
    },
}

impl CommitError {
    /// Is a file simply not there?
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Store(error) if error.is_not_found())
    }
}

/// The one who commits to a table.
#[derive(Debug)]
pub struct Committer {
    files: TableFiles,
    commit_user: String,
    schemas: Vec<TableSchema>,
    /// What the newest snapshot left; absent when it must be read again.
    state: Option<TableState>,
    /// What an older snapshot left, from which to go on reading.
    outdated: Option<TableState>,
    /// A snapshot whose put had no clear outcome, and the change that it stood for.
    unknown: Option<(Snapshot, Fingerprint)>,
    names: Names,
    /// A seeded bug: the snapshot is written over one that is there.
    replaces: bool,
}

/// What tells one change from another.
#[derive(Clone, Debug, PartialEq)]
struct Fingerprint {
    added: Vec<String>,
    removed: Vec<String>,
    ranges: Vec<OffsetRange>,
}

impl Fingerprint {
    fn of(change: &Change) -> Self {
        let names =
            |files: &[FileEntry]| files.iter().map(|entry| entry.file.file_name.clone()).collect();
        Self {
            added: names(&change.added),
            removed: names(&change.removed),
            ranges: change.progress.as_ref().map(|it| it.ranges.clone()).unwrap_or_default(),
        }
    }
}

impl Committer {
    /// Opens a table, or the place of one that is still to be created. Partition columns are taken
    /// from the table's schema.
    pub async fn open(
        store: Store,
        paths: TablePaths,
        commit_user: &str,
    ) -> Result<Committer, CommitError> {
        let files = TableFiles::open(store, paths).await?;
        let mut committer = Committer {
            schemas: files.schemas().await?,
            files,
            commit_user: commit_user.into(),
            state: None,
            outdated: None,
            unknown: None,
            names: Names::new(),
            replaces: seeded_bug("commit-by-replace"),
        };
        committer.reload().await?;
        if let Some(latest) = committer.latest() {
            // Whoever put it may have died before its name was synced.
            committer.files.store.make_durable(&committer.files.paths.snapshot(latest.id)).await?;
        }
        Ok(committer)
    }

    /// A seeded bug: commits replace a snapshot that is there. Tests must notice.
    #[doc(hidden)]
    pub fn commit_by_replace(&mut self) {
        self.replaces = true;
    }

    /// The table's files, for reading.
    pub fn files(&self) -> &TableFiles {
        &self.files
    }

    /// Where the table's files lie.
    pub fn paths(&self) -> &TablePaths {
        &self.files.paths
    }

    /// The newest snapshot that was seen.
    pub fn latest(&self) -> Option<&Snapshot> {
        self.seen()?.latest.as_ref()
    }

    /// How far the log was folded, by our newest snapshot that was seen.
    pub fn checkpoint(&self) -> Result<Checkpoint, SnapshotError> {
        self.ours().map_or_else(|| Ok(Checkpoint::default()), Snapshot::checkpoint)
    }

    /// Of which log the table was folded, by our newest snapshot that was seen.
    pub fn lineage(&self) -> Result<Option<Lineage>, SnapshotError> {
        self.ours().map_or(Ok(None), Snapshot::lineage)
    }

    /// The epoch of the compactor that folded last, by our newest snapshot that was seen.
    pub fn epoch(&self) -> Result<u64, SnapshotError> {
        self.ours().map_or(Ok(0), Snapshot::epoch)
    }

    /// Our newest snapshot that was seen: the one that holds the progress.
    pub fn ours(&self) -> Option<&Snapshot> {
        self.seen()?.ours.as_ref()
    }

    /// What was read last, even if it must be read again before the next commit.
    fn seen(&self) -> Option<&TableState> {
        self.state.as_ref().or(self.outdated.as_ref())
    }

    /// All schemas, oldest first.
    pub fn schemas(&self) -> &[TableSchema] {
        &self.schemas
    }

    /// The newest schema.
    pub fn schema(&self) -> Option<&TableSchema> {
        self.schemas.last()
    }

    /// Creates the table by its first schema. That somebody else has created it by the same one
    /// at the same time is fine.
    pub async fn create_table(&mut self, schema: &TableSchema) -> Result<(), CommitError> {
        self.add_schema(schema).await
    }

    /// Adds the schema that follows the newest one. Its id must be one higher. A schema that could
    /// not be read again is refused, for a table with such a file could never be opened.
    pub async fn add_schema(&mut self, schema: &TableSchema) -> Result<(), CommitError> {
        let path = self.files.paths.schema(schema.id);
        let json = schema.to_json();
        match TableSchema::from_json(json.as_bytes()) {
            Ok(read) if read == *schema => {}
            Ok(_) => return Err(CommitError::LossySchema { id: schema.id }),
            Err(source) => return Err(CommitError::UnreadableSchema { id: schema.id, source }),
        }
        let put = self.files.store.put_new(&path, Bytes::from(json)).await;
        self.schemas = self.files.schemas().await?;
        let held = self.schemas.iter().find(|held| held.id == schema.id);
        let is_ours = held.is_some_and(|held| {
            held.columns == schema.columns
                && held.primary_keys == schema.primary_keys
                && held.partition_keys == schema.partition_keys
                && held.options == schema.options
        });
        match put {
            Ok(()) => {}
            Err(_) if is_ours => self.files.store.make_durable(&path).await?,
            Err(error) => return Err(error.into()),
        }
        if let Some(newest) = self.schemas.last() {
            self.files.follow(newest)?;
        }
        Ok(())
    }

    /// Reads what was committed since the table was read last.
    pub async fn reload(&mut self) -> Result<(), CommitError> {
        let known = self.state.take().or_else(|| self.outdated.take());
        self.state = Some(self.files.state(&self.commit_user, known).await?);
        Ok(())
    }

    /// The files of the newest snapshot that was seen.
    pub async fn live_files(&self) -> Vec<FileEntry> {
        let files = self.seen().map(|state| state.live.iter().cloned().collect());
        files.unwrap_or_default()
    }

    /// The files of a snapshot.
    pub async fn live_files_at(&self, snapshot: i64) -> Result<Vec<FileEntry>, CommitError> {
        let snapshot = self.files.snapshot(snapshot).await?;
        Ok(self.files.live_files(&snapshot).await?.iter().cloned().collect())
    }

    /// Makes a change the next snapshot.
    pub async fn commit(&mut self, change: Change) -> Result<Snapshot, CommitError> {
        if self.state.is_none() || self.unknown.is_some() {
            self.reload().await?;
            if let Some(snapshot) = self.committed_after_all(&change).await? {
                return Ok(snapshot);
            }
        }
        let mut races = 0;
        loop {
            let state = match &self.state {
                Some(state) => state,
                None => {
                    self.reload().await?;
                    continue;
                }
            };
            let plan = plan(state, &change, &self.commit_user, &self.key_types())?;
            crash_point("commit.planned");
            let mut attempt = Attempt::default();
            let outcome = self.act(&plan, &change, &mut attempt).await;
            match outcome {
                Ok(Some(snapshot)) => return Ok(snapshot),
                Ok(None) => {
                    self.take_away(&attempt).await;
                    self.outdated = self.state.take();
                    races += 1;
                    if races > LOST_RACES_MAX {
                        return Err(CommitError::Crowded { id: plan.id, races });
                    }
                }
                Err(error) => {
                    if !matches!(error, CommitError::Unknown { .. }) {
                        self.take_away(&attempt).await;
                    }
                    self.outdated = self.state.take();
                    return Err(error);
                }
            }
        }
    }

    /// If an earlier put of this very change had no clear outcome: did it succeed?
    async fn committed_after_all(
        &mut self,
        change: &Change,
    ) -> Result<Option<Snapshot>, CommitError> {
        let Some((snapshot, fingerprint)) = self.unknown.take() else { return Ok(None) };
        let found = self.files.snapshot_if_there(snapshot.id).await?;
        let is_in_turn = place_of(&self.files.snapshot_ids().await?, snapshot.id) == Place::InTurn;
        let is_same = fingerprint == Fingerprint::of(change) && found.as_ref() == Some(&snapshot);
        if !is_same || !is_in_turn {
            return Ok(None);
        }
        self.files.store.make_durable(&self.files.paths.snapshot(snapshot.id)).await?;
        Ok(Some(snapshot))
    }

    fn key_types(&self) -> Vec<ColumnType> {
        self.schema().map(TableSchema::key_types).unwrap_or_default()
    }
}

#[cfg(test)]
pub(crate) mod tests;
