//! Transactions over the wire: what is committed is read, what is aborted is not, zombies are
//! fenced, offsets count with the commit, and a restart goes on with what was open.

use std::sync::Arc;

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::add_partitions_to_txn_request::{
    AddPartitionsToTxnTopic, AddPartitionsToTxnTransaction,
};
use kafka_protocol::messages::describe_producers_request::TopicRequest;
use kafka_protocol::messages::offset_fetch_request::{
    OffsetFetchRequestGroup, OffsetFetchRequestTopics,
};
use kafka_protocol::messages::txn_offset_commit_request::{
    TxnOffsetCommitRequestPartition, TxnOffsetCommitRequestTopic,
};
use kafka_protocol::messages::write_txn_markers_request::{
    WritableTxnMarker, WritableTxnMarkerTopic,
};
use kafka_protocol::messages::{
    AddOffsetsToTxnRequest, AddPartitionsToTxnRequest, DescribeProducersRequest,
    DescribeTransactionsRequest, EndTxnRequest, GroupId, InitProducerIdRequest,
    ListTransactionsRequest, MetadataRequest, OffsetFetchRequest, ProducerId, TopicName,
    TransactionalId, TxnOffsetCommitRequest, WriteTxnMarkersRequest,
};
use weir_broker::clock::{Clock, SystemClock};
use weir_broker::disk::os::OsDisk;
use weir_broker::log::config::LogConfig;
use weir_broker::log::dir::LogDir;
use weir_broker::log::dir::options::LogDirOptions;
use weir_broker::partition::Partition;
use weir_broker::producers::Start;
use weir_broker::start::RunningBroker;
use weir_protocol::records::batch::{RecordBatch, batches};
use weir_protocol::records::builder::BatchBuilder;
use weir_protocol::records::compression::Compression;
use weir_protocol::records::control::transactional;

use crate::client::{Client, broker, config, fetch_request, produce_request, text};
use crate::every_version::all;

pub(crate) type Producer = (i64, i16);

pub(crate) fn id(name: &str) -> TransactionalId {
    TransactionalId(text(name))
}

pub(crate) async fn init(client: &mut Client, name: &str) -> Result<Producer, i16> {
    let request = InitProducerIdRequest::default()
        .with_transactional_id(Some(id(name)))
        .with_transaction_timeout_ms(60_000)
        .with_producer_id(ProducerId(-1))
        .with_producer_epoch(-1);
    loop {
        let answer = client.call(4, &request).await;
        match answer.error_code {
            0 => return Ok((answer.producer_id.0, answer.producer_epoch)),
            code if code == ResponseError::ConcurrentTransactions.code() => {
                tokio::task::yield_now().await;
            }
            code => return Err(code),
        }
    }
}

pub(crate) async fn add(
    client: &mut Client,
    name: &str,
    producer: Producer,
    partitions: &[i32],
) -> i16 {
    let topic = AddPartitionsToTxnTopic::default()
        .with_name(TopicName(text("t")))
        .with_partitions(partitions.to_vec());
    let request = AddPartitionsToTxnRequest::default()
        .with_v3_and_below_transactional_id(id(name))
        .with_v3_and_below_producer_id(ProducerId(producer.0))
        .with_v3_and_below_producer_epoch(producer.1)
        .with_v3_and_below_topics(vec![topic]);
    let answer = client.call(3, &request).await;
    answer.results_by_topic_v3_and_below[0].results_by_partition[0].partition_error_code
}

/// Writes one record within the transaction.
pub(crate) async fn write(
    client: &mut Client,
    name: &str,
    producer: Producer,
    at: (i32, i32),
    value: &str,
) -> i16 {
    write_by(client, 9, name, producer, at, value).await
}

/// The same by a version of Produce.
pub(crate) async fn write_by(
    client: &mut Client,
    version: i16,
    name: &str,
    producer: Producer,
    (partition, sequence): (i32, i32),
    value: &str,
) -> i16 {
    let mut builder =
        BatchBuilder::new(Compression::None).producer(producer.0, producer.1, sequence);
    // As the markers: records of another time would roll the segment.
    builder.append(SystemClock.now_ms(), None, Some(value.as_bytes()), &[]);
    let batch = transactional(&builder.finish());
    let request = produce_request("t", partition, -1, batch).with_transactional_id(Some(id(name)));
    client.call(version, &request).await.responses[0].partition_responses[0].error_code
}

pub(crate) async fn end(
    client: &mut Client,
    name: &str,
    producer: Producer,
    committed: bool,
) -> i16 {
    let request = EndTxnRequest::default()
        .with_transactional_id(id(name))
        .with_producer_id(ProducerId(producer.0))
        .with_producer_epoch(producer.1)
        .with_committed(committed);
    client.call(3, &request).await.error_code
}

/// What a reader of committed records sees, filtered as clients do; and the last stable offset.
pub(crate) async fn committed(client: &mut Client, partition: i32) -> (Vec<String>, i64) {
    let mut request = fetch_request("t", partition, 0, 0).with_isolation_level(1);
    request.session_epoch = -1;
    let answer = client.call(11, &request).await;
    let data = &answer.responses[0].partitions[0];
    assert_eq!(data.error_code, 0);
    let aborted = data.aborted_transactions.clone().expect("a list");
    let mut values = Vec::new();
    let mut open: Vec<i64> = Vec::new();
    for batch in batches(data.records.clone().expect("records")) {
        let batch = batch.expect("whole");
        let header = *batch.header();
        assert!(header.base_offset.0 < data.last_stable_offset);
        open.extend(
            aborted
                .iter()
                .filter(|it| it.first_offset == header.base_offset.0)
                .map(|it| it.producer_id.0),
        );
        if header.is_control() {
            open.retain(|producer| *producer != header.producer_id);
            continue;
        }
        if open.contains(&header.producer_id) {
            continue;
        }
        for record in batch.records(1 << 20).expect("records") {
            let value = record.expect("a record").value.expect("a value");
            values.push(String::from_utf8(value.to_vec()).expect("text"));
        }
    }
    (values, data.last_stable_offset)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_committed_is_read_and_what_is_aborted_is_not() {
    let (_folder, broker) = broker().await;
    let mut client = Client::of(&broker).await;
    client.create("t", 2, &[]).await;
    let producer = init(&mut client, "x").await.unwrap();
    assert_eq!(producer.1, 0);
    let stranger = write(&mut client, "x", producer, (0, 0), "early").await;
    assert_eq!(stranger, ResponseError::InvalidTxnState.code(), "the partition was not added");
    assert_eq!(add(&mut client, "x", producer, &[0, 1]).await, 0);
    assert_eq!(write(&mut client, "x", producer, (0, 0), "one").await, 0);
    assert_eq!(write(&mut client, "x", producer, (1, 0), "two").await, 0);
    assert_eq!(committed(&mut client, 0).await, (vec![], 0), "open");
    assert_eq!(end(&mut client, "x", producer, true).await, 0);
    assert_eq!(end(&mut client, "x", producer, true).await, 0, "the answer was lost");
    let other = end(&mut client, "x", producer, false).await;
    assert_eq!(other, ResponseError::InvalidTxnState.code());
    // A marker takes an offset.
    assert_eq!(committed(&mut client, 0).await, (vec!["one".into()], 2));
    assert_eq!(committed(&mut client, 1).await, (vec!["two".into()], 2));

    assert_eq!(add(&mut client, "x", producer, &[0]).await, 0);
    assert_eq!(write(&mut client, "x", producer, (0, 1), "never").await, 0);
    assert_eq!(end(&mut client, "x", producer, false).await, 0);
    assert_eq!(committed(&mut client, 0).await, (vec!["one".into()], 4));
    let late = write(&mut client, "x", producer, (0, 2), "late").await;
    assert_eq!(late, ResponseError::InvalidTxnState.code());
    broker.stop().await.expect("a clean stop");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_producer_fences_the_first_and_its_open_transaction_is_aborted() {
    let (_folder, broker) = broker().await;
    let mut client = Client::of(&broker).await;
    client.create("t", 1, &[]).await;
    let first = init(&mut client, "x").await.unwrap();
    assert_eq!(add(&mut client, "x", first, &[0]).await, 0);
    assert_eq!(write(&mut client, "x", first, (0, 0), "zombie").await, 0);
    let second = init(&mut client, "x").await.unwrap();
    assert_eq!((second.0, second.1), (first.0, first.1 + 2));
    let fenced = ResponseError::ProducerFenced.code();
    assert_eq!(end(&mut client, "x", first, true).await, fenced);
    assert_eq!(add(&mut client, "x", first, &[0]).await, fenced);
    let stale = write(&mut client, "x", first, (0, 1), "zombie").await;
    assert_eq!(stale, ResponseError::InvalidProducerEpoch.code());
    assert_eq!(committed(&mut client, 0).await, (vec![], 2));
    assert_eq!(add(&mut client, "x", second, &[0]).await, 0);
    assert_eq!(write(&mut client, "x", second, (0, 0), "alive").await, 0);
    assert_eq!(end(&mut client, "x", second, true).await, 0);
    assert_eq!(committed(&mut client, 0).await, (vec!["alive".into()], 4));
    broker.stop().await.expect("a clean stop");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_open_outlives_a_restart_and_what_was_aborted_stays_so() {
    let folder = tempfile::tempdir().expect("a folder");
    let broker = RunningBroker::start(config(folder.path())).await.expect("it starts");
    let mut client = Client::of(&broker).await;
    client.create("t", 1, &[]).await;
    let (x, y) = (init(&mut client, "x").await.unwrap(), init(&mut client, "y").await.unwrap());
    for (name, producer, value) in [("x", x, "aborted"), ("y", y, "open")] {
        assert_eq!(add(&mut client, name, producer, &[0]).await, 0);
        assert_eq!(write(&mut client, name, producer, (0, 0), value).await, 0);
    }
    assert_eq!(end(&mut client, "x", x, false).await, 0);
    assert_eq!(committed(&mut client, 0).await, (vec![], 1), "y is open from offset 1 on");
    broker.stop().await.expect("a clean stop");

    let broker = RunningBroker::start(config(folder.path())).await.expect("it starts again");
    let mut client = Client::of(&broker).await;
    assert_eq!(committed(&mut client, 0).await, (vec![], 1));
    assert_eq!(write(&mut client, "y", y, (0, 1), "more").await, 0);
    assert_eq!(end(&mut client, "y", y, true).await, 0);
    assert_eq!(committed(&mut client, 0).await, (vec!["open".into(), "more".into()], 5));
    broker.stop().await.expect("a clean stop");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_that_nobody_ends_is_aborted_in_time() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut settings = config(folder.path());
    let every = "transaction.abort.timed.out.transaction.cleanup.interval.ms";
    settings.set(every, "20").expect("valid");
    let broker = RunningBroker::start(settings).await.expect("it starts");
    let mut client = Client::of(&broker).await;
    client.create("t", 1, &[]).await;
    let request = InitProducerIdRequest::default()
        .with_transactional_id(Some(id("x")))
        .with_transaction_timeout_ms(200)
        .with_producer_id(ProducerId(-1))
        .with_producer_epoch(-1);
    let answer = client.call(4, &request).await;
    let producer = (answer.producer_id.0, answer.producer_epoch);
    assert_eq!(add(&mut client, "x", producer, &[0]).await, 0);
    assert_eq!(write(&mut client, "x", producer, (0, 0), "slow").await, 0);
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(20);
    while committed(&mut client, 0).await.1 == 0 {
        assert!(tokio::time::Instant::now() < deadline, "it stays open");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert_eq!(committed(&mut client, 0).await, (vec![], 2));
    let late = end(&mut client, "x", producer, true).await;
    assert_eq!(late, ResponseError::ProducerFenced.code());
    let long = request.with_transaction_timeout_ms(900_001);
    let refused = client.call(4, &long).await.error_code;
    assert_eq!(refused, ResponseError::InvalidTransactionTimeout.code());
    broker.stop().await.expect("a clean stop");
}

pub(crate) fn offset_commit(name: &str, producer: Producer, offset: i64) -> TxnOffsetCommitRequest {
    let partition = TxnOffsetCommitRequestPartition::default()
        .with_partition_index(0)
        .with_committed_offset(offset)
        .with_committed_metadata(Some(text("m")));
    let topic = TxnOffsetCommitRequestTopic::default()
        .with_name(TopicName(text("t")))
        .with_partitions(vec![partition]);
    TxnOffsetCommitRequest::default()
        .with_transactional_id(id(name))
        .with_group_id(GroupId(text("g")))
        .with_producer_id(ProducerId(producer.0))
        .with_producer_epoch(producer.1)
        .with_topics(vec![topic])
}

fn add_offsets(name: &str, producer: Producer) -> AddOffsetsToTxnRequest {
    AddOffsetsToTxnRequest::default()
        .with_transactional_id(id(name))
        .with_producer_id(ProducerId(producer.0))
        .with_producer_epoch(producer.1)
        .with_group_id(GroupId(text("g")))
}

/// The committed offset, or the error of the partition.
pub(crate) async fn group_offset(client: &mut Client, stable: bool) -> Result<i64, i16> {
    let topic = OffsetFetchRequestTopics::default()
        .with_name(TopicName(text("t")))
        .with_partition_indexes(vec![0]);
    let group = OffsetFetchRequestGroup::default()
        .with_group_id(GroupId(text("g")))
        .with_topics(Some(vec![topic]));
    let request =
        OffsetFetchRequest::default().with_groups(vec![group]).with_require_stable(stable);
    let answer = client.call(8, &request).await;
    let found = &answer.groups[0].topics[0].partitions[0];
    if found.error_code == 0 { Ok(found.committed_offset) } else { Err(found.error_code) }
}

#[tokio::test(flavor = "multi_thread")]
async fn offsets_count_with_the_commit_and_never_with_an_abort() {
    let folder = tempfile::tempdir().expect("a folder");
    let broker = RunningBroker::start(config(folder.path())).await.expect("it starts");
    let mut client = Client::of(&broker).await;
    client.create("t", 1, &[]).await;
    let producer = init(&mut client, "x").await.unwrap();
    let early = client.call(3, &offset_commit("x", producer, 9)).await;
    let code = early.topics[0].partitions[0].error_code;
    assert_eq!(code, ResponseError::InvalidTxnState.code(), "the group was not added");
    for (offset, commits, expected) in [(5, true, 5), (6, false, 5)] {
        assert_eq!(client.call(3, &add_offsets("x", producer)).await.error_code, 0);
        let committing = client.call(3, &offset_commit("x", producer, offset)).await;
        assert_eq!(committing.topics[0].partitions[0].error_code, 0);
        let unstable = group_offset(&mut client, true).await;
        assert_eq!(unstable, Err(ResponseError::UnstableOffsetCommit.code()));
        assert_eq!(end(&mut client, "x", producer, commits).await, 0);
        assert_eq!(group_offset(&mut client, true).await, Ok(expected));
    }
    assert_eq!(client.call(3, &add_offsets("x", producer)).await.error_code, 0);
    client.call(3, &offset_commit("x", producer, 7)).await;
    broker.stop().await.expect("a clean stop");

    let broker = RunningBroker::start(config(folder.path())).await.expect("it starts again");
    let mut client = Client::of(&broker).await;
    assert_eq!(group_offset(&mut client, false).await, Ok(5), "still open");
    assert_eq!(end(&mut client, "x", producer, true).await, 0);
    assert_eq!(group_offset(&mut client, true).await, Ok(7));
    broker.stop().await.expect("a clean stop");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_open_and_no_transactional_id_knows_is_aborted_before_the_first_client_comes() {
    let folder = tempfile::tempdir().expect("a folder");
    let broker = RunningBroker::start(config(folder.path())).await.expect("it starts");
    let mut client = Client::of(&broker).await;
    client.create("t", 1, &[]).await;
    let known = init(&mut client, "x").await.unwrap();
    assert_eq!(add(&mut client, "x", known, &[0]).await, 0);
    assert_eq!(write(&mut client, "x", known, (0, 0), "known").await, 0);
    let all = MetadataRequest::default().with_topics(None);
    let topics = client.call(12, &all).await.topics;
    let is_t = |name: &TopicName| &**name == "t";
    let topic = topics.iter().find(|topic| topic.name.as_ref().is_some_and(is_t));
    let topic_id = topic.expect("it was made").topic_id;
    broker.stop().await.expect("a clean stop");

    // Such as another broker leaves behind, whose coordinator has lost its log.
    let disk = Arc::new(OsDisk::open(folder.path()).expect("the folder"));
    let (dir, _) = LogDir::open(disk, LogDirOptions::default(), Arc::new(SystemClock)).unwrap();
    let (partition, _) =
        Partition::open(&dir, "t", 0, topic_id, LogConfig::default()).expect("it opens");
    let mut builder = BatchBuilder::new(Compression::None).producer(known.0 + 500, 3, 0);
    builder.append(SystemClock.now_ms(), None, Some(b"stray"), &[]);
    let stray = RecordBatch::parse(transactional(&builder.finish())).expect("a batch");
    partition.append_in_transaction(&stray, Start::Anywhere).expect("it is taken");
    dir.close().expect("it closes");
    drop((partition, dir));

    let broker = RunningBroker::start(config(folder.path())).await.expect("it starts again");
    let mut client = Client::of(&broker).await;
    assert_eq!(end(&mut client, "x", known, true).await, 0);
    // Two batches, and a marker for each.
    assert_eq!(committed(&mut client, 0).await, (vec!["known".into()], 4));
    broker.stop().await.expect("a clean stop");
}

fn markers(
    topic: &str,
    partitions: &[i32],
    producer: Producer,
    commits: bool,
    coordinator_epoch: i32,
) -> WriteTxnMarkersRequest {
    let topic = WritableTxnMarkerTopic::default()
        .with_name(TopicName(text(topic)))
        .with_partition_indexes(partitions.to_vec());
    let marker = WritableTxnMarker::default()
        .with_producer_id(ProducerId(producer.0))
        .with_producer_epoch(producer.1)
        .with_transaction_result(commits)
        .with_topics(vec![topic])
        .with_coordinator_epoch(coordinator_epoch);
    WriteTxnMarkersRequest::default().with_markers(vec![marker])
}

/// The partitions' errors.
async fn mark(client: &mut Client, request: &WriteTxnMarkersRequest) -> Vec<i16> {
    let answer = client.call(1, request).await;
    let topics = answer.markers.iter().flat_map(|marker| &marker.topics);
    topics.flat_map(|topic| &topic.partitions).map(|partition| partition.error_code).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_ends_a_transaction_that_stays_open() {
    let (_folder, broker) = broker().await;
    let mut client = Client::of(&broker).await;
    client.create("t", 2, &[]).await;
    let producer = init(&mut client, "x").await.unwrap();
    assert_eq!(add(&mut client, "x", producer, &[0, 1]).await, 0);
    for partition in [0, 1] {
        assert_eq!(write(&mut client, "x", producer, (partition, 0), "hangs").await, 0);
    }
    assert_eq!(committed(&mut client, 0).await, (vec![], 0));

    let aborting = markers("t", &[0, 7], producer, false, 5);
    let unknown = ResponseError::UnknownTopicOrPartition.code();
    assert_eq!(mark(&mut client, &aborting).await, [0, unknown]);
    assert_eq!(committed(&mut client, 0).await, (vec![], 2));
    assert_eq!(committed(&mut client, 1).await, (vec![], 0), "nobody has spoken of it");
    let older = markers("t", &[0, 1], producer, false, 4);
    let fenced = ResponseError::TransactionCoordinatorFenced.code();
    assert_eq!(mark(&mut client, &older).await, [fenced, 0], "of 1 no coordinator is known");
    let older = markers("t", &[0], (producer.0, producer.1 - 1), false, 5);
    assert_eq!(mark(&mut client, &older).await, [ResponseError::InvalidProducerEpoch.code()]);
    assert_eq!(mark(&mut client, &markers("t", &[0], producer, true, 5)).await, [0], "once more");
    assert_eq!(committed(&mut client, 0).await, (vec![], 3), "what has ended has ended");

    let topic =
        TopicRequest::default().with_name(TopicName(text("t"))).with_partition_indexes(vec![0]);
    let request = DescribeProducersRequest::default().with_topics(vec![topic]);
    let answer = client.call(0, &request).await;
    let told = &answer.topics[0].partitions[0].active_producers[0];
    assert_eq!((told.coordinator_epoch, told.current_txn_start_offset), (5, -1));
    // Its own coordinator is not held up by that.
    assert_eq!(end(&mut client, "x", producer, true).await, 0);
    broker.stop().await.expect("a clean stop");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_ends_a_transaction_that_commits_offsets() {
    let (_folder, broker) = broker().await;
    let mut client = Client::of(&broker).await;
    client.create("t", 1, &[]).await;
    let mut producer = init(&mut client, "x").await.unwrap();
    let all = MetadataRequest::default().with_topics(None);
    for (offset, commits, expected) in [(5, true, 5), (6, false, 5)] {
        assert_eq!(client.call(3, &add_offsets("x", producer)).await.error_code, 0);
        client.call(3, &offset_commit("x", producer, offset)).await;
        let unstable = group_offset(&mut client, true).await;
        assert_eq!(unstable, Err(ResponseError::UnstableOffsetCommit.code()));
        let topics = client.call(12, &all).await.topics;
        let name = "__consumer_offsets";
        let found = topics.iter().find(|it| it.name.as_ref().is_some_and(|it| &**it == name));
        let count = found.expect("it was made").partitions.len();
        let partitions: Vec<i32> = (0..).take(count).collect();
        let codes = mark(&mut client, &markers(name, &partitions, producer, commits, 0)).await;
        assert!(codes.iter().all(|code| *code == 0));
        assert_eq!(group_offset(&mut client, true).await, Ok(expected));
        producer = init(&mut client, "x").await.unwrap();
    }
    broker.stop().await.expect("a clean stop");
}

/// The APIs of transactions in every version.
pub(crate) async fn ask(client: &mut Client) {
    let producer = init(client, "asked").await.expect("a producer");
    let topic =
        AddPartitionsToTxnTopic::default().with_name(TopicName(text("t"))).with_partitions(vec![0]);
    all(client, |version| {
        if version < 4 {
            return AddPartitionsToTxnRequest::default()
                .with_v3_and_below_transactional_id(id("asked"))
                .with_v3_and_below_producer_id(ProducerId(producer.0))
                .with_v3_and_below_producer_epoch(producer.1)
                .with_v3_and_below_topics(vec![topic.clone()]);
        }
        let transaction = AddPartitionsToTxnTransaction::default()
            .with_transactional_id(id("asked"))
            .with_producer_id(ProducerId(producer.0))
            .with_producer_epoch(producer.1)
            .with_verify_only(version == 5)
            .with_topics(vec![topic.clone()]);
        AddPartitionsToTxnRequest::default().with_transactions(vec![transaction])
    })
    .await;
    all(client, |_| add_offsets("asked", producer)).await;
    all(client, |_| offset_commit("asked", producer, 1)).await;
    all(client, |_| {
        let topics = ["t", "missing"].map(|topic| {
            TopicRequest::default()
                .with_name(TopicName(text(topic)))
                .with_partition_indexes(vec![0])
        });
        DescribeProducersRequest::default().with_topics(topics.to_vec())
    })
    .await;
    all(client, |_| {
        DescribeTransactionsRequest::default()
            .with_transactional_ids(vec![id("asked"), id("missing")])
    })
    .await;
    all(client, |_| markers("t", &[0, 7], (producer.0 + 1, 0), false, 0)).await;
    all(client, |_| {
        ListTransactionsRequest::default().with_state_filters(vec![text("Ongoing"), text("What")])
    })
    .await;
    all(client, |_| {
        EndTxnRequest::default()
            .with_transactional_id(id("asked"))
            .with_producer_id(ProducerId(producer.0))
            .with_producer_epoch(producer.1)
            .with_committed(true)
    })
    .await;
}
