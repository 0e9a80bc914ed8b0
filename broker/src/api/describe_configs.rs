//! DescribeConfigs 1-4: every setting of a topic or of this broker, with its source; synonyms when
//! asked, types and docs from version 3 on.
//!
//! Topics (type 2), brokers (4), subscriptions to the metrics of clients (16) and groups (32) are
//! described. This broker by its number; the
//! empty name stands for all brokers, and shows what clients have set for them. Of a broker's
//! settings the defaults of topics can be changed while it runs; the others are read-only.

use std::collections::HashSet;

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::describe_configs_request::{
    DescribeConfigsRequest, DescribeConfigsResource,
};
use kafka_protocol::messages::describe_configs_response::{
    DescribeConfigsResourceResult, DescribeConfigsResponse, DescribeConfigsResult,
    DescribeConfigsSynonym,
};

use crate::api::{code, text};
use crate::broker::Broker;
use crate::client_metrics::SUBSCRIPTION_SETTINGS;
use crate::config::setting::{Kind, Source};
use crate::config::topic::{TopicConfig, is_dynamic};
use crate::config::{BrokerSetting, Config, SETTINGS};
use crate::share::settings::GROUP_SETTINGS;

/// A topic, as a resource type.
pub const TOPIC: i8 = 2;
/// A broker, as a resource type.
pub const BROKER: i8 = 4;
/// A subscription to the metrics of clients, as a resource type.
pub const CLIENT_METRICS: i8 = 16;
/// A group, as a resource type.
pub const GROUP: i8 = 32;

/// Answers the request.
pub fn answer(
    broker: &Broker,
    request: &DescribeConfigsRequest,
    version: i16,
) -> DescribeConfigsResponse {
    // Named twice, answered once: an answer is as large as what there is.
    let mut seen = HashSet::new();
    let asked = request
        .resources
        .iter()
        .filter(|resource| seen.insert((resource.resource_type, &resource.resource_name)));
    let results = asked.map(|resource| {
        let result = DescribeConfigsResult::default()
            .with_resource_type(resource.resource_type)
            .with_resource_name(resource.resource_name.clone());
        match describe(broker, resource) {
            Ok(configs) => {
                let configs = configs.into_iter().filter(|config| is_wanted(resource, config));
                result.with_configs(configs.map(|c| trim(c, request, version)).collect())
            }
            Err((error, why)) => {
                result.with_error_code(code(error)).with_error_message(Some(text(why)))
            }
        }
    });
    DescribeConfigsResponse::default().with_results(results.collect())
}

fn is_wanted(resource: &DescribeConfigsResource, config: &DescribeConfigsResourceResult) -> bool {
    resource.configuration_keys.as_ref().is_none_or(|keys| keys.contains(&config.name))
}

/// Takes away what was not asked for, or what the version cannot carry.
fn trim(
    mut config: DescribeConfigsResourceResult,
    request: &DescribeConfigsRequest,
    version: i16,
) -> DescribeConfigsResourceResult {
    if !request.include_synonyms {
        config.synonyms.clear();
    }
    if version < 3 {
        config.config_type = 0;
    }
    if version < 3 || !request.include_documentation {
        config.documentation = None;
    }
    config
}

fn describe(
    broker: &Broker,
    resource: &DescribeConfigsResource,
) -> Result<Vec<DescribeConfigsResourceResult>, (ResponseError, String)> {
    let name = resource.resource_name.as_str();
    match resource.resource_type {
        TOPIC => {
            let topic = broker.catalog.topic(name);
            let topic = topic.ok_or_else(|| {
                (ResponseError::UnknownTopicOrPartition, format!("There is no topic {name}."))
            })?;
            Ok(describe_topic(broker, &topic.config))
        }
        BROKER if name.is_empty() => Ok(describe_all_brokers(broker)),
        BROKER if name.parse() == Ok(broker.config.node_id) => Ok(describe_broker(broker)),
        BROKER => Err((
            ResponseError::InvalidRequest,
            format!("This is broker {}, not {name}.", broker.config.node_id),
        )),
        CLIENT_METRICS if name.is_empty() => {
            Err((ResponseError::InvalidRequest, "A client metrics subscription has a name.".into()))
        }
        CLIENT_METRICS => Ok(describe_subscription(broker, name)),
        GROUP => Ok(describe_group(broker, name)),
        other => {
            let why = format!("Resources of type {other} have no settings here.");
            Err((ResponseError::InvalidRequest, why))
        }
    }
}

fn describe_topic(broker: &Broker, config: &TopicConfig) -> Vec<DescribeConfigsResourceResult> {
    let settings = config.describe(&broker.catalog.defaults()).into_iter();
    settings
        .map(|setting| {
            let value = Some(setting.value);
            shown((setting.name, setting.kind, setting.doc), value, setting.synonyms)
        })
        .collect()
}

/// What can be set for share groups; other groups have no settings of their own.
fn describe_group(broker: &Broker, group: &str) -> Vec<DescribeConfigsResourceResult> {
    let set = broker.shares.configs.overrides(group);
    let settings = GROUP_SETTINGS.iter().map(|setting| {
        let own = set.get(setting.name).map(|own| (own.clone(), Source::Group));
        let default = || (setting.default)(&broker.config);
        own_or_default((setting.name, setting.kind, setting.doc), own, default)
    });
    settings.collect()
}

/// A subscription that nobody has set is all defaults, as in Kafka.
fn describe_subscription(broker: &Broker, name: &str) -> Vec<DescribeConfigsResourceResult> {
    let set = broker.client_metrics.of(name);
    let settings = SUBSCRIPTION_SETTINGS.iter().map(|setting| {
        let own = set.get(setting.name).map(|own| (own.clone(), Source::ClientMetrics));
        let default = || setting.default.to_owned();
        own_or_default((setting.name, setting.kind, setting.doc), own, default)
    });
    settings.collect()
}

/// A setting with its own value and where that comes from, or with its default.
fn own_or_default(
    setting: (&'static str, Kind, &str),
    own: Option<(String, Source)>,
    default: impl FnOnce() -> String,
) -> DescribeConfigsResourceResult {
    let (value, source) = own.unwrap_or_else(|| (default(), Source::Default));
    shown(setting, Some(value.clone()), vec![(setting.0, value, source)])
}

fn describe_broker(broker: &Broker) -> Vec<DescribeConfigsResourceResult> {
    let holding = broker.catalog.defaults();
    SETTINGS.iter().map(|setting| describe_setting(setting, &holding)).collect()
}

/// What clients have set for all brokers.
fn describe_all_brokers(broker: &Broker) -> Vec<DescribeConfigsResourceResult> {
    let holding = broker.catalog.defaults();
    let set = broker.catalog.default_overrides("");
    let settings = SETTINGS.iter().filter_map(|setting| {
        let value = text(set.get(setting.name)?.as_str());
        let mut described = describe_setting(setting, &holding);
        described.synonyms.retain(|synonym| synonym.source == Source::DynamicDefault as i8);
        Some(described.with_value(Some(value)).with_config_source(Source::DynamicDefault as i8))
    });
    settings.collect()
}

fn describe_setting(setting: &BrokerSetting, holding: &Config) -> DescribeConfigsResourceResult {
    let about = (setting.name, setting.kind, setting.doc());
    shown(about, setting.value(holding), setting.places(holding))
        .with_read_only(!is_dynamic(setting.name))
}

/// A setting (its name, type and doc), the value that holds, and all places that give it one, the
/// strongest first.
fn shown(
    (name, kind, doc): (&str, Kind, &str),
    value: Option<String>,
    places: Vec<(&'static str, String, Source)>,
) -> DescribeConfigsResourceResult {
    let source = places.first().map_or(Source::Default, |(_, _, source)| *source);
    let synonyms = places.into_iter().map(|(name, value, source)| {
        DescribeConfigsSynonym::default()
            .with_name(text(name))
            .with_value(Some(text(value)))
            .with_source(source as i8)
    });
    DescribeConfigsResourceResult::default()
        .with_name(text(name))
        .with_value(value.map(text))
        .with_config_source(source as i8)
        .with_config_type(kind as i8)
        .with_documentation(Some(text(doc)))
        .with_synonyms(synonyms.collect())
}
