//! What the log cleaner counts. The first four bear the names that Kafka's exporter gives them, but
//! for the suffixes `_count` and `_ms`, which Prometheus's own lint refuses.
use std::sync::atomic::{AtomicI64, Ordering};

use prometheus::{Gauge, IntCounter, IntGauge, Registry};

/// The log cleaner's counters and gauges.
#[derive(Debug)]
pub struct CleanerMetrics {
    /// Partitions that cannot be cleaned: a batch of them is damaged.
    pub uncleanable: IntGauge,
    /// Dirty share of the dirtiest compacted log, in percent.
    pub dirty_percent_max: Gauge,
    /// Cleaner threads that ended by a panic.
    pub dead_threads: IntGauge,
    /// Logs cleaned.
    pub cleanings: IntCounter,
    /// Cleanings that could not be finished.
    pub failed_cleanings: IntCounter,
    /// Bytes of batches before.
    pub bytes_before: IntCounter,
    /// Bytes of batches after.
    pub bytes_after: IntCounter,
    /// Records taken out.
    pub removed_records: IntCounter,
    since_last_run_seconds: IntGauge,
    last_run_ms: AtomicI64,
}

impl CleanerMetrics {
    pub(super) fn new(registry: &Registry) -> prometheus::Result<CleanerMetrics> {
        let gauge = |name: &str, help: &str| {
            let gauge = IntGauge::new(format!("kafka_log_logcleaner{name}"), help)?;
            registry.register(Box::new(gauge.clone()))?;
            Ok::<_, prometheus::Error>(gauge)
        };
        let counter = |name: &str, help: &str| {
            let counter = IntCounter::new(format!("weir_cleaner_{name}_total"), help)?;
            registry.register(Box::new(counter.clone()))?;
            Ok::<_, prometheus::Error>(counter)
        };
        let dirty_percent_max = Gauge::new(
            "kafka_log_logcleanermanager_max_dirty_percent",
            "Dirty share of the dirtiest compacted log.",
        )?;
        registry.register(Box::new(dirty_percent_max.clone()))?;
        Ok(CleanerMetrics {
            uncleanable: gauge(
                "manager_uncleanable_partitions",
                "Partitions that cannot be cleaned, since a batch of them is damaged.",
            )?,
            dirty_percent_max,
            dead_threads: gauge("_deadthreadcount", "Cleaner threads that ended by a panic.")?,
            since_last_run_seconds: gauge(
                "manager_time_since_last_run_seconds",
                "Seconds since the cleaner last looked for work; -1 before.",
            )?,
            cleanings: counter("cleanings", "Logs cleaned.")?,
            failed_cleanings: counter("failed_cleanings", "Cleanings that ended by an error.")?,
            bytes_before: counter("read_bytes", "Batch bytes that were cleaned.")?,
            bytes_after: counter("written_bytes", "Batch bytes that were left of them.")?,
            removed_records: counter("removed_records", "Records that were cleaned away.")?,
            last_run_ms: AtomicI64::new(-1),
        })
    }

    /// Says that the cleaner looks for work now.
    pub fn ran(&self, now_ms: i64) {
        self.last_run_ms.store(now_ms, Ordering::Relaxed);
    }

    /// Sets what only matters when somebody looks.
    pub fn refresh(&self, now_ms: i64) {
        let last_ms = self.last_run_ms.load(Ordering::Relaxed);
        let since_ms = now_ms.saturating_sub(last_ms).max(0);
        self.since_last_run_seconds.set(if last_ms < 0 { -1 } else { since_ms / 1000 });
    }
}
