//! The coordinator of all transactions.
//!
//! Each transactional id has a lock of its own. Under it a transaction changes, what is decided is
//! appended to `__transaction_state`, and a producer's batch is appended to its partition: so no
//! batch comes behind the marker of the transaction that it belongs to. What cannot be stored has
//! not happened. That a partition is part of a transaction is durable before anything is written to
//! it: what is open in a partition is known to its coordinator, whenever the power goes. A decision
//! is durable before a marker is written, and all markers are before the transaction counts as
//! complete; a task of its own does that, whoever goes away meanwhile (`markers`, `upkeep`).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kafka_protocol::error::ResponseError;
use weir_protocol::records::control::Marker;

use crate::catalog::error::CatalogError;
use crate::catalog::names::TRANSACTION_STATE;
use crate::catalog::{Catalog, Topic};
use crate::clock::Clock;
use crate::config::Config;
use crate::group::internal::{Appending, Replayed, append, replay};
use crate::group::offsets::Offsets;
use crate::log::error::{LogError, ReadError};
use crate::producer_ids::ProducerIds;
use crate::transaction::records;
use crate::transaction::state::ending::End;
use crate::transaction::state::{Init, Place, Transaction, Version};

/// All transactional ids.
#[derive(Debug)]
pub struct Transactions {
    pub(super) by_id: Mutex<HashMap<String, Entry>>,
    /// What the last run has left half ended. Nobody else ends these: who asks for it is told to wait.
    pub(super) half_ended: Mutex<Vec<(String, Entry)>>,
    pub(super) config: Arc<Config>,
    pub(super) catalog: Arc<Catalog>,
    pub(super) offsets: Arc<Offsets>,
    producer_ids: Arc<ProducerIds>,
    pub(super) clock: Arc<dyn Clock>,
}

/// A transactional id, and its lock.
pub(super) type Entry = Arc<Mutex<Held>>;

/// A transactional id as it is now.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) transaction: Transaction,
    /// Where it was stored last in this run.
    stored: Option<Appending>,
}

impl Held {
    fn new(transaction: Transaction) -> Entry {
        Arc::new(Mutex::new(Held { transaction, stored: None }))
    }

    /// What is stored of it and not durable yet.
    fn undurable(&self) -> Option<Appending> {
        let is_pending = |it: &&Appending| it.partition.ends().high_watermark < it.next_offset;
        self.stored.as_ref().filter(is_pending).cloned()
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Transactions {
    /// Reads the internal topic back. What was being ended is ended by [`Transactions::run`].
    ///
    /// # Errors
    /// When the disk cannot be read.
    pub fn open(
        config: Arc<Config>,
        catalog: Arc<Catalog>,
        offsets: Arc<Offsets>,
        producer_ids: Arc<ProducerIds>,
        clock: Arc<dyn Clock>,
    ) -> Result<Transactions, ReadError> {
        let mut by_id = HashMap::new();
        replay(&catalog, TRANSACTION_STATE, &mut |_, replayed| {
            let Replayed::Record(record, _) = replayed else { return };
            let Some(id) = record.key.as_deref().and_then(records::decode_key) else { return };
            match record.value.as_deref().map(records::decode) {
                Some(Some(transaction)) => {
                    by_id.insert(id, Held::new(transaction));
                }
                Some(None) => tracing::warn!(id, "a transactional id cannot be read back"),
                None => drop(by_id.remove(&id)),
            }
        })?;
        let by_id = Mutex::new(by_id);
        let half_ended = Mutex::new(Vec::new());
        let all = Transactions { by_id, half_ended, config, catalog, offsets, producer_ids, clock };
        all.note_half_ended();
        all.abort_strays();
        Ok(all)
    }

    /// A producer begins under a transactional id: its producer id and epoch. May make the internal
    /// topic and sync the disk; what it left open before is aborted.
    ///
    /// # Errors
    /// The code for the client.
    pub async fn init(
        self: &Arc<Self>,
        id: &str,
        timeout_ms: i32,
        claimed: Option<(i64, i16)>,
    ) -> Result<(i64, i16), ResponseError> {
        let fresh_id = self.fresh_id().await?;
        let entry = self.entry_for(id, fresh_id, timeout_ms)?;
        let (init, appending) = {
            let mut held = lock(&entry);
            let mut changed = held.transaction.clone();
            let init = changed.init(self.clock.now_ms(), timeout_ms, claimed, fresh_id)?;
            (init, self.put(id, &mut held, changed)?)
        };
        match init {
            Init::Ready(producer_id, epoch) => {
                appending.durable().await?;
                Ok((producer_id, epoch))
            }
            Init::AbortFirst => {
                tokio::spawn(self.clone().finish(id.to_owned(), entry, appending));
                Err(ResponseError::ConcurrentTransactions)
            }
        }
    }

    /// A producer id that nobody ever had. May make the internal topic and sync the disk.
    async fn fresh_id(self: &Arc<Self>) -> Result<i64, ResponseError> {
        let all = self.clone();
        let prepared = tokio::task::spawn_blocking(move || all.prepare()).await;
        prepared.map_err(|_| ResponseError::CoordinatorNotAvailable)?
    }

    /// The internal topic is there, and an id is at hand. Blocks.
    fn prepare(&self) -> Result<i64, ResponseError> {
        let unavailable = |error: &dyn std::fmt::Display| {
            tracing::error!(%error, "no transaction can be begun");
            ResponseError::CoordinatorNotAvailable
        };
        self.topic().map_err(|error: CatalogError| unavailable(&error))?;
        self.producer_ids.next().map_err(|error: LogError| unavailable(&error))
    }

    fn topic(&self) -> Result<Arc<Topic>, CatalogError> {
        let count = self.config.transaction_state_log_num_partitions;
        let segment_bytes = self.config.transaction_state_log_segment_bytes;
        self.catalog.internal(TRANSACTION_STATE, count, segment_bytes)
    }

    fn entry_for(&self, id: &str, fresh_id: i64, timeout_ms: i32) -> Result<Entry, ResponseError> {
        let mut by_id = lock(&self.by_id);
        if let Some(entry) = by_id.get(id) {
            return Ok(entry.clone());
        }
        let ids_max = usize::try_from(self.config.transactional_id_max_count).unwrap_or(1);
        if by_id.len() >= ids_max {
            tracing::warn!(id, ids_max, "transactional.id.max.count is reached");
            return Err(ResponseError::PolicyViolation);
        }
        let entry = Held::new(Transaction::new(fresh_id, timeout_ms, self.clock.now_ms()));
        by_id.insert(id.to_owned(), entry.clone());
        Ok(entry)
    }

    fn entry(&self, id: &str) -> Result<Entry, ResponseError> {
        let found = lock(&self.by_id).get(id).cloned();
        found.ok_or(ResponseError::InvalidProducerIdMapping)
    }

    /// Adds partitions to a producer's transaction, durably.
    ///
    /// # Errors
    /// The code for the client.
    pub async fn add(
        &self,
        id: &str,
        producer: (i64, i16),
        places: Vec<Place>,
    ) -> Result<(), ResponseError> {
        match self.join(id, producer, places)? {
            Some(appending) => appending.durable().await,
            None => Ok(()),
        }
    }

    /// Adds partitions to a producer's transaction. What has to become durable before anything is
    /// written to them, if it is not yet.
    ///
    /// # Errors
    /// The code for the client.
    pub fn join(
        &self,
        id: &str,
        producer: (i64, i16),
        places: Vec<Place>,
    ) -> Result<Option<Appending>, ResponseError> {
        let entry = self.entry(id)?;
        let mut held = lock(&entry);
        if !held.transaction.holds(producer.0, producer.1, &places)? {
            let mut changed = held.transaction.clone();
            changed.add(self.clock.now_ms(), producer.0, producer.1, places)?;
            let places_max = usize::try_from(self.config.transaction_max_partitions).unwrap_or(1);
            if changed.partitions.len() > places_max {
                return Err(ResponseError::PolicyViolation);
            }
            self.put(id, &mut held, changed)?;
        }
        Ok(held.undurable())
    }

    /// Does something that belongs to a transaction, while the transaction is held open.
    ///
    /// # Errors
    /// The code for the client when the place is not part of the producer's open transaction.
    pub fn within<R>(
        &self,
        id: &str,
        producer: (i64, i16),
        place: &Place,
        act: impl FnOnce() -> R,
    ) -> Result<R, ResponseError> {
        let entry = self.entry(id)?;
        let held = lock(&entry);
        held.transaction.check_write(producer.0, producer.1, place)?;
        Ok(act())
    }

    /// Ends a producer's transaction. Answered when all of it can be seen by readers, with the id
    /// and the epoch that the producer goes on with.
    ///
    /// # Errors
    /// The code for the client.
    pub async fn end(
        self: &Arc<Self>,
        id: &str,
        producer: (i64, i16),
        marker: Marker,
        version: Version,
    ) -> Result<(i64, i16), ResponseError> {
        let entry = self.entry(id)?;
        let is_exhausted = version == Version::Two && lock(&entry).transaction.is_exhausted();
        let fresh_id = if is_exhausted { Some(self.fresh_id().await?) } else { None };
        let decision = {
            let mut held = lock(&entry);
            let mut changed = held.transaction.clone();
            match changed.end(self.clock.now_ms(), producer, marker, version, fresh_id)? {
                End::Done => return Ok((changed.producer_id, changed.epoch)),
                End::Begin(_) => self.put(id, &mut held, changed)?,
            }
        };
        let finished = tokio::spawn(self.clone().finish(id.to_owned(), entry, decision)).await;
        finished.map_err(|_| ResponseError::CoordinatorNotAvailable)?
    }

    /// Stores what was decided of an id; if that fails, it was not decided.
    pub(super) fn put(
        &self,
        id: &str,
        held: &mut Held,
        changed: Transaction,
    ) -> Result<Appending, ResponseError> {
        let topic = self.catalog.topic(TRANSACTION_STATE);
        let topic = topic.ok_or(ResponseError::CoordinatorNotAvailable)?;
        let record = (records::encode_key(id), Some(records::encode(&changed)));
        let appended = append(&topic, id, &[record], self.clock.now_ms()).map_err(|error| {
            tracing::error!(id, %error, "a transaction cannot be stored");
            ResponseError::CoordinatorNotAvailable
        })?;
        held.transaction = changed;
        held.stored = Some(appended.clone());
        Ok(appended)
    }

    /// All transactional ids as they are now.
    #[must_use]
    pub fn list(&self) -> Vec<(String, Transaction)> {
        let entries = self.entries().into_iter();
        entries.map(|(id, entry)| (id, lock(&entry).transaction.clone())).collect()
    }

    pub(super) fn entries(&self) -> Vec<(String, Entry)> {
        lock(&self.by_id).iter().map(|(id, entry)| (id.clone(), entry.clone())).collect()
    }

    /// One transactional id as it is now.
    #[must_use]
    pub fn view(&self, id: &str) -> Option<Transaction> {
        let entry = lock(&self.by_id).get(id)?.clone();
        let transaction = lock(&entry).transaction.clone();
        Some(transaction)
    }
}
