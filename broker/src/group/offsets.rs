//! Committed offsets: a map that is also an internal topic.
//!
//! A commit is appended to `__consumer_offsets` and is in the map once it is durable; the map is
//! read back from the topic at the start. What is newer in the log wins, whatever order the waiters
//! wake in. Nothing compacts the topic yet, so when it has grown far beyond what it holds, all live
//! offsets are written again at its end and what lies before is cut off.

use std::collections::{BTreeMap, HashMap};
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use weir_protocol::records::Offset;
use weir_protocol::records::batch::{RecordBatch, batches};
use weir_protocol::records::builder::BatchBuilder;
use weir_protocol::records::compression::Compression;

use crate::catalog::error::CatalogError;
use crate::catalog::names::CONSUMER_OFFSETS;
use crate::catalog::{Catalog, Topic};
use crate::config::Config;
use crate::group::offset_records::{Committed, OffsetKey, partition_of};
use crate::log::ReadSlice;
use crate::log::error::ReadError;
use crate::partition::Partition;

/// One read of the replay at the start.
const REPLAY_BYTES: usize = 1 << 20;
/// A batch of the internal topic is not decompressed beyond this.
const DECOMPRESSED_BYTES_MAX: usize = 64 << 20;
/// Records in one batch of the broker's own.
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
    /// Commits share it; who decides by what is in the map (expiry, rewriting) has it alone, so
    /// that no commit in between is undone.
    gate: tokio::sync::RwLock<()>,
}

impl Offsets {
    /// Reads the internal topic back.
    pub fn open(catalog: &Catalog) -> Result<Self, ReadError> {
        let offsets = Self::default();
        let Some(topic) = catalog.topic(CONSUMER_OFFSETS) else { return Ok(offsets) };
        for partition in &topic.partitions {
            offsets.replay(partition)?;
        }
        Ok(offsets)
    }

    fn replay(&self, partition: &Arc<Partition>) -> Result<(), ReadError> {
        let ends = partition.ends();
        let mut next = ends.log_start;
        while next < ends.high_watermark {
            let bytes = match partition.read(next, REPLAY_BYTES, true)? {
                ReadSlice::Hot(bytes) => bytes,
                ReadSlice::Cold(cold) => cold.load()?,
            };
            let before = next;
            for batch in batches(bytes).flatten() {
                next = batch.header().last_offset().next();
                self.replay_batch(&batch);
            }
            if next == before {
                break;
            }
        }
        Ok(())
    }

    fn replay_batch(&self, batch: &RecordBatch) {
        if let Err(error) = batch.check_crc() {
            // A wrong offset is worse than none: a group without one begins by its own rule, and
            // a table's log is kept whole.
            let offset = batch.header().base_offset.0;
            tracing::error!(offset, %error, "a batch of {CONSUMER_OFFSETS} is damaged: its offsets are forgotten");
            return;
        }
        let records = match batch.records(DECOMPRESSED_BYTES_MAX) {
            Ok(records) => records,
            Err(error) => {
                tracing::warn!(%error, "a batch of {CONSUMER_OFFSETS} cannot be read");
                return;
            }
        };
        for record in records.flatten() {
            let Some(key) = record.key.as_deref().and_then(OffsetKey::decode) else { continue };
            let value = record.value.as_deref().and_then(Committed::decode);
            self.apply(key, value, record.offset);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Group>> {
        self.groups.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn apply(&self, key: OffsetKey, value: Option<Committed>, place: Offset) {
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
            let index = partition_of(group, topic.partition_count());
            let partition = topic.partition(index).expect("the index is below the count");
            let appended = partition.append_internal(&batch_of(&changes, now_ms));
            written.push((partition, appended.map_err(|error| storage(&error))?, changes));
        }
        for (partition, appended, changes) in written {
            let durable = partition.durable(appended.last_offset.next()).await;
            durable.map_err(|error| storage(&error))?;
            for (delta, (key, value)) in changes.into_iter().enumerate() {
                self.apply(key, value, appended.base_offset.plus(delta as i64));
            }
        }
        Ok(())
    }

    /// Forgets what nobody committed again for too long, and what belongs to deleted topics.
    pub async fn expire(
        &self,
        catalog: &Catalog,
        config: &Config,
        now_ms: i64,
    ) -> Result<usize, CommitError> {
        let oldest_ms = now_ms - i64::from(config.offsets_retention_minutes) * 60_000;
        let topics = catalog.topics();
        self.forget(catalog, now_ms, |key, committed| {
            committed.commit_ms < oldest_ms || topics.named(&key.topic).is_none()
        })
        .await
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
        let is_over = |key: &OffsetKey, _: &Committed| deleted.contains(&key.topic);
        (answer, self.forget_alone(catalog, now_ms, is_over).await)
    }

    async fn forget(
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

    /// Writes all live offsets of a partition again and cuts off what lies before.
    pub async fn rewrite(&self, topic: &Topic, now_ms: i64) -> Result<(), CommitError> {
        let _alone = self.gate.write().await;
        let live = by_group(self.all().into_iter().map(|(key, it)| (key, Some(it))));
        let cuts: Vec<Offset> =
            topic.partitions.iter().map(|partition| partition.ends().log_end).collect();
        self.write(topic, parts(&live), now_ms).await?;
        for (partition, cut) in topic.partitions.iter().zip(cuts) {
            partition.durable(cut).await.map_err(|e| CommitError::Storage(e.to_string()))?;
            partition
                .delete_records_before(cut)
                .map_err(|e| CommitError::Storage(e.to_string()))?;
        }
        Ok(())
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

/// The internal topic, made if there is none.
pub fn internal_topic(catalog: &Catalog, config: &Config) -> Result<Arc<Topic>, CatalogError> {
    let overrides = [
        ("retention.ms", "-1".to_owned()),
        ("retention.bytes", "-1".to_owned()),
        ("segment.bytes", config.offsets_topic_segment_bytes.to_string()),
    ];
    let overrides = overrides.into_iter().map(|(name, value)| (name.to_owned(), value));
    catalog.internal(CONSUMER_OFFSETS, config.offsets_topic_num_partitions, overrides.collect())
}

fn batch_of(changes: &[Change], now_ms: i64) -> RecordBatch {
    let mut builder = BatchBuilder::new(Compression::None);
    for (key, value) in changes {
        let value = value.as_ref().map(Committed::encode);
        builder.append(now_ms, Some(&key.encode()), value.as_deref(), &[]);
    }
    RecordBatch::parse(builder.finish()).expect("the builder makes whole batches")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemClock;
    use crate::disk::os::OsDisk;
    use crate::log::dir::LogDir;
    use crate::log::dir::options::LogDirOptions;
    use crate::metrics::Metrics;

    const MINUTE_MS: i64 = 60_000;

    #[tokio::test]
    async fn an_offset_expires_when_nobody_commits_it_again_for_too_long() {
        let folder = tempfile::tempdir().unwrap();
        let disk = Arc::new(OsDisk::open(folder.path()).unwrap());
        let clock = Arc::new(SystemClock);
        let (logs, _) = LogDir::open(disk, LogDirOptions::default(), clock).unwrap();
        let mut config = Config::default();
        for (name, value) in [
            ("offsets.retention.minutes", "10"),
            ("offsets.topic.segment.bytes", "1048576"),
            ("log.segment.bytes", "1048576"),
        ] {
            config.set(name, value).unwrap();
        }
        let config = Arc::new(config);
        let metrics = Arc::new(Metrics::new().unwrap());
        let catalog = Catalog::open(logs.clone(), config.clone(), metrics).unwrap();
        catalog.create("t", 2, BTreeMap::new()).unwrap();
        let topic = internal_topic(&catalog, &config).unwrap();
        let offsets = Offsets::open(&catalog).unwrap();
        let change = |partition: i32, commit_ms: i64| {
            let key = OffsetKey { group: "g".into(), topic: "t".into(), partition };
            let metadata = String::new();
            (key, Some(Committed { offset: 7, leader_epoch: 0, metadata, commit_ms }))
        };
        offsets.begin().await.write(&topic, "g", vec![change(0, 0)], 0).await.unwrap();
        let later = vec![change(1, 5 * MINUTE_MS)];
        offsets.begin().await.write(&topic, "g", later, 5 * MINUTE_MS).await.unwrap();
        let at_the_end = 10 * MINUTE_MS;
        assert_eq!(offsets.expire(&catalog, &config, at_the_end).await.unwrap(), 0);
        assert_eq!(offsets.expire(&catalog, &config, at_the_end + 1).await.unwrap(), 1);
        assert_eq!(offsets.committed("g", "t", 0), None);
        assert!(offsets.committed("g", "t", 1).is_some());
        // What is read back from the topic is the same.
        let read_back = Offsets::open(&catalog).unwrap();
        assert_eq!(read_back.all(), offsets.all());
        logs.close().unwrap();
    }
}
