//! DescribeConfigs 1-4: every setting of a topic or of this broker, with its source; synonyms when
//! asked, types and docs from version 3 on.
//!
//! Topics (type 2), this broker (type 4, by its number), subscriptions to the metrics of clients (16)
//! and groups (32) are described; the empty broker name is the cluster-wide default, of which nothing
//! is set. Other types are refused. A broker's settings
//! come from its file and cannot be changed while it runs, so they are read-only.

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
use crate::config::SETTINGS;
use crate::config::setting::Kind;
use crate::config::topic::Source;
use crate::share::settings::GROUP_SETTINGS;

/// A topic, as a resource type.
pub const TOPIC: i8 = 2;
/// A broker, as a resource type.
pub const BROKER: i8 = 4;
/// A subscription to the metrics of clients, as a resource type.
pub const CLIENT_METRICS: i8 = 16;
/// A group, as a resource type.
pub const GROUP: i8 = 32;
/// Where a group's own setting comes from, in Kafka's numbers.
const GROUP_SOURCE: i8 = 8;
/// The same for a subscription's own.
const CLIENT_METRICS_SOURCE: i8 = 7;

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
        BROKER if name.is_empty() => Ok(Vec::new()),
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

fn describe_topic(
    broker: &Broker,
    config: &crate::config::topic::TopicConfig,
) -> Vec<DescribeConfigsResourceResult> {
    let settings = config.describe(&broker.config).into_iter();
    settings
        .map(|setting| {
            let synonyms = setting.synonyms.into_iter().map(|(name, value, source)| {
                DescribeConfigsSynonym::default()
                    .with_name(text(name))
                    .with_value(Some(text(value)))
                    .with_source(source as i8)
            });
            DescribeConfigsResourceResult::default()
                .with_name(text(setting.name))
                .with_value(Some(text(setting.value)))
                .with_config_source(setting.source as i8)
                .with_config_type(setting.kind as i8)
                .with_documentation(Some(text(setting.doc)))
                .with_synonyms(synonyms.collect())
        })
        .collect()
}

/// What can be set for share groups; other groups have no settings of their own.
fn describe_group(broker: &Broker, group: &str) -> Vec<DescribeConfigsResourceResult> {
    let set = broker.shares.configs.overrides(group);
    let settings = GROUP_SETTINGS.iter().map(|setting| {
        let own = set.get(setting.name).map(|own| (own.clone(), GROUP_SOURCE));
        let default = || (setting.default)(&broker.config);
        described(setting.name, own, default, setting.kind, setting.doc)
    });
    settings.collect()
}

/// A subscription that nobody has set is all defaults, as in Kafka.
fn describe_subscription(broker: &Broker, name: &str) -> Vec<DescribeConfigsResourceResult> {
    let set = broker.client_metrics.of(name);
    let settings = SUBSCRIPTION_SETTINGS.iter().map(|setting| {
        let own = set.get(setting.name).map(|own| (own.clone(), CLIENT_METRICS_SOURCE));
        described(setting.name, own, || setting.default.to_owned(), setting.kind, setting.doc)
    });
    settings.collect()
}

/// A setting with its own value and where that comes from, or with its default.
fn described(
    name: &str,
    own: Option<(String, i8)>,
    default: impl FnOnce() -> String,
    kind: Kind,
    doc: &str,
) -> DescribeConfigsResourceResult {
    let (value, source) = own.unwrap_or_else(|| (default(), Source::Default as i8));
    let synonym = DescribeConfigsSynonym::default()
        .with_name(text(name))
        .with_value(Some(text(value.clone())))
        .with_source(source);
    DescribeConfigsResourceResult::default()
        .with_name(text(name))
        .with_value(Some(text(value)))
        .with_config_source(source)
        .with_config_type(kind as i8)
        .with_documentation(Some(text(doc)))
        .with_synonyms(vec![synonym])
}

fn describe_broker(broker: &Broker) -> Vec<DescribeConfigsResourceResult> {
    let settings = SETTINGS.iter().map(|setting| {
        let value = setting.value(&broker.config).map(text);
        let given = broker.config.is_given(setting.name);
        let source = if given { Source::Broker } else { Source::Default } as i8;
        let synonym = DescribeConfigsSynonym::default()
            .with_name(text(setting.name))
            .with_value(value.clone())
            .with_source(source);
        DescribeConfigsResourceResult::default()
            .with_name(text(setting.name))
            .with_value(value)
            .with_read_only(true)
            .with_config_source(source)
            .with_config_type(setting.kind as i8)
            .with_documentation(Some(text(setting.doc())))
            .with_synonyms(vec![synonym])
    });
    settings.collect()
}
