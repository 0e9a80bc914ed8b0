//! Share groups as Kafka writes them into `__consumer_offsets`. PURE.
//!
//! ```text
//! key type  key                     value (version i16 0, compact, with tags)
//! 10        group, member           rack, client id, client host, topic names
//! 11        group                   epoch i32, metadata hash i64
//! 12        group                   assignment epoch i32
//! 13        group, member           partitions by topic
//! 14        group, member           epoch i32, previous epoch i32, state i8, partitions by topic
//! ```
//!
//! A key without a value forgets. Keys of other types are not ours and are passed over.

use std::collections::BTreeSet;

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::share::compact;
use crate::share::session::Place;

const MEMBER: i16 = 10;
const GROUP: i16 = 11;
const TARGET_EPOCH: i16 = 12;
const TARGET: i16 = 13;
const CURRENT: i16 = 14;

/// What a member said of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemberMetadata {
    /// Where it runs, if it says so.
    pub rack: Option<String>,
    /// What it calls itself.
    pub client_id: String,
    /// Its address.
    pub client_host: String,
    /// The topics to which it subscribes.
    pub topics: BTreeSet<String>,
}

/// What a member works on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Current {
    /// Its epoch.
    pub epoch: i32,
    /// The epoch before, which its last heartbeat may still bear.
    pub previous_epoch: i32,
    /// Its partitions.
    pub places: BTreeSet<Place>,
}

/// One change of a share group; `None`: it is forgotten.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the table above says it")]
pub enum GroupRecord {
    Member(String, Option<MemberMetadata>),
    Group(Option<GroupEpoch>),
    TargetEpoch(Option<i32>),
    Target(String, Option<BTreeSet<Place>>),
    Current(String, Option<Current>),
}

/// The epoch of a group.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct GroupEpoch {
    /// It grows with each change of members, subscriptions and topics.
    pub epoch: i32,
    /// Tells whether the topics are those of this epoch.
    pub metadata_hash: i64,
}

impl GroupRecord {
    /// As bytes of a record's key and value.
    pub fn encode(&self, group: &str) -> (Bytes, Option<Bytes>) {
        let (kind, member) = match self {
            Self::Member(member, _) => (MEMBER, Some(member)),
            Self::Group(_) => (GROUP, None),
            Self::TargetEpoch(_) => (TARGET_EPOCH, None),
            Self::Target(member, _) => (TARGET, Some(member)),
            Self::Current(member, _) => (CURRENT, Some(member)),
        };
        let mut key = BytesMut::new();
        key.put_i16(kind);
        compact::put_short_string(&mut key, group);
        if let Some(member) = member {
            compact::put_short_string(&mut key, member);
        }
        (key.freeze(), self.encode_value())
    }

    fn encode_value(&self) -> Option<Bytes> {
        let mut value = BytesMut::new();
        value.put_i16(0);
        match self {
            Self::Member(_, metadata) => {
                let metadata = metadata.as_ref()?;
                compact::put_nullable(&mut value, metadata.rack.as_deref());
                compact::put_string(&mut value, &metadata.client_id);
                compact::put_string(&mut value, &metadata.client_host);
                compact::put_count(&mut value, metadata.topics.len());
                metadata.topics.iter().for_each(|name| compact::put_string(&mut value, name));
            }
            Self::Group(group) => {
                value.put_i32((*group)?.epoch);
                value.put_i64((*group)?.metadata_hash);
            }
            Self::TargetEpoch(epoch) => value.put_i32((*epoch)?),
            Self::Target(_, places) => put_places(&mut value, places.as_ref()?),
            Self::Current(_, current) => {
                let current = current.as_ref()?;
                value.put_i32(current.epoch);
                value.put_i32(current.previous_epoch);
                value.put_i8(0); // stable: members of share groups have no other state
                put_places(&mut value, &current.places);
            }
        }
        value.put_u8(0);
        Some(value.freeze())
    }

    /// Reads the group's name and the change; `None`: a record of another kind, or one that cannot
    /// be read.
    pub fn decode(mut key: &[u8], value: Option<&[u8]>) -> Option<(String, Self)> {
        let kind = key.try_get_i16().ok()?;
        if !(MEMBER..=CURRENT).contains(&kind) {
            return None;
        }
        let group = compact::take_short_string(&mut key)?;
        let mut member = || compact::take_short_string(&mut key);
        let mut value = match value {
            None => None,
            Some(mut value) => {
                let version = value.try_get_i16().ok()?;
                (version == 0).then_some(())?;
                Some(value)
            }
        };
        let value = value.as_mut();
        let record = match kind {
            MEMBER => Self::Member(member()?, read(value, take_metadata)?),
            GROUP => Self::Group(read(value, |value| {
                let epoch = value.try_get_i32().ok()?;
                Some(GroupEpoch { epoch, metadata_hash: value.try_get_i64().ok()? })
            })?),
            TARGET_EPOCH => Self::TargetEpoch(read(value, |value| value.try_get_i32().ok())?),
            TARGET => Self::Target(member()?, read(value, take_places)?),
            _ => Self::Current(member()?, read(value, take_current)?),
        };
        Some((group, record))
    }
}

/// Reads a value that is there. The outer `None`: it cannot be read.
fn read<'a, T>(
    value: Option<&mut &'a [u8]>,
    take: impl FnOnce(&mut &'a [u8]) -> Option<T>,
) -> Option<Option<T>> {
    match value {
        None => Some(None),
        Some(value) => {
            let taken = take(value)?;
            compact::skip_tags(value)?;
            Some(Some(taken))
        }
    }
}

fn take_metadata(value: &mut &[u8]) -> Option<MemberMetadata> {
    let rack = compact::take_nullable(value)?;
    let client_id = compact::take_string(value)?;
    let client_host = compact::take_string(value)?;
    let mut topics = BTreeSet::new();
    for _ in 0..compact::take_count(value)? {
        topics.insert(compact::take_string(value)?);
    }
    Some(MemberMetadata { rack, client_id, client_host, topics })
}

fn take_current(value: &mut &[u8]) -> Option<Current> {
    let epoch = value.try_get_i32().ok()?;
    let previous_epoch = value.try_get_i32().ok()?;
    value.try_get_i8().ok()?;
    Some(Current { epoch, previous_epoch, places: take_places(value)? })
}

fn put_places(value: &mut BytesMut, places: &BTreeSet<Place>) {
    let all: Vec<Place> = places.iter().copied().collect();
    let topics: Vec<&[Place]> = all.chunk_by(|one, other| one.topic == other.topic).collect();
    compact::put_count(value, topics.len());
    for partitions in topics {
        value.put_slice(partitions[0].topic.as_bytes());
        compact::put_count(value, partitions.len());
        partitions.iter().for_each(|place| value.put_i32(place.partition));
        value.put_u8(0);
    }
}

fn take_places(value: &mut &[u8]) -> Option<BTreeSet<Place>> {
    let mut places = BTreeSet::new();
    for _ in 0..compact::take_count(value)? {
        let topic = compact::take_uuid(value)?;
        for _ in 0..compact::take_count(value)? {
            places.insert(Place { topic, partition: value.try_get_i32().ok()? });
        }
        compact::skip_tags(value)?;
    }
    Some(places)
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn places() -> BTreeSet<Place> {
        [(1, 0), (1, 2), (2, 0)]
            .map(|(topic, partition)| Place { topic: Uuid::from_u128(topic), partition })
            .into()
    }

    const PLACES: &[u8] = b"\x03\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01\x03\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x02\x02\0\0\0\0\0\0";

    #[test]
    fn records_are_kafkas_bytes() {
        let metadata = MemberMetadata {
            rack: None,
            client_id: "c".into(),
            client_host: "h".into(),
            topics: ["t".to_owned()].into(),
        };
        let group = GroupEpoch { epoch: 5, metadata_hash: -1 };
        let current = Current { epoch: 6, previous_epoch: 5, places: places() };
        let m = || "m".to_owned();
        let cases: [(GroupRecord, &[u8], Vec<u8>); 5] = [
            (
                GroupRecord::Member(m(), Some(metadata)),
                b"\0\x0a\0\x01g\0\x01m",
                b"\0\0\0\x02c\x02h\x02\x02t\0".to_vec(),
            ),
            (
                GroupRecord::Group(Some(group)),
                b"\0\x0b\0\x01g",
                b"\0\0\0\0\0\x05\xff\xff\xff\xff\xff\xff\xff\xff\0".to_vec(),
            ),
            (GroupRecord::TargetEpoch(Some(5)), b"\0\x0c\0\x01g", b"\0\0\0\0\0\x05\0".to_vec()),
            (
                GroupRecord::Target(m(), Some(places())),
                b"\0\x0d\0\x01g\0\x01m",
                [b"\0\0", PLACES].concat(),
            ),
            (
                GroupRecord::Current(m(), Some(current)),
                b"\0\x0e\0\x01g\0\x01m",
                [b"\0\0\0\0\0\x06\0\0\0\x05\0", PLACES].concat(),
            ),
        ];
        for (record, key, value) in cases {
            let (bytes, encoded) = record.encode("g");
            assert_eq!(bytes, key);
            assert_eq!(encoded.as_deref(), Some(&value[..]), "{record:?}");
            assert_eq!(GroupRecord::decode(key, Some(&value)), Some(("g".into(), record)));
            for end in 0..value.len() {
                assert_eq!(GroupRecord::decode(key, Some(&value[..end])), None);
            }
            for end in 0..key.len() {
                assert_eq!(GroupRecord::decode(&key[..end], Some(&value)), None);
            }
        }
    }

    #[test]
    fn a_key_without_a_value_forgets_and_other_keys_are_passed_over() {
        let forgotten = GroupRecord::Current("m".into(), None);
        let (key, value) = forgotten.encode("g");
        assert_eq!(value, None);
        assert_eq!(GroupRecord::decode(&key, None), Some(("g".into(), forgotten)));
        assert_eq!(GroupRecord::decode(b"\0\x01\0\x01g\0\x01t\0\0\0\0", None), None);
    }
}
