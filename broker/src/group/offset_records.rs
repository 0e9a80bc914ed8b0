//! A committed offset as Kafka writes it into `__consumer_offsets`. PURE.
//!
//! ```text
//! key    version i16 (1) | group string | topic string | partition i32
//! value  version i16 (3) | offset i64 | leader epoch i32 | metadata string | commit time i64 (ms)
//! ```
//!
//! Strings are a length of 16 bits and UTF-8. A record without a value forgets the key. Keys of
//! other versions are of other records (2: the members of a group, [`crate::group::group_records`]).

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// Of whom an offset is committed, and where.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OffsetKey {
    /// The group.
    pub group: String,
    /// The topic.
    pub topic: String,
    /// Its partition.
    pub partition: i32,
}

/// What was committed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed {
    /// The offset to go on from.
    pub offset: i64,
    /// The leader epoch of the last record that was read; -1: unknown.
    pub leader_epoch: i32,
    /// What the consumer wanted to remember with it.
    pub metadata: String,
    /// When it was committed.
    pub commit_ms: i64,
}

impl OffsetKey {
    /// As bytes of a record's key.
    pub fn encode(&self) -> Bytes {
        let mut bytes = BytesMut::new();
        bytes.put_i16(1);
        put_string(&mut bytes, &self.group);
        put_string(&mut bytes, &self.topic);
        bytes.put_i32(self.partition);
        bytes.freeze()
    }

    /// Reads a key; `None`: a key of another kind, or one that cannot be read.
    pub fn decode(mut bytes: &[u8]) -> Option<Self> {
        if !matches!(bytes.try_get_i16().ok()?, 0 | 1) {
            return None;
        }
        let group = take_string(&mut bytes)?;
        let topic = take_string(&mut bytes)?;
        let partition = bytes.try_get_i32().ok()?;
        Some(Self { group, topic, partition })
    }
}

impl Committed {
    /// As bytes of a record's value.
    pub fn encode(&self) -> Bytes {
        let mut bytes = BytesMut::new();
        bytes.put_i16(3);
        bytes.put_i64(self.offset);
        bytes.put_i32(self.leader_epoch);
        put_string(&mut bytes, &self.metadata);
        bytes.put_i64(self.commit_ms);
        bytes.freeze()
    }

    /// Reads a value of version 0 to 3; `None`: one that cannot be read.
    pub fn decode(mut bytes: &[u8]) -> Option<Self> {
        let version = bytes.try_get_i16().ok()?;
        if !(0..=3).contains(&version) {
            return None;
        }
        let offset = bytes.try_get_i64().ok()?;
        let leader_epoch = if version >= 3 { bytes.try_get_i32().ok()? } else { -1 };
        let metadata = take_string(&mut bytes)?;
        let commit_ms = bytes.try_get_i64().ok()?;
        Some(Self { offset, leader_epoch, metadata, commit_ms })
    }
}

/// The partition of `__consumer_offsets` in which Kafka keeps a group: Java's hash of its name.
pub fn partition_of(group: &str, partition_count: i32) -> i32 {
    let hash = group
        .encode_utf16()
        .fold(0i32, |hash, unit| hash.wrapping_mul(31).wrapping_add(i32::from(unit)));
    (hash & i32::MAX) % partition_count
}

pub(super) fn put_string(bytes: &mut BytesMut, text: &str) {
    // Requests carry strings of 32,767 bytes at most in every version that stores them here.
    let mut end = text.len().min(i16::MAX as usize);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    bytes.put_i16(end as i16);
    bytes.put_slice(&text.as_bytes()[..end]);
}

pub(super) fn take_string(bytes: &mut &[u8]) -> Option<String> {
    let length = usize::try_from(bytes.try_get_i16().ok()?).ok()?;
    let text = std::str::from_utf8(bytes.get(..length)?).ok()?.to_owned();
    bytes.advance(length);
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_values_are_kafkas_bytes() {
        let key = OffsetKey { group: "g".into(), topic: "ab".into(), partition: 3 };
        assert_eq!(&key.encode()[..], b"\0\x01\0\x01g\0\x02ab\0\0\0\x03");
        assert_eq!(OffsetKey::decode(&key.encode()), Some(key.clone()));
        let value =
            Committed { offset: 5, leader_epoch: -1, metadata: "m".into(), commit_ms: 1000 };
        let bytes = value.encode();
        assert_eq!(&bytes[..2], b"\0\x03");
        assert_eq!(Committed::decode(&bytes), Some(value));
        for end in 0..bytes.len() {
            assert_eq!(Committed::decode(&bytes[..end]), None);
        }
        for end in 0..key.encode().len() {
            assert_eq!(OffsetKey::decode(&key.encode()[..end]), None);
        }
    }

    #[test]
    fn a_group_lives_where_kafka_would_keep_it() {
        // "hello".hashCode() is 99162322 in Java; "polygenelubricants" hashes to i32::MIN.
        assert_eq!(partition_of("hello", 50), 99_162_322 % 50);
        assert_eq!(partition_of("polygenelubricants", 50), 0);
        assert_eq!(partition_of("any", 1), 0);
    }
}
