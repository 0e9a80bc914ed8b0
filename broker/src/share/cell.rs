//! A share-partition with its place in the log of states, and those who wait for it.
//!
//! A change is appended under the lock under which it was made, so the log tells the changes in
//! their order. It counts at once: a record that was released is there for others although the
//! change is not durable yet. Only the answer to whoever made the change waits for the disk.

use std::sync::{Mutex, MutexGuard, PoisonError};

use weir_protocol::records::Offset;

use crate::share::kept::Kept;
use crate::share::partition::{Limits, SharePartition};
use crate::share::state_log::{Replayed, StateLog, Written, append};
use crate::share::state_records::{SnapshotHead, StateKey, StateRecord, UpdateHead};
use crate::share::waiters::Waiters;

/// Why a share-partition did not take a change.
#[derive(Debug, thiserror::Error)]
pub enum CellError {
    /// It was forgotten: its group or topic is gone, or its offsets were deleted.
    #[error("the share-partition is gone")]
    Gone,
    /// The change cannot be written.
    #[error("the state of a share-partition cannot be written: {0}")]
    Storage(String),
}

/// What surrounds a change.
#[derive(Copy, Clone, Debug)]
pub struct Moment<'a> {
    /// Where states are written.
    pub log: &'a StateLog,
    /// The time.
    pub now_ms: i64,
    /// The bounds of the group.
    pub limits: &'a Limits,
    /// Updates that are written before the next snapshot.
    pub updates_max: i32,
}

#[derive(Debug)]
struct Inner {
    partition: SharePartition,
    head: SnapshotHead,
    update_count: i32,
    snapshot_at: Offset,
    is_gone: bool,
}

/// See the head of this file.
#[derive(Debug)]
pub struct Cell {
    key: StateKey,
    inner: Mutex<Inner>,
    /// Who waits for records that can be acquired.
    pub waiters: Waiters,
}

impl Cell {
    /// As it was read back.
    pub fn replayed(key: StateKey, state: &Replayed) -> Self {
        let inner = Inner {
            partition: SharePartition::restore(&state.kept),
            head: state.head,
            update_count: state.update_count,
            snapshot_at: state.snapshot_at,
            is_gone: false,
        };
        Self { key, inner: Mutex::new(inner), waiters: Waiters::default() }
    }

    /// A new one that begins there; it is kept from the first moment on.
    pub fn begin(
        key: StateKey,
        start: i64,
        leader_epoch: i32,
        moment: &Moment<'_>,
    ) -> Result<(Self, Written), CellError> {
        let now_ms = moment.now_ms;
        let head = SnapshotHead {
            leader_epoch,
            created_ms: now_ms,
            written_ms: now_ms,
            ..SnapshotHead::default()
        };
        let kept = Kept { start, batches: Vec::new() };
        let state = Replayed { head, kept, update_count: 0, snapshot_at: Offset(0) };
        let cell = Self::replayed(key, &state);
        let written = cell.write_snapshot(&mut cell.lock(), moment)?;
        Ok((cell, written))
    }

    /// Of which share-partition it is.
    pub fn key(&self) -> &StateKey {
        &self.key
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks at it as it is now, or changes it. `act` answers what is to be kept of what it did.
    pub fn act<R>(
        &self,
        moment: &Moment<'_>,
        act: impl FnOnce(&mut SharePartition) -> (R, Option<Kept>),
    ) -> Result<(R, Option<Written>), CellError> {
        let mut inner = self.lock();
        if inner.is_gone {
            return Err(CellError::Gone);
        }
        let expired = inner.partition.tick(moment.now_ms, moment.limits);
        let (result, change) = act(&mut inner.partition);
        let mut written = None;
        for change in expired.into_iter().chain(change) {
            written = Some(self.write(&mut inner, &change, moment)?);
        }
        drop(inner);
        if written.is_some() {
            self.waiters.wake();
        }
        Ok((result, written))
    }

    /// Begins anew at `start`.
    pub fn reset(&self, start: i64, moment: &Moment<'_>) -> Result<Written, CellError> {
        let mut inner = self.lock();
        if inner.is_gone {
            return Err(CellError::Gone);
        }
        inner.partition = SharePartition::new(start);
        inner.head.state_epoch += 1;
        let written = self.write_snapshot(&mut inner, moment)?;
        drop(inner);
        self.waiters.wake();
        Ok(written)
    }

    /// Forgets the state. Nothing can be done with it any more.
    pub fn forget(&self, moment: &Moment<'_>) -> Result<Option<Written>, CellError> {
        let mut inner = self.lock();
        if std::mem::replace(&mut inner.is_gone, true) {
            return Ok(None);
        }
        let written = self.append(&StateRecord::Forgotten, moment)?;
        drop(inner);
        self.waiters.wake();
        Ok(Some(written))
    }

    /// Where its last snapshot lies.
    pub fn snapshot_at(&self) -> Offset {
        self.lock().snapshot_at
    }

    /// Writes all of the state at the end of the log.
    pub fn snapshot(&self, moment: &Moment<'_>) -> Result<Option<Written>, CellError> {
        let mut inner = self.lock();
        if inner.is_gone {
            return Ok(None);
        }
        self.write_snapshot(&mut inner, moment).map(Some)
    }

    fn write(
        &self,
        inner: &mut Inner,
        change: &Kept,
        moment: &Moment<'_>,
    ) -> Result<Written, CellError> {
        if inner.update_count >= moment.updates_max {
            return self.write_snapshot(inner, moment);
        }
        let SnapshotHead { snapshot_epoch, leader_epoch, .. } = inner.head;
        let head = UpdateHead { snapshot_epoch, leader_epoch };
        let written = self.append(&StateRecord::Update(head, change.clone()), moment)?;
        inner.update_count += 1;
        Ok(written)
    }

    fn write_snapshot(&self, inner: &mut Inner, moment: &Moment<'_>) -> Result<Written, CellError> {
        inner.head.snapshot_epoch += 1;
        inner.head.written_ms = moment.now_ms;
        let record = StateRecord::Snapshot(inner.head, inner.partition.kept());
        let written = self.append(&record, moment)?;
        inner.update_count = 0;
        inner.snapshot_at = written.at;
        Ok(written)
    }

    fn append(&self, record: &StateRecord, moment: &Moment<'_>) -> Result<Written, CellError> {
        let partition = moment.log.partition(&self.key);
        let partition = partition.ok_or_else(|| CellError::Storage("there is no topic".into()))?;
        append(&partition, &[record.encode(&self.key)], moment.now_ms)
            .map_err(|error| CellError::Storage(error.to_string()))
    }
}
