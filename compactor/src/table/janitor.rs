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
        let expired = expire_all(&mut committer, &keeping, &*clock, &metrics, &stopped).await;
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

/// Expires batch after batch until one is not full: more snapshots than one batch holds may come
/// between two rounds. Between batches commits of others have their turn, and a stop is seen.
async fn expire_all(
    committer: &mut Committer,
    keeping: &Keeping,
    clock: &dyn Clock,
    metrics: &TableMetrics,
    stopped: &watch::Receiver<bool>,
) -> Result<(), CommitError> {
    let (retain_ms, retain_min) = (keeping.snapshot_retain_ms, keeping.snapshot_retain_min);
    loop {
        committer.reload().await?;
        let report = committer.expire(clock.now_ms(), retain_ms, retain_min).await?;
        metrics.expired_snapshots.inc_by(report.snapshots as u64);
        metrics.deleted_files.inc_by((report.data_files + report.manifests) as u64);
        if report.snapshots < SNAPSHOTS_AT_ONCE_MAX || *stopped.borrow() {
            return Ok(());
        }
        tokio::task::yield_now().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;
    use crate::committer::tests::{Toy, memory};
    use crate::metrics::Metrics;

    const KEEPING: Keeping =
        Keeping { snapshot_retain_ms: 1_000, snapshot_retain_min: 10, orphan_age_ms: 1_000 };

    /// How many of 131 old snapshots one round leaves.
    async fn left_after_a_round(is_stopped: bool) -> usize {
        let mut toy = Toy::open(memory(), "weir").await;
        for _ in 0..131 {
            toy.fold(0).await;
        }
        let metrics = Metrics::new().unwrap().table("t", "t");
        let (_stop, stopped) = watch::channel(is_stopped);
        let clock = ManualClock::at(i64::MAX / 2);
        let expired = expire_all(&mut toy.committer, &KEEPING, &clock, &metrics, &stopped).await;
        expired.unwrap();
        let left = toy.committer.files().snapshot_ids().await.unwrap().len();
        assert_eq!(metrics.expired_snapshots.get(), 131 - left as u64);
        left
    }

    #[tokio::test]
    async fn one_round_expires_all_that_is_old_however_much_it_is() {
        assert_eq!(left_after_a_round(false).await, 10);
    }

    #[tokio::test]
    async fn a_stop_ends_a_round_after_the_batch_that_runs() {
        assert_eq!(left_after_a_round(true).await, 131 - SNAPSHOTS_AT_ONCE_MAX);
    }
}
