//! DeleteShareGroupOffsets 0: lets a share group without members forget topics.
//!
//! If it ever reads them again, it begins as with a new topic. Durable before the answer.

use std::sync::Arc;

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::delete_share_group_offsets_request::DeleteShareGroupOffsetsRequest;
use kafka_protocol::messages::delete_share_group_offsets_response::{
    DeleteShareGroupOffsetsResponse, DeleteShareGroupOffsetsResponseTopic,
};

use crate::api::alter_share_group_offsets::{check_idle, refusal};
use crate::api::share_routes::{durable, error_of};
use crate::api::{NONE, code, text};
use crate::broker::Broker;

/// Answers the request.
pub async fn answer(
    broker: Arc<Broker>,
    request: DeleteShareGroupOffsetsRequest,
) -> DeleteShareGroupOffsetsResponse {
    let failed = |error, why: String| {
        DeleteShareGroupOffsetsResponse::default()
            .with_error_code(code(error))
            .with_error_message(Some(text(why)))
    };
    let group = request.group_id.as_str();
    if let Err(error) = check_idle(&broker, group) {
        return failed(error, refusal(error, group));
    }
    let topics = broker.catalog.topics();
    let now_ms = broker.clock.now_ms();
    let mut written = Vec::new();
    let mut response = DeleteShareGroupOffsetsResponse::default();
    for asked in &request.topics {
        let answered = DeleteShareGroupOffsetsResponseTopic::default()
            .with_topic_name(asked.topic_name.clone());
        let answered = match topics.named(&asked.topic_name) {
            None => answered.with_error_code(code(ResponseError::UnknownTopicOrPartition)),
            Some(topic) => {
                let forgotten =
                    broker.shares.forget(group, |place| place.topic == topic.id, now_ms);
                let error_code = match forgotten {
                    Ok(more) => {
                        written.extend(more);
                        NONE
                    }
                    Err(error) => code(error_of(&error)),
                };
                answered.with_topic_id(topic.id).with_error_code(error_code)
            }
        };
        response.responses.push(answered);
    }
    match durable(&written).await {
        Ok(()) => response,
        Err(error) => failed(error, String::new()),
    }
}
