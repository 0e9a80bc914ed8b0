//! Produce requests, versions 3 to 13: the record batches stay slices of the frame.
//!
//! The answer goes through the codec's own struct: it carries no records.
use bytes::Bytes;
use kafka_protocol::protocol::StrBytes;
use uuid::Uuid;

use crate::reader::{ReadError, Reader};

/// From here on lengths are compact and structs end with tagged fields.
const FLEXIBLE_FROM: i16 = 9;
/// From here on topics are named by their id.
const TOPIC_ID_FROM: i16 = 13;

/// Batches to append.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProduceRequest {
    /// The transaction's id, if there is one.
    pub transactional_id: Option<StrBytes>,
    /// -1, 0 or 1, unless the client is wrong.
    pub acks: i16,
    /// How long the client waits.
    pub timeout_ms: i32,
    /// What to append where.
    pub topics: Vec<ProduceTopic>,
}

/// What to append to a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProduceTopic {
    /// Its name, up to version 12; empty after.
    pub name: StrBytes,
    /// Its id, from version 13 on; nil before.
    pub topic_id: Uuid,
    /// By partition.
    pub partitions: Vec<ProducePartition>,
}

/// What to append to a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProducePartition {
    /// Its number.
    pub index: i32,
    /// What should be one batch; nobody has looked at it yet.
    pub records: Option<Bytes>,
}

impl ProduceRequest {
    /// Reads a request's body.
    ///
    /// # Errors
    /// When the bytes are not one request of that version.
    pub fn decode(version: i16, body: Bytes) -> Result<ProduceRequest, ReadError> {
        let mut reader = Reader::new(body, version >= FLEXIBLE_FROM);
        let request = ProduceRequest {
            transactional_id: reader.nullable_string()?,
            acks: reader.i16()?,
            timeout_ms: reader.i32()?,
            topics: reader.array(|reader| topic(reader, version))?,
        };
        reader.end_of_struct()?;
        reader.finish()?;
        Ok(request)
    }
}

fn topic(reader: &mut Reader, version: i16) -> Result<ProduceTopic, ReadError> {
    let (name, topic_id) = reader.topic(version >= TOPIC_ID_FROM)?;
    let partitions = reader.array(|reader| {
        let partition =
            ProducePartition { index: reader.i32()?, records: reader.nullable_bytes()? };
        reader.end_of_struct()?;
        Ok(partition)
    })?;
    reader.end_of_struct()?;
    Ok(ProduceTopic { name, topic_id, partitions })
}
