//! CreateTopics 2-7: makes topics, each by itself; durable before the answer.
//!
//! One node keeps one replica: a replication factor above 1 is taken as 1, and the answer says 1.
//! -1 means the broker's default. Replica assignments may only name this broker. From version 5 on
//! the answer shows the topic's settings, from 7 on its id.

use std::collections::{BTreeMap, HashSet};

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::create_topics_request::{CreatableTopic, CreateTopicsRequest};
use kafka_protocol::messages::create_topics_response::{
    CreatableTopicConfigs, CreatableTopicResult, CreateTopicsResponse,
};

use crate::api::{code, doubled, no_permits, text};
use crate::broker::Broker;
use crate::catalog::error::CatalogError;
use crate::config::topic::TopicConfig;
use crate::quota::{Mutations, Strictness};

/// As many partitions are created by one request, as in Kafka.
const PARTITIONS_PER_REQUEST_MAX: usize = 10_000;

/// From here on a client without permits is refused; before it is only held back.
const STRICT_FROM: i16 = 6;

type Failure = (ResponseError, String);

/// Answers the request.
pub fn answer(
    broker: &Broker,
    request: &CreateTopicsRequest,
    client_id: &str,
    version: i16,
) -> (CreateTopicsResponse, u32) {
    if partitions_asked(broker, request) > PARTITIONS_PER_REQUEST_MAX {
        return (refuse_all(request, version), 0);
    }
    let strictness = Strictness::of(version, STRICT_FROM);
    let mut permits = broker.quotas.mutations(client_id, strictness);
    let doubled = doubled(request.topics.iter().map(|topic| topic.name.as_str()));
    let mut told = HashSet::new();
    let mut results: Vec<CreatableTopicResult> = Vec::new();
    for asked in &request.topics {
        let result = CreatableTopicResult::default().with_name(asked.name.clone());
        if doubled.contains(asked.name.as_str()) {
            if told.insert(asked.name.as_str()) {
                let why = "Duplicate topic name.".to_owned();
                results.push(refused(result, (ResponseError::InvalidRequest, why), version));
            }
            continue;
        }
        results.push(match create(broker, asked, request.validate_only, &mut permits, version) {
            Ok(created) => created.with_name(asked.name.clone()),
            Err(failure) => refused(result, failure, version),
        });
    }
    (CreateTopicsResponse::default().with_topics(results), permits.delay_ms())
}

fn refuse_all(request: &CreateTopicsRequest, version: i16) -> CreateTopicsResponse {
    let why = format!(
        "Excessively large number of partitions per request: at most \
         {PARTITIONS_PER_REQUEST_MAX} are created at once."
    );
    let results = request.topics.iter().map(|asked| {
        let result = CreatableTopicResult::default().with_name(asked.name.clone());
        refused(result, (ResponseError::PolicyViolation, why.clone()), version)
    });
    CreateTopicsResponse::default().with_topics(results.collect())
}

/// How many partitions a request asks for, or topics where it is more.
fn partitions_asked(broker: &Broker, request: &CreateTopicsRequest) -> usize {
    let asked = request.topics.iter().map(|topic| {
        let count = match topic.num_partitions {
            -1 if topic.assignments.is_empty() => broker.config.num_partitions,
            -1 => i32::try_from(topic.assignments.len()).unwrap_or(i32::MAX),
            count => count,
        };
        usize::try_from(count).unwrap_or(1).max(1)
    });
    asked.fold(0, usize::saturating_add)
}

fn create(
    broker: &Broker,
    asked: &CreatableTopic,
    validate_only: bool,
    permits: &mut Mutations<'_>,
    version: i16,
) -> Result<CreatableTopicResult, Failure> {
    let count = partition_count(broker, asked)?;
    let overrides = overrides(asked)?;
    let told = |error: CatalogError| (error.code(), error.to_string());
    let config = broker.catalog.check_new(&asked.name, count, overrides.clone()).map_err(told)?;
    if !permits.take(usize::try_from(count).unwrap_or(0)) {
        return Err(no_permits());
    }
    let mut result = CreatableTopicResult::default();
    if !validate_only {
        let topic = broker.catalog.create(&asked.name, count, overrides).map_err(told)?;
        if version >= 7 {
            result.topic_id = topic.id;
        }
    }
    if version >= 5 {
        result.num_partitions = count;
        result.replication_factor = 1;
        result.configs = Some(shown(&config, broker));
    }
    Ok(result)
}

fn partition_count(broker: &Broker, asked: &CreatableTopic) -> Result<i32, Failure> {
    if !asked.assignments.is_empty() {
        return assigned_count(broker, asked);
    }
    if asked.replication_factor != -1 && asked.replication_factor < 1 {
        return Err((
            ResponseError::InvalidReplicationFactor,
            "Replication factor must be larger than 0.".into(),
        ));
    }
    Ok(if asked.num_partitions == -1 { broker.config.num_partitions } else { asked.num_partitions })
}

/// The number of partitions that an assignment lists: 0, 1, 2, ..., each on this broker.
fn assigned_count(broker: &Broker, asked: &CreatableTopic) -> Result<i32, Failure> {
    if asked.num_partitions != -1 || asked.replication_factor != -1 {
        let why = "Both numbers and assignments are given; numbers must then be -1.";
        return Err((ResponseError::InvalidRequest, why.into()));
    }
    let mut indexes: Vec<i32> = asked.assignments.iter().map(|one| one.partition_index).collect();
    indexes.sort_unstable();
    let is_gapless = indexes.iter().copied().eq(0..indexes.len() as i32);
    let is_here = asked.assignments.iter().all(|one| one.broker_ids == [broker.node_id()]);
    if !is_gapless || !is_here {
        let why = "Every partition from 0 on must be assigned to this one broker.";
        return Err((ResponseError::InvalidReplicaAssignment, why.into()));
    }
    Ok(indexes.len() as i32)
}

fn overrides(asked: &CreatableTopic) -> Result<BTreeMap<String, String>, Failure> {
    let mut overrides = BTreeMap::new();
    for config in &asked.configs {
        let Some(value) = &config.value else {
            let why = format!("Null value not supported for topic configs: {}", &*config.name);
            return Err((ResponseError::InvalidConfig, why));
        };
        overrides.insert(config.name.to_string(), value.to_string());
    }
    Ok(overrides)
}

fn refused(
    result: CreatableTopicResult,
    (error, why): Failure,
    version: i16,
) -> CreatableTopicResult {
    let mut result = result.with_error_code(code(error)).with_error_message(Some(text(why)));
    if version >= 5 {
        result.num_partitions = -1;
        result.replication_factor = -1;
        result.configs = Some(Vec::new());
    }
    result
}

fn shown(config: &TopicConfig, broker: &Broker) -> Vec<CreatableTopicConfigs> {
    let described = config.describe(&broker.config).into_iter();
    described
        .map(|setting| {
            CreatableTopicConfigs::default()
                .with_name(text(setting.name))
                .with_value(Some(text(setting.value)))
                .with_config_source(setting.source as i8)
        })
        .collect()
}
