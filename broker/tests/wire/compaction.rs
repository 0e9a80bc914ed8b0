//! Compacted topics: what they refuse, and what the cleaner leaves of them while clients read.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::error::ResponseError::{InvalidRecord, UnsupportedCompressionType};
use weir_broker::start::RunningBroker;
use weir_protocol::records::batch::batches;
use weir_protocol::records::builder::BatchBuilder;
use weir_protocol::records::compression::Compression;

use crate::client::{Client, batch, code, config, produce_request};

const COMPACT: &[(&str, &str)] = &[
    ("cleanup.policy", "compact"),
    ("segment.bytes", "16384"),
    ("min.cleanable.dirty.ratio", "0.01"),
    ("delete.retention.ms", "1"),
];

async fn start() -> (tempfile::TempDir, RunningBroker) {
    let folder = tempfile::tempdir().expect("a folder");
    let mut config = config(folder.path());
    config.set("log.cleaner.backoff.ms", "20").expect("valid");
    let broker = RunningBroker::start(config).await.expect("it starts");
    (folder, broker)
}

/// A record of a key; without a value a tombstone.
fn record(key: &str, value: Option<&str>) -> Bytes {
    let mut builder = BatchBuilder::new(Compression::None);
    builder.append(1_000_000, Some(key.as_bytes()), value.map(str::as_bytes), &[]);
    builder.finish()
}

/// What a consumer that reads from the start gets: all records, and the last value of each key.
async fn read(client: &mut Client) -> (usize, BTreeMap<Vec<u8>, Option<Vec<u8>>>) {
    let (mut from, mut count, mut known) = (0, 0, BTreeMap::new());
    loop {
        let fetched = client.fetch("t", from).await;
        assert_eq!(fetched.error_code, 0);
        let bytes = fetched.records.expect("never null");
        if bytes.is_empty() {
            assert_eq!(from, fetched.high_watermark, "the end is reached");
            return (count, known);
        }
        for batch in batches(bytes) {
            let batch = batch.expect("a batch");
            batch.check_crc().expect("an intact batch");
            for record in batch.records(1 << 20).expect("records") {
                let record = record.expect("a record");
                let key = record.key.expect("a key").to_vec();
                known.insert(key, record.value.map(|value| value.to_vec()));
                count += 1;
            }
            from = batch.header().last_offset().next().0;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_without_a_key_is_refused_with_its_place_in_the_batch() {
    let (_folder, broker) = start().await;
    let mut client = Client::of(&broker).await;
    client.create("t", 1, COMPACT).await;
    let mut builder = BatchBuilder::new(Compression::Lz4);
    builder.append(1_000_000, Some(b"key"), Some(b"value"), &[]);
    builder.append(1_000_000, None, Some(b"value"), &[]);
    let bad = builder.finish();
    for version in 3..=12 {
        let request = produce_request("t", 0, -1, bad.clone());
        let mut response = client.call(version, &request).await;
        let refused = response.responses.remove(0).partition_responses.remove(0);
        assert_eq!((refused.error_code, refused.base_offset), (code(InvalidRecord), -1));
        let blamed: Vec<i32> = refused.record_errors.iter().map(|one| one.batch_index).collect();
        assert_eq!(blamed, if version >= 8 { vec![1] } else { vec![] }, "version {version}");
        assert_eq!(refused.error_message.is_some(), version >= 8);
    }
    assert_eq!(client.produce("t", batch(&["keyless"])).await.error_code, code(InvalidRecord));
    assert_eq!(client.produce("t", record("key", None)).await.error_code, 0);
    broker.stop().await.expect("a clean stop");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_each_key_the_last_value_is_left_and_tombstones_vanish() {
    let (_folder, broker) = start().await;
    let mut client = Client::of(&broker).await;
    client.create("t", 1, COMPACT).await;
    let value = |number: i32| format!("{number:0>1000}");
    assert_eq!(client.produce("t", record("gone", Some("once"))).await.error_code, 0);
    assert_eq!(client.produce("t", record("gone", None)).await.error_code, 0);
    for number in 0..200 {
        let key = format!("key-{}", number % 5);
        assert_eq!(client.produce("t", record(&key, Some(&value(number)))).await.error_code, 0);
    }
    let last = |number: i32| Some(value(195 + number).into_bytes());
    let mut wanted: BTreeMap<_, _> =
        (0..5).map(|number| (format!("key-{number}").into_bytes(), last(number))).collect();
    let mut seen = (0, BTreeMap::new());
    for _ in 0..600 {
        seen = read(&mut client).await;
        let is_gone = !seen.1.contains_key(&b"gone"[..]);
        seen.1.remove(&b"gone"[..]);
        assert_eq!(seen.1, wanted, "what a reader knows never changes");
        // The active segment, which holds fewer than sixteen of them, is not cleaned.
        if is_gone && seen.0 < 40 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(seen.0 < 40, "{} records are left", seen.0);
    // A cleaned log goes on as any other, also after a restart.
    assert_eq!(client.produce("t", record("key-0", None)).await.error_code, 0);
    broker.stop().await.expect("a clean stop");
    let broker = RunningBroker::start(config(_folder.path())).await.expect("it starts again");
    let mut client = Client::of(&broker).await;
    wanted.insert(b"key-0".to_vec(), None);
    assert_eq!(read(&mut client).await.1, wanted);
    broker.stop().await.expect("a clean stop");
}

#[tokio::test(flavor = "multi_thread")]
async fn zstd_is_refused_where_old_readers_would_meet_it_and_a_topic_gets_its_own_codec() {
    let (_folder, broker) = start().await;
    let mut client = Client::of(&broker).await;
    client.create("t", 1, &[("compression.type", "gzip")]).await;
    let mut builder = BatchBuilder::new(Compression::Zstd);
    builder.append(1_000_000, Some(b"key"), Some(&[7; 500]), &[]);
    let sent = builder.finish();
    for version in 3..=12 {
        let mut response = client.call(version, &produce_request("t", 0, -1, sent.clone())).await;
        let answer = response.responses.remove(0).partition_responses.remove(0);
        let wanted = if version < 7 { code(UnsupportedCompressionType) } else { 0 };
        assert_eq!(answer.error_code, wanted, "version {version}");
    }
    let fetched = client.fetch("t", 0).await.records.expect("never null");
    let codecs: Vec<_> =
        batches(fetched).map(|batch| batch.expect("a batch").header().compression()).collect();
    assert_eq!(codecs, vec![Ok(Compression::Gzip); 6]);
    broker.stop().await.expect("a clean stop");
}
