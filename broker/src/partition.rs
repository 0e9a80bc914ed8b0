//! A partition: its log, and who waits for it. What the APIs see of a log.
use std::sync::Arc;

use tokio::sync::Notify;
use uuid::Uuid;
use weir_protocol::records::Offset;
use weir_protocol::records::batch::RecordBatch;

use crate::log::cleaning::choice::Dirt;
use crate::log::cleaning::{CleanError, Cleaned};
use crate::log::config::LogConfig;
use crate::log::dir::LogDir;
use crate::log::error::{AppendError, DeleteError, LogError, ReadError};
use crate::log::open::Recovery;
use crate::log::recovery::Damage;
use crate::log::retire::Retired;
use crate::log::segment::read::FirstBatch;
use crate::log::validate::Origin;
use crate::log::{Appended, Ends, Log, ReadSlice};
use crate::producers::{Aborted, Producer, Start};
use crate::sync::StorageFailed;

/// A partition of a topic.
#[derive(Debug)]
pub struct Partition {
    log: Arc<Log>,
}

impl Partition {
    /// Makes a partition, durably. What a deleted topic of that name left behind goes.
    ///
    /// # Errors
    /// When the disk fails or is full.
    pub fn create(
        dir: &Arc<LogDir>,
        topic: &str,
        partition: i32,
        topic_id: Uuid,
        config: LogConfig,
    ) -> Result<Arc<Partition>, LogError> {
        let log = Log::create(dir, topic, partition, topic_id, config)?;
        Ok(Arc::new(Partition { log }))
    }

    /// Opens a partition, and recovers its log if need be.
    ///
    /// # Errors
    /// When the disk fails, the folder is another topic's, or it is lost.
    pub fn open(
        dir: &Arc<LogDir>,
        topic: &str,
        partition: i32,
        topic_id: Uuid,
        config: LogConfig,
    ) -> Result<(Arc<Partition>, Recovery), LogError> {
        let (log, recovery) = Log::open(dir, topic, partition, topic_id, config)?;
        Ok((Arc::new(Partition { log }), recovery))
    }

    /// Appends a client's batch, or finds that it is there already. What was appended is not
    /// durable yet: see [`Partition::durable`].
    ///
    /// # Errors
    /// When it may not be appended, or the disk takes it not; then it has left no trace.
    pub fn append(&self, batch: &RecordBatch) -> Result<Appended, AppendError> {
        self.log.append(batch, Origin::Client)
    }

    /// Appends a batch of the broker's own.
    ///
    /// # Errors
    /// As [`Partition::append`].
    pub fn append_internal(&self, batch: &RecordBatch) -> Result<Appended, AppendError> {
        self.log.append(batch, Origin::Broker)
    }

    /// Appends a marker that another than our own coordinator sends.
    ///
    /// # Errors
    /// As [`Partition::append`]; and when the producer or the coordinator is known to be replaced.
    pub fn append_marker(&self, batch: &RecordBatch) -> Result<Appended, AppendError> {
        self.log.append(batch, Origin::Marker)
    }

    /// Appends a client's batch that is part of a transaction which is open, or finds that it is
    /// there already. Whoever calls holds the transaction open until this returns. `start`: where
    /// its producer may begin in this epoch.
    ///
    /// # Errors
    /// As [`Partition::append`].
    pub fn append_in_transaction(
        &self,
        batch: &RecordBatch,
        start: Start,
    ) -> Result<Appended, AppendError> {
        self.log.append(
            batch,
            match start {
                Start::Anywhere => Origin::Transaction,
                Start::AtZero => Origin::BumpingTransaction,
            },
        )
    }

    /// The aborted transactions that lie within `from..to`, in the order of their markers.
    #[must_use]
    pub fn aborted_within(&self, from: Offset, to: Offset) -> Vec<Aborted> {
        self.log.aborted_within(from, to)
    }

    /// The producers whose transaction is open here: id, epoch, first offset.
    #[must_use]
    pub fn open_transactions(&self) -> Vec<(i64, i16, Offset)> {
        self.log.open_transactions()
    }

    /// The ends of the log now.
    #[must_use]
    pub fn ends(&self) -> Ends {
        self.log.ends()
    }

    /// Whether its log directory has failed: then it takes nothing more until the next start.
    #[must_use]
    pub fn is_offline(&self) -> bool {
        self.log.dir().failed().is_some()
    }

    /// Waits until everything before `next_offset` is durable, which `acks=all` waits for.
    ///
    /// # Errors
    /// When it can no longer become so.
    pub async fn durable(&self, next_offset: Offset) -> Result<(), StorageFailed> {
        self.log.wait_durable(next_offset).await
    }

    /// Wakes `waiter` (`notify_one`) whenever the high watermark or the log's start moves, or the
    /// partition is deleted, until it is dropped.
    pub fn wake_on_growth(&self, waiter: &Arc<Notify>) {
        self.log.point().watch(waiter);
    }

    /// Whole batches below the high watermark, from the one that holds `from` on. With
    /// `whole_first_batch` the first comes even if it alone is bigger than `bytes_max`.
    ///
    /// # Errors
    /// When `from` is outside the log, or what stands there is damaged.
    pub fn read(
        &self,
        from: Offset,
        bytes_max: usize,
        whole_first_batch: bool,
    ) -> Result<ReadSlice, ReadError> {
        let first_batch = if whole_first_batch { FirstBatch::Whole } else { FirstBatch::Bounded };
        self.log.read(from, bytes_max, first_batch)
    }

    /// Offset, time and leader epoch of the first record that is not older than `target_ms`.
    /// Blocks: for the blocking pool.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub fn offset_for_timestamp(
        &self,
        target_ms: i64,
    ) -> Result<Option<(Offset, i64, i32)>, ReadError> {
        self.log.offset_for_timestamp(target_ms)
    }

    /// Offset, time and leader epoch of the latest record. Blocks: for the blocking pool.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub fn max_timestamp(&self) -> Result<Option<(Offset, i64, i32)>, ReadError> {
        self.log.max_timestamp()
    }

    /// Where a leader epoch ends: the largest known one that is not newer, and the offset at which
    /// the next begins. (-1, -1) for one that is yet to come.
    #[must_use]
    pub fn epoch_end(&self, epoch: i32) -> (i32, Offset) {
        self.log.epoch_end(epoch)
    }

    /// The leader epoch of the record at `offset`, or that would come there.
    #[must_use]
    pub fn epoch_of(&self, offset: Offset) -> Option<i32> {
        self.log.epoch_of(offset)
    }

    /// The leader epoch of what is appended in this run.
    #[must_use]
    pub fn leader_epoch(&self) -> i32 {
        self.log.leader_epoch()
    }

    /// Makes `offset` the log's start, durably, and returns the start. Blocks.
    ///
    /// # Errors
    /// When it is past the high watermark, or cannot be made durable.
    pub fn delete_records_before(&self, offset: Offset) -> Result<Offset, DeleteError> {
        self.log.delete_records_before(offset)
    }

    /// Retires segments by age, size and log start, but nothing at or above `keep_from`. Also rolls
    /// an old segment of a quiet log, and forgets silent producers. Blocks.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn apply_retention(&self, keep_from: Option<Offset>) -> Result<Retired, LogError> {
        self.log.apply_retention(keep_from)
    }

    /// What of the log the cleaner may clean, but nothing that a table still needs, which is all
    /// from `keep_from` on. `None` when the log is not compacted, or is damaged or gone.
    #[must_use]
    pub fn dirt(&self, keep_from: Option<Offset>) -> Option<Dirt> {
        self.log.dirt(keep_from)
    }

    /// Whether that is worth a cleaning now.
    #[must_use]
    pub fn is_cleaning_due(&self, dirt: &Dirt) -> bool {
        self.log.is_cleaning_due(dirt)
    }

    /// Cleans it: see [`Log::clean`]. Blocks, long.
    ///
    /// # Errors
    /// When it had to end before its time.
    pub fn clean(
        &self,
        dirt: &Dirt,
        keys_bytes_max: u64,
        is_over: &dyn Fn() -> bool,
    ) -> Result<Cleaned, CleanError> {
        self.log.clean(dirt, keys_bytes_max, is_over)
    }

    /// Changes the settings.
    pub fn set_config(&self, config: LogConfig) {
        self.log.set_config(config);
    }

    /// The settings.
    #[must_use]
    pub fn config(&self) -> LogConfig {
        LogConfig::clone(&self.log.config())
    }

    /// Bytes of all batches.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        self.log.size_bytes()
    }

    /// How many segments there are.
    #[must_use]
    pub fn segment_count(&self) -> usize {
        self.log.segment_count()
    }

    /// The producers that are remembered, by id.
    #[must_use]
    pub fn producers(&self) -> Vec<(i64, Producer)> {
        self.log.producers()
    }

    /// How many producers are remembered.
    #[must_use]
    pub fn producer_count(&self) -> usize {
        self.log.producer_count()
    }

    /// What was durable and is lost, if anything is: then nothing can be appended.
    #[must_use]
    pub fn damage(&self) -> Option<&Damage> {
        self.log.damage()
    }

    /// Deletes the partition with all its files, and wakes all who wait. The catalog must have
    /// forgotten it durably before. Blocks.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn delete(&self) -> Result<(), LogError> {
        self.log.delete()
    }
}
