//! Golden tests: our own codec and the crate's write and read the same bytes in every version.
use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::messages::fetch_response::{
    AbortedTransaction as TheirAborted, EpochEndOffset, FetchableTopicResponse, LeaderIdAndEpoch,
    PartitionData,
};
use kafka_protocol::messages::{self, FetchResponse, ResponseHeader, TopicName};
use kafka_protocol::protocol::{Decodable, Encodable};

use super::*;
use crate::guard::oracle::random_body;

fn by_the_codec(version: i16, mut body: Bytes) -> FetchRequest {
    let request = messages::FetchRequest::decode(&mut body, version).unwrap();
    let partition = |partition: messages::fetch_request::FetchPartition| FetchPartition {
        index: partition.partition,
        current_leader_epoch: partition.current_leader_epoch,
        fetch_offset: partition.fetch_offset,
        last_fetched_epoch: partition.last_fetched_epoch,
        log_start_offset: partition.log_start_offset,
        max_bytes: partition.partition_max_bytes,
    };
    let topic = |topic: messages::fetch_request::FetchTopic| FetchTopic {
        name: topic.topic.0,
        topic_id: topic.topic_id,
        partitions: topic.partitions.into_iter().map(partition).collect(),
    };
    let forgotten = |topic: messages::fetch_request::ForgottenTopic| ForgottenTopic {
        name: topic.topic.0,
        topic_id: topic.topic_id,
        partitions: topic.partitions,
    };
    FetchRequest {
        max_wait_ms: request.max_wait_ms,
        min_bytes: request.min_bytes,
        max_bytes: request.max_bytes,
        isolation_level: match request.isolation_level {
            0 => IsolationLevel::ReadUncommitted,
            _ => IsolationLevel::ReadCommitted,
        },
        session_id: request.session_id,
        session_epoch: request.session_epoch,
        topics: request.topics.into_iter().map(topic).collect(),
        forgotten_topics: request.forgotten_topics_data.into_iter().map(forgotten).collect(),
        rack_id: request.rack_id,
    }
}

#[test]
fn requests_of_every_version_read_as_the_codec_reads_them() {
    for version in 4..=18 {
        for seed in 0..200 {
            let body = random_body(1, version, seed);
            let expected = by_the_codec(version, body.clone());
            let read = FetchRequest::decode(version, body.clone());
            assert_eq!(read, Ok(expected), "version {version}, seed {seed}");
            for length in 0..body.len() {
                let refused = FetchRequest::decode(version, body.slice(..length));
                assert!(refused.is_err(), "version {version}, seed {seed}, {length}");
            }
        }
    }
}

#[test]
fn an_isolation_level_that_nobody_knows_is_refused() {
    let mut body = BytesMut::new();
    body.put_bytes(0, 16);
    body.put_i8(2);
    body.put_i32(0);
    let refused = FetchRequest::decode(4, body.freeze());
    assert_eq!(refused, Err(ReadError::Value));
}

fn expected(answer: &FetchAnswer, version: i16, correlation_id: i32) -> Bytes {
    let partition = |partition: &FetchPartitionAnswer| {
        let aborted = |aborted: &AbortedTransaction| {
            TheirAborted::default()
                .with_producer_id(aborted.producer_id.into())
                .with_first_offset(aborted.first_offset)
        };
        let mut theirs = PartitionData::default()
            .with_partition_index(partition.index)
            .with_error_code(partition.error_code)
            .with_high_watermark(partition.high_watermark)
            .with_last_stable_offset(partition.last_stable_offset)
            .with_log_start_offset(partition.log_start_offset)
            .with_aborted_transactions(
                partition.aborted_transactions.as_ref().map(|a| a.iter().map(aborted).collect()),
            )
            .with_records(Some(partition.records.clone()));
        if version >= 11 {
            theirs.preferred_read_replica = partition.preferred_read_replica.into();
        }
        if let Some((epoch, end_offset)) = partition.diverging_epoch {
            theirs.diverging_epoch =
                EpochEndOffset::default().with_epoch(epoch).with_end_offset(end_offset);
        }
        if let Some((id, epoch)) = partition.current_leader {
            theirs.current_leader =
                LeaderIdAndEpoch::default().with_leader_id(id.into()).with_leader_epoch(epoch);
        }
        theirs
    };
    let topic = |topic: &FetchTopicAnswer| {
        let theirs = FetchableTopicResponse::default()
            .with_partitions(topic.partitions.iter().map(partition).collect());
        if version >= 13 {
            theirs.with_topic_id(topic.topic_id)
        } else {
            theirs.with_topic(TopicName(topic.name.clone()))
        }
    };
    let mut theirs = FetchResponse::default()
        .with_throttle_time_ms(answer.throttle_time_ms)
        .with_responses(answer.topics.iter().map(topic).collect());
    if version >= 7 {
        theirs = theirs.with_error_code(answer.error_code).with_session_id(answer.session_id);
    }
    let mut out = BytesMut::new();
    out.put_u32(0);
    let header = ResponseHeader::default().with_correlation_id(correlation_id);
    header.encode(&mut out, i16::from(version >= 12)).unwrap();
    theirs.encode(&mut out, version).unwrap();
    let length = u32::try_from(out.len() - 4).unwrap();
    out[..4].copy_from_slice(&length.to_be_bytes());
    out.freeze()
}

fn joined(answer: &Answer) -> Vec<u8> {
    answer.chunks().concat()
}

fn partition_with(index: i32, records: usize, aborted: Option<usize>) -> FetchPartitionAnswer {
    FetchPartitionAnswer {
        index,
        error_code: 0,
        high_watermark: 1 << 40,
        last_stable_offset: 1 << 39,
        log_start_offset: 17,
        diverging_epoch: None,
        current_leader: None,
        aborted_transactions: aborted.map(|count| {
            let aborted = |id| AbortedTransaction { producer_id: id, first_offset: id * 100 };
            (0..i64::try_from(count).unwrap()).map(aborted).collect()
        }),
        preferred_read_replica: -1,
        records: vec![0xab; records].into(),
    }
}

fn answers() -> Vec<FetchAnswer> {
    let topic = |name: &'static str, partitions| FetchTopicAnswer {
        name: StrBytes::from_static_str(name),
        topic_id: Uuid::from_u128(0x1234_5678_9abc_def0),
        partitions,
    };
    let many = (0..200).map(|index| partition_with(index, 3000, Some(index as usize))).collect();
    let sizes = [0, 1, 126, 127, 128, 2047, 2048, 100_000];
    let by_size = (0..).zip(sizes).map(|(index, size)| partition_with(index, size, None)).collect();
    let elsewhere = FetchPartitionAnswer {
        diverging_epoch: Some((3, 1 << 33)),
        current_leader: Some((1, 4)),
        preferred_read_replica: 9,
        ..FetchPartitionAnswer::error(2, 6)
    };
    let answer = |topics| FetchAnswer { throttle_time_ms: 5, error_code: 0, session_id: 0, topics };
    vec![
        FetchAnswer { throttle_time_ms: 0, error_code: 70, session_id: 0, topics: vec![] },
        answer(vec![topic("nothing", vec![])]),
        answer(vec![topic("one", vec![partition_with(0, 0, None)])]),
        answer(vec![topic("one", vec![partition_with(0, 5000, Some(0))])]),
        answer(vec![topic("by-size", by_size), topic("wrong", vec![elsewhere])]),
        FetchAnswer {
            session_id: 77,
            ..answer(vec![topic("a", many), topic("b", vec![partition_with(1, 1, Some(3))])])
        },
    ]
}

#[test]
fn answers_of_every_version_are_the_bytes_that_the_codec_writes() {
    for version in 4..=18 {
        for (number, answer) in answers().into_iter().enumerate() {
            let mut sayable = answer.clone();
            if version < 12 {
                // The codec refuses what these versions cannot say; ours leaves it out.
                for topic in &mut sayable.topics {
                    for partition in &mut topic.partitions {
                        partition.diverging_epoch = None;
                        partition.current_leader = None;
                    }
                }
            }
            let expected = expected(&sayable, version, -9);
            let ours = answer.encode(version, -9).unwrap();
            assert_eq!(ours.size_bytes(), expected.len(), "version {version}, answer {number}");
            assert_eq!(joined(&ours), expected, "version {version}, answer {number}");
        }
    }
}

#[test]
fn empty_records_are_an_empty_byte_string_and_never_null() {
    for version in 4..=18 {
        let error = FetchPartitionAnswer::error(0, 1);
        let topic = FetchTopicAnswer { partitions: vec![error], ..Default::default() };
        let answer = FetchAnswer { topics: vec![topic], ..Default::default() };
        let bytes = joined(&answer.encode(version, 0).unwrap());
        let header = 8 + usize::from(version >= 12);
        let theirs = FetchResponse::decode(&mut Bytes::from(bytes).slice(header..), version);
        let records = theirs.unwrap().responses[0].partitions[0].records.clone();
        assert_eq!(records, Some(Bytes::new()), "version {version}");
    }
}

#[test]
fn records_pass_through_uncopied() {
    let records = Bytes::from(vec![1; 100_000]);
    let partition =
        FetchPartitionAnswer { records: records.clone(), ..FetchPartitionAnswer::error(0, 0) };
    let topic = FetchTopicAnswer { partitions: vec![partition], ..Default::default() };
    let answer = FetchAnswer { topics: vec![topic], ..Default::default() };
    let answer = answer.encode(12, 0).unwrap();
    assert_eq!(answer.chunks().len(), 3);
    assert_eq!(answer.chunks()[1].as_ptr(), records.as_ptr());
}
