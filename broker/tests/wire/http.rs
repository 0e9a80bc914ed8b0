//! Health and metrics.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use weir_broker::start::RunningBroker;

use crate::client::{Client, batch, broker, config};

pub(crate) async fn get(address: SocketAddr, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).await.expect("it listens");
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("it takes the bytes");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("an answer");
    let status = answer.split(' ').nth(1).and_then(|word| word.parse().ok()).expect("a status");
    (status, answer.split_once("\r\n\r\n").map_or_else(String::new, |(_, body)| body.to_owned()))
}

#[tokio::test(flavor = "multi_thread")]
async fn health_and_metrics_are_shown() {
    let (_folder, broker) = broker().await;
    let mut client = Client::of(&broker).await;
    client.create("t", 1, &[]).await;
    client.produce("t", batch(&["a", "b"])).await;
    client.fetch("t", 0).await;
    let address = broker.http_address();
    for path in ["/livez", "/healthz", "/readyz", "/v1/status/ready"] {
        assert_eq!(get(address, path).await.0, 200, "{path}");
    }
    assert_eq!(get(address, "/nothing").await.0, 404);
    let (_, page) = get(address, "/metrics").await;
    for line in [
        "kafka_server_brokertopicmetrics_messagesin_total{topic=\"t\"} 2",
        "kafka_server_brokertopicmetrics_totalfetchrequests_total{topic=\"t\"} 1",
        "kafka_topic_partition_current_offset{partition=\"0\",topic=\"t\"} 2",
        "kafka_topic_partition_oldest_offset{partition=\"0\",topic=\"t\"} 0",
        "kafka_brokers 1",
        "weir_request_seconds_count{request=\"Produce\"} 1",
        "weir_connections 1",
    ] {
        assert!(page.lines().any(|shown| shown == line), "{line} is not in\n{page}");
    }
    broker.stop().await.expect("a clean stop");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_partition_is_told_to_the_operator_and_leaves_the_others_alone() {
    // Given durable records of which one has a flipped bit after a crash.
    let (folder, running) = broker().await;
    let mut client = Client::of(&running).await;
    for topic in ["bad", "good"] {
        client.create(topic, 1, &[]).await;
        client.produce(topic, batch(&["a", "b"])).await;
    }
    running.stop().await.expect("a clean stop");
    std::fs::remove_file(folder.path().join(".kafka_cleanshutdown")).expect("it was there");
    let path = folder.path().join("bad-0/00000000000000000000.log");
    let mut bytes = std::fs::read(&path).expect("a log");
    bytes[65] ^= 1;
    std::fs::write(&path, bytes).expect("it takes the bytes");
    // When the broker starts again, then health and metrics tell of it.
    let running = RunningBroker::start(config(folder.path())).await.expect("it starts");
    let address = running.http_address();
    let lost = "bad-0: offsets 0..2 are lost (bad-0/00000000000000000000.log, byte 0";
    for path in ["/readyz", "/v1/status/ready"] {
        let (status, body) = get(address, path).await;
        assert!(status == 200 && body.contains(lost), "{status} {body}");
    }
    let (_, page) = get(address, "/metrics").await;
    let count = "kafka_controller_kafkacontroller_offlinepartitionscount 1";
    assert!(page.lines().any(|shown| shown == count), "{page}");
    // And the other topic is served.
    let mut client = Client::of(&running).await;
    let taken = client.produce("good", batch(&["c"])).await;
    assert_eq!((taken.error_code, taken.base_offset), (0, 2));
    running.stop().await.expect("a clean stop");
}
