//! One file per API, named as the API; here is the only switch between them.
//!
//! A request is begun in the order in which it came. Most are answered on the spot; some wait (for
//! the disk, for records), and what waits is a future that the connection polls when its turn to
//! answer has come. Whatever a handler answers must encode in the version that was asked: the codec
//! refuses fields that a version lacks, so handlers set them by version, and a test asks every API
//! in every version.

pub mod acls;
pub mod add_offsets_to_txn;
pub mod add_partitions_to_txn;
pub mod alter_client_quotas;
pub mod alter_configs;
pub mod alter_partition_reassignments;
pub mod alter_replica_log_dirs;
pub mod alter_share_group_offsets;
pub mod api_versions;
pub mod consumer_group_describe;
pub mod consumer_group_heartbeat;
pub mod create_partitions;
pub mod create_topics;
pub mod delegation_tokens;
pub mod delete_groups;
pub mod delete_records;
pub mod delete_share_group_offsets;
pub mod delete_topics;
pub mod describe_client_quotas;
pub mod describe_cluster;
pub mod describe_configs;
pub mod describe_groups;
pub mod describe_log_dirs;
pub mod describe_producers;
pub mod describe_quorum;
pub mod describe_share_group_offsets;
pub mod describe_topic_partitions;
pub mod describe_transactions;
pub mod elect_leaders;
pub mod end_txn;
pub mod fetch;
pub mod find_coordinator;
pub mod heartbeat;
pub mod incremental_alter_configs;
pub mod init_producer_id;
pub mod join_group;
pub mod leave_group;
pub mod list_config_resources;
pub mod list_groups;
pub mod list_offsets;
pub mod list_partition_reassignments;
pub mod list_transactions;
pub mod metadata;
pub mod offset_commit;
pub mod offset_delete;
pub mod offset_fetch;
pub mod offset_for_leader_epoch;
pub mod produce;
pub mod scram_credentials;
pub mod share_acknowledge;
pub mod share_fetch;
pub mod share_group_describe;
pub mod share_group_heartbeat;
pub mod sync_group;
pub mod txn_offset_commit;
pub mod update_features;
pub mod write_txn_markers;

mod admin_routes;
mod group_routes;
mod offsets_topic;
mod security_routes;
mod share_routes;
mod transaction_routes;

use std::collections::HashSet;
use std::future::Future;
use std::hash::Hash;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::ApiKey;
use kafka_protocol::protocol::{Decodable, Encodable, StrBytes};
use weir_protocol::answer::{Answer, encode_response};
use weir_protocol::guard;
use weir_protocol::header::RequestHeader;

use crate::broker::{Broker, Endpoint};

/// Who asks: what is the same for all requests of a connection.
#[derive(Clone, Debug)]
pub struct Caller {
    /// What this client is to be told to dial.
    pub endpoint: Endpoint,
    /// Where it comes from, as Kafka writes it: a slash and the address.
    pub host: String,
}

/// What a request comes to.
#[derive(Debug)]
pub enum Reply {
    /// Bytes to write.
    Answer(Answer),
    /// Bytes to write that say that the client is held back for so many milliseconds.
    Throttled(Answer, u32),
    /// Nothing: the client asked for no answer.
    Silence,
    /// The connection ends, for this reason.
    Close(String),
}

/// A reply that is not there yet.
pub type Pending = Pin<Box<dyn Future<Output = Reply> + Send>>;

/// A request that has begun.
pub enum Begun {
    /// Done already.
    Done(Reply),
    /// Done later. The next request may begin before.
    Overlapping(Pending),
    /// Done later. The next request must not begin before: it may ask for what this one does.
    Blocking(Pending),
    /// The same, and a thread works for it until then.
    Working(Pending),
}

/// Why a request is not even begun; the connection ends.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// A count or a length does not fit the bytes.
    #[error("the {api} request is malformed: {source}")]
    Guard {
        /// The API.
        api: &'static str,
        /// What does not fit.
        source: guard::GuardError,
    },
    /// The codec cannot read it.
    #[error("the {api} request cannot be decoded: {reason}")]
    Codec {
        /// The API.
        api: &'static str,
        /// Why.
        reason: String,
    },
}

/// Begins a request: walks it, decodes it, hands it to its API.
pub fn begin(
    broker: &Arc<Broker>,
    caller: &Arc<Caller>,
    limits: &guard::Limits,
    header: RequestHeader,
    body: Bytes,
) -> Result<Begun, Refusal> {
    let api = header.api().name;
    guard::check(header.api_key, header.api_version, &body, limits)
        .map_err(|source| Refusal::Guard { api, source })?;
    // The codec is not ours: a panic in it ends this connection and nothing else.
    let begun = catch_unwind(AssertUnwindSafe(|| dispatch(broker, caller, header, body)));
    begun.unwrap_or_else(|_| Err(Refusal::Codec { api, reason: "it made us panic".into() }))
}

fn dispatch(
    broker: &Arc<Broker>,
    caller: &Arc<Caller>,
    header: RequestHeader,
    body: Bytes,
) -> Result<Begun, Refusal> {
    let version = header.api_version;
    let Ok(api) = ApiKey::try_from(header.api_key) else {
        return Err(Refusal::Codec { api: header.api().name, reason: "it has no codec".into() });
    };
    let head = &header;
    let response = match api {
        ApiKey::Produce => return produce::begin(broker, header, body),
        ApiKey::Fetch => return fetch::begin(broker, header, body),
        ApiKey::ListOffsets => {
            let request = decode(head, body)?;
            if list_offsets::searches(&request) {
                let shared = broker.clone();
                return Ok(wait(head, move || list_offsets::answer(&shared, &request, version)));
            }
            reply(head, &list_offsets::answer(broker, &request, version))
        }
        ApiKey::Metadata => {
            let request = decode(head, body)?;
            if metadata::creates(broker, &request, version) {
                let (shared, caller) = (broker.clone(), caller.clone());
                let answer = move || metadata::answer(&shared, &caller, &request, version);
                return Ok(wait(head, answer));
            }
            reply(head, &metadata::answer(broker, caller, &request, version))
        }
        ApiKey::FindCoordinator => {
            let request = decode(head, body)?;
            reply(head, &find_coordinator::answer(broker, caller, &request, version))
        }
        ApiKey::ApiVersions => reply(head, &api_versions::answer(&decode(head, body)?, version)),
        ApiKey::OffsetForLeaderEpoch => {
            reply(head, &offset_for_leader_epoch::answer(broker, &decode(head, body)?))
        }
        ApiKey::DescribeConfigs => {
            reply(head, &describe_configs::answer(broker, &decode(head, body)?, version))
        }
        ApiKey::DescribeCluster => {
            let request = decode(head, body)?;
            reply(head, &describe_cluster::answer(broker, caller, &request, version))
        }
        ApiKey::DescribeTopicPartitions => {
            reply(head, &describe_topic_partitions::answer(broker, &decode(head, body)?))
        }
        _ => return security_routes::dispatch(api, broker, caller, head, body),
    };
    Ok(Begun::Done(response))
}

/// The APIs that change something, and so sync the disk before they answer.
fn dispatch_change(
    api: ApiKey,
    broker: Arc<Broker>,
    header: &RequestHeader,
    body: Bytes,
) -> Result<Begun, Refusal> {
    let version = header.api_version;
    Ok(match api {
        ApiKey::CreateTopics => {
            let request = decode(header, body)?;
            let client_id = client_id(header);
            let answer = move || create_topics::answer(&broker, &request, &client_id, version);
            wait_throttled(header, answer)
        }
        ApiKey::DeleteTopics => {
            let (request, client_id, header) =
                (decode(header, body)?, client_id(header), header.clone());
            Begun::Blocking(Box::pin(async move {
                let answer = delete_topics::answer(broker, request, client_id, version);
                let (response, throttle_ms) = answer.await;
                throttled(&header, &response, throttle_ms)
            }))
        }
        ApiKey::DeleteRecords => {
            let request = decode(header, body)?;
            wait(header, move || delete_records::answer(&broker, &request))
        }
        ApiKey::AlterConfigs => {
            let request = decode(header, body)?;
            wait(header, move || alter_configs::answer(&broker, &request))
        }
        ApiKey::CreatePartitions => {
            let request = decode(header, body)?;
            let client_id = client_id(header);
            let answer = move || create_partitions::answer(&broker, &request, &client_id, version);
            wait_throttled(header, answer)
        }
        ApiKey::IncrementalAlterConfigs => {
            let request = decode(header, body)?;
            wait(header, move || incremental_alter_configs::answer(&broker, &request))
        }
        _ => {
            return Err(Refusal::Codec { api: header.api().name, reason: "no handler".into() });
        }
    })
}

fn decode<R: Decodable>(header: &RequestHeader, mut body: Bytes) -> Result<R, Refusal> {
    let refuse = |reason| Refusal::Codec { api: header.api().name, reason };
    R::decode(&mut body, header.api_version).map_err(|error| refuse(error.to_string()))
}

/// The reply that holds `response`.
fn reply(header: &RequestHeader, response: &impl Encodable) -> Reply {
    let RequestHeader { api_key, api_version, correlation_id, .. } = *header;
    match encode_response(api_key, api_version, correlation_id, response) {
        Ok(answer) => Reply::Answer(answer),
        Err(error) => Reply::Close(error.to_string()),
    }
}

fn later<R: Encodable + Send + 'static>(
    header: &RequestHeader,
    response: impl Future<Output = R> + Send + 'static,
) -> Begun {
    let header = header.clone();
    Begun::Blocking(Box::pin(async move { reply(&header, &response.await) }))
}

/// For what syncs the disk or reads cold logs.
fn wait<R: Encodable + Send + 'static>(
    header: &RequestHeader,
    answer: impl FnOnce() -> R + Send + 'static,
) -> Begun {
    wait_throttled(header, move || (answer(), 0))
}

/// The same, when the answer may come with a delay for the client.
fn wait_throttled<R: Encodable + Send + 'static>(
    header: &RequestHeader,
    answer: impl FnOnce() -> (R, u32) + Send + 'static,
) -> Begun {
    let header = header.clone();
    Begun::Working(Box::pin(async move {
        match tokio::task::spawn_blocking(answer).await {
            Ok((response, throttle_ms)) => throttled(&header, &response, throttle_ms),
            Err(_) => Reply::Close(format!("the {} handler panicked", header.api().name)),
        }
    }))
}

/// The reply that holds `response` and says that the client is held back.
fn throttled(header: &RequestHeader, response: &impl Encodable, throttle_ms: u32) -> Reply {
    match reply(header, response) {
        Reply::Answer(answer) if throttle_ms > 0 => Reply::Throttled(answer, throttle_ms),
        reply => reply,
    }
}

/// What the client calls itself; nothing is an empty name.
fn client_id(header: &RequestHeader) -> String {
    header.client_id.as_deref().unwrap_or_default().to_owned()
}

/// What a change is told for which the client has no permits left.
fn no_permits() -> (ResponseError, String) {
    let why = "The client creates and deletes more partitions than its controller_mutation_rate.";
    (ResponseError::ThrottlingQuotaExceeded, why.into())
}

/// Text of an answer.
fn text(text: impl Into<String>) -> StrBytes {
    StrBytes::from_string(text.into())
}

/// Everything that stands more than once in a list. One pass: lists come from the network.
fn doubled<T: Copy + Eq + Hash>(all: impl Iterator<Item = T>) -> HashSet<T> {
    let mut seen = HashSet::new();
    all.filter(|one| !seen.insert(*one)).collect()
}

/// No error.
const NONE: i16 = 0;

/// A fenced producer is told INVALID_PRODUCER_EPOCH by versions that know no better (KIP-588).
fn fenced_before(known_from: i16, version: i16, error: ResponseError) -> ResponseError {
    match error {
        ResponseError::ProducerFenced if version < known_from => {
            ResponseError::InvalidProducerEpoch
        }
        error => error,
    }
}

fn code(error: ResponseError) -> i16 {
    error.code()
}
