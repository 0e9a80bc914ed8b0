//! What a table's task is given: the declaration of its table, and what all tables share.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Semaphore;
use uuid::Uuid;
use weir_protocol::table::settings::TableSettings;

use crate::clock::Clock;
use crate::config::Config;
use crate::metrics::Metrics;
use crate::source::cluster::Cluster;
use crate::store::Store;

/// What all tables share.
#[derive(Debug)]
pub struct Shared {
    /// Every knob.
    pub config: Config,
    /// Where records come from.
    pub cluster: Cluster,
    /// Where tables live.
    pub store: Store,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// One permit for each compaction that may run.
    pub compactions: Arc<Semaphore>,
    /// Tables that run: each has an equal share of the memory.
    pub table_count: Arc<AtomicUsize>,
}

impl Shared {
    /// Counts a table for as long as the answer lives.
    pub(super) fn count_table(&self) -> Counted<'_> {
        self.table_count.fetch_add(1, Ordering::Relaxed);
        Counted(&self.table_count)
    }

    /// What the rows of one table may take. While they are flushed they are there twice.
    pub(super) fn memory_share(&self) -> usize {
        let tables = self.table_count.load(Ordering::Relaxed).max(1);
        self.config.memory_bytes / 2 / tables
    }
}

/// A topic that is a table, as the cluster and our config say now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Declared {
    /// The topic.
    pub topic: String,
    /// Its id; nil where the cluster has no ids.
    pub topic_id: Uuid,
    /// Its partitions.
    pub partitions: Vec<i32>,
    /// The log is compacted: offsets may be missing between its batches.
    pub has_holes: bool,
    /// What the table is to be.
    pub settings: TableSettings,
}

/// A table that is counted.
#[derive(Debug)]
pub(super) struct Counted<'a>(&'a AtomicUsize);

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
