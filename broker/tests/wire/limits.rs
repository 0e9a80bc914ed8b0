//! Limits of connections.

use std::time::Duration;

use kafka_protocol::messages::{ApiVersionsRequest, ProduceRequest};
use weir_broker::start::RunningBroker;

use crate::client::{Client, batch, config, fetch_request, frame, produce_request};
use crate::http::get;

async fn start(settings: &[(&str, &str)]) -> (tempfile::TempDir, RunningBroker) {
    let folder = tempfile::tempdir().expect("a folder");
    let mut config = config(folder.path());
    for (name, value) in settings {
        config.set(name, value).expect("valid");
    }
    let broker = RunningBroker::start(config).await.expect("it starts");
    (folder, broker)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_too_many_is_closed_and_its_place_is_free_again_later() {
    for (limit, value) in [
        ("max.connections", "2"),
        ("max.connections.per.ip", "2"),
        ("max.connections.per.ip.overrides", "10.0.0.1:9,127.0.0.1:2"),
    ] {
        let (_folder, broker) = start(&[(limit, value)]).await;
        let mut first = Client::of(&broker).await;
        let mut second = Client::of(&broker).await;
        for client in [&mut first, &mut second] {
            client.call(0, &ApiVersionsRequest::default()).await;
        }
        let mut third = Client::of(&broker).await;
        assert!(third.is_closed().await, "{limit}");
        drop(first);
        // When the broker has noticed, there is a place again.
        let mut is_served = false;
        for _ in 0..200 {
            let mut next = Client::of(&broker).await;
            is_served = next.try_call(0, &ApiVersionsRequest::default()).await.is_some();
            if is_served {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert!(is_served, "{limit}");
        drop(second);
        broker.stop().await.expect("a clean stop");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_connection_is_closed_but_not_one_that_waits_for_an_answer() {
    let (_folder, broker) = start(&[("connections.max.idle.ms", "200")]).await;
    let mut waiting = Client::of(&broker).await;
    waiting.create("t", 1, &[]).await;
    let id = waiting.send(12, &fetch_request("t", 0, 0, 1500)).await;
    let mut idle = Client::of(&broker).await;
    assert!(idle.is_closed().await);
    let answered = waiting.receive::<kafka_protocol::messages::FetchRequest>(12, id).await;
    assert_eq!(answered.responses[0].partitions[0].error_code, 0);
    broker.stop().await.expect("a clean stop");
}

async fn used_bytes(broker: &RunningBroker) -> usize {
    let (_, page) = get(broker.http_address(), "/metrics").await;
    let name = "kafka_network_socketserver_memorypoolused ";
    let used = page.lines().find_map(|line| line.strip_prefix(name)).expect("the gauge");
    used.parse().expect("a number")
}

/// Three producers share room for one large request; whoever has begun goes on, whoever goes away makes way.
#[tokio::test(flavor = "multi_thread")]
async fn large_requests_wait_for_room_and_small_ones_do_not() {
    let limit = "200000";
    let settings = [("socket.request.max.bytes", limit), ("queued.max.request.bytes", limit)];
    let (_folder, broker) =
        start(&[&settings[..], &[("message.max.bytes", "150000")]].concat()).await;
    let mut small = Client::of(&broker).await;
    small.create("t", 1, &[]).await;
    let request = produce_request("t", 0, -1, batch(&[&"x".repeat(130_000)]));
    let large = frame(9, 1, &request);
    let (begun, rest) = large.split_at(90_000);

    let mut first = Client::of(&broker).await;
    first.send_bytes(begun).await;
    while used_bytes(&broker).await == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let mut second = Client::of(&broker).await;
    second.send_bytes(&large).await;
    let answered = tokio::time::timeout(Duration::from_millis(300), second.frame()).await;
    assert!(answered.is_err(), "two large requests have room for one");
    assert_eq!(small.produce("t", batch(&["small"])).await.error_code, 0);
    let mut third = Client::of(&broker).await;
    third.send_bytes(begun).await;

    first.send_bytes(rest).await;
    first.receive::<ProduceRequest>(9, 1).await;
    second.receive::<ProduceRequest>(9, 1).await;
    // The third one has its turn now, and never ends its request.
    drop(third);
    assert_eq!(small.call(9, &request).await.responses[0].partition_responses[0].error_code, 0);
    assert_eq!(used_bytes(&broker).await, 0);
    broker.stop().await.expect("a clean stop");
}
