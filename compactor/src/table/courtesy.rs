//! Tells the cluster, as a courtesy, how far each partition is in a snapshot: group offsets that
//! Kafka's tools show, and by which Weir's broker knows what it may delete. Nothing reads them
//! back for correctness, and a failure is only logged.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::source::client::ClientError;
use crate::source::cluster::Cluster;

const PAUSE_AFTER_FAILURE: Duration = Duration::from_secs(1);
const LAST_WORD_WITHIN: Duration = Duration::from_secs(2);

/// A task that commits the newest offsets that it was told; older ones are passed over.
#[derive(Debug)]
pub(super) struct Courtesy {
    offsets: watch::Sender<BTreeMap<i32, i64>>,
    task: tokio::task::JoinHandle<()>,
}

impl Courtesy {
    pub(super) fn start(cluster: &Cluster, group: &str, topic: &str) -> Self {
        let (offsets, told) = watch::channel(BTreeMap::new());
        let cluster = Arc::new(cluster.apart());
        let task = tokio::spawn(commit_all(cluster, group.to_owned(), topic.to_owned(), told));
        Self { offsets, task }
    }

    /// The offsets of the newest snapshot.
    pub(super) fn tell(&self, offsets: BTreeMap<i32, i64>) {
        self.offsets.send_replace(offsets);
    }

    /// Lets the last offsets go out, for a short while.
    pub(super) async fn finish(self) {
        let Self { offsets, mut task } = self;
        drop(offsets);
        if tokio::time::timeout(LAST_WORD_WITHIN, &mut task).await.is_err() {
            task.abort();
        }
    }
}

async fn commit_all(
    cluster: Arc<Cluster>,
    group: String,
    topic: String,
    mut told: watch::Receiver<BTreeMap<i32, i64>>,
) {
    let mut was_told = true;
    // Ends when the sender is gone and everything was seen.
    while told.changed().await.is_ok() {
        loop {
            let offsets = told.borrow_and_update().clone();
            let Err(error) = commit(&cluster, &group, &topic, &offsets).await else {
                was_told = true;
                break;
            };
            if was_told {
                tracing::warn!(
                    topic,
                    group,
                    "offsets not committed, which harms no table: {error}"
                );
            }
            was_told = false;
            tokio::time::sleep(PAUSE_AFTER_FAILURE).await;
            if told.has_changed().is_err() {
                return;
            }
        }
    }
}

async fn commit(
    cluster: &Cluster,
    group: &str,
    topic: &str,
    offsets: &BTreeMap<i32, i64>,
) -> Result<(), ClientError> {
    if offsets.is_empty() {
        return Ok(());
    }
    let coordinator = cluster.any().await?.find_coordinator(group).await?;
    cluster.at(&coordinator).await?.offset_commit(group, topic, offsets).await
}
