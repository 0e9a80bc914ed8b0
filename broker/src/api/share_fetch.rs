//! ShareFetch 1: a member of a share group acquires records, and may acknowledge others with it.
//!
//! What is acknowledged is taken first. Then the partitions of the member's session are looked at,
//! each request beginning with another one; whole batches are read from the first available record
//! on, and what is available among them is acquired. If there is too little, the request waits: for
//! new records, for records that others give back, for a lock to end, `max_wait_ms` at most. The
//! answer bears the batches as they are in the log, and says which of their offsets are acquired.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::share_fetch_request::ShareFetchRequest;
use kafka_protocol::messages::share_fetch_response::{
    AcquiredRecords, PartitionData, ShareFetchResponse, ShareFetchableTopicResponse,
};
use tokio::sync::Notify;

use crate::api::share_acknowledge::{acknowledge, check_place, session_key};
use crate::api::share_routes::durable;
use crate::api::{NONE, code};
use crate::broker::Broker;
use crate::share::session::{Call, FINAL_EPOCH, Place, SessionKey, Turn};
use crate::share::state_log::Written;
use reading::{Look, Taken};

mod reading;

/// How many records a client may ask for; an answer of more would be larger than any buffer.
const RECORDS_MAX: i32 = 1_000_000;

/// Answers the request.
pub async fn answer(broker: Arc<Broker>, request: ShareFetchRequest) -> ShareFetchResponse {
    let failed = |error| ShareFetchResponse::default().with_error_code(code(error));
    let Some(key) = session_key(request.group_id.as_deref(), request.member_id.as_deref()) else {
        return failed(ResponseError::InvalidRequest);
    };
    if !broker.shares.groups.contains(&key.group) {
        return failed(ResponseError::GroupIdNotFound);
    }
    let asked = Asked::of(&broker, &request);
    let turn = match asked.take_turn(&broker, &key, &request) {
        Ok(turn) => turn,
        Err(error) => return failed(error),
    };
    let mut answers: BTreeMap<Place, PartitionData> = BTreeMap::new();
    for (place, error) in &asked.unknown {
        answers.insert(*place, partition_error(place, *error));
    }
    let mut written = Vec::new();
    acknowledge_all(&broker, &key, &request, &mut answers, &mut written);
    let now_ms = broker.clock.now_ms();
    match turn {
        Turn::Ends => written.extend(broker.shares.release(&key, now_ms)),
        Turn::Goes(places) => {
            fetch(&broker, &key, &request, &places, &mut answers, &mut written).await;
        }
    }
    if let Err(error) = durable(&written).await {
        return failed(error);
    }
    let lock_ms = broker.shares.settings(&key.group).lock_ms;
    respond(answers).with_acquisition_lock_timeout_ms(i32::try_from(lock_ms).unwrap_or(i32::MAX))
}

/// What a request names.
struct Asked {
    named: Vec<Place>,
    forgotten: Vec<Place>,
    unknown: Vec<(Place, ResponseError)>,
    acknowledges: bool,
}

impl Asked {
    fn of(broker: &Broker, request: &ShareFetchRequest) -> Self {
        let (mut named, mut unknown) = (Vec::new(), Vec::new());
        let mut acknowledges = false;
        for topic in &request.topics {
            for one in &topic.partitions {
                let place = Place { topic: topic.topic_id, partition: one.partition_index };
                acknowledges |= !one.acknowledgement_batches.is_empty();
                match check_place(broker, &place) {
                    Ok(()) => named.push(place),
                    Err(error) => unknown.push((place, error)),
                }
            }
        }
        let forgotten = request.forgotten_topics_data.iter().flat_map(|topic| {
            let places = topic.partitions.iter();
            places.map(|&partition| Place { topic: topic.topic_id, partition })
        });
        Self { named, forgotten: forgotten.collect(), unknown, acknowledges }
    }

    fn take_turn(
        &self,
        broker: &Broker,
        key: &SessionKey,
        request: &ShareFetchRequest,
    ) -> Result<Turn, ResponseError> {
        let call = Call {
            epoch: request.share_session_epoch,
            named: &self.named,
            forgotten: &self.forgotten,
            acknowledges: self.acknowledges,
            now_ms: broker.clock.now_ms(),
        };
        let sessions_max =
            usize::try_from(broker.config.group_share_max_share_sessions).unwrap_or(0);
        if call.epoch < FINAL_EPOCH {
            return Err(ResponseError::InvalidShareSessionEpoch);
        }
        broker.shares.sessions().fetch(key, &call, sessions_max)
    }
}

/// Takes all verdicts of the request, and answers each partition that has some.
fn acknowledge_all(
    broker: &Broker,
    key: &SessionKey,
    request: &ShareFetchRequest,
    answers: &mut BTreeMap<Place, PartitionData>,
    written: &mut Vec<Written>,
) {
    for topic in &request.topics {
        for one in topic.partitions.iter().filter(|one| !one.acknowledgement_batches.is_empty()) {
            let place = Place { topic: topic.topic_id, partition: one.partition_index };
            let batches = one.acknowledgement_batches.iter();
            let verdicts = batches
                .map(|batch| {
                    (batch.first_offset, batch.last_offset, batch.acknowledge_types.clone())
                })
                .collect();
            let taken = acknowledge(broker, key, place, &verdicts, written);
            let answer = answers.entry(place).or_insert_with(|| partition(&place));
            answer.acknowledge_error_code = taken.map_or_else(code, |()| NONE);
        }
    }
}

/// The loop around looking and acquiring.
async fn fetch(
    broker: &Arc<Broker>,
    key: &SessionKey,
    request: &ShareFetchRequest,
    places: &[Place],
    answers: &mut BTreeMap<Place, PartitionData>,
    written: &mut Vec<Written>,
) {
    let wait = Duration::from_millis(u64::try_from(request.max_wait_ms).unwrap_or(0));
    let deadline = tokio::time::sleep(wait);
    tokio::pin!(deadline);
    let waiter = Arc::new(Notify::new());
    let bytes_min = usize::try_from(request.min_bytes).unwrap_or(0);
    let bytes_max = request.max_bytes.min(broker.config.fetch_max_bytes);
    let bytes_max = usize::try_from(bytes_max).unwrap_or(0);
    let mut is_watching = false;
    loop {
        // Whoever is watching is woken by all that happens from here on.
        let look = Look::at(broker, key, places, bytes_max).await;
        let is_over = deadline.is_elapsed() || places.is_empty() || request.max_wait_ms <= 0;
        if is_over || !look.errors.is_empty() || look.size_bytes >= bytes_min.max(1) {
            let records_max = i64::from(request.max_records.clamp(1, RECORDS_MAX));
            let batch_records = i64::from(request.batch_size.clamp(1, RECORDS_MAX));
            let taken = look.acquire(broker, key, records_max, batch_records);
            written.extend(taken.written);
            for (place, error) in look.errors.iter().chain(&taken.errors) {
                let answer = answers.entry(*place).or_insert_with(|| partition(place));
                answer.error_code = code(*error);
            }
            let has_some = !taken.records.is_empty();
            for one in taken.records {
                put(answers, one);
            }
            if is_over || has_some || !look.errors.is_empty() {
                return;
            }
            // Others were faster, or there was no record: look again, but let others have a turn.
            tokio::task::yield_now().await;
            continue;
        }
        if !is_watching {
            is_watching = true;
            reading::watch(broker, key, places, &waiter);
            continue;
        }
        let lock_ms = look.deadline_ms.map(|at| at.saturating_sub(broker.clock.now_ms()).max(1));
        let lock = Duration::from_millis(lock_ms.map_or(u64::MAX >> 20, i64::unsigned_abs));
        tokio::select! {
            () = waiter.notified() => {}
            () = tokio::time::sleep(lock) => {}
            () = &mut deadline => {}
        }
    }
}

fn put(answers: &mut BTreeMap<Place, PartitionData>, taken: Taken) {
    let answer = answers.entry(taken.place).or_insert_with(|| partition(&taken.place));
    answer.records = Some(taken.bytes);
    let acquired = taken.acquired.into_iter().map(|one| {
        AcquiredRecords::default()
            .with_first_offset(one.span.first)
            .with_last_offset(one.span.last)
            .with_delivery_count(one.deliveries)
    });
    answer.acquired_records = acquired.collect();
}

fn partition(place: &Place) -> PartitionData {
    PartitionData::default().with_partition_index(place.partition).with_records(Some(Bytes::new()))
}

fn partition_error(place: &Place, error: ResponseError) -> PartitionData {
    partition(place).with_error_code(code(error))
}

fn respond(answers: BTreeMap<Place, PartitionData>) -> ShareFetchResponse {
    let mut responses: Vec<ShareFetchableTopicResponse> = Vec::new();
    for (place, answer) in answers {
        match responses.last_mut().filter(|topic| topic.topic_id == place.topic) {
            Some(topic) => topic.partitions.push(answer),
            None => responses.push(
                ShareFetchableTopicResponse::default()
                    .with_topic_id(place.topic)
                    .with_partitions(vec![answer]),
            ),
        }
    }
    ShareFetchResponse::default().with_responses(responses)
}
