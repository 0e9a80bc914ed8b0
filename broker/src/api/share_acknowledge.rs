//! ShareAcknowledge 1: what became of records that a member of a share group had acquired.
//!
//! Verdicts on one partition are taken all or none, and are durable before the answer. The last
//! request of a session (epoch -1) gives back all else that the member has.

use std::sync::Arc;

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::share_acknowledge_request::{
    AcknowledgementBatch, ShareAcknowledgeRequest,
};
use kafka_protocol::messages::share_acknowledge_response::{
    PartitionData, ShareAcknowledgeResponse, ShareAcknowledgeTopicResponse,
};
use uuid::Uuid;

use crate::api::share_routes::{durable, error_of};
use crate::api::{NONE, code};
use crate::broker::Broker;
use crate::share::runs::Span;
use crate::share::session::{Place, SessionKey, Turn};
use crate::share::state_log::Written;
use crate::share::verdict::{Acknowledgement, Verdict};

/// Verdicts on records of one partition, as a request bears them.
pub(super) type Verdicts = Vec<(i64, i64, Vec<i8>)>;

/// Answers the request.
pub async fn answer(
    broker: Arc<Broker>,
    request: ShareAcknowledgeRequest,
) -> ShareAcknowledgeResponse {
    let failed = |error| ShareAcknowledgeResponse::default().with_error_code(code(error));
    let Some(key) = session_key(request.group_id.as_deref(), request.member_id.as_deref()) else {
        return failed(ResponseError::InvalidRequest);
    };
    if !broker.shares.groups.contains(&key.group) {
        return failed(ResponseError::GroupIdNotFound);
    }
    let now_ms = broker.clock.now_ms();
    let turn = broker.shares.sessions().acknowledge(&key, request.share_session_epoch, now_ms);
    let turn = match turn {
        Ok(turn) => turn,
        Err(error) => return failed(error),
    };
    let mut written = Vec::new();
    let mut response = ShareAcknowledgeResponse::default();
    for asked in &request.topics {
        let partitions = asked.partitions.iter().map(|one| {
            let place = Place { topic: asked.topic_id, partition: one.partition_index };
            let verdicts = one.acknowledgement_batches.iter().map(raw).collect();
            let taken = acknowledge(&broker, &key, place, &verdicts, &mut written);
            PartitionData::default()
                .with_partition_index(one.partition_index)
                .with_error_code(taken.map_or_else(code, |()| NONE))
        });
        let answered = ShareAcknowledgeTopicResponse::default()
            .with_topic_id(asked.topic_id)
            .with_partitions(partitions.collect());
        response.responses.push(answered);
    }
    if turn == Turn::Ends {
        written.extend(broker.shares.release(&key, now_ms));
    }
    if let Err(error) = durable(&written).await {
        return failed(error);
    }
    response
}

fn raw(batch: &AcknowledgementBatch) -> (i64, i64, Vec<i8>) {
    (batch.first_offset, batch.last_offset, batch.acknowledge_types.clone())
}

/// Whose session it is, if the request says so.
pub(super) fn session_key(
    group: Option<&kafka_protocol::protocol::StrBytes>,
    member: Option<&str>,
) -> Option<SessionKey> {
    let (group, member) = (group?, member?);
    let is_named = !group.is_empty() && !member.is_empty();
    is_named.then(|| SessionKey { group: group.to_string(), member: member.to_owned() })
}

/// Takes verdicts on one partition. What they change is added to `written`.
pub(super) fn acknowledge(
    broker: &Broker,
    key: &SessionKey,
    place: Place,
    verdicts: &Verdicts,
    written: &mut Vec<Written>,
) -> Result<(), ResponseError> {
    check_place(broker, &place)?;
    let acknowledgements: Option<Vec<Acknowledgement>> = verdicts
        .iter()
        .map(|(first, last, verdicts)| {
            let verdicts = verdicts.iter().map(|verdict| Verdict::of(*verdict));
            let span = Span { first: *first, last: *last };
            Some(Acknowledgement { span, verdicts: verdicts.collect::<Option<_>>()? })
        })
        .collect();
    let acknowledgements = acknowledgements.ok_or(ResponseError::InvalidRequest)?;
    let cell = broker.shares.cell(&key.group, &place);
    let cell = cell.ok_or(ResponseError::InvalidRecordState)?;
    let settings = broker.shares.settings(&key.group);
    let moment = broker.shares.moment(&settings, broker.clock.now_ms());
    let acted = cell.act(&moment, |share| {
        match share.acknowledge(&key.member, &acknowledgements, &settings.limits) {
            Ok(change) => (Ok(()), change),
            Err(error) => (Err(error), None),
        }
    });
    let (taken, change) = acted.map_err(|error| error_of(&error))?;
    written.extend(change);
    taken
}

/// Whether there is such a partition.
pub(super) fn check_place(broker: &Broker, place: &Place) -> Result<(), ResponseError> {
    let topics = broker.catalog.topics();
    let id: &Uuid = &place.topic;
    let topic = topics.identified(id).ok_or(ResponseError::UnknownTopicId)?;
    match topic.partition(place.partition) {
        Some(_) => Ok(()),
        None => Err(ResponseError::UnknownTopicOrPartition),
    }
}
