//! FindCoordinator 0-6: who coordinates a group, a transaction, or the state of a share-partition.
//! It is always this broker.
//!
//! Versions 0-3 ask for one key, 4 and later for several. Key type 0 is a group, 1 a transactional
//! id; a share-partition (2, from version 6 on) is named `group:topic id:partition`.

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::BrokerId;
use kafka_protocol::messages::find_coordinator_request::FindCoordinatorRequest;
use kafka_protocol::messages::find_coordinator_response::{Coordinator, FindCoordinatorResponse};
use kafka_protocol::protocol::StrBytes;

use crate::api::{Caller, code, text};
use crate::broker::Broker;
use crate::log::meta::decode_id;

const GROUP: i8 = 0;
const SHARE: i8 = 2;
const SHARE_FROM: i16 = 6;
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
        let found = keys.map(|key| find(broker, caller, (request.key_type, version), key));
        return FindCoordinatorResponse::default().with_coordinators(found.collect());
    }
    let key_type = if version >= 1 { request.key_type } else { GROUP };
    let found = find(broker, caller, (key_type, version), &request.key);
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

fn find(
    broker: &Broker,
    caller: &Caller,
    (key_type, version): (i8, i16),
    key: &StrBytes,
) -> Coordinator {
    let found = Coordinator::default().with_key(key.clone());
    let is_share = key_type == SHARE && version >= SHARE_FROM && is_share_partition(key);
    if ![GROUP, TRANSACTION].contains(&key_type) && !is_share {
        return found
            .with_error_code(code(ResponseError::InvalidRequest))
            .with_error_message(Some(text(
                "only groups, transactions and share-partitions have a coordinator here",
            )))
            .with_node_id(BrokerId(-1))
            .with_port(-1);
    }
    found
        .with_node_id(broker.node_id())
        .with_host(caller.endpoint.host.clone())
        .with_port(i32::from(caller.endpoint.port))
}

/// Whether it reads `group:topic id:partition`. A group's name may hold colons.
fn is_share_partition(key: &str) -> bool {
    let mut parts = key.rsplitn(3, ':');
    let partition = parts.next().is_some_and(|text| text.parse::<i32>().is_ok_and(|it| it >= 0));
    let topic = parts.next().is_some_and(|id| decode_id(id).is_some());
    partition && topic && parts.next().is_some_and(|group| !group.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_partition_is_named_by_group_topic_and_partition() {
        assert!(is_share_partition("g:AAAAAAAAAAAAAAAAAAAAAQ:0"));
        assert!(is_share_partition("a:b:AAAAAAAAAAAAAAAAAAAAAQ:17"));
        for bad in [
            "",
            "g",
            "g:0",
            "g:topic:0",
            ":AAAAAAAAAAAAAAAAAAAAAQ:0",
            "g:AAAAAAAAAAAAAAAAAAAAAQ:-1",
        ] {
            assert!(!is_share_partition(bad), "{bad}");
        }
    }
}
