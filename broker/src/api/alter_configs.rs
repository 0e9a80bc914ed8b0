//! AlterConfigs 0-2: replaces all that was set for a topic or a broker; what is not named falls back
//! to its default.
//!
//! Durable before the answer, effective at once. IncrementalAlterConfigs is what clients should use.

use std::collections::BTreeMap;

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::alter_configs_request::{AlterConfigsRequest, AlterConfigsResource};
use kafka_protocol::messages::alter_configs_response::{
    AlterConfigsResourceResponse, AlterConfigsResponse,
};

use crate::api::describe_configs::{BROKER, TOPIC};
use crate::api::{code, doubled, text};
use crate::broker::Broker;

/// Answers the request.
pub fn answer(broker: &Broker, request: &AlterConfigsRequest) -> AlterConfigsResponse {
    let names = request.resources.iter().map(|it| (it.resource_type, it.resource_name.as_str()));
    let doubled = doubled(names);
    let responses = request.resources.iter().map(|resource| {
        let response = AlterConfigsResourceResponse::default()
            .with_resource_type(resource.resource_type)
            .with_resource_name(resource.resource_name.clone());
        let name = (resource.resource_type, resource.resource_name.as_str());
        let altered = match doubled.contains(&name) {
            false => alter(broker, resource, request.validate_only),
            true => Err((ResponseError::InvalidRequest, "The resource is named twice.".into())),
        };
        match altered {
            Ok(()) => response,
            Err((error, why)) => {
                response.with_error_code(code(error)).with_error_message(Some(text(why)))
            }
        }
    });
    AlterConfigsResponse::default().with_responses(responses.collect())
}

fn alter(
    broker: &Broker,
    resource: &AlterConfigsResource,
    validate_only: bool,
) -> Result<(), (ResponseError, String)> {
    let name = resource.resource_name.as_str();
    change(broker, (resource.resource_type, name), validate_only, |_| {
        let mut overrides = BTreeMap::new();
        for config in &resource.configs {
            let Some(value) = &config.value else {
                return Err(format!("Null value not supported for {}", &*config.name));
            };
            overrides.insert(config.name.to_string(), value.to_string());
        }
        Ok(overrides)
    })
}

/// Replaces what was set for a topic or a broker by what `change` makes of it; only checks if `is_dry`.
pub(super) fn change(
    broker: &Broker,
    (resource_type, name): (i8, &str),
    is_dry: bool,
    change: impl FnOnce(&BTreeMap<String, String>) -> Result<BTreeMap<String, String>, String>,
) -> Result<(), (ResponseError, String)> {
    let changed = match resource_type {
        TOPIC => broker.catalog.reconfigure(name, is_dry, change),
        BROKER if name.is_empty() || name.parse() == Ok(broker.config.node_id) => {
            broker.catalog.reconfigure_defaults(name, is_dry, change)
        }
        BROKER => {
            let why = format!("This is broker {}, not {name}.", broker.config.node_id);
            return Err((ResponseError::InvalidRequest, why));
        }
        other => {
            let why = format!("Resources of type {other} have no settings here.");
            return Err((ResponseError::InvalidRequest, why));
        }
    };
    changed.map_err(|error| (error.code(), error.to_string()))
}
