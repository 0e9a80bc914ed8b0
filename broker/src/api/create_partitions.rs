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

use crate::api::{NONE, code, doubled, text};
use crate::broker::Broker;
use crate::catalog::error::CatalogError;

/// Answers the request.
pub fn answer(broker: &Broker, request: &CreatePartitionsRequest) -> CreatePartitionsResponse {
    let doubled = doubled(request.topics.iter().map(|topic| topic.name.as_str()));
    let results = request.topics.iter().map(|asked| {
        let grown = if doubled.contains(asked.name.as_str()) {
            Err((ResponseError::InvalidRequest, "Duplicate topic name.".to_owned()))
        } else {
            grow(broker, asked, request.validate_only)
        };
        let result = CreatePartitionsTopicResult::default().with_name(asked.name.clone());
        match grown {
            Ok(()) => result.with_error_code(NONE),
            Err((error, why)) => {
                result.with_error_code(code(error)).with_error_message(Some(text(why)))
            }
        }
    });
    CreatePartitionsResponse::default().with_results(results.collect())
}

fn grow(
    broker: &Broker,
    asked: &CreatePartitionsTopic,
    validate_only: bool,
) -> Result<(), (ResponseError, String)> {
    let told = |error: CatalogError| (error.code(), error.to_string());
    let topic = broker.catalog.check_growth(&asked.name, asked.count).map_err(told)?;
    if let Some(assignments) = &asked.assignments {
        let new_count = (asked.count - topic.partition_count()) as usize;
        let is_here = assignments.iter().all(|one| one.broker_ids == [broker.node_id()]);
        if assignments.len() != new_count || !is_here {
            let why = "Each new partition must be assigned to this one broker.";
            return Err((ResponseError::InvalidReplicaAssignment, why.into()));
        }
    }
    if !validate_only {
        broker.catalog.grow(&asked.name, asked.count).map_err(told)?;
    }
    Ok(())
}
