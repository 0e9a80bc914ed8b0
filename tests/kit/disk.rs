//! A disk in memory that forgets, at a power cut, any part of what was not synced.
//!
//! What is synced and what is not yet are kept apart: the bytes of each file by sector, its length,
//! and the names in each folder. A cut keeps any subset of the second, piece by piece, so that a
//! forgotten `sync_dir` is found as surely as a forgotten `sync`. Every operation that changes
//! something is counted, and the disk can be cut at each of them afterwards: it keeps an image of
//! itself for every one, taken while the operation is under way.
//!
//! A failed sync behaves as Linux does: the bytes stay readable, are lost on the disk, and the next
//! sync says that all is well.
use std::collections::BTreeMap;
use std::fmt;
use std::io::{Error, ErrorKind, Result};
use std::sync::{Arc, Mutex, MutexGuard};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use weir_broker::disk::mapped_file::MappedFile;
use weir_broker::disk::{Disk, DiskFile, Room, Volume, parent};

/// What a disk writes as one.
const SECTOR_BYTES: usize = 512;
const ROOT: u64 = 0;

/// A disk in memory.
#[derive(Clone)]
pub(crate) struct SimDisk {
    state: Arc<Mutex<State>>,
}

/// A disk as it was while one operation was under way.
#[derive(Clone, Default)]
pub(crate) struct Image {
    nodes: BTreeMap<u64, Arc<Node>>,
}

struct State {
    image: Image,
    next_node: u64,
    operation_count: u64,
    /// One for each operation.
    images: Vec<Image>,
    faults: Faults,
    /// What happens while the next folder is synced.
    meanwhile: Option<Box<dyn FnOnce() + Send>>,
}

/// What goes wrong.
#[derive(Copy, Clone, Debug, Default)]
pub(crate) struct Faults {
    /// Syncs of files fail.
    pub(crate) fails_syncs: bool,
    /// Files and folders cannot be opened, made or mapped, with this number of the system.
    pub(crate) fails_opens: Option<i32>,
    /// Syncs of folders fail. Their names may still get to the disk.
    pub(crate) fails_folder_syncs: bool,
    /// Writes fail so, half done.
    pub(crate) fails_writes: Option<ErrorKind>,
    /// What all files together may hold.
    pub(crate) capacity_bytes: Option<u64>,
}

#[derive(Clone)]
enum Node {
    File(File),
    Folder(Folder),
}

#[derive(Clone, Default)]
struct File {
    durable: Vec<u8>,
    cached: Vec<u8>,
    /// Blocks that are taken, from the file's beginning.
    reserved_bytes: u64,
    /// What leads from the one to the other.
    pending: Vec<Change>,
}

#[derive(Clone)]
enum Change {
    Write { position: usize, bytes: Vec<u8> },
    Truncate { size_bytes: usize },
}

#[derive(Clone, Default)]
struct Folder {
    durable: BTreeMap<String, u64>,
    cached: BTreeMap<String, u64>,
    pending: Vec<NameChange>,
}

#[derive(Clone)]
enum NameChange {
    Add { name: String, node: u64 },
    Remove { name: String },
    Rename { source: String, target: String, node: u64 },
}

impl fmt::Debug for SimDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SimDisk")
    }
}

impl Image {
    /// What a power cut leaves of it. The seed chooses how much, and what.
    pub(crate) fn cut(&self, seed: u64) -> SimDisk {
        let mut chance = StdRng::seed_from_u64(seed);
        let survival = [0.0, 0.1, 0.5, 0.9, 1.0][chance.random_range(0..5)];
        self.cut_with(survival, &mut chance)
    }

    /// The same with a given part that survives.
    pub(crate) fn cut_with(&self, survival: f64, chance: &mut StdRng) -> SimDisk {
        let nodes = self.nodes.iter().map(|(id, node)| {
            let left = match node.as_ref() {
                Node::File(file) => Node::File(file.cut(survival, chance)),
                Node::Folder(folder) => Node::Folder(folder.cut(survival, chance)),
            };
            (*id, Arc::new(left))
        });
        SimDisk::with(Image { nodes: nodes.collect() })
    }
}

impl File {
    fn cut(&self, survival: f64, chance: &mut StdRng) -> File {
        let mut left = self.durable.clone();
        let mut sizes = vec![self.durable.len()];
        for change in &self.pending {
            let size = *sizes.last().expect("it has one");
            match change {
                Change::Write { position, bytes } => {
                    sizes.push(size.max(position + bytes.len()));
                    let mut begin = 0;
                    while begin < bytes.len() {
                        let at = position + begin;
                        let end = bytes.len().min(begin + SECTOR_BYTES - at % SECTOR_BYTES);
                        if chance.random_bool(survival) {
                            put(&mut left, at, &bytes[begin..end]);
                        }
                        begin = end;
                    }
                }
                Change::Truncate { size_bytes } => {
                    sizes.push(*size_bytes);
                    if chance.random_bool(survival) {
                        left.truncate(*size_bytes);
                    }
                }
            }
        }
        // The length survives or not on its own.
        let last = sizes.len() - 1;
        let kept = match survival {
            0.0 => 0,
            1.0 => last,
            _ => chance.random_range(0..=last),
        };
        left.resize(sizes[kept], 0);
        File { durable: left.clone(), cached: left, ..File::default() }
    }
}

impl Change {
    fn apply(&self, target: &mut Vec<u8>) {
        match self {
            Change::Write { position, bytes } => put(target, *position, bytes),
            Change::Truncate { size_bytes } => target.resize(*size_bytes, 0),
        }
    }
}

impl Folder {
    fn cut(&self, survival: f64, chance: &mut StdRng) -> Folder {
        let mut left = self.durable.clone();
        for change in &self.pending {
            if chance.random_bool(survival) {
                change.apply(&mut left);
            }
        }
        Folder { durable: left.clone(), cached: left, pending: Vec::new() }
    }

    fn change(&mut self, change: NameChange) {
        change.apply(&mut self.cached);
        self.pending.push(change);
    }
}

impl NameChange {
    fn apply(&self, names: &mut BTreeMap<String, u64>) {
        match self {
            NameChange::Add { name, node } => {
                names.insert(name.clone(), *node);
            }
            NameChange::Remove { name } => {
                names.remove(name);
            }
            NameChange::Rename { source, target, node } => {
                names.remove(source);
                names.insert(target.clone(), *node);
            }
        }
    }
}

/// Writes into bytes that grow as needed.
fn put(target: &mut Vec<u8>, position: usize, bytes: &[u8]) {
    let end = position + bytes.len();
    if target.len() < end {
        target.resize(end, 0);
    }
    target[position..end].copy_from_slice(bytes);
}

impl SimDisk {
    /// An empty disk.
    pub(crate) fn new() -> SimDisk {
        let root = Arc::new(Node::Folder(Folder::default()));
        SimDisk::with(Image { nodes: BTreeMap::from([(ROOT, root)]) })
    }

    fn with(image: Image) -> SimDisk {
        let next_node = image.nodes.last_key_value().map_or(1, |(id, _)| id + 1);
        let faults = Faults::default();
        let (images, meanwhile) = (Vec::new(), None);
        let state = State { image, next_node, operation_count: 0, images, faults, meanwhile };
        SimDisk { state: Arc::new(Mutex::new(state)) }
    }

    /// How many operations there were so far.
    pub(crate) fn operation_count(&self) -> u64 {
        self.lock().operation_count
    }

    /// The disk during each operation, and at last as it is now.
    pub(crate) fn images(&self) -> Vec<Image> {
        let state = self.lock();
        let mut images = state.images.clone();
        images.push(state.image.clone());
        images
    }

    /// Lets things go wrong from now on.
    pub(crate) fn set_faults(&self, faults: Faults) {
        self.lock().faults = faults;
    }

    /// Does this while the next folder is synced.
    pub(crate) fn during_folder_sync(&self, meanwhile: impl FnOnce() + Send + 'static) {
        self.lock().meanwhile = Some(Box::new(meanwhile));
    }

    /// Bytes of all files that have a name.
    pub(crate) fn used_bytes(&self) -> u64 {
        self.lock().used_bytes()
    }

    /// The disk as it is now.
    pub(crate) fn image(&self) -> Image {
        self.lock().image.clone()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no panic under the lock")
    }
}

impl State {
    fn check_open(&self) -> Result<()> {
        self.faults.fails_opens.map_or(Ok(()), |number| Err(Error::from_raw_os_error(number)))
    }

    fn find(&self, path: &str) -> Result<u64> {
        let mut node = ROOT;
        for name in path.split('/').filter(|name| !name.is_empty()) {
            node = *self.folder(node)?.cached.get(name).ok_or(ErrorKind::NotFound)?;
        }
        Ok(node)
    }

    fn folder(&self, node: u64) -> Result<&Folder> {
        match self.image.nodes.get(&node).map(AsRef::as_ref) {
            Some(Node::Folder(folder)) => Ok(folder),
            _ => Err(ErrorKind::NotADirectory.into()),
        }
    }

    fn folder_mut(&mut self, path: &str) -> Result<&mut Folder> {
        let id = self.find(path)?;
        match self.image.nodes.get_mut(&id).map(Arc::make_mut) {
            Some(Node::Folder(folder)) => Ok(folder),
            _ => Err(ErrorKind::NotADirectory.into()),
        }
    }

    fn file(&self, node: u64) -> &File {
        match self.image.nodes.get(&node).map(AsRef::as_ref) {
            Some(Node::File(file)) => file,
            _ => panic!("node {node} is no file"),
        }
    }

    fn file_mut(&mut self, node: u64) -> &mut File {
        match self.image.nodes.get_mut(&node).map(Arc::make_mut) {
            Some(Node::File(file)) => file,
            _ => panic!("node {node} is no file"),
        }
    }

    /// Counts an operation, which from here on is under way.
    fn count(&mut self) {
        self.operation_count += 1;
        self.images.push(self.image.clone());
    }

    fn add(&mut self, path: &str, node: Node) -> Result<u64> {
        let name = path.rsplit('/').next().unwrap_or_default().to_owned();
        let id = self.next_node;
        let folder = self.folder_mut(parent(path))?;
        if folder.cached.contains_key(&name) {
            return Err(ErrorKind::AlreadyExists.into());
        }
        folder.change(NameChange::Add { name, node: id });
        self.image.nodes.insert(id, Arc::new(node));
        self.next_node += 1;
        self.count();
        Ok(id)
    }

    fn remove(&mut self, path: &str) -> Result<()> {
        let name = path.rsplit('/').next().unwrap_or_default().to_owned();
        self.find(path)?;
        self.folder_mut(parent(path))?.change(NameChange::Remove { name });
        self.count();
        Ok(())
    }

    /// Bytes of all files that have a name.
    fn used_bytes(&self) -> u64 {
        let size = |id: &u64| match self.image.nodes.get(id).map(AsRef::as_ref) {
            Some(Node::File(file)) => file.reserved_bytes.max(file.cached.len() as u64),
            _ => 0,
        };
        let folders = self.image.nodes.values().filter_map(|node| match node.as_ref() {
            Node::Folder(folder) => Some(folder.cached.values()),
            Node::File(_) => None,
        });
        folders.flatten().map(size).sum()
    }

    /// Whether a file may take blocks up to `end`.
    fn has_room(&self, node: u64, end: u64) -> bool {
        let file = self.file(node);
        let more = end.saturating_sub(file.reserved_bytes.max(file.cached.len() as u64));
        let capacity = self.faults.capacity_bytes;
        more == 0 || capacity.is_none_or(|capacity| self.used_bytes() + more <= capacity)
    }
}

impl Disk for SimDisk {
    fn create(&self, path: &str) -> Result<Arc<dyn DiskFile>> {
        let mut state = self.lock();
        state.check_open()?;
        let node = state.add(path, Node::File(File::default()))?;
        Ok(Arc::new(SimFile { state: self.state.clone(), node }))
    }

    fn open(&self, path: &str) -> Result<Arc<dyn DiskFile>> {
        let state = self.lock();
        state.check_open()?;
        let node = state.find(path)?;
        Ok(Arc::new(SimFile { state: self.state.clone(), node }))
    }

    fn read(&self, path: &str) -> Result<Vec<u8>> {
        let state = self.lock();
        Ok(state.file(state.find(path)?).cached.clone())
    }

    fn list(&self, path: &str) -> Result<Vec<String>> {
        let state = self.lock();
        Ok(state.folder(state.find(path)?)?.cached.keys().cloned().collect())
    }

    fn create_dir(&self, path: &str) -> Result<()> {
        self.lock().add(path, Node::Folder(Folder::default())).map(drop)
    }

    fn remove_dir(&self, path: &str) -> Result<()> {
        self.lock().remove(path)
    }

    fn rename(&self, source: &str, target: &str) -> Result<()> {
        let mut state = self.lock();
        let node = state.find(source)?;
        assert_eq!(parent(source), parent(target), "renames stay in their folder");
        let name = |path: &str| path.rsplit('/').next().unwrap_or_default().to_owned();
        let change = NameChange::Rename { source: name(source), target: name(target), node };
        state.folder_mut(parent(source))?.change(change);
        state.count();
        Ok(())
    }

    fn unlink(&self, path: &str) -> Result<()> {
        self.lock().remove(path)
    }

    fn sync_dir(&self, path: &str) -> Result<()> {
        let meanwhile = self.lock().meanwhile.take();
        if let Some(meanwhile) = meanwhile {
            meanwhile();
        }
        let mut state = self.lock();
        // The data directory itself is kept open.
        if !path.is_empty() {
            state.check_open()?;
        }
        state.count();
        if state.faults.fails_folder_syncs {
            return Err(Error::other("simulated sync error"));
        }
        let folder = state.folder_mut(path)?;
        folder.durable = folder.cached.clone();
        folder.pending.clear();
        Ok(())
    }

    fn volume(&self) -> Volume {
        let state = self.lock();
        let room = state.faults.capacity_bytes.map(|total_bytes| Room {
            total_bytes,
            usable_bytes: total_bytes.saturating_sub(state.used_bytes()),
        });
        Volume { path: "/simulated".to_owned(), room }
    }
}

struct SimFile {
    state: Arc<Mutex<State>>,
    node: u64,
}

impl SimFile {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no panic under the lock")
    }
}

impl fmt::Debug for SimFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SimFile({})", self.node)
    }
}

impl DiskFile for SimFile {
    fn size_bytes(&self) -> Result<u64> {
        Ok(self.lock().file(self.node).cached.len() as u64)
    }

    fn allocate(&self, position: u64, bytes: u64) -> Result<()> {
        // Reserved blocks leave no trace that a cut could take, so this is no operation.
        let mut state = self.lock();
        if !state.has_room(self.node, position + bytes) {
            return Err(ErrorKind::StorageFull.into());
        }
        let file = state.file_mut(self.node);
        file.reserved_bytes = file.reserved_bytes.max(position + bytes);
        Ok(())
    }

    fn write_at(&self, position: u64, parts: &[&[u8]]) -> Result<()> {
        let mut state = self.lock();
        let mut bytes = parts.concat();
        let mut error = state.faults.fails_writes.map(Error::from);
        if error.is_none() && !state.has_room(self.node, position + bytes.len() as u64) {
            error = Some(ErrorKind::StorageFull.into());
        }
        if error.is_some() {
            bytes.truncate(bytes.len() / 2);
        }
        let position = usize::try_from(position).expect("files are small");
        let file = state.file_mut(self.node);
        put(&mut file.cached, position, &bytes);
        file.pending.push(Change::Write { position, bytes });
        state.count();
        error.map_or(Ok(()), Err)
    }

    fn read_at(&self, position: u64, buffer: &mut [u8]) -> Result<()> {
        let state = self.lock();
        let start = usize::try_from(position).expect("files are small");
        let bytes = state.file(self.node).cached.get(start..start + buffer.len());
        buffer.copy_from_slice(bytes.ok_or(ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn sync(&self) -> Result<()> {
        let mut state = self.lock();
        state.count();
        let fails = state.faults.fails_syncs;
        let file = state.file_mut(self.node);
        let pending = std::mem::take(&mut file.pending);
        if fails {
            return Err(Error::other("simulated sync error"));
        }
        // Not all that is cached: what a failed sync gave up is taken for written.
        for change in pending {
            change.apply(&mut file.durable);
        }
        Ok(())
    }

    fn truncate(&self, size_bytes: u64) -> Result<()> {
        let mut state = self.lock();
        let size_bytes = usize::try_from(size_bytes).expect("files are small");
        let file = state.file_mut(self.node);
        file.cached.resize(size_bytes, 0);
        file.reserved_bytes = size_bytes as u64;
        file.pending.push(Change::Truncate { size_bytes });
        state.count();
        Ok(())
    }

    fn map(&self, capacity_bytes: usize) -> Result<MappedFile> {
        self.lock().check_open()?;
        let (state, node) = (self.state.clone(), self.node);
        let read = move |position: usize, count: usize| {
            let state = state.lock().expect("no panic under the lock");
            state.file(node).cached[position..position + count].to_vec()
        };
        Ok(MappedFile::simulated(Arc::new(read), capacity_bytes))
    }
}
