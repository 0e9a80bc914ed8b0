//! One record, and the lazy walk over the records of a batch.
//!
//! ```text
//! length varint | attributes i8 | timestamp delta varlong | offset delta varint
//! | key length varint, key | value length varint, value
//! | header count varint, (key length varint, key, value length varint, value)*
//! ```
//!
//! Numbers are zig-zag; a length of -1 is null. Keys, values and headers are slices of the batch.
use std::ops::Range;

use bytes::Bytes;

use super::{BatchError, Offset, RecordFault};

/// A record with its absolute offset and time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its number in the partition.
    pub offset: Offset,
    /// When it was made; in LogAppendTime batches, when the batch was appended.
    pub timestamp_ms: i64,
    /// What it is about, if anything.
    pub key: Option<Bytes>,
    /// What it says; `None` is a tombstone.
    pub value: Option<Bytes>,
    /// Its headers, not looked at yet.
    pub headers: Headers,
}

/// The headers of a record, in their order, with every repetition of a key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Headers {
    bytes: Bytes,
    count: u32,
}

impl Headers {
    /// How many the record says it has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.count as usize
    }

    /// Whether it has none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Walks them; after an error it ends.
    #[must_use]
    pub fn iter(&self) -> HeaderIter<'_> {
        HeaderIter { bytes: &self.bytes, cursor: Cursor::new(&self.bytes), left: self.count }
    }
}

impl<'a> IntoIterator for &'a Headers {
    type Item = Result<(Bytes, Option<Bytes>), RecordFault>;
    type IntoIter = HeaderIter<'a>;

    fn into_iter(self) -> HeaderIter<'a> {
        self.iter()
    }
}

/// The walk over a record's headers.
#[derive(Debug)]
pub struct HeaderIter<'a> {
    bytes: &'a Bytes,
    cursor: Cursor<'a>,
    left: u32,
}

impl Iterator for HeaderIter<'_> {
    type Item = Result<(Bytes, Option<Bytes>), RecordFault>;

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        let header = self.cursor.header();
        if header.is_err() {
            self.left = 0;
        }
        Some(header.map(|(key, value)| {
            (self.bytes.slice(key), value.map(|range| self.bytes.slice(range)))
        }))
    }
}

/// What all records of a batch share.
#[derive(Copy, Clone, Debug)]
pub(super) struct Base {
    pub(super) base_offset: Offset,
    pub(super) base_timestamp_ms: i64,
    /// Set in LogAppendTime batches: the time of every record.
    pub(super) append_time_ms: Option<i64>,
    pub(super) record_count: i32,
}

impl Base {
    pub(super) fn timestamp_ms(&self, delta: i64) -> i64 {
        self.append_time_ms.unwrap_or_else(|| self.base_timestamp_ms.wrapping_add(delta))
    }
}

/// The walk over the records of a batch. After an error it ends.
#[derive(Debug)]
pub struct Records {
    bytes: Bytes,
    position: usize,
    index: i32,
    base: Base,
}

impl Records {
    pub(super) fn new(bytes: Bytes, base: Base) -> Records {
        Records { bytes, position: 0, index: 0, base }
    }

    fn read(&mut self) -> Result<Record, BatchError> {
        let mut cursor = Cursor { bytes: &self.bytes, position: self.position };
        let layout =
            cursor.record().map_err(|fault| BatchError::Record { index: self.index, fault })?;
        self.position = cursor.position;
        self.index += 1;
        if self.index == self.base.record_count && self.position < self.bytes.len() {
            return Err(BatchError::TrailingRecords { count: self.bytes.len() - self.position });
        }
        Ok(Record {
            offset: self.base.base_offset.plus(i64::from(layout.offset_delta)),
            timestamp_ms: self.base.timestamp_ms(layout.timestamp_delta),
            key: layout.key.map(|range| self.bytes.slice(range)),
            value: layout.value.map(|range| self.bytes.slice(range)),
            headers: Headers {
                bytes: self.bytes.slice(layout.headers),
                count: layout.header_count,
            },
        })
    }
}

impl Iterator for Records {
    type Item = Result<Record, BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.index >= self.base.record_count {
            return None;
        }
        let record = self.read();
        if record.is_err() {
            self.index = self.base.record_count;
        }
        Some(record)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (0, usize::try_from(self.base.record_count - self.index).ok())
    }
}

/// Where the parts of a record lie.
#[derive(Debug)]
pub(super) struct Layout {
    pub(super) timestamp_delta: i64,
    pub(super) offset_delta: i32,
    /// Where the offset delta stands, behind attributes and timestamp delta.
    pub(super) offset_delta_at: usize,
    pub(super) key: Option<Range<usize>>,
    pub(super) value: Option<Range<usize>>,
    pub(super) headers: Range<usize>,
    pub(super) header_count: u32,
}

/// A place in the bytes of a batch's records.
#[derive(Debug)]
pub(super) struct Cursor<'a> {
    bytes: &'a [u8],
    position: usize,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Cursor<'a> {
        Cursor { bytes, position: 0 }
    }

    pub(super) fn position(&self) -> usize {
        self.position
    }

    pub(super) fn left(&self) -> usize {
        self.bytes.len() - self.position
    }

    /// One record, its headers still unread.
    pub(super) fn record(&mut self) -> Result<Layout, RecordFault> {
        let length = self.length()?.ok_or(RecordFault::NegativeLength)?;
        let end = self.position + length;
        let mut inside = Cursor { bytes: &self.bytes[..end], position: self.position };
        inside.skip(1)?;
        let timestamp_delta = inside.varlong()?;
        let offset_delta_at = inside.position;
        let offset_delta = inside.varint()?;
        let key = inside.nullable()?;
        let value = inside.nullable()?;
        let header_count =
            u32::try_from(inside.varint()?).map_err(|_| RecordFault::NegativeLength)?;
        // A header takes two bytes at least: the lengths of its key and its value.
        if header_count as usize > inside.left() / 2 {
            return Err(RecordFault::Truncated);
        }
        let headers = inside.position..end;
        if header_count == 0 && !headers.is_empty() {
            return Err(RecordFault::Length);
        }
        self.position = end;
        Ok(Layout {
            timestamp_delta,
            offset_delta,
            offset_delta_at,
            key,
            value,
            headers,
            header_count,
        })
    }

    /// Walks the headers of a record to its end.
    pub(super) fn check_headers(&self, layout: &Layout) -> Result<(), RecordFault> {
        let mut inside =
            Cursor { bytes: &self.bytes[..layout.headers.end], position: layout.headers.start };
        for _ in 0..layout.header_count {
            inside.header()?;
        }
        if inside.left() > 0 { Err(RecordFault::Length) } else { Ok(()) }
    }

    fn header(&mut self) -> Result<(Range<usize>, Option<Range<usize>>), RecordFault> {
        let key = self.nullable()?.ok_or(RecordFault::NegativeLength)?;
        Ok((key, self.nullable()?))
    }

    fn nullable(&mut self) -> Result<Option<Range<usize>>, RecordFault> {
        let Some(length) = self.length()? else { return Ok(None) };
        let start = self.position;
        self.position += length;
        Ok(Some(start..self.position))
    }

    /// A length that the bytes bear out; `None` for -1.
    fn length(&mut self) -> Result<Option<usize>, RecordFault> {
        match self.varint()? {
            -1 => Ok(None),
            length => {
                let length = usize::try_from(length).map_err(|_| RecordFault::NegativeLength)?;
                if length > self.left() { Err(RecordFault::Truncated) } else { Ok(Some(length)) }
            }
        }
    }

    fn skip(&mut self, count: usize) -> Result<(), RecordFault> {
        if count > self.left() {
            return Err(RecordFault::Truncated);
        }
        self.position += count;
        Ok(())
    }

    fn varint(&mut self) -> Result<i32, RecordFault> {
        let raw = self.unsigned(5)?;
        let raw = u32::try_from(raw).map_err(|_| RecordFault::Number)?;
        Ok((raw >> 1).cast_signed() ^ -(raw & 1).cast_signed())
    }

    fn varlong(&mut self) -> Result<i64, RecordFault> {
        let raw = self.unsigned(10)?;
        Ok((raw >> 1).cast_signed() ^ -(raw & 1).cast_signed())
    }

    fn unsigned(&mut self, bytes_max: u32) -> Result<u64, RecordFault> {
        let mut value = 0u64;
        for index in 0..bytes_max {
            let byte = *self.bytes.get(self.position).ok_or(RecordFault::Truncated)?;
            self.position += 1;
            let bits = u64::from(byte & 0x7f);
            let shifted = bits << (7 * index);
            if shifted >> (7 * index) != bits {
                return Err(RecordFault::Number);
            }
            value |= shifted;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(RecordFault::Number)
    }
}
