//! The object store on this machine's own files, made as strict as a commit needs it.
//!
//! Reading and listing is `object_store`'s; writing is done here, for three reasons: its half-
//! written files have names (`snapshot-5#1`) that readers of Paimon tables stumble over and that
//! its own listing hides from those who clear up; it syncs a new folder only if it made it itself,
//! so that a folder made by a process that was killed may be lost with all that is in it; and
//! every act can be written down in a [`Journal`], from which tests build what a power cut at any
//! moment would leave.
//!
//! A put: make and sync the folders, write a hidden file, sync it, link (new) or rename (replace)
//! it to its name, sync the folder.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path as FsPath, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::BoxStream;
use futures_util::{StreamExt, TryStreamExt};
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult,
};

use crate::crash::seeded_bug;
use crate::store::StoreError;

const STORE: &str = "local files";

/// One act on files or folders; paths are absolute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileAct {
    /// A folder was made.
    MakeFolder(PathBuf),
    /// The names in a folder were made durable.
    SyncFolder(PathBuf),
    /// A file was made and filled.
    Write(PathBuf, Bytes),
    /// The content of a file was made durable.
    SyncFile(PathBuf),
    /// A file got a second name, which nothing had before.
    Link(PathBuf, PathBuf),
    /// A file got another name, whatever had it before.
    Rename(PathBuf, PathBuf),
    /// A name was taken away.
    Unlink(PathBuf),
}

/// Acts in the order in which they took place.
#[derive(Debug, Default)]
pub struct Journal(Mutex<Vec<FileAct>>);

impl Journal {
    /// What has happened so far.
    pub fn acts(&self) -> Vec<FileAct> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn write_down(&self, act: FileAct) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(act);
    }
}

/// The folder of a store and how its files are written.
#[derive(Debug)]
pub struct LocalFiles {
    reader: LocalFileSystem,
    writer: Arc<Writer>,
}

#[derive(Debug)]
struct Writer {
    folder: PathBuf,
    /// Folders that we have synced into their parents, up to the store's own.
    durable_folders: Mutex<BTreeSet<PathBuf>>,
    journal: Option<Arc<Journal>>,
    syncs_folders: bool,
}

impl LocalFiles {
    /// Opens a folder, which is made if missing.
    pub fn open(folder: &FsPath) -> Result<Self, StoreError> {
        let failed = |doing, source: io::Error| StoreError::Failed {
            doing,
            path: folder.display().to_string(),
            source: generic(source),
        };
        std::fs::create_dir_all(folder).map_err(|error| failed("make the folder", error))?;
        let absolute = folder.canonicalize().map_err(|error| failed("open", error))?;
        let reader = LocalFileSystem::new_with_prefix(&absolute).map_err(|error| {
            StoreError::from_object_store("open", &absolute.to_string_lossy(), error)
        })?;
        let mut above = absolute.parent();
        while let Some(folder) = above {
            // Folders above the store may belong to others; those that are ours to open are synced.
            if sync(folder).is_err() {
                break;
            }
            above = folder.parent();
        }
        let writer = Writer {
            folder: absolute,
            durable_folders: Mutex::default(),
            journal: None,
            syncs_folders: !seeded_bug("no-folder-sync"),
        };
        Ok(Self { reader, writer: Arc::new(writer) })
    }

    /// Writes each act down, for tests that cut the power.
    #[must_use]
    pub fn with_journal(self, journal: Arc<Journal>) -> Self {
        self.rewritten(|writer| writer.journal = Some(journal))
    }

    /// A seeded bug: names are not made durable. Tests must notice.
    #[doc(hidden)]
    #[must_use]
    pub fn without_folder_sync(self) -> Self {
        self.rewritten(|writer| writer.syncs_folders = false)
    }

    fn rewritten(self, change: impl FnOnce(&mut Writer)) -> Self {
        let mut writer = Writer {
            folder: self.writer.folder.clone(),
            durable_folders: Mutex::default(),
            journal: self.writer.journal.clone(),
            syncs_folders: self.writer.syncs_folders,
        };
        change(&mut writer);
        Self { reader: self.reader, writer: Arc::new(writer) }
    }

    /// The folder, absolute.
    pub fn folder(&self) -> &FsPath {
        &self.writer.folder
    }
}

impl Writer {
    fn note(&self, act: FileAct) {
        if let Some(journal) = &self.journal {
            journal.write_down(act);
        }
    }

    fn put(&self, target: &FsPath, payload: &PutPayload, mode: &PutMode) -> Result<(), Error> {
        let folder = target.parent().ok_or_else(|| generic(ErrorKind::InvalidInput.into()))?;
        let name = target.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
        let hidden = folder.join(format!(".{name}.{}.tmp", uuid::Uuid::new_v4()));
        self.make_folder(folder).map_err(generic)?;
        let file = match File::create_new(&hidden) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                // Somebody took the folder away since we made it.
                self.durable_folders().clear();
                self.make_folder(folder).and_then(|()| File::create_new(&hidden))
            }
            made => made,
        };
        let file = file.map_err(generic)?;
        let written = self.fill(file, &hidden, payload);
        let published = written.map_err(generic).and_then(|()| match mode {
            PutMode::Create => self.link(&hidden, target),
            PutMode::Overwrite => self.rename(&hidden, target),
            PutMode::Update(_) => Err(Error::NotImplemented {
                operation: "a conditional update".into(),
                implementer: STORE.into(),
            }),
        });
        if published.is_err() || matches!(mode, PutMode::Create) {
            // If this fails, a hidden file stays behind, which the next clean-up takes away.
            if std::fs::remove_file(&hidden).is_ok() {
                self.note(FileAct::Unlink(hidden));
            }
        }
        published?;
        self.sync_folder(folder).map_err(generic)
    }

    fn fill(&self, mut file: File, path: &FsPath, payload: &PutPayload) -> io::Result<()> {
        payload.iter().try_for_each(|chunk| file.write_all(chunk))?;
        if self.journal.is_some() {
            let content: Vec<u8> = payload.iter().flatten().copied().collect();
            self.note(FileAct::Write(path.to_owned(), content.into()));
        }
        file.sync_all()?;
        self.note(FileAct::SyncFile(path.to_owned()));
        Ok(())
    }

    fn link(&self, hidden: &FsPath, target: &FsPath) -> Result<(), Error> {
        match std::fs::hard_link(hidden, target) {
            Ok(()) => {
                self.note(FileAct::Link(hidden.to_owned(), target.to_owned()));
                Ok(())
            }
            Err(source) if source.kind() == ErrorKind::AlreadyExists => Err(Error::AlreadyExists {
                path: target.display().to_string(),
                source: Box::new(source),
            }),
            Err(source) => Err(generic(source)),
        }
    }

    fn rename(&self, hidden: &FsPath, target: &FsPath) -> Result<(), Error> {
        std::fs::rename(hidden, target).map_err(generic)?;
        self.note(FileAct::Rename(hidden.to_owned(), target.to_owned()));
        Ok(())
    }

    fn sync_folder(&self, folder: &FsPath) -> io::Result<()> {
        if !self.syncs_folders {
            return Ok(());
        }
        sync(folder)?;
        self.note(FileAct::SyncFolder(folder.to_owned()));
        Ok(())
    }

    /// Makes a folder and those above it, and syncs each new name once in our life: that a folder
    /// exists does not say that whoever made it lived to sync it.
    fn make_folder(&self, folder: &FsPath) -> io::Result<()> {
        if folder == self.folder || self.durable_folders().contains(folder) {
            return Ok(());
        }
        let Some(above) = folder.parent() else { return Ok(()) };
        self.make_folder(above)?;
        match std::fs::create_dir(folder) {
            Ok(()) => self.note(FileAct::MakeFolder(folder.to_owned())),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
        self.sync_folder(above)?;
        self.durable_folders().insert(folder.to_owned());
        Ok(())
    }

    fn durable_folders(&self) -> std::sync::MutexGuard<'_, BTreeSet<PathBuf>> {
        self.durable_folders.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn delete(&self, target: &FsPath) -> Result<(), Error> {
        match std::fs::remove_file(target) {
            Ok(()) => {
                self.note(FileAct::Unlink(target.to_owned()));
                Ok(())
            }
            Err(source) if source.kind() == ErrorKind::NotFound => Err(not_found(target, source)),
            Err(source) => Err(generic(source)),
        }
    }
}

impl std::fmt::Display for LocalFiles {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.writer.folder.display())
    }
}

#[async_trait]
impl ObjectStore for LocalFiles {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> object_store::Result<PutResult> {
        let target = self.reader.path_to_filesystem(location)?;
        let writer = Arc::clone(&self.writer);
        blocking(move || writer.put(&target, &payload, &options.mode)).await?;
        Ok(PutResult { e_tag: None, version: None, extensions: Default::default() })
    }

    async fn put_multipart_opts(
        &self,
        _location: &Path,
        _options: PutMultipartOptions,
    ) -> object_store::Result<Box<dyn MultipartUpload>> {
        let operation = "a put in parts".into();
        Err(Error::NotImplemented { operation, implementer: STORE.into() })
    }

    async fn get_opts(
        &self,
        location: &Path,
        options: GetOptions,
    ) -> object_store::Result<GetResult> {
        self.reader.get_opts(location, options).await
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, object_store::Result<Path>>,
    ) -> BoxStream<'static, object_store::Result<Path>> {
        let writer = Arc::clone(&self.writer);
        let reader = self.reader.clone();
        locations
            .and_then(move |location| {
                let writer = Arc::clone(&writer);
                let target = reader.path_to_filesystem(&location);
                async move {
                    let target = target?;
                    blocking(move || writer.delete(&target)).await?;
                    Ok(location)
                }
            })
            .boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, object_store::Result<ObjectMeta>> {
        self.reader.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> object_store::Result<ListResult> {
        self.reader.list_with_delimiter(prefix).await
    }

    async fn copy_opts(
        &self,
        _from: &Path,
        _to: &Path,
        _options: CopyOptions,
    ) -> object_store::Result<()> {
        Err(Error::NotImplemented { operation: "a copy".into(), implementer: STORE.into() })
    }
}

/// Runs an act on the runtime's blocking threads, or here where there is no runtime.
async fn blocking<T: Send + 'static>(
    act: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    match tokio::runtime::Handle::try_current() {
        Ok(runtime) => runtime.spawn_blocking(act).await?,
        Err(_) => act(),
    }
}

/// Syncs a file and then each folder from its own up to and including `root`.
pub(super) fn sync_file_and_folders(file: &FsPath, root: &FsPath) -> io::Result<()> {
    sync(file)?;
    for folder in file.ancestors().skip(1) {
        sync(folder)?;
        if folder == root {
            break;
        }
    }
    Ok(())
}

/// The whole of a file.
pub(super) fn read_whole(path: &FsPath) -> Result<Bytes, Error> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(bytes.into()),
        Err(source) if source.kind() == ErrorKind::NotFound => Err(not_found(path, source)),
        Err(source) => Err(generic(source)),
    }
}

/// A part of a file, which must reach that far.
pub(super) fn read_range(path: &FsPath, range: Range<u64>) -> Result<Bytes, Error> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(source) if source.kind() == ErrorKind::NotFound => return Err(not_found(path, source)),
        Err(source) => return Err(generic(source)),
    };
    let file_bytes = file.metadata().map_err(generic)?.len();
    if range.start > range.end || range.end > file_bytes {
        let reason = format!("{range:?} lies outside its {file_bytes} bytes");
        return Err(generic(io::Error::new(ErrorKind::UnexpectedEof, reason)));
    }
    let length = usize::try_from(range.end - range.start)
        .map_err(|error| generic(io::Error::new(ErrorKind::InvalidInput, error)))?;
    let mut bytes = vec![0; length];
    file.read_exact_at(&mut bytes, range.start).map_err(generic)?;
    Ok(bytes.into())
}

fn sync(path: &FsPath) -> io::Result<()> {
    File::open(path)?.sync_all()
}

fn generic(source: io::Error) -> Error {
    Error::Generic { store: STORE, source: Box::new(source) }
}

fn not_found(path: &FsPath, source: io::Error) -> Error {
    Error::NotFound { path: path.display().to_string(), source: Box::new(source) }
}
