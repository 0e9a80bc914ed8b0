//! A log: segments in order, of which the last one grows. Append, read, roll.
//!
//! ```text
//! log start      high watermark = durable end      log end
//! |   may be read   |   appended, not durable yet   |
//! [ segment ][ segment ][ active segment                  ...
//! ```
//!
//! - `log start <= high watermark <= log end`; with `durability=os` the last two are one.
//! - There is one appender at a time, behind one lock; readers take no lock that it holds.
//! - A batch that is refused takes no offset and leaves no byte.
pub mod check;
pub mod cleaning;
pub mod config;
pub mod dir;
pub mod epochs;
pub mod error;
pub mod index;
pub mod lookup;
pub mod meta;
pub mod names;
pub mod open;
pub mod recovery;
pub mod retention;
pub mod retire;
pub mod salvage;
pub mod seeded_bugs;
pub mod segment;
pub mod summary;
pub mod validate;

mod checkpoint;
mod roll;
mod snapshot;
mod stable;
mod walk;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use bytes::Bytes;
use weir_protocol::records::Offset;
use weir_protocol::records::batch::{BatchHeader, HEADER_BYTES, RecordBatch};

use crate::disk::growing_file::GrowError;
use crate::log::config::LogConfig;
use crate::log::dir::LogDir;
use crate::log::epochs::LeaderEpochs;
use crate::log::error::{AppendError, LogError, ReadError};
use crate::log::recovery::Damage;
use crate::log::segment::Segment;
use crate::log::segment::read::{Asked, FirstBatch, Found};
use crate::log::stable::{Unstable, verdict};
use crate::log::validate::{Origin, validate};
use crate::producers::{ProducedBatch, Producers, Verdict};
use crate::sync::{StorageFailed, SyncPoint};

/// How many of the newest segments are kept ready for readers.
const HOT_SEGMENTS: usize = 2;

/// The log of a partition.
#[derive(Debug)]
pub struct Log {
    dir: Arc<LogDir>,
    /// Topic and partition.
    key: (String, i32),
    folder: String,
    config: RwLock<Arc<LogConfig>>,
    /// Who moves the log's start or takes segments away. Taken before `appender`, which is not
    /// held while the disk syncs: appends go on meanwhile.
    retiring: Mutex<()>,
    /// When the next tombstone or transaction marker may go, as the last cleaning found.
    next_horizon_ms: Mutex<Option<i64>>,
    appender: Mutex<Appender>,
    /// Never empty; replaced as a whole, so that readers go on with what they have.
    segments: RwLock<Arc<Vec<Arc<Segment>>>>,
    point: Arc<SyncPoint>,
    unstable: Unstable,
    epochs: RwLock<LeaderEpochs>,
    leader_epoch: i32,
    damage: Option<Damage>,
}

/// What only the one who appends, rolls or retires may touch.
#[derive(Debug)]
struct Appender {
    producers: Producers,
    /// The offset before which a snapshot holds the producers.
    snapshot: Option<Offset>,
    is_closed: bool,
    /// Renamed files of retired segments, and when they go.
    retired: Vec<(String, i64)>,
}

/// What an append did.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Appended {
    /// The offset of the batch's first record.
    pub base_offset: Offset,
    /// The offset of its last record.
    pub last_offset: Offset,
    /// The time it was given; -1 when it bears its producer's.
    pub log_append_time_ms: i64,
    /// Where the log begins.
    pub log_start: Offset,
    /// Whether it was there already; then the offsets are those of the first time.
    pub is_duplicate: bool,
}

/// The ends of a log.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Ends {
    /// The first offset that may be read.
    pub log_start: Offset,
    /// The offset before which no transaction is open.
    pub last_stable: Offset,
    /// The offset after the last that may be read.
    pub high_watermark: Offset,
    /// The offset that the next record gets.
    pub log_end: Offset,
}

/// What a read found.
#[derive(Debug)]
pub enum ReadSlice {
    /// Whole batches, out of memory.
    Hot(Bytes),
    /// They must be fetched from the disk.
    Cold(ColdRead),
}

/// A read that must wait for the disk.
#[derive(Debug)]
pub struct ColdRead {
    segments: Arc<Vec<Arc<Segment>>>,
    place: usize,
    asked: Asked,
}

impl ColdRead {
    /// Fetches the batches. Blocks: for the blocking pool.
    ///
    /// # Errors
    /// When the disk fails, or what it holds is no batch.
    pub fn load(self) -> Result<Bytes, ReadError> {
        for segment in &self.segments[self.place..] {
            if let Found::Batches(bytes) = segment.read_file(&self.asked)? {
                return Ok(bytes);
            }
        }
        Ok(Bytes::new())
    }
}

impl Log {
    /// Appends a batch, or finds that it is there already.
    ///
    /// # Errors
    /// When the batch may not be appended, or the disk takes it not.
    pub fn append(&self, batch: &RecordBatch, origin: Origin) -> Result<Appended, AppendError> {
        self.check_storage()?;
        let (config, now_ms) = (self.config(), self.dir.now_ms());
        let batch = validate(batch, &config, origin, now_ms)?;
        let mut appender = self.lock();
        self.check_open(&appender)?;
        if let Verdict::Duplicate(known) = verdict(&appender.producers, &batch, origin)? {
            return Ok(self.duplicate(&known));
        }
        let base_offset = self.point.log_end();
        let leader_epoch = self.leader_epoch;
        let header = BatchHeader { base_offset, leader_epoch, ..*batch.header() };
        let mut active = self.active();
        if active.is_full_for(&header, &config) {
            active = self.roll(&mut appender).map_err(|error| self.storage(&error))?;
        }
        let header_bytes = batch.assigned_header(base_offset, leader_epoch);
        let body = &batch.bytes()[HEADER_BYTES..];
        let interval_bytes = config.index_interval_bytes;
        let file_end = active
            .append(&header_bytes, body, &header, interval_bytes, now_ms)
            .map_err(|error| self.refused(&error))?;
        self.note(&mut appender, &batch, &header, now_ms);
        let next_offset = header.last_offset().next();
        self.dir
            .queue()
            .mark(&self.point, active.file(), file_end, next_offset)
            .map_err(|error| self.refused(&GrowError::Broken(error)))?;
        Ok(Appended {
            base_offset,
            last_offset: header.last_offset(),
            log_append_time_ms: append_time_ms(&header),
            log_start: self.point.log_start(),
            is_duplicate: false,
        })
    }

    fn duplicate(&self, known: &ProducedBatch) -> Appended {
        Appended {
            base_offset: known.base_offset,
            last_offset: known.last_offset,
            log_append_time_ms: known.log_append_time_ms,
            log_start: self.point.log_start(),
            is_duplicate: true,
        }
    }

    /// Whole batches that may be read, from the one that holds `from` on.
    ///
    /// # Errors
    /// When `from` is outside the log, or what stands there is no batch.
    pub fn read(
        &self,
        from: Offset,
        bytes_max: usize,
        first_batch: FirstBatch,
    ) -> Result<ReadSlice, ReadError> {
        self.read_within(&self.ends(), Asked { from, bytes_max, first_batch })
    }

    /// The same, by ends that may be old by now.
    fn read_within(&self, ends: &Ends, asked: Asked) -> Result<ReadSlice, ReadError> {
        let from = asked.from;
        if from < ends.log_start || from > ends.log_end {
            self.check_damage(ends, from)?;
            return Err(out_of_range(ends, from));
        }
        if from >= ends.high_watermark {
            self.check_damage(ends, from)?;
            return Ok(ReadSlice::Hot(Bytes::new()));
        }
        let segments = self.segments();
        let first = segment_of(&segments, from);
        if segments[first].base_offset() > from {
            // Retired since the ends were read. What comes later is not what was asked for.
            return Err(out_of_range(&self.ends(), from));
        }
        for (place, segment) in segments.iter().enumerate().skip(first) {
            match segment.read_mapped(&asked)? {
                Some(Found::Batches(bytes)) => return Ok(ReadSlice::Hot(bytes)),
                Some(Found::Before) => {}
                None => return Ok(ReadSlice::Cold(ColdRead { segments, place, asked })),
            }
        }
        Ok(ReadSlice::Hot(Bytes::new()))
    }

    /// The ends of the log now.
    #[must_use]
    pub fn ends(&self) -> Ends {
        // In this order, since they only grow: so each is not above the next.
        let log_start = self.point.log_start();
        let high_watermark = self.point.high_watermark();
        let log_end = self.point.log_end();
        let last_stable = self.unstable.last_stable(high_watermark).max(log_start);
        assert!(last_stable <= high_watermark, "{last_stable} is past {high_watermark}");
        Ends { log_start, last_stable, high_watermark, log_end }
    }

    /// Its settings.
    #[must_use]
    pub fn config(&self) -> Arc<LogConfig> {
        self.config.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Changes its settings; those of a segment hold from the next one on.
    pub fn set_config(&self, config: LogConfig) {
        *self.config.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(config);
    }

    /// The leader epoch of what is appended in this run.
    #[must_use]
    pub fn leader_epoch(&self) -> i32 {
        self.leader_epoch
    }

    /// Where a leader epoch ends.
    #[must_use]
    pub fn epoch_end(&self, epoch: i32) -> (i32, Offset) {
        let epochs = self.epochs.read().unwrap_or_else(PoisonError::into_inner);
        epochs.end_of(epoch, self.point.log_end())
    }

    /// The leader epoch of the record at `offset`, or that would come there.
    #[must_use]
    pub fn epoch_of(&self, offset: Offset) -> Option<i32> {
        self.epochs.read().unwrap_or_else(PoisonError::into_inner).of(offset)
    }

    /// Bytes of all its batches.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        self.segments().iter().map(|segment| segment.contents().size_bytes).sum()
    }

    /// How many segments it has.
    #[must_use]
    pub fn segment_count(&self) -> usize {
        self.segments().len()
    }

    /// How many producers are remembered.
    #[must_use]
    pub fn producer_count(&self) -> usize {
        self.lock().producers.len()
    }

    /// What was durable and is lost, if anything is: then nothing can be appended.
    #[must_use]
    pub fn damage(&self) -> Option<&Damage> {
        self.damage.as_ref()
    }

    /// The directory that it shares with other logs.
    #[must_use]
    pub fn dir(&self) -> &Arc<LogDir> {
        &self.dir
    }

    /// The ends, and who waits for them.
    #[must_use]
    pub fn point(&self) -> &Arc<SyncPoint> {
        &self.point
    }

    /// Waits until everything before `next_offset` may be acknowledged.
    ///
    /// # Errors
    /// When it can no longer be.
    pub async fn wait_durable(&self, next_offset: Offset) -> Result<(), StorageFailed> {
        self.dir.queue().published(&self.point, next_offset).await
    }

    fn segments(&self) -> Arc<Vec<Arc<Segment>>> {
        self.segments.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn active(&self) -> Arc<Segment> {
        self.segments().last().expect("a log has a segment").clone()
    }

    fn lock_retiring(&self) -> MutexGuard<'_, ()> {
        self.retiring.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self) -> MutexGuard<'_, Appender> {
        self.appender.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Refuses an append that cannot succeed.
    fn check_storage(&self) -> Result<(), AppendError> {
        self.dir.check().map_err(|error| self.storage(&error))?;
        if let Some(Damage { from, to, place }) = &self.damage {
            let folder = self.folder.clone();
            let reason = format!(
                "durable offsets {from}..{to} are damaged ({place}); nothing is appended until \
                 the data is restored or the topic is deleted"
            );
            return Err(AppendError::Storage { folder, reason });
        }
        Ok(())
    }

    fn check_open(&self, appender: &Appender) -> Result<(), AppendError> {
        let folder = self.folder.clone();
        if self.point.is_deleted() {
            return Err(AppendError::Deleted { folder });
        }
        if appender.is_closed {
            let reason = "the broker is stopping".to_owned();
            return Err(AppendError::Storage { folder, reason });
        }
        Ok(())
    }

    /// Damaged offsets are not outside the log: a consumer must not jump over them unawares. Where
    /// the tail is lost nobody knows how far it went: the recovery point lags behind what
    /// consumers have seen.
    fn check_damage(&self, ends: &Ends, from: Offset) -> Result<(), ReadError> {
        let Some(damage) = &self.damage else { return Ok(()) };
        let is_tail = damage.from >= ends.log_end;
        let is_lost = if is_tail {
            from >= damage.from
        } else {
            (damage.from..damage.to).contains(&from) || from > ends.log_end
        };
        if is_lost {
            let (folder, damage) = (self.folder.clone(), damage.clone());
            return Err(ReadError::Damaged { folder, damage });
        }
        Ok(())
    }

    fn storage(&self, error: &LogError) -> AppendError {
        AppendError::Storage { folder: self.folder.clone(), reason: error.to_string() }
    }

    /// A failed write is final for the directory; a full disk or a lack of memory is not.
    fn refused(&self, error: &GrowError) -> AppendError {
        let folder = self.folder.clone();
        if let GrowError::Broken(source) = error {
            self.dir.queue().fail(format!("cannot write {folder}: {source}"));
        }
        AppendError::Storage { folder, reason: error.to_string() }
    }
}

fn out_of_range(ends: &Ends, asked: Offset) -> ReadError {
    ReadError::OutOfRange { asked, start: ends.log_start, end: ends.log_end }
}

/// The place of the segment that holds `offset`.
fn segment_of(segments: &[Arc<Segment>], offset: Offset) -> usize {
    segments.partition_point(|segment| segment.base_offset() <= offset).saturating_sub(1)
}

fn append_time_ms(header: &BatchHeader) -> i64 {
    if header.has_log_append_time() { header.max_timestamp_ms } else { -1 }
}

#[cfg(test)]
mod tests;
