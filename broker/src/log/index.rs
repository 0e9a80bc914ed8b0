//! PURE over bytes. The sparse indexes of a segment, in Kafka's formats, big-endian.
//!
//! ```text
//! .index      relative offset u32, position u32    the last offset of the batch that begins there
//! .timeindex  timestamp i64, relative offset u32   the latest timestamp so far, and the last offset
//!                                                  of the first batch that bears it
//! ```
//!
//! Both only grow: offsets, positions and timestamps strictly. A search finds the last entry that
//! is not past what is asked, so that a walk from there on misses nothing.
use weir_protocol::records::Offset;

const OFFSET_ENTRY_BYTES: usize = 8;
const TIME_ENTRY_BYTES: usize = 12;

/// Where batches begin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OffsetIndex {
    base_offset: Offset,
    entries: Vec<(u32, u32)>,
}

impl OffsetIndex {
    /// The index of an empty segment.
    #[must_use]
    pub fn new(base_offset: Offset) -> OffsetIndex {
        OffsetIndex { base_offset, entries: Vec::new() }
    }

    /// Reads an index file; `None` when it cannot be one.
    #[must_use]
    pub fn parse(base_offset: Offset, bytes: &[u8]) -> Option<OffsetIndex> {
        let (chunks, rest) = bytes.as_chunks::<OFFSET_ENTRY_BYTES>();
        let entries: Vec<(u32, u32)> = chunks
            .iter()
            .map(|&[a, b, c, d, e, f, g, h]| {
                (u32::from_be_bytes([a, b, c, d]), u32::from_be_bytes([e, f, g, h]))
            })
            .collect();
        let grows = entries.is_sorted_by(|one, next| one.0 < next.0 && one.1 < next.1);
        (rest.is_empty() && grows).then_some(OffsetIndex { base_offset, entries })
    }

    /// The index file.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let entry = |&(relative, position): &(u32, u32)| {
            [relative.to_be_bytes(), position.to_be_bytes()].concat()
        };
        self.entries.iter().flat_map(entry).collect()
    }

    /// Bytes that the file has.
    #[must_use]
    pub fn size_bytes(&self) -> usize {
        self.entries.len() * OFFSET_ENTRY_BYTES
    }

    /// Adds the batch with this last offset that begins at `position`.
    ///
    /// # Panics
    /// When it does not lie after the last one.
    pub fn append(&mut self, last_offset: Offset, position: u64) {
        let relative = relative(self.base_offset, last_offset);
        let position = u32::try_from(position).expect("segments are smaller than 4 GiB");
        if let Some(last) = self.entries.last() {
            assert!(last.0 < relative && last.1 < position, "{last:?}, then {relative} {position}");
        }
        self.entries.push((relative, position));
    }

    /// The last offset and the position of each batch that it names.
    pub fn entries(&self) -> impl Iterator<Item = (Offset, u64)> + '_ {
        let last = |relative: u32| self.base_offset.plus(i64::from(relative));
        self.entries.iter().map(move |&(relative, position)| (last(relative), position.into()))
    }

    /// A position from which a walk finds `offset`.
    #[must_use]
    pub fn position_before(&self, offset: Offset) -> u64 {
        let count = self
            .entries
            .partition_point(|entry| self.base_offset.plus(i64::from(entry.0)) <= offset);
        count.checked_sub(1).map_or(0, |last| u64::from(self.entries[last].1))
    }

    /// The last known beginning of a batch that is not past `position`.
    #[must_use]
    pub fn batch_before(&self, position: u64) -> u64 {
        let count = self.entries.partition_point(|entry| u64::from(entry.1) <= position);
        count.checked_sub(1).map_or(0, |last| u64::from(self.entries[last].1))
    }
}

/// When the time moved on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimeIndex {
    base_offset: Offset,
    entries: Vec<(i64, u32)>,
}

impl TimeIndex {
    /// The index of an empty segment.
    #[must_use]
    pub fn new(base_offset: Offset) -> TimeIndex {
        TimeIndex { base_offset, entries: Vec::new() }
    }

    /// Reads an index file; `None` when it cannot be one.
    #[must_use]
    pub fn parse(base_offset: Offset, bytes: &[u8]) -> Option<TimeIndex> {
        let (chunks, rest) = bytes.as_chunks::<TIME_ENTRY_BYTES>();
        let entries: Vec<(i64, u32)> = chunks
            .iter()
            .map(|&[a, b, c, d, e, f, g, h, i, j, k, l]| {
                (i64::from_be_bytes([a, b, c, d, e, f, g, h]), u32::from_be_bytes([i, j, k, l]))
            })
            .collect();
        let grows = entries.is_sorted_by(|one, next| one.0 < next.0 && one.1 < next.1);
        (rest.is_empty() && grows).then_some(TimeIndex { base_offset, entries })
    }

    /// The index file.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let entry = |&(timestamp_ms, relative): &(i64, u32)| {
            [&timestamp_ms.to_be_bytes()[..], &relative.to_be_bytes()].concat()
        };
        self.entries.iter().flat_map(entry).collect()
    }

    /// Bytes that the file has.
    #[must_use]
    pub fn size_bytes(&self) -> usize {
        self.entries.len() * TIME_ENTRY_BYTES
    }

    /// Adds the latest timestamp so far, if the time has moved on since the last entry.
    pub fn append(&mut self, timestamp_ms: i64, last_offset: Offset) {
        let relative = relative(self.base_offset, last_offset);
        if self.entries.last().is_none_or(|last| last.0 < timestamp_ms && last.1 < relative) {
            self.entries.push((timestamp_ms, relative));
        }
    }

    /// An offset from which a walk finds the first record that is not older than `timestamp_ms`.
    #[must_use]
    pub fn offset_before(&self, timestamp_ms: i64) -> Offset {
        let count = self.entries.partition_point(|entry| entry.0 <= timestamp_ms);
        let relative = count.checked_sub(1).map_or(0, |last| i64::from(self.entries[last].1));
        self.base_offset.plus(relative)
    }
}

fn relative(base_offset: Offset, offset: Offset) -> u32 {
    u32::try_from(offset - base_offset).expect("a segment is rolled before its offsets run out")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offsets() -> OffsetIndex {
        let mut index = OffsetIndex::new(Offset(100));
        index.append(Offset(109), 4100);
        index.append(Offset(129), 8300);
        index
    }

    #[test]
    fn a_search_never_goes_past_what_is_asked() {
        let index = offsets();
        let found: Vec<u64> = [100, 108, 109, 110, 128, 129, 500]
            .map(|offset| index.position_before(Offset(offset)))
            .into();
        assert_eq!(found, [0, 0, 4100, 4100, 4100, 8300, 8300]);
        assert_eq!(
            [4099, 4100, 8299, 8300].map(|at| index.batch_before(at)),
            [0, 4100, 4100, 8300]
        );
    }

    #[test]
    fn a_time_search_never_goes_past_what_is_asked() {
        let mut index = TimeIndex::new(Offset(100));
        index.append(1000, Offset(109));
        index.append(1000, Offset(119)); // the time has not moved on
        index.append(2000, Offset(129));
        let found: Vec<Offset> = [999, 1000, 1999, 2000].map(|at| index.offset_before(at)).into();
        assert_eq!(found, [100, 109, 109, 129].map(Offset));
    }

    #[test]
    fn the_bytes_are_kafkas_and_read_back_the_same() {
        let index = offsets();
        assert_eq!(index.to_bytes()[..8], [0, 0, 0, 9, 0, 0, 0x10, 0x04]);
        assert_eq!(OffsetIndex::parse(Offset(100), &index.to_bytes()), Some(index.clone()));
        let mut times = TimeIndex::new(Offset(5));
        times.append(-1, Offset(5));
        times.append(258, Offset(6));
        assert_eq!(times.to_bytes()[12..], [0, 0, 0, 0, 0, 0, 1, 2, 0, 0, 0, 1]);
        assert_eq!(TimeIndex::parse(Offset(5), &times.to_bytes()), Some(times));
    }

    #[test]
    fn bytes_that_cannot_be_an_index_are_refused() {
        let bytes = offsets().to_bytes();
        assert_eq!(OffsetIndex::parse(Offset(100), &bytes[..15]), None);
        let swapped = [&bytes[8..], &bytes[..8]].concat();
        assert_eq!(OffsetIndex::parse(Offset(100), &swapped), None);
    }
}
