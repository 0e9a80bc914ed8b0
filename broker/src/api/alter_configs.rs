//! AlterConfigs 0-2: replaces all settings of a topic; what is not named falls back to its default.
//!
//! Durable before the answer, effective at once. A broker's settings come from its file and are
//! refused. IncrementalAlterConfigs is what clients should use.

use std::collections::BTreeMap;

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::alter_configs_request::{AlterConfigsRequest, AlterConfigsResource};
use kafka_protocol::messages::alter_configs_response::{
    AlterConfigsResourceResponse, AlterConfigsResponse,
};

use crate::api::describe_configs::TOPIC;
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
    check_type(resource.resource_type)?;
    let changed = broker.catalog.reconfigure(&resource.resource_name, validate_only, |_| {
        let mut overrides = BTreeMap::new();
        for config in &resource.configs {
            let Some(value) = &config.value else {
                return Err(format!("Null value not supported for {}", &*config.name));
            };
            overrides.insert(config.name.to_string(), value.to_string());
        }
        Ok(overrides)
    });
    changed.map_err(|error| (error.code(), error.to_string()))
}

/// Only topics have settings that change while the broker runs.
pub fn check_type(resource_type: i8) -> Result<(), (ResponseError, String)> {
    match resource_type {
        TOPIC => Ok(()),
        super::describe_configs::BROKER => Err((
            ResponseError::InvalidRequest,
            "A broker's settings come from its file: change them there and restart it.".into(),
        )),
        other => Err((
            ResponseError::InvalidRequest,
            format!("Resources of type {other} have no settings here."),
        )),
    }
}
