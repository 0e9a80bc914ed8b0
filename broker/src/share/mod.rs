//! Share groups (KIP-932): many consumers work off one partition together, record by record.
//!
//! ```text
//! heartbeat ──> membership ──> assignor            who works on what    __consumer_offsets
//! ShareFetch ──> session ──> partition.acquire     who has which record
//! ShareAcknowledge ──> partition.acknowledge       what became of it    __share_group_state
//! ```
//!
//! `runs`, `kept`, `verdict`, `partition`, `session`, `membership`, `assignor`, `settings` and the records are PURE;
//! `cell`, `groups` and `coordinator` keep them, and write down what must outlive the broker.
pub mod assignor;
pub mod cell;
pub mod compact;
pub mod coordinator;
pub mod group_configs;
pub mod group_records;
pub mod groups;
pub mod kept;
pub mod membership;
pub mod partition;
pub mod runs;
pub mod session;
pub mod settings;
pub mod state_log;
pub mod state_records;
pub mod verdict;
pub mod waiters;
