//! PURE. Idempotent producers: which sequence may follow, and what is a repeat.
//!
//! Of each producer the last five batches are remembered. A repeat of one of them is answered with
//! the offsets that it got the first time; a producer that nobody remembers may begin anywhere,
//! since only the broker can have forgotten it.
//!
//! ```text
//! same epoch, same first and last sequence as a remembered batch   a repeat
//! same epoch, first sequence = last + 1 (0 after the greatest)     may follow
//! higher epoch, first sequence 0                                   may follow
//! lower epoch                                                      INVALID_PRODUCER_EPOCH
//! anything else                                                    OUT_OF_ORDER_SEQUENCE_NUMBER
//! ```
//!
//! Where each transaction has an epoch of its own (KIP-890), the broker remembers all of an epoch
//! that matters: there a producer begins with 0, even one that nobody remembers.
use std::collections::{BTreeMap, VecDeque};

use kafka_protocol::error::ResponseError;
use weir_protocol::records::Offset;
use weir_protocol::records::batch::{BatchHeader, sequence_after};
use weir_protocol::records::control::Marker;

/// How many batches of each producer are remembered.
pub const BATCHES_REMEMBERED: usize = 5;

/// How many producers a log remembers. Above it those go that were silent the longest, and are
/// then unknown: a flood of ids must not take all memory, and unknown ones may begin anywhere.
const PRODUCERS_MAX: usize = 100_000;

/// A batch that was appended, as far as a repeat of it must be answered.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct ProducedBatch {
    /// The producer sequence of its first record.
    pub first_sequence: i32,
    /// The producer sequence of its last record.
    pub last_sequence: i32,
    /// The offset of its first record.
    pub base_offset: Offset,
    /// The offset of its last record.
    pub last_offset: Offset,
    /// Its time of append if it bears one, else -1.
    pub log_append_time_ms: i64,
}

/// What is remembered of one producer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Producer {
    /// Its newest epoch.
    pub epoch: i16,
    /// When it last appended, by the broker's clock.
    pub last_append_ms: i64,
    /// Its last batches in this epoch, oldest first; none after a marker of a newer epoch.
    pub batches: VecDeque<ProducedBatch>,
    /// The first offset of its transaction, while one is open.
    pub open_from: Option<Offset>,
    /// The newest epoch of a coordinator that has ended a transaction of it; -1: none has.
    pub coordinator_epoch: i32,
}

impl Producer {
    fn new(epoch: i16, now_ms: i64) -> Producer {
        Producer {
            epoch,
            last_append_ms: now_ms,
            batches: VecDeque::new(),
            open_from: None,
            coordinator_epoch: -1,
        }
    }

    /// Another epoch has begun: what was written in the one before is no repeat in it.
    fn begin(&mut self, epoch: i16) {
        self.epoch = epoch;
        self.batches.clear();
    }
}

/// Where a producer may begin of which no batch of its epoch is remembered.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Start {
    /// Anywhere: the broker may have forgotten it.
    Anywhere,
    /// With sequence 0: its epoch is as young as its transaction.
    AtZero,
}

/// All producers of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Producers {
    by_id: BTreeMap<i64, Producer>,
    batches_remembered: usize,
    /// Transactions that were aborted, in the order of their markers, as long as the log has them.
    aborted: Vec<Aborted>,
}

/// A transaction whose records never count.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Aborted {
    /// Whose.
    pub producer_id: i64,
    /// Its first offset.
    pub first: Offset,
    /// The offset of its marker.
    pub last: Offset,
}

/// A transaction that has just ended in this log.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Its first offset.
    pub first: Offset,
    /// The offset after its marker.
    pub next: Offset,
}

/// What to do with a batch.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It may be appended.
    Append,
    /// It is there already.
    Duplicate(ProducedBatch),
}

/// Why a batch may not follow.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProducerError {
    /// A gap, a step back, or a repeat of something long forgotten.
    #[error("producer {producer_id}: sequence {got} does not follow, {expected} does")]
    OutOfOrder {
        /// Whose.
        producer_id: i64,
        /// The first sequence of the batch.
        got: i32,
        /// The one that would have followed.
        expected: i32,
    },
    /// A marker of a coordinator that was replaced.
    #[error("producer {producer_id}: coordinator epoch {got} is older than {known}")]
    OldCoordinator {
        /// Whose transaction it would end.
        producer_id: i64,
        /// The marker's epoch.
        got: i32,
        /// The newest one.
        known: i32,
    },
    /// A record outside of transactions while one is open.
    #[error("producer {producer_id}: its transaction is open, and the batch is not part of it")]
    InTransaction {
        /// Whose.
        producer_id: i64,
    },
    /// A producer that was replaced by a newer one with the same id.
    #[error("producer {producer_id}: epoch {got} is older than {known}")]
    OldEpoch {
        /// Whose.
        producer_id: i64,
        /// The batch's epoch.
        got: i16,
        /// The newest one.
        known: i16,
    },
}

impl ProducerError {
    /// The code for the client.
    #[must_use]
    pub fn error_code(&self) -> ResponseError {
        match self {
            ProducerError::OutOfOrder { .. } => ResponseError::OutOfOrderSequenceNumber,
            ProducerError::InTransaction { .. } => ResponseError::InvalidTxnState,
            ProducerError::OldEpoch { .. } => ResponseError::InvalidProducerEpoch,
            ProducerError::OldCoordinator { .. } => ResponseError::TransactionCoordinatorFenced,
        }
    }
}

impl Producers {
    /// Nobody yet.
    #[must_use]
    pub fn new(batches_remembered: usize) -> Producers {
        Producers { by_id: BTreeMap::new(), batches_remembered, aborted: Vec::new() }
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    /// All of them, by id.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (i64, &Producer)> {
        self.by_id.iter().map(|(id, producer)| (*id, producer))
    }

    /// Takes over what a snapshot says of one producer.
    pub fn restore(&mut self, producer_id: i64, mut producer: Producer) {
        let excess = producer.batches.len().saturating_sub(self.batches_remembered);
        producer.batches.drain(..excess);
        self.by_id.insert(producer_id, producer);
    }

    /// Whether a batch may be appended. Batches without a producer always may.
    ///
    /// # Errors
    /// When it may not.
    pub fn check(&self, header: &BatchHeader, start: Start) -> Result<Verdict, ProducerError> {
        let BatchHeader { producer_id, producer_epoch, base_sequence, .. } = *header;
        // What the broker writes for a producer has no sequence.
        if producer_id < 0 || header.is_control() || base_sequence == -1 {
            return Ok(Verdict::Append);
        }
        let follows = |expected| match base_sequence == expected {
            true => Ok(Verdict::Append),
            false => Err(ProducerError::OutOfOrder { producer_id, got: base_sequence, expected }),
        };
        let begins = || match start {
            Start::Anywhere => Ok(Verdict::Append),
            Start::AtZero => follows(0),
        };
        let Some(known) = self.by_id.get(&producer_id) else { return begins() };
        if producer_epoch < known.epoch {
            let known = known.epoch;
            return Err(ProducerError::OldEpoch { producer_id, got: producer_epoch, known });
        }
        if known.open_from.is_some() && producer_epoch == known.epoch && !header.is_transactional()
        {
            return Err(ProducerError::InTransaction { producer_id });
        }
        if producer_epoch > known.epoch {
            return follows(0);
        }
        let repeated = known.batches.iter().find(|batch| {
            batch.first_sequence == base_sequence && batch.last_sequence == header.last_sequence()
        });
        if let Some(batch) = repeated {
            return Ok(Verdict::Duplicate(*batch));
        }
        match known.batches.back() {
            Some(last) => follows(sequence_after(last.last_sequence, 1)),
            None => begins(),
        }
    }

    /// Whether a marker may be appended that another than our own coordinator has sent.
    ///
    /// # Errors
    /// When the producer or the coordinator has been replaced by a newer one.
    pub fn check_marker(
        &self,
        header: &BatchHeader,
        coordinator_epoch: i32,
    ) -> Result<(), ProducerError> {
        let BatchHeader { producer_id, producer_epoch, .. } = *header;
        let Some(known) = self.by_id.get(&producer_id) else { return Ok(()) };
        if producer_epoch < known.epoch {
            let known = known.epoch;
            return Err(ProducerError::OldEpoch { producer_id, got: producer_epoch, known });
        }
        if coordinator_epoch < known.coordinator_epoch {
            let known = known.coordinator_epoch;
            return Err(ProducerError::OldCoordinator {
                producer_id,
                got: coordinator_epoch,
                known,
            });
        }
        Ok(())
    }

    /// Remembers a batch that was appended with the offsets of `header`.
    pub fn record(&mut self, header: &BatchHeader, now_ms: i64) {
        if header.producer_id < 0 || header.is_control() {
            return;
        }
        if self.by_id.len() >= PRODUCERS_MAX && !self.by_id.contains_key(&header.producer_id) {
            self.forget_oldest();
        }
        let epoch = header.producer_epoch;
        let producer = self.by_id.entry(header.producer_id);
        let producer = producer.or_insert_with(|| Producer::new(epoch, now_ms));
        if producer.epoch != epoch {
            producer.begin(epoch);
        }
        producer.last_append_ms = now_ms;
        if header.is_transactional() {
            producer.open_from.get_or_insert(header.base_offset);
        }
        if header.base_sequence < 0 {
            return;
        }
        if producer.batches.len() >= self.batches_remembered {
            producer.batches.pop_front();
        }
        producer.batches.push_back(ProducedBatch {
            first_sequence: header.base_sequence,
            last_sequence: header.last_sequence(),
            base_offset: header.base_offset,
            last_offset: header.last_offset(),
            log_append_time_ms: if header.has_log_append_time() {
                header.max_timestamp_ms
            } else {
                -1
            },
        });
    }

    /// Notes a marker that was appended with the offsets of `header`. What it has ended, if a
    /// transaction was open here.
    pub fn end(
        &mut self,
        header: &BatchHeader,
        (marker, coordinator_epoch): (Marker, i32),
        now_ms: i64,
    ) -> Option<Ended> {
        let producer_id = header.producer_id;
        let epoch = header.producer_epoch;
        let producer = self.by_id.entry(producer_id);
        let producer = producer.or_insert_with(|| Producer::new(epoch, now_ms));
        if epoch > producer.epoch {
            producer.begin(epoch);
        }
        producer.coordinator_epoch = producer.coordinator_epoch.max(coordinator_epoch);
        producer.last_append_ms = now_ms;
        let first = producer.open_from.take()?;
        let last = header.last_offset();
        if marker == Marker::Abort {
            self.aborted.push(Aborted { producer_id, first, last });
        }
        Some(Ended { first, next: last.next() })
    }

    /// The aborted transactions that lie within `from..to`, in the order of their markers.
    #[must_use]
    pub fn aborted_within(&self, from: Offset, to: Offset) -> Vec<Aborted> {
        let begin = self.aborted.partition_point(|it| it.last < from);
        self.aborted[begin..].iter().filter(|it| it.first < to).copied().collect()
    }

    /// All aborted transactions that are remembered.
    #[must_use]
    pub fn aborted(&self) -> &[Aborted] {
        &self.aborted
    }

    /// Takes over what a snapshot says of an aborted transaction.
    pub fn restore_aborted(&mut self, aborted: Aborted) {
        self.aborted.push(aborted);
    }

    /// Forgets aborted transactions of which nothing is left in a log that begins at `log_start`.
    pub fn forget_aborted_before(&mut self, log_start: Offset) {
        self.aborted.retain(|it| it.last >= log_start);
    }

    /// Where the open transaction of a producer begins.
    #[must_use]
    pub fn open_from(&self, producer_id: i64) -> Option<Offset> {
        self.by_id.get(&producer_id)?.open_from
    }

    /// The producers whose transaction is open: id, epoch, first offset.
    pub fn open(&self) -> impl Iterator<Item = (i64, i16, Offset)> {
        self.by_id.iter().filter_map(|(id, it)| Some((*id, it.epoch, it.open_from?)))
    }

    /// Forgets the eighth that was silent the longest; so the search is seldom.
    fn forget_oldest(&mut self) {
        let mut times: Vec<i64> =
            self.by_id.values().map(|producer| producer.last_append_ms).collect();
        let (_, limit_ms, _) = times.select_nth_unstable(PRODUCERS_MAX / 8 - 1);
        let limit_ms = *limit_ms;
        let mut excess = PRODUCERS_MAX / 8;
        self.by_id.retain(|_, producer| {
            let is_silent = producer.last_append_ms <= limit_ms && producer.open_from.is_none();
            let goes = excess > 0 && is_silent;
            excess -= usize::from(goes);
            !goes
        });
    }

    /// Forgets those that have been silent for longer than `silence_max_ms`.
    pub fn expire(&mut self, now_ms: i64, silence_max_ms: i64) {
        let oldest_ms = now_ms.saturating_sub(silence_max_ms);
        self.by_id.retain(|_, it| it.last_append_ms >= oldest_ms || it.open_from.is_some());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(epoch: i16, base_sequence: i32, count: i32, base_offset: i64) -> BatchHeader {
        BatchHeader {
            base_offset: Offset(base_offset),
            batch_length: 100,
            leader_epoch: 0,
            magic: 2,
            crc: 0,
            attributes: 0,
            last_offset_delta: count - 1,
            base_timestamp_ms: 0,
            max_timestamp_ms: 0,
            producer_id: 7,
            producer_epoch: epoch,
            base_sequence,
            record_count: count,
        }
    }

    /// Producer 7 in epoch 1 after six batches of ten: sequences 0..60 at offsets 100..160.
    fn after_six() -> Producers {
        let mut producers = Producers::new(BATCHES_REMEMBERED);
        for number in 0..6 {
            let header = batch(1, number * 10, 10, 100 + i64::from(number) * 10);
            assert_eq!(producers.check(&header, Start::Anywhere), Ok(Verdict::Append));
            producers.record(&header, 1000);
        }
        producers
    }

    fn out_of_order(got: i32, expected: i32) -> Result<Verdict, ProducerError> {
        Err(ProducerError::OutOfOrder { producer_id: 7, got, expected })
    }

    #[test]
    fn each_of_the_last_five_batches_is_answered_with_its_first_offsets() {
        let producers = after_six();
        for number in 1..6 {
            let Ok(Verdict::Duplicate(seen)) =
                producers.check(&batch(1, number * 10, 10, 0), Start::Anywhere)
            else {
                panic!("batch {number} is not known");
            };
            assert_eq!(seen.base_offset, Offset(100 + i64::from(number) * 10));
            assert_eq!(seen.last_offset, Offset(109 + i64::from(number) * 10));
        }
        assert_eq!(producers.check(&batch(1, 0, 10, 0), Start::Anywhere), out_of_order(0, 60));
    }

    #[test]
    fn only_the_very_same_sequences_are_a_repeat() {
        assert_eq!(after_six().check(&batch(1, 50, 9, 0), Start::Anywhere), out_of_order(50, 60));
        assert_eq!(after_six().check(&batch(1, 51, 9, 0), Start::Anywhere), out_of_order(51, 60));
    }

    #[test]
    fn the_next_sequence_may_follow_and_a_gap_may_not() {
        assert_eq!(after_six().check(&batch(1, 60, 1, 0), Start::Anywhere), Ok(Verdict::Append));
        assert_eq!(after_six().check(&batch(1, 61, 1, 0), Start::Anywhere), out_of_order(61, 60));
    }

    #[test]
    fn after_the_greatest_sequence_comes_zero() {
        let mut producers = Producers::new(BATCHES_REMEMBERED);
        producers.record(&batch(0, i32::MAX - 1, 2, 0), 0);
        assert_eq!(producers.check(&batch(0, 0, 1, 0), Start::Anywhere), Ok(Verdict::Append));
        assert_eq!(
            producers.check(&batch(0, i32::MIN, 1, 0), Start::Anywhere),
            out_of_order(i32::MIN, 0)
        );

        let mut producers = Producers::new(BATCHES_REMEMBERED);
        let across = batch(0, i32::MAX - 1, 5, 0);
        assert_eq!(across.last_sequence(), 2);
        producers.record(&across, 0);
        assert_eq!(producers.check(&batch(0, 3, 1, 0), Start::Anywhere), Ok(Verdict::Append));
        assert!(matches!(producers.check(&across, Start::Anywhere), Ok(Verdict::Duplicate(_))));
    }

    #[test]
    fn a_new_epoch_begins_at_zero_and_ends_the_old_one() {
        let mut producers = after_six();
        assert_eq!(producers.check(&batch(2, 60, 1, 0), Start::Anywhere), out_of_order(60, 0));
        let first = batch(2, 0, 10, 160);
        assert_eq!(producers.check(&first, Start::Anywhere), Ok(Verdict::Append));
        producers.record(&first, 0);
        let old = producers.check(&batch(1, 60, 1, 0), Start::Anywhere);
        assert_eq!(old, Err(ProducerError::OldEpoch { producer_id: 7, got: 1, known: 2 }));
        // What the old epoch wrote is no repeat in the new one.
        assert_eq!(producers.check(&batch(2, 50, 10, 0), Start::Anywhere), out_of_order(50, 10));
    }

    #[test]
    fn an_unknown_producer_may_begin_anywhere() {
        let mut producers = after_six();
        producers.expire(1000 + 500, 500);
        assert_eq!(producers.len(), 1);
        producers.expire(1000 + 501, 500);
        assert!(producers.is_empty());
        assert_eq!(producers.check(&batch(1, 4711, 3, 0), Start::Anywhere), Ok(Verdict::Append));
    }

    #[test]
    fn where_each_transaction_has_its_epoch_a_producer_begins_at_zero() {
        let empty = Producers::new(BATCHES_REMEMBERED);
        assert_eq!(empty.check(&batch(1, 3, 1, 0), Start::AtZero), out_of_order(3, 0));
        assert_eq!(empty.check(&batch(1, 0, 1, 0), Start::AtZero), Ok(Verdict::Append));
        let mut producers = after_six();
        assert_eq!(producers.check(&batch(1, 60, 1, 0), Start::AtZero), Ok(Verdict::Append));
        assert_eq!(producers.end(&batch(2, -1, 1, 160), (Marker::Commit, 0), 0), None);
        assert_eq!(producers.check(&batch(2, 60, 1, 0), Start::AtZero), out_of_order(60, 0));
        assert_eq!(producers.check(&batch(2, 0, 1, 0), Start::AtZero), Ok(Verdict::Append));
        let late = producers.check(&batch(1, 60, 1, 0), Start::AtZero);
        assert_eq!(late, Err(ProducerError::OldEpoch { producer_id: 7, got: 1, known: 2 }));
    }

    #[test]
    fn a_marker_of_an_older_producer_or_coordinator_is_refused() {
        let mut producers = after_six();
        assert_eq!(producers.check_marker(&batch(1, -1, 1, 0), -1), Ok(()));
        producers.end(&batch(2, -1, 1, 160), (Marker::Abort, 4), 0);
        let marker =
            |epoch, coordinator| producers.check_marker(&batch(epoch, -1, 1, 0), coordinator);
        let old = ProducerError::OldEpoch { producer_id: 7, got: 1, known: 2 };
        assert_eq!(marker(1, 9), Err(old));
        let old = ProducerError::OldCoordinator { producer_id: 7, got: 3, known: 4 };
        assert_eq!(marker(2, 3), Err(old));
        assert_eq!(marker(2, 4), Ok(()));
        assert_eq!(marker(9, 4), Ok(()));
    }

    #[test]
    fn a_flood_of_producers_makes_those_go_that_were_silent_the_longest() {
        let mut producers = Producers::new(BATCHES_REMEMBERED);
        let count = i64::try_from(PRODUCERS_MAX).unwrap();
        for id in 0..=count {
            // The greater the id, the longer ago.
            producers.record(&BatchHeader { producer_id: id, ..batch(0, 0, 1, 0) }, count - id);
        }
        assert_eq!(producers.len(), PRODUCERS_MAX - PRODUCERS_MAX / 8 + 1);
        let ids: Vec<i64> = producers.iter().map(|(id, _)| id).collect();
        assert_eq!((ids[0], ids[ids.len() - 1]), (0, count));
        assert_eq!(ids[ids.len() - 2], count * 7 / 8 - 1);
    }

    #[test]
    fn batches_without_a_producer_pass_unremembered() {
        let mut producers = Producers::new(BATCHES_REMEMBERED);
        let plain = BatchHeader { producer_id: -1, base_sequence: -1, ..batch(-1, 0, 1, 0) };
        assert_eq!(producers.check(&plain, Start::Anywhere), Ok(Verdict::Append));
        producers.record(&plain, 0);
        assert!(producers.is_empty());
    }
}
