//! The state of share-partitions as Kafka writes it into `__share_group_state`. PURE.
//!
//! ```text
//! key       type i16 (0 snapshot, 1 update) | group string | topic id uuid | partition i32
//! snapshot  version i16 (0) | snapshot epoch i32 | state epoch i32 | leader epoch i32
//!           | start i64 | created i64 (ms) | written i64 (ms) | batches | tags
//! update    version i16 (0) | snapshot epoch i32 | leader epoch i32 | start i64 | batches | tags
//! batch     first i64 | last i64 | state i8 | deliveries i16 | tags
//! ```
//!
//! Keys have plain lengths, values compact ones. A snapshot replaces all that was said before; an
//! update goes on with the snapshot of its epoch. A snapshot key without a value forgets the state.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use uuid::Uuid;

use crate::share::compact;
use crate::share::kept::{Kept, StateBatch};
use crate::share::runs::Span;

const SNAPSHOT: i16 = 0;
const UPDATE: i16 = 1;

/// Of which share-partition a record speaks.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StateKey {
    /// The share group.
    pub group: String,
    /// The topic's id.
    pub topic: Uuid,
    /// Its partition.
    pub partition: i32,
}

/// What a snapshot says beside the state.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct SnapshotHead {
    /// Counts the snapshots of this share-partition.
    pub snapshot_epoch: i32,
    /// Grows when the state is begun anew.
    pub state_epoch: i32,
    /// The leader epoch of the partition.
    pub leader_epoch: i32,
    /// When the state was begun.
    pub created_ms: i64,
    /// When this was written.
    pub written_ms: i64,
}

/// What an update says beside the change.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct UpdateHead {
    /// The snapshot that it goes on with.
    pub snapshot_epoch: i32,
    /// The leader epoch of the partition.
    pub leader_epoch: i32,
}

/// A record of `__share_group_state`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StateRecord {
    /// All of the state.
    Snapshot(SnapshotHead, Kept),
    /// What has changed. A start of -1: it has not moved.
    Update(UpdateHead, Kept),
    /// The state is forgotten.
    Forgotten,
}

impl StateRecord {
    /// As bytes of a record's key and value.
    pub fn encode(&self, key: &StateKey) -> (Bytes, Option<Bytes>) {
        let kind = if matches!(self, Self::Update(..)) { UPDATE } else { SNAPSHOT };
        let mut head = BytesMut::new();
        head.put_i16(kind);
        compact::put_short_string(&mut head, &key.group);
        head.put_slice(key.topic.as_bytes());
        head.put_i32(key.partition);
        (head.freeze(), self.encode_value())
    }

    fn encode_value(&self) -> Option<Bytes> {
        let mut value = BytesMut::new();
        value.put_i16(0);
        let kept = match self {
            Self::Snapshot(head, kept) => {
                value.put_i32(head.snapshot_epoch);
                value.put_i32(head.state_epoch);
                value.put_i32(head.leader_epoch);
                value.put_i64(kept.start);
                value.put_i64(head.created_ms);
                value.put_i64(head.written_ms);
                kept
            }
            Self::Update(head, kept) => {
                value.put_i32(head.snapshot_epoch);
                value.put_i32(head.leader_epoch);
                value.put_i64(kept.start);
                kept
            }
            Self::Forgotten => return None,
        };
        compact::put_count(&mut value, kept.batches.len());
        for batch in &kept.batches {
            value.put_i64(batch.span.first);
            value.put_i64(batch.span.last);
            value.put_i8(batch.state);
            value.put_i16(batch.deliveries);
            value.put_u8(0);
        }
        value.put_u8(0);
        Some(value.freeze())
    }

    /// Reads a record; `None`: one of another kind, or one that cannot be read.
    pub fn decode(mut key: &[u8], value: Option<&[u8]>) -> Option<(StateKey, Self)> {
        let kind = key.try_get_i16().ok()?;
        let group = compact::take_short_string(&mut key)?;
        let topic = compact::take_uuid(&mut key)?;
        let partition = key.try_get_i32().ok()?;
        let key = StateKey { group, topic, partition };
        let record = match (kind, value) {
            (SNAPSHOT, None) => Self::Forgotten,
            (SNAPSHOT, Some(value)) => Self::decode_snapshot(value)?,
            (UPDATE, Some(value)) => Self::decode_update(value)?,
            _ => return None,
        };
        Some((key, record))
    }

    fn decode_snapshot(mut value: &[u8]) -> Option<Self> {
        let value = &mut value;
        take_version(value)?;
        let mut head = SnapshotHead {
            snapshot_epoch: value.try_get_i32().ok()?,
            state_epoch: value.try_get_i32().ok()?,
            leader_epoch: value.try_get_i32().ok()?,
            ..SnapshotHead::default()
        };
        let start = value.try_get_i64().ok()?;
        head.created_ms = value.try_get_i64().ok()?;
        head.written_ms = value.try_get_i64().ok()?;
        Some(Self::Snapshot(head, Kept { start, batches: take_batches(value)? }))
    }

    fn decode_update(mut value: &[u8]) -> Option<Self> {
        let value = &mut value;
        take_version(value)?;
        let head = UpdateHead {
            snapshot_epoch: value.try_get_i32().ok()?,
            leader_epoch: value.try_get_i32().ok()?,
        };
        let start = value.try_get_i64().ok()?;
        Some(Self::Update(head, Kept { start, batches: take_batches(value)? }))
    }
}

fn take_version(value: &mut &[u8]) -> Option<()> {
    (value.try_get_i16().ok()? == 0).then_some(())
}

fn take_batches(value: &mut &[u8]) -> Option<Vec<StateBatch>> {
    let count = compact::take_count(value)?;
    let mut batches = Vec::new();
    for _ in 0..count {
        let span = Span::new(value.try_get_i64().ok()?, value.try_get_i64().ok()?)?;
        let state = value.try_get_i8().ok()?;
        let deliveries = value.try_get_i16().ok()?;
        compact::skip_tags(value)?;
        batches.push(StateBatch { span, state, deliveries });
    }
    compact::skip_tags(value)?;
    Some(batches)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> StateKey {
        StateKey { group: "g".into(), topic: Uuid::from_u128(0x0102), partition: 3 }
    }

    fn kept() -> Kept {
        let span = Span { first: 5, last: 6 };
        Kept { start: 4, batches: vec![StateBatch { span, state: 2, deliveries: 1 }] }
    }

    const KEY_REST: &[u8] = b"\0\x01g\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01\x02\0\0\0\x03";
    const BATCHES: &[u8] = b"\x02\0\0\0\0\0\0\0\x05\0\0\0\0\0\0\0\x06\x02\0\x01\0\0";

    #[test]
    fn a_snapshot_is_kafkas_bytes() {
        let head = SnapshotHead {
            snapshot_epoch: 7,
            state_epoch: 1,
            leader_epoch: 2,
            created_ms: 8,
            written_ms: 9,
        };
        let record = StateRecord::Snapshot(head, kept());
        let (bytes, value) = record.encode(&key());
        assert_eq!(bytes, [b"\0\0", KEY_REST].concat());
        let value = value.expect("a value");
        let fixed: &[u8] = b"\0\0\0\0\0\x07\0\0\0\x01\0\0\0\x02\0\0\0\0\0\0\0\x04\0\0\0\0\0\0\0\x08\0\0\0\0\0\0\0\x09";
        assert_eq!(value, [fixed, BATCHES].concat());
        assert_eq!(StateRecord::decode(&bytes, Some(&value)), Some((key(), record)));
        for end in 0..value.len() {
            assert_eq!(StateRecord::decode(&bytes, Some(&value[..end])), None);
        }
        for end in 0..bytes.len() {
            assert_eq!(StateRecord::decode(&bytes[..end], Some(&value)), None);
        }
    }

    #[test]
    fn an_update_is_kafkas_bytes() {
        let head = UpdateHead { snapshot_epoch: 7, leader_epoch: 2 };
        let record = StateRecord::Update(head, kept());
        let (bytes, value) = record.encode(&key());
        assert_eq!(bytes, [b"\0\x01", KEY_REST].concat());
        let value = value.expect("a value");
        let fixed: &[u8] = b"\0\0\0\0\0\x07\0\0\0\x02\0\0\0\0\0\0\0\x04";
        assert_eq!(value, [fixed, BATCHES].concat());
        assert_eq!(StateRecord::decode(&bytes, Some(&value)), Some((key(), record)));
    }

    #[test]
    fn a_key_without_a_value_forgets() {
        let (bytes, value) = StateRecord::Forgotten.encode(&key());
        assert_eq!(value, None);
        assert_eq!(StateRecord::decode(&bytes, None), Some((key(), StateRecord::Forgotten)));
    }
}
