//! Says what happened to a table: in its status, in the metrics, and in the log where an operator
//! needs the line.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use weir_protocol::records::Offset;

use crate::clock::Clock;
use crate::metrics::TableMetrics;
use crate::paimon::snapshot::Snapshot;
use crate::source::Bounds;
use crate::status::{LevelFiles, State, StatusCell};
use crate::table::fault::Fault;
use crate::table::flush::Written;

/// After so long without bad records the next ones are worth a line in the log.
const QUARANTINE_QUIET_MS: i64 = 60_000;

/// Where a table's facts go.
#[derive(Clone, Debug)]
pub(super) struct Report {
    pub(super) name: String,
    pub(super) status: StatusCell,
    pub(super) metrics: TableMetrics,
    pub(super) clock: Arc<dyn Clock>,
    /// When a commit set records aside last.
    pub(super) quarantine_told_ms: Arc<AtomicI64>,
}

impl Report {
    /// A life has begun.
    pub(super) fn opened(
        &self,
        snapshot: Option<&Snapshot>,
        schema_id: i64,
        bounds: &BTreeMap<i32, Bounds>,
        files: Vec<LevelFiles>,
    ) {
        self.status.update(|status| {
            status.state = State::Folding;
            status.schema_id = Some(schema_id);
            status.last_error = None;
            status.compaction_error = None;
            let ends = bounds.iter().map(|(partition, it)| (*partition, it.end.0));
            status.end_offsets = ends.collect();
            status.offsets =
                bounds.iter().map(|(partition, it)| (*partition, it.start.0)).collect();
        });
        // The snapshot was told before; partitions that it does not know begin at their start.
        if let Some(snapshot) = snapshot {
            self.snapshot(snapshot);
        }
        self.files(files);
        let table = &self.name;
        let snapshot = snapshot.map_or(0, |snapshot| snapshot.id);
        tracing::info!(table, snapshot, schema = schema_id, "folding");
    }

    /// Where the log ends now, and how old the newest record is that was taken in.
    pub(super) fn answered(&self, ends: &BTreeMap<i32, Offset>, newest_ms: i64) {
        let now_ms = self.clock.now_ms();
        self.status.update(|status| {
            status.end_offsets.extend(ends.iter().map(|(partition, end)| (*partition, end.0)));
            status.count_lag();
            let is_behind = status.lag_records > 0 && newest_ms >= 0;
            let behind_ms = if is_behind { now_ms.saturating_sub(newest_ms).max(0) } else { 0 };
            status.lag_seconds = behind_ms as f64 / 1e3;
            self.metrics.lag_records.set(status.lag_records);
            self.metrics.lag_seconds.set(status.lag_seconds);
        });
    }

    /// New rows are in a snapshot.
    pub(super) fn written(&self, written: &Written) {
        let metrics = &self.metrics;
        let freshness_ms = written.ended_ms.saturating_sub(written.oldest_ms).max(0);
        let took_ms = written.ended_ms.saturating_sub(written.began_ms).max(0);
        metrics.commits.inc();
        metrics.commit_seconds.observe(took_ms as f64 / 1e3);
        metrics.freshness_seconds.observe(freshness_ms as f64 / 1e3);
        metrics.folded_records.inc_by(written.folded);
        metrics.quarantined.inc_by(written.quarantined);
        metrics.last_success_seconds.set(written.ended_ms as f64 / 1e3);
        self.snapshot(&written.snapshot);
        self.status.update(|status| {
            status.freshness_ms = Some(freshness_ms);
            status.last_commit_ms = Some(written.ended_ms);
        });
        // One line for a stretch of bad records, not one for each commit.
        if written.quarantined > 0 {
            let last_ms = self.quarantine_told_ms.swap(written.ended_ms, Ordering::Relaxed);
            if written.ended_ms.saturating_sub(last_ms) >= QUARANTINE_QUIET_MS {
                let (table, records) = (&self.name, written.quarantined);
                tracing::warn!(table, records, "records are set aside in the table's quarantine");
            }
        }
    }

    /// Merged files are in a snapshot; `is_sound`: no bucket's last compaction failed.
    pub(super) fn merged(&self, snapshot: &Snapshot, took_ms: i64, is_sound: bool) {
        self.metrics.compactions.inc();
        self.metrics.compaction_seconds.observe(took_ms.max(0) as f64 / 1e3);
        self.snapshot(snapshot);
        if is_sound {
            self.status.update(|status| status.compaction_error = None);
        }
    }

    /// A bucket's compaction failed and is tried again later; the table folds on. The same failure
    /// again is not logged again.
    pub(super) fn merge_failed(&self, fault: &Fault) {
        let error = fault.to_string();
        self.metrics.compaction_errors.inc();
        let is_new = self.status.update(|status| {
            status.compaction_error.replace(error.clone()).as_ref() != Some(&error)
        });
        if is_new {
            let table = &self.name;
            tracing::warn!(table, "a bucket stays as it is for now: {error}");
        }
    }

    /// The live files.
    pub(super) fn files(&self, files: Vec<LevelFiles>) {
        let deepest = files.iter().map(|it| it.level).max().unwrap_or(0);
        let mut by_level = vec![0; usize::try_from(deepest).unwrap_or(0).max(5) + 1];
        for it in &files {
            if let Some(count) = usize::try_from(it.level).ok().and_then(|at| by_level.get_mut(at))
            {
                *count += it.files as i64;
            }
        }
        self.metrics.set_files(&by_level);
        let rows = files.iter().map(|it| it.rows).sum();
        self.metrics.rows.set(rows);
        self.status.update(|status| (status.rows, status.files) = (rows, files));
    }

    /// A life has ended; the same failure again is not logged again.
    pub(super) fn failed(&self, fault: &Fault) {
        let error = fault.with_remedy();
        let is_new = self.status.update(|status| {
            status.state = fault.state();
            status.last_error.replace(error.clone()).as_ref() != Some(&error)
        });
        self.metrics.errors.inc();
        if is_new {
            let table = &self.name;
            tracing::warn!(table, state = ?fault.state(), "{error}");
        }
    }

    /// The table is flushed and closed.
    pub(super) fn stopped(&self) {
        self.status.update(|status| status.state = State::Stopped);
    }

    /// What a snapshot holds.
    pub(super) fn snapshot(&self, snapshot: &Snapshot) {
        self.metrics.snapshot_id.set(snapshot.id);
        self.status.update(|status| {
            // Commits of rows and of merged files may be told in another order than they were made.
            if status.snapshot_id.is_some_and(|known| known > snapshot.id) {
                return;
            }
            status.snapshot_id = Some(snapshot.id);
            status.schema_id = Some(snapshot.schema_id);
            if let Ok(checkpoint) = snapshot.checkpoint() {
                let next = checkpoint.next.iter().map(|(partition, next)| (*partition, next.0));
                status.offsets.extend(next);
            }
            if let Ok(counts) = snapshot.counts() {
                status.folded = counts.folded;
                status.quarantined = counts.quarantined;
                status.skipped = counts.skipped;
            }
            status.count_lag();
            self.metrics.lag_records.set(status.lag_records);
            if status.lag_records == 0 {
                status.lag_seconds = 0.0;
                self.metrics.lag_seconds.set(0.0);
            }
        });
    }
}
