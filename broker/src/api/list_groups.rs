//! ListGroups 0-5: all groups, those that only have offsets included; by state and type if asked.

use std::collections::BTreeMap;

use kafka_protocol::messages::GroupId;
use kafka_protocol::messages::list_groups_request::ListGroupsRequest;
use kafka_protocol::messages::list_groups_response::{ListGroupsResponse, ListedGroup};
use kafka_protocol::protocol::StrBytes;

use crate::api::text;
use crate::broker::Broker;
use crate::group::classic::State;

const CLASSIC: &str = "classic";

/// Answers the request.
pub fn answer(broker: &Broker, request: &ListGroupsRequest, version: i16) -> ListGroupsResponse {
    let mut groups: BTreeMap<String, (&'static str, String)> = BTreeMap::new();
    for group in broker.offsets.groups() {
        groups.insert(group, (State::Empty.name(), String::new()));
    }
    for (group, state, protocol_type, _) in broker.groups.list() {
        groups.insert(group, (state.name(), protocol_type));
    }
    let is_among = |filter: &[StrBytes], word: &str| {
        filter.is_empty() || filter.iter().any(|one| one.eq_ignore_ascii_case(word))
    };
    let listed = groups
        .into_iter()
        .filter(|(_, (state, _))| {
            is_among(&request.states_filter, state) && is_among(&request.types_filter, CLASSIC)
        })
        .map(|(group, (state, protocol_type))| {
            let mut listed = ListedGroup::default()
                .with_group_id(GroupId(text(group)))
                .with_protocol_type(text(protocol_type));
            if version >= 4 {
                listed.group_state = text(state);
            }
            if version >= 5 {
                listed.group_type = text(CLASSIC);
            }
            listed
        });
    ListGroupsResponse::default().with_groups(listed.collect())
}
