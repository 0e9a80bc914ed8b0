//! The coordinator of all transactions.
//!
//! Each transactional id has a lock of its own. Under it a transaction changes, what is decided is
//! appended to `__transaction_state`, and a producer's batch is appended to its partition: so no
//! batch comes behind the marker of the transaction that it belongs to. A decision is durable
//! before a marker is written, and all markers are before the transaction counts as complete; a
//! task of its own does that, whoever goes away meanwhile.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kafka_protocol::error::ResponseError;
use weir_protocol::records::batch::RecordBatch;
use weir_protocol::records::control::{Marker, marker_batch};

use crate::catalog::error::CatalogError;
use crate::catalog::names::{CONSUMER_OFFSETS, TRANSACTION_STATE};
use crate::catalog::{Catalog, Topic};
use crate::clock::Clock;
use crate::config::Config;
use crate::group::internal::{Appending, Replayed, append, replay};
use crate::group::offsets::Offsets;
use crate::log::error::{LogError, ReadError};
use crate::partition::Partition;
use crate::producer_ids::ProducerIds;
use crate::transaction::records;
use crate::transaction::state::{End, Init, Place, State, Transaction};

/// How long is waited before a marker is tried again that a partition did not take.
const RETRY: Duration = Duration::from_millis(100);

/// All transactional ids.
#[derive(Debug)]
pub struct Transactions {
    by_id: Mutex<HashMap<String, Arc<Mutex<Transaction>>>>,
    config: Arc<Config>,
    catalog: Arc<Catalog>,
    offsets: Arc<Offsets>,
    producer_ids: Arc<ProducerIds>,
    clock: Arc<dyn Clock>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Transactions {
    /// Reads the internal topic back. What was being ended is ended by [`Transactions::resume`].
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
                    by_id.insert(id, Arc::new(Mutex::new(transaction)));
                }
                Some(None) => tracing::warn!(id, "a transactional id cannot be read back"),
                None => drop(by_id.remove(&id)),
            }
        })?;
        Ok(Transactions { by_id: Mutex::new(by_id), config, catalog, offsets, producer_ids, clock })
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
        let all = self.clone();
        let prepared = tokio::task::spawn_blocking(move || all.prepare()).await;
        let fresh_id = prepared.map_err(|_| ResponseError::CoordinatorNotAvailable)??;
        let entry = self.entry_for(id, fresh_id, timeout_ms)?;
        let (init, appending) = {
            let mut transaction = lock(&entry);
            let now_ms = self.clock.now_ms();
            let init = transaction.init(now_ms, timeout_ms, claimed, fresh_id)?;
            (init, self.store(id, &transaction)?)
        };
        match init {
            Init::Ready(producer_id, epoch) => {
                durable(&appending).await?;
                Ok((producer_id, epoch))
            }
            Init::AbortFirst => {
                tokio::spawn(self.clone().finish(id.to_owned(), entry, appending));
                Err(ResponseError::ConcurrentTransactions)
            }
        }
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
        let segment_bytes = self.config.transaction_state_log_segment_bytes.to_string();
        let overrides = [
            ("cleanup.policy", "compact".to_owned()),
            ("retention.ms", "-1".to_owned()),
            ("retention.bytes", "-1".to_owned()),
            ("segment.bytes", segment_bytes),
        ];
        let overrides = overrides.into_iter().map(|(name, value)| (name.to_owned(), value));
        let count = self.config.transaction_state_log_num_partitions;
        self.catalog.internal(TRANSACTION_STATE, count, overrides.collect())
    }

    fn entry_for(
        &self,
        id: &str,
        fresh_id: i64,
        timeout_ms: i32,
    ) -> Result<Arc<Mutex<Transaction>>, ResponseError> {
        let mut by_id = lock(&self.by_id);
        if let Some(entry) = by_id.get(id) {
            return Ok(entry.clone());
        }
        let ids_max = usize::try_from(self.config.transactional_id_max_count).unwrap_or(1);
        if by_id.len() >= ids_max {
            tracing::warn!(id, ids_max, "transactional.id.max.count is reached");
            return Err(ResponseError::PolicyViolation);
        }
        let transaction = Transaction::new(fresh_id, timeout_ms, self.clock.now_ms());
        let entry = Arc::new(Mutex::new(transaction));
        by_id.insert(id.to_owned(), entry.clone());
        Ok(entry)
    }

    fn entry(&self, id: &str) -> Result<Arc<Mutex<Transaction>>, ResponseError> {
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
        let entry = self.entry(id)?;
        let appending = {
            let mut transaction = lock(&entry);
            let places_max = usize::try_from(self.config.transaction_max_partitions).unwrap_or(1);
            if transaction.partitions.len() + places.len() > places_max {
                return Err(ResponseError::PolicyViolation);
            }
            let now_ms = self.clock.now_ms();
            if !transaction.add(now_ms, producer.0, producer.1, places)? {
                return Ok(());
            }
            self.store(id, &transaction)?
        };
        durable(&appending).await
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
        let transaction = lock(&entry);
        transaction.check_write(producer.0, producer.1, place)?;
        Ok(act())
    }

    /// Ends a producer's transaction. Answered when all of it can be seen by readers.
    ///
    /// # Errors
    /// The code for the client.
    pub async fn end(
        self: &Arc<Self>,
        id: &str,
        producer: (i64, i16),
        marker: Marker,
    ) -> Result<(), ResponseError> {
        let entry = self.entry(id)?;
        let appending = {
            let mut transaction = lock(&entry);
            let now_ms = self.clock.now_ms();
            match transaction.end(now_ms, producer.0, producer.1, marker)? {
                End::Done => return Ok(()),
                End::Begin(_) => self.store(id, &transaction)?,
            }
        };
        let finished = tokio::spawn(self.clone().finish(id.to_owned(), entry, appending)).await;
        finished.map_err(|_| ResponseError::CoordinatorNotAvailable)?
    }

    /// Writes the markers of a decision once it is durable, and completes the transaction.
    async fn finish(
        self: Arc<Self>,
        id: String,
        entry: Arc<Mutex<Transaction>>,
        decision: Appending,
    ) -> Result<(), ResponseError> {
        durable(&decision).await?;
        let decided = lock(&entry).clone();
        let State::Preparing(marker) = decided.state else { return Ok(()) };
        let producer = (decided.producer_id, decided.epoch);
        self.write_markers(producer, marker, decided.partitions).await?;
        let mut transaction = lock(&entry);
        transaction.complete(self.clock.now_ms());
        // If this is lost the markers are written once more, which changes nothing.
        self.store(&id, &transaction).map(drop)
    }

    async fn write_markers(
        &self,
        producer: (i64, i16),
        marker: Marker,
        mut left: BTreeSet<Place>,
    ) -> Result<(), ResponseError> {
        loop {
            // A topic that is gone needs no marker.
            left.retain(|place| self.partition(place).is_some());
            let mut appended = Vec::new();
            for place in &left {
                let Some(partition) = self.partition(place) else { continue };
                match append_marker(&partition, producer, marker, self.clock.now_ms()) {
                    Ok(next_offset) => appended.push((place.clone(), partition, next_offset)),
                    Err(error) => {
                        let (topic, partition) = place;
                        tracing::warn!(topic, partition, %error, "a marker is tried again");
                    }
                }
            }
            for (place, partition, next_offset) in appended {
                let durable = partition.durable(next_offset).await;
                if durable.is_err() && self.partition(&place).is_some() {
                    // The log directory is offline for good; the next start goes on.
                    return Err(ResponseError::CoordinatorNotAvailable);
                }
                if place.0 == CONSUMER_OFFSETS {
                    self.offsets.end_transaction(place.1, producer.0, marker);
                }
                left.remove(&place);
            }
            if left.is_empty() {
                return Ok(());
            }
            tokio::time::sleep(RETRY).await;
        }
    }

    fn partition(&self, (topic, index): &Place) -> Option<Arc<Partition>> {
        self.catalog.topic(topic)?.partition(*index).cloned()
    }

    fn store(&self, id: &str, transaction: &Transaction) -> Result<Appending, ResponseError> {
        let topic = self.catalog.topic(TRANSACTION_STATE);
        let topic = topic.ok_or(ResponseError::CoordinatorNotAvailable)?;
        let record = (records::encode_key(id), Some(records::encode(transaction)));
        append(&topic, id, &[record], self.clock.now_ms()).map_err(|error| {
            tracing::error!(id, %error, "a transaction cannot be stored");
            ResponseError::CoordinatorNotAvailable
        })
    }

    /// Goes on with what the last run was about to end, and aborts what no coordinator knows.
    pub async fn resume(self: &Arc<Self>) {
        let mut known = HashMap::new();
        for (id, entry) in self.entries() {
            let transaction = lock(&entry).clone();
            if matches!(transaction.state, State::Ongoing | State::Preparing(_)) {
                known.insert(transaction.producer_id, transaction.partitions.clone());
            }
            if matches!(transaction.state, State::Preparing(_)) {
                let again = self.store(&id, &transaction);
                match again {
                    Ok(decision) => {
                        tokio::spawn(self.clone().finish(id, entry, decision));
                    }
                    Err(_) => {
                        tracing::error!(id, "its transaction stays open until the next start")
                    }
                }
            }
        }
        for topic in self.catalog.topics().iter() {
            for (index, partition) in (0..).zip(&topic.partitions) {
                let place = (topic.name.to_string(), index);
                for (producer_id, epoch, first) in partition.open_transactions() {
                    if known.get(&producer_id).is_some_and(|places| places.contains(&place)) {
                        continue;
                    }
                    tracing::warn!(
                        topic = place.0,
                        partition = index,
                        producer_id,
                        offset = first.0,
                        "aborted a transaction that no transactional id knows"
                    );
                    let places = BTreeSet::from([place.clone()]);
                    let producer = (producer_id, epoch);
                    // Offline: the next start tries again.
                    let _ = self.write_markers(producer, Marker::Abort, places).await;
                }
            }
        }
    }

    /// Aborts what is open for too long, and forgets ids that nobody has used for too long; runs
    /// until it is dropped.
    pub async fn run(self: Arc<Self>) {
        self.resume().await;
        let interval_ms = self.config.transaction_abort_timed_out_transaction_cleanup_interval_ms;
        let interval = Duration::from_millis(u64::try_from(interval_ms).unwrap_or(1));
        loop {
            tokio::time::sleep(interval).await;
            self.sweep();
        }
    }

    fn sweep(self: &Arc<Self>) {
        let now_ms = self.clock.now_ms();
        let silence_max_ms = i64::from(self.config.transactional_id_expiration_ms);
        for (id, entry) in self.entries() {
            let mut transaction = lock(&entry);
            if transaction.is_overdue(now_ms) {
                tracing::warn!(
                    id,
                    timeout_ms = transaction.timeout_ms,
                    "aborted: open for too long"
                );
                transaction.fence(now_ms);
                let stored = self.store(&id, &transaction);
                drop(transaction);
                if let Ok(decision) = stored {
                    tokio::spawn(self.clone().finish(id, entry, decision));
                }
            } else if transaction.is_expired(now_ms, silence_max_ms) {
                let tombstone = (records::encode_key(&id), None);
                let topic = self.catalog.topic(TRANSACTION_STATE);
                if topic.is_some_and(|it| append(&it, &id, &[tombstone], now_ms).is_ok()) {
                    lock(&self.by_id).remove(&id);
                }
            }
        }
    }

    /// All transactional ids as they are now.
    #[must_use]
    pub fn list(&self) -> Vec<(String, Transaction)> {
        let entries = self.entries().into_iter();
        entries.map(|(id, entry)| (id, lock(&entry).clone())).collect()
    }

    fn entries(&self) -> Vec<(String, Arc<Mutex<Transaction>>)> {
        lock(&self.by_id).iter().map(|(id, entry)| (id.clone(), entry.clone())).collect()
    }

    /// One transactional id as it is now.
    #[must_use]
    pub fn view(&self, id: &str) -> Option<Transaction> {
        let entry = lock(&self.by_id).get(id)?.clone();
        let transaction = lock(&entry).clone();
        Some(transaction)
    }
}

fn append_marker(
    partition: &Partition,
    (producer_id, epoch): (i64, i16),
    marker: Marker,
    now_ms: i64,
) -> Result<weir_protocol::records::Offset, crate::log::error::AppendError> {
    let batch = marker_batch(producer_id, epoch, marker, now_ms);
    let batch = RecordBatch::parse(batch).expect("the builder makes whole batches");
    Ok(partition.append_internal(&batch)?.last_offset.next())
}

async fn durable(appending: &Appending) -> Result<(), ResponseError> {
    let durable = appending.partition.durable(appending.next_offset).await;
    durable.map_err(|_| ResponseError::CoordinatorNotAvailable)
}
