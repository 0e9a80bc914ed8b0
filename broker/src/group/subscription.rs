//! PURE. What a consumer says of itself when it joins a classic group: the bytes that members of the
//! protocol type `consumer` send (Kafka's ConsumerProtocolSubscription).
//!
//! ```text
//! version i16 | topics i32, each: string | user data: bytes or null
//! from 1 on   | owned i32, each: topic string, partitions i32, each: i32
//! from 2 on   | generation in which it owned them i32
//! from 3 on   | rack string or null
//! ```
//!
//! A later version only adds at the end. Some clients claim a version and leave out its fields.

use std::collections::BTreeSet;

use bytes::Buf;

use crate::group::classic::ClassicGroup;
use crate::group::offset_records::take_string;

/// The protocol type of consumers.
pub const CONSUMER: &str = "consumer";

/// Topics by name, each with numbers of partitions.
pub type NamedPartitions = Vec<(String, Vec<i32>)>;

/// A subscription.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Subscription {
    /// How it was written: what the member is told is written alike.
    pub version: i16,
    /// The topics that it wishes to read.
    pub topics: BTreeSet<String>,
    /// What it owns and need not let go of to join. Who lets go of all before has none.
    pub owned: NamedPartitions,
    /// The rack that it reads from.
    pub rack_id: Option<String>,
}

impl Subscription {
    /// Reads the bytes; `None`: they are no subscription.
    #[must_use]
    pub fn parse(mut bytes: &[u8]) -> Option<Subscription> {
        let from = &mut bytes;
        let version = from.try_get_i16().ok().filter(|version| *version >= 0)?;
        let topics = take_topics(from)?.into_iter().collect();
        let mut subscription = Subscription { version, topics, ..Subscription::default() };
        if from.is_empty() {
            return Some(subscription);
        }
        take_user_data(from)?;
        if version >= 1 && !from.is_empty() {
            subscription.owned = take_partitions(from)?;
        }
        if version >= 2 && !from.is_empty() {
            from.try_get_i32().ok()?;
        }
        if version >= 3 && !from.is_empty() {
            let is_null = from.starts_with(&(-1_i16).to_be_bytes());
            subscription.rack_id = if is_null { None } else { Some(take_string(from)?) };
        }
        Some(subscription)
    }
}

/// The topics that the members of a group read. `None`: they are no consumers, or say it in a way
/// that we cannot read.
#[must_use]
pub fn subscribed_topics(group: &ClassicGroup) -> Option<BTreeSet<String>> {
    if group.protocol_type() != Some(CONSUMER) {
        return None;
    }
    let mut all = BTreeSet::new();
    for member in group.members().values() {
        all.extend(topics_in(&member.said_under(group.protocol())?)?);
    }
    Some(all)
}

fn topics_in(mut bytes: &[u8]) -> Option<Vec<String>> {
    bytes.try_get_i16().ok()?;
    take_topics(&mut bytes)
}

fn take_topics(from: &mut &[u8]) -> Option<Vec<String>> {
    let count = take_count(from, 2)?;
    (0..count).map(|_| take_string(from)).collect()
}

/// A count of things that take so many bytes each, at least: one that the bytes cannot hold is
/// refused before memory is taken.
fn take_count(from: &mut &[u8], bytes_min: usize) -> Option<usize> {
    let count = usize::try_from(from.try_get_i32().ok()?).ok()?;
    (count <= from.len() / bytes_min).then_some(count)
}

/// Topics with their partitions.
pub(super) fn take_partitions(from: &mut &[u8]) -> Option<NamedPartitions> {
    let count = take_count(from, 6)?;
    let mut partitions = NamedPartitions::new();
    for _ in 0..count {
        let topic = take_string(from)?;
        let indexes = take_count(from, 4)?;
        let indexes: Option<Vec<i32>> = (0..indexes).map(|_| from.try_get_i32().ok()).collect();
        partitions.push((topic, indexes?));
    }
    Some(partitions)
}

/// Passes over what only members understand; how many bytes that were.
pub(super) fn take_user_data(from: &mut &[u8]) -> Option<usize> {
    let length = match from.try_get_i32().ok()? {
        -1 => 0,
        length => usize::try_from(length).ok()?,
    };
    *from = from.get(length..)?;
    Some(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_are_read_and_nonsense_is_refused() {
        let good = b"\0\x01\0\0\0\x02\0\x01a\0\x02bc\xff\xff\xff\xff\0\0\0\0";
        assert_eq!(topics_in(good), Some(vec!["a".to_owned(), "bc".to_owned()]));
        assert_eq!(topics_in(b"\0\x01\x7f\xff\xff\xff"), None);
        assert_eq!(topics_in(b""), None);
    }

    #[test]
    fn every_version_is_read_and_a_later_one_as_far_as_we_know_it() {
        let topics = &b"\0\0\0\x01\0\x01t\0\0\0\x01u"[..];
        let owned = &b"\0\0\0\x01\0\x01t\0\0\0\x02\0\0\0\x00\0\0\0\x05"[..];
        let all = [topics, owned, b"\0\0\0\x09", b"\0\x01r", b"later"].concat();
        let lengths = [topics.len(), topics.len() + owned.len(), all.len() - 8, all.len() - 5];
        for (version, length) in [0_i16, 1, 2, 3].into_iter().zip(lengths) {
            let bytes = [&version.to_be_bytes(), &all[..length]].concat();
            let read = Subscription::parse(&bytes).expect("a subscription");
            assert_eq!((read.version, read.topics.len()), (version, 1));
            assert_eq!(read.owned.len(), usize::from(version >= 1), "{version}");
            assert_eq!(read.rack_id.as_deref(), (version >= 3).then_some("r"));
        }
        let later = [&9_i16.to_be_bytes(), &all[..]].concat();
        let read = Subscription::parse(&later).expect("a subscription");
        assert_eq!(read.owned, [("t".to_owned(), vec![0, 5])]);
    }

    #[test]
    fn what_is_cut_within_a_field_is_refused_and_what_is_left_out_is_forgiven() {
        let bytes = b"\0\x01\0\0\0\x01\0\x01t\0\0\0\0\0\0\0\x01\0\x01t\0\0\0\x01\0\0\0\x02";
        let whole = |end: usize| matches!(end, 9 | 13) || end == bytes.len();
        for end in 0..=bytes.len() {
            assert_eq!(Subscription::parse(&bytes[..end]).is_some(), whole(end), "{end}");
        }
        assert_eq!(Subscription::parse(b"\xff\xff\0\0\0\0\0\0\0\0"), None);
    }
}
