//! PURE. What the next snapshot of a table is: `plan(latest state, change)`, or the conflict.
//!
//! A commit is the creation of `snapshot-<N+1>`; all before that is files that nobody knows. So
//! this decides, from the state that snapshot N left, which lines the manifests must have and what
//! the snapshot says. If somebody else created N+1 first, it decides again from the new state:
//!
//! - what the change removes must still be there, what it adds must be new;
//! - files of one level above 0 must not overlap, and all of a partition agree on its buckets;
//! - the offsets of the change must follow the checkpoint: no gap, no overlap, no older epoch.

use std::collections::{BTreeMap, BTreeSet};

use weir_protocol::table::column::ColumnType;

use crate::binary_row::{BinaryRow, BinaryRowError, compare_values};
use crate::checkpoint::{Checkpoint, Misfit, OffsetRange};
use crate::lineage::{Lineage, Stranger};
use crate::paimon::live_files::LiveFiles;
pub use crate::paimon::manifest::FileEntry;
use crate::paimon::manifest::{EntryKind, ManifestEntry, ManifestMeta};
use crate::paimon::manifest_merge::{BasePart, plan_base};
pub use crate::paimon::snapshot::CommitKind;
use crate::paimon::snapshot::{
    Counts, QUARANTINE, QuarantineList, Snapshot, SnapshotError, fold_properties, property_text,
};
use crate::quarantine::QuarantinedRecord;
use crate::row::Value;

/// Files in and out, and the progress that they stand for.
#[derive(Clone, Debug)]
pub struct Change {
    /// New rows, or the same rows in other files.
    pub kind: CommitKind,
    /// Files that come.
    pub added: Vec<FileEntry>,
    /// Files that go.
    pub removed: Vec<FileEntry>,
    /// The newest schema.
    pub schema_id: i64,
    /// What was folded; absent in compactions.
    pub progress: Option<Progress>,
    /// Now, by the caller's clock.
    pub now_ms: i64,
}

/// What a flush folded.
#[derive(Clone, Debug)]
pub struct Progress {
    /// Number of the compactor's life; an older one is refused.
    pub epoch: u64,
    /// What was folded, by partition.
    pub ranges: Vec<OffsetRange>,
    /// Of which log.
    pub lineage: Lineage,
    /// Records that changed the table.
    pub folded: u64,
    /// Records set aside.
    pub quarantined: u64,
    /// Records and offsets without meaning for the table.
    pub skipped: u64,
    /// The records set aside.
    pub quarantine: Vec<QuarantinedRecord>,
}

impl Progress {
    /// Nothing may vanish between log and table: each offset was folded, set aside or skipped.
    pub fn assert_complete(&self) {
        let span: i64 = self.ranges.iter().map(OffsetRange::span).sum();
        let told = self.folded + self.quarantined + self.skipped;
        assert_eq!(i64::try_from(told), Ok(span), "folded + quarantined + skipped = span");
        assert_eq!(self.quarantine.len() as u64, self.quarantined, "each bad record is kept");
    }
}

/// What the table looked like when it was read last.
#[derive(Clone, Debug, Default)]
pub struct TableState {
    /// The newest snapshot; absent before the first.
    pub latest: Option<Snapshot>,
    /// The newest snapshot that is ours: it holds the progress.
    pub ours: Option<Snapshot>,
    /// The manifests of the newest snapshot, in order.
    pub manifests: Vec<ManifestMeta>,
    /// The files of the newest snapshot.
    pub live: LiveFiles,
}

/// Why a change cannot become the next snapshot. Nothing of it is visible.
#[derive(Debug, thiserror::Error)]
pub enum Conflict {
    /// A newer compactor has taken over the table.
    #[error("epoch {ours} is over: a compactor of epoch {held} has taken over this table")]
    Fenced {
        /// The epoch of the change.
        ours: u64,
        /// The epoch of the snapshot.
        held: u64,
    },
    /// The offsets do not follow those of the snapshot.
    #[error("{0}")]
    Misfit(#[from] Misfit),
    /// The table was folded from another topic.
    #[error("{0}")]
    Stranger(#[from] Stranger),
    /// A file that should go is not there any more.
    #[error("file {name} of bucket {bucket} at level {level} is not in the table any more")]
    NotLive {
        /// Name of the file.
        name: String,
        /// Its bucket.
        bucket: i32,
        /// Its level.
        level: i32,
    },
    /// A file that should come is there already, or comes twice, or comes and goes.
    #[error("file {name} of bucket {bucket} at level {level} is added twice")]
    AddedTwice {
        /// Name of the file.
        name: String,
        /// Its bucket.
        bucket: i32,
        /// Its level.
        level: i32,
    },
    /// The number of buckets of a partition is not what it was.
    #[error("the table has {held} buckets per partition; the new files were written for {wanted}")]
    Buckets {
        /// What live files say.
        held: i32,
        /// What the new files say.
        wanted: i32,
    },
    /// Two files of one level would hold the same keys.
    #[error("files {left} and {right} of bucket {bucket} overlap at level {level}")]
    Overlap {
        /// The file with the smaller first key.
        left: String,
        /// The other file.
        right: String,
        /// Their bucket.
        bucket: i32,
        /// Their level.
        level: i32,
    },
    /// A key of a file is damaged.
    #[error("file {name}: {source}")]
    Key {
        /// Name of the file.
        name: String,
        /// What is wrong.
        source: BinaryRowError,
    },
    /// The newest snapshot of ours cannot be understood.
    #[error("{0}")]
    Snapshot(#[from] SnapshotError),
}

/// What must be written for the next snapshot, and what it says.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The next snapshot's id.
    pub id: i64,
    /// The base: what was live before.
    pub base: Vec<BasePart>,
    /// The lines of this commit, those that delete first.
    pub delta: Vec<ManifestEntry>,
    kind: CommitKind,
    schema_id: i64,
    commit_user: String,
    commit_identifier: i64,
    time_ms: i64,
    total_record_count: i64,
    delta_record_count: i64,
    previous: Option<Snapshot>,
    properties: BTreeMap<String, String>,
}

/// A manifest list that was written.
#[derive(Clone, Debug)]
pub struct WrittenList {
    /// Its name.
    pub name: String,
    /// Its length.
    pub size_bytes: i64,
}

/// Plans the snapshot that follows `state` by `change`.
pub fn plan(
    state: &TableState,
    change: &Change,
    commit_user: &str,
    key_types: &[ColumnType],
) -> Result<Plan, Conflict> {
    let properties = next_properties(state.ours.as_ref(), change.progress.as_ref())?;
    let delta = delta_of(&state.live, change)?;
    check_buckets(&state.live, change)?;
    check_levels(&state.live, change, key_types)?;
    let rows_of = |kind| -> i64 {
        let lines = delta.iter().filter(|line| line.kind == kind);
        lines.map(|line| line.entry.file.row_count).sum()
    };
    let delta_record_count = rows_of(EntryKind::Add) - rows_of(EntryKind::Delete);
    let previous_total = state.latest.as_ref().map_or(0, |latest| latest.total_record_count);
    Ok(Plan {
        id: state.latest.as_ref().map_or(0, |latest| latest.id) + 1,
        base: plan_base(&state.manifests),
        delta,
        kind: change.kind,
        schema_id: change.schema_id,
        commit_user: commit_user.into(),
        commit_identifier: state.ours.as_ref().map_or(0, |ours| ours.commit_identifier) + 1,
        time_ms: change.now_ms,
        total_record_count: previous_total + delta_record_count,
        delta_record_count,
        previous: state.latest.clone(),
        properties,
    })
}

impl Plan {
    /// The snapshot, once the files it names are written.
    pub fn snapshot(
        &self,
        uuid: &str,
        base: &WrittenList,
        delta: &WrittenList,
        quarantine: Option<&QuarantineList>,
    ) -> Snapshot {
        let mut properties = self.properties.clone();
        if let Some(quarantine) = quarantine {
            properties.insert(QUARANTINE.into(), property_text(quarantine));
        }
        let previous = self.previous.as_ref();
        let same_schema = previous.filter(|previous| previous.schema_id == self.schema_id);
        Snapshot {
            version: 3,
            uuid: Some(uuid.into()),
            id: self.id,
            schema_id: self.schema_id,
            base_manifest_list: base.name.clone(),
            base_manifest_list_size: Some(base.size_bytes),
            delta_manifest_list: delta.name.clone(),
            delta_manifest_list_size: Some(delta.size_bytes),
            changelog_manifest_list: None,
            changelog_manifest_list_size: None,
            index_manifest: previous.and_then(|previous| previous.index_manifest.clone()),
            commit_user: self.commit_user.clone(),
            writer_version: Some(concat!("weir-", env!("CARGO_PKG_VERSION")).into()),
            commit_identifier: self.commit_identifier,
            commit_kind: self.kind,
            time_millis: self.time_ms,
            log_offsets: BTreeMap::new(),
            total_record_count: self.total_record_count,
            delta_record_count: self.delta_record_count,
            changelog_record_count: None,
            watermark: previous.and_then(|previous| previous.watermark),
            statistics: same_schema.and_then(|previous| previous.statistics.clone()),
            properties,
            next_row_id: previous.and_then(|previous| previous.next_row_id),
        }
    }
}

/// The properties of the next snapshot: those of our newest one, moved on by the progress.
fn next_properties(
    ours: Option<&Snapshot>,
    progress: Option<&Progress>,
) -> Result<BTreeMap<String, String>, Conflict> {
    let mut properties = ours.map(|ours| ours.properties.clone()).unwrap_or_default();
    let Some(progress) = progress else { return Ok(properties) };
    progress.assert_complete();
    let (mut checkpoint, lineage, held, counts) = match ours {
        None => (Checkpoint::default(), None, 0, Counts::default()),
        Some(ours) => (ours.checkpoint()?, ours.lineage()?, ours.epoch()?, ours.counts()?),
    };
    if progress.epoch < held {
        return Err(Conflict::Fenced { ours: progress.epoch, held });
    }
    let lineage = match lineage {
        Some(lineage) => lineage.followed_by(&progress.lineage)?,
        None => progress.lineage.clone(),
    };
    for range in &progress.ranges {
        checkpoint.advance(range)?;
    }
    let counts = Counts {
        folded: counts.folded + progress.folded,
        quarantined: counts.quarantined + progress.quarantined,
        skipped: counts.skipped + progress.skipped,
    };
    properties.extend(fold_properties(&checkpoint, &lineage, progress.epoch, counts));
    Ok(properties)
}

/// The lines of the commit: DELETE before ADD, because expiry relies on it to see that a file
/// which moved to another level is still needed.
fn delta_of(live: &LiveFiles, change: &Change) -> Result<Vec<ManifestEntry>, Conflict> {
    let mut seen = BTreeSet::new();
    let mut delta = Vec::with_capacity(change.removed.len() + change.added.len());
    for entry in &change.removed {
        let id = entry.id();
        let Some(held) = live.get(&id).filter(|_| seen.insert(id.clone())) else {
            let (name, bucket) = (entry.file.file_name.clone(), entry.bucket);
            return Err(Conflict::NotLive { name, bucket, level: entry.file.level });
        };
        delta.push(ManifestEntry { kind: EntryKind::Delete, entry: held.clone() });
    }
    for entry in &change.added {
        let id = entry.id();
        if live.get(&id).is_some() || !seen.insert(id) {
            let (name, bucket) = (entry.file.file_name.clone(), entry.bucket);
            return Err(Conflict::AddedTwice { name, bucket, level: entry.file.level });
        }
        delta.push(ManifestEntry { kind: EntryKind::Add, entry: entry.clone() });
    }
    Ok(delta)
}

fn check_buckets(live: &LiveFiles, change: &Change) -> Result<(), Conflict> {
    let mut wanted: BTreeMap<&BinaryRow, i32> = BTreeMap::new();
    for entry in &change.added {
        let first = *wanted.entry(&entry.partition).or_insert(entry.total_buckets);
        if first != entry.total_buckets {
            return Err(Conflict::Buckets { held: first, wanted: entry.total_buckets });
        }
    }
    for (partition, wanted) in wanted {
        // All live files of a partition agree, so one of them speaks for all.
        match live.partition(partition, i32::MIN).next() {
            Some(entry) if entry.total_buckets != wanted => {
                return Err(Conflict::Buckets { held: entry.total_buckets, wanted });
            }
            _ => {}
        }
    }
    Ok(())
}

/// Above level 0 the files of a level form one sorted run: their key ranges must not overlap.
fn check_levels(
    live: &LiveFiles,
    change: &Change,
    key_types: &[ColumnType],
) -> Result<(), Conflict> {
    let sorted = change.added.iter().filter(|entry| entry.file.level > 0);
    let touched: BTreeSet<(&BinaryRow, i32, i32)> =
        sorted.map(|entry| (&entry.partition, entry.bucket, entry.file.level)).collect();
    let removed: BTreeSet<_> = change.removed.iter().map(FileEntry::id).collect();
    for (partition, bucket, level) in touched {
        let stays = live.bucket(partition, bucket).filter(|entry| !removed.contains(&entry.id()));
        let comes = change
            .added
            .iter()
            .filter(|entry| entry.bucket == bucket && entry.partition == *partition);
        let of_level = stays.chain(comes).filter(|entry| entry.file.level == level);
        let mut runs = of_level
            .map(|entry| Ok((keys(entry, key_types)?, entry)))
            .collect::<Result<Vec<_>, Conflict>>()?;
        runs.sort_by(|((left, _), _), ((right, _), _)| compare_keys(left, right));
        for pair in runs.windows(2) {
            let [((_, left_max), left), ((right_min, _), right)] = pair else { continue };
            if compare_keys(left_max, right_min).is_ge() {
                let (left, right) = (&left.file.file_name, &right.file.file_name);
                let (left, right) = (left.clone(), right.clone());
                return Err(Conflict::Overlap { left, right, bucket, level });
            }
        }
    }
    Ok(())
}

type Key = Vec<Value>;

fn keys(entry: &FileEntry, key_types: &[ColumnType]) -> Result<(Key, Key), Conflict> {
    let values = |row: &BinaryRow| {
        let name = &entry.file.file_name;
        row.to_values(key_types).map_err(|source| Conflict::Key { name: name.clone(), source })
    };
    Ok((values(&entry.file.min_key)?, values(&entry.file.max_key)?))
}

fn compare_keys(left: &Key, right: &Key) -> std::cmp::Ordering {
    let orders = left.iter().zip(right).map(|(left, right)| compare_values(left, right));
    orders.fold(std::cmp::Ordering::Equal, std::cmp::Ordering::then)
}
