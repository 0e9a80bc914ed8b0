//! Subscriptions to the metrics of clients are set, shown and kept; and what has settings is listed.

use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::incremental_alter_configs_request::{
    AlterConfigsResource, AlterableConfig,
};
use kafka_protocol::messages::{
    DescribeConfigsRequest, IncrementalAlterConfigsRequest, ListConfigResourcesRequest,
};
use weir_broker::start::RunningBroker;

use crate::client::{Client, broker, config, text};
use crate::every_version::all;

const CLIENT_METRICS: i8 = 16;
const GROUP: i8 = 32;

/// Every API in every version, once at least.
pub(crate) async fn ask(client: &mut Client) {
    for resource_types in [vec![], vec![2, 4, 8, 16, 32], vec![99]] {
        all(client, |version| {
            let resource_types = if version >= 1 { resource_types.clone() } else { vec![] };
            ListConfigResourcesRequest::default().with_resource_types(resource_types)
        })
        .await;
    }
}

async fn alter(
    client: &mut Client,
    resource_type: i8,
    name: &str,
    configs: &[(i8, &str, Option<&str>)],
) -> i16 {
    let configs = configs.iter().map(|(operation, name, value)| {
        AlterableConfig::default()
            .with_name(text(name))
            .with_config_operation(*operation)
            .with_value(value.map(text))
    });
    let resource = AlterConfigsResource::default()
        .with_resource_type(resource_type)
        .with_resource_name(text(name))
        .with_configs(configs.collect());
    let request = IncrementalAlterConfigsRequest::default().with_resources(vec![resource]);
    client.call(1, &request).await.responses[0].error_code
}

/// Name, value and source of each setting.
async fn described(client: &mut Client, name: &str) -> Vec<(String, String, i8)> {
    let resource = DescribeConfigsResource::default()
        .with_resource_type(CLIENT_METRICS)
        .with_resource_name(text(name))
        .with_configuration_keys(None);
    let request = DescribeConfigsRequest::default().with_resources(vec![resource]);
    let result = client.call(4, &request).await.results.remove(0);
    assert_eq!(result.error_code, 0, "{:?}", result.error_message);
    let configs = result.configs.into_iter().map(|config| {
        (
            config.name.to_string(),
            config.value.unwrap_or_default().to_string(),
            config.config_source,
        )
    });
    configs.collect()
}

async fn listed(client: &mut Client, version: i16, types: &[i8]) -> Vec<(i8, String)> {
    let request = ListConfigResourcesRequest::default().with_resource_types(types.to_vec());
    let response = client.call(version, &request).await;
    assert_eq!(response.error_code, 0);
    let resources = response.config_resources.into_iter();
    resources.map(|one| (one.resource_type, one.resource_name.to_string())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscription_is_set_shown_kept_and_taken_away() {
    let (folder, running) = broker().await;
    let mut client = Client::of(&running).await;
    let set = [(0, "metrics", Some("a.")), (0, "interval.ms", Some("1000"))];
    assert_eq!(alter(&mut client, CLIENT_METRICS, "s", &set).await, 0);
    assert_eq!(alter(&mut client, CLIENT_METRICS, "s", &[(2, "metrics", Some("b."))]).await, 0);
    for (name, configs, error) in [
        ("s", [(0, "interval.ms", Some("99"))], 42),
        ("s", [(0, "match", Some("nothing"))], 40),
        ("s", [(0, "no.such", Some("1"))], 42),
        ("s", [(2, "interval.ms", Some("1000"))], 42),
        ("", [(0, "interval.ms", Some("1000"))], 42),
    ] {
        assert_eq!(alter(&mut client, CLIENT_METRICS, name, &configs).await, error, "{configs:?}");
    }
    let told = |name: &str, value: &str, source| (name.to_owned(), value.to_owned(), source);
    let expected =
        [told("interval.ms", "1000", 7), told("match", "", 5), told("metrics", "a.,b.", 7)];
    assert_eq!(described(&mut client, "s").await, expected);
    running.stop().await.expect("a clean stop");

    let running = RunningBroker::start(config(folder.path())).await.expect("it starts");
    let mut client = Client::of(&running).await;
    assert_eq!(described(&mut client, "s").await, expected);
    assert_eq!(listed(&mut client, 0, &[]).await, [(CLIENT_METRICS, "s".to_owned())]);
    let gone = [(1, "metrics", None), (1, "interval.ms", None)];
    assert_eq!(alter(&mut client, CLIENT_METRICS, "s", &gone).await, 0);
    assert!(listed(&mut client, 0, &[]).await.is_empty());
    running.stop().await.expect("a clean stop");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_settings_is_listed_by_type() {
    let (_folder, broker) = broker().await;
    let mut client = Client::of(&broker).await;
    client.create("t", 1, &[]).await;
    let set = [(0, "metrics", Some("*"))];
    assert_eq!(alter(&mut client, CLIENT_METRICS, "s", &set).await, 0);
    let set = [(0, "share.auto.offset.reset", Some("earliest"))];
    assert_eq!(alter(&mut client, GROUP, "g", &set).await, 0);
    let own = |kind, name: &str| (kind, name.to_owned());
    let all = [own(2, "t"), own(4, "1"), own(CLIENT_METRICS, "s"), own(GROUP, "g")];
    assert_eq!(listed(&mut client, 1, &[]).await, all);
    assert_eq!(listed(&mut client, 1, &[GROUP, 2, GROUP]).await, [all[0].clone(), all[3].clone()]);
    let unknown = ListConfigResourcesRequest::default().with_resource_types(vec![99]);
    assert_eq!(client.call(1, &unknown).await.error_code, 35);
    broker.stop().await.expect("a clean stop");
}
