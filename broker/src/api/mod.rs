//! One file per API, named as the API; here is the only switch between them.
//!
//! A request is begun in the order in which it came. Most are answered on the spot; some wait (for
//! the disk, for records), and what waits is a future that the connection polls when its turn to
//! answer has come. Whatever a handler answers must encode in the version that was asked: the codec
//! refuses fields that a version lacks, so handlers set them by version, and a test asks every API
//! in every version.

pub mod alter_configs;
pub mod api_versions;
pub mod create_partitions;
pub mod create_topics;
pub mod delete_records;
pub mod delete_topics;
pub mod describe_cluster;
pub mod describe_configs;
pub mod describe_topic_partitions;
pub mod fetch;
pub mod find_coordinator;
pub mod incremental_alter_configs;
pub mod init_producer_id;
pub mod list_offsets;
pub mod metadata;
pub mod offset_commit;
pub mod offset_fetch;
pub mod offset_for_leader_epoch;
pub mod produce;

use std::future::Future;
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
}

/// What a request comes to.
#[derive(Debug)]
pub enum Reply {
    /// Bytes to write.
    Answer(Answer),
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
    let shared = broker.clone();
    let Ok(api) = ApiKey::try_from(header.api_key) else {
        return Err(Refusal::Codec { api: header.api().name, reason: "it has no codec".into() });
    };
    Ok(match api {
        ApiKey::Produce => produce::begin(broker, header, body)?,
        ApiKey::Fetch => fetch::begin(broker, header, body)?,
        ApiKey::ListOffsets => {
            let request = decode(&header, body)?;
            if list_offsets::searches(&request) {
                blocking(&header, move || list_offsets::answer(&shared, &request, version))
            } else {
                done(&header, &list_offsets::answer(broker, &request, version))
            }
        }
        ApiKey::Metadata => {
            let request = decode(&header, body)?;
            let caller = caller.clone();
            if metadata::creates(broker, &request, version) {
                blocking(&header, move || metadata::answer(&shared, &caller, &request, version))
            } else {
                done(&header, &metadata::answer(broker, &caller, &request, version))
            }
        }
        ApiKey::OffsetCommit => {
            let request = decode(&header, body)?;
            later(&header, offset_commit::answer(shared, request, version))
        }
        ApiKey::OffsetFetch => {
            done(&header, &offset_fetch::answer(broker, &decode(&header, body)?, version))
        }
        ApiKey::FindCoordinator => done(
            &header,
            &find_coordinator::answer(broker, caller, &decode(&header, body)?, version),
        ),
        ApiKey::ApiVersions => {
            done(&header, &api_versions::answer(&decode(&header, body)?, version))
        }
        ApiKey::CreateTopics => {
            let request = decode(&header, body)?;
            blocking(&header, move || create_topics::answer(&shared, &request, version))
        }
        ApiKey::DeleteTopics => {
            let request = decode(&header, body)?;
            later(&header, delete_topics::answer(shared, request, version))
        }
        ApiKey::DeleteRecords => {
            let request = decode(&header, body)?;
            blocking(&header, move || delete_records::answer(&shared, &request))
        }
        ApiKey::InitProducerId => {
            let request = decode(&header, body)?;
            blocking(&header, move || init_producer_id::answer(&shared, &request))
        }
        ApiKey::OffsetForLeaderEpoch => {
            done(&header, &offset_for_leader_epoch::answer(broker, &decode(&header, body)?))
        }
        ApiKey::DescribeConfigs => {
            done(&header, &describe_configs::answer(broker, &decode(&header, body)?, version))
        }
        ApiKey::AlterConfigs => {
            let request = decode(&header, body)?;
            blocking(&header, move || alter_configs::answer(&shared, &request))
        }
        ApiKey::CreatePartitions => {
            let request = decode(&header, body)?;
            blocking(&header, move || create_partitions::answer(&shared, &request))
        }
        ApiKey::IncrementalAlterConfigs => {
            let request = decode(&header, body)?;
            blocking(&header, move || incremental_alter_configs::answer(&shared, &request))
        }
        ApiKey::DescribeCluster => done(
            &header,
            &describe_cluster::answer(broker, caller, &decode(&header, body)?, version),
        ),
        ApiKey::DescribeTopicPartitions => {
            done(&header, &describe_topic_partitions::answer(broker, &decode(&header, body)?))
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

fn done(header: &RequestHeader, response: &impl Encodable) -> Begun {
    Begun::Done(reply(header, response))
}

fn later<R: Encodable + Send + 'static>(
    header: &RequestHeader,
    response: impl Future<Output = R> + Send + 'static,
) -> Begun {
    let header = header.clone();
    Begun::Blocking(Box::pin(async move { reply(&header, &response.await) }))
}

/// For what syncs the disk or reads cold logs.
fn blocking<R: Encodable + Send + 'static>(
    header: &RequestHeader,
    answer: impl FnOnce() -> R + Send + 'static,
) -> Begun {
    let header = header.clone();
    Begun::Blocking(Box::pin(async move {
        match tokio::task::spawn_blocking(answer).await {
            Ok(response) => reply(&header, &response),
            Err(_) => Reply::Close(format!("the {} handler panicked", header.api().name)),
        }
    }))
}

/// Text of an answer.
fn text(text: impl Into<String>) -> StrBytes {
    StrBytes::from_string(text.into())
}

/// Every name that stands more than once in a list.
fn doubled<'a>(names: impl Iterator<Item = &'a str>) -> std::collections::HashSet<&'a str> {
    let mut seen = std::collections::HashSet::new();
    names.filter(|name| !seen.insert(*name)).collect()
}

/// No error.
const NONE: i16 = 0;

fn code(error: ResponseError) -> i16 {
    error.code()
}
