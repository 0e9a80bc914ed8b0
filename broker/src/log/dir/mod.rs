//! A log directory: what its logs share. Who may use it, whether it was closed cleanly, where each
//! log begins and up to where it is durable, and the thread that syncs.
//!
//! ```text
//! .lock  meta.properties  recovery-point-offset-checkpoint  log-start-offset-checkpoint
//! cleaner-offset-checkpoint  up to where each compacted log is clean
//! .reserve                   blocks for a full disk
//! .kafka_cleanshutdown       there only between an orderly stop and the next start
//! <topic>-<partition>/       see `names`
//! ```
//!
//! - The clean-shutdown marker is durable only when everything else is, and durably gone before
//!   the first write of the next run.
//! - A log's start is durable before anyone learns of it.
mod claim;
mod cleaned;
pub mod options;
mod reserve;

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use weir_protocol::records::Offset;

use crate::clock::Clock;
use crate::disk::{Disk, is_full, is_passing};
use crate::log::checkpoint::{self, Offsets};
use crate::log::dir::claim::{claim, read_offsets, remove_deleted};
use crate::log::dir::options::{Durability, LogDirOptions, SyncDriver};
use crate::log::error::LogError;
use crate::log::meta::DirMeta;
use crate::log::names;
use crate::log::seeded_bugs::ForgetfulDisk;
use crate::producers::BATCHES_REMEMBERED;
use crate::sync::counters::SyncCounters;
use crate::sync::{Publish, SyncPoint, SyncQueue};

/// Whose directory it is.
pub const META: &str = "meta.properties";
pub(super) const RECOVERY_POINTS: &str = "recovery-point-offset-checkpoint";
pub(super) const LOG_STARTS: &str = "log-start-offset-checkpoint";
pub(super) const CLEANED: &str = "cleaner-offset-checkpoint";
pub(super) const CLEAN_SHUTDOWN: &str = ".kafka_cleanshutdown";
/// How much longer than that the next start may take is bounded by this.
const CHECKPOINT_INTERVAL_MS: i64 = 30_000;
/// How often the thread looks at the time when nothing happens.
const PATIENCE: Duration = Duration::from_secs(1);

/// Seals one log at an orderly stop.
pub(super) type Closer = Box<dyn Fn() -> Result<(), LogError> + Send + Sync>;

/// A log directory.
pub struct LogDir {
    disk: Arc<dyn Disk>,
    clock: Arc<dyn Clock>,
    options: LogDirOptions,
    meta: DirMeta,
    queue: Arc<SyncQueue>,
    /// Whether recovery points were read, and the stop before was an orderly one.
    was_clean: bool,
    /// Whether it is known which logs were ever cleaned.
    knows_cleaned: bool,
    logs: Mutex<Logs>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// What is known of each log.
#[derive(Default)]
struct Logs {
    starts: Offsets,
    /// As of the last checkpoint; those of open logs have moved on since.
    recovery_points: Offsets,
    /// Up to where each compacted log is clean.
    cleaned: Offsets,
    open: BTreeMap<(String, i32), (Arc<SyncPoint>, Closer)>,
    checkpointed_ms: i64,
    is_closed: bool,
}

impl std::fmt::Debug for LogDir {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LogDir").field("disk", &self.disk).finish_non_exhaustive()
    }
}

impl LogDir {
    /// Opens a directory and says whether the stop before was an orderly one. From here on, until
    /// the next orderly stop, it counts as not cleanly closed.
    ///
    /// # Errors
    /// When it is another program's, or cannot be read or written.
    pub fn open(
        disk: Arc<dyn Disk>,
        options: LogDirOptions,
        clock: Arc<dyn Clock>,
    ) -> Result<(Arc<LogDir>, bool), LogError> {
        let disk: Arc<dyn Disk> = if options.seeded_bugs.forgets_directory_sync {
            Arc::new(ForgetfulDisk(disk))
        } else {
            disk
        };
        let names = disk.list("").map_err(failed("list", ""))?;
        let meta = claim(disk.as_ref(), options.node_id, &names)?;
        remove_deleted(disk.as_ref(), &names)?;
        let starts = match read_offsets(disk.as_ref(), LOG_STARTS)? {
            Some(starts) => starts,
            None => {
                let reason = "it is damaged; without it deleted records would come back";
                return Err(foreign(LOG_STARTS, reason.to_owned()));
            }
        };
        let recovery_points = read_offsets(disk.as_ref(), RECOVERY_POINTS)?;
        if recovery_points.is_none() {
            tracing::warn!(path = RECOVERY_POINTS, "damaged: every log is checked from its start");
        }
        let cleaned = read_offsets(disk.as_ref(), CLEANED)?;
        if cleaned.is_none() {
            tracing::warn!(path = CLEANED, "damaged: compacted logs are cleaned from their start");
        }
        let has_marker = names.iter().any(|name| name == CLEAN_SHUTDOWN);
        if has_marker {
            disk.unlink(CLEAN_SHUTDOWN).map_err(failed("remove", CLEAN_SHUTDOWN))?;
        }
        // Also for the files that were just read: a crash may have come between their renaming and
        // its sync, and nobody may learn what a power cut could still take back.
        disk.sync_dir("").map_err(failed("sync", ""))?;
        let is_new = !names.iter().any(|name| name == META);
        let was_clean = is_new || has_marker && recovery_points.is_some();
        let publish = match options.durability {
            Durability::Fsync if !options.seeded_bugs.acknowledges_before_sync => {
                Publish::AfterSync
            }
            _ => Publish::AtAppend,
        };
        let knows_cleaned = cleaned.is_some();
        let logs = Logs {
            starts,
            recovery_points: recovery_points.unwrap_or_default(),
            cleaned: cleaned.unwrap_or_default(),
            checkpointed_ms: clock.now_ms(),
            ..Logs::default()
        };
        let dir = Arc::new(LogDir {
            queue: Arc::new(SyncQueue::new(disk.clone(), publish)),
            disk,
            clock,
            options,
            meta,
            was_clean,
            knows_cleaned,
            logs: Mutex::new(logs),
            thread: Mutex::default(),
        });
        reserve::keep(dir.disk.as_ref());
        if options.sync_driver == SyncDriver::Thread {
            dir.start_thread()?;
        }
        Ok((dir, was_clean))
    }

    /// The first failed write or sync, which took the directory offline for good.
    #[must_use]
    pub fn failed(&self) -> Option<String> {
        self.queue.failed()
    }

    /// What the syncs count.
    #[must_use]
    pub fn counters(&self) -> &SyncCounters {
        self.queue.counters()
    }

    /// Whose directory this is.
    #[must_use]
    pub fn meta(&self) -> &DirMeta {
        &self.meta
    }

    /// The disk, for what else the broker keeps beside the logs.
    #[must_use]
    pub fn disk(&self) -> &Arc<dyn Disk> {
        &self.disk
    }

    /// Topic and partition of every log that has a folder.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub fn partitions(&self) -> Result<Vec<(String, i32)>, LogError> {
        let names = self.disk.list("").map_err(failed("list", ""))?;
        Ok(names.iter().filter_map(|name| names::parse_folder(name)).collect())
    }

    /// Syncs and publishes what is dirty now, on this thread. How many partitions that were.
    pub fn sync_now(&self) -> usize {
        self.queue.run_round()
    }

    /// Makes durable up to where each log is durable, so that the next start need not look there.
    ///
    /// # Errors
    /// When that cannot be written.
    pub fn checkpoint(&self) -> Result<(), LogError> {
        self.check()?;
        self.write_recovery_points(&mut self.lock())?;
        reserve::keep(self.disk.as_ref());
        Ok(())
    }

    /// The whole of a small file beside the logs, or nothing when it was never written.
    ///
    /// # Errors
    /// When it cannot be read; the error names the file, which the operating system does not.
    pub fn kept(&self, path: &str) -> io::Result<Option<Vec<u8>>> {
        match self.disk.read(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            result => result.map(Some).map_err(|error| {
                io::Error::new(error.kind(), format!("cannot read {path}: {error}"))
            }),
        }
    }

    /// Replaces a small file beside the logs, durably and in one step. The one door for all that
    /// the broker writes down there: a full disk has a reserve for it, and a failure after which
    /// file and memory may tell different stories takes the directory offline, so that the next
    /// start, which reads the file, decides.
    ///
    /// # Errors
    /// When the directory has failed, or the file cannot be written.
    pub fn save(&self, path: &str, bytes: &[u8]) -> Result<(), LogError> {
        self.check()?;
        let mut result = self.disk.replace(path, bytes);
        if result.as_ref().is_err_and(is_full) && reserve::spend(self.disk.as_ref()) {
            // Without this nothing could be deleted from a full disk.
            result = self.disk.replace(path, bytes);
        }
        self.written("write", path, result)
    }

    /// Syncs and seals every log and leaves the clean-shutdown marker. Nothing can be appended
    /// afterwards.
    ///
    /// # Errors
    /// When the directory has failed, or fails now: then there is no marker.
    pub fn close(&self) -> Result<(), LogError> {
        self.queue.stop();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if thread.is_some_and(|thread| thread.join().is_err()) {
            self.queue.fail("the sync thread panicked".to_owned());
        }
        self.queue.run_round();
        self.check()?;
        // A closer may ask this directory for things, so it is not called under the lock.
        let closers: Vec<_> = {
            let mut logs = self.lock();
            if std::mem::replace(&mut logs.is_closed, true) {
                return Ok(());
            }
            std::mem::take(&mut logs.open).into_iter().collect()
        };
        for (_, (_, close)) in &closers {
            close()?;
        }
        self.check()?;
        let mut logs = self.lock();
        logs.open = closers.into_iter().collect();
        self.write_recovery_points(&mut logs)?;
        logs.open.clear();
        let marker = br#"{"version":0,"brokerEpoch":-1}"#;
        let written = self.disk.put(CLEAN_SHUTDOWN, marker).and_then(|file| {
            file.sync()?;
            self.disk.sync_dir("")
        });
        self.written("write", CLEAN_SHUTDOWN, written)
    }

    pub(super) fn options(&self) -> &LogDirOptions {
        &self.options
    }

    pub(super) fn queue(&self) -> &SyncQueue {
        &self.queue
    }

    pub(super) fn was_clean(&self) -> bool {
        self.was_clean
    }

    pub(super) fn now_ms(&self) -> i64 {
        self.clock.now_ms()
    }

    pub(super) fn batches_remembered(&self) -> usize {
        let is_short = self.options.seeded_bugs.remembers_four_batches;
        BATCHES_REMEMBERED - usize::from(is_short)
    }

    /// Refuses to go on once the directory has failed.
    pub(super) fn check(&self) -> Result<(), LogError> {
        self.failed().map_or(Ok(()), |reason| Err(LogError::Offline { reason }))
    }

    /// The result of a write or sync: what does not pass takes the directory offline.
    pub(super) fn written<T>(
        &self,
        doing: &'static str,
        path: &str,
        result: io::Result<T>,
    ) -> Result<T, LogError> {
        result.map_err(|error| {
            if !is_passing(&error) {
                self.queue.fail(format!("cannot {doing} {path}: {error}"));
            }
            failed(doing, path)(error)
        })
    }

    /// Where a log begins, if that was ever said.
    pub(super) fn log_start(&self, log: &(String, i32)) -> Option<Offset> {
        self.lock().starts.get(log).copied()
    }

    /// Up to where a log was durable at the last checkpoint.
    pub(super) fn recovery_point(&self, log: &(String, i32)) -> Offset {
        self.lock().recovery_points.get(log).copied().unwrap_or_default()
    }

    /// Makes durable where a log begins.
    pub(super) fn set_log_start(&self, log: &(String, i32), start: Offset) -> Result<(), LogError> {
        let mut logs = self.lock();
        let mut starts = logs.starts.clone();
        starts.insert(log.clone(), start);
        self.write_offsets(LOG_STARTS, &starts)?;
        logs.starts = starts;
        Ok(())
    }

    /// Adds an open log to those that are checkpointed and sealed.
    pub(super) fn register(&self, log: &(String, i32), point: Arc<SyncPoint>, closer: Closer) {
        self.lock().open.insert(log.clone(), (point, closer));
    }

    /// Forgets a log that is gone, so that one of the same name begins anew.
    pub(super) fn forget(&self, log: &(String, i32)) -> Result<(), LogError> {
        let mut logs = self.lock();
        logs.open.remove(log);
        // In memory only once it is durable: else the next attempt would find nothing to do.
        let (mut starts, mut points) = (logs.starts.clone(), logs.recovery_points.clone());
        if starts.remove(log).is_some() {
            self.write_offsets(LOG_STARTS, &starts)?;
            logs.starts = starts;
        }
        if points.remove(log).is_some() {
            self.write_offsets(RECOVERY_POINTS, &points)?;
            logs.recovery_points = points;
        }
        let mut cleaned = logs.cleaned.clone();
        if cleaned.remove(log).is_some() {
            self.write_offsets(CLEANED, &cleaned)?;
            logs.cleaned = cleaned;
        }
        Ok(())
    }

    fn write_recovery_points(&self, logs: &mut Logs) -> Result<(), LogError> {
        let mut points = logs.recovery_points.clone();
        for (log, (point, _)) in &logs.open {
            points.insert(log.clone(), point.synced());
        }
        if points != logs.recovery_points {
            self.write_offsets(RECOVERY_POINTS, &points)?;
            logs.recovery_points = points;
        }
        logs.checkpointed_ms = self.now_ms();
        Ok(())
    }

    fn write_offsets(&self, path: &str, offsets: &Offsets) -> Result<(), LogError> {
        self.save(path, &checkpoint::write_offsets(path, offsets))
    }

    fn start_thread(self: &Arc<Self>) -> Result<(), LogError> {
        let queue = self.queue.clone();
        let dir = Arc::downgrade(self);
        let run = move || {
            let _guard = PanicGuard(queue.clone());
            while queue.wait(PATIENCE) {
                queue.run_round();
                let Some(dir) = dir.upgrade() else { break };
                let due_ms = dir.lock().checkpointed_ms.saturating_add(CHECKPOINT_INTERVAL_MS);
                // A failure is kept by `written`, or passes when there is room again.
                if dir.now_ms() >= due_ms && dir.check().is_ok() {
                    let _ = dir.checkpoint();
                }
            }
        };
        let thread = std::thread::Builder::new().name("weir-sync".to_owned()).spawn(run);
        let thread = thread.map_err(failed("start the sync thread of", ""))?;
        *self.thread.lock().unwrap_or_else(PoisonError::into_inner) = Some(thread);
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Logs> {
        self.logs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whoever waits for the sync thread must learn that it is no more.
struct PanicGuard(Arc<SyncQueue>);

impl Drop for PanicGuard {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.fail("the sync thread panicked".to_owned());
            self.0.run_round();
        }
    }
}

impl Drop for LogDir {
    fn drop(&mut self) {
        self.queue.stop();
    }
}

/// Names what was tried, for an error.
pub(super) fn failed(doing: &'static str, path: &str) -> impl FnOnce(io::Error) -> LogError {
    let path = if path.is_empty() { "the data directory" } else { path };
    move |source| LogError::Disk { doing, path: path.to_owned(), source }
}

fn foreign(path: &str, reason: String) -> LogError {
    LogError::Foreign { path: path.to_owned(), reason }
}

/// Removes a folder with all its files.
pub(super) fn remove_folder(disk: &dyn Disk, folder: &str) -> Result<(), LogError> {
    for name in disk.list(folder).map_err(failed("list", folder))? {
        let path = format!("{folder}/{name}");
        disk.unlink(&path).map_err(failed("remove", &path))?;
    }
    disk.remove_dir(folder).map_err(failed("remove", folder))
}
