//! ListConfigResources 0-1: what has settings. Version 0 lists subscriptions to the metrics of
//! clients; from 1 on types are asked for, and none means all.

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::list_config_resources_response::ConfigResource;
use kafka_protocol::messages::{ListConfigResourcesRequest, ListConfigResourcesResponse};

use crate::api::describe_configs::{BROKER, CLIENT_METRICS, GROUP, TOPIC};
use crate::api::{code, text};
use crate::broker::Broker;

/// Loggers of a broker; Kafka's type. There are none here that can be set.
const BROKER_LOGGER: i8 = 8;

/// Answers the request.
pub fn answer(
    broker: &Broker,
    request: &ListConfigResourcesRequest,
    version: i16,
) -> ListConfigResourcesResponse {
    let all = [TOPIC, BROKER, BROKER_LOGGER, CLIENT_METRICS, GROUP];
    let asked = match version {
        0 => vec![CLIENT_METRICS],
        _ if request.resource_types.is_empty() => all.to_vec(),
        _ => request.resource_types.clone(),
    };
    if asked.iter().any(|kind| !all.contains(kind)) {
        return ListConfigResourcesResponse::default()
            .with_error_code(code(ResponseError::UnsupportedVersion));
    }
    // In the order of the types, each once, however often it is asked for.
    let listed = all.into_iter().filter(|kind| asked.contains(kind)).flat_map(|kind| {
        names(broker, kind).into_iter().map(move |name| {
            // Version 0 has no room for the type, and the default is what it lists.
            ConfigResource::default().with_resource_name(text(name)).with_resource_type(kind)
        })
    });
    ListConfigResourcesResponse::default().with_config_resources(listed.collect())
}

fn names(broker: &Broker, resource_type: i8) -> Vec<String> {
    match resource_type {
        TOPIC => broker.catalog.topics().iter().map(|topic| topic.name.to_string()).collect(),
        BROKER => vec![broker.config.node_id.to_string()],
        CLIENT_METRICS => broker.client_metrics.all().keys().cloned().collect(),
        GROUP => broker.shares.configs.groups(),
        _ => Vec::new(),
    }
}
