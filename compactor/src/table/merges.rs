//! Keeps the levels of every bucket in shape: picks what is due, merges it on blocking threads
//! while folding goes on, and commits the result as a snapshot of its own.
//!
//! A compaction that fails is the trouble of its bucket: the bucket rests for a while, longer each
//! time, and the table goes on. Only what shows that the levels here are not those of the table
//! ends the table's life, for the next one reads them anew.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::committer::CommitError;
use crate::compact::{self, CompactOptions, CompactResult, Compaction};
use crate::data_file::DataFileMeta;
use crate::fold::route::BucketPlace;
use crate::merge_tree::KeyOrder;
use crate::merge_tree::levels::Levels;
use crate::merge_tree::universal_compaction::{CompactUnit, Options, pick, pick_to_join};
use crate::paimon::commit::{Change, Conflict};
use crate::paimon::manifest::FileEntry;
use crate::paimon::snapshot::{CommitKind, Snapshot};
use crate::scan::TableFiles;
use crate::schema::TableSchema;
use crate::status::LevelFiles;
use crate::table::fault::Fault;
use crate::table::flush::Writing;

/// So long a bucket rests after a failure; twice as long after each further one in a row.
const REST_MS: (i64, i64) = (1_000, 300_000);

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
    /// Buckets whose last compaction failed.
    resting: BTreeMap<BucketPlace, Rest>,
    running: JoinSet<Ended>,
    permits: Arc<Semaphore>,
    /// Whoever waits for a permit gives up once this is dropped. Absent: no more are started.
    waiting: Option<watch::Sender<()>>,
    stop: watch::Receiver<bool>,
}

/// How long a bucket is left alone.
#[derive(Copy, Clone, Debug)]
struct Rest {
    ms: i64,
    until_ms: i64,
}

/// A compaction that ended, well or not.
#[derive(Debug)]
pub(super) struct Ended {
    place: BucketPlace,
    outcome: Outcome,
}

/// What became of a compaction.
#[derive(Debug)]
pub(super) enum Outcome {
    /// Its files are in a snapshot.
    Merged(Box<Merged>),
    /// Nothing of it is visible.
    Failed(Fault),
    /// It was called off before it had a permit.
    NotBegun,
}

/// What a compaction left.
#[derive(Debug)]
pub(super) struct Merged {
    pub(super) snapshot: Snapshot,
    pub(super) took_ms: i64,
    result: CompactResult,
}

impl Merges {
    /// The levels of the live files of a snapshot.
    pub(super) fn new(
        schema: &TableSchema,
        live: &[FileEntry],
        permits: Arc<Semaphore>,
        stop: watch::Receiver<bool>,
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
            resting: BTreeMap::new(),
            running: JoinSet::new(),
            permits,
            waiting: Some(watch::Sender::new(())),
            stop,
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
        let Some(waiting) = self.waiting.as_ref().filter(|_| !*self.stop.borrow()) else { return };
        let small_file_bytes = CompactOptions::default().small_file_bytes();
        let now_ms = writing.clock.now_ms();
        for place in std::mem::take(&mut self.stale) {
            let rests = self.resting.get(&place).is_some_and(|rest| now_ms < rest.until_ms);
            if rests || self.busy.contains(&place) {
                self.stale.insert(place);
                continue;
            }
            let unit = self.levels.get(&place).and_then(|levels| match self.has_key {
                true => pick(levels, &self.options),
                false => pick_to_join(levels, &self.options, small_file_bytes),
            });
            let Some(unit) = unit else {
                self.resting.remove(&place);
                continue;
            };
            self.busy.insert(place.clone());
            let permits = Arc::clone(&self.permits);
            let turn = wait_for(permits, waiting.subscribe(), self.stop.clone());
            self.running.spawn(merge(writing.clone(), turn, place, unit));
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

    /// Calls off the compactions that have no permit yet; they start again when it is asked for.
    pub(super) fn call_off_waiting(&mut self) {
        if self.waiting.is_some() {
            self.waiting = Some(watch::Sender::new(()));
        }
    }

    /// As [`Self::call_off_waiting`], and none is started any more.
    pub(super) fn close(&mut self) {
        self.waiting = None;
    }

    pub(super) fn is_running(&self) -> bool {
        !self.running.is_empty()
    }

    /// The next compaction that ends; for ever pending while none runs. May be cancelled.
    pub(super) async fn next(&mut self) -> Result<Ended, Fault> {
        match self.running.join_next().await {
            Some(ended) => Ok(ended?),
            None => std::future::pending().await,
        }
    }

    /// Takes in what became of a compaction; an error if its failure is one of the whole table.
    pub(super) fn end(&mut self, ended: Ended, now_ms: i64) -> Result<Outcome, Fault> {
        let Ended { place, outcome } = ended;
        self.busy.remove(&place);
        match &outcome {
            Outcome::Merged(merged) => {
                let files = |entries: &[FileEntry]| -> Vec<DataFileMeta> {
                    entries.iter().map(|entry| entry.file.clone()).collect()
                };
                let (removed, added) = (files(&merged.result.removed), files(&merged.result.added));
                self.resting.remove(&place);
                self.change(place, &removed, &added)?;
            }
            Outcome::Failed(_) => {
                let (first_ms, most_ms) = REST_MS;
                let last = self.resting.get(&place);
                let ms = last.map_or(first_ms, |rest| (rest.ms * 2).min(most_ms));
                let until_ms = now_ms.saturating_add(ms);
                self.resting.insert(place.clone(), Rest { ms, until_ms });
                self.stale.insert(place);
            }
            Outcome::NotBegun => drop(self.stale.insert(place)),
        }
        match outcome {
            Outcome::Failed(fault) if is_stale_view(&fault) => Err(fault),
            outcome => Ok(outcome),
        }
    }

    /// Whether no bucket rests after a failure.
    pub(super) fn is_sound(&self) -> bool {
        self.resting.is_empty()
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

/// Does the failure show that the levels here may not be those of the table?
fn is_stale_view(fault: &Fault) -> bool {
    let Fault::Commit(error) = fault else { return false };
    matches!(
        error,
        CommitError::Unknown { .. }
            | CommitError::Conflict(
                Conflict::NotLive { .. } | Conflict::Overlap { .. } | Conflict::Buckets { .. }
            )
    )
}

/// A permit, one for each compaction that may run in all tables; none if called off meanwhile.
async fn wait_for(
    permits: Arc<Semaphore>,
    mut waiting: watch::Receiver<()>,
    mut stop: watch::Receiver<bool>,
) -> Option<OwnedSemaphorePermit> {
    tokio::select! {
        permit = permits.acquire_owned() => permit.ok(),
        // Nothing is ever sent: it ends when the sender is dropped.
        _ = waiting.changed() => None,
        _ = stop.wait_for(|stop| *stop) => None,
    }
}

async fn merge(
    writing: Writing,
    turn: impl Future<Output = Option<OwnedSemaphorePermit>>,
    place: BucketPlace,
    unit: CompactUnit,
) -> Ended {
    let outcome = match turn.await {
        None => Outcome::NotBegun,
        Some(permit) => {
            let merged = merge_now(writing, permit, place.clone(), unit).await;
            merged.map_or_else(Outcome::Failed, |merged| Outcome::Merged(Box::new(merged)))
        }
    };
    Ended { place, outcome }
}

async fn merge_now(
    writing: Writing,
    permit: OwnedSemaphorePermit,
    place: BucketPlace,
    unit: CompactUnit,
) -> Result<Merged, Fault> {
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
        place,
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
    Ok(Merged { snapshot, took_ms, result })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::binary_row::BinaryRow;
    use crate::clock::{Clock, ManualClock};
    use crate::committer::tests::{Toy, memory};
    use crate::merge_tree::tests::file;

    struct World {
        writing: Writing,
        merges: Merges,
        clock: Arc<ManualClock>,
        permits: Arc<Semaphore>,
        stop: watch::Sender<bool>,
    }

    fn entry(number: usize) -> FileEntry {
        let file = file(&format!("data-x-{number}.parquet"), 0, 1, 9, 100);
        FileEntry { partition: BinaryRow::EMPTY, bucket: 0, total_buckets: 1, file }
    }

    /// A table whose one bucket has so many runs that it is due, but whose files are lost.
    async fn world() -> World {
        let toy = Toy::open(memory(), "weir").await;
        let clock = Arc::new(ManualClock::at(1_000));
        let schema = Arc::new(toy.committer.schema().unwrap().clone());
        let permits = Arc::new(Semaphore::new(1));
        let (stop, stopped) = watch::channel(false);
        let live: Vec<FileEntry> = (0..8).map(entry).collect();
        let merges = Merges::new(&schema, &live, Arc::clone(&permits), stopped).unwrap();
        let writing = Writing {
            store: toy.store.clone(),
            paths: toy.committer.paths().clone(),
            schema,
            clock: Arc::<ManualClock>::clone(&clock),
            committer: Arc::new(tokio::sync::Mutex::new(toy.committer)),
            epoch: 1,
        };
        World { writing, merges, clock, permits, stop }
    }

    impl World {
        /// Starts what is due and takes in what becomes of it.
        async fn round(&mut self) -> Result<Outcome, Fault> {
            self.merges.start(&self.writing);
            let ended = self.merges.next().await?;
            self.merges.end(ended, self.clock.now_ms())
        }
    }

    #[tokio::test]
    async fn a_compaction_that_fails_lets_its_bucket_rest_and_nothing_else() {
        let mut world = world().await;
        assert!(matches!(world.round().await, Ok(Outcome::Failed(Fault::Compact(_)))));
        assert!(!world.merges.is_behind() && !world.merges.is_sound());
        // New files come meanwhile; it is tried again after a while, then after a longer one.
        world.merges.add(&[entry(8)]).unwrap();
        world.merges.start(&world.writing);
        assert!(!world.merges.is_running());
        world.clock.advance(REST_MS.0);
        assert!(matches!(world.round().await, Ok(Outcome::Failed(_))));
        world.clock.advance(REST_MS.0);
        world.merges.start(&world.writing);
        assert!(!world.merges.is_running());
        world.clock.advance(REST_MS.0);
        world.merges.start(&world.writing);
        assert!(world.merges.is_running());
    }

    #[tokio::test]
    async fn a_file_that_is_not_in_the_table_any_more_ends_the_life() {
        let mut world = world().await;
        let fault = |conflict| Fault::Commit(CommitError::Conflict(conflict));
        let gone = Conflict::NotLive { name: "f".into(), bucket: 0, level: 0 };
        let place = (BinaryRow::EMPTY, 0);
        let ended = Ended { place: place.clone(), outcome: Outcome::Failed(fault(gone)) };
        assert!(world.merges.end(ended, 0).is_err());
        let twice = Conflict::AddedTwice { name: "f".into(), bucket: 0, level: 0 };
        let ended = Ended { place, outcome: Outcome::Failed(fault(twice)) };
        assert!(world.merges.end(ended, 0).is_ok());
    }

    #[tokio::test]
    async fn what_waits_for_other_tables_is_called_off_and_starts_again() {
        let mut world = world().await;
        let permits = Arc::clone(&world.permits);
        let _busy = permits.acquire().await.unwrap();
        world.merges.start(&world.writing);
        assert!(world.merges.is_running());
        world.merges.call_off_waiting();
        assert!(matches!(world.round().await, Ok(Outcome::NotBegun)));
        world.merges.start(&world.writing);
        assert!(world.merges.is_running());
        world.stop.send(true).unwrap();
        assert!(matches!(world.round().await, Ok(Outcome::NotBegun)));
        world.merges.start(&world.writing);
        assert!(!world.merges.is_running(), "nothing starts after a stop");
    }

    #[tokio::test]
    async fn once_closed_nothing_is_waited_for() {
        let mut world = world().await;
        let permits = Arc::clone(&world.permits);
        let _busy = permits.acquire().await.unwrap();
        world.merges.start(&world.writing);
        world.merges.close();
        assert!(matches!(world.round().await, Ok(Outcome::NotBegun)));
        assert!(!world.merges.is_running() && !world.merges.is_behind());
    }
}
