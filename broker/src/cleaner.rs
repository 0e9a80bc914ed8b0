//! The threads that clean compacted logs: each takes the dirtiest log that is due and that no other
//! thread has, cleans it, and looks again; when none is due it waits.
//!
//! A log with a damaged batch is not tried again until the broker is started anew; the operator is
//! told once. A full disk passes: the log is tried again after the next wait.
use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use uuid::Uuid;

use crate::broker::Broker;
use crate::housekeeping::keep_from;
use crate::log::cleaning::choice::Dirt;
use crate::log::cleaning::{CleanError, Cleaned};
use crate::partition::Partition;

/// The threads.
#[derive(Debug)]
pub struct Cleaner {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    broker: Arc<Broker>,
    is_stopping: AtomicBool,
    /// What is not to be chosen, by topic id and partition.
    kept_out: Mutex<BTreeMap<(Uuid, usize), Reason>>,
    stopped: Condvar,
}

/// Why a log is not to be chosen.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
enum Reason {
    /// A thread has it.
    Busy,
    /// It cannot be cleaned.
    Damaged,
    /// It failed, and gets its next chance after the wait.
    Failed,
}

/// A log to be cleaned.
struct Chosen {
    key: (Uuid, usize),
    topic: String,
    partition: Arc<Partition>,
    dirt: Dirt,
}

impl Cleaner {
    /// Starts the threads; none where the cleaner is switched off.
    ///
    /// # Errors
    /// When the system has no thread to give.
    pub fn start(broker: &Arc<Broker>) -> io::Result<Cleaner> {
        let shared = Arc::new(Shared {
            broker: broker.clone(),
            is_stopping: AtomicBool::new(false),
            kept_out: Mutex::default(),
            stopped: Condvar::new(),
        });
        let config = &broker.config;
        let count = if config.log_cleaner_enable { config.log_cleaner_threads } else { 0 };
        let mut threads = Vec::new();
        for number in 0..count {
            let shared = shared.clone();
            let thread = std::thread::Builder::new().name(format!("weir-cleaner-{number}"));
            threads.push(thread.spawn(move || run(&shared))?);
        }
        Ok(Cleaner { shared, threads })
    }

    /// Ends what is under way, soon, and waits for it. Blocks.
    pub fn stop(mut self) {
        self.shared.stop();
        for thread in self.threads.drain(..) {
            // A panic was told when it happened.
            let _ = thread.join();
        }
    }
}

impl Drop for Cleaner {
    fn drop(&mut self) {
        self.shared.stop();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<(Uuid, usize), Reason>> {
        self.kept_out.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_stopping(&self) -> bool {
        self.is_stopping.load(Ordering::Acquire)
    }

    fn stop(&self) {
        let _kept_out = self.lock();
        self.is_stopping.store(true, Ordering::Release);
        self.stopped.notify_all();
    }

    /// The dirtiest log that is due, which from here on is this thread's.
    fn choose(&self) -> Option<Chosen> {
        let broker = &self.broker;
        broker.metrics.cleaner.ran(broker.clock.now_ms());
        let (mut chosen, mut ratio_max): (Option<Chosen>, f64) = (None, 0.0);
        // Offsets that a deleted topic's table has folded must not count for one of the same name.
        let _begun = broker.offsets.begin_blocking();
        let topics = broker.catalog.topics();
        let mut kept_out = self.lock();
        for topic in topics.iter().filter(|topic| topic.config.log.compacts) {
            for (index, partition) in topic.partitions.iter().enumerate() {
                let number = i32::try_from(index).expect("the catalog bounds it");
                let keep_from = keep_from(broker, topic, number, partition);
                let Some(dirt) = partition.dirt(keep_from) else { continue };
                ratio_max = ratio_max.max(dirt.ratio());
                let key = (topic.id, index);
                let is_dirtier =
                    chosen.as_ref().is_none_or(|known| known.dirt.ratio() < dirt.ratio());
                if !kept_out.contains_key(&key) && partition.is_cleaning_due(&dirt) && is_dirtier {
                    let (topic, partition) = (topic.name.to_string(), partition.clone());
                    chosen = Some(Chosen { key, topic, partition, dirt });
                }
            }
        }
        broker.metrics.cleaner.dirty_percent_max.set((ratio_max * 100.0).floor());
        kept_out.retain(|(id, _), reason| {
            *reason != Reason::Damaged || topics.identified(id).is_some()
        });
        self.count_damaged(&kept_out);
        if let Some(chosen) = &chosen {
            kept_out.insert(chosen.key, Reason::Busy);
        }
        chosen
    }

    /// Takes note of how a cleaning ended.
    fn end(&self, chosen: &Chosen, result: &Result<Cleaned, CleanError>) {
        let metrics = &self.broker.metrics.cleaner;
        let (topic, partition) = (chosen.topic.as_str(), chosen.key.1);
        let mut kept_out = self.lock();
        kept_out.remove(&chosen.key);
        match result {
            Ok(cleaned) => {
                metrics.cleanings.inc();
                metrics.bytes_before.inc_by(cleaned.bytes_before);
                metrics.bytes_after.inc_by(cleaned.bytes_after);
                let removed = cleaned.records_before.saturating_sub(cleaned.records_after);
                metrics.removed_records.inc_by(removed);
                tracing::info!(
                    topic,
                    partition,
                    to = cleaned.to.0,
                    segments_before = cleaned.segments_before,
                    segments_after = cleaned.segments_after,
                    bytes_before = cleaned.bytes_before,
                    bytes_after = cleaned.bytes_after,
                    removed_records = removed,
                    "log cleaned"
                );
            }
            Err(CleanError::Interrupted) => {
                kept_out.insert(chosen.key, Reason::Failed);
            }
            Err(CleanError::Unreadable(error)) => {
                metrics.failed_cleanings.inc();
                tracing::error!(
                    topic,
                    partition,
                    %error,
                    "the log cannot be cleaned and will grow; restore the partition from a copy, \
                     or delete its records up to there, and start the broker anew"
                );
                kept_out.insert(chosen.key, Reason::Damaged);
                self.count_damaged(&kept_out);
            }
            Err(CleanError::Log(error)) => {
                metrics.failed_cleanings.inc();
                tracing::warn!(topic, partition, %error, "a cleaning is given up, and tried again");
                kept_out.insert(chosen.key, Reason::Failed);
            }
        }
    }

    fn count_damaged(&self, kept_out: &BTreeMap<(Uuid, usize), Reason>) {
        let count = kept_out.values().filter(|reason| **reason == Reason::Damaged).count();
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        self.broker.metrics.cleaner.uncleanable.set(count);
    }

    /// Waits for the next look. False when the broker stops.
    fn wait(&self) -> bool {
        let backoff = u64::try_from(self.broker.config.log_cleaner_backoff_ms).unwrap_or(1);
        let kept_out = self.lock();
        let waited =
            self.stopped.wait_timeout_while(kept_out, Duration::from_millis(backoff), |_| {
                !self.is_stopping()
            });
        let (mut kept_out, _) = waited.unwrap_or_else(PoisonError::into_inner);
        kept_out.retain(|_, reason| *reason != Reason::Failed);
        !self.is_stopping()
    }
}

/// Counts a thread that panics.
struct PanicGuard<'a>(&'a Shared);

impl Drop for PanicGuard<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.broker.metrics.cleaner.dead_threads.inc();
            tracing::error!("a cleaner thread panicked; its log stays as it was");
        }
    }
}

fn run(shared: &Shared) {
    let _guard = PanicGuard(shared);
    let config = &shared.broker.config;
    let threads = u64::try_from(config.log_cleaner_threads).unwrap_or(1);
    let keys_bytes_max =
        u64::try_from(config.log_cleaner_dedupe_buffer_size).unwrap_or(0) / threads;
    while !shared.is_stopping() {
        let chosen = match shared.broker.logs.failed() {
            None => shared.choose(),
            Some(_) => None,
        };
        let Some(chosen) = chosen else {
            if shared.wait() {
                continue;
            }
            return;
        };
        let is_over = || shared.is_stopping();
        let result = chosen.partition.clean(&chosen.dirt, keys_bytes_max, &is_over);
        shared.end(&chosen, &result);
    }
}
