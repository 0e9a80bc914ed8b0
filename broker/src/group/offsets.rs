//! Committed offsets: a map that is also an internal topic.
//!
//! A commit is appended to `__consumer_offsets` and is in the map once it is durable; the map is
//! read back from the topic at the start. What is newer in the log wins, whatever order the waiters
//! wake in. The log cleaner keeps the topic from growing for ever.

use std::collections::{BTreeMap, HashMap};
use std::future::Future;
use std::sync::{Mutex, MutexGuard, PoisonError};

use weir_protocol::records::Offset;
use weir_protocol::records::record::Record;

use crate::catalog::error::CatalogError;
use crate::catalog::names::CONSUMER_OFFSETS;
use crate::catalog::{Catalog, Topic};
use crate::group::internal::{Appending, KeyValue, append};
use crate::group::offset_records::{Committed, OffsetKey};
use crate::group::pending::Pending;

/// Tombstones in one batch.
const REWRITE_BATCH: usize = 1000;

/// Why an offset was not committed.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// The internal topic cannot be made.
    #[error("{CONSUMER_OFFSETS} cannot be made: {0}")]
    Topic(#[from] CatalogError),
    /// The internal topic cannot be written.
    #[error("{CONSUMER_OFFSETS} cannot be written: {0}")]
    Storage(String),
}

/// An entry with its place in the log, so that the newer one wins.
#[derive(Clone, Debug)]
struct Entry {
    committed: Committed,
    place: Offset,
}

/// A key and what is committed for it; nothing: it is forgotten.
pub type Change = (OffsetKey, Option<Committed>);
type Group = BTreeMap<(String, i32), Entry>;

/// The committed offsets of all groups.
#[derive(Debug, Default)]
pub struct Offsets {
    groups: Mutex<HashMap<String, Group>>,
    pub(super) pending: Pending,
    /// Commits share it; who decides by what is in the map (expiry, rewriting) has it alone, so
    /// that no commit in between is undone.
    gate: tokio::sync::RwLock<()>,
}

impl Offsets {
    /// Takes a record of the internal topic as it is read back; `false`: it is of another kind.
    pub fn take(&self, record: &Record) -> bool {
        let Some(key) = record.key.as_deref().and_then(OffsetKey::decode) else { return false };
        let value = record.value.as_deref().and_then(Committed::decode);
        self.apply(key, value, record.offset);
        true
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Group>> {
        self.groups.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn apply(&self, key: OffsetKey, value: Option<Committed>, place: Offset) {
        let mut groups = self.lock();
        let group = groups.entry(key.group.clone()).or_default();
        let at = (key.topic, key.partition);
        if group.get(&at).is_some_and(|entry| entry.place > place) {
            return;
        }
        match value {
            Some(committed) => drop(group.insert(at, Entry { committed, place })),
            None => drop(group.remove(&at)),
        }
        if group.is_empty() {
            groups.remove(&key.group);
        }
    }

    /// What a group committed for one partition.
    pub fn committed(&self, group: &str, topic: &str, partition: i32) -> Option<Committed> {
        let groups = self.lock();
        let entry = groups.get(group)?.get(&(topic.to_owned(), partition))?;
        Some(entry.committed.clone())
    }

    /// All that a group committed, by topic and partition.
    pub fn all_of(&self, group: &str) -> Vec<(String, i32, Committed)> {
        let groups = self.lock();
        let entries = groups.get(group).into_iter().flatten();
        entries
            .map(|((topic, index), entry)| (topic.clone(), *index, entry.committed.clone()))
            .collect()
    }

    /// The groups that have committed something.
    pub fn groups(&self) -> Vec<String> {
        self.lock().keys().cloned().collect()
    }

    /// All keys with what was committed.
    pub fn all(&self) -> Vec<(OffsetKey, Committed)> {
        let groups = self.lock();
        let entries = groups.iter().flat_map(|(group, entries)| {
            entries.iter().map(move |((topic, partition), entry)| {
                let key =
                    OffsetKey { group: group.clone(), topic: topic.clone(), partition: *partition };
                (key, entry.committed.clone())
            })
        });
        entries.collect()
    }

    /// Begins a commit, or a look at several offsets. Until it is over nobody deletes topics and
    /// forgets their offsets, so a topic that is found meanwhile is the one for which they count.
    pub async fn begin(&self) -> Commit<'_> {
        Commit { _shared: self.gate.read().await, offsets: self }
    }

    /// As [`Offsets::begin`], for threads that may block.
    pub fn begin_blocking(&self) -> Commit<'_> {
        Commit { _shared: self.gate.blocking_read(), offsets: self }
    }

    /// Appends changes, all of them before the first wait: one sync makes them durable. They are
    /// visible when this returns.
    async fn write(
        &self,
        topic: &Topic,
        changes: impl Iterator<Item = (&str, Vec<Change>)>,
        now_ms: i64,
    ) -> Result<(), CommitError> {
        let storage = |error: &dyn std::fmt::Display| CommitError::Storage(error.to_string());
        let mut written = Vec::new();
        for (group, changes) in changes.filter(|(_, changes)| !changes.is_empty()) {
            let records: Vec<KeyValue> = changes
                .iter()
                .map(|(key, value)| (key.encode(), value.as_ref().map(Committed::encode)))
                .collect();
            let appending = append(topic, group, &records, now_ms);
            written.push((appending.map_err(|error| storage(&error))?, changes));
        }
        for (appending, changes) in written {
            let Appending { partition, base_offset, next_offset } = appending;
            let durable = partition.durable(next_offset).await;
            durable.map_err(|error| storage(&error))?;
            for (delta, (key, value)) in changes.into_iter().enumerate() {
                self.apply(key, value, base_offset.plus(delta as i64));
            }
        }
        Ok(())
    }

    /// Deletes topics and forgets all that was committed for them: another one of the same name is
    /// not this one. `delete` answers with their names; no commit comes in between.
    pub async fn forget_topics<R>(
        &self,
        catalog: &Catalog,
        now_ms: i64,
        delete: impl Future<Output = (R, Vec<String>)>,
    ) -> (R, Result<usize, CommitError>) {
        let _alone = self.gate.write().await;
        let (answer, deleted) = delete.await;
        self.forget_pending(&deleted);
        let is_over = |key: &OffsetKey, _: &Committed| deleted.contains(&key.topic);
        (answer, self.forget_alone(catalog, now_ms, is_over).await)
    }

    /// Forgets what `is_over` says, durably; how many there were. No commit comes in between.
    ///
    /// # Errors
    /// When the internal topic cannot be written.
    pub async fn forget(
        &self,
        catalog: &Catalog,
        now_ms: i64,
        is_over: impl Fn(&OffsetKey, &Committed) -> bool,
    ) -> Result<usize, CommitError> {
        let _alone = self.gate.write().await;
        self.forget_alone(catalog, now_ms, is_over).await
    }

    /// For who holds the gate alone.
    async fn forget_alone(
        &self,
        catalog: &Catalog,
        now_ms: i64,
        is_over: impl Fn(&OffsetKey, &Committed) -> bool,
    ) -> Result<usize, CommitError> {
        let Some(topic) = catalog.topic(CONSUMER_OFFSETS) else { return Ok(0) };
        let over = self.all().into_iter().filter(|(key, committed)| is_over(key, committed));
        let over = by_group(over.map(|(key, _)| (key, None)));
        let count = over.values().map(Vec::len).sum();
        self.write(&topic, parts(&over), now_ms).await?;
        Ok(count)
    }
}

/// A commit that has begun; see [`Offsets::begin`].
#[derive(Debug)]
pub struct Commit<'a> {
    offsets: &'a Offsets,
    _shared: tokio::sync::RwLockReadGuard<'a, ()>,
}

impl Commit<'_> {
    /// Appends what one group commits or forgets; durable and visible when this returns.
    pub async fn write(
        self,
        topic: &Topic,
        group: &str,
        changes: Vec<Change>,
        now_ms: i64,
    ) -> Result<(), CommitError> {
        self.offsets.write(topic, std::iter::once((group, changes)), now_ms).await
    }
}

fn by_group(changes: impl Iterator<Item = Change>) -> BTreeMap<String, Vec<Change>> {
    let mut groups: BTreeMap<String, Vec<Change>> = BTreeMap::new();
    for change in changes {
        groups.entry(change.0.group.clone()).or_default().push(change);
    }
    groups
}

/// The changes of all groups in batches that are not too large.
fn parts(changes: &BTreeMap<String, Vec<Change>>) -> impl Iterator<Item = (&str, Vec<Change>)> {
    changes.iter().flat_map(|(group, changes)| {
        changes.chunks(REWRITE_BATCH).map(|part| (group.as_str(), part.to_vec()))
    })
}
