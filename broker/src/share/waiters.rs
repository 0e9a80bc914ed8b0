//! Who waits for something to happen to a share-partition.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::Notify;

/// Waiters that are woken until they are dropped.
#[derive(Debug, Default)]
pub struct Waiters {
    list: Mutex<Vec<Weak<Notify>>>,
}

impl Waiters {
    /// Wakes `waiter` from now on. Those that were dropped make room.
    pub fn watch(&self, waiter: &Arc<Notify>) {
        let mut list = self.list.lock().unwrap_or_else(PoisonError::into_inner);
        list.retain(|known| known.strong_count() > 0);
        list.push(Arc::downgrade(waiter));
    }

    /// Wakes all of them.
    pub fn wake(&self) {
        let list = self.list.lock().unwrap_or_else(PoisonError::into_inner);
        for waiter in list.iter().filter_map(Weak::upgrade) {
            waiter.notify_one();
        }
    }
}
