//! How a log directory is used.
use crate::log::seeded_bugs::SeededBugs;

/// What `acks=all` waits for, and what consumers see.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Durability {
    /// The disk: it survives a power cut.
    Fsync,
    /// The operating system: it survives a crash of the broker only, as with Kafka.
    Os,
}

/// How the newest segments are read. Older ones are always read by `pread`.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum ReadMode {
    /// Through read-only maps.
    Mmap,
    /// By system calls on the blocking pool.
    Pread,
}

/// Who drives the syncs.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum SyncDriver {
    /// A thread of the directory.
    Thread,
    /// Whoever calls `LogDir::sync_now`: simulations.
    Caller,
}

/// How a directory is used.
#[derive(Copy, Clone, Debug)]
pub struct LogDirOptions {
    /// What `acks=all` waits for.
    pub durability: Durability,
    /// How the newest segments are read.
    pub read_mode: ReadMode,
    /// Who drives the syncs.
    pub sync_driver: SyncDriver,
    /// The broker's number; the directory must bear the same.
    pub node_id: i32,
    /// Producers that were silent for longer are forgotten (`producer.id.expiration.ms`).
    pub producer_silence_max_ms: i64,
    /// Test only.
    pub seeded_bugs: SeededBugs,
}

impl Default for LogDirOptions {
    fn default() -> LogDirOptions {
        LogDirOptions {
            durability: Durability::Fsync,
            read_mode: ReadMode::Mmap,
            sync_driver: SyncDriver::Thread,
            node_id: 1,
            producer_silence_max_ms: 24 * 60 * 60 * 1000,
            seeded_bugs: SeededBugs::default(),
        }
    }
}
