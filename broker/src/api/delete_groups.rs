//! DeleteGroups 0-2: groups without members go, with all that they have committed.

use std::sync::Arc;

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::delete_groups_request::DeleteGroupsRequest;
use kafka_protocol::messages::delete_groups_response::{
    DeletableGroupResult, DeleteGroupsResponse,
};

use crate::api::share_routes::{durable, error_of, internal_topics};
use crate::api::{NONE, code};
use crate::broker::Broker;
use crate::share::groups::HeartbeatError;

/// Answers the request.
pub async fn answer(broker: Arc<Broker>, request: DeleteGroupsRequest) -> DeleteGroupsResponse {
    let mut results = Vec::new();
    for group in request.groups_names {
        let deleted = delete(&broker, &group).await;
        results.push(
            DeletableGroupResult::default()
                .with_group_id(group)
                .with_error_code(deleted.err().map_or(NONE, code)),
        );
    }
    DeleteGroupsResponse::default().with_results(results)
}

async fn delete(broker: &Arc<Broker>, group: &str) -> Result<(), ResponseError> {
    if group.is_empty() {
        return Err(ResponseError::InvalidGroupId);
    }
    if broker.shares.groups.contains(group) {
        return delete_share(broker, group).await;
    }
    let had_members =
        broker.groups.forget(group).await? || broker.groups.forget_consumer(group).await?;
    let now_ms = broker.clock.now_ms();
    let forgotten = broker.offsets.forget(&broker.catalog, now_ms, |key, _| key.group == group);
    let count = forgotten.await.map_err(|error| {
        tracing::error!(group, %error, "the offsets of a deleted group cannot be forgotten");
        ResponseError::CoordinatorNotAvailable
    })?;
    if had_members || count > 0 { Ok(()) } else { Err(ResponseError::GroupIdNotFound) }
}

/// A share group goes with all that it has begun.
async fn delete_share(broker: &Arc<Broker>, group: &str) -> Result<(), ResponseError> {
    let log = internal_topics(broker).await?;
    let now_ms = broker.clock.now_ms();
    let deleted =
        broker.shares.groups.delete(&log, group, now_ms).map_err(|error| match error {
            HeartbeatError::Refused(error) => error,
            HeartbeatError::Storage(error) => {
                tracing::error!(group, %error, "a share group cannot be deleted");
                ResponseError::CoordinatorNotAvailable
            }
        })?;
    let forgotten = broker.shares.forget(group, |_| true, now_ms);
    let mut written = forgotten.map_err(|error| error_of(&error))?;
    written.extend(deleted);
    durable(&written).await
}
