//! Records in, records out.

use std::time::Duration;

use kafka_protocol::error::ResponseError::{
    CorruptMessage, InvalidRecord, InvalidRequiredAcks, MessageTooLarge, OffsetOutOfRange,
    OutOfOrderSequenceNumber, UnknownTopicOrPartition,
};
use kafka_protocol::messages::{
    ApiVersionsRequest, FetchRequest, InitProducerIdRequest, MetadataRequest, ProduceRequest,
    ProducerId,
};
use weir_broker::start::RunningBroker;

use crate::client::{
    Client, batch, batch_at, broker, code, config, fetch_request, idempotent_batch,
    produce_request, values,
};

#[tokio::test(flavor = "multi_thread")]
async fn what_was_produced_is_fetched() {
    let (_folder, broker) = broker().await;
    let mut client = Client::of(&broker).await;
    client.create("t", 1, &[]).await;
    let first = client.produce("t", batch(&["a", "b"])).await;
    assert_eq!((first.error_code, first.base_offset, first.log_append_time_ms), (0, 0, -1));
    let second = client.produce("t", batch(&["c"])).await;
    assert_eq!((second.base_offset, second.log_start_offset), (2, 0));
    let fetched = client.fetch("t", 0).await;
    assert_eq!((fetched.high_watermark, fetched.last_stable_offset), (3, 3));
    let all = [(0, "a".to_owned()), (1, "b".to_owned()), (2, "c".to_owned())];
    assert_eq!(values(&fetched), all);
    // In the middle of a batch: the whole batch comes, the client skips.
    assert_eq!(values(&client.fetch("t", 1).await), all);
    let end = client.fetch("t", 3).await;
    assert_eq!((end.error_code, end.records.map(|records| records.len())), (0, Some(0)));
    let beyond = client.fetch("t", 4).await;
    assert_eq!((beyond.error_code, beyond.high_watermark), (code(OffsetOutOfRange), -1));
    broker.stop().await.expect("a clean stop");
}

#[tokio::test(flavor = "multi_thread")]
async fn old_segments_are_read_like_new_ones_in_every_mode() {
    for (read_mode, durability) in [("mmap", "fsync"), ("pread", "fsync"), ("mmap", "os")] {
        let folder = tempfile::tempdir().expect("a folder");
        let mut config = config(folder.path());
        config.set("read.mode", read_mode).expect("valid");
        config.set("log.durability", durability).expect("valid");
        let broker = RunningBroker::start(config).await.expect("it starts");
        let mut client = Client::of(&broker).await;
        client.create("t", 1, &[("segment.bytes", "16384")]).await;
        let sent: Vec<_> = (0..60).map(|index| (index, format!("{index:01000}"))).collect();
        for (_, value) in &sent {
            assert_eq!(client.produce("t", batch(&[value])).await.error_code, 0);
        }
        let mut read = Vec::new();
        while read.len() < sent.len() {
            let fetched = client.fetch("t", read.len() as i64).await;
            assert_eq!(fetched.error_code, 0);
            let values = values(&fetched);
            assert!(!values.is_empty(), "{read_mode}: nothing at {}", read.len());
            read.extend(values);
        }
        assert_eq!(read, sent, "{read_mode} {durability}");
        // Waiting for what is new works the same way.
        let id = client.send(12, &fetch_request("t", 0, 60, 60_000)).await;
        let mut producer = Client::of(&broker).await;
        producer.produce("t", batch(&["new"])).await;
        let response = client.receive::<FetchRequest>(12, id).await;
        assert_eq!(values(&response.responses[0].partitions[0]), [(60, "new".to_owned())]);
        broker.stop().await.expect("a clean stop");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_waiting_fetch_wakes_when_a_record_comes() {
    let (_folder, broker) = broker().await;
    let mut consumer = Client::of(&broker).await;
    let mut producer = Client::of(&broker).await;
    producer.create("t", 1, &[]).await;
    let id = consumer.send(12, &fetch_request("t", 0, 0, 60_000)).await;
    // The fetch has been begun before the second request of its own connection is answered, so
    // only the order of answers is waited for here, not the clock.
    producer.produce("t", batch(&["late"])).await;
    let answered = consumer.receive::<FetchRequest>(12, id);
    let answered = tokio::time::timeout(Duration::from_secs(20), answered);
    let response = answered.await.expect("long before max_wait");
    assert_eq!(values(&response.responses[0].partitions[0]), [(0, "late".to_owned())]);
    // Nothing comes: it is answered empty when the time is over.
    let response = consumer.call(12, &fetch_request("t", 0, 1, 50)).await;
    assert_eq!(values(&response.responses[0].partitions[0]), []);
    broker.stop().await.expect("a clean stop");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fetch_of_a_topic_that_is_deleted_meanwhile_is_answered() {
    let (_folder, broker) = broker().await;
    let mut consumer = Client::of(&broker).await;
    let mut admin = Client::of(&broker).await;
    admin.create("t", 1, &[]).await;
    let id = consumer.send(12, &fetch_request("t", 0, 0, 60_000)).await;
    let request = kafka_protocol::messages::DeleteTopicsRequest::default()
        .with_topic_names(vec![kafka_protocol::messages::TopicName(crate::client::text("t"))]);
    assert_eq!(admin.call(5, &request).await.responses[0].error_code, 0);
    let answered = consumer.receive::<FetchRequest>(12, id);
    let answered = tokio::time::timeout(Duration::from_secs(20), answered);
    let response = answered.await.expect("long before max_wait");
    let partition = &response.responses[0].partitions[0];
    assert_eq!(partition.error_code, code(UnknownTopicOrPartition));
    broker.stop().await.expect("a clean stop");
}

#[tokio::test(flavor = "multi_thread")]
async fn pipelined_requests_are_answered_in_order() {
    let (_folder, broker) = broker().await;
    let mut client = Client::of(&broker).await;
    client.create("t", 1, &[]).await;
    let mut sent = Vec::new();
    for index in 0..50 {
        let records = batch(&[&format!("{index}")]);
        sent.push((true, client.send(9, &produce_request("t", 0, -1, records)).await));
        if index % 10 == 0 {
            let request = MetadataRequest::default().with_topics(None);
            sent.push((false, client.send(12, &request).await));
        }
        // acks=0 has no answer at all.
        let records = batch(&["unanswered"]);
        client.send(9, &produce_request("t", 0, 0, records)).await;
    }
    let mut base_offset = 0;
    for (is_produce, id) in sent {
        if is_produce {
            let response = client.receive::<ProduceRequest>(9, id).await;
            let partition = &response.responses[0].partition_responses[0];
            assert_eq!((partition.error_code, partition.base_offset), (0, base_offset));
            base_offset += 2;
        } else {
            let response = client.receive::<MetadataRequest>(12, id).await;
            assert_eq!(response.topics.len(), 1);
        }
    }
    assert_eq!(values(&client.fetch("t", 0).await).len(), 100);
    broker.stop().await.expect("a clean stop");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_is_wrong_is_refused_by_kafkas_codes() {
    let (_folder, broker) = broker().await;
    let mut client = Client::of(&broker).await;
    client.create("t", 1, &[("max.message.bytes", "200")]).await;
    let two = [batch(&["a"]), batch(&["b"])].concat();
    assert_eq!(client.produce("t", two.into()).await.error_code, code(InvalidRecord));
    assert_eq!(client.produce("t", Default::default()).await.error_code, code(InvalidRecord));
    let mut flipped = batch(&["abc"]).to_vec();
    *flipped.last_mut().expect("bytes") ^= 1;
    assert_eq!(client.produce("t", flipped.into()).await.error_code, code(CorruptMessage));
    let mut old = batch(&["abc"]).to_vec();
    old[16] = 1;
    assert_eq!(client.produce("t", old.into()).await.error_code, code(InvalidRecord));
    let large = client.produce("t", batch(&[&"x".repeat(300)])).await;
    assert_eq!((large.error_code, large.base_offset), (code(MessageTooLarge), -1));
    assert!(large.error_message.is_some());
    let request = produce_request("t", 0, 2, batch(&["a"]));
    let response = client.call(9, &request).await;
    let partition = &response.responses[0].partition_responses[0];
    assert_eq!(partition.error_code, code(InvalidRequiredAcks));
    for (topic, partition) in [("t", 1), ("unknown", 0)] {
        let response = client.call(9, &produce_request(topic, partition, 1, batch(&["a"]))).await;
        let partition = &response.responses[0].partition_responses[0];
        assert_eq!(partition.error_code, code(UnknownTopicOrPartition));
    }
    assert_eq!(client.list_offset("t", -1).await.offset, 0, "nothing of it was kept");
    // acks=0 cannot be told, so the connection ends; what was asked before is still answered.
    let id = client.send(9, &produce_request("t", 0, -1, batch(&["a"]))).await;
    client.send(9, &produce_request("unknown", 0, 0, batch(&["a"]))).await;
    assert_eq!(client.receive::<ProduceRequest>(9, id).await.responses.len(), 1);
    assert!(client.is_closed().await);
    broker.stop().await.expect("a clean stop");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_batch_is_acknowledged_and_not_kept_twice_even_after_a_restart() {
    let folder = tempfile::tempdir().expect("a folder");
    let broker = RunningBroker::start(config(folder.path())).await.expect("it starts");
    let mut client = Client::of(&broker).await;
    client.create("t", 1, &[]).await;
    let request = InitProducerIdRequest::default()
        .with_transactional_id(None)
        .with_producer_id(ProducerId(-1))
        .with_producer_epoch(-1);
    let first = client.call(4, &request).await;
    let second = client.call(4, &request).await;
    assert_eq!((first.error_code, first.producer_epoch), (0, 0));
    assert_ne!(first.producer_id, second.producer_id);
    let id = first.producer_id.0;
    for sequence in 0..5 {
        let produced = client.produce("t", idempotent_batch(id, sequence, &["x"])).await;
        assert_eq!((produced.error_code, produced.base_offset), (0, i64::from(sequence)));
    }
    for sequence in 0..5 {
        let repeated = client.produce("t", idempotent_batch(id, sequence, &["x"])).await;
        assert_eq!((repeated.error_code, repeated.base_offset), (0, i64::from(sequence)));
    }
    let gap = client.produce("t", idempotent_batch(id, 7, &["x"])).await;
    assert_eq!(gap.error_code, code(OutOfOrderSequenceNumber));
    drop(client);
    broker.stop().await.expect("a clean stop");

    let broker = RunningBroker::start(config(folder.path())).await.expect("it starts again");
    let mut client = Client::of(&broker).await;
    for sequence in 0..5 {
        let repeated = client.produce("t", idempotent_batch(id, sequence, &["x"])).await;
        assert_eq!((repeated.error_code, repeated.base_offset), (0, i64::from(sequence)));
    }
    let next = client.produce("t", idempotent_batch(id, 5, &["x"])).await;
    assert_eq!((next.error_code, next.base_offset), (0, 5));
    let third = client.call(4, &request).await.producer_id;
    assert!(third != first.producer_id && third != second.producer_id);
    broker.stop().await.expect("a clean stop");
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_bind_after_the_first_batch_only() {
    let (_folder, broker) = broker().await;
    let mut client = Client::of(&broker).await;
    client.create("t", 2, &[]).await;
    let large = "x".repeat(5000);
    for partition in [0, 1] {
        for _ in 0..3 {
            let request = produce_request("t", partition, -1, batch(&[&large]));
            client.call(9, &request).await;
        }
    }
    let mut request = fetch_request("t", 0, 0, 0).with_max_bytes(1);
    let mut other = request.topics[0].partitions[0].clone();
    other.partition = 1;
    request.topics[0].partitions.push(other);
    let response = client.call(12, &request).await;
    let partitions = &response.responses[0].partitions;
    assert_eq!(values(&partitions[0]).len(), 1, "one whole batch, though it is too large");
    assert_eq!(values(&partitions[1]).len(), 0, "and then no more");
    broker.stop().await.expect("a clean stop");
}

#[tokio::test(flavor = "multi_thread")]
async fn offsets_are_found_by_meaning_and_by_time() {
    let (_folder, broker) = broker().await;
    let mut client = Client::of(&broker).await;
    client.create("t", 1, &[]).await;
    assert_eq!(client.list_offset("t", -1).await.offset, 0);
    assert_eq!(client.list_offset("t", -3).await.offset, -1);
    client.produce("t", batch_at(1000, &["a", "b", "c"])).await;
    client.produce("t", batch_at(2000, &["d"])).await;
    let find = async |client: &mut Client, timestamp| {
        let found = client.list_offset("t", timestamp).await;
        assert_eq!(found.error_code, 0);
        (found.offset, found.timestamp)
    };
    assert_eq!(find(&mut client, -1).await, (4, -1));
    assert_eq!(find(&mut client, -2).await, (0, -1));
    assert_eq!(find(&mut client, -3).await, (3, 2000));
    assert_eq!(find(&mut client, -4).await, (0, -1));
    assert_eq!(find(&mut client, -5).await, (-1, -1));
    assert_eq!(find(&mut client, 1001).await, (1, 1001), "the record, not its batch");
    assert_eq!(find(&mut client, 1003).await, (3, 2000));
    assert_eq!(find(&mut client, 2001).await, (-1, -1));
    assert_eq!(client.list_offset("t", -6).await.error_code, 35);
    broker.stop().await.expect("a clean stop");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_version_of_api_versions_is_answered_in_the_oldest_form() {
    let (_folder, broker) = broker().await;
    let mut client = Client::of(&broker).await;
    // Version 99, correlation id 7, and a body that nobody can read.
    client.send_bytes(b"\0\0\0\x0d\0\x12\0\x63\0\0\0\x07\xff\xff\xff\xff\xff").await;
    let frame = client.frame().await;
    assert_eq!(&frame[..], b"\0\0\0\x07\0\x23\0\0\0\x01\0\x12\0\0\0\x04");
    let response = client.call(0, &ApiVersionsRequest::default()).await;
    assert_eq!(response.api_keys[0].min_version, 0, "librdkafka wants to see Produce from 0 on");
    let unnamed = client.call(3, &ApiVersionsRequest::default()).await;
    assert_eq!(unnamed.error_code, 42);
    broker.stop().await.expect("a clean stop");
}
