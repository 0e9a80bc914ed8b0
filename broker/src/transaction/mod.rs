//! Transactions: who writes under which epoch, to which partitions, and how it ends.
//!
//! `state` decides (pure), `coordinator` acts: it stores each decision in `__transaction_state`
//! (`records`, Kafka's own format), writes the markers that end a transaction into its partitions
//! (`markers`), and goes on with both after a crash (`upkeep`).

pub mod coordinator;
pub mod markers;
pub mod records;
pub mod state;

mod upkeep;
