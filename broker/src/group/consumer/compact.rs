//! The compact encoding of flexible versions: lengths are varints, one more than the length where
//! nothing may stand in its place. PURE.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use uuid::Uuid;

/// Writes fields one after the other.
#[derive(Debug, Default)]
pub struct Writer(BytesMut);

impl Writer {
    /// All that was written.
    pub fn bytes(self) -> Bytes {
        self.0.freeze()
    }

    /// A number of 8 bits.
    pub fn i8(&mut self, number: i8) {
        self.0.put_i8(number);
    }

    /// A number of 16 bits.
    pub fn i16(&mut self, number: i16) {
        self.0.put_i16(number);
    }

    /// A number of 32 bits.
    pub fn i32(&mut self, number: i32) {
        self.0.put_i32(number);
    }

    /// A number of 64 bits.
    pub fn i64(&mut self, number: i64) {
        self.0.put_i64(number);
    }

    /// An id.
    pub fn uuid(&mut self, id: Uuid) {
        self.0.put_slice(id.as_bytes());
    }

    /// How many elements follow.
    pub fn count(&mut self, count: usize) {
        self.varint(count + 1);
    }

    /// Bytes with their length.
    pub fn blob(&mut self, bytes: &[u8]) {
        self.count(bytes.len());
        self.0.put_slice(bytes);
    }

    /// Text.
    pub fn string(&mut self, text: &str) {
        self.blob(text.as_bytes());
    }

    /// Text, or nothing.
    pub fn nullable_string(&mut self, text: Option<&str>) {
        match text {
            Some(text) => self.string(text),
            None => self.varint(0),
        }
    }

    /// A list of numbers of 32 bits.
    pub fn indexes(&mut self, indexes: &[i32]) {
        self.count(indexes.len());
        indexes.iter().for_each(|index| self.i32(*index));
    }

    /// The end of a structure without tagged fields.
    pub fn no_tags(&mut self) {
        self.varint(0);
    }

    /// The end of a structure with one tagged field.
    pub fn tag(&mut self, tag: usize, bytes: &[u8]) {
        self.tags(&[(tag, bytes)]);
    }

    /// The end of a structure with these tagged fields, which stand in order.
    pub fn tags(&mut self, tags: &[(usize, impl AsRef<[u8]>)]) {
        self.varint(tags.len());
        for (tag, bytes) in tags {
            let bytes = bytes.as_ref();
            self.varint(*tag);
            self.varint(bytes.len());
            self.0.put_slice(bytes);
        }
    }

    fn varint(&mut self, mut number: usize) {
        while number >= 0x80 {
            self.0.put_u8(number as u8 | 0x80);
            number >>= 7;
        }
        self.0.put_u8(number as u8);
    }
}

/// Reads fields one after the other; `None`: the bytes end too early or are no such field.
#[derive(Debug)]
pub struct Reader<'a>(pub &'a [u8]);

impl<'a> Reader<'a> {
    /// A number of 8 bits.
    pub fn i8(&mut self) -> Option<i8> {
        self.0.try_get_i8().ok()
    }

    /// A number of 16 bits.
    pub fn i16(&mut self) -> Option<i16> {
        self.0.try_get_i16().ok()
    }

    /// A number of 32 bits.
    pub fn i32(&mut self) -> Option<i32> {
        self.0.try_get_i32().ok()
    }

    /// A number of 64 bits.
    pub fn i64(&mut self) -> Option<i64> {
        self.0.try_get_i64().ok()
    }

    /// An id.
    pub fn uuid(&mut self) -> Option<Uuid> {
        Uuid::from_slice(self.take(16)?).ok()
    }

    /// Bytes with their length.
    pub fn blob(&mut self) -> Option<&'a [u8]> {
        let length = self.varint()?.checked_sub(1)?;
        self.take(length)
    }

    /// Text.
    pub fn string(&mut self) -> Option<String> {
        Some(std::str::from_utf8(self.blob()?).ok()?.to_owned())
    }

    /// Text, or nothing.
    pub fn nullable_string(&mut self) -> Option<Option<String>> {
        if self.0.first() == Some(&0) {
            self.take(1)?;
            return Some(None);
        }
        self.string().map(Some)
    }

    /// A list of what `one` reads.
    pub fn list<T>(&mut self, one: impl Fn(&mut Self) -> Option<T>) -> Option<Vec<T>> {
        let count = self.varint()?.checked_sub(1)?;
        // Each element takes a byte at least: a wrong count does not reserve memory.
        let mut list = Vec::with_capacity(count.min(self.0.len()));
        for _ in 0..count {
            list.push(one(self)?);
        }
        Some(list)
    }

    /// The end of a structure: every tagged field is shown to `see`.
    pub fn tags(&mut self, mut see: impl FnMut(usize, &'a [u8])) -> Option<()> {
        for _ in 0..self.varint()? {
            let tag = self.varint()?;
            let length = self.varint()?;
            see(tag, self.take(length)?);
        }
        Some(())
    }

    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn varint(&mut self) -> Option<usize> {
        let mut number = 0;
        for shift in (0..35).step_by(7) {
            let byte = self.0.try_get_u8().ok()?;
            number |= usize::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(number);
            }
        }
        None
    }
}
