//! A compactor in miniature, whose data files hold the offsets that they were folded from. So any
//! snapshot of any run can be checked by itself: each offset below its checkpoint is in exactly one
//! live file or in quarantine, and no other is.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use weir_compactor::checkpoint::OffsetRange;
use weir_compactor::committer::{CommitError, Committer};
use weir_compactor::data_file::{DataFileMeta, FileSource, SimpleStats};
use weir_compactor::lineage::{LastBatch, Lineage};
use weir_compactor::paimon::binary_row::BinaryRow;
use weir_compactor::paimon::commit::{Change, CommitKind, FileEntry, Progress};
use weir_compactor::paimon::paths::TablePaths;
use weir_compactor::paimon::snapshot::Snapshot;
use weir_compactor::quarantine::QuarantinedRecord;
use weir_compactor::row::Value;
use weir_compactor::schema::TableSchema;
use weir_compactor::store::Store;
use weir_protocol::records::Offset;
use weir_protocol::table::types::{Column, ColumnType, DataType};

/// Partitions of the toy topic, and as many buckets.
const PARTITIONS: i32 = 2;
/// Offsets of each partition that one flush folds.
const FLUSH: i64 = 5;
/// Every so manieth offset is a bad record.
const BAD_EVERY: i64 = 7;
/// The level that compactions write to.
const TOP_LEVEL: i32 = 5;

pub fn paths() -> TablePaths {
    TablePaths::new("default", "toy", vec![]).unwrap()
}

fn key_type() -> ColumnType {
    DataType::BigInt.not_null()
}

pub fn schema() -> TableSchema {
    let column = |id, name: &str, column_type| Column { id, name: name.into(), column_type };
    let option = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    TableSchema {
        id: 0,
        columns: vec![column(0, "id", key_type()), column(1, "name", DataType::String.nullable())],
        highest_field_id: 1,
        partition_keys: vec![],
        primary_keys: vec!["id".into()],
        options: BTreeMap::from([option("bucket", "2"), option("file.format", "parquet")]),
        comment: String::new(),
        time_ms: 0,
    }
}

/// A row of the toy: partition and offset of the record.
type Cell = (i32, i64);

fn is_bad(cell: &Cell) -> bool {
    cell.1 % BAD_EVERY == BAD_EVERY - 1
}

fn content_of(cells: &[Cell]) -> Bytes {
    serde_json::to_vec(cells).unwrap().into()
}

/// The entry of a file that holds these cells under keys 0, 1, 2, ...
pub fn entry_of(name: &str, bucket: i32, level: i32, cells: &[Cell]) -> FileEntry {
    let key = |key: i64| BinaryRow::from_values(&[Value::Int64(key)], &[key_type()]);
    let rows = cells.len() as i64;
    let (min_key, max_key) = (key(0), key(rows.max(1) - 1));
    let stats =
        SimpleStats { min: min_key.clone(), max: max_key.clone(), null_counts: vec![Some(0)] };
    let file = DataFileMeta {
        file_name: name.into(),
        file_size: content_of(cells).len() as i64,
        row_count: rows,
        min_key,
        max_key,
        key_stats: stats,
        value_stats: SimpleStats::EMPTY,
        min_sequence: 0,
        max_sequence: rows,
        schema_id: 0,
        level,
        extra_files: vec![],
        creation_time_ms: 0,
        delete_row_count: 0,
        source: if level == 0 { FileSource::Append } else { FileSource::Compact },
        value_stats_cols: Some(vec![]),
    };
    FileEntry { partition: BinaryRow::EMPTY, bucket, total_buckets: PARTITIONS, file }
}

pub fn lineage_at(next: &BTreeMap<i32, i64>) -> Lineage {
    let batch = |next: i64| LastBatch {
        base_offset: Offset(next - 1),
        last_offset: Offset(next - 1),
        leader_epoch: 0,
        crc: next as u32,
    };
    let partitions = next.iter().map(|(id, next)| (*id, batch(*next))).collect();
    Lineage { topic: "toy".into(), topic_id: uuid::Uuid::from_u128(1), partitions }
}

/// The toy compactor in one life.
pub struct ToyCompactor {
    pub store: Store,
    pub committer: Committer,
    epoch: u64,
    life: uuid::Uuid,
    files: u64,
}

impl ToyCompactor {
    /// Opens the table, creates it if need be, and goes on where the newest snapshot stands.
    pub async fn open(store: Store) -> Result<Self, CommitError> {
        let mut committer = Committer::open(store.clone(), paths(), "weir").await?;
        if committer.schema().is_none() {
            committer.create_table(&schema()).await?;
        }
        let epoch = committer.epoch().expect("epoch") + 1;
        Ok(Self { store, committer, epoch, life: uuid::Uuid::new_v4(), files: 0 })
    }

    fn file_name(&mut self) -> String {
        self.files += 1;
        format!("data-{}-{}.parquet", self.life, self.files)
    }

    async fn write(
        &mut self,
        bucket: i32,
        level: i32,
        cells: &[Cell],
    ) -> Result<FileEntry, CommitError> {
        let name = self.file_name();
        let path = paths().data_file(&BinaryRow::EMPTY, bucket, &name)?;
        self.store.put_new(&path, content_of(cells)).await?;
        Ok(entry_of(&name, bucket, level, cells))
    }

    /// The next offset of each partition.
    pub fn next(&self) -> BTreeMap<i32, i64> {
        let checkpoint = self.committer.checkpoint().expect("checkpoint");
        let next = |id| checkpoint.next_of(id).map_or(0, |next| next.0);
        (0..PARTITIONS).map(|id| (id, next(id))).collect()
    }

    /// What one flush of the next offsets would commit.
    pub async fn flush(&mut self) -> Result<Change, CommitError> {
        let mut added = Vec::new();
        let mut ranges = Vec::new();
        let mut quarantine = Vec::new();
        let mut next = self.next();
        for (partition, next) in &mut next {
            let (from, to) = (*next, *next + FLUSH);
            *next = to;
            let partition = *partition;
            ranges.push(OffsetRange { partition, from: Offset(from), to: Offset(to) });
            let cells = (from..to).map(|offset| (partition, offset));
            let (bad, good): (Vec<_>, Vec<_>) = cells.partition(is_bad);
            quarantine.extend(bad.into_iter().map(|(partition, offset)| QuarantinedRecord {
                topic: "toy".into(),
                partition,
                offset: Offset(offset),
                timestamp_ms: offset,
                key: None,
                value: Some(Bytes::from_static(b"{")),
                reason: "not JSON".into(),
            }));
            added.push(self.write(partition, 0, &good).await?);
        }
        let quarantined = quarantine.len() as u64;
        let progress = Progress {
            epoch: self.epoch,
            lineage: lineage_at(&next),
            folded: (i64::from(PARTITIONS) * FLUSH) as u64 - quarantined,
            quarantined,
            skipped: 0,
            ranges,
            quarantine,
        };
        Ok(Change {
            kind: CommitKind::Append,
            added,
            removed: vec![],
            schema_id: 0,
            progress: Some(progress),
            now_ms: next[&0] * 1000,
        })
    }

    /// What a compaction of one bucket into one file of the top level would commit.
    pub async fn compaction(&mut self, bucket: i32) -> Result<Change, CommitError> {
        let live = self.committer.live_files().await;
        let removed: Vec<_> = live.into_iter().filter(|entry| entry.bucket == bucket).collect();
        let mut cells = Vec::new();
        for entry in &removed {
            cells.extend(read_cells(&self.store, entry).await?);
        }
        let added = vec![self.write(bucket, TOP_LEVEL, &cells).await?];
        let now_ms = self.next()[&0] * 1000;
        let kind = CommitKind::Compact;
        Ok(Change { kind, added, removed, schema_id: 0, progress: None, now_ms })
    }

    /// Folds until `until`, compacts after every third flush, expires after every fourth.
    pub async fn run(&mut self, until: i64) -> Result<(), CommitError> {
        while self.next()[&0] < until {
            let change = self.flush().await?;
            self.committer.commit(change).await?;
            let flushes = self.next()[&0] / FLUSH;
            if flushes % 3 == 0 {
                let change = self.compaction((flushes / 3 % 2) as i32).await?;
                self.committer.commit(change).await?;
            }
            if flushes % 4 == 0 {
                self.committer.expire(self.next()[&0] * 1000, 6_000, 3).await?;
            }
        }
        Ok(())
    }
}

async fn read_cells(store: &Store, entry: &FileEntry) -> Result<Vec<Cell>, CommitError> {
    let path = paths().data_file(&entry.partition, entry.bucket, &entry.file.file_name)?;
    let bytes = store.get(&path).await?;
    assert_eq!(bytes.len() as i64, entry.file.file_size, "{path}");
    let cells: Vec<Cell> = serde_json::from_slice(&bytes).expect("a data file of the toy");
    assert_eq!(cells.len() as i64, entry.file.row_count, "{path}");
    Ok(cells)
}

/// Checks one snapshot by itself; an error says what is wrong with it.
pub async fn check_snapshot(committer: &Committer, id: i64) -> Result<Snapshot, String> {
    let told = |error: CommitError| format!("snapshot {id}: {error}");
    let snapshot = committer.files().snapshot(id).await.map_err(told)?;
    let mut seen = BTreeSet::new();
    let mut rows = 0;
    for entry in committer.live_files_at(id).await.map_err(told)? {
        for cell in read_cells(committer.files().store(), &entry).await.map_err(told)? {
            rows += 1;
            if !seen.insert(cell) {
                return Err(format!("snapshot {id}: {cell:?} was folded twice"));
            }
        }
    }
    if rows != snapshot.total_record_count {
        return Err(format!(
            "snapshot {id}: {rows} rows, but it says {}",
            snapshot.total_record_count
        ));
    }
    let set_aside = committer.files().quarantined_records(&snapshot).await.map_err(told)?;
    for record in &set_aside {
        if !seen.insert((record.partition, record.offset.0)) {
            return Err(format!("snapshot {id}: {record:?} is there twice"));
        }
    }
    let checkpoint = snapshot.checkpoint().map_err(|error| error.to_string())?;
    let below = checkpoint.next.iter().flat_map(|(id, next)| (0..next.0).map(|it| (*id, it)));
    let wanted: BTreeSet<Cell> = below.collect();
    if seen != wanted {
        let missing: Vec<_> = wanted.difference(&seen).take(3).collect();
        let strange: Vec<_> = seen.difference(&wanted).take(3).collect();
        return Err(format!("snapshot {id}: missing {missing:?}, too many {strange:?}"));
    }
    let counts = snapshot.counts().map_err(|error| error.to_string())?;
    let told = (counts.folded as i64, counts.quarantined as usize);
    if told != (rows, set_aside.len()) {
        return Err(format!("snapshot {id} counts {told:?}, not {rows} and {}", set_aside.len()));
    }
    Ok(snapshot)
}

/// Checks all snapshots from `first` on; returns the id of the newest.
pub async fn check_from(store: Store, first: i64) -> Result<i64, String> {
    let committer = Committer::open(store, paths(), "weir").await.map_err(|it| it.to_string())?;
    let ids = committer.files().snapshot_ids().await.map_err(|it| it.to_string())?;
    if ids.windows(2).any(|pair| pair[1] != pair[0] + 1) {
        return Err(format!("snapshots {ids:?} have gaps"));
    }
    for id in ids.iter().filter(|id| **id >= first) {
        check_snapshot(&committer, *id).await?;
    }
    Ok(ids.last().copied().unwrap_or(0))
}

/// Checks all snapshots but those that an expiry which was cut short has begun to take apart: they
/// are the oldest, and the next expiry finishes them.
pub async fn check_retained(store: Store) -> Result<i64, String> {
    let mut compactor = ToyCompactor::open(store.clone()).await.map_err(|it| it.to_string())?;
    let now_ms = compactor.next()[&0] * 1000;
    let expired = compactor.committer.expire(now_ms, 6_000, 3).await;
    expired.map_err(|error| format!("expiry: {error}"))?;
    check_from(store, 0).await
}
