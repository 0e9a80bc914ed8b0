//! PURE. The catalog as bytes; every flipped bit is noticed.
//!
//! ```text
//! weir-catalog 1 <crc32 of the rest, 8 hex digits>
//! {"topics":[{"name":"t","id":"<22 digits>","partitions":3,"configs":{"retention.ms":"-1"}}, ...]}
//! ```

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::catalog::error::OpenError;
use crate::catalog::names::{FILE, VERSION};

/// All topics as they are saved.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SavedTopics {
    /// By name.
    pub topics: Vec<SavedTopic>,
}

/// One topic as it is saved.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SavedTopic {
    /// Its name.
    pub name: String,
    /// Its id, as Kafka writes ids.
    pub id: String,
    /// How many partitions it has.
    pub partitions: i32,
    /// What was set for it.
    #[serde(default)]
    pub configs: BTreeMap<String, String>,
}

/// The bytes of the file.
pub fn encode(topics: &SavedTopics) -> Vec<u8> {
    let body = serde_json::to_string(topics).expect("strings and numbers can be written");
    format!("{FILE} {VERSION} {:08x}\n{body}\n", crc32fast::hash(body.as_bytes())).into()
}

/// Reads the bytes of the file.
pub fn decode(bytes: &[u8]) -> Result<SavedTopics, OpenError> {
    let damaged = |what: &str| OpenError::Damaged(what.to_owned());
    let text = std::str::from_utf8(bytes).map_err(|_| damaged("not a text"))?;
    let (head, body) = text.split_once('\n').ok_or_else(|| damaged("no first line"))?;
    let body = body.strip_suffix('\n').ok_or_else(|| damaged("the end is missing"))?;
    let mut words = head.split(' ');
    if words.next() != Some(FILE) {
        return Err(damaged("not a catalog"));
    }
    let found = words.next().and_then(|word| word.parse().ok());
    let found: u32 = found.ok_or_else(|| damaged("no format number"))?;
    if found > VERSION {
        return Err(OpenError::Newer { found });
    }
    if found == 0 {
        return Err(damaged("there is no format 0"));
    }
    let checksum = format!("{:08x}", crc32fast::hash(body.as_bytes()));
    if words.next() != Some(&checksum) {
        return Err(damaged("its checksum does not fit"));
    }
    serde_json::from_str(body).map_err(|error| damaged(&error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flipped_bit_in_the_catalog_is_noticed() {
        let bytes = encode(&SavedTopics::default());
        assert!(decode(&bytes).expect("as written").topics.is_empty());
        for position in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[position / 8] ^= 1 << (position % 8);
            assert!(decode(&flipped).is_err(), "bit {position}");
        }
        let newer = b"weir-catalog 2 00000000\n{}\n";
        assert!(matches!(decode(newer), Err(OpenError::Newer { found: 2 })));
    }
}
