//! What nobody asks for: transactions that a crash has left half ended are ended, those that are open
//! for too long are aborted, and ids that nobody uses are forgotten.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use weir_protocol::records::control::Marker;

use crate::catalog::names::TRANSACTION_STATE;
use crate::group::internal::append;
use crate::transaction::coordinator::{Entry, Transactions, lock};
use crate::transaction::records;
use crate::transaction::state::State;
use crate::transaction::state::ending::Fenced;

impl Transactions {
    /// Aborts what is open in a partition and no transactional id knows of. Before the first client
    /// comes: what one of them opens must not be taken for such. Blocks.
    pub(super) fn abort_strays(&self) {
        let mut known = HashMap::new();
        for (_, transaction) in self.list() {
            if matches!(transaction.state, State::Ongoing | State::Preparing(_)) {
                known.insert(transaction.producer_id, transaction.partitions);
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
                    // If this is lost, the next start does it again.
                    match self.append_marker(partition, (producer_id, epoch), Marker::Abort) {
                        Ok(_) => self.end_offsets(&place, producer_id, Marker::Abort),
                        Err(error) => tracing::error!(%error, "it stays open until the next start"),
                    }
                }
            }
        }
    }

    /// Notes what the last run was about to end. Before the first client comes: what one of them ends
    /// is on its way already, and a second marker could end the transaction after it.
    pub(super) fn note_half_ended(&self) {
        let is_half_ended =
            |entry: &Entry| matches!(lock(entry).transaction.state, State::Preparing(_));
        let half_ended = self.entries().into_iter().filter(|(_, entry)| is_half_ended(entry));
        *lock(&self.half_ended) = half_ended.collect();
    }

    /// Goes on with it.
    fn resume(self: &Arc<Self>) {
        let half_ended = std::mem::take(&mut *lock(&self.half_ended));
        for (id, entry) in half_ended {
            let mut held = lock(&entry);
            let again = held.transaction.clone();
            let stored = self.put(&id, &mut held, again);
            drop(held);
            match stored {
                Ok(decision) => drop(tokio::spawn(self.clone().finish(id, entry, decision))),
                Err(_) => tracing::error!(id, "its transaction stays open until the next start"),
            }
        }
    }

    /// Ends what was half ended; then aborts what is open for too long, and forgets ids that nobody
    /// has used for too long, until it is dropped.
    pub async fn run(self: Arc<Self>) {
        self.resume();
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
            let mut held = lock(&entry);
            if held.transaction.is_overdue(now_ms) {
                let timeout_ms = held.transaction.timeout_ms;
                tracing::warn!(id, timeout_ms, "aborted: open for too long");
                let mut fenced = held.transaction.clone();
                fenced.fence(now_ms, Fenced::ByTime);
                let stored = self.put(&id, &mut held, fenced);
                drop(held);
                if let Ok(decision) = stored {
                    tokio::spawn(self.clone().finish(id, entry, decision));
                }
            } else if held.transaction.is_expired(now_ms, silence_max_ms) {
                let tombstone = (records::encode_key(&id), None);
                let topic = self.catalog.topic(TRANSACTION_STATE);
                if topic.is_some_and(|it| append(&it, &id, &[tombstone], now_ms).is_ok()) {
                    lock(&self.by_id).remove(&id);
                }
            }
        }
    }
}
