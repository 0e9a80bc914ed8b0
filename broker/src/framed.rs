//! PURE over bytes. Small files of text: a line with the file's name, its format and the checksum of
//! the rest, then the text. Every flipped bit is noticed: the checksum does not cover the format, but
//! there is one format only, and no other digit is read as it.

/// Why a file cannot be read.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Misread {
    /// It is not what this program wrote.
    Damaged(&'static str),
    /// A newer program wrote it, in this format.
    Newer(u32),
}

/// The bytes of a file of that name and format.
pub fn encode(name: &str, version: u32, body: &str) -> Vec<u8> {
    format!("{name} {version} {:08x}\n{body}\n", crc32fast::hash(body.as_bytes())).into_bytes()
}

/// The text of a file of that name, in a format up to `newest`.
///
/// # Errors
/// What is wrong with it.
pub fn decode<'a>(name: &str, newest: u32, bytes: &'a [u8]) -> Result<&'a str, Misread> {
    use Misread::{Damaged, Newer};
    let text = std::str::from_utf8(bytes).map_err(|_| Damaged("not a text"))?;
    let (head, body) = text.split_once('\n').ok_or(Damaged("no first line"))?;
    let body = body.strip_suffix('\n').ok_or(Damaged("the end is missing"))?;
    let mut words = head.split(' ');
    if words.next() != Some(name) {
        return Err(Damaged("another file"));
    }
    let found = words.next().and_then(|word| word.parse().ok());
    match found.ok_or(Damaged("no format number"))? {
        0 => return Err(Damaged("there is no format 0")),
        found if found > newest => return Err(Newer(found)),
        _ => {}
    }
    let checksum = format!("{:08x}", crc32fast::hash(body.as_bytes()));
    if words.next() != Some(&checksum) || words.next().is_some() {
        return Err(Damaged("its checksum does not fit"));
    }
    Ok(body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_every_flipped_or_missing_bit_is_noticed() {
        let bytes = encode("a-file", 1, "some text");
        assert_eq!(decode("a-file", 1, &bytes), Ok("some text"));
        assert_eq!(decode("a-file", 0, &bytes), Err(Misread::Newer(1)));
        assert_eq!(decode("b-file", 1, &bytes), Err(Misread::Damaged("another file")));
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(decode("a-file", 1, &flipped).is_err(), "bit {bit}");
        }
        for length in 0..bytes.len() {
            assert!(decode("a-file", 1, &bytes[..length]).is_err(), "{length} bytes");
        }
    }
}
