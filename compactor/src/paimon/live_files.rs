//! PURE. The files that make up a version of a table: what its manifests add up to.

use std::collections::{BTreeMap, BTreeSet};

use crate::binary_row::BinaryRow;
use crate::paimon::manifest::{EntryKind, FileEntry, FileId, ManifestEntry};

/// Manifests contradict each other.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Contradiction {
    /// A file came that was there already.
    #[error("the manifests add file {name} of bucket {bucket} at level {level} twice")]
    AddedTwice {
        /// Name of the file.
        name: String,
        /// Its bucket.
        bucket: i32,
        /// Its level.
        level: i32,
    },
    /// A file went that was never there.
    #[error(
        "the manifests delete file {name} of bucket {bucket} at level {level}, which is not there"
    )]
    NotThere {
        /// Name of the file.
        name: String,
        /// Its bucket.
        bucket: i32,
        /// Its level.
        level: i32,
    },
}

/// Files by partition, bucket, level and name.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LiveFiles(BTreeMap<FileId, FileEntry>);

impl LiveFiles {
    /// What all lines of all manifests of a snapshot add up to, in whatever order they are read:
    /// no file ever comes back after it went.
    pub fn of(lines: Vec<ManifestEntry>) -> Result<Self, Contradiction> {
        let (adds, deletes): (Vec<_>, Vec<_>) =
            lines.into_iter().partition(|line| line.kind == EntryKind::Add);
        let mut gone: BTreeSet<FileId> = deletes.iter().map(|line| line.entry.id()).collect();
        let mut live = BTreeMap::new();
        for line in adds {
            let id = line.entry.id();
            if gone.remove(&id) {
                continue;
            }
            if live.contains_key(&id) {
                return Err(added_twice(id));
            }
            live.insert(id, line.entry);
        }
        match gone.pop_first() {
            None => Ok(Self(live)),
            Some(id) => Err(not_there(id)),
        }
    }

    /// Applies what a commit changed.
    pub fn apply(&mut self, delta: &[ManifestEntry]) -> Result<(), Contradiction> {
        for line in delta {
            let id = line.entry.id();
            match line.kind {
                EntryKind::Add if self.0.contains_key(&id) => return Err(added_twice(id)),
                EntryKind::Add => drop(self.0.insert(id, line.entry.clone())),
                EntryKind::Delete => {
                    self.0.remove(&id).ok_or_else(|| not_there(id))?;
                }
            }
        }
        Ok(())
    }

    /// Is a file of that identity there?
    pub fn get(&self, id: &FileId) -> Option<&FileEntry> {
        self.0.get(id)
    }

    /// All files, by partition, bucket, level and name.
    pub fn iter(&self) -> impl Iterator<Item = &FileEntry> {
        self.0.values()
    }

    /// The files of one bucket.
    pub fn bucket<'a>(
        &'a self,
        partition: &'a BinaryRow,
        bucket: i32,
    ) -> impl Iterator<Item = &'a FileEntry> {
        self.partition(partition, bucket).take_while(move |entry| entry.bucket == bucket)
    }

    /// The files of a table partition from a bucket on.
    pub fn partition<'a>(
        &'a self,
        partition: &'a BinaryRow,
        from_bucket: i32,
    ) -> impl Iterator<Item = &'a FileEntry> {
        let first = FileId {
            partition: partition.clone(),
            bucket: from_bucket,
            level: i32::MIN,
            file_name: String::new(),
        };
        let rest = self.0.range(first..).map(|(_, entry)| entry);
        rest.take_while(move |entry| entry.partition == *partition)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Is the table without files?
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Lines of several manifests, in order, as one: what came and went in between falls out.
pub fn merge(lines: Vec<ManifestEntry>) -> Result<Vec<ManifestEntry>, Contradiction> {
    let mut places: BTreeMap<FileId, usize> = BTreeMap::new();
    let mut merged: Vec<Option<ManifestEntry>> = Vec::with_capacity(lines.len());
    for line in lines {
        let id = line.entry.id();
        match (line.kind, places.get(&id).copied()) {
            (EntryKind::Add, Some(_)) => return Err(added_twice(id)),
            (EntryKind::Delete, Some(place)) => {
                let added = merged[place].take().map(|line| line.kind);
                if added != Some(EntryKind::Add) {
                    return Err(not_there(id));
                }
                places.remove(&id);
            }
            (_, None) => {
                places.insert(id, merged.len());
                merged.push(Some(line));
            }
        }
    }
    Ok(merged.into_iter().flatten().collect())
}

fn added_twice(id: FileId) -> Contradiction {
    let FileId { bucket, level, file_name: name, .. } = id;
    Contradiction::AddedTwice { name, bucket, level }
}

fn not_there(id: FileId) -> Contradiction {
    let FileId { bucket, level, file_name: name, .. } = id;
    Contradiction::NotThere { name, bucket, level }
}
