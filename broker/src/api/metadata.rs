//! Metadata 0-13: brokers, topics, partitions and their leaders.
//!
//! A topic that is named, unknown and may be created is created before the answer, so the answer
//! already shows it (Kafka answers "unknown" first and lets the client ask again). What another
//! request made is seen at once. The topics array: version 0 takes an empty one as "all", later
//! versions take null as "all" and an empty one as "none". By id from version 12 on.
//! Not: racks per listener, offline replicas, authorization (everybody may do everything).

use std::collections::HashSet;

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::metadata_request::{MetadataRequest, MetadataRequestTopic};
use kafka_protocol::messages::metadata_response::{
    MetadataResponse, MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use uuid::Uuid;

use crate::api::{Caller, NONE, code};
use crate::broker::Broker;
use crate::catalog::Topic;
use crate::catalog::error::CatalogError;
use crate::catalog::names::{CONSUMER_OFFSETS, check_name};
use crate::group::internal::internal_topic;

/// What one may do with the cluster when everybody may do everything, as Kafka's bits.
pub const CLUSTER_OPERATIONS: i32 = 0b1_1111_1010_0000;
/// What one may do with a topic.
pub const TOPIC_OPERATIONS: i32 = 0b1101_1111_1000;

/// Whether answering means creating topics, and so blocking.
pub fn creates(broker: &Broker, request: &MetadataRequest, version: i16) -> bool {
    let topics = broker.catalog.topics();
    may_create(broker, request, version)
        && request
            .topics
            .iter()
            .flatten()
            .any(|topic| topic.name.as_ref().is_some_and(|name| topics.named(name).is_none()))
}

fn may_create(broker: &Broker, request: &MetadataRequest, version: i16) -> bool {
    broker.config.auto_create_topics_enable && (version < 4 || request.allow_auto_topic_creation)
}

/// Answers the request.
pub fn answer(
    broker: &Broker,
    caller: &Caller,
    request: &MetadataRequest,
    version: i16,
) -> MetadataResponse {
    let asked = request.topics.as_deref().filter(|asked| version > 0 || !asked.is_empty());
    let mut topics = Vec::new();
    match asked {
        None => {
            let all = broker.catalog.topics();
            topics.extend(all.iter().map(|topic| describe(broker, topic, version)));
        }
        Some(asked) => {
            let creates = may_create(broker, request, version);
            // Named twice, answered once, as in Kafka: an answer is as large as what there is.
            let mut seen = HashSet::new();
            let asked = asked.iter().filter(|asked| seen.insert((&asked.name, asked.topic_id)));
            topics.extend(asked.map(|asked| find(broker, asked, version, creates)));
        }
    }
    if request.include_topic_authorized_operations {
        for topic in topics.iter_mut().filter(|topic| topic.error_code == NONE) {
            topic.topic_authorized_operations = TOPIC_OPERATIONS;
        }
    }
    let mut response = MetadataResponse::default()
        .with_brokers(vec![own_entry(broker, caller, version)])
        .with_controller_id(broker.node_id())
        .with_topics(topics);
    if version >= 2 {
        response.cluster_id = Some(broker.cluster_id.clone());
    }
    if request.include_cluster_authorized_operations && (8..=10).contains(&version) {
        response.cluster_authorized_operations = CLUSTER_OPERATIONS;
    }
    response
}

fn own_entry(broker: &Broker, caller: &Caller, version: i16) -> MetadataResponseBroker {
    MetadataResponseBroker::default()
        .with_node_id(broker.node_id())
        .with_host(caller.endpoint.host.clone())
        .with_port(i32::from(caller.endpoint.port))
        .with_rack(if version >= 1 { broker.rack() } else { None })
}

fn find(
    broker: &Broker,
    asked: &MetadataRequestTopic,
    version: i16,
    creates: bool,
) -> MetadataResponseTopic {
    let failed = |error| {
        let mut topic = MetadataResponseTopic::default().with_error_code(code(error));
        topic.name = asked.name.clone();
        if version >= 10 {
            topic.topic_id = asked.topic_id;
        }
        if version < 12 && topic.name.is_none() {
            topic.name = Some(kafka_protocol::messages::TopicName::default());
        }
        topic
    };
    let topics = broker.catalog.topics();
    let Some(name) = &asked.name else {
        if version < 12 {
            return failed(ResponseError::InvalidRequest);
        }
        return match topics.identified(&asked.topic_id) {
            Some(topic) => describe(broker, topic, version),
            None => failed(ResponseError::UnknownTopicId),
        };
    };
    if version < 12 && asked.topic_id != Uuid::nil() {
        return failed(ResponseError::InvalidRequest);
    }
    if let Some(topic) = topics.named(name) {
        return describe(broker, topic, version);
    }
    if check_name(name).is_err() {
        return failed(ResponseError::InvalidTopicException);
    }
    if !creates {
        return failed(ResponseError::UnknownTopicOrPartition);
    }
    let created = if name.as_str() == CONSUMER_OFFSETS {
        internal_topic(&broker.catalog, &broker.config)
    } else {
        broker.catalog.create(name, broker.config.num_partitions, Default::default())
    };
    match created {
        Ok(topic) => describe(broker, &topic, version),
        // Somebody else was quicker.
        Err(CatalogError::Exists(_)) => match broker.catalog.topic(name) {
            Some(topic) => describe(broker, &topic, version),
            None => failed(ResponseError::UnknownTopicOrPartition),
        },
        Err(error) => {
            if error.code() == ResponseError::KafkaStorageError {
                tracing::error!(topic = name.as_str(), %error, "a topic cannot be created");
                return failed(ResponseError::LeaderNotAvailable);
            }
            failed(error.code())
        }
    }
}

fn describe(broker: &Broker, topic: &Topic, version: i16) -> MetadataResponseTopic {
    let own = vec![broker.node_id()];
    let partitions = topic.partitions.iter().enumerate().map(|(index, partition)| {
        let mut described = MetadataResponsePartition::default()
            .with_partition_index(index as i32)
            .with_leader_id(broker.node_id())
            .with_replica_nodes(own.clone())
            .with_isr_nodes(own.clone());
        if version >= 7 {
            described.leader_epoch = partition.leader_epoch();
        }
        described
    });
    let mut described = MetadataResponseTopic::default()
        .with_name(Some(topic.name.clone()))
        .with_partitions(partitions.collect());
    if version >= 1 {
        described.is_internal = topic.is_internal;
    }
    if version >= 10 {
        described.topic_id = topic.id;
    }
    described
}
