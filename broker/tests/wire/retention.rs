//! Old segments go, but nothing that a table has not folded.

use std::time::Duration;

use kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kafka_protocol::messages::{GroupId, OffsetCommitRequest, TopicName};
use weir_broker::start::RunningBroker;

use crate::client::{Client, batch_at, config, text};

/// Values that fill a small segment in a few batches.
const VALUE_BYTES: usize = 4000;
const BATCHES: i64 = 40;
/// Long before any of this was written.
const LONG_AGO_MS: i64 = 1_000_000;

async fn fill(client: &mut Client, topic: &str, configs: &[(&str, &str)]) {
    let small = [("segment.bytes", "16384"), ("retention.ms", "60000")];
    client.create(topic, 1, &[&small[..], configs].concat()).await;
    for _ in 0..BATCHES {
        let produced =
            client.produce(topic, batch_at(LONG_AGO_MS, &[&"x".repeat(VALUE_BYTES)])).await;
        assert_eq!(produced.error_code, 0);
    }
}

/// Waits until a topic begins at `expected` or later.
async fn await_start(client: &mut Client, topic: &str, expected: i64) -> i64 {
    for _ in 0..400 {
        let start = client.list_offset(topic, -2).await.offset;
        if start >= expected {
            return start;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("{topic} does not begin at {expected}");
}

async fn start(settings: &[(&str, &str)]) -> (tempfile::TempDir, RunningBroker) {
    let folder = tempfile::tempdir().expect("a folder");
    let mut config = config(folder.path());
    config.set("log.retention.check.interval.ms", "50").expect("valid");
    for (name, value) in settings {
        config.set(name, value).expect("valid");
    }
    let broker = RunningBroker::start(config).await.expect("it starts");
    (folder, broker)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_keeps_what_it_has_not_folded() {
    let (_folder, broker) = start(&[]).await;
    let mut client = Client::of(&broker).await;
    fill(&mut client, "table", &[("table.enabled", "true")]).await;
    fill(&mut client, "plain", &[]).await;
    // When the plain topic has lost everything, the table's turn has been too.
    await_start(&mut client, "plain", BATCHES).await;
    fill(&mut client, "later", &[]).await;
    await_start(&mut client, "later", BATCHES).await;
    assert_eq!(client.list_offset("table", -2).await.offset, 0);
    assert_eq!(client.list_offset("table", -5).await.offset, -1);

    let partition = OffsetCommitRequestPartition::default()
        .with_partition_index(0)
        .with_committed_offset(BATCHES / 2);
    let topic = OffsetCommitRequestTopic::default()
        .with_name(TopicName(text("table")))
        .with_partitions(vec![partition]);
    let request = OffsetCommitRequest::default()
        .with_group_id(GroupId(text("weir-compactor")))
        .with_generation_id_or_member_epoch(-1)
        .with_topics(vec![topic]);
    let committed = client.call(8, &request).await;
    assert_eq!(committed.topics[0].partitions[0].error_code, 0);
    let tiered = client.list_offset("table", -5).await;
    assert_eq!((tiered.error_code, tiered.offset), (0, BATCHES / 2 - 1));
    let start = await_start(&mut client, "table", 1).await;
    assert!(start <= BATCHES / 2, "{start} is beyond what was folded");
    broker.stop().await.expect("a clean stop");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_hard_limit_is_stronger_than_a_table() {
    let (_folder, broker) = start(&[("table.retention.hard.bytes", "50000")]).await;
    let mut client = Client::of(&broker).await;
    fill(&mut client, "table", &[("table.enabled", "true")]).await;
    await_start(&mut client, "table", 1).await;
    broker.stop().await.expect("a clean stop");
}
