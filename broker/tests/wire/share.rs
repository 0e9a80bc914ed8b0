//! Share groups as clients see them: acquire, acknowledge, release, lock timeout, restart.

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::alter_share_group_offsets_request::{
    AlterShareGroupOffsetsRequestPartition, AlterShareGroupOffsetsRequestTopic,
};
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::describe_share_group_offsets_request::{
    DescribeShareGroupOffsetsRequestGroup, DescribeShareGroupOffsetsRequestTopic,
};
use kafka_protocol::messages::incremental_alter_configs_request::{
    AlterConfigsResource, AlterableConfig,
};
use kafka_protocol::messages::share_acknowledge_request::{
    AcknowledgePartition, AcknowledgeTopic, AcknowledgementBatch,
};
use kafka_protocol::messages::share_fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::{
    AlterShareGroupOffsetsRequest, DeleteGroupsRequest, DeleteShareGroupOffsetsRequest,
    DescribeConfigsRequest, DescribeShareGroupOffsetsRequest, GroupId,
    IncrementalAlterConfigsRequest, ListGroupsRequest, MetadataRequest, ShareAcknowledgeRequest,
    ShareFetchRequest, ShareGroupDescribeRequest, ShareGroupHeartbeatRequest, TopicName,
};
use uuid::Uuid;
use weir_broker::start::RunningBroker;

use crate::client::{Client, batch, config, produce_request, text};
use crate::transactions;

/// A member of the group "g" that subscribes to "t".
struct Member {
    client: Client,
    name: &'static str,
    topic: Uuid,
    epoch: i32,
    session_epoch: i32,
}

impl Member {
    async fn join(broker: &RunningBroker, name: &'static str) -> Self {
        let mut client = Client::of(broker).await;
        let metadata = client.call(12, &MetadataRequest::default().with_topics(None)).await;
        let own = metadata
            .topics
            .iter()
            .find(|topic| topic.name.as_ref().is_some_and(|name| name.as_str() == "t"));
        let topic = own.expect("it is there").topic_id;
        let mut member = Self { client, name, topic, epoch: 0, session_epoch: 0 };
        let (error, partitions) = member.beat(Some(&["t"])).await;
        assert_eq!((error, partitions), (0, Some(vec![0])));
        member
    }

    async fn beat(&mut self, topics: Option<&[&str]>) -> (i16, Option<Vec<i32>>) {
        let topics = topics.map(|names| names.iter().map(|name| TopicName(text(name))).collect());
        let request = ShareGroupHeartbeatRequest::default()
            .with_group_id(GroupId(text("g")))
            .with_member_id(text(self.name))
            .with_member_epoch(self.epoch)
            .with_subscribed_topic_names(topics);
        let told = self.client.call(1, &request).await;
        if told.error_code == 0 {
            self.epoch = told.member_epoch;
        }
        let assigned = told.assignment.map(|all| {
            all.topic_partitions.into_iter().flat_map(|topic| topic.partitions).collect()
        });
        (told.error_code, assigned)
    }

    /// What is acquired: first and last offset, and deliveries.
    async fn fetch(&mut self, max_wait_ms: i32) -> Vec<(i64, i64, i16)> {
        let partition = FetchPartition::default().with_partition_index(0);
        let topic =
            FetchTopic::default().with_topic_id(self.topic).with_partitions(vec![partition]);
        let request = ShareFetchRequest::default()
            .with_group_id(Some(GroupId(text("g"))))
            .with_member_id(Some(text(self.name)))
            .with_share_session_epoch(self.session_epoch)
            .with_max_wait_ms(max_wait_ms)
            .with_min_bytes(1)
            .with_max_bytes(1 << 20)
            .with_max_records(100)
            .with_batch_size(100)
            .with_topics(if self.session_epoch == 0 { vec![topic] } else { vec![] });
        let response = self.client.call(1, &request).await;
        assert_eq!(response.error_code, 0);
        self.session_epoch += 1;
        let partitions = response.responses.into_iter().flat_map(|topic| topic.partitions);
        let mut all = Vec::new();
        for partition in partitions {
            assert_eq!(partition.error_code, 0);
            assert_eq!(
                partition.records.is_some_and(|bytes| !bytes.is_empty()),
                !partition.acquired_records.is_empty()
            );
            all.extend(
                partition
                    .acquired_records
                    .iter()
                    .map(|one| (one.first_offset, one.last_offset, one.delivery_count)),
            );
        }
        all
    }

    async fn judge(&mut self, first: i64, last: i64, verdicts: &[i8]) -> i16 {
        let batch = AcknowledgementBatch::default()
            .with_first_offset(first)
            .with_last_offset(last)
            .with_acknowledge_types(verdicts.to_vec());
        let partition = AcknowledgePartition::default()
            .with_partition_index(0)
            .with_acknowledgement_batches(vec![batch]);
        let topic =
            AcknowledgeTopic::default().with_topic_id(self.topic).with_partitions(vec![partition]);
        let (error, response) = self.acknowledge(vec![topic]).await;
        assert_eq!(error, 0);
        response
    }

    async fn acknowledge(&mut self, topics: Vec<AcknowledgeTopic>) -> (i16, i16) {
        let request = ShareAcknowledgeRequest::default()
            .with_group_id(Some(GroupId(text("g"))))
            .with_member_id(Some(text(self.name)))
            .with_share_session_epoch(self.session_epoch)
            .with_topics(topics);
        let response = self.client.call(1, &request).await;
        self.session_epoch += 1;
        let first = response.responses.first().map_or(0, |topic| topic.partitions[0].error_code);
        (response.error_code, first)
    }

    async fn start_offset(&mut self) -> i64 {
        let group = DescribeShareGroupOffsetsRequestGroup::default()
            .with_group_id(GroupId(text("g")))
            .with_topics(None);
        let request = DescribeShareGroupOffsetsRequest::default().with_groups(vec![group]);
        let response = self.client.call(0, &request).await;
        response.groups[0].topics[0].partitions[0].start_offset
    }
}

/// Every API of share groups, about what is there and what is not.
pub(crate) async fn ask_everything(client: &mut Client, topic: Uuid) {
    let group = || GroupId(text("share"));
    let beat = ShareGroupHeartbeatRequest::default()
        .with_group_id(group())
        .with_member_id(text("ada"))
        .with_subscribed_topic_names(Some(vec![TopicName(text("t"))]));
    let told = client.call(1, &beat).await;
    assert!(told.error_code == 0 && told.assignment.is_some(), "{told:?}");
    let unknown = beat.with_member_id(text("bob")).with_member_epoch(9);
    let told = client.call(1, &unknown).await;
    assert_eq!(told.error_code, ResponseError::UnknownMemberId.code());
    let ids = vec![group(), GroupId(text("missing")), GroupId(text(""))];
    let request = ShareGroupDescribeRequest::default().with_group_ids(ids);
    let described = client.call(1, &request).await;
    let codes: Vec<i16> = described.groups.iter().map(|group| group.error_code).collect();
    assert_eq!(
        codes,
        [0, ResponseError::GroupIdNotFound.code(), ResponseError::InvalidGroupId.code()]
    );
    assert_eq!(described.groups[0].members[0].assignment.topic_partitions[0].topic_id, topic);
    let topics = [topic, Uuid::from_u128(1)].map(|id| {
        let partitions = [0, 77].map(|index| FetchPartition::default().with_partition_index(index));
        FetchTopic::default().with_topic_id(id).with_partitions(partitions.to_vec())
    });
    let fetch = ShareFetchRequest::default()
        .with_group_id(Some(group()))
        .with_member_id(Some(text("ada")))
        .with_topics(topics.to_vec());
    let fetched = client.call(1, &fetch).await;
    assert_eq!((fetched.error_code, fetched.responses.len()), (0, 2));
    let unnamed = client.call(1, &ShareFetchRequest::default()).await;
    assert_eq!(unnamed.error_code, ResponseError::InvalidRequest.code());
    let partition = AcknowledgePartition::default().with_acknowledgement_batches(vec![
        AcknowledgementBatch::default().with_last_offset(5).with_acknowledge_types(vec![9]),
    ]);
    let acknowledge = ShareAcknowledgeRequest::default()
        .with_group_id(Some(group()))
        .with_member_id(Some(text("ada")))
        .with_share_session_epoch(1)
        .with_topics(vec![
            AcknowledgeTopic::default().with_topic_id(topic).with_partitions(vec![partition]),
        ]);
    let answered = client.call(1, &acknowledge).await;
    let code = answered.responses[0].partitions[0].error_code;
    assert_eq!((answered.error_code, code), (0, ResponseError::InvalidRequest.code()));
    ask_for_offsets(client).await;
}

async fn ask_for_offsets(client: &mut Client) {
    for (id, expected) in [("share", 0), ("missing", ResponseError::GroupIdNotFound.code())] {
        let topics = ["t", "missing"].map(|topic| {
            DescribeShareGroupOffsetsRequestTopic::default()
                .with_topic_name(TopicName(text(topic)))
                .with_partitions(vec![0, 77])
        });
        let asked = [None, Some(topics.to_vec())].map(|topics| {
            DescribeShareGroupOffsetsRequestGroup::default()
                .with_group_id(GroupId(text(id)))
                .with_topics(topics)
        });
        let request = DescribeShareGroupOffsetsRequest::default().with_groups(asked.to_vec());
        let described = client.call(0, &request).await;
        assert!(described.groups.iter().all(|group| group.error_code == expected));
        let expected = if expected == 0 { ResponseError::NonEmptyGroup.code() } else { expected };
        let request = AlterShareGroupOffsetsRequest::default().with_group_id(GroupId(text(id)));
        assert_eq!(client.call(0, &request).await.error_code, expected);
        let request = DeleteShareGroupOffsetsRequest::default().with_group_id(GroupId(text(id)));
        assert_eq!(client.call(0, &request).await.error_code, expected);
    }
}

async fn start(folder: &std::path::Path) -> RunningBroker {
    let mut config = config(folder);
    config.set("group.share.record.lock.duration.ms", "1000").expect("valid");
    RunningBroker::start(config).await.expect("it starts")
}

async fn produce(client: &mut Client, values: &[&str]) {
    let response = client.call(9, &produce_request("t", 0, -1, batch(values))).await;
    assert_eq!(response.responses[0].partition_responses[0].error_code, 0);
}

/// A wish to set something for the group.
fn setting(name: &str, value: &str) -> IncrementalAlterConfigsRequest {
    let config = AlterableConfig::default().with_name(text(name)).with_value(Some(text(value)));
    let resource = AlterConfigsResource::default()
        .with_resource_type(32)
        .with_resource_name(text("g"))
        .with_configs(vec![config]);
    IncrementalAlterConfigsRequest::default().with_resources(vec![resource])
}

#[tokio::test(flavor = "multi_thread")]
async fn two_members_share_a_partition_and_what_was_done_stays_done() {
    let folder = tempfile::tempdir().expect("a folder");
    let broker = start(folder.path()).await;
    let mut producer = Client::of(&broker).await;
    producer.create("t", 1, &[]).await;
    let mut ada = Member::join(&broker, "ada").await;
    let mut bob = Member::join(&broker, "bob").await;
    // They begin at the end of an empty log.
    assert_eq!(ada.fetch(0).await, []);
    assert_eq!(bob.fetch(0).await, []);
    produce(&mut producer, &["a", "b", "c", "d"]).await;
    assert_eq!(ada.fetch(1000).await, [(0, 3, 1)]);
    assert_eq!(bob.fetch(0).await, []);
    let not_hers = bob.judge(0, 0, &[1]).await;
    assert_eq!(not_hers, ResponseError::InvalidRecordState.code());
    // Accepted, released, rejected, and one that stays with her.
    assert_eq!(ada.judge(0, 2, &[1, 2, 3]).await, 0);
    assert_eq!(bob.fetch(1000).await, [(1, 1, 2)]);
    assert_eq!(bob.judge(1, 1, &[1]).await, 0);
    assert_eq!(bob.start_offset().await, 3);
    broker.stop().await.expect("a clean stop");

    let broker = start(folder.path()).await;
    // The group is still there with both of them; their sessions are not.
    let mut bob = Member { client: Client::of(&broker).await, session_epoch: 0, ..bob };
    assert_eq!(bob.beat(None).await.0, 0);
    assert_eq!(bob.start_offset().await, 3);
    assert_eq!(bob.fetch(1000).await, [(3, 3, 1)]);
    assert_eq!(bob.judge(3, 3, &[1]).await, 0);
    assert_eq!(bob.fetch(0).await, []);
    broker.stop().await.expect("a clean stop");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_that_ends_wakes_who_waits_and_the_fifth_delivery_is_the_last() {
    let folder = tempfile::tempdir().expect("a folder");
    let broker = start(folder.path()).await;
    let mut producer = Client::of(&broker).await;
    producer.create("t", 1, &[]).await;
    let mut ada = Member::join(&broker, "ada").await;
    let mut bob = Member::join(&broker, "bob").await;
    assert_eq!(ada.fetch(0).await, []);
    produce(&mut producer, &["a"]).await;
    assert_eq!(ada.fetch(1000).await, [(0, 0, 1)]);
    // Her lock is a second long: he gets it as soon as it ends.
    assert_eq!(bob.fetch(10_000).await, [(0, 0, 2)]);
    for deliveries in 3..=5 {
        assert_eq!(bob.judge(0, 0, &[2]).await, 0);
        assert_eq!(bob.fetch(1000).await, [(0, 0, deliveries)]);
    }
    assert_eq!(bob.judge(0, 0, &[2]).await, 0);
    assert_eq!(bob.fetch(0).await, []);
    assert_eq!(bob.start_offset().await, 1);
    // What he has is given back when he closes his session, and the delivery does not count.
    produce(&mut producer, &["b"]).await;
    assert_eq!(bob.fetch(1000).await, [(1, 1, 1)]);
    bob.session_epoch = -1;
    assert_eq!(bob.acknowledge(vec![]).await, (0, 0));
    assert_eq!(ada.fetch(1000).await, [(1, 1, 1)]);
    broker.stop().await.expect("a clean stop");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_goes_on_elsewhere_only_when_nobody_is_in_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let broker = start(folder.path()).await;
    let mut producer = Client::of(&broker).await;
    producer.create("t", 1, &[]).await;
    produce(&mut producer, &["a", "b", "c"]).await;
    let mut ada = Member::join(&broker, "ada").await;
    assert_eq!(ada.fetch(0).await, []);
    let partition = AlterShareGroupOffsetsRequestPartition::default().with_start_offset(1);
    let topic = AlterShareGroupOffsetsRequestTopic::default()
        .with_topic_name(TopicName(text("t")))
        .with_partitions(vec![partition]);
    let alter = AlterShareGroupOffsetsRequest::default()
        .with_group_id(GroupId(text("g")))
        .with_topics(vec![topic]);
    let refused = producer.call(0, &alter).await;
    assert_eq!(refused.error_code, ResponseError::NonEmptyGroup.code());
    ada.epoch = -1;
    assert_eq!(ada.beat(None).await, (0, None));
    let altered = producer.call(0, &alter).await;
    assert_eq!((altered.error_code, altered.responses[0].partitions[0].error_code), (0, 0));
    let mut bob = Member::join(&broker, "bob").await;
    assert_eq!(bob.start_offset().await, 1);
    assert_eq!(bob.fetch(1000).await, [(1, 2, 1)]);
    // A session that is not there, and one that is out of step.
    ada.session_epoch = 7;
    let lost = ada.acknowledge(vec![]).await.0;
    assert_eq!(lost, ResponseError::ShareSessionNotFound.code());
    bob.session_epoch = 7;
    let late = bob.acknowledge(vec![]).await.0;
    assert_eq!(late, ResponseError::InvalidShareSessionEpoch.code());
    broker.stop().await.expect("a clean stop");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_that_is_to_begin_at_the_start_does_and_is_listed_and_deleted() {
    let folder = tempfile::tempdir().expect("a folder");
    let broker = start(folder.path()).await;
    let mut producer = Client::of(&broker).await;
    producer.create("t", 1, &[]).await;
    produce(&mut producer, &["a", "b"]).await;
    let setting = |value| setting("share.auto.offset.reset", value);
    let refused = producer.call(1, &setting("sometime")).await;
    assert_eq!(refused.responses[0].error_code, ResponseError::InvalidConfig.code());
    assert_eq!(producer.call(1, &setting("earliest")).await.responses[0].error_code, 0);
    broker.stop().await.expect("a clean stop");

    let broker = start(folder.path()).await;
    let mut producer = Client::of(&broker).await;
    let resource =
        DescribeConfigsResource::default().with_resource_type(32).with_resource_name(text("g"));
    let request = DescribeConfigsRequest::default()
        .with_resources(vec![resource.with_configuration_keys(None)]);
    let described = producer.call(4, &request).await;
    let configs = &described.results[0].configs;
    let reset = configs.iter().find(|it| it.name.as_str() == "share.auto.offset.reset");
    let reset = reset.expect("it is described");
    assert_eq!(
        (reset.value.as_ref().map(|it| it.as_str()), reset.config_source),
        (Some("earliest"), 8)
    );
    assert_eq!(configs.len(), 5);
    let mut ada = Member::join(&broker, "ada").await;
    assert_eq!(ada.fetch(1000).await, [(0, 1, 1)]);
    let listed = producer.call(5, &ListGroupsRequest::default()).await;
    let share = listed.groups.iter().find(|group| group.group_id.as_str() == "g");
    let share = share.expect("it is listed");
    assert_eq!((share.group_type.as_str(), share.group_state.as_str()), ("share", "Stable"));
    let delete = DeleteGroupsRequest::default().with_groups_names(vec![GroupId(text("g"))]);
    let refused = producer.call(2, &delete).await.results[0].error_code;
    assert_eq!(refused, ResponseError::NonEmptyGroup.code());
    ada.epoch = -1;
    ada.beat(None).await;
    assert_eq!(producer.call(2, &delete).await.results[0].error_code, 0);
    let unknown = producer.call(2, &delete).await.results[0].error_code;
    assert_eq!(unknown, ResponseError::GroupIdNotFound.code());
    broker.stop().await.expect("a clean stop");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_of_committed_records_waits_for_the_end_and_never_gets_what_was_aborted() {
    let folder = tempfile::tempdir().expect("a folder");
    let broker = start(folder.path()).await;
    let mut client = Client::of(&broker).await;
    client.create("t", 1, &[]).await;
    let committed = setting("share.isolation.level", "read_committed");
    assert_eq!(client.call(1, &committed).await.responses[0].error_code, 0);
    let mut ada = Member::join(&broker, "ada").await;
    assert_eq!(ada.fetch(0).await, []);

    // 0: a plain record, 1: aborted, 2: its marker, 3: committed, 4: its marker, 5: open.
    produce(&mut client, &["plain"]).await;
    let producer = transactions::init(&mut client, "x").await.expect("it begins");
    for (sequence, commits) in [(0, false), (1, true)] {
        assert_eq!(transactions::add(&mut client, "x", producer, &[0]).await, 0);
        let written = transactions::write(&mut client, "x", producer, (0, sequence), "v").await;
        assert_eq!(written, 0);
        assert_eq!(transactions::end(&mut client, "x", producer, commits).await, 0);
    }
    assert_eq!(transactions::add(&mut client, "x", producer, &[0]).await, 0);
    assert_eq!(transactions::write(&mut client, "x", producer, (0, 2), "open").await, 0);

    let mut acquired = ada.fetch(1000).await;
    acquired.extend(ada.fetch(0).await);
    assert_eq!(acquired, [(0, 0, 1), (3, 3, 1)], "neither what was aborted nor what is open");
    for offset in [0, 3] {
        assert_eq!(ada.judge(offset, offset, &[1]).await, 0);
    }
    assert_eq!(ada.start_offset().await, 5, "the aborted record and the markers are done too");
    assert_eq!(transactions::end(&mut client, "x", producer, true).await, 0);
    assert_eq!(ada.fetch(1000).await, [(5, 5, 1)]);
    broker.stop().await.expect("a clean stop");
}
