//! Kafka's primitive types, read from bytes that nobody has checked yet.
//!
//! Every length is held against the bytes that are left before anything is made of it; strings and
//! byte arrays are slices of what was read.
use bytes::Bytes;
use kafka_protocol::protocol::StrBytes;
use uuid::Uuid;

/// Why a field cannot be read.
#[derive(Copy, Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// The bytes end before the field does.
    #[error("the bytes end too early")]
    Truncated,
    /// A length or a count that is negative and not null.
    #[error("a length is negative")]
    NegativeLength,
    /// Null where a value must stand.
    #[error("a value is null that must not be")]
    Null,
    /// An unsigned varint with more bits than 32.
    #[error("a number is too long")]
    Number,
    /// A string that is not UTF-8.
    #[error("a string is not UTF-8")]
    Utf8,
    /// The size of a tagged field is not what its value takes.
    #[error("a tagged field has another size than its value")]
    TagSize,
    /// Bytes after the last field.
    #[error("bytes follow the last field")]
    Trailing,
}

/// A place in bytes, moving on as fields are read.
#[derive(Clone, Debug)]
pub(crate) struct Reader {
    bytes: Bytes,
    position: usize,
}

impl Reader {
    pub(crate) fn new(bytes: Bytes) -> Reader {
        Reader { bytes, position: 0 }
    }

    pub(crate) fn left(&self) -> usize {
        self.bytes.len() - self.position
    }

    /// The bytes that were not read.
    pub(crate) fn rest(self) -> Bytes {
        self.bytes.slice(self.position..)
    }

    /// Nothing may be left.
    pub(crate) fn finish(&self) -> Result<(), ReadError> {
        if self.left() == 0 { Ok(()) } else { Err(ReadError::Trailing) }
    }

    pub(crate) fn take(&mut self, count: usize) -> Result<Bytes, ReadError> {
        if count > self.left() {
            return Err(ReadError::Truncated);
        }
        let start = self.position;
        self.position += count;
        Ok(self.bytes.slice(start..self.position))
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], ReadError> {
        let array = self.bytes[self.position..].first_chunk().ok_or(ReadError::Truncated)?;
        self.position += N;
        Ok(*array)
    }

    pub(crate) fn i8(&mut self) -> Result<i8, ReadError> {
        self.array().map(i8::from_be_bytes)
    }

    pub(crate) fn i16(&mut self) -> Result<i16, ReadError> {
        self.array().map(i16::from_be_bytes)
    }

    pub(crate) fn i32(&mut self) -> Result<i32, ReadError> {
        self.array().map(i32::from_be_bytes)
    }

    pub(crate) fn i64(&mut self) -> Result<i64, ReadError> {
        self.array().map(i64::from_be_bytes)
    }

    pub(crate) fn uuid(&mut self) -> Result<Uuid, ReadError> {
        self.array().map(Uuid::from_bytes)
    }

    pub(crate) fn unsigned_varint(&mut self) -> Result<u32, ReadError> {
        let mut value = 0u32;
        for index in 0..5 {
            let [byte] = self.array()?;
            let bits = u32::from(byte & 0x7f);
            let shifted = bits << (7 * index);
            if shifted >> (7 * index) != bits {
                return Err(ReadError::Number);
            }
            value |= shifted;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(ReadError::Number)
    }

    pub(crate) fn nullable_string(&mut self) -> Result<Option<StrBytes>, ReadError> {
        match self.i16()? {
            -1 => Ok(None),
            length => {
                let length = usize::try_from(length).map_err(|_| ReadError::NegativeLength)?;
                self.string_of(length).map(Some)
            }
        }
    }

    pub(crate) fn compact_nullable_string(&mut self) -> Result<Option<StrBytes>, ReadError> {
        match self.unsigned_varint()? {
            0 => Ok(None),
            length => self.string_of(length as usize - 1).map(Some),
        }
    }

    fn string_of(&mut self, length: usize) -> Result<StrBytes, ReadError> {
        StrBytes::from_utf8(self.take(length)?).map_err(|_| ReadError::Utf8)
    }

    /// Tagged fields that nobody here looks at.
    pub(crate) fn skip_tagged_fields(&mut self) -> Result<(), ReadError> {
        // Each takes two bytes at least, so a count beyond the bytes ends at the last of them.
        for _ in 0..self.unsigned_varint()? {
            self.unsigned_varint()?;
            let size = self.unsigned_varint()? as usize;
            self.take(size)?;
        }
        Ok(())
    }
}
