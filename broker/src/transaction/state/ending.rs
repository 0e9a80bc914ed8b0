//! PURE. How a transaction ends: by its producer, by a newer one, or by time.
//!
//! ```text
//! version 1   (7, epoch 3) ends -> markers of epoch 3     -> goes on as (7, 3)
//! version 2   (7, epoch 3) ends -> markers of epoch 4     -> goes on as (7, 4)
//!             (7, last   ) ends -> markers of the one after -> goes on as (another id, 0)
//! fenced      (7, epoch 3) open -> aborted in epoch 4     -> whoever comes next is (7, 5)
//! ```
//!
//! - By version 2 an epoch sees one transaction: what comes late bears an epoch that is over. So a
//!   wish to end that bears the epoch before is a repeat, whose first answer was lost.
//! - By version 2 what was never begun can be aborted: the producer cannot know whether any of its
//!   batches has arrived. That bumps the epoch too.
//! - A transaction that time has ended counts as ended by its producer by version 2, which so goes
//!   on after an abort of its own; one that a successor has ended is not, and its producer is over.

use kafka_protocol::error::ResponseError;
use weir_protocol::records::control::Marker;

use super::{EPOCH_MAX, NO_EPOCH, NO_ID, State, Transaction, Version};

/// What comes of a wish to end.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// It has ended so before.
    Done,
    /// The decision is to be stored, then markers are to be written.
    Begin(Marker),
}

/// Who ends a transaction that its producer does not end.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Fenced {
    /// A newer producer of the same transactional id.
    BySuccessor,
    /// It was open for too long.
    ByTime,
}

impl Transaction {
    /// The producer wants to end its transaction. `fresh_id` takes over when its epochs are
    /// exhausted: see [`Transaction::is_exhausted`].
    ///
    /// # Errors
    /// As [`Transaction::check_producer`]; CONCURRENT_TRANSACTIONS while it ends so already,
    /// INVALID_TXN_STATE when there is nothing to end or it has ended in the other way.
    pub fn end(
        &mut self,
        now_ms: i64,
        producer: (i64, i16),
        marker: Marker,
        version: Version,
        fresh_id: Option<i64>,
    ) -> Result<End, ResponseError> {
        let end = match version {
            Version::One => self.end_keeping_epoch(producer, marker)?,
            Version::Two => self.end_bumping_epoch(producer, marker)?,
        };
        if end == End::Done {
            return Ok(end);
        }
        if version == Version::Two {
            self.next_id = match (self.is_exhausted(), fresh_id) {
                (false, _) => NO_ID,
                (true, Some(fresh_id)) => fresh_id,
                // Another request has used up the last epoch since the id was asked for.
                (true, None) => return Err(ResponseError::ConcurrentTransactions),
            };
            self.last_epoch = self.epoch;
            self.epoch = self.epoch.saturating_add(1);
        }
        if self.state != State::Ongoing {
            self.partitions.clear();
            self.started_ms = now_ms;
        }
        self.prepare(now_ms, marker, version);
        Ok(end)
    }

    /// What comes of it by version 1.
    fn end_keeping_epoch(
        &self,
        (id, epoch): (i64, i16),
        marker: Marker,
    ) -> Result<End, ResponseError> {
        self.check_producer(id, epoch)?;
        match self.state {
            State::Ongoing => Ok(End::Begin(marker)),
            State::Preparing(it) if it == marker => Err(ResponseError::ConcurrentTransactions),
            State::Complete(it) if it == marker => Ok(End::Done),
            State::Empty | State::Preparing(_) | State::Complete(_) => {
                Err(ResponseError::InvalidTxnState)
            }
        }
    }

    /// What comes of it by version 2.
    fn end_bumping_epoch(
        &self,
        (id, epoch): (i64, i16),
        marker: Marker,
    ) -> Result<End, ResponseError> {
        if self.has_ended((id, epoch)) {
            return match self.state {
                State::Preparing(it) if it == marker => Err(ResponseError::ConcurrentTransactions),
                State::Complete(it) if it == marker => Ok(End::Done),
                _ => Err(ResponseError::InvalidTxnState),
            };
        }
        self.check_producer(id, epoch)?;
        match self.state {
            State::Ongoing => Ok(End::Begin(marker)),
            State::Empty | State::Complete(_) if marker == Marker::Abort => Ok(End::Begin(marker)),
            State::Empty | State::Complete(_) => Err(ResponseError::InvalidTxnState),
            // Nobody was told of the epoch of a transaction that is ending.
            State::Preparing(_) => Err(ResponseError::ProducerFenced),
        }
    }

    /// Whether the transaction that ends or has ended was that producer's, by version 2: then its
    /// epoch is the one before.
    fn has_ended(&self, (id, epoch): (i64, i16)) -> bool {
        let is_over = matches!(self.state, State::Preparing(_) | State::Complete(_));
        let was_bumped = id == self.producer_id && epoch.checked_add(1) == Some(self.epoch);
        let was_replaced = id == self.previous_id
            && id != self.producer_id
            && (epoch, self.epoch) == (EPOCH_MAX, 0);
        is_over && self.version == Version::Two && epoch >= 0 && (was_bumped || was_replaced)
    }

    /// Whether the next end by version 2 takes another producer id.
    #[must_use]
    pub fn is_exhausted(&self) -> bool {
        self.epoch >= EPOCH_MAX
    }

    /// Ends an open transaction that its producer does not end: it is fenced by a newer epoch.
    pub fn fence(&mut self, now_ms: i64, fenced: Fenced) {
        assert_eq!(self.state, State::Ongoing, "only what is open can be given up");
        let version = match fenced {
            Fenced::ByTime if !self.is_exhausted() => Version::Two,
            Fenced::ByTime | Fenced::BySuccessor => Version::One,
        };
        self.next_id = NO_ID;
        self.last_epoch = NO_EPOCH;
        self.epoch = self.epoch.saturating_add(1);
        self.prepare(now_ms, Marker::Abort, version);
    }

    fn prepare(&mut self, now_ms: i64, marker: Marker, version: Version) {
        self.previous_id = self.producer_id;
        self.version = version;
        self.state = State::Preparing(marker);
        self.updated_ms = now_ms;
    }

    /// All markers are durable.
    pub fn complete(&mut self, now_ms: i64) {
        let State::Preparing(marker) = self.state else { return };
        self.previous_id = self.producer_id;
        if self.next_id != NO_ID {
            (self.producer_id, self.epoch) = (self.next_id, 0);
            self.next_id = NO_ID;
        }
        self.state = State::Complete(marker);
        self.partitions.clear();
        self.started_ms = -1;
        self.updated_ms = now_ms;
    }
}
