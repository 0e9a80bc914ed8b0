//! Whether the next request of a connection may be read: there must be room for it.
//!
//! A small request on a connection that has nothing else under way needs none, so that heartbeats,
//! fetches and metadata go on while large requests wait for room.

use std::pin::Pin;
use std::sync::Arc;

use crate::request_memory::{RequestMemory, Room};

/// A request of up to so many bytes needs no room while it is the only one of its connection.
const SMALL_BYTES: usize = 64 << 10;

/// The room for the next request of one connection.
pub(super) struct Admission {
    memory: Arc<RequestMemory>,
    room: Option<Room>,
    waiting: Option<Pin<Box<dyn Future<Output = Room> + Send>>>,
}

impl Admission {
    pub(super) fn new(memory: Arc<RequestMemory>) -> Self {
        Self { memory, room: None, waiting: None }
    }

    /// Whether the next request, of so many bytes, may come; if not, `granted` waits for it.
    /// `is_alone`: no other request of the connection is under way.
    pub(super) fn admits(&mut self, bytes: usize, is_alone: bool) -> bool {
        if self.room.is_some() {
            return true;
        }
        if self.waiting.is_some() {
            return false;
        }
        self.room = match is_alone && bytes <= SMALL_BYTES {
            true => Some(Room::default()),
            false => self.memory.try_take(bytes),
        };
        if self.room.is_none() {
            self.waiting = Some(Box::pin(self.memory.take(bytes)));
        }
        self.room.is_some()
    }

    pub(super) fn is_waiting(&self) -> bool {
        self.waiting.is_some()
    }

    /// Waits for the room that was asked for; for ever if none was.
    pub(super) async fn granted(&mut self) {
        match &mut self.waiting {
            Some(waiting) => {
                self.room = Some(waiting.await);
                self.waiting = None;
            }
            None => std::future::pending().await,
        }
    }

    /// The room of the request that has come; it is to be held until the answer.
    pub(super) fn take(&mut self) -> Room {
        self.room.take().unwrap_or_default()
    }
}
