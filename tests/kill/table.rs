//! The table beside the log: at every snapshot that is left, the rows are those that the records
//! below the snapshot's own offsets make, worked out in another way.
//!
//! - ids have no gap, a snapshot that was seen never changes, offsets never go back;
//! - folded, quarantined and skipped are what the records are, and add up to the span;
//! - what is set aside is what is no row;
//! - in the end nothing lies about that no snapshot names.
//!
//! A death in the midst of an expiry leaves snapshots that are half gone, until the next expiry
//! ends it. Only snapshots that an expiry was free to take may be so.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use arrow_array::RecordBatch;
use bytes::Bytes;
use uuid::Uuid;
use weir_compactor::committer::files::TableFiles;
use weir_compactor::paimon::commit::FileEntry;
use weir_compactor::paimon::expire::SNAPSHOTS_AT_ONCE_MAX;
use weir_compactor::paimon::paths::TablePaths;
use weir_compactor::paimon::snapshot::{CommitKind, Counts, Snapshot};
use weir_compactor::scan::{self, scan};
use weir_compactor::schema::TableSchema;
use weir_compactor::store::Store;
use weir_compactor::verify::Refold;
use weir_protocol::records::Offset;
use weir_protocol::records::record::{Headers, Record};
use weir_protocol::table::settings::TableSettings;

use crate::kill::PATIENCE;
use crate::kill::content::{Content, Kind, change};
use crate::kill::history::History;
use crate::kill::machine::{Machine, PARTITIONS, TOPIC};

/// Between two looks at a folder, which cannot be awaited.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Whether the last process may have died in an expiry.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    Killed,
    InGoodOrder,
}

/// The table, and what was seen of it.
pub(super) struct Table {
    store: Store,
    settings: TableSettings,
    retain_min: usize,
    /// Every snapshot that was ever seen.
    known: BTreeMap<i64, Snapshot>,
    /// The last snapshot whose rows were compared.
    compared: i64,
    fold: Option<Folded>,
    /// How often the rows of a snapshot were compared.
    pub(super) compared_count: u64,
}

/// The records up to some offsets, folded.
#[derive(Clone)]
struct Folded {
    schema_id: i64,
    refold: Refold,
    next: BTreeMap<i32, i64>,
    counts: Counts,
    bad: BTreeSet<(i32, Offset)>,
}

impl Table {
    /// The table that the topic's settings declare; at least so many snapshots are kept.
    pub(super) fn new(machine: &Machine, configs: &[(&str, &str)], retain_min: usize) -> Table {
        std::fs::create_dir_all(machine.warehouse()).expect("a folder");
        let warehouse = machine.warehouse();
        let configs = configs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Table {
            store: Store::open(warehouse.to_str().expect("a readable path")).expect("a store"),
            settings: TableSettings::parse(TOPIC, &configs.collect()).expect("good settings"),
            retain_min,
            known: BTreeMap::new(),
            compared: 0,
            fold: None,
            compared_count: 0,
        }
    }

    /// The newest snapshot that was seen.
    pub(super) fn newest(&self) -> i64 {
        self.known.keys().last().copied().unwrap_or(0)
    }

    /// How many of the snapshots that were seen are compactions.
    pub(super) fn compaction_count(&self) -> usize {
        let is_compaction = |it: &&Snapshot| it.commit_kind == CommitKind::Compact;
        self.known.values().filter(is_compaction).count()
    }

    async fn files(&self) -> TableFiles {
        let name = &self.settings.name;
        let paths = TablePaths::new(&name.database, &name.table, Vec::new()).expect("good names");
        TableFiles::open(self.store.clone(), paths).await.expect("the table can be opened")
    }

    /// Looks at all snapshots; compares the rows of the newest one, and of all that are new. No
    /// compactor may run.
    pub(super) async fn check(&mut self, history: &History, ended: Ended) {
        let files = self.files().await;
        let schemas = files.schemas().await.expect("schemas can be read");
        let ids = files.snapshot_ids().await.expect("a folder can be listed");
        let (Some(newest), Some(schema)) = (ids.last().copied(), schemas.last().cloned()) else {
            assert_eq!(self.newest(), 0, "the table is gone");
            return;
        };
        assert!(newest >= self.newest(), "snapshot {} is gone", self.newest());
        assert!(ids.windows(2).all(|pair| pair[0] + 1 == pair[1]), "a gap in {ids:?}");
        let mut snapshots = Vec::new();
        for id in &ids {
            let snapshot = files.snapshot(*id).await.expect("snapshots are whole");
            let known = self.known.entry(*id).or_insert_with(|| snapshot.clone());
            assert_eq!(*known, snapshot, "a snapshot is never replaced");
            snapshots.push(snapshot);
        }
        self.check_order();
        let mut fold = match self.fold.take() {
            Some(fold) if fold.schema_id == schema.id => fold,
            _ => Folded::new(&self.settings, &schema),
        };
        let reader = reader(&files, schemas);
        for (place, snapshot) in snapshots.iter().enumerate() {
            let is_new = snapshot.id > self.compared || snapshot.id == newest;
            if !is_new {
                continue;
            }
            fold.fold_up_to(snapshot, history);
            let may_be_expired = place < SNAPSHOTS_AT_ONCE_MAX
                && place + self.retain_min < snapshots.len()
                && ended == Ended::Killed;
            match rows(&files, &reader, snapshot).await {
                Ok(rows) => {
                    fold.compare(snapshot, rows);
                    self.compared_count += 1;
                }
                Err(error) if may_be_expired && is_gone(&error) => {}
                Err(error) => panic!("snapshot {} of {ids:?}: {error}", snapshot.id),
            }
        }
        let newest = &snapshots[snapshots.len() - 1];
        let set_aside = files.quarantined_records(newest).await.expect("they can be read");
        let set_aside: Vec<(i32, Offset)> =
            set_aside.iter().map(|record| (record.partition, record.offset)).collect();
        let unique: BTreeSet<(i32, Offset)> = set_aside.iter().copied().collect();
        assert_eq!(unique.len(), set_aside.len(), "a record was set aside twice");
        assert_eq!(unique, fold.bad, "what is set aside is what is no row");
        self.compared = newest.id;
        self.fold = Some(fold);
    }
}

impl Table {
    /// Compares every snapshot that is left, with all records folded anew.
    pub(super) async fn check_anew(&mut self, history: &History) {
        self.compared = 0;
        self.fold = None;
        self.check(history, Ended::InGoodOrder).await;
    }

    /// Offsets, counts and numbers of commits go forward only.
    fn check_order(&self) {
        let snapshots: Vec<&Snapshot> = self.known.values().collect();
        for pair in snapshots.windows(2) {
            let id = pair[1].id;
            assert!(pair[0].commit_identifier < pair[1].commit_identifier, "snapshot {id}");
            let next = pair[1].checkpoint().expect("it is whole");
            for (partition, before) in pair[0].checkpoint().expect("it is whole").next {
                let after = next.next_of(partition);
                assert!(after >= Some(before), "snapshot {id}: partition {partition} went back");
            }
        }
    }

    /// Waits until a compactor that runs has folded the whole log, which does not grow, and has
    /// expired all that may go, what an expiry before it left half gone among it.
    pub(super) async fn caught_up(&self, history: &History) {
        let files = self.files().await;
        let ends: BTreeMap<i32, Offset> = (0..PARTITIONS)
            .map(|partition| (partition, Offset(history.partition(partition).len() as i64)))
            .collect();
        let wait = async {
            loop {
                let ids = files.snapshot_ids().await.expect("a folder can be listed");
                if ids.len() == self.retain_min
                    && let Some(newest) = ids.last()
                    && let Ok(Some(newest)) = files.snapshot_if_there(*newest).await
                    && newest.checkpoint().expect("it is whole").next == ends
                {
                    return;
                }
                tokio::time::sleep(LOOK_EVERY).await;
            }
        };
        tokio::time::timeout(PATIENCE, wait).await.expect("the table catches up");
    }
}

impl Table {
    /// Puts a file where a commit that was cut short could have left it.
    pub(super) async fn litter(&self) {
        let files = self.files().await;
        let name = format!("manifest-{}-0", Uuid::from_u128(1));
        let path = files.paths().manifest(&name).expect("a name of ours");
        self.store.put_new(&path, Bytes::new()).await.expect("it can be put");
    }

    /// Waits until a compactor that runs has cleared away every file that no snapshot names.
    pub(super) async fn cleared(&self) {
        let wait = async {
            while !self.orphans().await.is_empty() {
                tokio::time::sleep(LOOK_EVERY).await;
            }
        };
        if tokio::time::timeout(PATIENCE, wait).await.is_err() {
            panic!("these files stay: {:?}", self.orphans().await);
        }
    }

    /// The files that are there and that no snapshot names.
    async fn orphans(&self) -> BTreeSet<String> {
        let files = self.files().await;
        let paths = files.paths();
        let listed = self.store.list_with_temporary(paths.root()).await.expect("it can be listed");
        let mut orphans: BTreeSet<String> = listed.into_iter().map(|file| file.path).collect();
        for folder in ["schema", "snapshot"] {
            let folder = paths.folder(folder);
            orphans.retain(|path| !path.starts_with(&folder) || path.ends_with(".tmp"));
        }
        for id in files.snapshot_ids().await.expect("a folder can be listed") {
            let Ok(Some(snapshot)) = files.snapshot_if_there(id).await else { continue };
            // Its manifests may be gone, when it is about to be expired.
            let manifests = files.manifests(&snapshot).await.unwrap_or_default();
            let lines = files.entries(&manifests).await.unwrap_or_default();
            for line in lines {
                let FileEntry { partition, bucket, file, .. } = &line.entry;
                let path = paths.data_file(partition, *bucket, &file.file_name);
                orphans.remove(&path.expect("a name of ours"));
            }
            let lists = [&snapshot.base_manifest_list, &snapshot.delta_manifest_list];
            let manifests = manifests.iter().map(|manifest| &manifest.file_name);
            for name in lists.into_iter().chain(manifests) {
                orphans.remove(&paths.manifest(name).expect("a name of ours"));
            }
            let quarantine = files.quarantine_files(&snapshot).await.unwrap_or_default().files;
            let list = snapshot.quarantine().expect("it is whole").map(|list| list.list);
            for name in quarantine.into_iter().map(|file| file.name).chain(list) {
                orphans.remove(&paths.quarantine(&name).expect("a name of ours"));
            }
        }
        orphans
    }
}

impl Folded {
    fn new(settings: &TableSettings, schema: &TableSchema) -> Folded {
        Folded {
            schema_id: schema.id,
            refold: Refold::new(settings, schema, BTreeSet::new()),
            next: BTreeMap::new(),
            counts: Counts::default(),
            bad: BTreeSet::new(),
        }
    }

    /// Folds on to where a snapshot ends, which must agree on what became of the records.
    fn fold_up_to(&mut self, snapshot: &Snapshot, history: &History) {
        let checkpoint = snapshot.checkpoint().expect("it is whole");
        for (partition, end) in checkpoint.next {
            let from = self.next.insert(partition, end.0).unwrap_or(0);
            let known = history.partition(partition);
            let told = format!("snapshot {}, partition {partition}: {end}", snapshot.id);
            assert!(end.0 as usize <= known.len(), "{told} is beyond the log's end");
            for (offset, origin) in (from..end.0).zip(&known[from as usize..]) {
                self.add(partition, Offset(offset), change(*origin));
            }
        }
        let span: i64 = self.next.values().sum();
        let Counts { folded, quarantined, skipped } = snapshot.counts().expect("it is whole");
        assert_eq!((folded + quarantined + skipped) as i64, span, "snapshot {}", snapshot.id);
        assert_eq!(
            snapshot.counts().expect("it is whole"),
            self.counts,
            "snapshot {}",
            snapshot.id
        );
        let listed = snapshot.quarantine().expect("it is whole").map_or(0, |list| list.records);
        assert_eq!(listed, quarantined, "snapshot {}", snapshot.id);
    }

    fn add(&mut self, partition: i32, offset: Offset, content: Content) {
        let Content { kind, key, value } = content;
        match kind {
            Kind::Upsert | Kind::Delete => self.counts.folded += 1,
            Kind::Nothing => self.counts.skipped += 1,
            Kind::Bad => {
                self.counts.quarantined += 1;
                self.bad.insert((partition, offset));
                return;
            }
        }
        let headers = Headers::default();
        self.refold.add(partition, &Record { offset, timestamp_ms: 0, key, value, headers });
    }

    fn compare(&self, snapshot: &Snapshot, rows: Vec<RecordBatch>) {
        let rows = rows.into_iter().map(Ok::<_, Infallible>);
        let compared = self.refold.clone().compare(rows).unwrap_or_else(|never| match never {});
        assert!(compared.is_equal(), "snapshot {}: {compared:#?}", snapshot.id);
        assert_eq!(compared.ambiguous_count, 0);
    }
}

/// The rows of a snapshot as a reader sees them, or why they cannot be read.
async fn rows(
    files: &TableFiles,
    reader: &scan::TableFiles,
    snapshot: &Snapshot,
) -> Result<Vec<RecordBatch>, String> {
    let live = files.live_files(snapshot).await.map_err(|error| chain(&error))?;
    let (reader, live) = (reader.clone(), live.iter().cloned().collect());
    let read = move || -> Result<Vec<RecordBatch>, String> {
        let rows = scan(reader, live).map_err(|error| chain(&error))?;
        rows.collect::<Result<_, _>>().map_err(|error| chain(&error))
    };
    tokio::task::spawn_blocking(read).await.expect("reading does not panic")
}

/// How the table is read: with all its schemas, rows by the newest one.
fn reader(files: &TableFiles, schemas: Vec<TableSchema>) -> scan::TableFiles {
    let newest = schemas.last().cloned().expect("the table has a schema");
    scan::TableFiles {
        store: files.store().clone(),
        paths: files.paths().clone(),
        schemas: Arc::new(schemas.into_iter().map(|schema| (schema.id, schema)).collect()),
        schema: Arc::new(newest),
    }
}

fn is_gone(error: &str) -> bool {
    error.contains("does not exist")
}

fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        text = format!("{text}: {inner}");
        source = inner.source();
    }
    text
}
