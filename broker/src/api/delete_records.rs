//! DeleteRecords 0-2: moves the start of logs; durable before the answer, files go later.
//!
//! Offset -1 means the high watermark; beyond it is OFFSET_OUT_OF_RANGE. The answer's low watermark
//! is the new start.

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::delete_records_request::{
    DeleteRecordsPartition, DeleteRecordsRequest,
};
use kafka_protocol::messages::delete_records_response::{
    DeleteRecordsPartitionResult, DeleteRecordsResponse, DeleteRecordsTopicResult,
};
use weir_protocol::records::Offset;

use crate::api::{NONE, code};
use crate::broker::Broker;
use crate::catalog::Topic;

/// Answers the request.
pub fn answer(broker: &Broker, request: &DeleteRecordsRequest) -> DeleteRecordsResponse {
    let topics = broker.catalog.topics();
    let answered = request.topics.iter().map(|asked| {
        let topic = topics.named(&asked.name);
        let partitions = asked.partitions.iter().map(|one| {
            let (error_code, low_watermark) = match delete(topic.map(|topic| &**topic), one) {
                Ok(start) => (NONE, start.0),
                Err(error) => (code(error), -1),
            };
            DeleteRecordsPartitionResult::default()
                .with_partition_index(one.partition_index)
                .with_error_code(error_code)
                .with_low_watermark(low_watermark)
        });
        DeleteRecordsTopicResult::default()
            .with_name(asked.name.clone())
            .with_partitions(partitions.collect())
    });
    DeleteRecordsResponse::default().with_topics(answered.collect())
}

fn delete(topic: Option<&Topic>, asked: &DeleteRecordsPartition) -> Result<Offset, ResponseError> {
    let topic = topic.ok_or(ResponseError::UnknownTopicOrPartition)?;
    if topic.is_internal {
        return Err(ResponseError::PolicyViolation);
    }
    let partition = topic.partition(asked.partition_index);
    let partition = partition.ok_or(ResponseError::UnknownTopicOrPartition)?;
    let offset = match asked.offset {
        -1 => partition.ends().high_watermark,
        offset if offset < 0 => return Err(ResponseError::OffsetOutOfRange),
        offset => Offset(offset),
    };
    partition.delete_records_before(offset).map_err(|error| error.error_code())
}
