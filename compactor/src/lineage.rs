//! PURE. Of which log a table is: is the log at hand still the one that was folded before?
//!
//! Offsets alone do not tell. A topic may have been deleted and made anew, a broker restored from
//! a backup, a tail lost: then the same offset holds another record, and folding on would mix two
//! histories. So a snapshot keeps the topic's id and, for each partition, place, leader epoch and
//! checksum of the last batch that it holds. What does not match is refused, never folded.

use std::collections::BTreeMap;

use uuid::Uuid;
use weir_protocol::records::Offset;

/// The mark of one record batch: where it lies and what it holds.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct LastBatch {
    /// Offset of its first record.
    pub base_offset: Offset,
    /// Offset of its last record.
    pub last_offset: Offset,
    /// Epoch of the leader that appended it.
    pub leader_epoch: i32,
    /// Its CRC-32C, which covers all that the leader did not fill in.
    pub crc: u32,
}

/// The log that a table was folded from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lineage {
    /// Name of the topic.
    pub topic: String,
    /// Id of the topic; nil where the cluster gives none.
    pub topic_id: Uuid,
    /// By partition the last batch of which anything was folded.
    pub partitions: BTreeMap<i32, LastBatch>,
}

/// What the log says today about one partition.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct LogToday {
    /// First offset that the log still holds.
    pub log_start: Offset,
    /// One past the last offset that a consumer may see.
    pub log_end: Offset,
    /// The batch that holds the lineage's last offset today; absent if that offset is outside the
    /// log or no batch holds it.
    pub batch: Option<LastBatch>,
    /// Whether a cleaner compacts the log. It may take records out of the batch that was folded
    /// last, which then has another checksum, or take all of it away.
    pub is_cleaned: bool,
}

/// Why a log is not the one that was folded before.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Stranger {
    /// The topic was deleted and made anew, or another cluster answers.
    #[error("topic {topic} now has id {found}, but the table was folded from id {held}")]
    OtherTopic {
        /// Name of the topic.
        topic: String,
        /// The id that the snapshot holds.
        held: Uuid,
        /// The id that the cluster says.
        found: Uuid,
    },
    /// The log ends before the place up to which it was folded.
    #[error("partition {partition}: the log ends at {log_end}, but was folded up to {next}")]
    LostTail {
        /// The partition of the topic.
        partition: i32,
        /// The next offset to fold.
        next: Offset,
        /// Where the log ends.
        log_end: Offset,
    },
    /// Records were deleted before they could be folded.
    #[error("partition {partition}: the log begins at {log_start}, but was folded up to {next}")]
    LostHead {
        /// The partition of the topic.
        partition: i32,
        /// The next offset to fold.
        next: Offset,
        /// Where the log begins.
        log_start: Offset,
    },
    /// Another batch, or none, lies where the last folded one lay.
    #[error("partition {partition}: the batch folded last was {held:?}; there is now {found:?}")]
    OtherBatch {
        /// The partition of the topic.
        partition: i32,
        /// The batch that the snapshot holds.
        held: LastBatch,
        /// The batch that lies there today.
        found: Option<LastBatch>,
    },
}

impl Lineage {
    /// Is the topic of that id the one that was folded?
    pub fn check_topic(&self, found: Uuid) -> Result<(), Stranger> {
        if found == self.topic_id {
            return Ok(());
        }
        Err(Stranger::OtherTopic { topic: self.topic.clone(), held: self.topic_id, found })
    }

    /// Does the log of a partition still hold what was folded, and does it go on at `next`?
    ///
    /// What retention took away after it was folded cannot be compared and is believed. So is what
    /// the cleaner of a compacted log may have done; a batch at another place, or of another
    /// leader's epoch, it cannot have made.
    pub fn check(&self, partition: i32, next: Offset, log: &LogToday) -> Result<(), Stranger> {
        let LogToday { log_start, log_end, batch: found, is_cleaned } = *log;
        if log_end < next {
            return Err(Stranger::LostTail { partition, next, log_end });
        }
        if log_start > next {
            return Err(Stranger::LostHead { partition, next, log_start });
        }
        let Some(held) = self.partitions.get(&partition).copied() else { return Ok(()) };
        if log_start > held.last_offset || found == Some(held) {
            return Ok(());
        }
        let thinned = found.map(|found| LastBatch { crc: held.crc, ..found });
        if is_cleaned && thinned.is_none_or(|thinned| thinned == held) {
            return Ok(());
        }
        Err(Stranger::OtherBatch { partition, held, found })
    }

    /// The lineage after a further flush of the same topic: its batches replace older ones.
    pub fn followed_by(&self, later: &Lineage) -> Result<Lineage, Stranger> {
        self.check_topic(later.topic_id)?;
        let mut next = later.clone();
        for (partition, batch) in &self.partitions {
            next.partitions.entry(*partition).or_insert(*batch);
        }
        Ok(next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HELD: LastBatch =
        LastBatch { base_offset: Offset(90), last_offset: Offset(99), leader_epoch: 3, crc: 77 };

    fn lineage() -> Lineage {
        Lineage {
            topic: "orders".into(),
            topic_id: Uuid::from_u128(1),
            partitions: BTreeMap::from([(0, HELD)]),
        }
    }

    fn log(log_start: i64, log_end: i64, batch: Option<LastBatch>) -> LogToday {
        let (log_start, log_end) = (Offset(log_start), Offset(log_end));
        LogToday { log_start, log_end, batch, is_cleaned: false }
    }

    #[test]
    fn the_same_log_is_known_again() {
        let lineage = lineage();
        lineage.check_topic(Uuid::from_u128(1)).unwrap();
        lineage.check(0, Offset(100), &log(0, 100, Some(HELD))).unwrap();
        lineage.check(0, Offset(100), &log(95, 5000, Some(HELD))).unwrap();
    }

    #[test]
    fn what_retention_took_after_the_fold_is_believed() {
        lineage().check(0, Offset(100), &log(100, 100, None)).unwrap();
        lineage().check(0, Offset(105), &log(100, 200, None)).unwrap(); // a marker at the end
    }

    #[test]
    fn a_partition_that_was_never_folded_has_no_past() {
        lineage().check(7, Offset(0), &log(0, 0, None)).unwrap();
        lineage().check(7, Offset(5), &log(5, 9, None)).unwrap();
    }

    #[test]
    fn a_topic_made_anew_is_a_stranger() {
        let found = lineage().check_topic(Uuid::from_u128(2));
        assert!(matches!(found, Err(Stranger::OtherTopic { .. })));
    }

    #[test]
    fn a_lost_tail_and_a_lost_head_are_told_apart() {
        let next = Offset(100);
        let tail = lineage().check(0, next, &log(0, 99, Some(HELD)));
        assert_eq!(tail, Err(Stranger::LostTail { partition: 0, next, log_end: Offset(99) }));
        let head = lineage().check(0, next, &log(101, 200, None));
        assert_eq!(head, Err(Stranger::LostHead { partition: 0, next, log_start: Offset(101) }));
    }

    #[test]
    fn each_single_difference_of_the_batch_is_seen() {
        let others = [
            None,
            Some(LastBatch { base_offset: Offset(91), ..HELD }),
            Some(LastBatch { last_offset: Offset(98), ..HELD }),
            Some(LastBatch { leader_epoch: 4, ..HELD }),
            Some(LastBatch { crc: 78, ..HELD }),
        ];
        for found in others {
            let outcome = lineage().check(0, Offset(100), &log(0, 200, found));
            assert_eq!(outcome, Err(Stranger::OtherBatch { partition: 0, held: HELD, found }));
        }
    }

    #[test]
    fn what_the_cleaner_of_a_compacted_log_may_have_done_is_believed_and_no_more() {
        let cleaned = |batch| LogToday { is_cleaned: true, ..log(0, 200, batch) };
        let check = |batch| lineage().check(0, Offset(100), &cleaned(batch));
        check(None).unwrap();
        check(Some(HELD)).unwrap();
        check(Some(LastBatch { crc: 78, ..HELD })).unwrap();
        let others = [
            LastBatch { base_offset: Offset(91), ..HELD },
            LastBatch { last_offset: Offset(98), ..HELD },
            LastBatch { leader_epoch: 4, crc: 78, ..HELD },
        ];
        for other in others {
            assert!(matches!(check(Some(other)), Err(Stranger::OtherBatch { .. })), "{other:?}");
        }
        let lost = LogToday { log_end: Offset(99), ..cleaned(Some(HELD)) };
        let lost = lineage().check(0, Offset(100), &lost);
        assert!(matches!(lost, Err(Stranger::LostTail { .. })));
    }

    #[test]
    fn a_later_flush_replaces_the_batches_of_its_partitions_only() {
        let newer = LastBatch { base_offset: Offset(100), last_offset: Offset(120), ..HELD };
        let mut later = lineage();
        later.partitions = BTreeMap::from([(1, newer)]);
        let both = lineage().followed_by(&later).unwrap();
        assert_eq!(both.partitions, BTreeMap::from([(0, HELD), (1, newer)]));
        later.topic_id = Uuid::from_u128(2);
        assert!(lineage().followed_by(&later).is_err());
    }
}
