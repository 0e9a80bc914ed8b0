//! PURE. The newest offset of each key in the dirty part of a log, as many keys as fit.
//!
//! The keys themselves are kept, not hashes of them: two keys are never taken for one.
use std::collections::HashMap;

use weir_protocol::records::Offset;

/// What an entry takes beside the bytes of its key: its place in the map, and the allocation.
const ENTRY_BYTES: u64 = 64;

/// The newest offset of each key.
#[derive(Debug)]
pub struct Newest {
    offsets: HashMap<Box<[u8]>, Offset>,
    bytes: u64,
    bytes_max: u64,
    end: Offset,
    keeps_outdated: bool,
}

impl Newest {
    /// None yet. Records from `end` on are unknown.
    #[must_use]
    pub fn new(end: Offset, bytes_max: u64) -> Newest {
        Newest { offsets: HashMap::new(), bytes: 0, bytes_max, end, keeps_outdated: false }
    }

    /// Plants a mistake: the first record of a key is taken for its newest.
    #[must_use]
    pub fn with_bug(self, keeps_outdated: bool) -> Newest {
        Newest { keeps_outdated, ..self }
    }

    /// Takes a later record in.
    pub fn put(&mut self, key: &[u8], offset: Offset) {
        if let Some(known) = self.offsets.get_mut(key) {
            if !self.keeps_outdated {
                *known = offset;
            }
            return;
        }
        self.bytes += key.len() as u64 + ENTRY_BYTES;
        self.offsets.insert(key.into(), offset);
    }

    /// Says that all records before `end` are in.
    pub fn reach(&mut self, end: Offset) {
        self.end = end;
    }

    /// The offset from which on records are unknown, and so stay.
    #[must_use]
    pub fn end(&self) -> Offset {
        self.end
    }

    /// Whether there is no room for more.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.bytes >= self.bytes_max
    }

    /// Whether a later record of this key is known.
    #[must_use]
    pub fn is_outdated(&self, key: &[u8], offset: Offset) -> bool {
        let newest = self.offsets.get(key);
        newest.is_some_and(|newest| *newest > offset || self.keeps_outdated && *newest < offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_older_records_of_a_known_key_are_outdated() {
        let mut newest = Newest::new(Offset(0), 200);
        newest.put(b"a", Offset(3));
        newest.put(b"a", Offset(7));
        let of = |offset| newest.is_outdated(b"a", Offset(offset));
        assert_eq!([3, 6, 7, 8].map(of), [true, true, false, false]);
        assert!(!newest.is_outdated(b"b", Offset(0)));
    }

    #[test]
    fn a_key_takes_room_once() {
        let mut newest = Newest::new(Offset(0), 2 * (ENTRY_BYTES + 1));
        for offset in 0..10 {
            newest.put(b"a", Offset(offset));
        }
        assert!(!newest.is_full());
        newest.put(b"b", Offset(10));
        assert!(newest.is_full());
    }
}
