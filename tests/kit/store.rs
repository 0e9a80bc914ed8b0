//! An object store that fails at a chosen operation, and what a power cut leaves of a local one.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path as FsPath, PathBuf};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::{self, BoxStream};
use futures_util::{StreamExt, TryStreamExt};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, ObjectStoreExt, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use weir_compactor::store::FileAct;

/// What goes wrong at the chosen operation.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It does not take place and says so; later ones work.
    Refused,
    /// It takes place and says that it failed; later ones work.
    AnswerLost,
    /// It does not take place, and nothing works from then on.
    PowerCut,
    /// It takes place without an answer, and nothing works from then on.
    PowerCutAfter,
}

/// All of them.
pub const FAULTS: [Fault; 4] =
    [Fault::Refused, Fault::AnswerLost, Fault::PowerCut, Fault::PowerCutAfter];

#[derive(Debug)]
struct Schedule {
    operations: u64,
    fault_at: u64,
    is_dead: bool,
}

/// A store around another one. Operations are counted from 1.
#[derive(Debug)]
pub struct FaultyStore {
    inner: Arc<dyn ObjectStore>,
    fault: Fault,
    schedule: Mutex<Schedule>,
}

impl FaultyStore {
    pub fn new(inner: Arc<dyn ObjectStore>, fault: Fault, fault_at: u64) -> Arc<Self> {
        let schedule = Mutex::new(Schedule { operations: 0, fault_at, is_dead: false });
        Arc::new(Self { inner, fault, schedule })
    }

    /// Did the fault take place, or was the run shorter?
    pub fn has_failed(&self) -> bool {
        let schedule = self.schedule.lock().unwrap();
        schedule.operations >= schedule.fault_at
    }

    /// Counts an operation: `Err` before it, or what to do with its outcome.
    fn pass(&self) -> Result<bool> {
        let mut schedule = self.schedule.lock().unwrap();
        schedule.operations += 1;
        if schedule.is_dead {
            return Err(broken("the power is off"));
        }
        if schedule.operations != schedule.fault_at {
            return Ok(true);
        }
        schedule.is_dead = matches!(self.fault, Fault::PowerCut | Fault::PowerCutAfter);
        match self.fault {
            Fault::Refused | Fault::PowerCut => Err(broken("refused")),
            Fault::AnswerLost | Fault::PowerCutAfter => Ok(false),
        }
    }
}

fn broken(reason: &str) -> Error {
    Error::Generic { store: "faulty store", source: reason.into() }
}

fn answered<T>(is_answered: bool, outcome: Result<T>) -> Result<T> {
    if is_answered { outcome } else { Err(broken("the answer was lost")) }
}

impl fmt::Display for FaultyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "faulty {}", self.inner)
    }
}

#[async_trait]
impl ObjectStore for FaultyStore {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> Result<PutResult> {
        let is_answered = self.pass()?;
        answered(is_answered, self.inner.put_opts(location, payload, options).await)
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(location, options).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let is_answered = self.pass()?;
        answered(is_answered, self.inner.get_opts(location, options).await)
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        match self.pass() {
            Ok(true) => self.inner.delete_stream(locations),
            Ok(false) => {
                let deleted = self.inner.delete_stream(locations);
                deleted.map(|_| Err(broken("the answer was lost"))).boxed()
            }
            Err(error) => stream::once(async { Err(error) }).boxed(),
        }
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        match self.pass() {
            Ok(true) => self.inner.list(prefix),
            Ok(false) => stream::once(async { Err(broken("the answer was lost")) }).boxed(),
            Err(error) => stream::once(async { Err(error) }).boxed(),
        }
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        let is_answered = self.pass()?;
        answered(is_answered, self.inner.list_with_delimiter(prefix).await)
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

/// Files of a local store as the disk would hold them after a power cut.
///
/// Names and contents are kept apart into what is synced and what is not yet; a folder's names are
/// lost with it if its own name was never synced.
#[derive(Clone, Debug, Default)]
pub struct DiskImage {
    contents: BTreeMap<u64, Content>,
    names: BTreeMap<PathBuf, u64>,
    durable_names: BTreeMap<PathBuf, u64>,
    folders: BTreeSet<PathBuf>,
    durable_folders: BTreeSet<PathBuf>,
    next: u64,
}

#[derive(Clone, Debug)]
struct Content {
    bytes: Bytes,
    is_durable: bool,
}

/// What becomes of that which was not synced.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Unsynced {
    /// All of it is lost.
    Lost,
    /// All of it made it to the disk.
    Kept,
    /// Each name and content by itself, by the bits of a seed.
    Chance(u64),
}

impl Unsynced {
    fn keeps(self, name: &FsPath) -> bool {
        match self {
            Unsynced::Lost => false,
            Unsynced::Kept => true,
            Unsynced::Chance(seed) => {
                let mut hash = seed ^ 0x9e37_79b9_7f4a_7c15;
                for byte in name.as_os_str().as_encoded_bytes() {
                    hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
                }
                (hash >> 32) & 1 == 1
            }
        }
    }
}

impl DiskImage {
    /// Does what the store did.
    pub fn follow(&mut self, act: &FileAct) {
        match act {
            FileAct::MakeFolder(path) => drop(self.folders.insert(path.clone())),
            FileAct::Write(path, bytes) => {
                self.next += 1;
                let content = Content { bytes: bytes.clone(), is_durable: false };
                self.contents.insert(self.next, content);
                self.names.insert(path.clone(), self.next);
            }
            FileAct::SyncFile(path) => {
                let content = self.contents.get_mut(&self.names[path]).unwrap();
                content.is_durable = true;
            }
            FileAct::Link(from, to) => {
                let content = self.names[from];
                assert!(self.names.insert(to.clone(), content).is_none(), "{to:?} was there");
            }
            FileAct::Rename(from, to) => {
                let content = self.names.remove(from).unwrap();
                self.names.insert(to.clone(), content);
            }
            FileAct::Unlink(path) => drop(self.names.remove(path).unwrap()),
            FileAct::SyncFolder(folder) => {
                let inside = |path: &FsPath| path.parent() == Some(folder.as_path());
                self.durable_names.retain(|path, _| !inside(path));
                let names = self.names.iter().filter(|(path, _)| inside(path));
                self.durable_names.extend(names.map(|(path, id)| (path.clone(), *id)));
                let folders = self.folders.iter().filter(|path| inside(path));
                self.durable_folders.extend(folders.cloned());
            }
        }
    }

    /// The files below `root` after a power cut, as a store.
    pub async fn after_power_cut(&self, root: &FsPath, unsynced: Unsynced) -> Arc<InMemory> {
        let store = Arc::new(InMemory::new());
        let all: BTreeSet<&PathBuf> = self.names.keys().chain(self.durable_names.keys()).collect();
        for path in all {
            let (now, durable) = (self.names.get(path), self.durable_names.get(path));
            let name = if now == durable || unsynced.keeps(path) { now } else { durable };
            let folders = path.ancestors().skip(1).take_while(|folder| *folder != root);
            let has_folders = folders
                .into_iter()
                .all(|folder| self.durable_folders.contains(folder) || unsynced.keeps(folder));
            let Some(content) = name.filter(|_| has_folders).map(|id| &self.contents[id]) else {
                continue;
            };
            let is_whole = content.is_durable || unsynced == Unsynced::Kept;
            let bytes = if is_whole { content.bytes.clone() } else { Bytes::new() };
            let place = path.strip_prefix(root).unwrap().to_str().unwrap();
            store.put(&Path::parse(place).unwrap(), bytes.into()).await.unwrap();
        }
        store
    }
}

/// All that a store holds, by path.
pub async fn contents(store: &dyn ObjectStore) -> BTreeMap<String, Bytes> {
    let listed: Vec<ObjectMeta> = store.list(None).try_collect().await.unwrap();
    let mut contents = BTreeMap::new();
    for file in listed {
        let bytes = store.get(&file.location).await.unwrap().bytes().await.unwrap();
        contents.insert(file.location.to_string(), bytes);
    }
    contents
}
