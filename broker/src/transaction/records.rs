//! PURE. A transactional id as Kafka writes it into `__transaction_state`.
//!
//! ```text
//! key      version i16 (0) | transactional id string
//! value 1  version i16 | producer id i64 | epoch i16 | timeout i32 (ms) | state i8
//!          | topics or null, each: topic string | partitions, each i32 | no tags
//!          | last update i64 (ms) | start of the transaction i64 (ms)
//!          | tags 0: previous producer id i64, 1: next producer id i64, 2: version of the end i16
//! value 0  the same without tags; counts are i32, strings have a length of i16
//! ```
//!
//! Strings and counts of value 1 are compact. It is what is written; value 0, which Kafka writes
//! below level 1 of `transaction.version`, is read too.

use std::collections::{BTreeMap, BTreeSet};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use weir_protocol::records::control::Marker;

use crate::group::consumer::compact::{Reader, Writer};
use crate::group::offset_records::{put_string, take_string};
use crate::transaction::state::{NO_EPOCH, NO_ID, Place, State, Transaction, Version};

const KEY_VERSION: i16 = 0;
/// The first value whose fields are compact, and the one that is written.
const COMPACT: i16 = 1;
const PREVIOUS_ID_TAG: usize = 0;
const NEXT_ID_TAG: usize = 1;
const VERSION_TAG: usize = 2;
/// The level of `transaction.version` whose ends bump the epoch.
const LEVEL_TWO: i16 = 2;

/// The key of an id's record.
#[must_use]
pub fn encode_key(transactional_id: &str) -> Bytes {
    let mut bytes = BytesMut::new();
    bytes.put_i16(KEY_VERSION);
    put_string(&mut bytes, transactional_id);
    bytes.freeze()
}

/// The id that a key is about; `None`: one that cannot be read.
#[must_use]
pub fn decode_key(mut bytes: &[u8]) -> Option<String> {
    (bytes.try_get_i16().ok()? == KEY_VERSION).then(|| take_string(&mut bytes)).flatten()
}

/// The value of an id's record.
#[must_use]
pub fn encode(transaction: &Transaction) -> Bytes {
    let mut value = Writer::default();
    value.i16(COMPACT);
    value.i64(transaction.producer_id);
    value.i16(transaction.epoch);
    value.i32(transaction.timeout_ms);
    value.i8(code_of(transaction.state));
    let mut topics: BTreeMap<&str, Vec<i32>> = BTreeMap::new();
    for (topic, partition) in &transaction.partitions {
        topics.entry(topic).or_default().push(*partition);
    }
    value.count(topics.len());
    for (topic, partitions) in topics {
        value.string(topic);
        value.indexes(&partitions);
        value.no_tags();
    }
    value.i64(transaction.updated_ms);
    value.i64(transaction.started_ms);
    let ids = [(PREVIOUS_ID_TAG, transaction.previous_id), (NEXT_ID_TAG, transaction.next_id)];
    let mut tags: Vec<(usize, Vec<u8>)> = Vec::new();
    for (tag, id) in ids.into_iter().filter(|(_, id)| *id != NO_ID) {
        tags.push((tag, id.to_be_bytes().to_vec()));
    }
    if transaction.version == Version::Two {
        tags.push((VERSION_TAG, LEVEL_TWO.to_be_bytes().to_vec()));
    }
    value.tags(&tags);
    value.bytes()
}

/// Reads a value; `None`: one that cannot be read.
#[must_use]
pub fn decode(bytes: &[u8]) -> Option<Transaction> {
    let mut value = Reader(bytes);
    let is_compact = match value.i16()? {
        0 => false,
        COMPACT => true,
        _ => return None,
    };
    let producer_id = value.i64()?;
    let epoch = value.i16()?;
    let timeout_ms = value.i32()?;
    let state = state_of(value.i8()?)?;
    let partitions = if is_compact { compact_places(&mut value)? } else { places(&mut value.0)? };
    let updated_ms = value.i64()?;
    let started_ms = value.i64()?;
    let (mut previous_id, mut next_id, mut level) = (Some(NO_ID), Some(NO_ID), Some(0));
    if is_compact {
        let id = |bytes: &[u8]| bytes.try_into().ok().map(i64::from_be_bytes);
        value.tags(|tag, bytes| match tag {
            PREVIOUS_ID_TAG => previous_id = id(bytes),
            NEXT_ID_TAG => next_id = id(bytes),
            VERSION_TAG => level = bytes.try_into().ok().map(i16::from_be_bytes),
            _ => {}
        })?;
    }
    Some(Transaction {
        producer_id,
        previous_id: previous_id?,
        next_id: next_id?,
        epoch,
        last_epoch: NO_EPOCH,
        version: if level? >= LEVEL_TWO { Version::Two } else { Version::One },
        timeout_ms,
        state,
        partitions,
        started_ms,
        updated_ms,
    })
}

fn compact_places(value: &mut Reader<'_>) -> Option<BTreeSet<Place>> {
    // Kafka writes null where there is none.
    if value.0.first() == Some(&0) {
        value.0.advance(1);
        return Some(BTreeSet::new());
    }
    let topics = value.list(|value| {
        let topic = value.string()?;
        let partitions = value.list(Reader::i32)?;
        value.tags(|_, _| ())?;
        Some((topic, partitions))
    })?;
    let of = |(topic, partitions): (String, Vec<i32>)| {
        partitions.into_iter().map(move |partition| (topic.clone(), partition))
    };
    Some(topics.into_iter().flat_map(of).collect())
}

fn places(from: &mut &[u8]) -> Option<BTreeSet<Place>> {
    let mut places = BTreeSet::new();
    for _ in 0..from.try_get_i32().ok()?.max(0) {
        let topic = take_string(from)?;
        for _ in 0..from.try_get_i32().ok()? {
            places.insert((topic.clone(), from.try_get_i32().ok()?));
        }
    }
    Some(places)
}

fn code_of(state: State) -> i8 {
    match state {
        State::Empty => 0,
        State::Ongoing => 1,
        State::Preparing(Marker::Commit) => 2,
        State::Preparing(Marker::Abort) => 3,
        State::Complete(Marker::Commit) => 4,
        State::Complete(Marker::Abort) => 5,
    }
}

fn state_of(code: i8) -> Option<State> {
    Some(match code {
        0 => State::Empty,
        1 => State::Ongoing,
        2 => State::Preparing(Marker::Commit),
        3 => State::Preparing(Marker::Abort),
        4 => State::Complete(Marker::Commit),
        5 => State::Complete(Marker::Abort),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open() -> Transaction {
        Transaction {
            producer_id: 7,
            previous_id: NO_ID,
            next_id: NO_ID,
            epoch: 3,
            last_epoch: NO_EPOCH,
            version: Version::One,
            timeout_ms: 60_000,
            state: State::Ongoing,
            partitions: BTreeSet::from([("a".to_owned(), 1), ("a".to_owned(), 2)]),
            started_ms: 5,
            updated_ms: 6,
        }
    }

    #[test]
    fn keys_and_values_are_kafkas_bytes() {
        assert_eq!(&encode_key("id")[..], b"\0\0\0\x02id");
        assert_eq!(decode_key(b"\0\0\0\x02id").as_deref(), Some("id"));
        let transaction = open();
        let bytes = encode(&transaction);
        let wanted: &[u8] = b"\0\x01\0\0\0\0\0\0\0\x07\0\x03\0\0\xea\x60\x01\x02\x02a\x03\
            \0\0\0\x01\0\0\0\x02\0\0\0\0\0\0\0\0\x06\0\0\0\0\0\0\0\x05\0";
        assert_eq!(&bytes[..], wanted);
        assert_eq!(decode(&bytes), Some(transaction));
        for end in 0..bytes.len() {
            assert_eq!(decode(&bytes[..end]), None, "{end}");
        }
    }

    #[test]
    fn what_version_2_has_to_know_is_kafkas_tags() {
        let transaction = Transaction {
            previous_id: 5,
            next_id: 9,
            version: Version::Two,
            state: State::Preparing(Marker::Commit),
            ..open()
        };
        let bytes = encode(&transaction);
        let tags: &[u8] = b"\x03\0\x08\0\0\0\0\0\0\0\x05\x01\x08\0\0\0\0\0\0\0\x09\x02\x02\0\x02";
        assert!(bytes.ends_with(tags));
        assert_eq!(decode(&bytes), Some(transaction));
        for end in 0..bytes.len() {
            assert_eq!(decode(&bytes[..end]), None, "{end}");
        }
    }

    #[test]
    fn what_was_written_before_there_were_tags_is_read() {
        let bytes: &[u8] = b"\0\0\0\0\0\0\0\0\0\x07\0\x03\0\0\xea\x60\x01\0\0\0\x01\0\x01a\
            \0\0\0\x02\0\0\0\x01\0\0\0\x02\0\0\0\0\0\0\0\x06\0\0\0\0\0\0\0\x05";
        assert_eq!(decode(bytes), Some(open()));
        for end in 0..bytes.len() {
            assert_eq!(decode(&bytes[..end]), None, "{end}");
        }
    }

    #[test]
    fn no_partitions_may_be_null() {
        let mut bytes = encode(&Transaction { partitions: BTreeSet::new(), ..open() }).to_vec();
        assert_eq!(bytes[17], 1);
        bytes[17] = 0;
        assert_eq!(decode(&bytes).map(|it| it.partitions), Some(BTreeSet::new()));
    }
}
