//! ListOffsets 1-10: offsets by what they mean, or by time.
//!
//! -1 the end, -2 the start, -3 the newest timestamp (from version 7), -4 the local start (8), which
//! is the start here, -5 the newest record in remote storage (9): the last one that the topic's table
//! has folded. Any other timestamp asks for the first record, not batch, that is not older. What is
//! not durable is not there. A special that is younger than the version is refused per partition
//! with error 35.

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsRequest};
use kafka_protocol::messages::list_offsets_response::{
    ListOffsetsPartitionResponse, ListOffsetsResponse, ListOffsetsTopicResponse,
};
use weir_protocol::records::Offset;

use crate::api::fetch::check_leader_epoch;
use crate::api::{NONE, code, doubled};
use crate::broker::Broker;
use crate::catalog::Topics;
use crate::log::error::ReadError;
use crate::partition::Partition;

const LATEST: i64 = -1;
const EARLIEST: i64 = -2;
const NEWEST_TIMESTAMP: i64 = -3;
const EARLIEST_LOCAL: i64 = -4;
const LATEST_TIERED: i64 = -5;
const READ_COMMITTED: i8 = 1;

/// Whether answering means searching logs, and so maybe the disk.
pub fn searches(request: &ListOffsetsRequest) -> bool {
    let mut asked = request.topics.iter().flat_map(|topic| &topic.partitions);
    asked.any(|one| one.timestamp >= 0 || one.timestamp == NEWEST_TIMESTAMP)
}

/// Answers the request.
pub fn answer(broker: &Broker, request: &ListOffsetsRequest, version: i16) -> ListOffsetsResponse {
    let topics = broker.catalog.topics();
    let asked = request.topics.iter().flat_map(|topic| {
        topic.partitions.iter().map(|one| (topic.name.as_str(), one.partition_index))
    });
    let doubled = doubled(asked);
    let answered = request.topics.iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|one| {
            let found = if doubled.contains(&(topic.name.as_str(), one.partition_index)) {
                Err(ResponseError::InvalidRequest)
            } else {
                find(broker, &topics, &topic.name, one, request.isolation_level, version)
            };
            show(one.partition_index, found, version)
        });
        ListOffsetsTopicResponse::default()
            .with_name(topic.name.clone())
            .with_partitions(partitions.collect())
    });
    ListOffsetsResponse::default().with_topics(answered.collect())
}

/// An offset with its record's timestamp and leader epoch.
struct Found {
    offset: i64,
    timestamp: i64,
    leader_epoch: i32,
}

const NOTHING: Found = Found { offset: -1, timestamp: -1, leader_epoch: -1 };

fn find(
    broker: &Broker,
    topics: &Topics,
    topic: &str,
    asked: &ListOffsetsPartition,
    isolation_level: i8,
    version: i16,
) -> Result<Found, ResponseError> {
    let index = asked.partition_index;
    let topic = topics.named(topic).ok_or(ResponseError::UnknownTopicOrPartition)?;
    let partition = topic.partition(index).ok_or(ResponseError::UnknownTopicOrPartition)?;
    if version >= 4 {
        check_leader_epoch(partition, asked.current_leader_epoch)?;
    }
    let ends = partition.ends();
    let at = |offset: i64| Found { offset, timestamp: -1, leader_epoch: partition.leader_epoch() };
    // The start bears the epoch of the record that stands there, which may be an older one.
    let start = || Found {
        leader_epoch: partition.epoch_of(ends.log_start).unwrap_or(-1),
        ..at(ends.log_start.0)
    };
    match asked.timestamp {
        LATEST if isolation_level == READ_COMMITTED => Ok(at(ends.last_stable.0)),
        LATEST => Ok(at(ends.high_watermark.0)),
        EARLIEST => Ok(start()),
        NEWEST_TIMESTAMP if version >= 7 => by_time(partition, None),
        EARLIEST_LOCAL if version >= 8 => Ok(start()),
        LATEST_TIERED if version >= 9 => Ok(tiered(broker.folded(topic, index), partition)),
        timestamp if timestamp >= 0 => by_time(partition, Some(timestamp)),
        _ => Err(ResponseError::UnsupportedVersion),
    }
}

/// The last record that the table has folded. What lies past the log's end is not believed: any
/// client may commit for the compactor.
fn tiered(folded: Option<Offset>, partition: &Partition) -> Found {
    let next = folded.map(|next| next.min(partition.ends().high_watermark));
    let Some(last) = next.filter(|next| next.0 > 0).map(|next| Offset(next.0 - 1)) else {
        return NOTHING;
    };
    let leader_epoch = partition.epoch_of(last).unwrap_or(-1);
    Found { offset: last.0, timestamp: -1, leader_epoch }
}

/// The first record that is not older than `target_ms`, or the one with the newest timestamp.
fn by_time(partition: &Partition, target_ms: Option<i64>) -> Result<Found, ResponseError> {
    let found = match target_ms {
        Some(target_ms) => partition.offset_for_timestamp(target_ms),
        None => partition.max_timestamp(),
    };
    match found {
        Ok(Some((offset, timestamp, leader_epoch))) => {
            Ok(Found { offset: offset.0, timestamp, leader_epoch })
        }
        Ok(None) => Ok(NOTHING),
        Err(ReadError::OutOfRange { .. }) => Ok(NOTHING),
        Err(error) => {
            tracing::warn!(%error, "a search by time failed");
            Err(error.error_code())
        }
    }
}

fn show(
    index: i32,
    found: Result<Found, ResponseError>,
    version: i16,
) -> ListOffsetsPartitionResponse {
    let (error_code, found) = match found {
        Ok(found) => (NONE, found),
        Err(error) => (code(error), NOTHING),
    };
    let mut response = ListOffsetsPartitionResponse::default()
        .with_partition_index(index)
        .with_error_code(error_code)
        .with_timestamp(found.timestamp)
        .with_offset(found.offset);
    if version >= 4 {
        response.leader_epoch = found.leader_epoch;
    }
    response
}
