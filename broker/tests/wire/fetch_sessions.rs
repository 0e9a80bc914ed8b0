//! Fetch sessions over the wire, and the epoch of a log's start.

use kafka_protocol::messages::{FetchRequest, FetchResponse, MetadataRequest};
use weir_broker::start::RunningBroker;

use crate::client::{Client, batch, broker, config, fetch_request, produce_request};
use crate::lifecycle::start;

/// A fetch of two partitions in a session.
fn both(id: i32, epoch: i32) -> FetchRequest {
    let mut request = fetch_request("t", 0, 0, 0).with_session_id(id).with_session_epoch(epoch);
    let mut second = request.topics[0].partitions[0].clone();
    second.partition = 1;
    request.topics[0].partitions.push(second);
    request
}

/// The session goes on; nothing is named.
fn next(id: i32, epoch: i32) -> FetchRequest {
    both(id, epoch).with_topics(Vec::new())
}

fn told(response: &FetchResponse) -> Vec<i32> {
    let topics = response.responses.iter().flat_map(|topic| &topic.partitions);
    topics.map(|one| one.partition_index).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_names_only_the_partitions_that_changed() {
    let (_folder, broker) = broker().await;
    let mut client = Client::of(&broker).await;
    client.create("t", 2, &[]).await;
    let first = client.call(12, &both(0, 0)).await;
    assert_eq!((first.error_code, told(&first)), (0, vec![0, 1]));
    let id = first.session_id;
    assert!(id > 0);
    let quiet = client.call(12, &next(id, 1)).await;
    assert_eq!((quiet.error_code, quiet.session_id, told(&quiet)), (0, id, vec![]));
    client.call(9, &produce_request("t", 1, -1, batch(&["a"]))).await;
    let grown = client.call(12, &next(id, 2)).await;
    assert_eq!(told(&grown), [1]);
    assert!(!grown.responses[0].partitions[0].records.clone().expect("records").is_empty());
    // An epoch that was there already, and the other way of naming topics.
    assert_eq!(client.call(12, &next(id, 2)).await.error_code, 71);
    assert_eq!(client.call(13, &next(id, 3)).await.error_code, 106);
    // Closed: what is asked is answered, and then the session is gone.
    let last = client.call(12, &both(id, -1)).await;
    assert_eq!((last.error_code, last.session_id, told(&last)), (0, 0, vec![0, 1]));
    assert_eq!(client.call(12, &next(id, 3)).await.error_code, 70);
    broker.stop().await.expect("a clean stop");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_waits_is_woken_by_a_partition_that_its_request_does_not_name() {
    let (_folder, broker) = broker().await;
    let mut client = Client::of(&broker).await;
    client.create("t", 2, &[]).await;
    let metadata = client.call(12, &MetadataRequest::default().with_topics(None)).await;
    let topic_id = metadata.topics[0].topic_id;
    let mut first = both(0, 0);
    first.topics[0].topic_id = topic_id;
    let id = client.call(16, &first).await.session_id;
    let waiting = client.send(16, &next(id, 1).with_max_wait_ms(60_000)).await;
    let mut other = Client::of(&broker).await;
    other.call(9, &produce_request("t", 1, -1, batch(&["a"]))).await;
    let woken = client.receive::<FetchRequest>(16, waiting).await;
    assert_eq!((woken.error_code, told(&woken)), (0, vec![1]));
    assert_eq!(woken.responses[0].topic_id, topic_id);
    broker.stop().await.expect("a clean stop");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_slots_no_session_is_given() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut config = config(folder.path());
    config.set("max.incremental.fetch.session.cache.slots", "0").expect("valid");
    let broker = RunningBroker::start(config).await.expect("it starts");
    let mut client = Client::of(&broker).await;
    client.create("t", 2, &[]).await;
    let first = client.call(12, &both(0, 0)).await;
    assert_eq!((first.error_code, first.session_id, told(&first)), (0, 0, vec![0, 1]));
    broker.stop().await.expect("a clean stop");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_start_of_a_log_bears_the_epoch_in_which_it_was_written() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut epochs = Vec::new();
    for value in ["a", "b"] {
        // It is killed at the end of this block; the next one begins another epoch.
        let process = start(folder.path(), &[]);
        let mut client = Client::connect(process.address).await;
        if value == "a" {
            client.create("t", 1, &[]).await;
        }
        assert_eq!(client.produce("t", batch(&[value])).await.error_code, 0);
        for timestamp in [-1, -2, -4] {
            let listed = client.list_offset("t", timestamp).await;
            epochs.push((listed.error_code, listed.offset, listed.leader_epoch));
        }
    }
    let first = epochs[0].2;
    let second = epochs[3].2;
    assert!(second > first, "{epochs:?}");
    let before = [(0, 1, first), (0, 0, first), (0, 0, first)];
    let after = [(0, 2, second), (0, 0, first), (0, 0, first)];
    assert_eq!(epochs, [before, after].concat());
}
