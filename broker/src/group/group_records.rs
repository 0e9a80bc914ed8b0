//! PURE. A group with its members as Kafka writes it into `__consumer_offsets`.
//!
//! ```text
//! key    version i16 (2) | group string
//! value  version i16 (3) | protocol type string | generation i32 | protocol string or null
//!        | leader string or null | state since i64 (ms) | members i32, each:
//!          member id string | instance id string or null | client id string | client host string
//!          | rebalance timeout i32 | session timeout i32 | subscription bytes | assignment bytes
//! ```
//!
//! Strings have a length of 16 bits, bytes one of 32; -1 is null. Older values lack the instance id
//! (below 3), the time (below 2) and the rebalance timeout (below 1).

use std::collections::BTreeMap;

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::group::classic::ClassicGroup;
use crate::group::classic::member::Member;
use crate::group::offset_records::{put_string, take_string};

const KEY_VERSION: i16 = 2;
const VALUE_VERSION: i16 = 3;
/// More members than any group has: a length that cannot be is refused before memory is taken.
const MEMBER_BYTES_MIN: usize = 20;

/// A group as it was stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredGroup {
    /// `consumer`, `connect`, ...; empty: none yet.
    pub protocol_type: String,
    /// Its generation.
    pub generation: i32,
    /// The protocol that was chosen.
    pub protocol: Option<String>,
    /// Who shares out the work.
    pub leader: Option<String>,
    /// Since when it is in this state, by the clock on the wall; -1: not known.
    pub state_since_ms: i64,
    /// Its members by id, each with what it said under the chosen protocol.
    pub members: BTreeMap<String, Member>,
}

impl StoredGroup {
    /// The group. Its members have their whole sessions before them.
    #[must_use]
    pub fn revive(self, now_ms: i64) -> ClassicGroup {
        let StoredGroup { protocol_type, generation, protocol, leader, members, .. } = self;
        ClassicGroup::restored(generation, Some(protocol_type), protocol, leader, members, now_ms)
    }
}

/// The key of a group's record.
#[must_use]
pub fn encode_key(group: &str) -> Bytes {
    let mut bytes = BytesMut::new();
    bytes.put_i16(KEY_VERSION);
    put_string(&mut bytes, group);
    bytes.freeze()
}

/// The group that a key is about; `None`: a key of another kind, or one that cannot be read.
#[must_use]
pub fn decode_key(mut bytes: &[u8]) -> Option<String> {
    if bytes.try_get_i16().ok()? != KEY_VERSION {
        return None;
    }
    take_string(&mut bytes)
}

/// The value of a group's record.
#[must_use]
pub fn encode(group: &ClassicGroup, state_since_ms: i64) -> Bytes {
    let protocol = group.protocol();
    let mut bytes = BytesMut::new();
    bytes.put_i16(VALUE_VERSION);
    put_string(&mut bytes, group.protocol_type().unwrap_or_default());
    bytes.put_i32(group.generation());
    put_nullable(&mut bytes, protocol);
    put_nullable(&mut bytes, group.leader());
    bytes.put_i64(state_since_ms);
    bytes.put_i32(i32::try_from(group.members().len()).expect("a group is small"));
    for (id, member) in group.members() {
        put_string(&mut bytes, id);
        put_nullable(&mut bytes, member.instance_id.as_deref());
        put_string(&mut bytes, &member.client_id);
        put_string(&mut bytes, &member.client_host);
        bytes.put_i32(member.rebalance_timeout_ms);
        bytes.put_i32(member.session_timeout_ms);
        put_bytes(&mut bytes, &member.metadata(protocol.unwrap_or_default()));
        put_bytes(&mut bytes, &member.assignment);
    }
    bytes.freeze()
}

/// Reads a value of version 0 to 3; `None`: one that cannot be read.
#[must_use]
pub fn decode(mut bytes: &[u8]) -> Option<StoredGroup> {
    let from = &mut bytes;
    let version = from.try_get_i16().ok()?;
    if !(0..=VALUE_VERSION).contains(&version) {
        return None;
    }
    let protocol_type = take_string(from)?;
    let generation = from.try_get_i32().ok()?;
    let protocol = take_nullable(from)?;
    let leader = take_nullable(from)?;
    let state_since_ms = if version >= 2 { from.try_get_i64().ok()? } else { -1 };
    let count = usize::try_from(from.try_get_i32().ok()?).ok()?;
    if count > from.len() / MEMBER_BYTES_MIN {
        return None;
    }
    let mut members = BTreeMap::new();
    for _ in 0..count {
        let (id, member) = take_member(from, version, protocol.as_deref())?;
        members.insert(id, member);
    }
    Some(StoredGroup { protocol_type, generation, protocol, leader, state_since_ms, members })
}

fn take_member(from: &mut &[u8], version: i16, protocol: Option<&str>) -> Option<(String, Member)> {
    let id = take_string(from)?;
    let instance_id = if version >= 3 { take_nullable(from)? } else { None };
    let client_id = take_string(from)?;
    let client_host = take_string(from)?;
    let rebalance_timeout_ms = if version >= 1 { Some(from.try_get_i32().ok()?) } else { None };
    let session_timeout_ms = from.try_get_i32().ok()?;
    let subscription = take_bytes(from)?;
    let assignment = take_bytes(from)?;
    let protocols = vec![(protocol.unwrap_or_default().to_owned(), subscription)];
    let rebalance_timeout_ms = rebalance_timeout_ms.unwrap_or(session_timeout_ms);
    let member = Member::restored(
        instance_id,
        (client_id, client_host),
        (session_timeout_ms, rebalance_timeout_ms),
        protocols,
        assignment,
    );
    Some((id, member))
}

fn put_nullable(bytes: &mut BytesMut, text: Option<&str>) {
    match text {
        Some(text) => put_string(bytes, text),
        None => bytes.put_i16(-1),
    }
}

fn take_nullable(from: &mut &[u8]) -> Option<Option<String>> {
    let mut ahead = *from;
    if ahead.try_get_i16().ok()? == -1 {
        *from = ahead;
        return Some(None);
    }
    take_string(from).map(Some)
}

fn put_bytes(bytes: &mut BytesMut, content: &[u8]) {
    bytes.put_i32(i32::try_from(content.len()).expect("a request is bounded"));
    bytes.put_slice(content);
}

fn take_bytes(from: &mut &[u8]) -> Option<Bytes> {
    let length = usize::try_from(from.try_get_i32().ok()?).ok()?;
    let content = Bytes::copy_from_slice(from.get(..length)?);
    from.advance(length);
    Some(content)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored() -> StoredGroup {
        let member = Member::restored(
            Some("i".into()),
            ("c".into(), "/127.0.0.1".into()),
            (10_000, 60_000),
            vec![("range".into(), Bytes::from_static(b"s"))],
            Bytes::from_static(b"a"),
        );
        StoredGroup {
            protocol_type: "consumer".into(),
            generation: 5,
            protocol: Some("range".into()),
            leader: Some("m".into()),
            state_since_ms: 7,
            members: BTreeMap::from([("m".into(), member)]),
        }
    }

    #[test]
    fn keys_and_values_are_kafkas_bytes() {
        assert_eq!(&encode_key("g")[..], b"\0\x02\0\x01g");
        assert_eq!(decode_key(b"\0\x02\0\x01g").as_deref(), Some("g"));
        assert_eq!(decode_key(b"\0\x01\0\x01g"), None);
        let bytes = encode(&stored().revive(0), 7);
        let wanted: &[u8] = b"\0\x03\0\x08consumer\0\0\0\x05\0\x05range\0\x01m\
            \0\0\0\0\0\0\0\x07\0\0\0\x01\0\x01m\0\x01i\0\x01c\0\x0a/127.0.0.1\0\0\xea\x60\0\0\x27\x10\
            \0\0\0\x01s\0\0\0\x01a";
        assert_eq!(&bytes[..], wanted);
    }

    #[test]
    fn what_is_written_is_read_and_what_is_cut_is_not() {
        let bytes = encode(&stored().revive(0), 7);
        let mut read = decode(&bytes).unwrap();
        assert_eq!(read, stored());
        for end in 0..bytes.len() {
            assert_eq!(decode(&bytes[..end]), None, "{end}");
        }
        // An empty group has neither protocol nor leader.
        let empty = encode(&ClassicGroup::new(), -1);
        read = decode(&empty).unwrap();
        assert_eq!((read.protocol, read.leader, read.members.len()), (None, None, 0));
    }

    #[test]
    fn a_count_that_the_bytes_cannot_hold_is_refused() {
        let mut bytes = BytesMut::from(&encode(&ClassicGroup::new(), 0)[..]);
        let end = bytes.len();
        bytes[end - 4..].copy_from_slice(&i32::MAX.to_be_bytes());
        assert_eq!(decode(&bytes), None);
    }
}
