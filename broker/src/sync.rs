//! The group commit of a log directory: what is dirty gathers while the last sync runs; then each
//! file is synced, its end published and who waits for it woken.
//!
//! - Nothing is published before it is durable (unless the operator chose `durability=os`).
//! - The first failed sync or write is final: after it nothing is acknowledged in this directory,
//!   and nothing is synced again, for a second sync that succeeds proves nothing. A round that
//!   could not even begin to sync, for lack of open files, is no failure: it is tried again.
pub mod counters;

use std::io;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use weir_protocol::records::Offset;

use crate::disk::growing_file::GrowingFile;
use crate::disk::{Disk, DiskFile, is_passing};
use crate::sync::counters::SyncCounters;

/// Nothing more becomes durable here.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StorageFailed {
    /// The directory has failed.
    #[error("the log directory is offline: {reason}")]
    Offline {
        /// The first failure.
        reason: String,
    },
    /// The partition was deleted.
    #[error("the partition was deleted")]
    Deleted,
}

/// When readers may see what was appended, and `acks=all` is answered.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Publish {
    /// Once it survives a power cut.
    AfterSync,
    /// At once: it survives a crash of the process only.
    AtAppend,
}

/// The ends of one log, and what of it is not yet durable.
#[derive(Debug)]
pub struct SyncPoint {
    log_start: AtomicI64,
    high_watermark: AtomicI64,
    log_end: AtomicI64,
    /// What survives a power cut; behind the high watermark only with [`Publish::AtAppend`].
    synced: AtomicI64,
    deleted: AtomicBool,
    pending: Mutex<Pending>,
    published: Notify,
    watchers: Mutex<Watchers>,
}

#[derive(Debug, Default)]
struct Pending {
    /// Files that grew, oldest first, and up to where.
    grown: Vec<(Arc<GrowingFile>, u64)>,
    /// Small files that must be durable before anything above is published.
    made: Vec<Arc<dyn DiskFile>>,
    /// The folder, when names in it are new.
    folder: Option<String>,
    is_queued: bool,
}

impl Pending {
    /// Puts back what a round could not do, before what has come since.
    fn put_back(&mut self, earlier: Pending) {
        let later = std::mem::replace(self, Pending { is_queued: true, ..earlier });
        for (file, end) in later.grown {
            match self.grown.last_mut() {
                Some((known, known_end)) if Arc::ptr_eq(known, &file) => *known_end = end,
                _ => self.grown.push((file, end)),
            }
        }
        self.made.extend(later.made);
        self.folder = later.folder.or(self.folder.take());
    }
}

#[derive(Debug, Default)]
struct Watchers {
    list: Vec<Weak<Notify>>,
    /// Dead ones are swept out when the list has grown to this.
    sweep_at: usize,
}

impl SyncPoint {
    /// A log whose bytes are all durable.
    #[must_use]
    pub fn new(log_start: Offset, log_end: Offset) -> Arc<SyncPoint> {
        assert!(log_start <= log_end, "log start {log_start} is past the end {log_end}");
        Arc::new(SyncPoint {
            log_start: AtomicI64::new(log_start.0),
            high_watermark: AtomicI64::new(log_end.0),
            log_end: AtomicI64::new(log_end.0),
            synced: AtomicI64::new(log_end.0),
            deleted: AtomicBool::new(false),
            pending: Mutex::default(),
            published: Notify::new(),
            watchers: Mutex::default(),
        })
    }

    /// The first offset that may be read.
    #[must_use]
    pub fn log_start(&self) -> Offset {
        Offset(self.log_start.load(Ordering::Acquire))
    }

    /// The offset after the last that may be read.
    #[must_use]
    pub fn high_watermark(&self) -> Offset {
        Offset(self.high_watermark.load(Ordering::Acquire))
    }

    /// The offset that the next record gets.
    #[must_use]
    pub fn log_end(&self) -> Offset {
        Offset(self.log_end.load(Ordering::Acquire))
    }

    /// The offset after the last that survives a power cut.
    #[must_use]
    pub fn synced(&self) -> Offset {
        Offset(self.synced.load(Ordering::Acquire))
    }

    /// Whether the partition is gone.
    #[must_use]
    pub fn is_deleted(&self) -> bool {
        self.deleted.load(Ordering::Acquire)
    }

    /// Moves the log's start, which must be durable by now.
    ///
    /// # Panics
    /// When it would pass the high watermark.
    pub fn advance_start(&self, log_start: Offset) {
        let high_watermark = self.high_watermark();
        assert!(log_start <= high_watermark, "start {log_start} would pass {high_watermark}");
        self.log_start.fetch_max(log_start.0, Ordering::AcqRel);
        self.wake();
    }

    /// Marks the partition as gone and wakes all who wait.
    pub fn delete(&self) {
        self.deleted.store(true, Ordering::Release);
        self.wake();
    }

    /// Names a small file and the folder of new names that the next round must sync first.
    pub fn require(&self, made: Option<Arc<dyn DiskFile>>, folder: &str) {
        let mut pending = lock(&self.pending);
        pending.made.extend(made);
        pending.folder = Some(folder.to_owned());
    }

    /// Wakes `watcher` whenever an end moves, until it is dropped.
    pub fn watch(&self, watcher: &Arc<Notify>) {
        let mut watchers = lock(&self.watchers);
        if watchers.list.len() >= watchers.sweep_at {
            watchers.list.retain(|known| known.strong_count() > 0);
            watchers.sweep_at = (watchers.list.len() * 2).max(8);
        }
        let weak = Arc::downgrade(watcher);
        if !watchers.list.iter().any(|known| known.ptr_eq(&weak)) {
            watchers.list.push(weak);
        }
    }

    fn publish(&self, next_offset: Offset) {
        self.high_watermark.fetch_max(next_offset.0, Ordering::AcqRel);
        self.wake();
    }

    fn wake(&self) {
        self.published.notify_waiters();
        lock(&self.watchers).list.retain(|watcher| match watcher.upgrade() {
            Some(watcher) => {
                watcher.notify_one();
                true
            }
            None => false,
        });
    }
}

/// What a log directory's sync thread works on.
#[derive(Debug)]
pub struct SyncQueue {
    disk: Arc<dyn Disk>,
    publish: Publish,
    state: Mutex<State>,
    grown: Condvar,
    /// One round at a time: ends are published in order.
    round: Mutex<()>,
    failed: OnceLock<String>,
    counters: SyncCounters,
}

#[derive(Debug, Default)]
struct State {
    dirty: Vec<Arc<SyncPoint>>,
    /// Dirty too, but only for the next round: they wake nobody.
    put_back: Vec<Arc<SyncPoint>>,
    is_stopping: bool,
}

impl SyncQueue {
    /// An empty queue.
    #[must_use]
    pub fn new(disk: Arc<dyn Disk>, publish: Publish) -> SyncQueue {
        SyncQueue {
            disk,
            publish,
            state: Mutex::default(),
            grown: Condvar::new(),
            round: Mutex::default(),
            failed: OnceLock::new(),
            counters: SyncCounters::new(),
        }
    }

    /// What it counts.
    #[must_use]
    pub fn counters(&self) -> &SyncCounters {
        &self.counters
    }

    /// The first failure, if there was one.
    #[must_use]
    pub fn failed(&self) -> Option<String> {
        self.failed.get().cloned()
    }

    /// Takes the directory offline for good. Only the first reason is kept.
    pub fn fail(&self, reason: String) {
        if self.failed.set(reason).is_ok() {
            let reason = self.failed.get().map_or("", String::as_str);
            tracing::error!(reason, "log directory is offline: no more writes, reads go on");
            self.counters.failed.set(1);
        }
        // Those in the round at hand are woken by it.
        let state = lock(&self.state);
        for point in state.dirty.iter().chain(&state.put_back) {
            point.wake();
        }
    }

    /// Says that `file` has grown to `end` and the log to `next_offset`.
    ///
    /// # Errors
    /// When the file cannot be read back at all.
    pub fn mark(
        &self,
        point: &Arc<SyncPoint>,
        file: &Arc<GrowingFile>,
        end: u64,
        next_offset: Offset,
    ) -> io::Result<()> {
        let is_new = {
            let mut pending = lock(&point.pending);
            // Inside the lock: a round takes the end together with the files that bear it.
            point.log_end.store(next_offset.0, Ordering::Release);
            match pending.grown.last_mut() {
                Some((known, known_end)) if Arc::ptr_eq(known, file) => *known_end = end,
                _ => pending.grown.push((file.clone(), end)),
            }
            !std::mem::replace(&mut pending.is_queued, true)
        };
        if self.publish == Publish::AtAppend {
            file.publish(end)?;
            point.publish(next_offset);
        }
        if is_new {
            lock(&self.state).dirty.push(point.clone());
            self.grown.notify_one();
        }
        Ok(())
    }

    /// Waits until `next_offset` may be acknowledged.
    ///
    /// # Errors
    /// When that can no longer be.
    pub async fn published(
        &self,
        point: &SyncPoint,
        next_offset: Offset,
    ) -> Result<(), StorageFailed> {
        loop {
            // Made before the look at the end, so that no wake-up is missed in between.
            let published = point.published.notified();
            if point.high_watermark() >= next_offset {
                return Ok(());
            }
            if let Some(reason) = self.failed() {
                return Err(StorageFailed::Offline { reason });
            }
            if point.is_deleted() {
                return Err(StorageFailed::Deleted);
            }
            published.await;
        }
    }

    /// Syncs and publishes all that is dirty now. How many partitions that were.
    #[expect(clippy::disallowed_methods, reason = "times the syncs for a metric")]
    pub fn run_round(&self) -> usize {
        let _round = lock(&self.round);
        let dirty = {
            let mut state = lock(&self.state);
            let mut dirty = std::mem::take(&mut state.put_back);
            dirty.append(&mut state.dirty);
            dirty
        };
        if dirty.is_empty() {
            return 0;
        }
        let began = Instant::now();
        for point in &dirty {
            if self.failed.get().is_some() {
                point.wake();
            } else if let Err(error) = self.sync(point) {
                self.fail(format!("cannot sync: {error}"));
                point.wake();
            }
        }
        self.counters.sync_seconds.observe(began.elapsed().as_secs_f64());
        #[expect(clippy::cast_precision_loss, reason = "a metric")]
        self.counters.group_partitions.observe(dirty.len() as f64);
        dirty.len()
    }

    fn sync(&self, point: &Arc<SyncPoint>) -> io::Result<()> {
        let (pending, next_offset) = {
            let mut pending = lock(&point.pending);
            let next_offset = point.log_end();
            (std::mem::take(&mut *pending), next_offset)
        };
        let result = self.sync_files(&pending);
        if result.is_err() && point.is_deleted() {
            return Ok(());
        }
        if let Err(error) = &result
            && is_passing(error)
        {
            tracing::warn!(%error, "nothing can be synced now; it is tried again");
            self.put_back(point, pending);
            return Ok(());
        }
        result?;
        if self.publish == Publish::AfterSync {
            for (file, end) in &pending.grown {
                file.publish(*end)?;
            }
        }
        point.synced.fetch_max(next_offset.0, Ordering::AcqRel);
        if self.publish == Publish::AfterSync {
            point.publish(next_offset);
        }
        Ok(())
    }

    /// For the next round. Whoever waits goes on waiting.
    fn put_back(&self, point: &Arc<SyncPoint>, earlier: Pending) {
        let was_queued = {
            let mut pending = lock(&point.pending);
            let was_queued = pending.is_queued;
            pending.put_back(earlier);
            was_queued
        };
        // One that has grown meanwhile is in the queue, and stays in it.
        if !was_queued {
            lock(&self.state).put_back.push(point.clone());
        }
    }

    fn sync_files(&self, pending: &Pending) -> io::Result<()> {
        for (file, _) in &pending.grown {
            file.sync()?;
        }
        for file in &pending.made {
            file.sync()?;
        }
        if let Some(folder) = &pending.folder {
            self.disk.sync_dir(folder)?;
        }
        let folders = usize::from(pending.folder.is_some());
        let syncs = pending.grown.len() + pending.made.len() + folders;
        self.counters.syncs.inc_by(syncs as u64);
        Ok(())
    }

    /// Waits for something dirty, at most for `patience`. False once the thread shall end.
    #[must_use]
    pub fn wait(&self, patience: Duration) -> bool {
        let state = lock(&self.state);
        let (state, _) = self
            .grown
            .wait_timeout_while(state, patience, |state| {
                state.dirty.is_empty() && !state.is_stopping
            })
            .unwrap_or_else(PoisonError::into_inner);
        !state.is_stopping
    }

    /// Ends the thread after its round.
    pub fn stop(&self) {
        lock(&self.state).is_stopping = true;
        self.grown.notify_all();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
