//! The object store that holds the tables: named places for bytes, all below one root.
//!
//! - [`Store::put_new`] creates and never replaces: of many that put the same name at once, one
//!   wins. That is what makes a snapshot a commit.
//! - What a put has answered survives a power cut: content, name and the folders above it.
//! - Half-written files have hidden names (`.<name>.<uuid>.tmp`) that no reader of a table takes
//!   for a file of it.
//!
//! Paths are relative to the root, parted by `/`, and are taken as they are: nothing is escaped.

mod local;

use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::TryStreamExt;
use object_store::path::Path;
use object_store::{
    GetOptions, ObjectMeta, ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload,
};

pub use local::{FileAct, Journal, LocalFiles};

/// A failed act on the store: what was tried, where, and why it failed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Somebody else has already put a file of that name.
    #[error("{path} exists already")]
    AlreadyExists {
        /// The name that was asked for.
        path: String,
    },
    /// There is no such file.
    #[error("{path} does not exist")]
    NotFound {
        /// The name that was asked for.
        path: String,
    },
    /// The location or path cannot be a place in a store.
    #[error("{path:?} is no valid place in a store: {reason}")]
    Invalid {
        /// The location or path.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The store failed; whether the act took place is not known.
    #[error("cannot {doing} {path}: {source}")]
    Failed {
        /// The act.
        doing: &'static str,
        /// Where.
        path: String,
        /// What the store said.
        source: object_store::Error,
    },
}

impl StoreError {
    /// Is the file simply not there?
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::NotFound { .. })
    }

    fn from_object_store(doing: &'static str, path: &str, source: object_store::Error) -> Self {
        let path = path.to_owned();
        match source {
            object_store::Error::AlreadyExists { .. } => Self::AlreadyExists { path },
            object_store::Error::NotFound { .. } => Self::NotFound { path },
            source => Self::Failed { doing, path, source },
        }
    }
}

/// A file as a listing shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredFile {
    /// Its path below the root of the store.
    pub path: String,
    /// Its length.
    pub size_bytes: u64,
    /// When it was last written, by the store's clock.
    pub modified_ms: i64,
}

impl StoredFile {
    /// The last part of the path.
    pub fn name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or(&self.path)
    }

    /// Is it a half-written file, which no reader may look at?
    pub fn is_temporary(&self) -> bool {
        self.name().starts_with('.')
    }
}

impl From<ObjectMeta> for StoredFile {
    fn from(meta: ObjectMeta) -> Self {
        Self {
            path: meta.location.to_string(),
            size_bytes: meta.size,
            modified_ms: meta.last_modified.timestamp_millis(),
        }
    }
}

/// A place for files; cheap to clone.
#[derive(Clone, Debug)]
pub struct Store {
    objects: Arc<dyn ObjectStore>,
    /// The folder, where the store is one on this machine: reads may go straight to its files.
    folder: Option<Arc<PathBuf>>,
    location: Arc<str>,
}

impl Store {
    /// Opens the store at a `file://` URL or the path of a folder, which is made if missing.
    pub fn open(location: &str) -> Result<Store, StoreError> {
        let invalid =
            |reason: &str| StoreError::Invalid { path: location.into(), reason: reason.into() };
        let folder = match location.split_once("://") {
            Some(("file", path)) if path.starts_with('/') => path,
            Some(("file", _)) => return Err(invalid("a file URL reads file:///absolute/path")),
            Some(_) => return Err(invalid("only folders and file:// URLs are served so far")),
            None if location.is_empty() => return Err(invalid("it is empty")),
            None => location,
        };
        Ok(Self::of_local(LocalFiles::open(std::path::Path::new(folder))?))
    }

    /// A store on local files that were opened before (tests open them with a journal).
    pub fn of_local(files: LocalFiles) -> Store {
        let location = files.folder().display().to_string().into();
        let folder = Some(Arc::new(files.folder().to_owned()));
        Store { objects: Arc::new(files), folder, location }
    }

    /// A store over any object store (tests put one with faults here).
    pub fn of_objects(objects: Arc<dyn ObjectStore>) -> Store {
        let location = objects.to_string().into();
        Store { objects, folder: None, location }
    }

    /// Where the store is, for people.
    pub fn location(&self) -> &str {
        &self.location
    }

    /// Puts a new file; refuses to replace one. Durable when it returns.
    pub async fn put_new(&self, path: &str, bytes: Bytes) -> Result<(), StoreError> {
        self.put_as(path, bytes, PutMode::Create, "create").await
    }

    /// Puts a file in place of one that may be there. Durable when it returns. For hints only.
    pub async fn put(&self, path: &str, bytes: Bytes) -> Result<(), StoreError> {
        self.put_as(path, bytes, PutMode::Overwrite, "write").await
    }

    async fn put_as(
        &self,
        path: &str,
        bytes: Bytes,
        mode: PutMode,
        doing: &'static str,
    ) -> Result<(), StoreError> {
        let place = place(path)?;
        let options = PutOptions { mode, ..PutOptions::default() };
        let put = self.objects.put_opts(&place, PutPayload::from_bytes(bytes), options).await;
        put.map(drop).map_err(|source| StoreError::from_object_store(doing, path, source))
    }

    /// Makes sure that a file which is there stays there after a power cut. A put that answered
    /// needs none of this; it is for files whose put was cut short, here or in another process.
    pub async fn make_durable(&self, path: &str) -> Result<(), StoreError> {
        place(path)?;
        let Some(folder) = self.folder.clone() else { return Ok(()) };
        let file = folder.join(path);
        let synced =
            tokio::task::spawn_blocking(move || local::sync_file_and_folders(&file, &folder));
        let failed = |source| StoreError::Failed {
            doing: "sync",
            path: path.into(),
            source: object_store::Error::Generic { store: "local files", source },
        };
        match synced.await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(failed(Box::new(error))),
            Err(error) => Err(failed(Box::new(error))),
        }
    }

    /// The whole of a file.
    pub async fn get(&self, path: &str) -> Result<Bytes, StoreError> {
        let failed = |source| StoreError::from_object_store("read", path, source);
        let found = self.objects.get_opts(&place(path)?, GetOptions::default()).await;
        found.map_err(failed)?.bytes().await.map_err(failed)
    }

    /// A part of a file; a range that reaches beyond its end is an error.
    pub async fn get_range(&self, path: &str, range: Range<u64>) -> Result<Bytes, StoreError> {
        let asked = range.end.saturating_sub(range.start);
        let failed = |source| StoreError::from_object_store("read", path, source);
        let found = self.objects.get_range(&place(path)?, range.clone()).await.map_err(failed)?;
        if found.len() as u64 == asked {
            return Ok(found);
        }
        let reason = format!("it ends before byte {}", range.end);
        Err(StoreError::Invalid { path: path.into(), reason })
    }

    /// As [`Store::put_new`], for threads that may block.
    pub fn put_new_blocking(&self, path: &str, bytes: Bytes) -> Result<(), StoreError> {
        block_on(self.put_new(path, bytes))
    }

    /// As [`Store::delete`], for threads that may block.
    pub fn delete_blocking(&self, path: &str) -> Result<(), StoreError> {
        block_on(self.delete(path))
    }

    /// The whole of a file, for threads that may block.
    pub fn get_blocking(&self, path: &str) -> Result<Bytes, StoreError> {
        match &self.folder {
            Some(folder) => {
                place(path)?;
                local::read_whole(&folder.join(path))
                    .map_err(|source| StoreError::from_object_store("read", path, source))
            }
            None => block_on(self.get(path)),
        }
    }

    /// A part of a file, for threads that may block.
    pub fn get_range_blocking(&self, path: &str, range: Range<u64>) -> Result<Bytes, StoreError> {
        match &self.folder {
            Some(folder) => {
                place(path)?;
                local::read_range(&folder.join(path), range)
                    .map_err(|source| StoreError::from_object_store("read", path, source))
            }
            None => block_on(self.get_range(path, range)),
        }
    }

    /// All files below a folder, at any depth, by path. Half-written ones are left out. A folder
    /// that does not exist is empty.
    pub async fn list(&self, folder: &str) -> Result<Vec<StoredFile>, StoreError> {
        let mut files = self.list_with_temporary(folder).await?;
        files.retain(|file| !file.is_temporary());
        Ok(files)
    }

    /// As [`Store::list`], and the half-written files too: for those who clear them away.
    pub async fn list_with_temporary(&self, folder: &str) -> Result<Vec<StoredFile>, StoreError> {
        let prefix = if folder.is_empty() { None } else { Some(place(folder)?) };
        let listed = self.objects.list(prefix.as_ref()).map_ok(StoredFile::from);
        let mut files: Vec<StoredFile> = listed
            .try_collect()
            .await
            .map_err(|source| StoreError::from_object_store("list", folder, source))?;
        files.sort_by(|left, right| left.path.cmp(&right.path));
        Ok(files)
    }

    /// Names of the folders directly below a folder.
    pub async fn list_folders(&self, folder: &str) -> Result<Vec<String>, StoreError> {
        let prefix = if folder.is_empty() { None } else { Some(place(folder)?) };
        let listed = self.objects.list_with_delimiter(prefix.as_ref()).await;
        let failed = |source| StoreError::from_object_store("list", folder, source);
        let names = listed.map_err(failed)?.common_prefixes;
        Ok(names.iter().filter_map(|path| path.filename().map(str::to_owned)).collect())
    }

    /// Deletes a file; that it is gone already is fine.
    pub async fn delete(&self, path: &str) -> Result<(), StoreError> {
        match self.objects.delete(&place(path)?).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(source) => Err(StoreError::from_object_store("delete", path, source)),
        }
    }

    /// Is there a file of that name?
    pub async fn exists(&self, path: &str) -> Result<bool, StoreError> {
        match self.objects.head(&place(path)?).await {
            Ok(_) => Ok(true),
            Err(object_store::Error::NotFound { .. }) => Ok(false),
            Err(source) => Err(StoreError::from_object_store("look for", path, source)),
        }
    }
}

/// A path as the object store wants it; `..`, empty parts and the like are refused.
fn place(path: &str) -> Result<Path, StoreError> {
    let invalid = |reason: String| StoreError::Invalid { path: path.into(), reason };
    let place = Path::parse(path).map_err(|error| invalid(error.to_string()))?;
    if place.as_ref() != path {
        return Err(invalid("it begins or ends with a slash".into()));
    }
    Ok(place)
}

/// Waits for a future on a thread that may block, inside a runtime or outside of any.
fn block_on<T>(future: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
    if let Ok(runtime) = tokio::runtime::Handle::try_current() {
        return runtime.block_on(future);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    runtime
        .expect("a runtime without timers and sockets asks nothing of the system")
        .block_on(future)
}

#[cfg(test)]
mod tests;
