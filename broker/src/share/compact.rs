//! How Kafka's coordinator records write strings, counts and tags. PURE.
//!
//! Keys: a length of 16 bits. Values: a varint that is one more than the length, 0 for null; each
//! struct ends with the number of its tagged fields, which is 0 in what we write.

use bytes::{Buf, BufMut, BytesMut};
use uuid::Uuid;

/// A string as in keys. It is never longer than 32,767 bytes: names from requests are bounded.
pub fn put_short_string(out: &mut BytesMut, text: &str) {
    let length = i16::try_from(text.len()).expect("names are bounded where they come in");
    out.put_i16(length);
    out.put_slice(text.as_bytes());
}

/// Reads a string as in keys.
pub fn take_short_string(bytes: &mut &[u8]) -> Option<String> {
    let length = usize::try_from(bytes.try_get_i16().ok()?).ok()?;
    take_text(bytes, length)
}

/// A count, as before the elements of an array.
pub fn put_count(out: &mut BytesMut, count: usize) {
    put_varint(out, u32::try_from(count + 1).expect("no record holds so much"));
}

/// Reads a count. It may be more than the bytes bear out: grow as you read.
pub fn take_count(bytes: &mut &[u8]) -> Option<usize> {
    (take_varint(bytes)? as usize).checked_sub(1)
}

/// A string as in values.
pub fn put_string(out: &mut BytesMut, text: &str) {
    put_count(out, text.len());
    out.put_slice(text.as_bytes());
}

/// Reads a string as in values.
pub fn take_string(bytes: &mut &[u8]) -> Option<String> {
    let length = take_count(bytes)?;
    take_text(bytes, length)
}

/// A string that may be null, as in values.
pub fn put_nullable(out: &mut BytesMut, text: Option<&str>) {
    match text {
        Some(text) => put_string(out, text),
        None => put_varint(out, 0),
    }
}

/// Reads a string that may be null; `None`: it cannot be read.
pub fn take_nullable(bytes: &mut &[u8]) -> Option<Option<String>> {
    match take_varint(bytes)? {
        0 => Some(None),
        more => Some(Some(take_text(bytes, more as usize - 1)?)),
    }
}

/// Reads an id.
pub fn take_uuid(bytes: &mut &[u8]) -> Option<Uuid> {
    Some(Uuid::from_u128(bytes.try_get_u128().ok()?))
}

/// Steps over tagged fields, which a newer Kafka may have written.
pub fn skip_tags(bytes: &mut &[u8]) -> Option<()> {
    for _ in 0..take_varint(bytes)? {
        take_varint(bytes)?;
        let length = take_varint(bytes)? as usize;
        *bytes = bytes.get(length..)?;
    }
    Some(())
}

fn take_text(bytes: &mut &[u8], length: usize) -> Option<String> {
    let text = std::str::from_utf8(bytes.get(..length)?).ok()?.to_owned();
    bytes.advance(length);
    Some(text)
}

fn put_varint(out: &mut BytesMut, mut value: u32) {
    while value >= 0x80 {
        out.put_u8((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.put_u8(value as u8);
}

fn take_varint(bytes: &mut &[u8]) -> Option<u32> {
    let mut value = 0u32;
    for shift in (0..35).step_by(7) {
        let byte = bytes.try_get_u8().ok()?;
        let bits = u32::from(byte & 0x7f);
        if shift == 28 && bits > 0xf {
            return None;
        }
        value |= bits << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_put_is_taken() {
        let mut out = BytesMut::new();
        put_string(&mut out, "ä");
        put_nullable(&mut out, None);
        put_nullable(&mut out, Some(""));
        put_count(&mut out, 300);
        put_short_string(&mut out, "key");
        assert_eq!(&out[..], b"\x03\xc3\xa4\0\x01\xad\x02\0\x03key");
        let mut bytes = &out[..];
        assert_eq!(take_string(&mut bytes).as_deref(), Some("ä"));
        assert_eq!(take_nullable(&mut bytes), Some(None));
        assert_eq!(take_nullable(&mut bytes), Some(Some(String::new())));
        assert_eq!(take_count(&mut bytes), Some(300));
        assert_eq!(take_short_string(&mut bytes).as_deref(), Some("key"));
        assert!(bytes.is_empty());
    }

    #[test]
    fn tags_are_stepped_over_and_nonsense_is_refused() {
        let mut bytes: &[u8] = b"\x01\x05\x02abrest";
        assert_eq!(skip_tags(&mut bytes), Some(()));
        assert_eq!(bytes, b"rest");
        for nonsense in [&b"\x01\x05\x09ab"[..], b"\xff\xff\xff\xff\x7f", b"\xff"] {
            assert_eq!(skip_tags(&mut &nonsense[..]), None);
        }
    }
}
