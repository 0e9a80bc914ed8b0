//! What the group commit tells about its work, as handles for the program's registry.
use prometheus::{Histogram, HistogramOpts, IntCounter, IntGauge, exponential_buckets};

/// What the sync thread tells about its work; for the program's registry.
#[derive(Debug)]
pub struct SyncCounters {
    /// Files and folders synced.
    pub syncs: IntCounter,
    /// How long a round took.
    pub sync_seconds: Histogram,
    /// How many partitions a round gathered.
    pub group_partitions: Histogram,
    /// 1 once the directory is offline.
    pub failed: IntGauge,
}

impl SyncCounters {
    pub(super) fn new() -> SyncCounters {
        let seconds = exponential_buckets(0.0001, 2.0, 18).expect("bounds that grow");
        let partitions = exponential_buckets(1.0, 2.0, 12).expect("bounds that grow");
        let histogram = |name: &str, help: &str, buckets| {
            Histogram::with_opts(HistogramOpts::new(name, help).buckets(buckets))
                .expect("a valid name")
        };
        SyncCounters {
            syncs: IntCounter::new("weir_log_syncs_total", "Files and folders synced.")
                .expect("a valid name"),
            sync_seconds: histogram(
                "weir_log_sync_seconds",
                "Time of one round of the group commit.",
                seconds,
            ),
            group_partitions: histogram(
                "weir_log_sync_group_partitions",
                "Partitions that shared one round of the group commit.",
                partitions,
            ),
            failed: IntGauge::new("weir_log_dir_offline", "1 once a write or a sync has failed.")
                .expect("a valid name"),
        }
    }
}
