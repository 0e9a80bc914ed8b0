//! How a transaction takes in the partitions that a produce request writes to (KIP-890, part 2).
//!
//! From version 12 on a transactional producer does not ask for them by AddPartitionsToTxn. They are
//! added here, all by one record of the coordinator, which is durable before the first of their
//! batches is appended: a batch that outlives a crash belongs to a transaction that does.

use kafka_protocol::error::ResponseError;
use weir_protocol::header::RequestHeader;
use weir_protocol::produce::ProduceRequest;
use weir_protocol::records::batch::RecordBatch;

use crate::api::produce::{JOINS_FROM, check_request, find};
use crate::broker::Broker;
use crate::group::internal::Appending;
use crate::transaction::state::Place;

/// What comes of it.
pub(super) enum Joining {
    /// All are part of the transaction, or none needs to be; or why they are not.
    Done(Result<(), ResponseError>),
    /// They are once that is durable.
    Waits(Appending),
}

/// Adds what is written to under a transaction.
pub(super) fn join(broker: &Broker, header: &RequestHeader, request: &ProduceRequest) -> Joining {
    let id = request.transactional_id.as_deref().filter(|_| header.api_version >= JOINS_FROM);
    let Some(id) = id else { return Joining::Done(Ok(())) };
    let written = written(broker, header, request);
    let Some(&(producer, _)) = written.first() else { return Joining::Done(Ok(())) };
    if written.iter().any(|(other, _)| *other != producer) {
        return Joining::Done(Err(ResponseError::InvalidProducerIdMapping));
    }
    let places = written.into_iter().map(|(_, place)| place).collect();
    match broker.transactions.join(id, producer, places) {
        Ok(None) => Joining::Done(Ok(())),
        Ok(Some(appending)) => Joining::Waits(appending),
        Err(error) => Joining::Done(Err(error)),
    }
}

/// The partitions that may get a batch of a transaction, with the producer of each.
fn written(
    broker: &Broker,
    header: &RequestHeader,
    request: &ProduceRequest,
) -> Vec<((i64, i16), Place)> {
    let topics = broker.catalog.topics();
    let mut written = Vec::new();
    for asked in &request.topics {
        let found = find(&topics, asked, header.api_version);
        let Ok(topic) = check_request(header, request.acks, found) else { continue };
        for partition in &asked.partitions {
            let is_there = topic.partition(partition.index).is_some();
            let records = partition.records.as_ref().filter(|_| is_there);
            let batch = records.and_then(|records| RecordBatch::first_of(records).ok());
            let Some(batch) = batch.filter(|batch| batch.header().is_transactional()) else {
                continue;
            };
            let producer = (batch.header().producer_id, batch.header().producer_epoch);
            written.push((producer, (topic.name.to_string(), partition.index)));
        }
    }
    written
}
