//! PURE. Which transactions of a log were aborted, as its markers tell.
//!
//! ```text
//! producer 7   [data 0..2] [data 5..5]  [ABORT 9]   what it wrote from 0 to 9 is aborted
//! producer 8         [data 3..4]  [COMMIT 8]        what it wrote is there to stay
//! ```
use std::collections::BTreeMap;

use weir_protocol::records::Offset;
use weir_protocol::records::batch::BatchHeader;
use weir_protocol::records::control::Marker;

/// The transactions of a log, shown batch by batch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Transactions {
    /// First offset of the one that each producer has open.
    open: BTreeMap<i64, Offset>,
    /// First and last offset of each that was aborted, in order; the last is its marker's.
    aborted: BTreeMap<i64, Vec<(Offset, Offset)>>,
}

impl Transactions {
    /// Takes the next batch in, with what it marks if it is a control batch.
    pub fn see(&mut self, header: &BatchHeader, marker: Option<Marker>) {
        let producer = header.producer_id;
        if header.is_control() {
            // One without a meaning, or emptied, ends nothing: its transaction is gone by then.
            let Some(marker) = marker else { return };
            if let Some(first) = self.open.remove(&producer)
                && marker == Marker::Abort
            {
                self.aborted.entry(producer).or_default().push((first, header.last_offset()));
            }
        } else if header.is_transactional() {
            self.open.entry(producer).or_insert(header.base_offset);
        }
    }

    /// Where the first transaction begins whose end was not seen.
    #[must_use]
    pub fn open_from(&self) -> Option<Offset> {
        self.open.values().min().copied()
    }

    /// Whether a data batch of this header was aborted.
    #[must_use]
    pub fn is_aborted(&self, header: &BatchHeader) -> bool {
        if !header.is_transactional() {
            return false;
        }
        let Some(ranges) = self.aborted.get(&header.producer_id) else { return false };
        let count = ranges.partition_point(|(first, _)| *first <= header.base_offset);
        count.checked_sub(1).is_some_and(|place| header.base_offset <= ranges[place].1)
    }
}
