//! Health and metrics.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::client::{Client, batch, broker};

async fn get(address: SocketAddr, path: &str) -> (u16, String) {
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
