//! AddPartitionsToTxn 0-5: what a transaction is about to write to; durable before the answer.
//!
//! Versions 4 and 5 carry several transactions, and may only ask whether partitions are part of
//! one (`verify_only`, KIP-890). If one partition is refused the others are not added either.

use std::sync::Arc;

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::add_partitions_to_txn_request::{
    AddPartitionsToTxnRequest, AddPartitionsToTxnTopic,
};
use kafka_protocol::messages::add_partitions_to_txn_response::{
    AddPartitionsToTxnPartitionResult, AddPartitionsToTxnResponse, AddPartitionsToTxnResult,
    AddPartitionsToTxnTopicResult,
};

use crate::api::{NONE, code, fenced_before};
use crate::broker::Broker;
use crate::transaction::state::Place;

const SEVERAL_FROM: i16 = 4;
/// From here on a fenced producer is told so.
const FENCED_FROM: i16 = 2;

/// Answers the request.
pub async fn answer(
    broker: Arc<Broker>,
    request: AddPartitionsToTxnRequest,
    version: i16,
) -> AddPartitionsToTxnResponse {
    if version < SEVERAL_FROM {
        let id = request.v3_and_below_transactional_id.as_str();
        let producer = (request.v3_and_below_producer_id.0, request.v3_and_below_producer_epoch);
        let topics = &request.v3_and_below_topics;
        let results = one(&broker, id, producer, topics, false, version).await;
        return AddPartitionsToTxnResponse::default().with_results_by_topic_v3_and_below(results);
    }
    let mut results = Vec::new();
    for it in &request.transactions {
        let producer = (it.producer_id.0, it.producer_epoch);
        let (id, topics) = (it.transactional_id.as_str(), &it.topics);
        let topics = one(&broker, id, producer, topics, it.verify_only, version).await;
        results.push(
            AddPartitionsToTxnResult::default()
                .with_transactional_id(it.transactional_id.clone())
                .with_topic_results(topics),
        );
    }
    AddPartitionsToTxnResponse::default().with_results_by_transaction(results)
}

async fn one(
    broker: &Broker,
    id: &str,
    producer: (i64, i16),
    topics: &[AddPartitionsToTxnTopic],
    verify_only: bool,
    version: i16,
) -> Vec<AddPartitionsToTxnTopicResult> {
    let known = broker.catalog.topics();
    let places: Vec<Place> = topics
        .iter()
        .flat_map(|topic| topic.partitions.iter().map(|it| (topic.name.to_string(), *it)))
        .collect();
    let is_there = |place: &Place| {
        let topic = known.named(&place.0).filter(|topic| !topic.is_internal);
        topic.is_some_and(|topic| topic.partition(place.1).is_some())
    };
    let is_one_missing = !places.iter().all(is_there);
    let added = if id.is_empty() {
        Err(ResponseError::InvalidRequest)
    } else if is_one_missing {
        Err(ResponseError::OperationNotAttempted)
    } else if verify_only {
        let verify = |place| broker.transactions.within(id, producer, place, || ());
        places.iter().try_for_each(verify)
    } else {
        broker.transactions.add(id, producer, places).await
    };
    let error_of = |place: &Place| match added {
        Ok(()) => NONE,
        Err(_) if is_one_missing && !is_there(place) => {
            code(ResponseError::UnknownTopicOrPartition)
        }
        Err(error) => code(fenced_before(FENCED_FROM, version, error)),
    };
    let result = |topic: &AddPartitionsToTxnTopic| {
        let partitions = topic.partitions.iter().map(|index| {
            AddPartitionsToTxnPartitionResult::default()
                .with_partition_index(*index)
                .with_partition_error_code(error_of(&(topic.name.to_string(), *index)))
        });
        AddPartitionsToTxnTopicResult::default()
            .with_name(topic.name.clone())
            .with_results_by_partition(partitions.collect())
    };
    topics.iter().map(result).collect()
}
