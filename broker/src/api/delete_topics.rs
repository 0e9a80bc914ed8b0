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

use crate::api::{NONE, code, text};
use crate::broker::Broker;

/// Answers the request.
pub async fn answer(
    broker: Arc<Broker>,
    request: DeleteTopicsRequest,
    version: i16,
) -> DeleteTopicsResponse {
    // A client that goes away must not leave a deletion half done.
    let deleted = tokio::spawn(async move { delete_and_forget(&broker, request, version).await });
    deleted.await.unwrap_or_else(|_| {
        tracing::error!("deleting topics panicked");
        DeleteTopicsResponse::default()
    })
}

async fn delete_and_forget(
    broker: &Arc<Broker>,
    request: DeleteTopicsRequest,
    version: i16,
) -> DeleteTopicsResponse {
    let shared = broker.clone();
    let delete = async move {
        let deleted = tokio::task::spawn_blocking(move || delete_all(&shared, &request, version));
        let response = deleted.await.unwrap_or_else(|_| {
            tracing::error!("deleting topics panicked");
            DeleteTopicsResponse::default()
        });
        let gone = response.responses.iter().filter(|one| one.error_code == NONE);
        let names = gone.filter_map(|one| one.name.as_ref()).map(|name| name.to_string());
        let names = names.collect();
        (response, names)
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
    version: i16,
) -> DeleteTopicsResponse {
    let mut responses = Vec::new();
    if version >= 6 {
        for asked in &request.topics {
            responses.push(match &asked.name {
                Some(name) if asked.topic_id != Uuid::nil() => {
                    let why = "A topic is named by its name or its id, not by both.";
                    refused(Some(name.clone()), ResponseError::InvalidRequest, why, version)
                        .with_topic_id(asked.topic_id)
                }
                Some(name) => delete(broker, name, version),
                None => delete_identified(broker, asked.topic_id, version),
            });
        }
    } else {
        responses.extend(request.topic_names.iter().map(|name| delete(broker, name, version)));
    }
    DeleteTopicsResponse::default().with_responses(responses)
}

fn delete_identified(broker: &Broker, id: Uuid, version: i16) -> DeletableTopicResult {
    let topics = broker.catalog.topics();
    match topics.identified(&id) {
        Some(topic) => delete(broker, &topic.name, version),
        None => {
            let why = "There is no topic of that id.";
            refused(None, ResponseError::UnknownTopicId, why, version).with_topic_id(id)
        }
    }
}

fn delete(broker: &Broker, name: &TopicName, version: i16) -> DeletableTopicResult {
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
