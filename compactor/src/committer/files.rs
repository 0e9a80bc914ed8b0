//! Reads a table's files: snapshots, schemas, manifests. Never writes one.
//!
//! Hints (`LATEST`, `EARLIEST`) may be old, wrong or torn, so they are not asked: the listing of
//! the folder says which snapshots there are.

use std::collections::BTreeSet;

use bytes::Bytes;
use serde::Deserialize;

use crate::committer::CommitError;
use crate::paimon::commit::TableState;
use crate::paimon::live_files::LiveFiles;
use crate::paimon::manifest::{ManifestEntry, ManifestMeta, read_entries, read_list};
use crate::paimon::paths::{TablePaths, numbered};
use crate::paimon::snapshot::Snapshot;
use crate::quarantine::{QuarantineFiles, QuarantinedRecord};
use crate::schema::TableSchema;
use crate::store::{Store, StoreError};

/// When a known state is more commits behind, it is read from scratch.
const COMMITS_FOLLOWED_MAX: usize = 50;

/// The files of one table.
#[derive(Clone, Debug)]
pub struct TableFiles {
    pub(super) store: Store,
    pub(super) paths: TablePaths,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ConsumerJson {
    next_snapshot: i64,
}

impl TableFiles {
    /// The files of the table at `paths`. Partition columns are taken from the table's schema, if
    /// it has one.
    pub async fn open(store: Store, paths: TablePaths) -> Result<Self, CommitError> {
        let mut files = Self { store, paths };
        if let Some(schema) = files.schemas().await?.pop() {
            files.follow(&schema)?;
        }
        Ok(files)
    }

    /// Takes the partition columns from a schema.
    pub(super) fn follow(&mut self, schema: &TableSchema) -> Result<(), CommitError> {
        let columns = schema.partition_places();
        let columns = columns.into_iter().map(|place| schema.columns[place].clone()).collect();
        self.paths = self.paths.with_partition_columns(columns)?;
        Ok(())
    }

    /// Where they lie.
    pub fn paths(&self) -> &TablePaths {
        &self.paths
    }

    /// The store that holds them.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// All schemas, oldest first.
    pub async fn schemas(&self) -> Result<Vec<TableSchema>, CommitError> {
        let mut schemas = Vec::new();
        for id in self.numbers("schema", "schema-").await? {
            let path = self.paths.schema(id);
            let read = TableSchema::from_json(&self.store.get(&path).await?);
            schemas.push(read.map_err(|source| CommitError::Schema { path, source })?);
        }
        Ok(schemas)
    }

    /// Ids of all snapshots, oldest first.
    pub async fn snapshot_ids(&self) -> Result<Vec<i64>, CommitError> {
        self.numbers("snapshot", "snapshot-").await
    }

    /// A snapshot.
    pub async fn snapshot(&self, id: i64) -> Result<Snapshot, CommitError> {
        let path = self.paths.snapshot(id);
        let snapshot = self.snapshot_at(&path).await?;
        match snapshot.id == id {
            true => Ok(snapshot),
            false => Err(CommitError::OtherId { path, found: snapshot.id }),
        }
    }

    /// A snapshot, unless it is gone.
    pub async fn snapshot_if_there(&self, id: i64) -> Result<Option<Snapshot>, CommitError> {
        match self.snapshot(id).await {
            Ok(snapshot) => Ok(Some(snapshot)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn snapshot_at(&self, path: &str) -> Result<Snapshot, CommitError> {
        let bytes = self.store.get(path).await?;
        let path = path.to_owned();
        Snapshot::from_json(&bytes).map_err(|source| CommitError::Snapshot { path, source })
    }

    /// All tags, which are copies of snapshots.
    pub async fn tags(&self) -> Result<Vec<Snapshot>, CommitError> {
        let mut tags = Vec::new();
        for file in self.store.list(&self.paths.folder("tag")).await? {
            if file.name().starts_with("tag-") {
                tags.push(self.snapshot_at(&file.path).await?);
            }
        }
        Ok(tags)
    }

    /// The oldest snapshot that a named consumer still has to read.
    pub async fn consumers_need(&self) -> Result<Option<i64>, CommitError> {
        let mut oldest: Option<i64> = None;
        for file in self.store.list(&self.paths.folder("consumer")).await? {
            if !file.name().starts_with("consumer-") {
                continue;
            }
            let consumer: ConsumerJson = serde_json::from_slice(&self.store.get(&file.path).await?)
                .map_err(|source| CommitError::Consumer { path: file.path.clone(), source })?;
            let next = consumer.next_snapshot;
            oldest = Some(oldest.map_or(next, |oldest| oldest.min(next)));
        }
        Ok(oldest)
    }

    /// The manifests of a snapshot, in order: those of its base, then its own.
    pub async fn manifests(&self, snapshot: &Snapshot) -> Result<Vec<ManifestMeta>, CommitError> {
        let mut manifests =
            self.list_of(&snapshot.base_manifest_list, snapshot.base_manifest_list_size).await?;
        manifests.extend(self.delta_manifests(snapshot).await?);
        Ok(manifests)
    }

    /// The manifests that a snapshot itself added.
    pub async fn delta_manifests(
        &self,
        snapshot: &Snapshot,
    ) -> Result<Vec<ManifestMeta>, CommitError> {
        self.list_of(&snapshot.delta_manifest_list, snapshot.delta_manifest_list_size).await
    }

    /// The lines of a manifest list.
    pub(super) async fn list_of(
        &self,
        name: &str,
        size: Option<i64>,
    ) -> Result<Vec<ManifestMeta>, CommitError> {
        let path = self.paths.manifest(name)?;
        let bytes = self.whole(&path, size).await?;
        read_list(&bytes).map_err(|source| CommitError::Manifest { path, source })
    }

    /// The lines of manifests, in order.
    pub async fn entries(
        &self,
        manifests: &[ManifestMeta],
    ) -> Result<Vec<ManifestEntry>, CommitError> {
        let mut lines = Vec::new();
        for manifest in manifests {
            let path = self.paths.manifest(&manifest.file_name)?;
            let bytes = self.whole(&path, Some(manifest.file_size)).await?;
            let read = read_entries(&bytes);
            lines.extend(read.map_err(|source| CommitError::Manifest { path, source })?);
        }
        Ok(lines)
    }

    /// The files of a snapshot.
    pub async fn live_files(&self, snapshot: &Snapshot) -> Result<LiveFiles, CommitError> {
        let manifests = self.manifests(snapshot).await?;
        self.live_files_of(snapshot.id, &manifests).await
    }

    async fn live_files_of(
        &self,
        id: i64,
        manifests: &[ManifestMeta],
    ) -> Result<LiveFiles, CommitError> {
        let lines = self.entries(manifests).await?;
        self.check_names(&lines)?;
        LiveFiles::of(lines).map_err(|source| CommitError::Contradiction { id, source })
    }

    /// Names of files come from manifests, which others may have written: none may lead out of its
    /// bucket.
    fn check_names(&self, lines: &[ManifestEntry]) -> Result<(), CommitError> {
        for ManifestEntry { entry, .. } in lines {
            self.paths.data_file(&entry.partition, entry.bucket, &entry.file.file_name)?;
        }
        Ok(())
    }

    /// The table as its newest snapshot shows it, and the newest snapshot of `commit_user`. Where
    /// an older state is known, only what was committed since then is read.
    pub(super) async fn state(
        &self,
        commit_user: &str,
        known: Option<TableState>,
    ) -> Result<TableState, CommitError> {
        let ids = self.snapshot_ids().await?;
        if let Some(known) = known
            && let Some(state) = self.state_after(commit_user, known, &ids).await?
        {
            return Ok(state);
        }
        let Some(latest) = ids.last().copied() else { return Ok(TableState::default()) };
        let latest = self.snapshot(latest).await?;
        let mut ours = Some(latest.clone()).filter(|latest| latest.commit_user == commit_user);
        for id in ids.iter().rev().skip(1) {
            if ours.is_some() {
                break;
            }
            ours = self.snapshot(*id).await.map(Some)?.filter(|it| it.commit_user == commit_user);
        }
        if ours.is_none() && ids.first() != Some(&1) {
            // Others have committed and expired: whether we ever folded cannot be known any more.
            return Err(CommitError::ProgressLost { oldest: ids[0] });
        }
        let manifests = self.manifests(&latest).await?;
        let live = self.live_files_of(latest.id, &manifests).await?;
        Ok(TableState { latest: Some(latest), ours, manifests, live })
    }

    /// A known state moved on by the commits since then; `None` if it must be read from scratch.
    async fn state_after(
        &self,
        commit_user: &str,
        mut state: TableState,
        ids: &[i64],
    ) -> Result<Option<TableState>, CommitError> {
        let Some(known) = state.latest.clone() else { return Ok(None) };
        let newer = &ids[ids.partition_point(|id| *id <= known.id)..];
        let follows = newer.iter().zip(known.id + 1..).all(|(id, wanted)| *id == wanted);
        if !follows || newer.len() > COMMITS_FOLLOWED_MAX || !ids.contains(&known.id) {
            return Ok(None);
        }
        // The same id may have become another snapshot, if somebody rolled the table back.
        if self.snapshot_if_there(known.id).await?.as_ref() != Some(&known) {
            return Ok(None);
        }
        for id in newer {
            let snapshot = self.snapshot(*id).await?;
            let delta = self.entries(&self.delta_manifests(&snapshot).await?).await?;
            self.check_names(&delta)?;
            let moved = state.live.apply(&delta);
            moved.map_err(|source| CommitError::Contradiction { id: *id, source })?;
            if snapshot.commit_user == commit_user {
                state.ours = Some(snapshot.clone());
            }
            state.latest = Some(snapshot);
        }
        if let Some(latest) = state.latest.as_ref().filter(|_| !newer.is_empty()) {
            state.manifests = self.manifests(latest).await?;
        }
        Ok(Some(state))
    }

    /// The names of all quarantine files of a snapshot.
    pub async fn quarantine_files(
        &self,
        snapshot: &Snapshot,
    ) -> Result<QuarantineFiles, CommitError> {
        let path = self.paths.snapshot(snapshot.id);
        let list = snapshot.quarantine();
        let list = list.map_err(|source| CommitError::Snapshot { path, source })?;
        let Some(list) = list else { return Ok(QuarantineFiles::default()) };
        let path = self.paths.quarantine(&list.list)?;
        let read = QuarantineFiles::from_json(&self.store.get(&path).await?);
        read.map_err(|source| CommitError::Quarantine { path, source })
    }

    /// All records that were set aside up to a snapshot, oldest first.
    pub async fn quarantined_records(
        &self,
        snapshot: &Snapshot,
    ) -> Result<Vec<QuarantinedRecord>, CommitError> {
        let mut records = Vec::new();
        for file in self.quarantine_files(snapshot).await?.files {
            let path = self.paths.quarantine(&file.name)?;
            let read = crate::quarantine::read(self.store.get(&path).await?);
            records.extend(read.map_err(|source| CommitError::Quarantine { path, source })?);
        }
        Ok(records)
    }

    async fn whole(&self, path: &str, size: Option<i64>) -> Result<Bytes, StoreError> {
        let bytes = self.store.get(path).await?;
        let found = bytes.len() as u64;
        match size {
            Some(size) if u64::try_from(size) != Ok(found) => Err(StoreError::Invalid {
                path: path.into(),
                reason: format!("it has {found} bytes and should have {size}"),
            }),
            _ => Ok(bytes),
        }
    }

    /// The numbers of the files `<prefix><number>` in a folder, smallest first.
    async fn numbers(&self, folder: &str, prefix: &str) -> Result<Vec<i64>, CommitError> {
        let files = self.store.list(&self.paths.folder(folder)).await?;
        let numbers: BTreeSet<i64> =
            files.iter().filter_map(|file| numbered(file.name(), prefix)).collect();
        Ok(numbers.into_iter().collect())
    }
}
