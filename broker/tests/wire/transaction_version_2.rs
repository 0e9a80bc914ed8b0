//! Transactions by version 2 (KIP-890, part 2): nothing is added by a request of its own, each end
//! bumps the epoch, and whatever comes late finds its epoch over. Older clients go on beside.

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::{ApiVersionsRequest, EndTxnRequest, ProducerId};
use weir_broker::start::RunningBroker;
use weir_protocol::records::batch::batches;
use weir_protocol::records::control::marker_of;

use crate::client::{Client, broker, config, text};
use crate::transactions::{
    Producer, add, committed, end, group_offset, id, init, offset_commit, write, write_by,
};

/// The first version of Produce by which a transaction takes in what is written.
const PRODUCE: i16 = 12;

async fn end_by_two(
    client: &mut Client,
    name: &str,
    producer: Producer,
    committed: bool,
) -> Result<Producer, i16> {
    let request = EndTxnRequest::default()
        .with_transactional_id(id(name))
        .with_producer_id(ProducerId(producer.0))
        .with_producer_epoch(producer.1)
        .with_committed(committed);
    let answer = client.call(5, &request).await;
    let told = (answer.producer_id.0, answer.producer_epoch);
    if answer.error_code == 0 {
        return Ok(told);
    }
    assert_eq!(told, (-1, -1));
    Err(answer.error_code)
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_are_told_of_version_2() {
    let (_folder, broker) = broker().await;
    let mut client = Client::of(&broker).await;
    let request = ApiVersionsRequest::default()
        .with_client_software_name(text("weir-tests"))
        .with_client_software_version(text("1.0"));
    for version in [3, 4] {
        let answer = client.call(version, &request).await;
        assert!(answer.finalized_features_epoch >= 0);
        let finalized = answer.finalized_features.iter();
        let levels: Vec<_> = finalized
            .filter(|feature| &*feature.name == "transaction.version")
            .map(|feature| (feature.min_version_level, feature.max_version_level))
            .collect();
        assert_eq!(levels, [(2, 2)]);
        let supported = answer.supported_features.iter();
        let ranges: Vec<_> = supported
            .filter(|feature| &*feature.name == "transaction.version")
            .map(|feature| (feature.min_version, feature.max_version))
            .collect();
        // Before, Java clients cannot read a feature that may be as low as 0.
        assert_eq!(ranges, if version == 4 { vec![(0, 2)] } else { vec![] });
    }
    broker.stop().await.expect("a clean stop");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_takes_in_what_is_written_and_its_end_bumps_the_epoch() {
    let (_folder, broker) = broker().await;
    let mut client = Client::of(&broker).await;
    client.create("t", 2, &[]).await;
    let first = init(&mut client, "x").await.unwrap();
    assert_eq!(write_by(&mut client, PRODUCE, "x", first, (0, 0), "one").await, 0);
    assert_eq!(write_by(&mut client, PRODUCE, "x", first, (1, 0), "two").await, 0);
    assert_eq!(write_by(&mut client, PRODUCE, "x", first, (0, 1), "three").await, 0);
    assert_eq!(write_by(&mut client, PRODUCE, "x", first, (0, 1), "three").await, 0, "a repeat");
    assert_eq!(committed(&mut client, 0).await, (vec![], 0), "open");
    let second = (first.0, first.1 + 1);
    for _ in 0..2 {
        assert_eq!(end_by_two(&mut client, "x", first, true).await, Ok(second), "or lost");
    }
    let aborted = end_by_two(&mut client, "x", first, false).await;
    assert_eq!(aborted, Err(ResponseError::InvalidTxnState.code()));
    assert_eq!(committed(&mut client, 0).await, (vec!["one".into(), "three".into()], 3));
    assert_eq!(committed(&mut client, 1).await, (vec!["two".into()], 2));

    // What was on its way when the transaction ended.
    let late = write_by(&mut client, PRODUCE, "x", first, (0, 2), "late").await;
    assert_eq!(late, ResponseError::InvalidProducerEpoch.code());
    let gap = write_by(&mut client, PRODUCE, "x", second, (0, 2), "gap").await;
    assert_eq!(gap, ResponseError::OutOfOrderSequenceNumber.code());
    assert_eq!(write_by(&mut client, PRODUCE, "x", second, (0, 0), "never").await, 0);
    let third = (first.0, first.1 + 2);
    assert_eq!(end_by_two(&mut client, "x", second, false).await, Ok(third));
    assert_eq!(committed(&mut client, 0).await, (vec!["one".into(), "three".into()], 5));

    let fetched = client.fetch("t", 0).await.records.expect("records");
    let markers: Vec<_> = batches(fetched)
        .map(|batch| batch.expect("whole"))
        .filter(|batch| marker_of(batch).is_some())
        .map(|batch| (batch.header().producer_id, batch.header().producer_epoch))
        .collect();
    assert_eq!(markers, [second, third], "a marker bears the epoch after its transaction's");
    broker.stop().await.expect("a clean stop");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_producer_that_nobody_remembers_begins_with_sequence_0() {
    let (_folder, broker) = broker().await;
    let mut client = Client::of(&broker).await;
    client.create("t", 1, &[]).await;
    let producer = init(&mut client, "x").await.unwrap();
    let gap = write_by(&mut client, PRODUCE, "x", producer, (0, 3), "gap").await;
    assert_eq!(gap, ResponseError::OutOfOrderSequenceNumber.code());
    let next = end_by_two(&mut client, "x", producer, false).await.unwrap();
    assert_eq!(next, (producer.0, producer.1 + 1));
    broker.stop().await.expect("a clean stop");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_never_begun_can_be_aborted_and_not_committed() {
    let (_folder, broker) = broker().await;
    let mut client = Client::of(&broker).await;
    let producer = init(&mut client, "x").await.unwrap();
    let commit = end_by_two(&mut client, "x", producer, true).await;
    assert_eq!(commit, Err(ResponseError::InvalidTxnState.code()));
    for ended in 0..3 {
        let (before, after) = ((producer.0, ended), (producer.0, ended + 1));
        for _ in 0..2 {
            assert_eq!(end_by_two(&mut client, "x", before, false).await, Ok(after));
        }
    }
    let late = end_by_two(&mut client, "x", producer, false).await;
    assert_eq!(late, Err(ResponseError::ProducerFenced.code()));
    let other = end_by_two(&mut client, "x", (producer.0 + 1, 3), false).await;
    assert_eq!(other, Err(ResponseError::InvalidProducerIdMapping.code()));
    broker.stop().await.expect("a clean stop");
}

#[tokio::test(flavor = "multi_thread")]
async fn older_clients_go_on_beside_and_under_the_same_id() {
    let (_folder, broker) = broker().await;
    let mut client = Client::of(&broker).await;
    client.create("t", 1, &[]).await;
    let (old, new) = (init(&mut client, "o").await.unwrap(), init(&mut client, "n").await.unwrap());
    let early = write_by(&mut client, 11, "o", old, (0, 0), "early").await;
    assert_eq!(early, ResponseError::TransactionAbortable.code(), "the partition was not added");
    let mut expected = Vec::new();
    let mut new = new;
    for round in 0..2 {
        let value = format!("old {round}");
        assert_eq!(add(&mut client, "o", old, &[0]).await, 0);
        assert_eq!(write(&mut client, "o", old, (0, round), &value).await, 0);
        expected.push(value);
        let value = format!("new {round}");
        assert_eq!(write_by(&mut client, PRODUCE, "n", new, (0, 0), &value).await, 0);
        expected.push(value);
        assert_eq!(end(&mut client, "o", old, true).await, 0);
        new = end_by_two(&mut client, "n", new, true).await.unwrap();
    }
    assert_eq!(committed(&mut client, 0).await.0, expected);

    // The application of one is updated, that of the other goes back.
    let (old, new) = (init(&mut client, "n").await.unwrap(), init(&mut client, "o").await.unwrap());
    assert_eq!(add(&mut client, "n", old, &[0]).await, 0);
    assert_eq!(write(&mut client, "n", old, (0, 0), "back").await, 0);
    assert_eq!(end(&mut client, "n", old, true).await, 0);
    assert_eq!(write_by(&mut client, PRODUCE, "o", new, (0, 0), "update").await, 0);
    let next = end_by_two(&mut client, "o", new, true).await.unwrap();
    assert_eq!(next, (new.0, new.1 + 1));
    expected.extend(["back".to_owned(), "update".to_owned()]);
    assert_eq!(committed(&mut client, 0).await.0, expected);
    broker.stop().await.expect("a clean stop");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_producer_fences_one_of_version_2() {
    let (_folder, broker) = broker().await;
    let mut client = Client::of(&broker).await;
    client.create("t", 1, &[]).await;
    let zombie = init(&mut client, "x").await.unwrap();
    assert_eq!(write_by(&mut client, PRODUCE, "x", zombie, (0, 0), "zombie").await, 0);
    let alive = init(&mut client, "x").await.unwrap();
    assert_eq!(alive, (zombie.0, zombie.1 + 2));
    for commits in [true, false] {
        let late = end_by_two(&mut client, "x", zombie, commits).await;
        assert_eq!(late, Err(ResponseError::ProducerFenced.code()));
    }
    let late = write_by(&mut client, PRODUCE, "x", zombie, (0, 1), "zombie").await;
    assert_eq!(late, ResponseError::InvalidProducerEpoch.code());
    assert_eq!(write_by(&mut client, PRODUCE, "x", alive, (0, 0), "alive").await, 0);
    end_by_two(&mut client, "x", alive, true).await.unwrap();
    assert_eq!(committed(&mut client, 0).await, (vec!["alive".into()], 4));
    broker.stop().await.expect("a clean stop");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_open_and_what_was_told_outlives_a_restart() {
    let folder = tempfile::tempdir().expect("a folder");
    let broker = RunningBroker::start(config(folder.path())).await.expect("it starts");
    let mut client = Client::of(&broker).await;
    client.create("t", 1, &[]).await;
    let (x, y) = (init(&mut client, "x").await.unwrap(), init(&mut client, "y").await.unwrap());
    assert_eq!(write_by(&mut client, PRODUCE, "x", x, (0, 0), "done").await, 0);
    assert_eq!(write_by(&mut client, PRODUCE, "y", y, (0, 0), "open").await, 0);
    let next = end_by_two(&mut client, "x", x, true).await.unwrap();
    broker.stop().await.expect("a clean stop");

    let broker = RunningBroker::start(config(folder.path())).await.expect("it starts again");
    let mut client = Client::of(&broker).await;
    assert_eq!(end_by_two(&mut client, "x", x, true).await, Ok(next), "the answer was lost");
    let late = write_by(&mut client, PRODUCE, "x", x, (0, 1), "late").await;
    assert_eq!(late, ResponseError::InvalidProducerEpoch.code());
    assert_eq!(write_by(&mut client, PRODUCE, "y", y, (0, 0), "open").await, 0, "a repeat");
    assert_eq!(write_by(&mut client, PRODUCE, "y", y, (0, 1), "more").await, 0);
    end_by_two(&mut client, "y", y, true).await.unwrap();
    let (values, stable) = committed(&mut client, 0).await;
    assert_eq!((values, stable), (vec!["done".into(), "open".into(), "more".into()], 5));
    broker.stop().await.expect("a clean stop");
}

#[tokio::test(flavor = "multi_thread")]
async fn offsets_are_committed_without_adding_their_group() {
    let (_folder, broker) = broker().await;
    let mut client = Client::of(&broker).await;
    client.create("t", 1, &[]).await;
    let mut producer = init(&mut client, "x").await.unwrap();
    for version in [3, 4] {
        let early = client.call(version, &offset_commit("x", producer, 9)).await;
        let expected = match version {
            3 => ResponseError::InvalidTxnState,
            _ => ResponseError::TransactionAbortable,
        };
        let code = early.topics[0].partitions[0].error_code;
        assert_eq!(code, expected.code(), "the group was not added");
    }
    for (offset, commits, expected) in [(5, true, 5), (6, false, 5)] {
        let committing = client.call(5, &offset_commit("x", producer, offset)).await;
        assert_eq!(committing.topics[0].partitions[0].error_code, 0);
        let unstable = group_offset(&mut client, true).await;
        assert_eq!(unstable, Err(ResponseError::UnstableOffsetCommit.code()));
        let zombie = producer;
        producer = end_by_two(&mut client, "x", producer, commits).await.unwrap();
        assert_eq!(group_offset(&mut client, true).await, Ok(expected));
        let late = client.call(5, &offset_commit("x", zombie, 99)).await;
        let code = late.topics[0].partitions[0].error_code;
        assert_eq!(code, ResponseError::InvalidProducerEpoch.code());
    }
    broker.stop().await.expect("a clean stop");
}
