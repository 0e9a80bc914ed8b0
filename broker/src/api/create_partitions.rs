//! CreatePartitions 0-3: gives topics more partitions; durable before the answer.
//!
//! One result per topic that was asked for. Assignments may only name this broker, one list per new
//! partition.

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::create_partitions_request::{
    CreatePartitionsRequest, CreatePartitionsTopic,
};
use kafka_protocol::messages::create_partitions_response::{
    CreatePartitionsResponse, CreatePartitionsTopicResult,
};

use crate::api::{NONE, code, doubled, no_permits, text};
use crate::broker::Broker;
use crate::catalog::error::CatalogError;
use crate::quota::{Mutations, Strictness};

/// From here on a client without permits is refused; before it is only held back.
const STRICT_FROM: i16 = 3;

/// Answers the request.
pub fn answer(
    broker: &Broker,
    request: &CreatePartitionsRequest,
    client_id: &str,
    version: i16,
) -> (CreatePartitionsResponse, u32) {
    let strictness = Strictness::of(version, STRICT_FROM);
    let mut permits = broker.quotas.mutations(client_id, strictness);
    let doubled = doubled(request.topics.iter().map(|topic| topic.name.as_str()));
    let results = request.topics.iter().map(|asked| {
        let grown = if doubled.contains(asked.name.as_str()) {
            Err((ResponseError::InvalidRequest, "Duplicate topic name.".to_owned()))
        } else {
            grow(broker, asked, request.validate_only, &mut permits)
        };
        let result = CreatePartitionsTopicResult::default().with_name(asked.name.clone());
        match grown {
            Ok(()) => result.with_error_code(NONE),
            Err((error, why)) => {
                result.with_error_code(code(error)).with_error_message(Some(text(why)))
            }
        }
    });
    let response = CreatePartitionsResponse::default().with_results(results.collect());
    (response, permits.delay_ms())
}

fn grow(
    broker: &Broker,
    asked: &CreatePartitionsTopic,
    validate_only: bool,
    permits: &mut Mutations<'_>,
) -> Result<(), (ResponseError, String)> {
    let told = |error: CatalogError| (error.code(), error.to_string());
    let topic = broker.catalog.check_growth(&asked.name, asked.count).map_err(told)?;
    let new_count = (asked.count - topic.partition_count()) as usize;
    if let Some(assignments) = &asked.assignments {
        let is_here = assignments.iter().all(|one| one.broker_ids == [broker.node_id()]);
        if assignments.len() != new_count || !is_here {
            let why = "Each new partition must be assigned to this one broker.";
            return Err((ResponseError::InvalidReplicaAssignment, why.into()));
        }
    }
    if !permits.take(new_count) {
        return Err(no_permits());
    }
    if !validate_only {
        broker.catalog.grow(&asked.name, asked.count).map_err(told)?;
    }
    Ok(())
}
