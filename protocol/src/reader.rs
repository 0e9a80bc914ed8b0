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
    /// A value that none of the known ones is.
    #[error("a value is none of those that are known")]
    Value,
}

/// A place in bytes, moving on as fields are read.
#[derive(Clone, Debug)]
pub(crate) struct Reader {
    bytes: Bytes,
    position: usize,
    /// Whether lengths are compact and structs end with tagged fields.
    is_flexible: bool,
}

impl Reader {
    pub(crate) fn new(bytes: Bytes, is_flexible: bool) -> Reader {
        Reader { bytes, position: 0, is_flexible }
    }

    pub(crate) fn left(&self) -> usize {
        self.bytes.len() - self.position
    }

    /// The bytes that were not read.
    pub(crate) fn rest(self) -> Bytes {
        self.bytes.slice(self.position..)
    }

    fn take(&mut self, count: usize) -> Result<Bytes, ReadError> {
        if count > self.left() {
            return Err(ReadError::Truncated);
        }
        let start = self.position;
        self.position += count;
        Ok(self.bytes.slice(start..self.position))
    }

    fn fixed<const N: usize>(&mut self) -> Result<[u8; N], ReadError> {
        let array = self.bytes[self.position..].first_chunk().ok_or(ReadError::Truncated)?;
        self.position += N;
        Ok(*array)
    }

    pub(crate) fn i8(&mut self) -> Result<i8, ReadError> {
        self.fixed().map(i8::from_be_bytes)
    }

    pub(crate) fn i16(&mut self) -> Result<i16, ReadError> {
        self.fixed().map(i16::from_be_bytes)
    }

    pub(crate) fn i32(&mut self) -> Result<i32, ReadError> {
        self.fixed().map(i32::from_be_bytes)
    }

    pub(crate) fn i64(&mut self) -> Result<i64, ReadError> {
        self.fixed().map(i64::from_be_bytes)
    }

    pub(crate) fn uuid(&mut self) -> Result<Uuid, ReadError> {
        self.fixed().map(Uuid::from_bytes)
    }

    fn unsigned_varint(&mut self) -> Result<u32, ReadError> {
        let mut value = 0u32;
        for index in 0..5 {
            let [byte] = self.fixed()?;
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
        let length = if self.is_flexible {
            self.compact_length()?
        } else {
            plain_length(i32::from(self.i16()?))?
        };
        let Some(length) = length else { return Ok(None) };
        StrBytes::from_utf8(self.take(length)?).map(Some).map_err(|_| ReadError::Utf8)
    }

    pub(crate) fn string(&mut self) -> Result<StrBytes, ReadError> {
        self.nullable_string()?.ok_or(ReadError::Null)
    }

    pub(crate) fn nullable_bytes(&mut self) -> Result<Option<Bytes>, ReadError> {
        self.long_length()?.map(|length| self.take(length)).transpose()
    }

    /// A topic by its id or by its name; the other one is empty.
    pub(crate) fn topic(&mut self, by_id: bool) -> Result<(StrBytes, Uuid), ReadError> {
        if by_id {
            Ok((StrBytes::default(), self.uuid()?))
        } else {
            Ok((self.string()?, Uuid::nil()))
        }
    }

    /// The elements of an array. Room is made as they come, not by their count.
    pub(crate) fn array<T>(
        &mut self,
        mut element: impl FnMut(&mut Reader) -> Result<T, ReadError>,
    ) -> Result<Vec<T>, ReadError> {
        let count = self.long_length()?.ok_or(ReadError::Null)?;
        let mut elements = Vec::new();
        for _ in 0..count {
            elements.push(element(self)?);
        }
        Ok(elements)
    }

    /// Behind the last field of a struct stand tagged fields that nobody here looks at.
    pub(crate) fn end_of_struct(&mut self) -> Result<(), ReadError> {
        if self.is_flexible { self.skip_tagged_fields() } else { Ok(()) }
    }

    pub(crate) fn skip_tagged_fields(&mut self) -> Result<(), ReadError> {
        // Each takes two bytes at least, so a count beyond the bytes ends at the last of them.
        for _ in 0..self.unsigned_varint()? {
            self.unsigned_varint()?;
            let size = self.unsigned_varint()? as usize;
            self.take(size)?;
        }
        Ok(())
    }

    fn long_length(&mut self) -> Result<Option<usize>, ReadError> {
        if self.is_flexible { self.compact_length() } else { plain_length(self.i32()?) }
    }

    /// One more than the length, so that 0 is null.
    fn compact_length(&mut self) -> Result<Option<usize>, ReadError> {
        Ok((self.unsigned_varint()? as usize).checked_sub(1))
    }
}

fn plain_length(length: i32) -> Result<Option<usize>, ReadError> {
    match length {
        -1 => Ok(None),
        length => usize::try_from(length).map(Some).map_err(|_| ReadError::NegativeLength),
    }
}
