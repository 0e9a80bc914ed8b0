//! Takes away what a table needs no longer: old snapshots with the files that only they name, and
//! files that no snapshot ever named.
//!
//! Data files go first, then manifests, then the snapshots themselves, the oldest first: a run that
//! was cut short is done again from the snapshots that are left. A listing that fails stops
//! everything. Folders are never deleted.

use std::collections::BTreeSet;

use tracing::debug;

use crate::committer::files::TableFiles;
use crate::committer::{CommitError, Committer};
use crate::crash::crash_point;
use crate::paimon::expire::{FilePlace, Retention, dead_files, may_be_orphan, places_of};
use crate::paimon::manifest::ManifestMeta;
use crate::paimon::snapshot::Snapshot;

/// What an expiry took away.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct ExpireReport {
    /// Snapshots.
    pub snapshots: usize,
    /// Data files.
    pub data_files: usize,
    /// Manifests, lists of them, and quarantine lists.
    pub manifests: usize,
}

/// What a clean-up of orphans took away.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct OrphanReport {
    /// Files that no snapshot or tag names.
    pub files: usize,
    /// Their bytes.
    pub bytes: u64,
}

/// All that some snapshots name.
#[derive(Debug, Default)]
struct Named {
    /// Manifests and lists, by name.
    manifests: BTreeSet<String>,
    /// Data files.
    data: BTreeSet<FilePlace>,
    /// Quarantine lists and files, by name.
    quarantine: BTreeSet<String>,
}

impl Committer {
    /// Expires snapshots that are old, keeping so many of the newest, our own newest, and all that
    /// tags and named readers need.
    pub async fn expire(
        &mut self,
        now_ms: i64,
        retain_ms: u64,
        retain_min: u32,
    ) -> Result<ExpireReport, CommitError> {
        let files = self.files();
        let ids = files.snapshot_ids().await?;
        let retention = Retention {
            now_ms,
            retain_ms,
            retain_min,
            consumers_need: files.consumers_need().await?,
            ours: self.ours().map(|ours| ours.id),
        };
        let mut expired = Vec::new();
        for id in retention.candidates(&ids) {
            let snapshot = files.snapshot(*id).await?;
            if !retention.is_old(snapshot.time_millis) {
                break;
            }
            expired.push(snapshot);
        }
        let Some(first_kept) = ids.get(expired.len()).filter(|_| !expired.is_empty()) else {
            return Ok(ExpireReport::default());
        };
        let first_kept = files.snapshot(*first_kept).await?;
        let quarantine = self.kept_quarantine(&ids[expired.len()..]).await?;
        crash_point("expire.planned");
        self.expire_before(&expired, &first_kept, quarantine).await
    }

    /// The quarantine lists that kept snapshots share with expired ones. Each of ours names one
    /// list for all before it, so the oldest of ours has it; snapshots of others name none.
    async fn kept_quarantine(&self, kept: &[i64]) -> Result<BTreeSet<String>, CommitError> {
        let files = self.files();
        let mut lists = BTreeSet::new();
        for id in kept {
            let snapshot = files.snapshot(*id).await?;
            lists.extend(files.quarantine_list(&snapshot)?);
            if snapshot.commit_user == self.commit_user {
                break;
            }
        }
        if let Some(ours) = self.ours() {
            lists.extend(files.quarantine_list(ours)?);
        }
        Ok(lists)
    }

    async fn expire_before(
        &self,
        expired: &[Snapshot],
        first_kept: &Snapshot,
        quarantine: BTreeSet<String>,
    ) -> Result<ExpireReport, CommitError> {
        let files = self.files();
        let mut kept = Named { quarantine, ..Named::default() };
        for tag in files.tags().await? {
            files.name_all(&tag, &mut kept).await?;
        }
        let mut report = ExpireReport::default();
        for snapshot in expired.iter().skip(1).chain([first_kept]) {
            report.data_files += self.delete_dead_files(snapshot, &kept).await?;
        }
        files.name_manifests(first_kept, &mut kept).await?;
        let mut named = Named::default();
        for snapshot in expired {
            match files.name_manifests(snapshot, &mut named).await {
                // An earlier run was cut short after it had deleted the list.
                Err(error) if error.is_not_found() => {}
                outcome => drop(outcome?),
            }
        }
        for name in &named.manifests - &kept.manifests {
            files.store.delete(&files.paths.manifest(&name)?).await?;
            crash_point("expire.manifest-deleted");
            report.manifests += 1;
        }
        for name in &named.quarantine - &kept.quarantine {
            files.store.delete(&files.paths.quarantine(&name)?).await?;
            report.manifests += 1;
        }
        for snapshot in expired {
            files.store.delete(&files.paths.snapshot(snapshot.id)).await?;
            crash_point("expire.snapshot-deleted");
            report.snapshots += 1;
        }
        self.hint(&files.paths.earliest_hint(), first_kept.id).await;
        crash_point("expire.hint-written");
        Ok(report)
    }

    /// Deletes the data files that died with a commit, unless a tag still names them.
    async fn delete_dead_files(
        &self,
        snapshot: &Snapshot,
        kept: &Named,
    ) -> Result<usize, CommitError> {
        let files = self.files();
        let delta = async { files.entries(&files.delta_manifests(snapshot).await?).await };
        let delta = match delta.await {
            Ok(delta) => delta,
            // An earlier run deletes data files before any manifest, so it has done all of them.
            Err(error) if error.is_not_found() => return Ok(0),
            Err(error) => return Err(error),
        };
        let mut deleted = 0;
        for place in dead_files(&delta).difference(&kept.data) {
            let (partition, bucket, name) = place;
            let is_live = self.state.iter().any(|state| {
                let mut bucket = state.live.bucket(partition, *bucket);
                bucket.any(|entry| places_of(entry).any(|live| live == *place))
            });
            assert!(!is_live, "a file that the newest snapshot names is not dead: {name}");
            files.store.delete(&files.paths.data_file(partition, *bucket, name)?).await?;
            crash_point("expire.file-deleted");
            deleted += 1;
        }
        Ok(deleted)
    }

    /// Deletes files that are older than a limit and that no snapshot or tag names: what commits
    /// that were cut short left behind. The limit must be longer than any commit takes.
    pub async fn remove_orphans(
        &mut self,
        now_ms: i64,
        older_than_ms: u64,
    ) -> Result<OrphanReport, CommitError> {
        let files = self.files();
        let limit_ms = now_ms.saturating_sub(i64::try_from(older_than_ms).unwrap_or(i64::MAX));
        let root = format!("{}/", files.paths.root());
        let listed = files.store.list_with_temporary(files.paths.root()).await?;
        if listed.iter().any(|file| file.path.starts_with(&format!("{root}branch/"))) {
            debug!("the table has branches, whose files are not known here: nothing is cleared");
            return Ok(OrphanReport::default());
        }
        // Collected: an adapter that lives across an await would make the future !Send.
        let mut old = Vec::new();
        for file in &listed {
            let path = file.path.strip_prefix(&root).unwrap_or_default();
            if file.modified_ms < limit_ms && may_be_orphan(path) {
                old.push(file);
            }
        }
        if old.is_empty() {
            return Ok(OrphanReport::default());
        }
        // Named after listing: whatever was listed and committed meanwhile is named.
        let used = self.used_paths().await?;
        let mut report = OrphanReport::default();
        for file in old {
            if used.contains(&file.path) {
                continue;
            }
            files.store.delete(&file.path).await?;
            crash_point("orphans.file-deleted");
            report.files += 1;
            report.bytes += file.size_bytes;
        }
        Ok(report)
    }

    /// Paths of all files that any snapshot or tag names.
    async fn used_paths(&self) -> Result<BTreeSet<String>, CommitError> {
        let files = self.files();
        let mut named = Named::default();
        for id in files.snapshot_ids().await? {
            files.name_all(&files.snapshot(id).await?, &mut named).await?;
        }
        for tag in files.tags().await? {
            files.name_all(&tag, &mut named).await?;
        }
        let mut used = BTreeSet::new();
        for name in &named.manifests {
            used.insert(files.paths.manifest(name)?);
        }
        for name in &named.quarantine {
            used.insert(files.paths.quarantine(name)?);
        }
        for (partition, bucket, name) in &named.data {
            used.insert(files.paths.data_file(partition, *bucket, name)?);
        }
        Ok(used)
    }
}

impl TableFiles {
    /// Notes the manifests, lists and quarantine list that a snapshot names.
    async fn name_manifests(
        &self,
        snapshot: &Snapshot,
        named: &mut Named,
    ) -> Result<Vec<ManifestMeta>, CommitError> {
        // Noted first: they are to be deleted even if one that they name is gone.
        let lists = [&snapshot.base_manifest_list, &snapshot.delta_manifest_list];
        named.manifests.extend(lists.into_iter().cloned());
        named.manifests.extend(snapshot.changelog_manifest_list.clone());
        named.manifests.extend(snapshot.index_manifest.clone());
        named.quarantine.extend(self.quarantine_list(snapshot)?);
        let manifests = self.manifests(snapshot).await?;
        named.manifests.extend(manifests.iter().map(|meta| meta.file_name.clone()));
        if let Some(list) = &snapshot.changelog_manifest_list {
            let size = snapshot.changelog_manifest_list_size;
            let changelog = self.list_of(list, size).await?;
            named.manifests.extend(changelog.into_iter().map(|meta| meta.file_name));
        }
        Ok(manifests)
    }

    /// The name of the list of all that was set aside up to a snapshot.
    fn quarantine_list(&self, snapshot: &Snapshot) -> Result<Option<String>, CommitError> {
        let path = self.paths.snapshot(snapshot.id);
        let quarantine = snapshot.quarantine();
        let quarantine = quarantine.map_err(|source| CommitError::Snapshot { path, source })?;
        Ok(quarantine.map(|it| it.list))
    }

    /// Notes everything that a snapshot names.
    async fn name_all(&self, snapshot: &Snapshot, named: &mut Named) -> Result<(), CommitError> {
        let known = named.manifests.clone();
        let manifests = self.name_manifests(snapshot, named).await?;
        let new: Vec<ManifestMeta> =
            manifests.into_iter().filter(|meta| !known.contains(&meta.file_name)).collect();
        let lines = self.entries(&new).await?;
        named.data.extend(lines.iter().flat_map(|line| places_of(&line.entry)));
        let quarantined = self.quarantine_files(snapshot).await?.files;
        named.quarantine.extend(quarantined.into_iter().map(|file| file.name));
        Ok(())
    }
}
