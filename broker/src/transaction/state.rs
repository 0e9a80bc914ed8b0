//! PURE. One transactional id: its producer, its epoch, and the transaction that is open.
//!
//! ```text
//!           add                end                  markers are durable
//!   Empty -------> Ongoing ----------> Prepare{Commit,Abort} -------> Complete{Commit,Abort}
//!     ^               |  timeout, or a new producer: a newer epoch, PrepareAbort       |
//!     +-- init -------+----------------------------------------------------------------+
//! ```
//!
//! A newer epoch fences whoever wrote under an older one. How a transaction ends, and which epoch its
//! producer goes on with, is told in `ending`. Times are by the clock on the wall, as Kafka stores
//! them.

pub mod ending;

use std::collections::BTreeSet;

use kafka_protocol::error::ResponseError;
use weir_protocol::records::control::Marker;

use crate::transaction::state::ending::Fenced;

/// A partition of a topic.
pub type Place = (String, i32);

/// No producer.
pub const NO_ID: i64 = -1;
/// No epoch.
pub const NO_EPOCH: i16 = -1;
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

/// By which rules a transaction was ended: Kafka's `transaction.version`.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Version {
    /// The producer keeps its epoch (levels 0 and 1).
    One,
    /// Each end bumps the epoch, so that nothing late can land in the next one (level 2, KIP-890).
    Two,
}

/// A transactional id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transaction {
    /// The producer that writes under this id.
    pub producer_id: i64,
    /// The one before the last change of anything; [`NO_ID`] before the first.
    pub previous_id: i64,
    /// The one that takes over when the transaction has ended; [`NO_ID`] if its producer goes on.
    pub next_id: i64,
    /// Its epoch.
    pub epoch: i16,
    /// The epoch before, as far as who asks with it may have missed the answer that told of the
    /// newer one; else [`NO_EPOCH`]. As in Kafka it is not stored.
    pub last_epoch: i16,
    /// By which rules it was ended last.
    pub version: Version,
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

impl Transaction {
    /// An id that was never used.
    #[must_use]
    pub fn new(producer_id: i64, timeout_ms: i32, now_ms: i64) -> Transaction {
        Transaction {
            producer_id,
            previous_id: NO_ID,
            next_id: NO_ID,
            epoch: NO_EPOCH,
            last_epoch: NO_EPOCH,
            version: Version::One,
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
        let current = (self.producer_id, self.epoch);
        let claimed = claimed.filter(|_| self.epoch != NO_EPOCH);
        let has_missed_answer = claimed.is_some_and(|claimed| self.was_granted(claimed));
        if !has_missed_answer && claimed.is_some_and(|claimed| claimed != current) {
            return Err(ResponseError::ProducerFenced);
        }
        match self.state {
            State::Preparing(_) => return Err(ResponseError::ConcurrentTransactions),
            // It has written since, so it had its answer.
            State::Ongoing if has_missed_answer => return Err(ResponseError::ProducerFenced),
            State::Ongoing => {
                self.fence(now_ms, Fenced::BySuccessor);
                return Ok(Init::AbortFirst);
            }
            State::Empty | State::Complete(_) => {}
        }
        if !has_missed_answer {
            self.previous_id = self.producer_id;
            self.last_epoch = claimed.map_or(NO_EPOCH, |(_, epoch)| epoch);
            (self.producer_id, self.epoch) = match self.epoch {
                EPOCH_MAX.. => (fresh_id, 0),
                epoch => (self.producer_id, epoch + 1),
            };
        }
        self.timeout_ms = timeout_ms;
        self.state = State::Empty;
        self.partitions.clear();
        self.started_ms = -1;
        self.updated_ms = now_ms;
        Ok(Init::Ready(self.producer_id, self.epoch))
    }

    /// Whether whoever claims an older epoch was given the newer one, and may not know it.
    fn was_granted(&self, (id, epoch): (i64, i16)) -> bool {
        let is_its = id == self.producer_id || id == self.previous_id && epoch >= EPOCH_MAX;
        epoch != NO_EPOCH && epoch == self.last_epoch && is_its
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

    /// Whether all these partitions are part of the producer's open transaction.
    ///
    /// # Errors
    /// As [`Transaction::add`].
    pub fn holds(
        &self,
        producer_id: i64,
        epoch: i16,
        places: &[Place],
    ) -> Result<bool, ResponseError> {
        self.check_producer(producer_id, epoch)?;
        match self.state {
            State::Preparing(_) => Err(ResponseError::ConcurrentTransactions),
            State::Ongoing => Ok(places.iter().all(|place| self.partitions.contains(place))),
            State::Empty | State::Complete(_) => Ok(false),
        }
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
            self.previous_id = self.producer_id;
            self.updated_ms = now_ms;
        }
        Ok(has_changed)
    }

    /// Whether a producer may write to a partition now (KIP-890, part 1).
    ///
    /// # Errors
    /// As [`Transaction::check_producer`]; CONCURRENT_TRANSACTIONS while one ends,
    /// TRANSACTION_ABORTABLE when the partition is not part of an open one.
    pub fn check_write(
        &self,
        producer_id: i64,
        epoch: i16,
        place: &Place,
    ) -> Result<(), ResponseError> {
        self.check_producer(producer_id, epoch)?;
        match self.state {
            State::Preparing(_) => Err(ResponseError::ConcurrentTransactions),
            State::Ongoing if self.partitions.contains(place) => Ok(()),
            _ => Err(ResponseError::TransactionAbortable),
        }
    }

    /// Whether it has been open for too long.
    #[must_use]
    pub fn is_overdue(&self, now_ms: i64) -> bool {
        self.state == State::Ongoing
            && now_ms.saturating_sub(self.started_ms) >= i64::from(self.timeout_ms)
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
