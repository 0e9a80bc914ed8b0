//! PURE. Which snapshots and files a table needs no longer.
//!
//! A data file dies with the commit that deletes it, and may go once no snapshot before that
//! commit is left. A file that moved to another level is deleted and added by the same commit: it
//! lives on. Snapshots are expired from the oldest on, without gaps, so that what the first kept
//! one names is all that must stay, besides what tags name.

use std::collections::BTreeSet;

use uuid::Uuid;

use crate::binary_row::BinaryRow;
use crate::paimon::manifest::{EntryKind, FileEntry, ManifestEntry};

/// At most this many snapshots go in one batch, so that whoever waits need not wait long.
pub const SNAPSHOTS_AT_ONCE_MAX: usize = 50;

/// What must be kept.
#[derive(Copy, Clone, Debug)]
pub struct Retention {
    /// Now, by the caller's clock.
    pub now_ms: i64,
    /// Snapshots younger than this stay.
    pub retain_ms: u64,
    /// So many of the newest stay however old they are; at least one does.
    pub retain_min: u32,
    /// The oldest snapshot that a named reader still needs.
    pub consumers_need: Option<i64>,
    /// Our newest snapshot: it holds the progress.
    pub ours: Option<i64>,
}

impl Retention {
    /// Of the ids of all snapshots, oldest first, those that may go if they are old enough. The
    /// one after the last of them stays in any case.
    pub fn candidates<'a>(&self, ids: &'a [i64]) -> &'a [i64] {
        let newest = usize::try_from(self.retain_min).unwrap_or(usize::MAX).max(1);
        let candidates = &ids[..ids.len().saturating_sub(newest).min(SNAPSHOTS_AT_ONCE_MAX)];
        let needed = self.consumers_need.into_iter().chain(self.ours).min();
        let end = candidates.partition_point(|id| needed.is_none_or(|needed| *id < needed));
        &candidates[..end]
    }

    /// Is a snapshot of that time old enough to go? Expiry stops at the first that is not.
    pub fn is_old(&self, time_ms: i64) -> bool {
        let retain_ms = i64::try_from(self.retain_ms).unwrap_or(i64::MAX);
        time_ms < self.now_ms.saturating_sub(retain_ms)
    }
}

/// A data file by its place.
pub type FilePlace = (BinaryRow, i32, String);

/// Where an entry's file lies, and those that belong to it: others index files beside them.
pub fn places_of(entry: &FileEntry) -> impl Iterator<Item = FilePlace> {
    let names = std::iter::once(&entry.file.file_name).chain(&entry.file.extra_files);
    names.map(|name| (entry.partition.clone(), entry.bucket, name.clone()))
}

/// The files that die with a commit.
pub fn dead_files(delta: &[ManifestEntry]) -> BTreeSet<FilePlace> {
    let of_kind = |kind| {
        let lines = delta.iter().filter(move |line| line.kind == kind);
        lines.flat_map(|line| places_of(&line.entry)).collect::<BTreeSet<_>>()
    };
    &of_kind(EntryKind::Delete) - &of_kind(EntryKind::Add)
}

/// May a file of that path, relative to the table's folder, be an orphan at all? Only files as we
/// name them ourselves, in the folders where we put them: never a schema, snapshot, tag or reader's
/// position, and nothing of which we do not know what it is.
pub fn may_be_orphan(path: &str) -> bool {
    let Some((folder, name)) = path.rsplit_once('/') else { return false };
    let top = folder.split('/').next().unwrap_or(folder);
    let is_bucket = folder.rsplit('/').next().is_some_and(|last| last.starts_with("bucket-"));
    if top == "branch" {
        return false;
    }
    if name.starts_with('.') && name.ends_with(".tmp") {
        return is_bucket || matches!(folder, "manifest" | "snapshot" | "schema" | "quarantine");
    }
    match folder {
        "manifest" => is_named(name, "manifest-", "") || is_named(name, "manifest-list-", ""),
        "quarantine" => {
            is_named(name, "quarantine-", ".parquet") || is_named(name, "quarantine-list-", "")
        }
        _ => is_bucket && is_named(name, "data-", ".parquet"),
    }
}

/// Is it `<prefix><uuid>-<number><suffix>`? Nobody else's file with a longer name is.
fn is_named(name: &str, prefix: &str, suffix: &str) -> bool {
    let middle = name.strip_prefix(prefix).and_then(|rest| rest.strip_suffix(suffix));
    let Some((uuid, number)) = middle.and_then(|middle| middle.rsplit_once('-')) else {
        return false;
    };
    let is_number = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    is_number && uuid.len() == 36 && Uuid::try_parse(uuid).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEEP_TEN: Retention = Retention {
        now_ms: 10_000,
        retain_ms: 1_000,
        retain_min: 10,
        consumers_need: None,
        ours: None,
    };

    fn ids(range: std::ops::RangeInclusive<i64>) -> Vec<i64> {
        range.collect()
    }

    #[test]
    fn the_newest_stay_and_at_least_one_does() {
        assert_eq!(KEEP_TEN.candidates(&ids(1..=12)), [1, 2]);
        assert!(KEEP_TEN.candidates(&ids(1..=10)).is_empty());
        assert!(KEEP_TEN.candidates(&[]).is_empty());
        let none = Retention { retain_min: 0, ..KEEP_TEN };
        assert_eq!(none.candidates(&ids(4..=6)), [4, 5]);
        assert!(Retention { retain_min: u32::MAX, ..KEEP_TEN }.candidates(&ids(1..=9)).is_empty());
    }

    #[test]
    fn readers_and_our_own_progress_hold_snapshots_back() {
        let read = Retention { consumers_need: Some(3), retain_min: 1, ..KEEP_TEN };
        assert_eq!(read.candidates(&ids(1..=12)), [1, 2]);
        let ours = Retention { ours: Some(2), ..read };
        assert_eq!(ours.candidates(&ids(1..=12)), [1]);
        assert!(Retention { ours: Some(1), ..read }.candidates(&ids(1..=12)).is_empty());
    }

    #[test]
    fn only_so_many_go_at_once() {
        assert_eq!(KEEP_TEN.candidates(&ids(1..=1000)).len(), SNAPSHOTS_AT_ONCE_MAX);
    }

    #[test]
    fn age_is_counted_to_the_millisecond_and_a_clock_gone_back_keeps_all() {
        assert!(KEEP_TEN.is_old(8_999));
        assert!(!KEEP_TEN.is_old(9_000));
        assert!(!Retention { now_ms: 0, ..KEEP_TEN }.is_old(8_999));
        assert!(!Retention { retain_ms: u64::MAX, ..KEEP_TEN }.is_old(0));
    }

    #[test]
    fn only_files_as_we_name_them_can_be_orphans() {
        let uuid = "6e0f9f0e-1c1b-4a53-8f1f-0d5c1a0b7c11";
        for path in [
            "bucket-0/data-U-0.parquet",
            "p=1/q=2/bucket-11/data-U-12.parquet",
            "p=1/bucket-0/.data-U-0.parquet.5.tmp",
            "manifest/manifest-U-0",
            "manifest/manifest-list-U-0",
            "snapshot/.snapshot-5.x.tmp",
            "quarantine/quarantine-list-U-0",
            "quarantine/quarantine-U-0.parquet",
        ] {
            assert!(may_be_orphan(&path.replace('U', uuid)), "{path}");
        }
        for path in [
            "snapshot/snapshot-5",
            "snapshot/LATEST",
            "schema/schema-0",
            "tag/tag-a",
            "consumer/consumer-a",
            "index/index-U-0",
            "manifest/index-manifest-U-0",
            "manifest/manifest-x-0",
            "branch/branch-b/manifest/manifest-U-0",
            "branch/branch-b/bucket-0/data-U-0.parquet",
            "data-U-0.parquet",
            "bucket-0/data-U-0.parquet.index",
            "bucket-0/data-U-0.orc",
            "bucket-0/data-U-.parquet",
            "bucket-0/data-x-0.parquet",
            "bucket-0/notes.txt",
            "tag/.tag-a.x.tmp",
            "somewhere/data-U-0.parquet",
        ] {
            assert!(!may_be_orphan(&path.replace('U', uuid)), "{path}");
        }
    }
}
