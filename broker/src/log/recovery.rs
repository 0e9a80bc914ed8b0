//! PURE over bytes. The longest valid prefix of a log after a crash.
//!
//! ```text
//! base                          recovery point                            end of file
//! |  was durable                 |  may be torn, with valid batches beyond  |
//! ```
//!
//! A batch counts when it is whole, its checksum is right, its offset is the one that follows and
//! its leader epoch is not older than the one before it. The first that does not count ends the
//! log: what follows was never acknowledged, or is damage. Which of the two, the recovery point
//! tells: below it every byte was durable once, so nothing there may be cut.
use bytes::Bytes;
use weir_protocol::records::batch::{BatchHeader, HEADER_BYTES, RecordBatch};
use weir_protocol::records::{BatchError, Offset};

/// Why the valid prefix ends before the file does.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// No whole and undamaged batch.
    #[error(transparent)]
    Batch(#[from] BatchError),
    /// A batch of another place.
    #[error("a batch with base offset {found} and last offset delta {delta}, expected {expected}")]
    Offset {
        /// Its base offset.
        found: Offset,
        /// Its last offset delta.
        delta: i32,
        /// The one that follows.
        expected: Offset,
    },
    /// A batch of another time.
    #[error("a batch of leader epoch {found} after one of {latest}")]
    Epoch {
        /// Its epoch.
        found: i32,
        /// The newest before it.
        latest: i32,
    },
}

/// Reads a segment's file window by window.
#[derive(Clone, Debug)]
pub struct Scanner {
    position: u64,
    next_offset: Offset,
    leader_epoch: i32,
    size_bytes: u64,
    /// From here on no offset may be missing. Before it, the cleaner may have left holes.
    exact_from: Offset,
    /// The offset with which the next segment begins.
    limit: Option<Offset>,
}

/// What came of a window.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scanned {
    /// All batches that it holds are valid. The next window begins at the scanner's position and
    /// must have at least this many bytes.
    More {
        /// Bytes.
        needed: usize,
    },
    /// The file ends here, with a valid batch.
    End,
    /// The valid prefix ends here.
    Fault(Fault),
}

impl Scanner {
    /// For a file of `size_bytes` whose first offset is `base_offset`.
    #[must_use]
    pub fn new(
        base_offset: Offset,
        size_bytes: u64,
        leader_epoch: i32,
        exact_from: Offset,
    ) -> Self {
        let (position, next_offset, limit) = (0, base_offset, None);
        Scanner { position, next_offset, leader_epoch, size_bytes, exact_from, limit }
    }

    /// The same for a segment that another one follows.
    #[must_use]
    pub fn before(self, next: Option<Offset>) -> Self {
        Scanner { limit: next, ..self }
    }

    /// The byte after the last valid batch.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.position
    }

    /// The offset after the last valid batch.
    #[must_use]
    pub fn next_offset(&self) -> Offset {
        self.next_offset
    }

    /// The newest epoch so far.
    #[must_use]
    pub fn leader_epoch(&self) -> i32 {
        self.leader_epoch
    }

    /// Goes through the whole batches of a window that begins at the scanner's position, and shows
    /// each valid one with its position.
    pub fn feed(&mut self, window: &Bytes, mut visit: impl FnMut(u64, &BatchHeader)) -> Scanned {
        let mut begin = 0;
        loop {
            let left = self.size_bytes - self.position;
            if left == 0 {
                return Scanned::End;
            }
            let batch = match RecordBatch::first_of(&window.slice(begin..)) {
                Ok(batch) => batch,
                // Not whole in this window, but the file may hold the rest of it.
                Err(BatchError::Truncated { needed, .. }) if needed as u64 <= left => {
                    return Scanned::More { needed: needed.max(HEADER_BYTES) };
                }
                Err(error) => return Scanned::Fault(error.into()),
            };
            if let Err(fault) = self.check(&batch) {
                return Scanned::Fault(fault);
            }
            let size_bytes = batch.bytes().len();
            if batch.header().base_offset > self.next_offset {
                // No checksum covers an offset: a hole is one only if the next batch is behind it.
                let needed = size_bytes + HEADER_BYTES;
                let following = &window[begin + size_bytes..];
                if following.len() < HEADER_BYTES && needed as u64 <= left {
                    return Scanned::More { needed };
                }
                if let Err(fault) = self.check_hole(&batch, following) {
                    return Scanned::Fault(fault);
                }
            }
            visit(self.position, batch.header());
            begin += size_bytes;
            self.position += size_bytes as u64;
            self.next_offset = batch.header().last_offset().next();
            self.leader_epoch = batch.header().leader_epoch;
        }
    }

    fn check(&self, batch: &RecordBatch) -> Result<(), Fault> {
        batch.check_crc()?;
        let BatchHeader { base_offset: found, last_offset_delta: delta, leader_epoch, .. } =
            *batch.header();
        let expected = self.next_offset;
        let follows =
            if expected < self.exact_from { found >= expected } else { found == expected };
        let is_past = |limit| batch.header().last_offset() >= limit;
        if !follows || delta < 0 || self.limit.is_some_and(is_past) {
            return Err(Fault::Offset { found, delta, expected });
        }
        if leader_epoch < self.leader_epoch {
            return Err(Fault::Epoch { found: leader_epoch, latest: self.leader_epoch });
        }
        Ok(())
    }

    /// Refuses a batch behind a hole when the one that follows it belongs into that hole, or
    /// before: then it is its own offset that is wrong.
    fn check_hole(&self, batch: &RecordBatch, following: &[u8]) -> Result<(), Fault> {
        let BatchHeader { base_offset: found, last_offset_delta: delta, .. } = *batch.header();
        let expected = self.next_offset;
        match BatchHeader::parse(following) {
            Ok(next)
                if next.base_offset >= expected
                    && next.base_offset <= batch.header().last_offset() =>
            {
                Err(Fault::Offset { found, delta, expected })
            }
            _ => Ok(()),
        }
    }
}

/// Records that were durable once and are not there any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// The first offset that is missing.
    pub from: Offset,
    /// The offset after the last that is known to be missing.
    pub to: Offset,
    /// The file, the byte in it and what is wrong there.
    pub place: String,
}

/// Whether a log whose valid prefix ends at `end` has lost what was durable up to `recovery_point`.
#[must_use]
pub fn damage(end: Offset, recovery_point: Offset, place: &str) -> Option<Damage> {
    (end < recovery_point).then(|| Damage {
        from: end,
        to: recovery_point,
        place: place.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_protocol::records::builder::BatchBuilder;
    use weir_protocol::records::compression::Compression;

    /// Three batches of two records: offsets 10..16.
    fn batches() -> Vec<Bytes> {
        let batch = |number: i64| {
            let mut builder = BatchBuilder::new(Compression::None);
            for _ in 0..2 {
                builder.append(number, None, Some(&[7; 20]), &[]);
            }
            let batch = RecordBatch::parse(builder.finish()).unwrap();
            let header = batch.assigned_header(Offset(10 + number * 2), 3);
            Bytes::from([&header[..], &batch.bytes()[HEADER_BYTES..]].concat())
        };
        (0..3).map(batch).collect()
    }

    fn scan(bytes: &[u8]) -> (Scanner, Scanned, usize) {
        let mut scanner = Scanner::new(Offset(10), bytes.len() as u64, 0, Offset(0));
        let mut count = 0;
        let end = scanner.feed(&Bytes::copy_from_slice(bytes), |_, _| count += 1);
        (scanner, end, count)
    }

    #[test]
    fn a_whole_log_is_valid_to_its_end_in_windows_of_any_size() {
        let bytes = Bytes::from(batches().concat());
        for window_bytes in 1..=bytes.len() {
            let mut scanner = Scanner::new(Offset(10), bytes.len() as u64, 0, Offset(0));
            let mut needed = window_bytes;
            let end = loop {
                let begin = usize::try_from(scanner.position()).unwrap();
                let window = bytes.slice(begin..bytes.len().min(begin + needed));
                match scanner.feed(&window, |_, _| {}) {
                    Scanned::More { needed: more } => needed = needed.max(more),
                    end => break end,
                }
            };
            assert_eq!((end, scanner.next_offset()), (Scanned::End, Offset(16)));
        }
    }

    #[test]
    fn a_tail_cut_anywhere_leaves_the_whole_batches_before_it() {
        let batches = batches();
        let bytes = batches.concat();
        let ends = [0, batches[0].len(), batches[0].len() + batches[1].len(), bytes.len()];
        for cut in 0..=bytes.len() {
            let whole = ends.iter().rposition(|end| *end <= cut).unwrap();
            let (scanner, end, count) = scan(&bytes[..cut]);
            assert_eq!(count, whole, "cut at {cut}");
            assert_eq!(scanner.position(), ends[whole] as u64);
            assert_eq!(end == Scanned::End, ends[whole] == cut, "cut at {cut}: {end:?}");
        }
    }

    #[test]
    fn a_flipped_bit_anywhere_ends_the_prefix_before_its_batch() {
        let batches = batches();
        let bytes = batches.concat();
        for bit in 0..batches[0].len() * 8 {
            let mut flipped = bytes.clone();
            flipped[batches[0].len() + bit / 8] ^= 1 << (bit % 8);
            let (scanner, end, count) = scan(&flipped);
            // The epoch is outside the checksum: a higher one passes, and makes the next too old.
            let is_epoch = (12 * 8..16 * 8).contains(&bit);
            assert!(matches!(end, Scanned::Fault(_)), "bit {bit}");
            assert!(count == 1 || is_epoch && count == 2, "bit {bit}: {count} batches");
            assert!(scanner.next_offset() <= Offset(14));
        }
    }

    #[test]
    fn valid_batches_beyond_a_hole_do_not_count() {
        let batches = batches();
        let hole = vec![0; batches[1].len()];
        let (scanner, _, count) = scan(&[&batches[0][..], &hole, &batches[2]].concat());
        assert_eq!((count, scanner.next_offset()), (1, Offset(12)));
        let (_, end, count) = scan(&[&batches[0][..], &batches[2]].concat());
        assert!(matches!(end, Scanned::Fault(Fault::Offset { .. })), "{end:?} after {count}");
    }

    #[test]
    fn an_offset_that_was_raised_is_not_taken_for_a_hole() {
        let batches = batches();
        let mut raised = batches[1].to_vec();
        raised[6] ^= 1; // by 256
        let bytes = Bytes::from([&batches[0][..], &raised, &batches[2]].concat());
        for window_bytes in [1, bytes.len()] {
            let mut scanner = Scanner::new(Offset(10), bytes.len() as u64, 0, Offset(i64::MAX));
            let mut needed = window_bytes;
            let end = loop {
                let begin = usize::try_from(scanner.position()).unwrap();
                let window = bytes.slice(begin..bytes.len().min(begin + needed));
                match scanner.feed(&window, |_, _| {}) {
                    Scanned::More { needed: more } => needed = needed.max(more),
                    end => break end,
                }
            };
            assert!(matches!(end, Scanned::Fault(Fault::Offset { .. })), "{end:?}");
            assert_eq!(scanner.next_offset(), Offset(12));
        }
        // At the end of a segment, the next one tells.
        let bytes = Bytes::from([&batches[0][..], &raised].concat());
        let scanner = Scanner::new(Offset(10), bytes.len() as u64, 0, Offset(i64::MAX));
        let end = scanner.before(Some(Offset(14))).feed(&bytes, |_, _| {});
        assert!(matches!(end, Scanned::Fault(Fault::Offset { .. })), "{end:?}");
    }

    #[test]
    fn only_what_lies_below_the_recovery_point_is_damage() {
        assert_eq!(damage(Offset(5), Offset(5), "x"), None);
        let damage = damage(Offset(5), Offset(9), "x").unwrap();
        assert_eq!((damage.from, damage.to), (Offset(5), Offset(9)));
    }
}
