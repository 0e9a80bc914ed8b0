//! Internal topics: making `__consumer_offsets`, appending to it, and reading one back at the start.

use std::sync::Arc;

use bytes::Bytes;
use kafka_protocol::error::ResponseError;
use weir_protocol::records::Offset;
use weir_protocol::records::batch::{RecordBatch, batches};
use weir_protocol::records::builder::BatchBuilder;
use weir_protocol::records::compression::Compression;
use weir_protocol::records::control::{Marker, marker_of, transactional};
use weir_protocol::records::record::Record;

use crate::catalog::error::CatalogError;
use crate::catalog::names::CONSUMER_OFFSETS;
use crate::catalog::{Catalog, Topic};
use crate::config::Config;
use crate::group::offset_records::partition_of;
use crate::log::ReadSlice;
use crate::log::error::{AppendError, ReadError};
use crate::partition::Partition;

/// One read of the replay at the start.
const REPLAY_BYTES: usize = 1 << 20;
/// A batch of the internal topic is not decompressed beyond this.
const DECOMPRESSED_BYTES_MAX: usize = 64 << 20;

/// The key of a record and its value; nothing: the key is forgotten.
pub type KeyValue = (Bytes, Option<Bytes>);

/// Records that were appended and are not durable yet.
#[derive(Clone, Debug)]
pub struct Appending {
    /// Where.
    pub partition: Arc<Partition>,
    /// The offset of the first.
    pub base_offset: Offset,
    /// The offset after the last.
    pub next_offset: Offset,
}

impl Appending {
    /// Waits until they are durable.
    ///
    /// # Errors
    /// COORDINATOR_NOT_AVAILABLE when they can no longer become so.
    pub async fn durable(&self) -> Result<(), ResponseError> {
        let durable = self.partition.durable(self.next_offset).await;
        durable.map_err(|_| ResponseError::CoordinatorNotAvailable)
    }
}

/// The internal topic, made if there is none. Blocks.
///
/// # Errors
/// When it cannot be made.
pub fn internal_topic(catalog: &Catalog, config: &Config) -> Result<Arc<Topic>, CatalogError> {
    let count = config.offsets_topic_num_partitions;
    catalog.internal(CONSUMER_OFFSETS, count, config.offsets_topic_segment_bytes)
}

/// Appends records of one group, all in one batch.
///
/// # Errors
/// When the log does not take them.
pub fn append(
    topic: &Topic,
    group: &str,
    records: &[KeyValue],
    now_ms: i64,
) -> Result<Appending, AppendError> {
    let mut builder = BatchBuilder::new(Compression::None);
    for (key, value) in records {
        builder.append(now_ms, Some(key), value.as_deref(), &[]);
    }
    append_batch(topic, group, builder.finish())
}

/// Appends records of one group as part of a transaction: a batch without a sequence.
///
/// # Errors
/// As [`append`].
pub fn append_in_transaction(
    topic: &Topic,
    group: &str,
    records: &[KeyValue],
    (producer_id, epoch): (i64, i16),
    now_ms: i64,
) -> Result<Appending, AppendError> {
    let mut builder = BatchBuilder::new(Compression::None).producer(producer_id, epoch, -1);
    for (key, value) in records {
        builder.append(now_ms, Some(key), value.as_deref(), &[]);
    }
    append_batch(topic, group, transactional(&builder.finish()))
}

fn append_batch(topic: &Topic, name: &str, batch: Bytes) -> Result<Appending, AppendError> {
    let batch = RecordBatch::parse(batch).expect("the builder makes whole batches");
    let index = partition_of(name, topic.partition_count());
    let partition = topic.partition(index).expect("the index is below the count").clone();
    let appended = partition.append_internal(&batch)?;
    let next_offset = appended.last_offset.next();
    Ok(Appending { partition, base_offset: appended.base_offset, next_offset })
}

/// What is read back of an internal topic.
#[derive(Clone, Debug)]
pub enum Replayed {
    /// A record; with its producer, if it is part of a transaction.
    Record(Record, Option<i64>),
    /// The end of a producer's transaction.
    End(i64, Marker),
}

/// Reads an internal topic back, record by record, in the order of each partition.
///
/// # Errors
/// When the disk cannot be read.
pub fn replay(
    catalog: &Catalog,
    topic: &str,
    visit: &mut dyn FnMut(i32, Replayed),
) -> Result<(), ReadError> {
    let Some(topic) = catalog.topic(topic) else { return Ok(()) };
    for (index, partition) in (0..).zip(&topic.partitions) {
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
                replay_batch(&topic.name, &batch, &mut |replayed| visit(index, replayed));
            }
            if next == before {
                break;
            }
        }
    }
    Ok(())
}

fn replay_batch(topic: &str, batch: &RecordBatch, visit: &mut dyn FnMut(Replayed)) {
    if let Err(error) = batch.check_crc() {
        // A wrong offset is worse than none: a group without one begins by its own rule, and
        // a table's log is kept whole.
        let offset = batch.header().base_offset.0;
        tracing::error!(topic, offset, %error, "a batch is damaged: what it says is forgotten");
        return;
    }
    let header = batch.header();
    if header.is_control() {
        if let Some(marker) = marker_of(batch) {
            visit(Replayed::End(header.producer_id, marker));
        }
        return;
    }
    let producer = header.is_transactional().then_some(header.producer_id);
    match batch.records(DECOMPRESSED_BYTES_MAX) {
        Ok(records) => records.flatten().for_each(|it| visit(Replayed::Record(it, producer))),
        Err(error) => tracing::warn!(topic, %error, "a batch cannot be read"),
    }
}
