//! PURE. A transactional id as Kafka writes it into `__transaction_state`.
//!
//! ```text
//! key    version i16 (0) | transactional id string
//! value  version i16 (0) | producer id i64 | epoch i16 | timeout i32 (ms) | state i8
//!        | topics i32 or -1, each: topic string | partitions i32, each i32
//!        | last update i64 (ms) | start of the transaction i64 (ms)
//! ```

use std::collections::{BTreeMap, BTreeSet};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use weir_protocol::records::control::Marker;

use crate::group::offset_records::{put_string, take_string};
use crate::transaction::state::{State, Transaction};

const VERSION: i16 = 0;

/// The key of an id's record.
#[must_use]
pub fn encode_key(transactional_id: &str) -> Bytes {
    let mut bytes = BytesMut::new();
    bytes.put_i16(VERSION);
    put_string(&mut bytes, transactional_id);
    bytes.freeze()
}

/// The id that a key is about; `None`: one that cannot be read.
#[must_use]
pub fn decode_key(mut bytes: &[u8]) -> Option<String> {
    (bytes.try_get_i16().ok()? == VERSION).then(|| take_string(&mut bytes)).flatten()
}

/// The value of an id's record.
#[must_use]
pub fn encode(transaction: &Transaction) -> Bytes {
    let mut bytes = BytesMut::new();
    bytes.put_i16(VERSION);
    bytes.put_i64(transaction.producer_id);
    bytes.put_i16(transaction.epoch);
    bytes.put_i32(transaction.timeout_ms);
    bytes.put_i8(match transaction.state {
        State::Empty => 0,
        State::Ongoing => 1,
        State::Preparing(Marker::Commit) => 2,
        State::Preparing(Marker::Abort) => 3,
        State::Complete(Marker::Commit) => 4,
        State::Complete(Marker::Abort) => 5,
    });
    let mut topics: BTreeMap<&str, Vec<i32>> = BTreeMap::new();
    for (topic, partition) in &transaction.partitions {
        topics.entry(topic).or_default().push(*partition);
    }
    let count = |count: usize| i32::try_from(count).expect("a transaction is bounded");
    bytes.put_i32(count(topics.len()));
    for (topic, partitions) in topics {
        put_string(&mut bytes, topic);
        bytes.put_i32(count(partitions.len()));
        partitions.into_iter().for_each(|partition| bytes.put_i32(partition));
    }
    bytes.put_i64(transaction.updated_ms);
    bytes.put_i64(transaction.started_ms);
    bytes.freeze()
}

/// Reads a value; `None`: one that cannot be read.
#[must_use]
pub fn decode(mut bytes: &[u8]) -> Option<Transaction> {
    let from = &mut bytes;
    if from.try_get_i16().ok()? != VERSION {
        return None;
    }
    let producer_id = from.try_get_i64().ok()?;
    let epoch = from.try_get_i16().ok()?;
    let timeout_ms = from.try_get_i32().ok()?;
    let state = match from.try_get_i8().ok()? {
        0 => State::Empty,
        1 => State::Ongoing,
        2 => State::Preparing(Marker::Commit),
        3 => State::Preparing(Marker::Abort),
        4 => State::Complete(Marker::Commit),
        5 => State::Complete(Marker::Abort),
        _ => return None,
    };
    let mut partitions = BTreeSet::new();
    for _ in 0..from.try_get_i32().ok()?.max(0) {
        let topic = take_string(from)?;
        for _ in 0..from.try_get_i32().ok()? {
            partitions.insert((topic.clone(), from.try_get_i32().ok()?));
        }
    }
    let updated_ms = from.try_get_i64().ok()?;
    let started_ms = from.try_get_i64().ok()?;
    Some(Transaction { producer_id, epoch, timeout_ms, state, partitions, started_ms, updated_ms })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_values_are_kafkas_bytes() {
        assert_eq!(&encode_key("id")[..], b"\0\0\0\x02id");
        assert_eq!(decode_key(b"\0\0\0\x02id").as_deref(), Some("id"));
        let transaction = Transaction {
            producer_id: 7,
            epoch: 3,
            timeout_ms: 60_000,
            state: State::Ongoing,
            partitions: BTreeSet::from([("a".to_owned(), 1), ("a".to_owned(), 2)]),
            started_ms: 5,
            updated_ms: 6,
        };
        let bytes = encode(&transaction);
        let wanted: &[u8] = b"\0\0\0\0\0\0\0\0\0\x07\0\x03\0\0\xea\x60\x01\0\0\0\x01\0\x01a\
            \0\0\0\x02\0\0\0\x01\0\0\0\x02\0\0\0\0\0\0\0\x06\0\0\0\0\0\0\0\x05";
        assert_eq!(&bytes[..], wanted);
        assert_eq!(decode(&bytes), Some(transaction));
        for end in 0..bytes.len() {
            assert_eq!(decode(&bytes[..end]), None, "{end}");
        }
    }
}
