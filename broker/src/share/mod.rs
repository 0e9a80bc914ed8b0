//! Share groups (KIP-932): many consumers work off one partition together, record by record.
//!
//! ```text
//! heartbeat ──> membership ──> assignor            who works on what
//! ShareFetch ──> session ──> partition.acquire     who has which record
//! ShareAcknowledge ──────> partition.acknowledge ──> state records ──> __share_group_state
//! ```
//!
//! `runs`, `partition`, `session`, `membership`, `assignor` and the records are PURE.
pub mod assignor;
pub mod compact;
pub mod group_records;
pub mod membership;
pub mod partition;
pub mod runs;
pub mod session;
pub mod state_records;
