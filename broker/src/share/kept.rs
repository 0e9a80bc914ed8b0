//! What of a share-partition outlives the broker, and how a change is added to it. PURE.

use crate::share::runs::{Runs, Span};

/// What of a state outlives the broker.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct StateBatch {
    /// The offsets.
    pub span: Span,
    /// 0 available, 2 acknowledged, 4 archived.
    pub state: i8,
    /// How often they were delivered.
    pub deliveries: i16,
}

/// The state as it is kept: the start, and what differs from a new record after it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Kept {
    /// The first offset that is not done.
    pub start: i64,
    /// In order, without overlap.
    pub batches: Vec<StateBatch>,
}

impl Kept {
    /// What is kept after a change: its batches and its start count from now on.
    pub fn update(&mut self, change: &Kept) {
        self.start = self.start.max(change.start);
        let mut runs: Runs<(i8, i16)> = Runs::default();
        for batch in self.batches.iter().chain(&change.batches) {
            runs.set(batch.span, (batch.state, batch.deliveries));
        }
        let alive = Span { first: self.start, last: i64::MAX };
        let alive = runs.within(alive).filter(|(_, held)| **held != (0, 0));
        let batch = |(span, &(state, deliveries)): (Span, &(i8, i16))| StateBatch {
            span,
            state,
            deliveries,
        };
        self.batches = alive.map(batch).collect();
    }
}
