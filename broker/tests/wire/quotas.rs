//! Client quotas: set, shown, kept over a restart, and felt by the clients that pass them.

use std::time::Duration;

use kafka_protocol::messages::alter_client_quotas_request::{EntityData, EntryData, OpData};
use kafka_protocol::messages::describe_client_quotas_request::ComponentData;
use kafka_protocol::messages::{
    AlterClientQuotasRequest, ApiVersionsRequest, CreateTopicsRequest, DeleteTopicsRequest,
    DescribeClientQuotasRequest, FetchRequest, MetadataRequest, ProduceRequest, TopicName,
};
use tokio::time::Instant;
use weir_broker::start::RunningBroker;

use crate::client::{Client, batch, broker, config, fetch_request, produce_request, text, values};
use crate::every_version::all;

/// Type, name (null is the default).
type Part<'a> = (&'a str, Option<&'a str>);

fn entry(entity: &[Part<'_>], name: &str, value: Option<f64>) -> EntryData {
    let entity = entity.iter().map(|(kind, name)| {
        EntityData::default().with_entity_type(text(kind)).with_entity_name(name.map(text))
    });
    let op = OpData::default()
        .with_key(text(name))
        .with_value(value.unwrap_or_default())
        .with_remove(value.is_none());
    EntryData::default().with_entity(entity.collect()).with_ops(vec![op])
}

async fn alter(client: &mut Client, entries: Vec<EntryData>, is_dry: bool) -> Vec<i16> {
    let request =
        AlterClientQuotasRequest::default().with_entries(entries).with_validate_only(is_dry);
    let response = client.call(1, &request).await;
    response.entries.iter().map(|entry| entry.error_code).collect()
}

async fn set(client: &mut Client, entity: &[Part<'_>], name: &str, value: f64) {
    assert_eq!(alter(client, vec![entry(entity, name, Some(value))], false).await, [0]);
}

/// Entities and their quotas, as text.
async fn described(client: &mut Client, components: Vec<ComponentData>) -> Vec<String> {
    let request = DescribeClientQuotasRequest::default().with_components(components);
    let response = client.call(1, &request).await;
    assert_eq!(response.error_code, 0, "{:?}", response.error_message);
    let entries = response.entries.expect("entries").into_iter().map(|entry| {
        let names = entry.entity.iter().map(|part| {
            format!("{}={}", &*part.entity_type, part.entity_name.as_deref().unwrap_or("<all>"))
        });
        let values = entry.values.iter().map(|value| format!("{}:{}", &*value.key, value.value));
        names.chain(values).collect::<Vec<_>>().join(" ")
    });
    entries.collect()
}

fn component(kind: &str, match_type: i8, name: Option<&str>) -> ComponentData {
    let component = ComponentData::default().with_entity_type(text(kind));
    component.with_match_type(match_type).with_match(name.map(text))
}

/// Every API in every version, once at least.
pub(crate) async fn ask(client: &mut Client) {
    all(client, |_| {
        let entries = vec![
            entry(&[("user", Some("ada")), ("client-id", None)], "producer_byte_rate", Some(1e9)),
            entry(&[("nonsense", None)], "producer_byte_rate", Some(1e9)),
        ];
        AlterClientQuotasRequest::default().with_entries(entries)
    })
    .await;
    for kind in ["user", "nonsense"] {
        all(client, |_| {
            let components = vec![component(kind, 2, None)];
            DescribeClientQuotasRequest::default().with_components(components)
        })
        .await;
    }
    let ada = [("user", Some("ada")), ("client-id", None)];
    assert_eq!(alter(client, vec![entry(&ada, "producer_byte_rate", None)], false).await, [0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn quotas_are_set_shown_and_kept_over_a_restart() {
    let (folder, running) = broker().await;
    let mut client = Client::of(&running).await;
    let entries = vec![
        entry(&[("user", Some("ada"))], "producer_byte_rate", Some(1e9)),
        entry(&[("user", None), ("client-id", Some("c"))], "request_percentage", Some(62.5)),
        entry(&[("ip", None)], "connection_creation_rate", Some(1000.0)),
    ];
    assert_eq!(alter(&mut client, entries.clone(), true).await, [0, 0, 0]);
    assert!(described(&mut client, vec![]).await.is_empty(), "it was only a check");
    assert_eq!(alter(&mut client, entries.clone(), false).await, [0, 0, 0]);
    let bad = vec![
        entry(&[("user", Some("ada"))], "producer_byte_rate", Some(-1.0)),
        entry(&[("user", Some("bob"))], "no_such_rate", Some(1.0)),
        entry(&[("ip", None), ("user", None)], "connection_creation_rate", Some(1.0)),
        entries[1].clone(),
        entries[1].clone(),
    ];
    assert_eq!(alter(&mut client, bad, false).await, [42; 5]);
    let all = [
        "user=<all> client-id=c request_percentage:62.5",
        "user=ada producer_byte_rate:1000000000",
        "ip=<all> connection_creation_rate:1000",
    ];
    let mut shown = described(&mut client, vec![]).await;
    shown.sort_unstable();
    let mut expected = all.map(str::to_owned).to_vec();
    expected.sort_unstable();
    assert_eq!(shown, expected);
    let of_ada = vec![component("user", 0, Some("ada"))];
    assert_eq!(described(&mut client, of_ada.clone()).await, [all[1]]);
    running.stop().await.expect("a clean stop");

    let running = RunningBroker::start(config(folder.path())).await.expect("it starts");
    let mut client = Client::of(&running).await;
    assert_eq!(described(&mut client, of_ada.clone()).await, [all[1]]);
    let gone = vec![entry(&[("user", Some("ada"))], "producer_byte_rate", None)];
    assert_eq!(alter(&mut client, gone, false).await, [0]);
    assert!(described(&mut client, of_ada).await.is_empty());
    running.stop().await.expect("a clean stop");

    // A flipped bit in the file is told before anything is served.
    let path = folder.path().join("weir-client-quotas");
    let mut bytes = std::fs::read(&path).expect("the file");
    bytes[40] ^= 1;
    std::fs::write(&path, bytes).expect("it takes the bytes");
    let refused = RunningBroker::start(config(folder.path())).await.expect_err("damaged");
    let told = refused.to_string();
    assert!(told.contains("weir-client-quotas is damaged") && !told.contains('\n'), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_producer_over_its_quota_is_answered_at_once_and_then_not_read() {
    let (_folder, broker) = broker().await;
    let mut client = Client::of(&broker).await;
    client.create("t", 1, &[]).await;
    set(&mut client, &[("client-id", Some("wire-test"))], "producer_byte_rate", 1000.0).await;
    let value = "x".repeat(10_400);
    let request = produce_request("t", 0, -1, batch(&[&value]));
    let id = client.send(9, &request).await;
    let asked = Instant::now();
    let response = client.receive::<ProduceRequest>(9, id).await;
    assert_eq!(response.responses[0].partition_responses[0].error_code, 0);
    // Ten seconds' worth and a bit: the bit is waited for.
    let frame_bytes = client.sent.last().expect("it was sent").len() as i32;
    assert_eq!(response.throttle_time_ms, frame_bytes - 10_000);
    client.call(0, &ApiVersionsRequest::default()).await;
    let waited = asked.elapsed();
    let throttle = Duration::from_millis(response.throttle_time_ms as u64);
    assert!(waited >= throttle, "{waited:?} {throttle:?}");
    let (_, page) = crate::http::get(broker.http_address(), "/metrics").await;
    let rate = "kafka_server_produce_byte_rate{client_id=\"wire-test\",user=\"\"} ";
    assert!(page.lines().any(|line| line.starts_with(rate)), "{page}");
    broker.stop().await.expect("a clean stop");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_over_its_quota_gets_no_records_until_later() {
    let (_folder, broker) = broker().await;
    let mut admin = Client::of(&broker).await;
    admin.create("t", 1, &[]).await;
    for _ in 0..2 {
        admin.produce("t", batch(&[&"x".repeat(6000)])).await;
    }
    set(&mut admin, &[("user", Some("ANONYMOUS"))], "consumer_byte_rate", 1000.0).await;
    let mut client = Client::of(&broker).await;
    let first = client.call(12, &fetch_request("t", 0, 0, 0)).await;
    assert_eq!(first.throttle_time_ms, 0);
    // No more than ten seconds' worth at once, though more was asked for.
    assert_eq!(values(&first.responses[0].partitions[0]).len(), 1);
    let second = client.call(12, &fetch_request("t", 0, 1, 0)).await;
    assert!(second.responses.is_empty(), "{second:?}");
    assert!((1..=3000).contains(&second.throttle_time_ms), "{second:?}");
    // It did not get them, so they do not count, whichever connection it asks on.
    let third = Client::of(&broker).await.call(12, &fetch_request("t", 0, 1, 0)).await;
    assert!((1..=3000).contains(&third.throttle_time_ms), "{third:?}");
    broker.stop().await.expect("a clean stop");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_larger_than_the_whole_quota_is_had_by_whoever_has_had_nothing() {
    let (_folder, broker) = broker().await;
    let mut admin = Client::of(&broker).await;
    admin.create("t", 1, &[]).await;
    admin.produce("t", batch(&[&"x".repeat(6000)])).await;
    set(&mut admin, &[("client-id", None)], "consumer_byte_rate", 10.0).await;
    let fetched = admin.call(12, &fetch_request("t", 0, 0, 0)).await;
    assert_eq!(values(&fetched.responses[0].partitions[0]).len(), 1);
    let again = admin.call(12, &fetch_request("t", 0, 0, 0)).await;
    assert!(again.responses.is_empty() && again.throttle_time_ms > 0);
    broker.stop().await.expect("a clean stop");
}

#[tokio::test(flavor = "multi_thread")]
async fn time_is_charged_for_every_request_and_held_back_for_a_second_at_most() {
    let (_folder, broker) = broker().await;
    let mut client = Client::of(&broker).await;
    client.create("t", 1, &[]).await;
    client.produce("t", batch(&["a"])).await;
    set(&mut client, &[("user", None)], "request_percentage", 0.000_001).await;
    // The answer of the change itself says it already, so ask on other connections.
    let mut client = Client::of(&broker).await;
    let answered = client.call(12, &MetadataRequest::default().with_topics(None)).await;
    assert_eq!(answered.throttle_time_ms, 1000);
    let mut client = Client::of(&broker).await;
    let id = client.send(12, &fetch_request("t", 0, 0, 0)).await;
    let fetched = client.receive::<FetchRequest>(12, id).await;
    assert_eq!((fetched.throttle_time_ms, fetched.responses.len()), (1000, 0));
    broker.stop().await.expect("a clean stop");
}

#[tokio::test(flavor = "multi_thread")]
async fn partitions_are_made_as_long_as_there_are_permits() {
    let (_folder, broker) = broker().await;
    let mut client = Client::of(&broker).await;
    set(&mut client, &[("user", Some("ANONYMOUS"))], "controller_mutation_rate", 0.5).await;
    assert_eq!(client.try_create("first", 8, &[]).await.error_code, 0);
    // 5.5 were there; it takes five seconds until the debt is paid.
    let topic = kafka_protocol::messages::create_topics_request::CreatableTopic::default()
        .with_name(TopicName(text("second")))
        .with_num_partitions(1)
        .with_replication_factor(1);
    let request = CreateTopicsRequest::default().with_topics(vec![topic]);
    let refused = client.call(7, &request).await;
    assert_eq!(refused.topics[0].error_code, 89);
    assert!((1..=5000).contains(&refused.throttle_time_ms), "{refused:?}");
    // A client that is too old for the error is served, and held back afterwards.
    let mut old = Client::of(&broker).await;
    let names = vec![TopicName(text("first"))];
    let deleted = old.call(4, &DeleteTopicsRequest::default().with_topic_names(names)).await;
    assert_eq!(deleted.responses[0].error_code, 0);
    assert!(deleted.throttle_time_ms > 5000, "{deleted:?}");
    broker.stop().await.expect("a clean stop");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_connects_too_often_is_kept_waiting_and_closed() {
    let (_folder, broker) = broker().await;
    let mut admin = Client::of(&broker).await;
    let address = [("ip", Some("127.0.0.1"))];
    set(&mut admin, &address, "connection_creation_rate", 1.0).await;
    for _ in 0..10 {
        let mut client = Client::of(&broker).await;
        client.call(0, &ApiVersionsRequest::default()).await;
    }
    let since = Instant::now();
    let mut one_too_many = Client::of(&broker).await;
    assert!(one_too_many.is_closed().await);
    assert!(since.elapsed() >= Duration::from_millis(300), "it was not kept waiting");
    let gone = entry(&address, "connection_creation_rate", None);
    assert_eq!(alter(&mut admin, vec![gone], false).await, [0]);
    Client::of(&broker).await.call(0, &ApiVersionsRequest::default()).await;
    broker.stop().await.expect("a clean stop");
}
