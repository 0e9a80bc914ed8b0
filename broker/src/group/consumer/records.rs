//! What a consumer group is, as Kafka writes it into `__consumer_offsets`. PURE.
//!
//! ```text
//! key   version i16 | group string | member or expression string (5, 7, 8 and 16)
//! value version i16 (0) | the fields below, in the compact encoding, with tagged fields
//!
//!  3 the group            epoch i32, tag 0: hash of its topics i64
//!  4 partition metadata   of brokers before 4.0: read, not used
//!  5 a member             what it told of itself
//!  6 target assignment    the epoch i32 for which it was made
//!  7 a member's target    partitions
//!  8 a member's standing  epoch i32, previous epoch i32, state i8, assigned, to be revoked
//! 16 an expression        the topics it matches, version of the metadata i64, time i64 (ms)
//! ```
//!
//! A record without a value takes back what its key names. The schemas are those of Kafka 4.2:
//! `group-coordinator/src/main/resources/common/message/ConsumerGroup*.json`.

use std::collections::{BTreeMap, BTreeSet};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use uuid::Uuid;

use crate::group::consumer::compact::{Reader, Writer};
use crate::group::consumer::member::{ClassicProfile, Profile, Standing, State};
use crate::group::consumer::topics::{Partitions, TopicPartition, by_topic};

/// Names in keys of records are no longer.
pub const NAME_BYTES_MAX: usize = i16::MAX as usize;

/// The group itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupValue {
    /// Grows with each change.
    pub epoch: i32,
    /// What its topics were: [`metadata_hash`](super::subscription::metadata_hash).
    pub metadata_hash: i64,
}

/// What an expression matched when it was last looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resolved {
    /// The names.
    pub topics: BTreeSet<String>,
    /// The version of the broker's topics then.
    pub version: i64,
    /// When that was.
    pub time_ms: i64,
}

/// One change of a group. Nothing in place of a value: it is taken back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// The group's epoch.
    Group(Option<GroupValue>),
    /// What brokers before 4.0 kept of the topics. Only read.
    PartitionMetadata,
    /// What a member told of itself.
    Member(String, Option<Profile>),
    /// For which epoch the target assignment was made.
    TargetEpoch(Option<i32>),
    /// What a member shall own.
    Target(String, Option<Partitions>),
    /// What a member owns.
    Standing(String, Option<Standing>),
    /// What an expression matches.
    Pattern(String, Option<Resolved>),
}

impl Record {
    /// The key's version, which tells the kinds apart.
    fn kind(&self) -> i16 {
        match self {
            Self::Group(_) => 3,
            Self::PartitionMetadata => 4,
            Self::Member(..) => 5,
            Self::TargetEpoch(_) => 6,
            Self::Target(..) => 7,
            Self::Standing(..) => 8,
            Self::Pattern(..) => 16,
        }
    }

    /// The bytes of key and value of this record of `group`.
    pub fn encode(&self, group: &str) -> (Bytes, Option<Bytes>) {
        let mut key = BytesMut::new();
        key.put_i16(self.kind());
        put_key_string(&mut key, group);
        let mut value = Writer::default();
        value.i16(0);
        let is_kept = match self {
            Self::Group(group) => group.map(|group| put_group(&mut value, group)).is_some(),
            Self::PartitionMetadata => false,
            Self::TargetEpoch(epoch) => epoch
                .map(|epoch| {
                    value.i32(epoch);
                    value.no_tags();
                })
                .is_some(),
            Self::Member(name, profile) => {
                put_key_string(&mut key, name);
                profile.as_ref().map(|profile| put_profile(&mut value, profile)).is_some()
            }
            Self::Target(name, target) => {
                put_key_string(&mut key, name);
                target.as_ref().map(|target| put_target(&mut value, target)).is_some()
            }
            Self::Standing(name, standing) => {
                put_key_string(&mut key, name);
                standing.as_ref().map(|standing| put_standing(&mut value, standing)).is_some()
            }
            Self::Pattern(name, resolved) => {
                put_key_string(&mut key, name);
                resolved.as_ref().map(|resolved| put_resolved(&mut value, resolved)).is_some()
            }
        };
        (key.freeze(), is_kept.then(|| value.bytes()))
    }

    /// Reads a record of a consumer group; `None`: one of another kind, or one that cannot be read.
    pub fn decode(mut key: &[u8], value: Option<&[u8]>) -> Option<(String, Self)> {
        let kind = key.try_get_i16().ok()?;
        if !matches!(kind, 3..=8 | 16) {
            return None;
        }
        let group = take_key_string(&mut key)?;
        let mut value = match value {
            Some(bytes) => {
                let mut reader = Reader(bytes);
                (reader.i16()? == 0).then_some(Some(reader))?
            }
            None => None,
        };
        let record = match kind {
            3 => Self::Group(read(&mut value, take_group)?),
            4 => Self::PartitionMetadata,
            5 => Self::Member(take_key_string(&mut key)?, read(&mut value, take_profile)?),
            6 => Self::TargetEpoch(read(&mut value, Reader::i32)?),
            7 => Self::Target(take_key_string(&mut key)?, read(&mut value, take_target)?),
            8 => Self::Standing(take_key_string(&mut key)?, read(&mut value, take_standing)?),
            _ => Self::Pattern(take_key_string(&mut key)?, read(&mut value, take_resolved)?),
        };
        Some((group, record))
    }
}

/// Reads a value if there is one; the outer `None` is one that cannot be read.
fn read<'a, T>(
    value: &mut Option<Reader<'a>>,
    take: impl Fn(&mut Reader<'a>) -> Option<T>,
) -> Option<Option<T>> {
    match value {
        Some(reader) => take(reader).map(Some),
        None => Some(None),
    }
}

fn put_key_string(bytes: &mut BytesMut, text: &str) {
    // Whoever lets a group or a member in has looked at its name.
    let length = i16::try_from(text.len()).expect("a name longer than NAME_BYTES_MAX");
    bytes.put_i16(length);
    bytes.put_slice(text.as_bytes());
}

fn take_key_string(bytes: &mut &[u8]) -> Option<String> {
    let length = usize::try_from(bytes.try_get_i16().ok()?).ok()?;
    let text = std::str::from_utf8(bytes.get(..length)?).ok()?.to_owned();
    bytes.advance(length);
    Some(text)
}

fn put_group(value: &mut Writer, group: GroupValue) {
    value.i32(group.epoch);
    if group.metadata_hash == 0 {
        return value.no_tags();
    }
    value.tag(0, &group.metadata_hash.to_be_bytes());
}

fn take_group(value: &mut Reader<'_>) -> Option<GroupValue> {
    let epoch = value.i32()?;
    let mut metadata_hash = 0;
    value.tags(|tag, mut bytes| {
        if tag == 0 {
            metadata_hash = bytes.try_get_i64().unwrap_or(0);
        }
    })?;
    Some(GroupValue { epoch, metadata_hash })
}

fn put_profile(value: &mut Writer, profile: &Profile) {
    value.nullable_string(profile.instance_id.as_deref());
    value.nullable_string(profile.rack_id.as_deref());
    value.string(&profile.client_id);
    value.string(&profile.client_host);
    value.count(profile.topic_names.len());
    for name in &profile.topic_names {
        value.string(name);
    }
    value.nullable_string(profile.topic_regex.as_deref());
    value.i32(profile.rebalance_timeout_ms);
    value.nullable_string(profile.assignor.as_deref());
    let Some(classic) = &profile.classic else { return value.no_tags() };
    let mut tag = Writer::default();
    // A nullable struct begins with a byte that says it is there.
    tag.i8(1);
    tag.i32(classic.session_timeout_ms);
    tag.count(classic.protocols.len());
    for (name, metadata) in &classic.protocols {
        tag.string(name);
        tag.blob(metadata);
        tag.no_tags();
    }
    tag.no_tags();
    value.tag(0, &tag.bytes());
}

fn take_profile(value: &mut Reader<'_>) -> Option<Profile> {
    let instance_id = value.nullable_string()?;
    let rack_id = value.nullable_string()?;
    let client_id = value.string()?;
    let client_host = value.string()?;
    let topic_names = value.list(Reader::string)?.into_iter().collect();
    let topic_regex = value.nullable_string()?;
    let rebalance_timeout_ms = value.i32()?;
    let assignor = value.nullable_string()?;
    let mut classic = Some(None);
    value.tags(|tag, bytes| {
        if tag == 0 {
            classic = take_classic(&mut Reader(bytes));
        }
    })?;
    let classic = classic?;
    Some(Profile {
        instance_id,
        rack_id,
        client_id,
        client_host,
        topic_names,
        topic_regex,
        rebalance_timeout_ms,
        assignor,
        classic,
    })
}

fn take_classic(value: &mut Reader<'_>) -> Option<Option<ClassicProfile>> {
    if value.i8()? < 0 {
        return Some(None);
    }
    let session_timeout_ms = value.i32()?;
    let protocols = value.list(|value| {
        let protocol = (value.string()?, Bytes::copy_from_slice(value.blob()?));
        value.tags(|_, _| ())?;
        Some(protocol)
    })?;
    value.tags(|_, _| ())?;
    Some(Some(ClassicProfile { session_timeout_ms, protocols }))
}

fn put_target(value: &mut Writer, target: &Partitions) {
    let topics = by_topic(target);
    value.count(topics.len());
    for (topic, indexes) in topics {
        value.uuid(topic);
        value.indexes(&indexes);
        value.no_tags();
    }
    value.no_tags();
}

fn take_target(value: &mut Reader<'_>) -> Option<Partitions> {
    let assigned = take_assigned(value, 0)?;
    value.tags(|_, _| ())?;
    Some(assigned.into_keys().collect())
}

fn put_standing(value: &mut Writer, standing: &Standing) {
    value.i32(standing.epoch);
    value.i32(standing.previous_epoch);
    value.i8(standing.state as i8);
    for partitions in [&standing.assigned, &standing.revoking] {
        let topics = by_topic(partitions.keys());
        value.count(topics.len());
        for (topic, indexes) in topics {
            value.uuid(topic);
            value.indexes(&indexes);
            let since = indexes.iter().map(|at| partitions[&TopicPartition::new(topic, *at)]);
            let mut tag = Writer::default();
            tag.indexes(&since.collect::<Vec<i32>>());
            value.tag(0, &tag.bytes());
        }
    }
    value.no_tags();
}

fn take_standing(value: &mut Reader<'_>) -> Option<Standing> {
    let epoch = value.i32()?;
    let previous_epoch = value.i32()?;
    let state = State::of(value.i8()?)?;
    let assigned = take_assigned(value, epoch)?;
    let revoking = take_assigned(value, epoch)?;
    value.tags(|_, _| ())?;
    Some(Standing { epoch, previous_epoch, state, assigned, revoking })
}

/// Partitions with the epochs of tag 0; where there are none, `epoch` stands for each.
fn take_assigned(value: &mut Reader<'_>, epoch: i32) -> Option<BTreeMap<TopicPartition, i32>> {
    let topics = value.list(|value| {
        let topic: Uuid = value.uuid()?;
        let indexes = value.list(Reader::i32)?;
        let mut since = Vec::new();
        value.tags(|tag, bytes| {
            if tag == 0 {
                since = Reader(bytes).list(Reader::i32).unwrap_or_default();
            }
        })?;
        since.resize(indexes.len(), epoch);
        Some(indexes.into_iter().map(move |index| TopicPartition::new(topic, index)).zip(since))
    })?;
    Some(topics.into_iter().flatten().collect())
}

fn put_resolved(value: &mut Writer, resolved: &Resolved) {
    value.count(resolved.topics.len());
    for name in &resolved.topics {
        value.string(name);
    }
    value.i64(resolved.version);
    value.i64(resolved.time_ms);
    value.no_tags();
}

fn take_resolved(value: &mut Reader<'_>) -> Option<Resolved> {
    let topics = value.list(Reader::string)?.into_iter().collect();
    let version = value.i64()?;
    let time_ms = value.i64()?;
    value.tags(|_, _| ())?;
    Some(Resolved { topics, version, time_ms })
}

#[cfg(test)]
mod tests;
