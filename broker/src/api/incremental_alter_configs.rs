//! IncrementalAlterConfigs 0-1: SET, DELETE, APPEND, SUBTRACT on single settings of a topic, a broker
//! or a subscription to the metrics of clients, SET and DELETE on those of a group.
//!
//! Durable before the answer, effective at once; APPEND and SUBTRACT only on lists, and on top of
//! the default when nothing was set.

use std::collections::BTreeMap;

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::incremental_alter_configs_request::{
    AlterConfigsResource, AlterableConfig, IncrementalAlterConfigsRequest,
};
use kafka_protocol::messages::incremental_alter_configs_response::{
    AlterConfigsResourceResponse, IncrementalAlterConfigsResponse,
};

use crate::api::alter_configs::change;
use crate::api::describe_configs::{BROKER, CLIENT_METRICS, GROUP};
use crate::api::{code, doubled, text};
use crate::broker::Broker;
use crate::client_metrics;
use crate::config::setting::{Kind, list};
use crate::config::topic::{default_of, is_list, unknown};
use crate::config::{Config, SETTINGS};
use crate::named_settings::SettingsError;

type Failure = (ResponseError, String);

const SET: i8 = 0;
const DELETE: i8 = 1;
const APPEND: i8 = 2;
const SUBTRACT: i8 = 3;

/// Answers the request.
pub fn answer(
    broker: &Broker,
    request: &IncrementalAlterConfigsRequest,
) -> IncrementalAlterConfigsResponse {
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
    IncrementalAlterConfigsResponse::default().with_responses(responses.collect())
}

fn alter(
    broker: &Broker,
    resource: &AlterConfigsResource,
    validate_only: bool,
) -> Result<(), (ResponseError, String)> {
    let doubled = doubled(resource.configs.iter().map(|config| config.name.as_str()));
    if let Some(name) = doubled.iter().next() {
        return Err((ResponseError::InvalidRequest, format!("{name} is altered twice.")));
    }
    if let Some(config) =
        resource.configs.iter().find(|c| !(SET..=SUBTRACT).contains(&c.config_operation))
    {
        let why = format!("There is no operation {}.", config.config_operation);
        return Err((ResponseError::InvalidRequest, why));
    }
    match resource.resource_type {
        GROUP => return alter_group(broker, resource, validate_only),
        CLIENT_METRICS => return alter_subscription(broker, resource, validate_only),
        _ => {}
    }
    let is_broker = resource.resource_type == BROKER;
    let known = if is_broker { of_broker } else { of_topic };
    let named = (resource.resource_type, resource.resource_name.as_str());
    let holding = broker.catalog.defaults();
    change(broker, named, validate_only, |current| {
        let mut overrides = current.clone();
        for config in &resource.configs {
            apply(&mut overrides, config, known(config.name.as_str(), &holding))?;
        }
        Ok(overrides)
    })
}

fn alter_group(
    broker: &Broker,
    resource: &AlterConfigsResource,
    validate_only: bool,
) -> Result<(), (ResponseError, String)> {
    let name = resource.resource_name.as_str();
    if name.is_empty() {
        return Err((ResponseError::InvalidRequest, "A group has a name.".into()));
    }
    let changed = broker.shares.configs.change(name, validate_only, |set| {
        for config in &resource.configs {
            match (config.config_operation, &config.value) {
                (DELETE, _) => drop(set.remove(config.name.as_str())),
                (SET, Some(value)) => drop(set.insert(config.name.to_string(), value.to_string())),
                (SET, None) => {
                    return Err(format!("Null value not supported for {}", config.name.as_str()));
                }
                _ => return Err(format!("{} is not a list", config.name.as_str())),
            }
        }
        Ok(())
    });
    told(name, changed, |why| (ResponseError::InvalidConfig, why))
}

fn alter_subscription(
    broker: &Broker,
    resource: &AlterConfigsResource,
    validate_only: bool,
) -> Result<(), Failure> {
    let name = resource.resource_name.as_str();
    if name.is_empty() {
        let why = "A client metrics subscription has a name.";
        return Err((ResponseError::InvalidRequest, why.into()));
    }
    let changed = broker.client_metrics.change(name, validate_only, |set| {
        for config in &resource.configs {
            let known = of_subscription(&config.name);
            apply(set, config, known).map_err(|why| (ResponseError::InvalidRequest, why))?;
        }
        client_metrics::check(set).map_err(|refusal| match refusal {
            client_metrics::Refusal::Request(why) => (ResponseError::InvalidRequest, why),
            client_metrics::Refusal::Config(why) => (ResponseError::InvalidConfig, why),
        })
    });
    told(name, changed, |failure| failure)
}

fn told<E>(
    name: &str,
    changed: Result<(), SettingsError<E>>,
    refused: impl FnOnce(E) -> Failure,
) -> Result<(), Failure> {
    changed.map_err(|error| match error {
        SettingsError::Refused(why) => refused(why),
        SettingsError::TooMany => (ResponseError::InvalidConfig, error.to_string()),
        SettingsError::Storage(error) => {
            tracing::error!(name, %error, "settings cannot be written");
            (ResponseError::KafkaStorageError, String::new())
        }
    })
}

/// What is known of a setting by its name.
struct Known {
    is_list: bool,
    /// What holds when it is not overridden.
    default: Option<String>,
}

fn of_topic(name: &str, holding: &Config) -> Result<Known, String> {
    let is_list = is_list(name).ok_or_else(|| unknown(name))?;
    Ok(Known { is_list, default: default_of(name, holding) })
}

fn of_broker(name: &str, holding: &Config) -> Result<Known, String> {
    let setting = SETTINGS.iter().find(|setting| setting.name == name);
    let setting = setting.ok_or_else(|| format!("Unknown broker config name: {name}"))?;
    Ok(Known { is_list: setting.kind == Kind::List, default: setting.value(holding) })
}

fn of_subscription(name: &str) -> Result<Known, String> {
    let setting = client_metrics::setting(name)?;
    Ok(Known { is_list: setting.kind == Kind::List, default: Some(setting.default.to_owned()) })
}

fn apply(
    overrides: &mut BTreeMap<String, String>,
    config: &AlterableConfig,
    known: Result<Known, String>,
) -> Result<(), String> {
    let name = config.name.as_str();
    let Known { is_list, default } = known?;
    if config.config_operation == DELETE {
        overrides.remove(name);
        return Ok(());
    }
    let Some(value) = &config.value else {
        return Err(format!("Null value not supported for {name}"));
    };
    if config.config_operation == SET {
        overrides.insert(name.to_owned(), value.to_string());
        return Ok(());
    }
    if !is_list {
        return Err(format!("{name} is not a list: it can be set or deleted, not appended to"));
    }
    let current = overrides.get(name).cloned().or(default);
    let current = current.unwrap_or_default();
    let mut words: Vec<&str> = list(&current).collect();
    if config.config_operation == APPEND {
        for word in list(value) {
            if !words.contains(&word) {
                words.push(word);
            }
        }
    } else {
        words.retain(|word| !list(value).any(|taken| taken == *word));
    }
    overrides.insert(name.to_owned(), words.join(","));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use kafka_protocol::protocol::StrBytes;

    fn applied(operation: i8, name: &'static str, value: &'static str) -> Result<String, String> {
        let mut overrides = BTreeMap::from([
            ("leader.replication.throttled.replicas".to_owned(), "a,b".to_owned()),
            ("retention.ms".to_owned(), "5".to_owned()),
        ]);
        let config = AlterableConfig::default()
            .with_name(StrBytes::from_static_str(name))
            .with_config_operation(operation)
            .with_value(Some(StrBytes::from_static_str(value)));
        apply(&mut overrides, &config, of_topic(name, &Config::default()))?;
        Ok(overrides.get(name).cloned().unwrap_or_default())
    }

    #[test]
    fn lists_are_appended_to_and_subtracted_from_and_others_are_not() {
        let list = "leader.replication.throttled.replicas";
        assert_eq!(applied(APPEND, list, "b,c"), Ok("a,b,c".into()));
        assert_eq!(applied(SUBTRACT, list, "a"), Ok("b".into()));
        assert_eq!(applied(APPEND, "cleanup.policy", "delete"), Ok("delete".into()));
        assert_eq!(applied(SET, "retention.ms", "6"), Ok("6".into()));
        assert_eq!(applied(DELETE, "retention.ms", ""), Ok(String::new()));
        assert!(applied(APPEND, "retention.ms", "6").is_err());
        assert!(applied(SET, "no.such", "6").is_err());
    }
}
