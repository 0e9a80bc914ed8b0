//! Keeps the levels of every bucket in shape: picks what is due, merges it on blocking threads
//! while folding goes on, and commits the result as a snapshot of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::compact::{self, CompactOptions, CompactResult, Compaction};
use crate::data_file::DataFileMeta;
use crate::fold::route::BucketPlace;
use crate::merge_tree::KeyOrder;
use crate::merge_tree::levels::Levels;
use crate::merge_tree::universal_compaction::{CompactUnit, Options, pick, pick_to_join};
use crate::paimon::commit::Change;
use crate::paimon::manifest::FileEntry;
use crate::paimon::snapshot::{CommitKind, Snapshot};
use crate::scan::TableFiles;
use crate::schema::TableSchema;
use crate::status::LevelFiles;
use crate::table::fault::Fault;
use crate::table::flush::Writing;

/// The levels of a table's buckets, and the compactions that run.
#[derive(Debug)]
pub(super) struct Merges {
    has_key: bool,
    order: KeyOrder,
    options: Options,
    levels: BTreeMap<BucketPlace, Levels>,
    /// Buckets whose levels changed since they were looked at.
    stale: BTreeSet<BucketPlace>,
    busy: BTreeSet<BucketPlace>,
    running: JoinSet<Result<Merged, Fault>>,
    permits: Arc<Semaphore>,
}

/// What a compaction left.
#[derive(Debug)]
pub(super) struct Merged {
    pub(super) snapshot: Snapshot,
    pub(super) took_ms: i64,
    place: BucketPlace,
    result: CompactResult,
}

impl Merges {
    /// The levels of the live files of a snapshot.
    pub(super) fn new(
        schema: &TableSchema,
        live: &[FileEntry],
        permits: Arc<Semaphore>,
    ) -> Result<Self, Fault> {
        let defaults = Options::default();
        let trigger = schema.options.get("num-sorted-run.compaction-trigger");
        let run_count_trigger = trigger.and_then(|it| it.parse().ok());
        let mut merges = Self {
            has_key: schema.has_primary_key(),
            order: KeyOrder::of(schema),
            options: Options {
                run_count_trigger: run_count_trigger.unwrap_or(defaults.run_count_trigger),
                keeps_deletes: !schema.sequence_places().is_empty(),
                ..defaults
            },
            levels: BTreeMap::new(),
            stale: BTreeSet::new(),
            busy: BTreeSet::new(),
            running: JoinSet::new(),
            permits,
        };
        let mut buckets: BTreeMap<BucketPlace, Vec<DataFileMeta>> = BTreeMap::new();
        for entry in live {
            let place = (entry.partition.clone(), entry.bucket);
            buckets.entry(place).or_default().push(entry.file.clone());
        }
        for (place, files) in buckets {
            merges.change(place, &[], &files)?;
        }
        Ok(merges)
    }

    /// Files came with a commit.
    pub(super) fn add(&mut self, files: &[FileEntry]) -> Result<(), Fault> {
        for entry in files {
            let place = (entry.partition.clone(), entry.bucket);
            self.change(place, &[], std::slice::from_ref(&entry.file))?;
        }
        Ok(())
    }

    fn change(
        &mut self,
        place: BucketPlace,
        removed: &[DataFileMeta],
        added: &[DataFileMeta],
    ) -> Result<(), Fault> {
        let level_count = self.options.level_count();
        let levels = match self.levels.get(&place) {
            Some(levels) => levels.changed(removed, added)?,
            None => Levels::new(self.order.clone(), level_count, added.to_vec())?,
        };
        self.levels.insert(place.clone(), levels);
        self.stale.insert(place);
        Ok(())
    }

    /// Starts every compaction that is due; each waits for its turn among all tables.
    pub(super) fn start(&mut self, writing: &Writing) {
        let small_file_bytes = CompactOptions::default().small_file_bytes();
        for place in std::mem::take(&mut self.stale) {
            if self.busy.contains(&place) {
                self.stale.insert(place);
                continue;
            }
            let unit = self.levels.get(&place).and_then(|levels| match self.has_key {
                true => pick(levels, &self.options),
                false => pick_to_join(levels, &self.options, small_file_bytes),
            });
            if let Some(unit) = unit {
                self.busy.insert(place.clone());
                let permits = Arc::clone(&self.permits);
                self.running.spawn(merge(writing.clone(), permits, place, unit));
            }
        }
    }

    /// Whether a bucket has so many runs that no more should come before some are merged.
    pub(super) fn is_behind(&self) -> bool {
        let stop = self.options.run_count_stop();
        self.has_key
            && self.busy.iter().any(|place| {
                self.levels.get(place).is_some_and(|levels| levels.run_count() >= stop)
            })
    }

    pub(super) fn is_running(&self) -> bool {
        !self.running.is_empty()
    }

    /// The next compaction that ends; for ever pending while none runs. May be cancelled.
    pub(super) async fn next(&mut self) -> Result<Merged, Fault> {
        match self.running.join_next().await {
            Some(ended) => ended?,
            None => std::future::pending().await,
        }
    }

    /// Takes in what a compaction changed.
    pub(super) fn end(&mut self, merged: &Merged) -> Result<(), Fault> {
        self.busy.remove(&merged.place);
        let files = |entries: &[FileEntry]| -> Vec<DataFileMeta> {
            entries.iter().map(|entry| entry.file.clone()).collect()
        };
        let (removed, added) = (files(&merged.result.removed), files(&merged.result.added));
        self.change(merged.place.clone(), &removed, &added)
    }

    /// Live files by bucket and level.
    pub(super) fn files(&self, writing: &Writing) -> Vec<LevelFiles> {
        let mut all = Vec::new();
        for ((partition, bucket), levels) in &self.levels {
            let partition = writing.paths.partition(partition).unwrap_or_default();
            let mut by_level: BTreeMap<i32, LevelFiles> = BTreeMap::new();
            for file in levels.files() {
                let it = by_level.entry(file.level).or_insert_with(|| LevelFiles {
                    partition: partition.clone(),
                    bucket: *bucket,
                    level: file.level,
                    files: 0,
                    rows: 0,
                    bytes: 0,
                });
                it.files += 1;
                it.rows += file.row_count;
                it.bytes += file.file_size;
            }
            all.extend(by_level.into_values());
        }
        all
    }
}

async fn merge(
    writing: Writing,
    permits: Arc<Semaphore>,
    place: BucketPlace,
    unit: CompactUnit,
) -> Result<Merged, Fault> {
    let permit = permits.acquire_owned().await;
    let began_ms = writing.clock.now_ms();
    let schemas = writing.committer.lock().await.schemas().to_vec();
    let table = TableFiles {
        store: writing.store.clone(),
        paths: writing.paths.clone(),
        schemas: Arc::new(schemas.into_iter().map(|schema| (schema.id, schema)).collect()),
        schema: Arc::clone(&writing.schema),
    };
    let compaction = Compaction {
        table,
        place: place.clone(),
        total_buckets: writing.schema.bucket_count(),
        unit,
        options: CompactOptions::default(),
        file_prefix: format!("data-{}", Uuid::new_v4()),
        now_ms: began_ms,
    };
    let ran = tokio::task::spawn_blocking(move || compact::run(&compaction)).await?;
    drop(permit);
    let result = ran.map_err(|error| Fault::Compact(error.to_string()))?;
    let change = Change {
        kind: CommitKind::Compact,
        added: result.added.clone(),
        removed: result.removed.clone(),
        schema_id: writing.schema.id,
        progress: None,
        now_ms: writing.clock.now_ms(),
    };
    let snapshot = writing.committer.lock().await.commit(change).await?;
    let took_ms = writing.clock.now_ms().saturating_sub(began_ms);
    Ok(Merged { snapshot, took_ms, place, result })
}
