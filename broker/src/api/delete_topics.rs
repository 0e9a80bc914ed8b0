//! DeleteTopics 1-6: takes topics away, by name, and from version 6 on by id too.
//!
//! A topic is gone for everybody when the answer is sent, and so are the offsets that were committed
//! for it: another topic of the same name begins anew.

use std::sync::Arc;

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::TopicName;
use kafka_protocol::messages::delete_topics_request::DeleteTopicsRequest;
use kafka_protocol::messages::delete_topics_response::{
    DeletableTopicResult, DeleteTopicsResponse,
};
use uuid::Uuid;

use crate::api::{NONE, code, no_permits, text};
use crate::broker::Broker;
use crate::quota::{Mutations, Strictness};

/// From here on a client without permits is refused; before it is only held back.
const STRICT_FROM: i16 = 5;

/// Answers the request.
pub async fn answer(
    broker: Arc<Broker>,
    request: DeleteTopicsRequest,
    client_id: String,
    version: i16,
) -> (DeleteTopicsResponse, u32) {
    // A client that goes away must not leave a deletion half done.
    let deleted =
        tokio::spawn(async move { delete_and_forget(&broker, request, client_id, version).await });
    deleted.await.unwrap_or_else(|_| {
        tracing::error!("deleting topics panicked");
        (DeleteTopicsResponse::default(), 0)
    })
}

async fn delete_and_forget(
    broker: &Arc<Broker>,
    request: DeleteTopicsRequest,
    client_id: String,
    version: i16,
) -> (DeleteTopicsResponse, u32) {
    let shared = broker.clone();
    let delete = async move {
        let deleted =
            tokio::task::spawn_blocking(move || delete_all(&shared, &request, &client_id, version));
        let (response, throttle_ms) = deleted.await.unwrap_or_else(|_| {
            tracing::error!("deleting topics panicked");
            (DeleteTopicsResponse::default(), 0)
        });
        let gone = response.responses.iter().filter(|one| one.error_code == NONE);
        let names = gone.filter_map(|one| one.name.as_ref()).map(|name| name.to_string());
        let names = names.collect();
        ((response, throttle_ms), names)
    };
    let now_ms = broker.clock.now_ms();
    let (response, forgotten) = broker.offsets.forget_topics(&broker.catalog, now_ms, delete).await;
    if let Err(error) = forgotten {
        tracing::error!(%error, "offsets of deleted topics are still there");
    }
    response
}

fn delete_all(
    broker: &Broker,
    request: &DeleteTopicsRequest,
    client_id: &str,
    version: i16,
) -> (DeleteTopicsResponse, u32) {
    let strictness = Strictness::of(version, STRICT_FROM);
    let permits = &mut broker.quotas.mutations(client_id, strictness);
    let mut responses = Vec::new();
    if version >= 6 {
        for asked in &request.topics {
            responses.push(match &asked.name {
                Some(name) if asked.topic_id != Uuid::nil() => {
                    let why = "A topic is named by its name or its id, not by both.";
                    refused(Some(name.clone()), ResponseError::InvalidRequest, why, version)
                        .with_topic_id(asked.topic_id)
                }
                Some(name) => delete(broker, name, permits, version),
                None => delete_identified(broker, asked.topic_id, permits, version),
            });
        }
    } else {
        let names = request.topic_names.iter();
        responses.extend(names.map(|name| delete(broker, name, permits, version)));
    }
    (DeleteTopicsResponse::default().with_responses(responses), permits.delay_ms())
}

fn delete_identified(
    broker: &Broker,
    id: Uuid,
    permits: &mut Mutations<'_>,
    version: i16,
) -> DeletableTopicResult {
    let topics = broker.catalog.topics();
    match topics.identified(&id) {
        Some(topic) => delete(broker, &topic.name, permits, version),
        None => {
            let why = "There is no topic of that id.";
            refused(None, ResponseError::UnknownTopicId, why, version).with_topic_id(id)
        }
    }
}

fn delete(
    broker: &Broker,
    name: &TopicName,
    permits: &mut Mutations<'_>,
    version: i16,
) -> DeletableTopicResult {
    let partitions = broker.catalog.topic(name).map_or(0, |topic| topic.partitions.len());
    if !permits.take(partitions) {
        let (error, why) = no_permits();
        return refused(Some(name.clone()), error, &why, version);
    }
    match broker.catalog.delete(name) {
        Ok(topic) => {
            tracing::info!(topic = name.as_str(), id = %topic.id, "topic deleted");
            let mut result = DeletableTopicResult::default().with_name(Some(name.clone()));
            if version >= 6 {
                result.topic_id = topic.id;
            }
            result
        }
        Err(error) => refused(Some(name.clone()), error.code(), &error.to_string(), version),
    }
}

fn refused(
    name: Option<TopicName>,
    error: ResponseError,
    why: &str,
    version: i16,
) -> DeletableTopicResult {
    let mut result = DeletableTopicResult::default().with_name(name).with_error_code(code(error));
    if version >= 5 {
        result.error_message = Some(text(why));
    }
    result
}
