//! TxnOffsetCommit 0-5: offsets of a group that count once the transaction is committed.
//!
//! From version 3 on the member and its generation are checked as OffsetCommit does (KIP-447). From
//! version 5 on the group need not have been added to the transaction before (KIP-890, part 2): it
//! is here, durably, before the offsets are written.

use std::sync::Arc;

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::txn_offset_commit_request::{
    TxnOffsetCommitRequest, TxnOffsetCommitRequestPartition,
};
use kafka_protocol::messages::txn_offset_commit_response::{
    TxnOffsetCommitResponse, TxnOffsetCommitResponsePartition, TxnOffsetCommitResponseTopic,
};

use crate::api::add_offsets_to_txn::place_in;
use crate::api::offsets_topic::{checked_offset, offsets_topic};
use crate::api::{NONE, code};
use crate::broker::Broker;
use crate::catalog::Topic;
use crate::group::coordinator::Committer;
use crate::group::offset_records::{Committed, OffsetKey};

const MEMBER_FROM: i16 = 3;
/// From here on a producer is told that a transaction can be saved by aborting it.
const ABORTABLE_FROM: i16 = 4;
/// From here on the transaction takes the group in.
const JOINS_FROM: i16 = 5;

/// Answers the request.
pub async fn answer(
    broker: Arc<Broker>,
    request: TxnOffsetCommitRequest,
    version: i16,
) -> TxnOffsetCommitResponse {
    let refusal = check(&broker, &request, version).err();
    // First, so that the topics that are found below are still there when the offsets count.
    let begun = broker.offsets.begin().await;
    let now_ms = broker.clock.now_ms();
    let topics = broker.catalog.topics();
    let mut offsets = Vec::new();
    let mut response = TxnOffsetCommitResponse::default();
    for asked in &request.topics {
        let topic = topics.named(&asked.name);
        let partitions = asked.partitions.iter().map(|one| {
            let checked = match refusal {
                Some(error) => Err(error),
                None => offset_of(&broker, &request, topic.map(Arc::as_ref), one, now_ms),
            };
            let error_code = match checked {
                Ok(offset) => {
                    offsets.push(offset);
                    NONE
                }
                Err(error) => code(error),
            };
            TxnOffsetCommitResponsePartition::default()
                .with_partition_index(one.partition_index)
                .with_error_code(error_code)
        });
        let answered = TxnOffsetCommitResponseTopic::default()
            .with_name(asked.name.clone())
            .with_partitions(partitions.collect());
        response.topics.push(answered);
    }
    if !offsets.is_empty()
        && let Err(error) = commit(&broker, &request, offsets, version, now_ms).await
    {
        for partition in response.topics.iter_mut().flat_map(|topic| &mut topic.partitions) {
            if partition.error_code == NONE {
                partition.error_code = code(error);
            }
        }
    }
    drop(begun);
    response
}

fn check(
    broker: &Arc<Broker>,
    request: &TxnOffsetCommitRequest,
    version: i16,
) -> Result<(), ResponseError> {
    if request.group_id.is_empty() {
        return Err(ResponseError::InvalidGroupId);
    }
    let has_member = version >= MEMBER_FROM;
    let committer = Committer {
        member_id: if has_member { &request.member_id } else { "" },
        instance_id: request.group_instance_id.as_deref().filter(|_| has_member),
        generation: if has_member { request.generation_id } else { -1 },
        is_transactional: true,
    };
    broker.groups.check_commit(&request.group_id, committer, false)
}

fn offset_of(
    broker: &Broker,
    request: &TxnOffsetCommitRequest,
    topic: Option<&Topic>,
    asked: &TxnOffsetCommitRequestPartition,
    now_ms: i64,
) -> Result<(OffsetKey, Committed), ResponseError> {
    let topic = topic.ok_or(ResponseError::UnknownTopicOrPartition)?;
    let committed = Committed {
        offset: asked.committed_offset,
        leader_epoch: asked.committed_leader_epoch,
        metadata: asked.committed_metadata.as_deref().unwrap_or_default().to_owned(),
        commit_ms: now_ms,
    };
    checked_offset(broker, &request.group_id, topic, asked.partition_index, committed)
}

async fn commit(
    broker: &Arc<Broker>,
    request: &TxnOffsetCommitRequest,
    offsets: Vec<(OffsetKey, Committed)>,
    version: i16,
    now_ms: i64,
) -> Result<(), ResponseError> {
    let topic = offsets_topic(broker).await?;
    let place = place_in(&topic, &request.group_id);
    let producer = (request.producer_id.0, request.producer_epoch);
    let id = request.transactional_id.as_str();
    let told = |error| transaction_error(error, version);
    if version >= JOINS_FROM {
        broker.transactions.add(id, producer, vec![place.clone()]).await.map_err(told)?;
    }
    let append =
        || broker.offsets.append_pending(&topic, &request.group_id, producer, offsets, now_ms);
    let appended = broker.transactions.within(id, producer, &place, append).map_err(told)?;
    let appending = appended.map_err(|error| {
        tracing::error!(%error, "offsets of a transaction cannot be written");
        ResponseError::CoordinatorNotAvailable
    })?;
    appending.durable().await
}

/// What a client of that version is told, in place of what the coordinator says.
fn transaction_error(error: ResponseError, version: i16) -> ResponseError {
    match error {
        // No version of this API knows the newer code.
        ResponseError::ProducerFenced => ResponseError::InvalidProducerEpoch,
        ResponseError::TransactionAbortable if version < ABORTABLE_FROM => {
            ResponseError::InvalidTxnState
        }
        ResponseError::ConcurrentTransactions if version < JOINS_FROM => {
            ResponseError::CoordinatorNotAvailable
        }
        error => error,
    }
}
