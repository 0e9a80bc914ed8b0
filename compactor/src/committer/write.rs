//! Writes what a plan asks for, and puts the snapshot.

use bytes::Bytes;
use tracing::warn;
use uuid::Uuid;
use weir_protocol::table::column::ColumnType;

use crate::committer::{CommitError, Committer, Fingerprint};
use crate::crash::crash_point;
use crate::paimon::commit::{Change, Plan, WrittenList};
use crate::paimon::live_files::merge;
use crate::paimon::manifest::{EntryKind, ManifestEntry, ManifestMeta, write_entries, write_list};
use crate::paimon::manifest_merge::{BasePart, MANIFEST_BYTES, meta_of};
use crate::paimon::snapshot::{QuarantineList, Snapshot};
use crate::quarantine::QuarantineFile;
use crate::store::StoreError;

/// So often the same snapshot is put when the store fails without saying what happened.
const PUTS_MAX: u32 = 3;

/// Names that nobody else gives to a file: a uuid for each life of a committer, and a number.
#[derive(Debug)]
pub(super) struct Names {
    uuid: Uuid,
    next: u64,
}

impl Names {
    /// Names of a new life.
    pub(super) fn new() -> Self {
        Self { uuid: Uuid::new_v4(), next: 0 }
    }

    fn name(&mut self, prefix: &str, suffix: &str) -> String {
        let number = self.next;
        self.next += 1;
        format!("{prefix}-{}-{number}{suffix}", self.uuid)
    }
}

/// Files of one attempt; they are taken away if the attempt is known to have failed.
#[derive(Debug, Default)]
pub(super) struct Attempt {
    paths: Vec<String>,
}

enum PutOutcome {
    Committed,
    Lost,
}

/// Where a snapshot stands that was just put.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Behind all others, or in an unbroken row with what came after it.
    InTurn,
    /// Before others that do not follow it: the ids between were expired, and so was its own.
    Hole,
    /// It touches the oldest, or is gone: it was expired in its turn, or came after its turn.
    Unclear,
}

/// PURE. Where snapshot `id` stands among all ids, oldest first. Snapshots are expired from the
/// oldest on, so that a gap behind one means that it was not there when they were.
pub(super) fn place_of(ids: &[i64], id: i64) -> Place {
    let is_there = |id: i64| ids.binary_search(&id).is_ok();
    let is_last = ids.last().is_none_or(|last| *last <= id);
    match (is_there(id), is_last) {
        (true, true) => Place::InTurn,
        (true, false) if !is_there(id + 1) => Place::Hole,
        (true, false) if id == 1 || is_there(id - 1) => Place::InTurn,
        _ => Place::Unclear,
    }
}

impl Committer {
    /// Writes all that the snapshot names and puts it. `None`: somebody else was faster.
    pub(super) async fn act(
        &mut self,
        plan: &Plan,
        change: &Change,
        attempt: &mut Attempt,
    ) -> Result<Option<Snapshot>, CommitError> {
        let quarantine = self.write_quarantine(change, attempt).await?;
        crash_point("commit.quarantine-written");
        let mut delta = Vec::new();
        self.write_manifests(&plan.delta, change.schema_id, attempt, &mut delta).await?;
        let base = self.write_base(plan, change.schema_id, attempt).await?;
        crash_point("commit.manifests-written");
        let base_list = self.write_list(&base, attempt).await?;
        crash_point("commit.base-list-written");
        let delta_list = self.write_list(&delta, attempt).await?;
        crash_point("commit.delta-list-written");
        let uuid = Uuid::new_v4().to_string();
        let snapshot = plan.snapshot(&uuid, &base_list, &delta_list, quarantine.as_ref());
        assert_eq!(snapshot.id, self.latest().map_or(0, |latest| latest.id) + 1);
        crash_point("commit.before-snapshot");
        if !self.replaces && !self.is_newest(snapshot.id - 1).await? {
            return Ok(None);
        }
        if let PutOutcome::Lost = self.put(&snapshot, change).await? {
            return Ok(None);
        }
        crash_point("commit.snapshot-put");
        if !self.holds_its_place(&snapshot, change).await? {
            return Ok(None);
        }
        self.hint(&self.files.paths.latest_hint(), snapshot.id).await;
        crash_point("commit.hint-written");
        if let Some(state) = &mut self.state {
            state.live.apply(&plan.delta).expect("the plan was made from these very files");
            state.manifests = base;
            state.manifests.extend(delta);
            state.latest = Some(snapshot.clone());
            state.ours = Some(snapshot.clone());
        }
        Ok(Some(snapshot))
    }

    /// Is the snapshot that was planned on still the newest? The put alone does not say: once
    /// expiry has taken old snapshots away, their names are free again.
    async fn is_newest(&self, id: i64) -> Result<bool, CommitError> {
        let ids = self.files.snapshot_ids().await?;
        Ok(ids.last().copied().unwrap_or(0) == id)
    }

    /// Did the snapshot that was put follow the newest one? Others may have committed and expired
    /// between the listing and the put; then it is taken away, and the race is lost.
    pub(super) async fn holds_its_place(
        &mut self,
        snapshot: &Snapshot,
        change: &Change,
    ) -> Result<bool, CommitError> {
        let id = snapshot.id;
        let path = self.files.paths.snapshot(id);
        let source = match self.files.snapshot_ids().await {
            Ok(ids) => match place_of(&ids, id) {
                Place::InTurn => return Ok(true),
                Place::Hole => match self.files.store.delete(&path).await {
                    Ok(()) => return Ok(false),
                    // It stands in the past and counts for nobody; its files stay as long as it.
                    Err(source) => return Err(CommitError::Unknown { id, source }),
                },
                Place::Unclear => {
                    let reason = "newer snapshots are there and older ones are gone".into();
                    let source = StoreError::Invalid { path, reason };
                    return Err(CommitError::Unknown { id, source });
                }
            },
            Err(CommitError::Store(source)) => source,
            Err(error) => return Err(error),
        };
        self.unknown = Some((snapshot.clone(), Fingerprint::of(change)));
        Err(CommitError::Unknown { id, source })
    }

    async fn put(
        &mut self,
        snapshot: &Snapshot,
        change: &Change,
    ) -> Result<PutOutcome, CommitError> {
        let path = self.files.paths.snapshot(snapshot.id);
        let bytes = Bytes::from(snapshot.to_json());
        let mut puts = 0;
        loop {
            puts += 1;
            let put = match self.replaces {
                false => self.files.store.put_new(&path, bytes.clone()).await,
                true => self.files.store.put(&path, bytes.clone()).await,
            };
            let Err(error) = put else { return Ok(PutOutcome::Committed) };
            // Even "exists already" may be said of a put of ours whose first answer was lost.
            let found = self.files.snapshot_if_there(snapshot.id).await;
            let durable = match &found {
                Ok(Some(found)) if found.uuid != snapshot.uuid => return Ok(PutOutcome::Lost),
                Ok(Some(_)) => self.files.store.make_durable(&path).await,
                _ => Err(error),
            };
            match durable {
                Ok(()) => return Ok(PutOutcome::Committed),
                Err(source) if puts == PUTS_MAX => {
                    self.unknown = Some((snapshot.clone(), Fingerprint::of(change)));
                    return Err(CommitError::Unknown { id: snapshot.id, source });
                }
                Err(error) => warn!(%error, snapshot = snapshot.id, "putting the snapshot again"),
            }
        }
    }

    /// Writes the records that were set aside, and a list that names them after all earlier ones.
    async fn write_quarantine(
        &mut self,
        change: &Change,
        attempt: &mut Attempt,
    ) -> Result<Option<QuarantineList>, CommitError> {
        let records = change.progress.as_ref().map_or(&[][..], |progress| &progress.quarantine);
        if records.is_empty() {
            return Ok(None);
        }
        let mut list = match self.ours() {
            Some(ours) => self.files.quarantine_files(ours).await?,
            None => Default::default(),
        };
        let name = self.names.name("quarantine", ".parquet");
        let path = self.files.paths.quarantine(&name)?;
        let bytes = crate::quarantine::write(records)
            .map_err(|source| CommitError::Quarantine { path: path.clone(), source })?;
        self.put_file(path, bytes, attempt).await?;
        list.files.push(QuarantineFile { name, records: records.len() as u64 });
        let name = self.names.name("quarantine-list", "");
        self.put_file(self.files.paths.quarantine(&name)?, list.to_json(), attempt).await?;
        Ok(Some(QuarantineList { list: name, records: list.record_count() }))
    }

    async fn write_base(
        &mut self,
        plan: &Plan,
        schema_id: i64,
        attempt: &mut Attempt,
    ) -> Result<Vec<ManifestMeta>, CommitError> {
        let mut base = Vec::new();
        for part in &plan.base {
            let lines = match part {
                BasePart::Keep(meta) => {
                    base.push(meta.clone());
                    continue;
                }
                BasePart::Merge(metas) => merge(self.files.entries(metas).await?)
                    .map_err(|source| CommitError::Contradiction { id: plan.id - 1, source })?,
                BasePart::AllLive => self.all_live(),
            };
            self.write_manifests(&lines, schema_id, attempt, &mut base).await?;
        }
        Ok(base)
    }

    fn all_live(&self) -> Vec<ManifestEntry> {
        let live = self.state.iter().flat_map(|state| state.live.iter());
        live.map(|entry| ManifestEntry { kind: EntryKind::Add, entry: entry.clone() }).collect()
    }

    /// Writes lines as one manifest, or as several of about the size that manifests should have.
    async fn write_manifests(
        &mut self,
        lines: &[ManifestEntry],
        schema_id: i64,
        attempt: &mut Attempt,
        written: &mut Vec<ManifestMeta>,
    ) -> Result<(), CommitError> {
        if lines.is_empty() {
            return Ok(());
        }
        let name = self.names.name("manifest", "");
        let path = self.files.paths.manifest(&name)?;
        let bytes = write_entries(lines, *Uuid::new_v4().as_bytes())
            .map_err(|source| CommitError::Manifest { path: path.clone(), source })?;
        let size_bytes = bytes.len() as i64;
        if size_bytes > 2 * MANIFEST_BYTES && lines.len() > 1 {
            let (first, second) = lines.split_at(lines.len() / 2);
            Box::pin(self.write_manifests(first, schema_id, attempt, written)).await?;
            return Box::pin(self.write_manifests(second, schema_id, attempt, written)).await;
        }
        let partition_types: Vec<ColumnType> = self
            .files
            .paths
            .partition_columns()
            .iter()
            .map(|column| column.column_type.clone())
            .collect();
        self.put_file(path, bytes, attempt).await?;
        written.push(meta_of(name, size_bytes, schema_id, lines, &partition_types)?);
        Ok(())
    }

    async fn write_list(
        &mut self,
        manifests: &[ManifestMeta],
        attempt: &mut Attempt,
    ) -> Result<WrittenList, CommitError> {
        let name = self.names.name("manifest-list", "");
        let path = self.files.paths.manifest(&name)?;
        let bytes = write_list(manifests, *Uuid::new_v4().as_bytes())
            .map_err(|source| CommitError::Manifest { path: path.clone(), source })?;
        let size_bytes = bytes.len() as i64;
        self.put_file(path, bytes, attempt).await?;
        Ok(WrittenList { name, size_bytes })
    }

    async fn put_file(
        &self,
        path: String,
        bytes: Vec<u8>,
        attempt: &mut Attempt,
    ) -> Result<(), StoreError> {
        attempt.paths.push(path.clone());
        self.files.store.put_new(&path, bytes.into()).await
    }

    /// Deletes the files of an attempt that is known to have failed. What stays behind is an orphan.
    pub(super) async fn take_away(&self, attempt: &Attempt) {
        for path in &attempt.paths {
            if let Err(error) = self.files.store.delete(path).await {
                warn!(%error, "a file of a failed commit stays behind until orphans are cleared");
            }
        }
    }

    /// Hints help readers to find a snapshot; they may be wrong, so a failure is no failure.
    pub(super) async fn hint(&self, path: &str, id: i64) {
        if let Err(error) = self.files.store.put(path, Bytes::from(id.to_string())).await {
            warn!(%error, "the hint stays behind");
        }
    }
}
