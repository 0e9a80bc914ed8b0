//! Fetch, versions 4 to 18: requests, and answers whose records pass through as slices of the log.
//!
//! What only followers say (replica id, epoch, log directory) is not read: there are none.
use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::protocol::StrBytes;
use uuid::Uuid;

use crate::answer::{Answer, AnswerError, AnswerWriter};
use crate::reader::{ReadError, Reader};

const API_KEY: i16 = 1;
/// From here on lengths are compact and structs end with tagged fields.
const FLEXIBLE_FROM: i16 = 12;
/// From here on topics are named by their id.
const TOPIC_ID_FROM: i16 = 13;
/// From here on followers stand in a tagged field.
const REPLICA_STATE_FROM: i16 = 15;

/// What a reader may see of open and aborted transactions.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum IsolationLevel {
    /// Everything that is durable.
    ReadUncommitted,
    /// Only up to the oldest open transaction, and the aborted ones are named.
    ReadCommitted,
}

/// What to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchRequest {
    /// How long to wait for `min_bytes`.
    pub max_wait_ms: i32,
    /// When to answer before that.
    pub min_bytes: i32,
    /// How much to answer, but for the first batch.
    pub max_bytes: i32,
    /// What of transactions is seen.
    pub isolation_level: IsolationLevel,
    /// The session, from version 7 on; 0 is none.
    pub session_id: i32,
    /// The session's epoch, from version 7 on; -1 is none.
    pub session_epoch: i32,
    /// From where on, topic by topic.
    pub topics: Vec<FetchTopic>,
    /// What leaves the session, from version 7 on.
    pub forgotten_topics: Vec<ForgottenTopic>,
    /// Where the client is, from version 11 on.
    pub rack_id: StrBytes,
}

/// What to read of a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchTopic {
    /// Its name, up to version 12; empty after.
    pub name: StrBytes,
    /// Its id, from version 13 on; nil before.
    pub topic_id: Uuid,
    /// By partition.
    pub partitions: Vec<FetchPartition>,
}

/// What to read of a partition.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct FetchPartition {
    /// Its number.
    pub index: i32,
    /// The leader epoch that the client believes in, from version 9 on; -1 is none.
    pub current_leader_epoch: i32,
    /// From where on.
    pub fetch_offset: i64,
    /// The epoch of the last record that the client has, from version 12 on; -1 is none.
    pub last_fetched_epoch: i32,
    /// A follower's log start, from version 5 on; -1 is none.
    pub log_start_offset: i64,
    /// How much, but for the first batch.
    pub max_bytes: i32,
}

/// What leaves a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForgottenTopic {
    /// Its name, up to version 12; empty after.
    pub name: StrBytes,
    /// Its id, from version 13 on; nil before.
    pub topic_id: Uuid,
    /// The partitions.
    pub partitions: Vec<i32>,
}

impl FetchRequest {
    /// Reads a request's body.
    ///
    /// # Errors
    /// When the bytes are not one request of that version.
    pub fn decode(version: i16, body: Bytes) -> Result<FetchRequest, ReadError> {
        let mut reader = Reader::new(body, version >= FLEXIBLE_FROM);
        if version < REPLICA_STATE_FROM {
            reader.i32()?;
        }
        let request = FetchRequest {
            max_wait_ms: reader.i32()?,
            min_bytes: reader.i32()?,
            max_bytes: reader.i32()?,
            isolation_level: match reader.i8()? {
                0 => IsolationLevel::ReadUncommitted,
                1 => IsolationLevel::ReadCommitted,
                _ => return Err(ReadError::Value),
            },
            session_id: if version >= 7 { reader.i32()? } else { 0 },
            session_epoch: if version >= 7 { reader.i32()? } else { -1 },
            topics: reader.array(|reader| topic(reader, version))?,
            forgotten_topics: if version >= 7 {
                reader.array(|reader| forgotten_topic(reader, version))?
            } else {
                Vec::new()
            },
            rack_id: if version >= 11 { reader.string()? } else { StrBytes::default() },
        };
        reader.end_of_struct()?;
        Ok(request)
    }
}

fn topic(reader: &mut Reader, version: i16) -> Result<FetchTopic, ReadError> {
    let (name, topic_id) = reader.topic(version >= TOPIC_ID_FROM)?;
    let partitions = reader.array(|reader| partition(reader, version))?;
    reader.end_of_struct()?;
    Ok(FetchTopic { name, topic_id, partitions })
}

fn partition(reader: &mut Reader, version: i16) -> Result<FetchPartition, ReadError> {
    let partition = FetchPartition {
        index: reader.i32()?,
        current_leader_epoch: if version >= 9 { reader.i32()? } else { -1 },
        fetch_offset: reader.i64()?,
        last_fetched_epoch: if version >= 12 { reader.i32()? } else { -1 },
        log_start_offset: if version >= 5 { reader.i64()? } else { -1 },
        max_bytes: reader.i32()?,
    };
    reader.end_of_struct()?;
    Ok(partition)
}

fn forgotten_topic(reader: &mut Reader, version: i16) -> Result<ForgottenTopic, ReadError> {
    let (name, topic_id) = reader.topic(version >= TOPIC_ID_FROM)?;
    let partitions = reader.array(Reader::i32)?;
    reader.end_of_struct()?;
    Ok(ForgottenTopic { name, topic_id, partitions })
}

/// What was read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FetchAnswer {
    /// How long the client was made to wait.
    pub throttle_time_ms: i32,
    /// What is wrong with the session or the request, from version 7 on.
    pub error_code: i16,
    /// The session, from version 7 on; 0 is none.
    pub session_id: i32,
    /// Topic by topic.
    pub topics: Vec<FetchTopicAnswer>,
}

/// What was read of a topic.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FetchTopicAnswer {
    /// Its name, written up to version 12.
    pub name: StrBytes,
    /// Its id, written from version 13 on.
    pub topic_id: Uuid,
    /// By partition.
    pub partitions: Vec<FetchPartitionAnswer>,
}

/// What was read of a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchPartitionAnswer {
    /// Its number.
    pub index: i32,
    /// What is wrong, or 0.
    pub error_code: i16,
    /// Where a reader of all records ends.
    pub high_watermark: i64,
    /// Where a reader of committed records ends.
    pub last_stable_offset: i64,
    /// The first offset there is, from version 5 on.
    pub log_start_offset: i64,
    /// Where the client's log has left ours: epoch and end offset, from version 12 on.
    pub diverging_epoch: Option<(i32, i64)>,
    /// Who leads instead: id and epoch, from version 12 on.
    pub current_leader: Option<(i32, i32)>,
    /// Who aborted in what is read: `None` for readers of all records.
    pub aborted_transactions: Option<Vec<AbortedTransaction>>,
    /// Who should be asked instead, from version 11 on; -1 is nobody.
    pub preferred_read_replica: i32,
    /// Whole batches. Written as an empty byte string where there are none, never as null.
    pub records: Bytes,
}

impl FetchPartitionAnswer {
    /// Nothing but an error.
    #[must_use]
    pub fn error(index: i32, error_code: i16) -> FetchPartitionAnswer {
        FetchPartitionAnswer {
            index,
            error_code,
            high_watermark: -1,
            last_stable_offset: -1,
            log_start_offset: -1,
            diverging_epoch: None,
            current_leader: None,
            aborted_transactions: None,
            preferred_read_replica: -1,
            records: Bytes::new(),
        }
    }
}

/// A transaction whose records a reader of committed records drops.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct AbortedTransaction {
    /// Whose.
    pub producer_id: i64,
    /// From which offset on.
    pub first_offset: i64,
}

impl FetchAnswer {
    /// Writes the answer; the records pass through uncopied.
    ///
    /// # Errors
    /// When it is too large for a frame.
    pub fn encode(self, version: i16, correlation_id: i32) -> Result<Answer, AnswerError> {
        let mut writer = AnswerWriter::new(API_KEY, version, correlation_id);
        let is_flexible = version >= FLEXIBLE_FROM;
        let head = writer.head();
        head.put_i32(self.throttle_time_ms);
        if version >= 7 {
            head.put_i16(self.error_code);
            head.put_i32(self.session_id);
        }
        put_count(head, self.topics.len(), is_flexible);
        for topic in self.topics {
            let head = writer.head();
            if version >= TOPIC_ID_FROM {
                head.put_slice(topic.topic_id.as_bytes());
            } else {
                put_string(head, &topic.name, is_flexible);
            }
            put_count(head, topic.partitions.len(), is_flexible);
            for partition in topic.partitions {
                put_partition(&mut writer, partition, version);
            }
            put_no_tags(writer.head(), is_flexible);
        }
        put_no_tags(writer.head(), is_flexible);
        writer.finish()
    }
}

fn put_partition(writer: &mut AnswerWriter, partition: FetchPartitionAnswer, version: i16) {
    let is_flexible = version >= FLEXIBLE_FROM;
    let head = writer.head();
    head.put_i32(partition.index);
    head.put_i16(partition.error_code);
    head.put_i64(partition.high_watermark);
    head.put_i64(partition.last_stable_offset);
    if version >= 5 {
        head.put_i64(partition.log_start_offset);
    }
    match &partition.aborted_transactions {
        None if is_flexible => head.put_u8(0),
        None => head.put_i32(-1),
        Some(aborted) => {
            put_count(head, aborted.len(), is_flexible);
            for transaction in aborted {
                head.put_i64(transaction.producer_id);
                head.put_i64(transaction.first_offset);
                put_no_tags(head, is_flexible);
            }
        }
    }
    if version >= 11 {
        head.put_i32(partition.preferred_read_replica);
    }
    put_count(head, partition.records.len(), is_flexible);
    writer.slice(partition.records);
    if !is_flexible {
        return;
    }
    let head = writer.head();
    let tags = [partition.diverging_epoch.is_some(), partition.current_leader.is_some()];
    head.put_u8(tags.into_iter().map(u8::from).sum());
    if let Some((epoch, end_offset)) = partition.diverging_epoch {
        head.put_slice(&[0, 13]); // tag and size
        head.put_i32(epoch);
        head.put_i64(end_offset);
        put_no_tags(head, is_flexible);
    }
    if let Some((leader_id, leader_epoch)) = partition.current_leader {
        head.put_slice(&[1, 9]); // tag and size
        head.put_i32(leader_id);
        head.put_i32(leader_epoch);
        put_no_tags(head, is_flexible);
    }
}

fn put_no_tags(head: &mut BytesMut, is_flexible: bool) {
    if is_flexible {
        head.put_u8(0);
    }
}

/// A count or the length of a byte string.
fn put_count(head: &mut BytesMut, count: usize, is_flexible: bool) {
    let count = u32::try_from(count).expect("what is in memory for one answer stays below 4 GiB");
    if is_flexible {
        put_unsigned_varint(head, count.saturating_add(1));
    } else {
        head.put_u32(count);
    }
}

fn put_string(head: &mut BytesMut, string: &str, is_flexible: bool) {
    if is_flexible {
        put_count(head, string.len(), true);
    } else {
        let length = i16::try_from(string.len()).expect("topic names are short");
        head.put_i16(length);
    }
    head.put_slice(string.as_bytes());
}

fn put_unsigned_varint(head: &mut BytesMut, mut value: u32) {
    while value >= 0x80 {
        head.put_u8((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    head.put_u8(value as u8);
}

#[cfg(test)]
mod tests;
