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

#[cfg(test)]
mod tests {
    use kafka_protocol::messages;
    use kafka_protocol::protocol::Decodable;

    use super::*;
    use crate::guard::oracle::random_body;

    fn by_the_codec(version: i16, mut body: Bytes) -> ProduceRequest {
        let request = messages::ProduceRequest::decode(&mut body, version).unwrap();
        let partition = |partition: messages::produce_request::PartitionProduceData| {
            ProducePartition { index: partition.index, records: partition.records }
        };
        let topic = |topic: messages::produce_request::TopicProduceData| ProduceTopic {
            name: topic.name.0,
            topic_id: topic.topic_id,
            partitions: topic.partition_data.into_iter().map(partition).collect(),
        };
        ProduceRequest {
            transactional_id: request.transactional_id.map(|id| id.0),
            acks: request.acks,
            timeout_ms: request.timeout_ms,
            topics: request.topic_data.into_iter().map(topic).collect(),
        }
    }

    #[test]
    fn requests_of_every_version_read_as_the_codec_reads_them() {
        for version in 3..=13 {
            for seed in 0..200 {
                let body = random_body(0, version, seed);
                let expected = by_the_codec(version, body.clone());
                let read = ProduceRequest::decode(version, body.clone());
                assert_eq!(read, Ok(expected), "version {version}, seed {seed}");
                for length in 0..body.len() {
                    let refused = ProduceRequest::decode(version, body.slice(..length));
                    assert!(refused.is_err(), "version {version}, seed {seed}, {length}");
                }
            }
        }
    }

    #[test]
    fn records_are_a_slice_of_the_frame() {
        let frame = Bytes::from_static(
            b"\xff\xff\xff\xff\0\0\x03\xe8\0\0\0\x01\0\x01t\0\0\0\x01\0\0\0\x05\0\0\0\x03abc",
        );
        let request = ProduceRequest::decode(3, frame.clone()).unwrap();
        let records = request.topics[0].partitions[0].records.clone().unwrap();
        assert_eq!(&records[..], b"abc");
        assert_eq!(records.as_ptr(), frame.slice(frame.len() - 3..).as_ptr());
    }
}
