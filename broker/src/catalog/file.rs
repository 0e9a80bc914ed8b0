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
use crate::framed::{self, Misread};

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
    framed::encode(FILE, VERSION, &body)
}

/// Reads the bytes of the file.
pub fn decode(bytes: &[u8]) -> Result<SavedTopics, OpenError> {
    let body = framed::decode(FILE, VERSION, bytes).map_err(|misread| match misread {
        Misread::Damaged(what) => OpenError::Damaged(what.to_owned()),
        Misread::Newer(found) => OpenError::Newer { found },
    })?;
    serde_json::from_str(body).map_err(|error| OpenError::Damaged(error.to_string()))
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
