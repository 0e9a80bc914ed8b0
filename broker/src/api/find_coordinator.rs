//! FindCoordinator 0-6: who coordinates a group or a transaction. It is always this broker.
//!
//! Versions 0-3 ask for one key, 4 and later for several. Key type 0 is a group, 1 a transactional
//! id. Share groups (2) are not served: INVALID_REQUEST and a text that says so.

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::BrokerId;
use kafka_protocol::messages::find_coordinator_request::FindCoordinatorRequest;
use kafka_protocol::messages::find_coordinator_response::{Coordinator, FindCoordinatorResponse};
use kafka_protocol::protocol::StrBytes;

use crate::api::{Caller, code, text};
use crate::broker::Broker;

const GROUP: i8 = 0;
const TRANSACTION: i8 = 1;

/// Answers the request.
pub fn answer(
    broker: &Broker,
    caller: &Caller,
    request: &FindCoordinatorRequest,
    version: i16,
) -> FindCoordinatorResponse {
    if version >= 4 {
        let keys = request.coordinator_keys.iter();
        let found = keys.map(|key| find(broker, caller, request.key_type, key));
        return FindCoordinatorResponse::default().with_coordinators(found.collect());
    }
    let key_type = if version >= 1 { request.key_type } else { GROUP };
    let found = find(broker, caller, key_type, &request.key);
    let mut response = FindCoordinatorResponse::default()
        .with_error_code(found.error_code)
        .with_node_id(found.node_id)
        .with_host(found.host)
        .with_port(found.port);
    if version >= 1 {
        response.error_message = found.error_message;
    }
    response
}

fn find(broker: &Broker, caller: &Caller, key_type: i8, key: &StrBytes) -> Coordinator {
    let found = Coordinator::default().with_key(key.clone());
    if ![GROUP, TRANSACTION].contains(&key_type) {
        return found
            .with_error_code(code(ResponseError::InvalidRequest))
            .with_error_message(Some(text("only groups and transactions have a coordinator here")))
            .with_node_id(BrokerId(-1))
            .with_port(-1);
    }
    found
        .with_node_id(broker.node_id())
        .with_host(caller.endpoint.host.clone())
        .with_port(i32::from(caller.endpoint.port))
}
