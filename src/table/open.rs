//! A table at one of its snapshots, opened for reading.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use weir_compactor::committer::files::TableFiles;
use weir_compactor::paimon::manifest::FileEntry;
use weir_compactor::paimon::paths::TablePaths;
use weir_compactor::paimon::snapshot::Snapshot;
use weir_compactor::scan::{self, Scan};
use weir_compactor::schema::TableSchema;
use weir_compactor::store::Store;

use crate::failure::Failure;

/// Opens a warehouse that is there; a mistyped folder is not made.
pub(crate) fn open_warehouse(location: &str) -> Result<Store, Failure> {
    let path = location.strip_prefix("file://").unwrap_or(location);
    if !path.contains("://") && !Path::new(path).is_dir() {
        return Err(Failure::new(format!(
            "--warehouse {location}: there is no such folder; name the compactor's warehouse"
        )));
    }
    Store::open(location).map_err(|error| Failure::new(format!("--warehouse {location}: {error}")))
}

/// `database.table`, or the name of a table in the database `default`.
pub(crate) fn split_name(name: &str) -> (&str, &str) {
    name.split_once('.').unwrap_or(("default", name))
}

/// A table, and the snapshot at which it is looked at.
#[derive(Clone, Debug)]
pub(crate) struct OpenTable {
    /// `database.table`.
    pub(crate) name: String,
    pub(crate) files: TableFiles,
    /// By id.
    pub(crate) schemas: Arc<BTreeMap<i64, TableSchema>>,
    /// Ids of all that are kept, oldest first.
    pub(crate) snapshot_ids: Vec<i64>,
    /// Absent: nothing was committed yet.
    pub(crate) snapshot: Option<Snapshot>,
}

impl OpenTable {
    /// Opens a table at a snapshot, or at its newest one.
    pub(crate) async fn open(
        store: &Store,
        name: &str,
        snapshot: Option<i64>,
    ) -> Result<OpenTable, Failure> {
        let (database, table) = split_name(name);
        let name = format!("{database}.{table}");
        let paths = TablePaths::new(database, table, Vec::new())
            .map_err(|error| Failure::new(format!("{name}: {error}")))?;
        let files = TableFiles::open(store.clone(), paths).await?;
        let schemas = files.schemas().await?;
        if schemas.is_empty() {
            let place = store.location();
            return Err(Failure::new(format!(
                "there is no table {name} in {place}; `weir table list` shows those that are"
            )));
        }
        let schemas = schemas.into_iter().map(|schema| (schema.id, schema)).collect();
        let snapshot_ids = files.snapshot_ids().await?;
        let mut opened =
            OpenTable { name, files, schemas: Arc::new(schemas), snapshot_ids, snapshot: None };
        if let Some(id) = snapshot.or_else(|| opened.snapshot_ids.last().copied()) {
            opened = opened.at(id).await?;
        }
        Ok(opened)
    }

    /// The same table at another snapshot.
    pub(crate) async fn at(&self, id: i64) -> Result<OpenTable, Failure> {
        let found = self.files.snapshot_if_there(id).await?;
        let Some(snapshot) = found else {
            let kept = match (self.snapshot_ids.first(), self.snapshot_ids.last()) {
                (Some(first), Some(last)) => format!("{first} to {last} are kept"),
                _ => "there is none yet".to_owned(),
            };
            return Err(Failure::new(format!("{} has no snapshot {id}: {kept}", self.name)));
        };
        Ok(OpenTable { snapshot: Some(snapshot), ..self.clone() })
    }

    /// The schema of the snapshot, or the newest one.
    pub(crate) fn schema(&self) -> &TableSchema {
        let of_snapshot =
            self.snapshot.as_ref().and_then(|snapshot| self.schemas.get(&snapshot.schema_id));
        let newest = || self.schemas.values().next_back().expect("a table has a schema");
        of_snapshot.unwrap_or_else(newest)
    }

    /// The data files of the snapshot.
    pub(crate) async fn live_files(&self) -> Result<Vec<FileEntry>, Failure> {
        let Some(snapshot) = &self.snapshot else { return Ok(Vec::new()) };
        Ok(self.files.live_files(snapshot).await?.iter().cloned().collect())
    }

    /// Its rows. Reading them blocks.
    pub(crate) fn scan(&self, live: Vec<FileEntry>) -> Result<Scan, Failure> {
        let table = scan::TableFiles {
            store: self.files.store().clone(),
            paths: self.files.paths().clone(),
            schemas: Arc::clone(&self.schemas),
            schema: Arc::new(self.schema().clone()),
        };
        Ok(scan::scan(table, live)?)
    }
}
