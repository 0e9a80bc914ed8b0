//! PURE. What a member of a classic group of consumers is told to read: the bytes that its leader
//! writes (Kafka's ConsumerProtocolAssignment).
//!
//! ```text
//! version i16 | topics i32, each: string, partitions i32, each: i32 | user data: bytes or null
//! ```
//!
//! All versions are written alike. The version is that of the member's own subscription.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::group::offset_records::put_string;
use crate::group::subscription::{NamedPartitions, take_partitions, take_user_data};

/// The newest version.
const VERSION_MAX: i16 = 3;

/// An assignment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Assignment {
    /// What the member shall read.
    pub partitions: NamedPartitions,
    /// How much more the leader's assignor has told it, in a way of its own.
    pub user_data_bytes: usize,
}

impl Assignment {
    /// Reads the bytes; none at all are an assignment of nothing. `None`: they are none.
    #[must_use]
    pub fn parse(mut bytes: &[u8]) -> Option<Assignment> {
        if bytes.is_empty() {
            return Some(Assignment::default());
        }
        let from = &mut bytes;
        from.try_get_i16().ok().filter(|version| *version >= 0)?;
        let partitions = take_partitions(from)?;
        let user_data_bytes = if from.is_empty() { 0 } else { take_user_data(from)? };
        Some(Assignment { partitions, user_data_bytes })
    }

    /// The bytes, for a member whose subscription had that version.
    #[must_use]
    pub fn encode<'a>(
        version: i16,
        partitions: impl ExactSizeIterator<Item = (&'a String, &'a Vec<i32>)>,
    ) -> Bytes {
        let count = |count: usize| i32::try_from(count).expect("a broker has fewer partitions");
        let mut bytes = BytesMut::new();
        bytes.put_i16(version.clamp(0, VERSION_MAX));
        bytes.put_i32(count(partitions.len()));
        for (topic, indexes) in partitions {
            put_string(&mut bytes, topic);
            bytes.put_i32(count(indexes.len()));
            indexes.iter().for_each(|index| bytes.put_i32(*index));
        }
        bytes.put_i32(-1);
        bytes.freeze()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn what_is_written_is_read_and_what_is_cut_is_not() {
        let partitions = BTreeMap::from([("t".to_owned(), vec![0, 3]), ("u".to_owned(), vec![])]);
        let bytes = Assignment::encode(7, partitions.iter());
        let wanted: &[u8] = b"\0\x03\0\0\0\x02\0\x01t\0\0\0\x02\0\0\0\0\0\0\0\x03\0\x01u\0\0\0\0\
            \xff\xff\xff\xff";
        assert_eq!(&bytes[..], wanted);
        let read = Assignment::parse(&bytes).expect("an assignment");
        assert_eq!(read.partitions, partitions.into_iter().collect::<Vec<_>>());
        assert_eq!(read.user_data_bytes, 0);
        for end in 1..bytes.len() {
            let is_whole = end == bytes.len() - 4;
            assert_eq!(Assignment::parse(&bytes[..end]).is_some(), is_whole, "{end}");
        }
        assert_eq!(Assignment::parse(b""), Some(Assignment::default()));
    }

    #[test]
    fn data_of_an_assignor_of_ones_own_is_seen() {
        let read = Assignment::parse(b"\0\0\0\0\0\0\0\0\0\x02hi").expect("an assignment");
        assert_eq!(read.user_data_bytes, 2);
        assert_eq!(Assignment::parse(b"\0\0\0\0\0\0\0\0\0\x03hi"), None);
    }
}
