//! How many bytes of requests there may be at once, over all connections (`queued.max.request.bytes`).
//!
//! Room is taken for a whole request when its length is known, before the rest of it is read, and
//! given back when it is answered. Who came first gets room first, so that large requests are not
//! overtaken for ever, and whoever has room can always go on to the end: nobody waits for another
//! one who waits.

use std::future::Future;
use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The room for requests.
#[derive(Debug)]
pub struct RequestMemory {
    bytes_max: usize,
    free: Option<Arc<Semaphore>>,
}

/// Room for one request; given back when dropped.
#[derive(Debug, Default)]
pub struct Room(#[expect(dead_code, reason = "it is held, not read")] Option<OwnedSemaphorePermit>);

impl RequestMemory {
    /// Room for so many bytes; a negative number: for any.
    pub fn new(bytes_max: i64) -> Self {
        let limit = usize::try_from(bytes_max).ok();
        let bytes_max = limit.map_or(0, |limit| limit.min(Semaphore::MAX_PERMITS));
        Self { bytes_max, free: limit.map(|_| Arc::new(Semaphore::new(bytes_max))) }
    }

    /// Room for a request of so many bytes, if it is there now.
    pub fn try_take(&self, bytes: usize) -> Option<Room> {
        let Some(free) = &self.free else { return Some(Room::default()) };
        let permit = free.clone().try_acquire_many_owned(self.permits(bytes)).ok()?;
        Some(Room(Some(permit)))
    }

    /// Waits for it.
    pub fn take(&self, bytes: usize) -> impl Future<Output = Room> + Send + 'static {
        let (free, permits) = (self.free.clone(), self.permits(bytes));
        async move {
            match free {
                // It is never closed.
                Some(free) => Room(free.acquire_many_owned(permits).await.ok()),
                None => Room::default(),
            }
        }
    }

    /// Bytes for which there is room now, and those that are taken; 0 and 0 without a limit.
    pub fn available_and_used(&self) -> (usize, usize) {
        let available = self.free.as_ref().map_or(0, |free| free.available_permits());
        (available, self.bytes_max - available)
    }

    /// A request larger than all room would wait for ever: it gets all of it.
    fn permits(&self, bytes: usize) -> u32 {
        u32::try_from(bytes.min(self.bytes_max)).unwrap_or(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use std::task::{Context, Poll, Waker};

    use super::*;

    #[test]
    fn who_came_first_gets_room_first_and_all_of_it_comes_back() {
        let memory = RequestMemory::new(100);
        let mut context = Context::from_waker(Waker::noop());
        let first = memory.try_take(70).expect("room");
        assert!(memory.try_take(40).is_none());
        let mut large = Box::pin(memory.take(60));
        assert!(large.as_mut().poll(&mut context).is_pending());
        assert!(memory.try_take(10).is_none(), "a small one overtakes a large one that waits");
        drop(first);
        let Poll::Ready(room) = large.as_mut().poll(&mut context) else { panic!("there is room") };
        assert_eq!(memory.available_and_used(), (40, 60));
        drop(room);
        assert_eq!(memory.available_and_used(), (100, 0));
        assert!(memory.try_take(1000).is_some(), "all of it for what is larger than all of it");
    }

    #[test]
    fn without_a_limit_there_is_always_room() {
        let memory = RequestMemory::new(-1);
        let _held = memory.try_take(usize::MAX).expect("room");
        assert!(memory.try_take(usize::MAX).is_some());
        assert_eq!(memory.available_and_used(), (0, 0));
    }
}
