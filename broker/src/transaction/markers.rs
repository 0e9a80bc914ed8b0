//! Writing markers: what makes a decision seen in every partition of a transaction.
//!
//! ```text
//! decision durable -> markers appended -> markers durable, offsets count -> complete
//! ```
//!
//! A marker that is not taken is tried again until it is, or its topic is gone, or the log directory
//! is offline. Written twice it changes nothing, so after a crash all are written once more.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use kafka_protocol::error::ResponseError;
use weir_protocol::records::Offset;
use weir_protocol::records::batch::RecordBatch;
use weir_protocol::records::control::{Marker, marker_batch};

use crate::catalog::names::CONSUMER_OFFSETS;
use crate::group::internal::Appending;
use crate::log::error::AppendError;
use crate::partition::Partition;
use crate::transaction::coordinator::{Entry, Transactions, lock};
use crate::transaction::state::{Place, State};

/// How long is waited before a marker is tried again that a partition did not take.
const RETRY: Duration = Duration::from_millis(100);
/// There is one coordinator, and never another.
const COORDINATOR_EPOCH: i32 = 0;

/// A marker that another than our own coordinator asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    /// Where.
    pub place: Place,
    /// Whose transaction ends.
    pub producer: (i64, i16),
    /// How.
    pub marker: Marker,
    /// The epoch of the coordinator that says so.
    pub coordinator_epoch: i32,
}

impl Transactions {
    /// Writes markers past the coordinator: what it thinks of the transactions stays as it is. What
    /// came of each, in order; durable when this returns.
    pub async fn mark(&self, marks: Vec<Mark>) -> Vec<Result<(), ResponseError>> {
        // All are appended before the first wait: one sync makes them durable.
        let appended: Vec<_> = marks.iter().map(|mark| self.append_mark(mark)).collect();
        let mut marked = Vec::new();
        for (mark, appended) in marks.iter().zip(appended) {
            marked.push(match appended {
                Ok((partition, next_offset)) => match partition.durable(next_offset).await {
                    Ok(()) => {
                        self.end_offsets(&mark.place, mark.producer.0, mark.marker);
                        Ok(())
                    }
                    Err(_) => Err(ResponseError::KafkaStorageError),
                },
                Err(error) => Err(error),
            });
        }
        marked
    }

    fn append_mark(&self, mark: &Mark) -> Result<(Arc<Partition>, Offset), ResponseError> {
        let Mark { place, producer, marker, coordinator_epoch } = mark;
        let unknown = ResponseError::UnknownTopicOrPartition;
        let partition = self.partition(place).ok_or(unknown)?;
        let now_ms = self.clock.now_ms();
        let batch = marker_batch(producer.0, producer.1, *marker, *coordinator_epoch, now_ms);
        let appended = partition.append_marker(&parsed(batch)).map_err(|error| {
            let (topic, partition) = place;
            tracing::warn!(topic, partition, producer_id = producer.0, %error, "no marker");
            error.error_code()
        })?;
        Ok((partition, appended.last_offset.next()))
    }

    /// Writes the markers of a decision once it is durable, and completes the transaction. The id
    /// and the epoch that its producer goes on with.
    pub(super) async fn finish(
        self: Arc<Self>,
        id: String,
        entry: Entry,
        decision: Appending,
    ) -> Result<(i64, i16), ResponseError> {
        decision.durable().await?;
        let decided = lock(&entry).transaction.clone();
        let producer = (decided.producer_id, decided.epoch);
        let State::Preparing(marker) = decided.state else { return Ok(producer) };
        self.write_markers(producer, marker, decided.partitions).await?;
        let mut held = lock(&entry);
        held.transaction.complete(self.clock.now_ms());
        let completed = held.transaction.clone();
        let producer = (completed.producer_id, completed.epoch);
        // If this is lost the markers are written once more, which changes nothing.
        self.put(&id, &mut held, completed).map(|_| producer)
    }

    async fn write_markers(
        &self,
        producer: (i64, i16),
        marker: Marker,
        mut left: BTreeSet<Place>,
    ) -> Result<(), ResponseError> {
        loop {
            // A topic that is gone needs no marker.
            left.retain(|place| self.partition(place).is_some());
            let mut appended = Vec::new();
            for place in &left {
                let Some(of_place) = self.partition(place) else { continue };
                match self.append_marker(&of_place, producer, marker) {
                    Ok(next_offset) => appended.push((place.clone(), of_place, next_offset)),
                    Err(error) => {
                        let (topic, partition) = place;
                        if of_place.is_offline() {
                            // For good; the next start goes on. The client must not wait for it.
                            return Err(ResponseError::CoordinatorNotAvailable);
                        }
                        tracing::warn!(topic, partition, %error, "a marker is tried again");
                    }
                }
            }
            for (place, partition, next_offset) in appended {
                let durable = partition.durable(next_offset).await;
                if durable.is_err() && self.partition(&place).is_some() {
                    // The log directory is offline for good; the next start goes on.
                    return Err(ResponseError::CoordinatorNotAvailable);
                }
                self.end_offsets(&place, producer.0, marker);
                left.remove(&place);
            }
            if left.is_empty() {
                return Ok(());
            }
            tokio::time::sleep(RETRY).await;
        }
    }

    /// Appends a marker; the offset after it.
    pub(super) fn append_marker(
        &self,
        partition: &Partition,
        (producer_id, epoch): (i64, i16),
        marker: Marker,
    ) -> Result<Offset, AppendError> {
        let now_ms = self.clock.now_ms();
        let batch = marker_batch(producer_id, epoch, marker, COORDINATOR_EPOCH, now_ms);
        Ok(partition.append_internal(&parsed(batch))?.last_offset.next())
    }

    /// A marker stands in a partition: what the transaction commits there counts, or never will.
    pub(super) fn end_offsets(&self, (topic, index): &Place, producer_id: i64, marker: Marker) {
        if topic == CONSUMER_OFFSETS {
            self.offsets.end_transaction(*index, producer_id, marker);
        }
    }

    pub(super) fn partition(&self, (topic, index): &Place) -> Option<Arc<Partition>> {
        self.catalog.topic(topic)?.partition(*index).cloned()
    }
}

fn parsed(batch: bytes::Bytes) -> RecordBatch {
    RecordBatch::parse(batch).expect("the builder makes whole batches")
}
