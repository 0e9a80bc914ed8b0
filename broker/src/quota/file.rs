//! PURE. The quotas as bytes; every flipped bit is noticed.
//!
//! ```text
//! weir-client-quotas 1 <crc32 of the rest, 8 hex digits>
//! [{"entity":[["user","ada"],["client-id",null]],"quotas":{"producer_byte_rate":"1024"}}, ...]
//! ```
//!
//! Limits are texts, because a text brings a floating point number back to the last bit.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::framed::{self, Misread};
use crate::quota::book::{Alteration, Book};
use crate::quota::entity::Entity;

/// The file.
pub const FILE: &str = "weir-client-quotas";
const VERSION: u32 = 1;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Saved {
    entity: Vec<(String, Option<String>)>,
    quotas: BTreeMap<String, String>,
}

/// The bytes of the file.
pub fn encode(book: &Book) -> Vec<u8> {
    let saved = book.iter().map(|(entity, limits)| Saved {
        entity: entity
            .parts()
            .map(|(kind, name)| (kind.to_owned(), name.map(str::to_owned)))
            .collect(),
        quotas: limits
            .iter()
            .map(|(key, limit)| (key.name().to_owned(), limit.to_string()))
            .collect(),
    });
    let saved: Vec<Saved> = saved.collect();
    let body = serde_json::to_string(&saved).expect("strings can be written");
    framed::encode(FILE, VERSION, &body)
}

/// Reads the bytes of the file; the error says in a few words what is wrong with it.
pub fn decode(bytes: &[u8]) -> Result<Book, String> {
    let body = framed::decode(FILE, VERSION, bytes).map_err(|misread| match misread {
        Misread::Damaged(what) => what.to_owned(),
        Misread::Newer(found) => format!("format {found}, and this program knows {VERSION}"),
    })?;
    let saved: Vec<Saved> = serde_json::from_str(body).map_err(|error| error.to_string())?;
    let mut book = Book::default();
    for Saved { entity, quotas } in saved {
        let parts = entity.iter().map(|(kind, name)| (kind.as_str(), name.as_deref()));
        let entity = Entity::of(parts)?;
        let mut values = Vec::new();
        for (name, limit) in quotas {
            let limit = limit.parse().map_err(|_| format!("{limit:?} is no limit"))?;
            values.push((name, Some(limit)));
        }
        book.alter(&Alteration { entity, values })?;
    }
    Ok(book)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_every_flipped_bit_is_noticed() {
        let mut book = Book::default();
        for (parts, name, limit) in [
            (vec![("user", Some("ada")), ("client-id", None)], "producer_byte_rate", 1024.0),
            (vec![("client-id", Some("c"))], "request_percentage", 0.1 + 0.2),
            (vec![("ip", None)], "connection_creation_rate", 7.0),
        ] {
            let entity = Entity::of(parts).expect("an entity");
            let values = vec![(name.to_owned(), Some(limit))];
            book.alter(&Alteration { entity, values }).expect("valid");
        }
        let bytes = encode(&book);
        assert_eq!(decode(&bytes), Ok(book));
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(decode(&flipped).is_err(), "bit {bit}");
        }
        for length in 0..bytes.len() {
            assert!(decode(&bytes[..length]).is_err(), "{length} bytes");
        }
    }
}
