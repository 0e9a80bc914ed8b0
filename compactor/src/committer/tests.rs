//! A table in memory whose commits hold offsets and, if a test asks, files and bad records.

use std::collections::BTreeMap;
use std::sync::Arc;

use object_store::memory::InMemory;
use uuid::Uuid;
use weir_protocol::records::Offset;
use weir_protocol::table::column::{Column, DataType};
use weir_protocol::table::settings::TableSettings;

use super::*;
use crate::binary_row::BinaryRow;
use crate::merge_tree::tests::file;
use crate::paimon::commit::Progress;
use crate::paimon::snapshot::CommitKind;
use crate::quarantine::QuarantinedRecord;

pub(crate) fn memory() -> Store {
    Store::of_objects(Arc::new(InMemory::new()))
}

fn paths() -> TablePaths {
    TablePaths::new("default", "toy", vec![]).unwrap()
}

/// One compactor of the table, or somebody else who commits to it.
pub(crate) struct Toy {
    pub(crate) store: Store,
    pub(crate) committer: Committer,
}

impl Toy {
    /// Opens the table and makes it if need be.
    pub(crate) async fn open(store: Store, user: &str) -> Self {
        let mut committer = Committer::open(store.clone(), paths(), user).await.unwrap();
        if committer.schema().is_none() {
            let key = |(key, value): (&str, &str)| (key.to_owned(), value.to_owned());
            let configs = [("table.enabled", "true"), ("table.primary.key", "id")].map(key);
            let settings = TableSettings::parse("toy", &BTreeMap::from(configs)).unwrap();
            let column = Column { id: 0, name: "id".into(), column_type: DataType::Int.not_null() };
            let schema = TableSchema::from_settings(&settings, &[column], 1, 0).unwrap();
            committer.create_table(&schema).await.unwrap();
        }
        Self { store, committer }
    }

    /// What folding one more offset would commit, or setting it aside.
    pub(crate) fn next(&self, quarantined: u64) -> Change {
        let from = self.committer.checkpoint().unwrap().next_of(0).unwrap_or(Offset(0));
        let record = QuarantinedRecord {
            topic: "toy".into(),
            partition: 0,
            offset: from,
            timestamp_ms: 0,
            key: None,
            value: None,
            reason: "bad".into(),
        };
        let progress = Progress {
            epoch: 1,
            ranges: vec![OffsetRange { partition: 0, from, to: from.next() }],
            lineage: Lineage {
                topic: "toy".into(),
                topic_id: Uuid::from_u128(1),
                partitions: BTreeMap::new(),
            },
            folded: 1 - quarantined,
            quarantined,
            skipped: 0,
            quarantine: (0..quarantined).map(|_| record.clone()).collect(),
        };
        Change {
            kind: CommitKind::Append,
            added: vec![],
            removed: vec![],
            schema_id: 0,
            progress: Some(progress),
            now_ms: 0,
        }
    }

    pub(crate) async fn fold(&mut self, quarantined: u64) -> Snapshot {
        let change = self.next(quarantined);
        self.committer.commit(change).await.unwrap()
    }

    /// A commit as others make them: without our properties.
    async fn add(&mut self, added: Vec<FileEntry>, removed: Vec<FileEntry>) -> Snapshot {
        let kind = CommitKind::Append;
        let change = Change { kind, added, removed, schema_id: 0, progress: None, now_ms: 0 };
        self.committer.commit(change).await.unwrap()
    }

    async fn ids(&self) -> Vec<i64> {
        self.committer.files().snapshot_ids().await.unwrap()
    }
}

fn entry(name: &str, level: i32, extra_files: &[&str]) -> FileEntry {
    let mut file = file(name, level, 1, 2, 1);
    file.extra_files = extra_files.iter().map(|name| (*name).to_owned()).collect();
    FileEntry { partition: BinaryRow::EMPTY, bucket: 0, total_buckets: 1, file }
}

#[tokio::test]
async fn the_quarantine_list_outlives_expiry_up_to_a_snapshot_of_others() {
    let store = memory();
    let mut ours = Toy::open(store.clone(), "weir").await;
    ours.fold(1).await;
    Toy::open(store.clone(), "flink").await.add(vec![], vec![]).await;
    ours.committer.reload().await.unwrap();
    let newest = ours.fold(0).await;
    // 1 is ours and goes; 2 is a stranger's and is the first that stays; 3 is ours.
    let report = ours.committer.expire(i64::MAX / 2, 0, 2).await.unwrap();
    assert_eq!((report.snapshots, ours.ids().await), (1, vec![2, 3]));
    let kept = ours.committer.files().quarantined_records(&newest).await.unwrap();
    assert_eq!(kept.len(), 1, "the list that snapshot 3 names is there");
    ours.fold(1).await;
}

#[tokio::test]
async fn a_list_that_no_kept_snapshot_names_goes() {
    let mut ours = Toy::open(memory(), "weir").await;
    ours.fold(1).await;
    let newest = ours.fold(1).await;
    ours.committer.expire(i64::MAX / 2, 0, 1).await.unwrap();
    let lists = ours.store.list("default.db/toy/quarantine").await.unwrap();
    let lists = lists.iter().filter(|file| file.name().starts_with("quarantine-list-"));
    assert_eq!(lists.count(), 1);
    let kept = ours.committer.files().quarantined_records(&newest).await.unwrap();
    assert_eq!(kept.len(), 2);
}

const DATA: &str = "data-6e0f9f0e-1c1b-4a53-8f1f-0d5c1a0b7c11-0.parquet";
const INDEX: &str = "data-6e0f9f0e-1c1b-4a53-8f1f-0d5c1a0b7c11-0.parquet.index";

#[tokio::test]
async fn a_files_index_lives_and_dies_with_its_file() {
    let mut toy = Toy::open(memory(), "flink").await;
    let place = |name: &str| format!("default.db/toy/bucket-0/{name}");
    for name in [DATA, INDEX] {
        toy.store.put_new(&place(name), Bytes::from_static(b"x")).await.unwrap();
    }
    let indexed = entry(DATA, 0, &[INDEX]);
    toy.add(vec![indexed.clone()], vec![]).await;
    toy.committer.remove_orphans(i64::MAX, 0).await.unwrap();
    assert!(toy.store.exists(&place(DATA)).await.unwrap());
    assert!(toy.store.exists(&place(INDEX)).await.unwrap(), "the manifest names it");
    toy.add(vec![], vec![indexed]).await;
    toy.add(vec![], vec![]).await;
    let report = toy.committer.expire(i64::MAX / 2, 0, 1).await.unwrap();
    assert_eq!(report.data_files, 2);
    assert!(!toy.store.exists(&place(DATA)).await.unwrap());
    assert!(!toy.store.exists(&place(INDEX)).await.unwrap());
}

#[tokio::test]
async fn a_stale_committer_fills_no_hole_that_expiry_left() {
    let store = memory();
    let mut ours = Toy::open(store.clone(), "weir").await;
    for _ in 0..3 {
        ours.fold(0).await;
    }
    let mut stale = Toy::open(store.clone(), "weir").await;
    let change = stale.next(0);
    for _ in 0..5 {
        ours.fold(0).await;
    }
    ours.committer.expire(i64::MAX / 2, 0, 2).await.unwrap();
    assert_eq!(ours.ids().await, [7, 8]);
    // The name snapshot-4 is free; but the table is at 8, where offset 3 is folded.
    let refused = stale.committer.commit(change).await.unwrap_err();
    assert!(matches!(refused, CommitError::Conflict(Conflict::Misfit(_))), "{refused}");
    assert_eq!(ours.ids().await, [7, 8]);
    // What does not depend on offsets is planned again and follows the newest.
    let mut late = Toy::open(store.clone(), "weir").await;
    ours.fold(0).await;
    assert_eq!(late.add(vec![], vec![]).await.id, 10);
}

#[tokio::test]
async fn a_snapshot_put_into_a_hole_is_seen_and_taken_away() {
    let mut ours = Toy::open(memory(), "weir").await;
    for _ in 0..3 {
        ours.fold(0).await;
    }
    let stale = ours.fold(0).await;
    let change = ours.next(0);
    for _ in 0..4 {
        ours.fold(0).await;
    }
    ours.committer.expire(i64::MAX / 2, 0, 2).await.unwrap();
    // The listing before the put may be old when the put takes place.
    let path = ours.committer.paths().snapshot(4);
    ours.store.put_new(&path, stale.to_json().into()).await.unwrap();
    assert!(!ours.committer.holds_its_place(&stale, &change).await.unwrap());
    assert_eq!(ours.ids().await, [7, 8]);
}

#[test]
fn where_a_snapshot_stands_is_told_by_the_ids_around_it() {
    use write::Place::{Hole, InTurn, Unclear};
    let place = |ids: &[i64], id: i64| write::place_of(ids, id);
    assert_eq!(place(&[1], 1), InTurn);
    assert_eq!(place(&[1, 2], 1), InTurn);
    assert_eq!(place(&[3, 4], 4), InTurn);
    assert_eq!(place(&[4], 4), InTurn);
    assert_eq!(place(&[3, 4, 5, 6], 4), InTurn);
    assert_eq!(place(&[4, 7, 8], 4), Hole);
    // Next to the oldest that was left, or gone itself: nobody can tell what it is.
    assert_eq!(place(&[4, 5, 6], 4), Unclear);
    assert_eq!(place(&[5, 6], 4), Unclear);
}

#[tokio::test]
async fn a_schema_that_could_not_be_read_again_is_refused_before_it_is_put() {
    let mut toy = Toy::open(memory(), "weir").await;
    let nested = |depth| {
        let row = |data_type: DataType, _| {
            let column = Column { id: 0, name: "a".into(), column_type: data_type.nullable() };
            DataType::Row(vec![column])
        };
        let data_type: DataType = (0..depth).fold(DataType::Int, row);
        let mut next = toy.committer.schema().unwrap().clone();
        next.id = 1;
        next.columns.push(Column { id: 1, name: "deep".into(), column_type: data_type.nullable() });
        next
    };
    let (deep, flat) = (nested(60), nested(32));
    let refused = toy.committer.add_schema(&deep).await.unwrap_err();
    assert!(matches!(refused, CommitError::UnreadableSchema { id: 1, .. }), "{refused}");
    toy.committer.add_schema(&flat).await.unwrap();
    let again = Toy::open(toy.store.clone(), "weir").await;
    assert_eq!(again.committer.schema(), Some(&flat));
}
