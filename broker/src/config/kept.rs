//! PURE over bytes. Settings that clients have made, as they are kept: a checksum, a line feed, and
//! JSON of settings by the name of what they are set for.

use std::collections::BTreeMap;

/// Settings by the name of what they are set for.
pub type Overrides = BTreeMap<String, BTreeMap<String, String>>;

/// The file.
pub fn encode(overrides: &Overrides) -> Vec<u8> {
    let body = serde_json::to_string(overrides).expect("strings can be written");
    format!("{:08x}\n{body}\n", crc32fast::hash(body.as_bytes())).into_bytes()
}

/// What the file says; `None` when it is damaged.
pub fn decode(bytes: &[u8]) -> Option<Overrides> {
    let (checksum, body) = std::str::from_utf8(bytes).ok()?.split_once('\n')?;
    let body = body.strip_suffix('\n')?;
    let is_true = checksum == format!("{:08x}", crc32fast::hash(body.as_bytes()));
    is_true.then(|| serde_json::from_str(body).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_every_flipped_bit_is_noticed() {
        let set = BTreeMap::from([("share.auto.offset.reset".to_owned(), "earliest".to_owned())]);
        let overrides = Overrides::from([("g".to_owned(), set)]);
        let bytes = encode(&overrides);
        assert_eq!(decode(&bytes), Some(overrides));
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(decode(&flipped), None, "bit {bit}");
        }
    }
}
