//! Settings are shown truthfully, and hold from the moment at which they are changed.

use kafka_protocol::error::ResponseError::{InvalidConfig, InvalidRequest, MessageTooLarge};
use kafka_protocol::messages::alter_configs_request;
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::describe_configs_response::DescribeConfigsResourceResult;
use kafka_protocol::messages::incremental_alter_configs_request::{
    AlterConfigsResource, AlterableConfig,
};
use kafka_protocol::messages::{
    AlterConfigsRequest, DescribeConfigsRequest, IncrementalAlterConfigsRequest,
};

use weir_broker::start::RunningBroker;

use crate::client::{Client, batch, broker, code, config, text};

const TOPIC: i8 = 2;
const BROKER: i8 = 4;

async fn describe(
    client: &mut Client,
    resource_type: i8,
    name: &str,
) -> Vec<DescribeConfigsResourceResult> {
    let resource = DescribeConfigsResource::default()
        .with_resource_type(resource_type)
        .with_resource_name(text(name))
        .with_configuration_keys(None);
    let request = DescribeConfigsRequest::default()
        .with_resources(vec![resource])
        .with_include_synonyms(true)
        .with_include_documentation(true);
    let result = client.call(4, &request).await.results.remove(0);
    assert_eq!(result.error_code, 0, "{:?}", result.error_message);
    result.configs
}

fn find<'a>(
    configs: &'a [DescribeConfigsResourceResult],
    name: &str,
) -> &'a DescribeConfigsResourceResult {
    configs.iter().find(|config| config.name.as_str() == name).expect(name)
}

async fn alter(client: &mut Client, operation: i8, name: &str, value: Option<&str>) -> i16 {
    alter_of(client, (TOPIC, "t"), operation, name, value).await
}

async fn alter_of(
    client: &mut Client,
    (resource_type, resource): (i8, &str),
    operation: i8,
    name: &str,
    value: Option<&str>,
) -> i16 {
    let config = AlterableConfig::default()
        .with_name(text(name))
        .with_config_operation(operation)
        .with_value(value.map(text));
    let resource = AlterConfigsResource::default()
        .with_resource_type(resource_type)
        .with_resource_name(text(resource))
        .with_configs(vec![config]);
    let request = IncrementalAlterConfigsRequest::default().with_resources(vec![resource]);
    client.call(1, &request).await.responses[0].error_code
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_shows_every_setting_with_its_source_type_and_doc() {
    let (_folder, broker) = broker().await;
    let mut client = Client::of(&broker).await;
    let table = [("table.enabled", "true"), ("table.schema", "id BIGINT NOT NULL")];
    client.create("t", 1, &[&table[..], &[("retention.ms", "5000")]].concat()).await;
    let configs = describe(&mut client, TOPIC, "t").await;
    let policy = find(&configs, "cleanup.policy");
    assert_eq!((policy.value.as_deref(), policy.config_source), (Some("delete"), 5));
    let retention = find(&configs, "retention.ms");
    assert_eq!((retention.value.as_deref(), retention.config_source), (Some("5000"), 1));
    assert_eq!(retention.config_type, 5);
    // The test's broker was told so.
    assert_eq!(find(&configs, "segment.bytes").config_source, 4);
    assert_eq!(find(&configs, "table.enabled").value.as_deref(), Some("true"));
    assert_eq!(find(&configs, "table.iceberg.enabled").value.as_deref(), Some("false"));
    for config in &configs {
        assert!(config.documentation.as_ref().is_some_and(|doc| !doc.is_empty()));
        assert!(config.config_type > 0 && !config.is_sensitive);
    }
    let own = describe(&mut client, BROKER, "1").await;
    assert_eq!(find(&own, "log.durability").value.as_deref(), Some("fsync"));
    assert!(find(&own, "log.durability").read_only);
    assert!(!find(&own, "log.retention.ms").read_only, "a default of topics can be changed");
    broker.stop().await.expect("a clean stop");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_setting_holds_at_once() {
    let (_folder, broker) = broker().await;
    let mut client = Client::of(&broker).await;
    client.create("t", 1, &[]).await;
    let large = batch(&[&"x".repeat(300)]);
    assert_eq!(client.produce("t", large.clone()).await.error_code, 0);
    assert_eq!(alter(&mut client, 0, "max.message.bytes", Some("200")).await, 0);
    assert_eq!(client.produce("t", large.clone()).await.error_code, code(MessageTooLarge));
    assert_eq!(alter(&mut client, 1, "max.message.bytes", None).await, 0);
    assert_eq!(client.produce("t", large).await.error_code, 0);
    assert_eq!(alter(&mut client, 0, "message.timestamp.type", Some("LogAppendTime")).await, 0);
    let stamped = client.produce("t", batch(&["a"])).await;
    assert!(stamped.log_append_time_ms > 1_600_000_000_000);
    assert_eq!(client.fetch("t", stamped.base_offset).await.error_code, 0);
    broker.stop().await.expect("a clean stop");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_set_is_refused() {
    let (_folder, broker) = broker().await;
    let mut client = Client::of(&broker).await;
    client.create("t", 1, &[("retention.ms", "5000")]).await;
    for (operation, name, value) in [
        (0, "no.such", Some("1")),
        (1, "no.such", None),
        (0, "retention.ms", Some("soon")),
        (0, "retention.ms", None),
        (2, "retention.ms", Some("1")),
        (2, "cleanup.policy", Some("shred")),
        (3, "cleanup.policy", Some("delete")),
        (0, "table.no.such", Some("1")),
        (0, "table.iceberg.enabled", Some("true")),
    ] {
        assert_eq!(alter(&mut client, operation, name, value).await, code(InvalidConfig), "{name}");
    }
    assert_eq!(alter(&mut client, 9, "retention.ms", Some("1")).await, code(InvalidRequest));
    let configs = describe(&mut client, TOPIC, "t").await;
    assert_eq!(find(&configs, "retention.ms").value.as_deref(), Some("5000"));
    broker.stop().await.expect("a clean stop");
}

#[tokio::test(flavor = "multi_thread")]
async fn alter_configs_replaces_the_whole_set() {
    let (_folder, broker) = broker().await;
    let mut client = Client::of(&broker).await;
    client.create("t", 1, &[("retention.ms", "5000")]).await;
    let config = alter_configs_request::AlterableConfig::default()
        .with_name(text("retention.bytes"))
        .with_value(Some(text("77")));
    let resource = alter_configs_request::AlterConfigsResource::default()
        .with_resource_type(TOPIC)
        .with_resource_name(text("t"))
        .with_configs(vec![config]);
    let request = AlterConfigsRequest::default().with_resources(vec![resource.clone()]);
    assert_eq!(client.call(2, &request).await.responses[0].error_code, 0);
    let configs = describe(&mut client, TOPIC, "t").await;
    assert_eq!(find(&configs, "retention.bytes").value.as_deref(), Some("77"));
    assert_eq!(find(&configs, "retention.ms").config_source, 5);
    let own = resource.with_resource_type(BROKER).with_resource_name(text("1"));
    let request = AlterConfigsRequest::default().with_resources(vec![own]);
    let refused = client.call(2, &request).await.responses.remove(0);
    assert_eq!(refused.error_code, code(InvalidRequest));
    broker.stop().await.expect("a clean stop");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_default_of_topics_is_changed_while_the_broker_runs_and_stays_so() {
    const ALL: (i8, &str) = (BROKER, "");
    const OWN: (i8, &str) = (BROKER, "1");
    let folder = tempfile::tempdir().expect("a folder");
    let broker = RunningBroker::start(config(folder.path())).await.expect("it starts");
    let mut client = Client::of(&broker).await;
    client.create("t", 1, &[]).await;
    client.create("own", 1, &[("max.message.bytes", "1000")]).await;
    let large = batch(&[&"x".repeat(300)]);
    let name = "message.max.bytes";

    // For all brokers, then for this one, which is stronger; a topic's own is the strongest.
    assert_eq!(alter_of(&mut client, ALL, 0, name, Some("200")).await, 0);
    assert_eq!(client.produce("t", large.clone()).await.error_code, code(MessageTooLarge));
    assert_eq!(client.produce("own", large.clone()).await.error_code, 0);
    assert_eq!(alter_of(&mut client, OWN, 0, name, Some("400")).await, 0);
    assert_eq!(client.produce("t", large.clone()).await.error_code, 0);
    client.create("later", 1, &[]).await;
    let shown = describe(&mut client, TOPIC, "later").await;
    let shown = find(&shown, "max.message.bytes");
    assert_eq!((shown.value.as_deref(), shown.config_source), (Some("400"), 2));
    let sources: Vec<i8> = shown.synonyms.iter().map(|synonym| synonym.source).collect();
    assert_eq!(sources, [2, 3, 5]);

    // What is no default of topics stays as the file has it.
    assert_eq!(alter_of(&mut client, OWN, 0, "node.id", Some("2")).await, code(InvalidRequest));
    assert_eq!(alter_of(&mut client, OWN, 0, "no.such", Some("2")).await, code(InvalidConfig));
    assert_eq!(alter_of(&mut client, OWN, 0, name, Some("few")).await, code(InvalidConfig));
    assert_eq!(
        alter_of(&mut client, (BROKER, "9"), 0, name, Some("1")).await,
        code(InvalidRequest)
    );
    drop(client);
    broker.stop().await.expect("a clean stop");

    let broker = RunningBroker::start(config(folder.path())).await.expect("it starts");
    let mut client = Client::of(&broker).await;
    let shown = describe(&mut client, BROKER, "").await;
    assert_eq!(shown.len(), 1, "one setting is set for all brokers");
    assert_eq!((shown[0].value.as_deref(), shown[0].config_source), (Some("200"), 3));
    let shown = describe(&mut client, BROKER, "1").await;
    assert_eq!(find(&shown, name).value.as_deref(), Some("400"));
    assert_eq!(alter_of(&mut client, OWN, 1, name, None).await, 0);
    assert_eq!(client.produce("t", large.clone()).await.error_code, code(MessageTooLarge));
    assert_eq!(alter_of(&mut client, ALL, 1, name, None).await, 0);
    assert_eq!(client.produce("t", large).await.error_code, 0);
    broker.stop().await.expect("a clean stop");
}
