//! PURE. How far a table is: for each partition the next offset to fold.
//!
//! A range that is folded must begin exactly where the last one ended: a gap would lose records,
//! an overlap would fold them twice. [`Checkpoint::advance`] refuses both, and so it is also the
//! fence: of two compactors that fold the same table, the slower one's range no longer fits.

use std::collections::BTreeMap;

use weir_protocol::records::Offset;

/// The records of one partition that a flush covers: `from` inclusive, `to` exclusive.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct OffsetRange {
    /// The partition of the topic.
    pub partition: i32,
    /// The first offset of the range.
    pub from: Offset,
    /// One past the last offset of the range.
    pub to: Offset,
}

impl OffsetRange {
    /// How many offsets the range spans.
    pub fn span(&self) -> i64 {
        self.to - self.from
    }
}

/// Why a range does not follow a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Misfit {
    /// Offsets between the checkpoint and the range would never be folded.
    #[error(
        "partition {partition}: the range begins at offset {from}, but the table ends at {next}: \
         offsets in between would be lost"
    )]
    Gap {
        /// The partition of the topic.
        partition: i32,
        /// The next offset of the checkpoint.
        next: Offset,
        /// Where the range begins.
        from: Offset,
    },
    /// Offsets that are already folded would be folded again.
    #[error(
        "partition {partition}: the range begins at offset {from}, but the table already holds \
         offsets up to {next}: another compactor may have folded them"
    )]
    Overlap {
        /// The partition of the topic.
        partition: i32,
        /// The next offset of the checkpoint.
        next: Offset,
        /// Where the range begins.
        from: Offset,
    },
    /// The range ends before it begins, or is not a place in a log at all.
    #[error("partition {partition}: {from}..{to} is not a range of offsets")]
    NotARange {
        /// The partition of the topic.
        partition: i32,
        /// Where the range begins.
        from: Offset,
        /// Where the range ends.
        to: Offset,
    },
}

/// The next offset to fold, by partition. A partition that is absent was never folded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Checkpoint {
    /// Partition to next offset.
    pub next: BTreeMap<i32, Offset>,
}

impl Checkpoint {
    /// The next offset of a partition, if any of it was folded.
    pub fn next_of(&self, partition: i32) -> Option<Offset> {
        self.next.get(&partition).copied()
    }

    /// Moves a partition on to the end of a range that begins where the partition stands. The
    /// first range of a partition may begin anywhere: its log may have lost its head long ago.
    pub fn advance(&mut self, range: &OffsetRange) -> Result<(), Misfit> {
        let OffsetRange { partition, from, to } = *range;
        if partition < 0 || from < Offset(0) || to < from {
            return Err(Misfit::NotARange { partition, from, to });
        }
        match self.next.get(&partition).copied() {
            Some(next) if from > next => return Err(Misfit::Gap { partition, next, from }),
            Some(next) if from < next => return Err(Misfit::Overlap { partition, next, from }),
            _ => {}
        }
        self.next.insert(partition, to);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(partition: i32, from: i64, to: i64) -> OffsetRange {
        OffsetRange { partition, from: Offset(from), to: Offset(to) }
    }

    fn at_ten() -> Checkpoint {
        let mut checkpoint = Checkpoint::default();
        checkpoint.advance(&range(0, 0, 10)).unwrap();
        checkpoint
    }

    #[test]
    fn a_range_that_follows_moves_only_its_own_partition() {
        let mut checkpoint = at_ten();
        checkpoint.advance(&range(1, 500, 600)).unwrap(); // a log that lost its head long ago
        checkpoint.advance(&range(0, 10, 11)).unwrap();
        assert_eq!(checkpoint.next_of(0), Some(Offset(11)));
        assert_eq!(checkpoint.next_of(1), Some(Offset(600)));
        assert_eq!(checkpoint.next_of(2), None);
    }

    #[test]
    fn an_empty_range_in_place_changes_nothing() {
        let mut checkpoint = at_ten();
        checkpoint.advance(&range(0, 10, 10)).unwrap();
        assert_eq!(checkpoint, at_ten());
    }

    #[test]
    fn every_misfit_is_refused_and_changes_nothing() {
        for from in 0..=20 {
            for to in 0..=20 {
                let mut checkpoint = at_ten();
                let outcome = checkpoint.advance(&range(0, from, to));
                let (partition, next) = (0, Offset(10));
                let want = if to < from {
                    let (from, to) = (Offset(from), Offset(to));
                    Err(Misfit::NotARange { partition, from, to })
                } else if from > 10 {
                    Err(Misfit::Gap { partition, next, from: Offset(from) })
                } else if from < 10 {
                    Err(Misfit::Overlap { partition, next, from: Offset(from) })
                } else {
                    Ok(())
                };
                assert_eq!(outcome, want, "{from}..{to}");
                if want.is_err() {
                    assert_eq!(checkpoint, at_ten(), "{from}..{to}");
                }
            }
        }
    }

    #[test]
    fn negative_offsets_and_partitions_are_no_range() {
        let mut checkpoint = Checkpoint::default();
        for wrong in [range(0, -1, 5), range(-1, 0, 5), range(0, i64::MIN, i64::MAX)] {
            assert!(matches!(checkpoint.advance(&wrong), Err(Misfit::NotARange { .. })));
        }
        assert_eq!(checkpoint, Checkpoint::default());
    }

    #[test]
    fn the_same_range_twice_is_an_overlap() {
        let mut checkpoint = at_ten();
        checkpoint.advance(&range(0, 10, 20)).unwrap();
        let again = checkpoint.advance(&range(0, 10, 20));
        let (next, from) = (Offset(20), Offset(10));
        assert_eq!(again, Err(Misfit::Overlap { partition: 0, next, from }));
    }
}
