//! PURE. One transactional id: its producer, its epoch, and the transaction that is open.
//!
//! ```text
//!           add                end                  markers are durable
//!   Empty -------> Ongoing ----------> Prepare{Commit,Abort} -------> Complete{Commit,Abort}
//!     ^               |  timeout, or a new producer: a newer epoch, PrepareAbort       |
//!     +-- init -------+----------------------------------------------------------------+
//! ```
//!
//! A newer epoch fences whoever wrote under an older one. Times are by the clock on the wall, as
//! Kafka stores them.

use std::collections::BTreeSet;

use kafka_protocol::error::ResponseError;
use weir_protocol::records::control::Marker;

/// A partition of a topic.
pub type Place = (String, i32);

/// The greatest epoch that a producer gets; after it comes another producer id.
const EPOCH_MAX: i16 = i16::MAX - 1;

/// Where a transaction stands.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// None was begun since the producer came.
    Empty,
    /// Open.
    Ongoing,
    /// It ends: the decision stands, markers are being written.
    Preparing(Marker),
    /// It has ended.
    Complete(Marker),
}

impl State {
    /// As Kafka spells it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            State::Empty => "Empty",
            State::Ongoing => "Ongoing",
            State::Preparing(Marker::Commit) => "PrepareCommit",
            State::Preparing(Marker::Abort) => "PrepareAbort",
            State::Complete(Marker::Commit) => "CompleteCommit",
            State::Complete(Marker::Abort) => "CompleteAbort",
        }
    }
}

/// A transactional id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transaction {
    /// The producer that writes under this id.
    pub producer_id: i64,
    /// Its epoch.
    pub epoch: i16,
    /// How long a transaction may be open.
    pub timeout_ms: i32,
    /// Where it stands.
    pub state: State,
    /// The partitions that it has written to.
    pub partitions: BTreeSet<Place>,
    /// When the open transaction began; -1: none is open.
    pub started_ms: i64,
    /// When anything changed last.
    pub updated_ms: i64,
}

/// What comes of a producer that begins.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Init {
    /// It may write under this id and epoch.
    Ready(i64, i16),
    /// The transaction of its predecessor has to be aborted first; then it may ask again.
    AbortFirst,
}

/// What comes of a wish to end.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// It has ended so before.
    Done,
    /// The decision is to be stored, then markers are to be written.
    Begin(Marker),
}

impl Transaction {
    /// An id that was never used.
    #[must_use]
    pub fn new(producer_id: i64, timeout_ms: i32, now_ms: i64) -> Transaction {
        Transaction {
            producer_id,
            epoch: -1,
            timeout_ms,
            state: State::Empty,
            partitions: BTreeSet::new(),
            started_ms: -1,
            updated_ms: now_ms,
        }
    }

    /// A producer begins. `claimed` is what it takes for its id and epoch, if it wants to go on
    /// (KIP-360): of an id that was never used there is nothing to claim, and as in Kafka it is not
    /// looked at. `fresh_id` is used when epochs are exhausted.
    ///
    /// # Errors
    /// PRODUCER_FENCED when it claims what is not so; CONCURRENT_TRANSACTIONS while one ends.
    pub fn init(
        &mut self,
        now_ms: i64,
        timeout_ms: i32,
        claimed: Option<(i64, i16)>,
        fresh_id: i64,
    ) -> Result<Init, ResponseError> {
        let is_used = self.epoch >= 0;
        if is_used && claimed.is_some_and(|claimed| claimed != (self.producer_id, self.epoch)) {
            return Err(ResponseError::ProducerFenced);
        }
        match self.state {
            State::Preparing(_) => Err(ResponseError::ConcurrentTransactions),
            State::Ongoing => {
                self.fence(now_ms);
                Ok(Init::AbortFirst)
            }
            State::Empty | State::Complete(_) => {
                if self.epoch >= EPOCH_MAX {
                    self.producer_id = fresh_id;
                    self.epoch = 0;
                } else {
                    self.epoch += 1;
                }
                self.timeout_ms = timeout_ms;
                self.state = State::Empty;
                self.partitions.clear();
                self.started_ms = -1;
                self.updated_ms = now_ms;
                Ok(Init::Ready(self.producer_id, self.epoch))
            }
        }
    }

    /// Whether that is the producer of today.
    ///
    /// # Errors
    /// INVALID_PRODUCER_ID_MAPPING for another producer, PRODUCER_FENCED for another epoch.
    pub fn check_producer(&self, producer_id: i64, epoch: i16) -> Result<(), ResponseError> {
        if producer_id != self.producer_id {
            return Err(ResponseError::InvalidProducerIdMapping);
        }
        if epoch != self.epoch {
            return Err(ResponseError::ProducerFenced);
        }
        Ok(())
    }

    /// Adds partitions, and opens the transaction. Whether anything has changed.
    ///
    /// # Errors
    /// As [`Transaction::check_producer`]; CONCURRENT_TRANSACTIONS while one ends.
    pub fn add(
        &mut self,
        now_ms: i64,
        producer_id: i64,
        epoch: i16,
        partitions: impl IntoIterator<Item = Place>,
    ) -> Result<bool, ResponseError> {
        self.check_producer(producer_id, epoch)?;
        if matches!(self.state, State::Preparing(_)) {
            return Err(ResponseError::ConcurrentTransactions);
        }
        let is_new = self.state != State::Ongoing;
        if is_new {
            self.partitions.clear();
        }
        let before = self.partitions.len();
        self.partitions.extend(partitions);
        let has_changed = is_new || self.partitions.len() > before;
        if is_new {
            self.state = State::Ongoing;
            self.started_ms = now_ms;
        }
        if has_changed {
            self.updated_ms = now_ms;
        }
        Ok(has_changed)
    }

    /// Whether a producer may write to a partition now (KIP-890, part 1).
    ///
    /// # Errors
    /// As [`Transaction::check_producer`]; INVALID_TXN_STATE when the partition is not part of an
    /// open transaction.
    pub fn check_write(
        &self,
        producer_id: i64,
        epoch: i16,
        place: &Place,
    ) -> Result<(), ResponseError> {
        self.check_producer(producer_id, epoch)?;
        if self.state == State::Ongoing && self.partitions.contains(place) {
            Ok(())
        } else {
            Err(ResponseError::InvalidTxnState)
        }
    }

    /// The producer wants to end its transaction.
    ///
    /// # Errors
    /// As [`Transaction::check_producer`]; CONCURRENT_TRANSACTIONS while it ends so already,
    /// INVALID_TXN_STATE when none is open or it has ended in the other way.
    pub fn end(
        &mut self,
        now_ms: i64,
        producer_id: i64,
        epoch: i16,
        marker: Marker,
    ) -> Result<End, ResponseError> {
        self.check_producer(producer_id, epoch)?;
        match self.state {
            State::Ongoing => {
                self.state = State::Preparing(marker);
                self.updated_ms = now_ms;
                Ok(End::Begin(marker))
            }
            State::Preparing(it) if it == marker => Err(ResponseError::ConcurrentTransactions),
            State::Complete(it) if it == marker => Ok(End::Done),
            State::Empty | State::Preparing(_) | State::Complete(_) => {
                Err(ResponseError::InvalidTxnState)
            }
        }
    }

    /// Ends an open transaction that nobody ends: its producer is fenced by a newer epoch.
    pub fn fence(&mut self, now_ms: i64) {
        assert_eq!(self.state, State::Ongoing, "only what is open can be given up");
        self.epoch = self.epoch.saturating_add(1);
        self.state = State::Preparing(Marker::Abort);
        self.updated_ms = now_ms;
    }

    /// Whether it has been open for too long.
    #[must_use]
    pub fn is_overdue(&self, now_ms: i64) -> bool {
        self.state == State::Ongoing
            && now_ms.saturating_sub(self.started_ms) >= i64::from(self.timeout_ms)
    }

    /// All markers are durable.
    pub fn complete(&mut self, now_ms: i64) {
        if let State::Preparing(marker) = self.state {
            self.state = State::Complete(marker);
            self.partitions.clear();
            self.started_ms = -1;
            self.updated_ms = now_ms;
        }
    }

    /// Whether nobody has used it for so long that it may be forgotten.
    #[must_use]
    pub fn is_expired(&self, now_ms: i64, silence_max_ms: i64) -> bool {
        matches!(self.state, State::Empty | State::Complete(_))
            && now_ms.saturating_sub(self.updated_ms) >= silence_max_ms
    }
}

#[cfg(test)]
mod tests;
