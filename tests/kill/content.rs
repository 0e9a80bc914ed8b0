//! What the records say: all of it follows from the record's origin, so that whoever reads one can
//! tell whether it is the one that was sent.

use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use weir_protocol::records::record::Record;

use crate::kill::machine::PARTITIONS;

/// The header that names a record's origin.
pub(super) const HEADER: &str = "origin";
/// Keys of rows in each partition of the topic.
const KEYS: i64 = 40;
/// From here on rows have a column more.
const NOTED_FROM: u64 = 200;
/// Settings of the topic whose records are [`change`]s.
pub(super) const TABLE: &[(&str, &str)] = &[
    ("table.enabled", "true"),
    ("table.schema", "region STRING, id BIGINT, writer INT, number BIGINT, text STRING"),
    ("table.primary.key", "region,id"),
    ("table.partition.by", "region"),
    ("table.buckets", "2"),
    ("table.key.format", "json"),
];

/// Who sent a record, and the how manieth of that writer in that partition it is.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) struct Origin {
    pub(super) writer: u32,
    pub(super) partition: i32,
    pub(super) number: u64,
}

/// What a record is to the table.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Upsert,
    Delete,
    /// No row: for the quarantine.
    Bad,
    /// Says nothing of any row.
    Nothing,
}

/// Key and value of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Content {
    pub(super) kind: Kind,
    pub(super) key: Option<Bytes>,
    pub(super) value: Option<Bytes>,
}

/// Makes the content of records.
pub(super) type Author = fn(Origin) -> Content;

impl Origin {
    /// The header's value.
    pub(super) fn text(&self) -> String {
        format!("{}/{}/{}", self.writer, self.partition, self.number)
    }

    /// The origin that a record names.
    pub(super) fn of(record: &Record) -> Origin {
        let mut headers = record.headers.iter().map(|header| header.expect("a whole header"));
        let (_, value) = headers.find(|(name, _)| name == HEADER).expect("a record of ours");
        let value = value.expect("a record of ours");
        let text = std::str::from_utf8(&value).expect("text");
        let mut numbers = text.split('/').map(|it| it.parse::<u64>().expect("a number"));
        let mut next = || numbers.next().expect("three numbers");
        Origin { writer: next() as u32, partition: next() as i32, number: next() }
    }

    fn chance(&self) -> StdRng {
        let writer = u64::from(self.writer);
        let partition = u64::from(self.partition.cast_unsigned());
        StdRng::seed_from_u64(self.number << 16 | writer << 8 | partition)
    }
}

/// Text that means nothing: for tests of the log alone.
pub(super) fn filler(origin: Origin) -> Content {
    let mut chance = origin.chance();
    let key = chance.random_bool(0.5).then(|| Bytes::from(origin.text()));
    let length = chance.random_range(0..800);
    let value: Vec<u8> = (0..length).map(|_| chance.random_range(b'a'..=b'z')).collect();
    Content { kind: Kind::Nothing, key, value: Some(value.into()) }
}

/// A change of a row. Each key has one partition of the topic, where its changes have an order.
pub(super) fn change(origin: Origin) -> Content {
    let mut chance = origin.chance();
    let id = chance.random_range(0..KEYS) * i64::from(PARTITIONS) + i64::from(origin.partition);
    let region = ["north", "south", "west"][(id / i64::from(PARTITIONS) % 3) as usize];
    let key = format!("{{\"region\":\"{region}\",\"id\":{id}}}");
    let Origin { writer, number, .. } = origin;
    let (kind, key, value) = match chance.random_range(0..100) {
        0..5 => {
            let bad = ["{\"id\":", "[]", "{\"region\":\"north\",\"id\":\"seven\"}", "\u{7f}"];
            let bad = bad[chance.random_range(0..bad.len())];
            (Kind::Bad, None, Some(bad.to_owned()))
        }
        5..8 => (Kind::Nothing, None, None),
        8..23 => (Kind::Delete, Some(key), None),
        23..33 => {
            let value = format!("{{\"number\":{number},\"text\":null}}");
            (Kind::Upsert, Some(key), Some(value))
        }
        _ => {
            let text = "x".repeat(chance.random_range(0..60));
            let note = if number < NOTED_FROM { "" } else { ",\"note\":\"late\"" };
            let value = format!(
                "{{\"writer\":{writer},\"number\":{number},\"text\":\"{text} {number}\"{note}}}"
            );
            (Kind::Upsert, Some(key), Some(value))
        }
    };
    Content { kind, key: key.map(Bytes::from), value: value.map(Bytes::from) }
}
