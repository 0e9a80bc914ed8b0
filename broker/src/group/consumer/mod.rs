//! Consumer groups as KIP-848 has them: the broker assigns the partitions, members follow. PURE.
//!
//! ```text
//!  heartbeat ──> member ──> subscription ──> assignor ──> target assignment (group epoch)
//!                  ^                                              |
//!                  +──────────────── reconciliation <─────────────+
//! ```
//!
//! A group has an epoch that grows with each change of members, subscriptions or topics; a target
//! assignment made for an epoch; and members that move to the target, each in its own time. A
//! partition is given to a member only when no other one holds it: whoever shall lose it is told
//! first, and says so when it has let go.
//!
//! A member may speak the classic protocol instead (`classic_member`): then its JoinGroup takes the
//! step to the target, SyncGroup tells it what it owns, and Heartbeat calls it to join again.
//!
//! Every change of a group is a [`records::Record`]: the machine writes the record and applies it,
//! so a group that is read back from its records is the same group. Only deadlines are not kept:
//! after a restart every member has its whole session before it.

pub mod assignor;
pub mod classic_member;
pub mod compact;
pub mod deadline;
pub mod group;
pub mod heartbeat;
pub mod member;
pub mod reconciliation;
pub mod records;
pub mod subscription;
pub mod target;
pub mod topics;

#[cfg(test)]
mod tests;
