//! What the compactor counts, by table. The handles of a table are looked up once, when it starts.

use prometheus::core::Collector;
use prometheus::{
    Encoder, GaugeVec, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge,
    IntGaugeVec, Opts, Registry, TextEncoder,
};
use prometheus::{Gauge, Histogram};

const BY_TABLE: &[&str] = &["table", "topic"];

/// Every family of the compactor.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    lag_records: IntGaugeVec,
    lag_seconds: GaugeVec,
    freshness_seconds: HistogramVec,
    commits: IntCounterVec,
    commit_seconds: HistogramVec,
    compactions: IntCounterVec,
    compaction_seconds: HistogramVec,
    compaction_errors: IntCounterVec,
    folded_records: IntCounterVec,
    folded_bytes: IntCounterVec,
    quarantined: IntCounterVec,
    rows: IntGaugeVec,
    files: IntGaugeVec,
    memory_bytes: IntGaugeVec,
    last_success_seconds: GaugeVec,
    errors: IntCounterVec,
    snapshot_id: IntGaugeVec,
    expired_snapshots: IntCounterVec,
    deleted_files: IntCounterVec,
}

/// The handles of one table.
#[derive(Clone, Debug)]
pub struct TableMetrics {
    /// Records of the log that no snapshot holds yet.
    pub lag_records: IntGauge,
    /// How far the newest folded record lies behind the clock while there is lag, else 0.
    pub lag_seconds: Gauge,
    /// From a record's arrival here to its commit.
    pub freshness_seconds: Histogram,
    /// Snapshots that hold new records.
    pub commits: IntCounter,
    /// From a flush to its snapshot.
    pub commit_seconds: Histogram,
    /// Snapshots that hold merged files.
    pub compactions: IntCounter,
    /// One compaction, its commit included.
    pub compaction_seconds: Histogram,
    /// Compactions that failed and are tried again later.
    pub compaction_errors: IntCounter,
    /// Records whose rows are in a snapshot.
    pub folded_records: IntCounter,
    /// Bytes of the record batches taken in.
    pub folded_bytes: IntCounter,
    /// Records set aside.
    pub quarantined: IntCounter,
    /// Rows in the live files, not merged.
    pub rows: IntGauge,
    /// Memory that waits for a commit.
    pub memory_bytes: IntGauge,
    /// When the last commit succeeded, in seconds since 1970.
    pub last_success_seconds: Gauge,
    /// Failures after which the table was opened again.
    pub errors: IntCounter,
    /// The newest snapshot.
    pub snapshot_id: IntGauge,
    /// Snapshots that expired.
    pub expired_snapshots: IntCounter,
    /// Files that were deleted, by expiry or as orphans.
    pub deleted_files: IntCounter,
    files: IntGaugeVec,
    labels: [String; 2],
}

impl TableMetrics {
    /// How many live files lie on each level.
    pub fn set_files(&self, by_level: &[i64]) {
        let [table, topic] = &self.labels;
        for (level, files) in by_level.iter().enumerate() {
            self.files.with_label_values(&[table, topic, &level.to_string()]).set(*files);
        }
    }
}

/// Where families are registered as they are made.
struct Families(Registry);

impl Families {
    fn registered<F: Collector + Clone + 'static>(&self, family: F) -> prometheus::Result<F> {
        self.0.register(Box::new(family.clone()))?;
        Ok(family)
    }

    fn counter(&self, name: &str, help: &str) -> prometheus::Result<IntCounterVec> {
        self.registered(IntCounterVec::new(Opts::new(name, help), BY_TABLE)?)
    }

    fn gauge(&self, name: &str, help: &str, labels: &[&str]) -> prometheus::Result<IntGaugeVec> {
        self.registered(IntGaugeVec::new(Opts::new(name, help), labels)?)
    }

    fn seconds(&self, name: &str, help: &str) -> prometheus::Result<GaugeVec> {
        self.registered(GaugeVec::new(Opts::new(name, help), BY_TABLE)?)
    }

    fn histogram(&self, name: &str, help: &str) -> prometheus::Result<HistogramVec> {
        // 1 ms to about 2 minutes, doubling.
        let buckets = prometheus::exponential_buckets(0.001, 2.0, 18)?;
        self.registered(HistogramVec::new(
            HistogramOpts::new(name, help).buckets(buckets),
            BY_TABLE,
        )?)
    }
}

impl Metrics {
    /// Registers every family in a registry of its own.
    pub fn new() -> prometheus::Result<Self> {
        let families = Families(Registry::new());
        let counter = |name, help| families.counter(name, help);
        let gauge = |name, help, labels| families.gauge(name, help, labels);
        let seconds = |name, help| families.seconds(name, help);
        let histogram = |name, help| families.histogram(name, help);
        let by_level: &[&str] = &["table", "topic", "level"];
        Ok(Self {
            lag_records: gauge(
                "weir_table_fold_lag_records",
                "Records of the log that no snapshot of the table holds yet.",
                BY_TABLE,
            )?,
            lag_seconds: seconds(
                "weir_table_fold_lag_seconds",
                "Age of the newest folded record while there is lag, else 0.",
            )?,
            freshness_seconds: histogram(
                "weir_table_freshness_seconds",
                "From the arrival of a flush's oldest record here to its snapshot.",
            )?,
            commits: counter("weir_table_commits_total", "Snapshots that hold new records.")?,
            commit_seconds: histogram(
                "weir_table_commit_seconds",
                "From a flush to its snapshot: sorting, Parquet, manifests, syncs.",
            )?,
            compactions: counter("weir_table_compactions_total", "Snapshots of merged files.")?,
            compaction_seconds: histogram(
                "weir_table_compaction_seconds",
                "One compaction, its commit included.",
            )?,
            compaction_errors: counter(
                "weir_table_compaction_errors_total",
                "Compactions that failed and are tried again later.",
            )?,
            folded_records: counter("weir_table_folded_total", "Records folded into rows.")?,
            folded_bytes: counter(
                "weir_table_folded_bytes_total",
                "Bytes of the record batches taken in.",
            )?,
            quarantined: counter("weir_table_quarantined_total", "Records set aside.")?,
            rows: gauge("weir_table_rows", "Rows in the live files, not merged.", BY_TABLE)?,
            files: gauge("weir_table_files", "Live data files by level.", by_level)?,
            memory_bytes: gauge(
                "weir_table_memory_bytes",
                "Memory of rows that wait for a commit.",
                BY_TABLE,
            )?,
            last_success_seconds: seconds(
                "weir_table_last_success_timestamp_seconds",
                "When the last commit succeeded.",
            )?,
            errors: counter(
                "weir_table_errors_total",
                "Failures after which the table was opened again.",
            )?,
            snapshot_id: gauge("weir_table_snapshot_id", "The newest snapshot.", BY_TABLE)?,
            expired_snapshots: counter(
                "weir_table_expired_snapshots_total",
                "Snapshots that expired.",
            )?,
            deleted_files: counter(
                "weir_table_deleted_files_total",
                "Files deleted by expiry or as orphans.",
            )?,
            registry: families.0,
        })
    }

    /// The handles of a table.
    pub fn table(&self, table: &str, topic: &str) -> TableMetrics {
        let labels = &[table, topic];
        TableMetrics {
            lag_records: self.lag_records.with_label_values(labels),
            lag_seconds: self.lag_seconds.with_label_values(labels),
            freshness_seconds: self.freshness_seconds.with_label_values(labels),
            commits: self.commits.with_label_values(labels),
            commit_seconds: self.commit_seconds.with_label_values(labels),
            compactions: self.compactions.with_label_values(labels),
            compaction_seconds: self.compaction_seconds.with_label_values(labels),
            compaction_errors: self.compaction_errors.with_label_values(labels),
            folded_records: self.folded_records.with_label_values(labels),
            folded_bytes: self.folded_bytes.with_label_values(labels),
            quarantined: self.quarantined.with_label_values(labels),
            rows: self.rows.with_label_values(labels),
            memory_bytes: self.memory_bytes.with_label_values(labels),
            last_success_seconds: self.last_success_seconds.with_label_values(labels),
            errors: self.errors.with_label_values(labels),
            snapshot_id: self.snapshot_id.with_label_values(labels),
            expired_snapshots: self.expired_snapshots.with_label_values(labels),
            deleted_files: self.deleted_files.with_label_values(labels),
            files: self.files.clone(),
            labels: [table.to_owned(), topic.to_owned()],
        }
    }

    /// Prometheus's text format.
    pub fn text(&self) -> Vec<u8> {
        let mut text = Vec::new();
        // Families are checked when they are registered; writing to memory does not fail.
        let written = TextEncoder::new().encode(&self.registry.gather(), &mut text);
        debug_assert!(written.is_ok(), "{written:?}");
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_family_of_a_table_is_on_the_page() {
        let metrics = Metrics::new().unwrap();
        let table = metrics.table("default.orders", "orders");
        table.commits.inc();
        table.set_files(&[3, 0, 1]);
        let text = String::from_utf8(metrics.text()).unwrap();
        for line in [
            "weir_table_commits_total{table=\"default.orders\",topic=\"orders\"} 1",
            "weir_table_files{level=\"2\",table=\"default.orders\",topic=\"orders\"} 1",
            "weir_table_fold_lag_records{table=\"default.orders\",topic=\"orders\"} 0",
            "weir_table_freshness_seconds_count{table=\"default.orders\",topic=\"orders\"} 0",
        ] {
            assert!(text.contains(line), "{line} is missing in\n{text}");
        }
    }
}
