//! Takes away what a table needs no longer, off the commit path: with a committer of its own.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::clock::Clock;
use crate::committer::{CommitError, Committer};
use crate::metrics::TableMetrics;
use crate::paimon::expire::SNAPSHOTS_AT_ONCE_MAX;

const EXPIRY_INTERVAL_MS: (u64, u64) = (1_000, 60_000);
const ORPHANS_INTERVAL_MS: (u64, u64) = (1_000, 3_600_000);

/// What is kept.
#[derive(Copy, Clone, Debug)]
pub(super) struct Keeping {
    pub(super) snapshot_retain_ms: u64,
    pub(super) snapshot_retain_min: u32,
    pub(super) orphan_age_ms: u64,
}

/// A task that expires snapshots and deletes orphans now and then.
#[derive(Debug)]
pub(super) struct Janitor {
    stop: watch::Sender<bool>,
    task: tokio::task::JoinHandle<()>,
}

impl Janitor {
    pub(super) fn start(
        committer: Committer,
        keeping: Keeping,
        clock: Arc<dyn Clock>,
        metrics: TableMetrics,
    ) -> Self {
        let (stop, stopped) = watch::channel(false);
        let task = tokio::spawn(clean(committer, keeping, clock, metrics, stopped));
        Self { stop, task }
    }

    /// Lets it end what it has begun: an expiry that is cut short leaves snapshots that cannot be
    /// read any more, until the next one ends it.
    pub(super) async fn finish(self) {
        let _ = self.stop.send(true);
        if let Err(error) = self.task.await {
            tracing::error!("the expiry of snapshots failed: {error}");
        }
    }
}

async fn clean(
    mut committer: Committer,
    keeping: Keeping,
    clock: Arc<dyn Clock>,
    metrics: TableMetrics,
    mut stopped: watch::Receiver<bool>,
) {
    let between = |kept_ms: u64, (least, most)| kept_ms.div_ceil(4).clamp(least, most);
    let expiry_ms = between(keeping.snapshot_retain_ms, EXPIRY_INTERVAL_MS);
    let orphans_ms = between(keeping.orphan_age_ms, ORPHANS_INTERVAL_MS);
    let mut orphans_due_ms = clock.now_ms() + orphans_ms as i64;
    loop {
        tokio::select! {
            () = tokio::time::sleep(Duration::from_millis(expiry_ms.min(orphans_ms))) => {}
            _ = stopped.wait_for(|stopped| *stopped) => return,
        }
        let expired = expire(&mut committer, &keeping, &*clock, &metrics, &stopped).await;
        if let Err(error) = expired {
            tracing::warn!("{}: nothing expired: {error}", committer.paths().root());
        }
        if clock.now_ms() < orphans_due_ms {
            continue;
        }
        orphans_due_ms = clock.now_ms() + orphans_ms as i64;
        match committer.remove_orphans(clock.now_ms(), keeping.orphan_age_ms).await {
            Ok(report) => metrics.deleted_files.inc_by(report.files as u64),
            Err(error) => tracing::warn!("{}: orphans stay: {error}", committer.paths().root()),
        }
    }
}

/// Expires all that may go. It goes in portions, between which a stop is heard; were it one portion
/// at a time, a table could commit faster than it forgets.
async fn expire(
    committer: &mut Committer,
    keeping: &Keeping,
    clock: &dyn Clock,
    metrics: &TableMetrics,
    stopped: &watch::Receiver<bool>,
) -> Result<(), CommitError> {
    let (retain_ms, retain_min) = (keeping.snapshot_retain_ms, keeping.snapshot_retain_min);
    while !*stopped.borrow() {
        committer.reload().await?;
        let report = committer.expire(clock.now_ms(), retain_ms, retain_min).await?;
        metrics.expired_snapshots.inc_by(report.snapshots as u64);
        metrics.deleted_files.inc_by((report.data_files + report.manifests) as u64);
        if report.snapshots < SNAPSHOTS_AT_ONCE_MAX {
            break;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use object_store::memory::InMemory;

    use super::*;
    use crate::clock::ManualClock;
    use crate::metrics::Metrics;
    use crate::paimon::commit::Change;
    use crate::paimon::paths::TablePaths;
    use crate::paimon::snapshot::CommitKind;
    use crate::store::Store;

    #[tokio::test]
    async fn however_many_snapshots_are_old_all_go_unless_it_is_told_to_stop() {
        // Given a table with three portions of old snapshots, and some more.
        let store = Store::of_objects(Arc::new(InMemory::new()));
        let paths = TablePaths::new("default", "orders", Vec::new()).unwrap();
        let mut committer = Committer::open(store, paths, "weir").await.unwrap();
        let newest = 3 * SNAPSHOTS_AT_ONCE_MAX as i64 + 20;
        for _ in 0..newest {
            let kind = CommitKind::Append;
            let (added, removed, progress) = (Vec::new(), Vec::new(), None);
            let change = Change { kind, added, removed, schema_id: 0, progress, now_ms: 0 };
            committer.commit(change).await.unwrap();
        }
        let keeping =
            Keeping { snapshot_retain_ms: 1000, snapshot_retain_min: 10, orphan_age_ms: 1000 };
        let (clock, metrics) = (ManualClock::at(5000), Metrics::new().unwrap());
        let metrics = metrics.table("default.orders", "orders");
        let (stop, stopped) = watch::channel(true);
        // When it is told to stop, then nothing goes.
        expire(&mut committer, &keeping, &clock, &metrics, &stopped).await.unwrap();
        let ids = committer.files().snapshot_ids().await.unwrap();
        assert_eq!(ids, (1..=newest).collect::<Vec<_>>());
        // When it is not, then only what is to be kept is left.
        stop.send_replace(false);
        expire(&mut committer, &keeping, &clock, &metrics, &stopped).await.unwrap();
        let ids = committer.files().snapshot_ids().await.unwrap();
        assert_eq!(ids, (newest - 9..=newest).collect::<Vec<_>>());
        assert_eq!(metrics.expired_snapshots.get(), newest as u64 - 10);
    }
}
