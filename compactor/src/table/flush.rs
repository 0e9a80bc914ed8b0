//! A flush becomes level-0 files under names that nobody knows yet, and then a snapshot.

use std::sync::Arc;

use futures_util::{StreamExt, TryStreamExt, stream};
use uuid::Uuid;

use crate::clock::Clock;
use crate::committer::Committer;
use crate::data_file::FileSource;
use crate::data_file::writer::{FileWriter, WriterOptions};
use crate::fold::{BucketRows, Flush};
use crate::paimon::commit::{Change, FileEntry, Progress};
use crate::paimon::paths::TablePaths;
use crate::paimon::snapshot::{CommitKind, Snapshot};
use crate::schema::TableSchema;
use crate::store::Store;
use crate::table::fault::Fault;

/// Files that are encoded and stored at once.
const FILES_AT_ONCE: usize = 2;

/// Everything that commits of one life share.
#[derive(Clone, Debug)]
pub(super) struct Writing {
    pub(super) store: Store,
    pub(super) paths: TablePaths,
    pub(super) schema: Arc<TableSchema>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) committer: Arc<tokio::sync::Mutex<Committer>>,
    pub(super) epoch: u64,
}

/// What a commit of new rows left.
#[derive(Debug)]
pub(super) struct Written {
    pub(super) snapshot: Snapshot,
    pub(super) files: Vec<FileEntry>,
    pub(super) quarantined: u64,
    pub(super) folded: u64,
    /// When the oldest record of the flush came in.
    pub(super) oldest_ms: i64,
    pub(super) began_ms: i64,
    pub(super) ended_ms: i64,
}

impl Writing {
    /// Writes the files and commits them with the offsets that they cover.
    pub(super) async fn write(self, flush: Flush, oldest_ms: i64) -> Result<Written, Fault> {
        let began_ms = self.clock.now_ms();
        let Flush { buckets, ranges, counts, quarantine, lineage } = flush;
        let files: Vec<FileEntry> = stream::iter(buckets)
            .map(|rows| self.write_bucket(rows, began_ms))
            .buffered(FILES_AT_ONCE)
            .try_collect()
            .await?;
        let progress = Progress {
            epoch: self.epoch,
            ranges,
            lineage,
            folded: counts.folded,
            quarantined: counts.quarantined,
            skipped: counts.skipped,
            quarantine,
        };
        progress.assert_complete();
        let change = Change {
            kind: CommitKind::Append,
            added: files.clone(),
            removed: Vec::new(),
            schema_id: self.schema.id,
            progress: Some(progress),
            now_ms: self.clock.now_ms(),
        };
        let snapshot = self.committer.lock().await.commit(change).await?;
        Ok(Written {
            snapshot,
            files,
            quarantined: counts.quarantined,
            folded: counts.folded,
            oldest_ms,
            began_ms,
            ended_ms: self.clock.now_ms(),
        })
    }

    async fn write_bucket(&self, rows: BucketRows, now_ms: i64) -> Result<FileEntry, Fault> {
        let BucketRows { partition, bucket, rows, first_sequence } = rows;
        let name = format!("data-{}-0.parquet", Uuid::new_v4());
        let path = self.paths.data_file(&partition, bucket, &name)?;
        let schema = Arc::clone(&self.schema);
        let encoded = tokio::task::spawn_blocking(move || {
            let options = WriterOptions::default();
            let mut writer = FileWriter::new(&schema, 0, FileSource::Append, name, now_ms, options);
            writer.write(&rows)?;
            writer.finish()
        });
        let (bytes, mut file) = encoded.await??;
        if !self.schema.has_primary_key() {
            file.min_sequence += first_sequence;
            file.max_sequence += first_sequence;
        }
        self.store.put_new(&path, bytes).await?;
        Ok(FileEntry { partition, bucket, total_buckets: self.schema.bucket_count(), file })
    }
}
