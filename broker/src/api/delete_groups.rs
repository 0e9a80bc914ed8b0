//! DeleteGroups 0-2: groups without members go, with all that they have committed.

use std::sync::Arc;

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::delete_groups_request::DeleteGroupsRequest;
use kafka_protocol::messages::delete_groups_response::{
    DeletableGroupResult, DeleteGroupsResponse,
};

use crate::api::{NONE, code};
use crate::broker::Broker;

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
    let had_members = broker.groups.forget(group).await?;
    let now_ms = broker.clock.now_ms();
    let forgotten = broker.offsets.forget(&broker.catalog, now_ms, |key, _| key.group == group);
    let count = forgotten.await.map_err(|error| {
        tracing::error!(group, %error, "the offsets of a deleted group cannot be forgotten");
        ResponseError::CoordinatorNotAvailable
    })?;
    if had_members || count > 0 { Ok(()) } else { Err(ResponseError::GroupIdNotFound) }
}
