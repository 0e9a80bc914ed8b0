//! Limits of connections.

use std::time::Duration;

use kafka_protocol::messages::ApiVersionsRequest;
use weir_broker::start::RunningBroker;

use crate::client::{Client, config, fetch_request};

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
