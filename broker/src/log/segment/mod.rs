//! A segment: one log file and its two indexes. Batches from its base offset on, in order.
//!
//! The indexes of a segment that is read or written often are in memory; those of older ones come
//! from their files when someone asks, and are made anew from the log when the files do not fit.
mod checked;
mod cleaned;
pub mod read;
mod vouch;

use std::io;
use std::ops::ControlFlow;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use bytes::Bytes;
use weir_protocol::records::batch::{BatchHeader, HEADER_BYTES, RecordBatch};
use weir_protocol::records::{BatchError, Offset};

use crate::disk::Disk;
use crate::disk::growing_file::{GrowError, GrowingFile};
use crate::log::config::LogConfig;
use crate::log::error::ReadError;
use crate::log::index::{OffsetIndex, TimeIndex};
use crate::log::names;
use crate::log::segment::checked::Checked;
use crate::log::summary::{Contents, Summary};
use crate::log::walk::headers;

/// How much is read at once by those who walk a file.
pub(super) const WINDOW_BYTES: u64 = 1 << 20;

/// A log file and its indexes.
#[derive(Debug)]
pub(super) struct Segment {
    disk: Arc<dyn Disk>,
    folder: String,
    file: Arc<GrowingFile>,
    /// Whether the cleaner may have left holes between its offsets.
    has_holes: AtomicBool,
    /// What was checked as it was served.
    checked: Mutex<Checked>,
    state: RwLock<State>,
}

#[derive(Debug)]
struct State {
    contents: Contents,
    /// Absent until someone asks.
    indexes: Option<Indexes>,
    /// Whether a cleaned segment has taken its name: then the files of that name are not its own.
    is_replaced: bool,
    /// Bytes from here on were written or checked by this run; those before are checked as they
    /// are served.
    vouched_from: u64,
    /// Log bytes since the last index entry.
    unindexed_bytes: u64,
    /// The last offset of the first batch with the latest timestamp.
    latest_offset: Offset,
}

#[derive(Debug)]
struct Indexes {
    offsets: OffsetIndex,
    times: TimeIndex,
}

impl Indexes {
    fn new(base_offset: Offset) -> Indexes {
        Indexes { offsets: OffsetIndex::new(base_offset), times: TimeIndex::new(base_offset) }
    }
}

impl Segment {
    /// Makes an empty segment. Its name is not durable yet.
    pub(super) fn create(
        disk: &Arc<dyn Disk>,
        folder: &str,
        base_offset: Offset,
        capacity_bytes: u32,
        now_ms: i64,
    ) -> io::Result<Segment> {
        let path = names::file(folder, base_offset, names::LOG);
        let file = GrowingFile::create(disk.as_ref(), &path, u64::from(capacity_bytes))?;
        let contents = Contents::empty(base_offset, now_ms);
        Ok(Segment::new(disk, folder, file, contents, Some(Indexes::new(base_offset))))
    }

    /// Takes over a file whose batches are yet to be shown to [`Segment::note`]. `size_bytes` is
    /// how much of it counts, `capacity_bytes` how far it may grow.
    pub(super) fn begin(
        disk: &Arc<dyn Disk>,
        folder: &str,
        base_offset: Offset,
        capacity_bytes: u32,
        now_ms: i64,
    ) -> io::Result<Segment> {
        let file = disk.open(&names::file(folder, base_offset, names::LOG))?;
        let size_bytes = file.size_bytes()?;
        let file = GrowingFile::new(file, size_bytes, u64::from(capacity_bytes));
        let contents = Contents::empty(base_offset, now_ms);
        Ok(Segment::new(disk, folder, file, contents, Some(Indexes::new(base_offset))))
    }

    /// Opens a segment by its summary; `None` when that is missing or does not fit the file.
    pub(super) fn load(
        disk: &Arc<dyn Disk>,
        folder: &str,
        base_offset: Offset,
        capacity_bytes: u32,
    ) -> io::Result<Option<Segment>> {
        let Some(summary) = read_summary(disk.as_ref(), folder, base_offset)? else {
            return Ok(None);
        };
        let contents = summary.contents;
        let file = disk.open(&names::file(folder, base_offset, names::LOG))?;
        let size_bytes = file.size_bytes()?;
        if contents.base_offset != base_offset || contents.size_bytes != size_bytes {
            return Ok(None);
        }
        let file = GrowingFile::new(file, size_bytes, u64::from(capacity_bytes));
        let segment = Segment::new(disk, folder, file, contents, None);
        segment.write_state().vouched_from = size_bytes;
        Ok(Some(segment))
    }

    fn new(
        disk: &Arc<dyn Disk>,
        folder: &str,
        file: GrowingFile,
        contents: Contents,
        indexes: Option<Indexes>,
    ) -> Segment {
        let state = State {
            contents,
            indexes,
            is_replaced: false,
            vouched_from: 0,
            unindexed_bytes: 0,
            latest_offset: contents.base_offset,
        };
        Segment {
            disk: disk.clone(),
            folder: folder.to_owned(),
            file: Arc::new(file),
            has_holes: AtomicBool::new(false),
            checked: Mutex::default(),
            state: RwLock::new(state),
        }
    }

    pub(super) fn file(&self) -> &Arc<GrowingFile> {
        &self.file
    }

    pub(super) fn contents(&self) -> Contents {
        self.read_state().contents
    }

    pub(super) fn base_offset(&self) -> Offset {
        self.contents().base_offset
    }

    pub(super) fn path(&self, kind: &str) -> String {
        names::file(&self.folder, self.base_offset(), kind)
    }

    /// Whether this batch must go to a new segment: Kafka's rules.
    pub(super) fn is_full_for(&self, header: &BatchHeader, config: &LogConfig) -> bool {
        let state = self.read_state();
        let contents = &state.contents;
        if contents.size_bytes == 0 {
            // An empty segment only lacks room if it was made when segments were smaller.
            return header.size_bytes() as u64 > self.file.capacity_bytes();
        }
        let size_max = u64::from(config.segment_bytes).min(self.file.capacity_bytes());
        let span_ms = header.max_timestamp_ms.saturating_sub(contents.first_timestamp_ms);
        let has_times = contents.first_timestamp_ms >= 0 && header.max_timestamp_ms >= 0;
        let index_bytes_max = config.segment_index_bytes as usize;
        contents.size_bytes + header.size_bytes() as u64 > size_max
            || has_times && span_ms > config.segment_ms
            || header.last_offset() - contents.base_offset > i64::from(i32::MAX)
            || state.indexes.as_ref().is_some_and(|indexes| {
                indexes.offsets.size_bytes() + 8 > index_bytes_max
                    || indexes.times.size_bytes() + 24 > index_bytes_max
            })
    }

    /// Appends a batch whose offsets are assigned, and returns where the file then ends.
    pub(super) fn append(
        &self,
        header_bytes: &[u8; HEADER_BYTES],
        body: &[u8],
        header: &BatchHeader,
        index_interval_bytes: u32,
        now_ms: i64,
    ) -> Result<u64, GrowError> {
        let position = self.file.append(&[header_bytes, body])?;
        self.note(position, header, index_interval_bytes, now_ms);
        Ok(position + header.size_bytes() as u64)
    }

    /// Takes a batch that stands at the end into indexes and contents.
    pub(super) fn note(
        &self,
        position: u64,
        header: &BatchHeader,
        index_interval_bytes: u32,
        now_ms: i64,
    ) {
        let mut state = self.write_state();
        let state = &mut *state;
        if header.max_timestamp_ms > state.contents.max_timestamp_ms {
            state.latest_offset = header.last_offset();
        }
        state.contents.add(header, now_ms);
        if let Some(indexes) = &mut state.indexes {
            if state.unindexed_bytes > u64::from(index_interval_bytes) {
                indexes.offsets.append(header.last_offset(), position);
                if state.contents.max_timestamp_ms >= 0 {
                    indexes.times.append(state.contents.max_timestamp_ms, state.latest_offset);
                }
                state.unindexed_bytes = 0;
            }
            state.unindexed_bytes += header.size_bytes() as u64;
        }
    }

    /// Writes indexes and summary. None of it is durable: all of it can be made anew.
    pub(super) fn seal(&self) -> io::Result<()> {
        let summary = {
            let mut state = self.write_state();
            let (contents, latest_offset) = (state.contents, state.latest_offset);
            // Without them in memory, the files are there.
            let Some(indexes) = &mut state.indexes else { return Ok(()) };
            if contents.max_timestamp_ms >= 0 && contents.size_bytes > 0 {
                indexes.times.append(contents.max_timestamp_ms, latest_offset);
            }
            let (index, time_index) = (indexes.offsets.to_bytes(), indexes.times.to_bytes());
            drop(state);
            self.disk.put(&self.path(names::INDEX), &index)?;
            self.disk.put(&self.path(names::TIME_INDEX), &time_index)?;
            Summary {
                contents,
                index_checksum: crc32fast::hash(&index),
                time_index_checksum: crc32fast::hash(&time_index),
            }
        };
        self.disk.put(&self.path(names::SUMMARY), &summary.to_bytes())?;
        Ok(())
    }

    /// Gives memory back that a segment needs only while it is read often. Nothing is lost: the
    /// indexes come back from their files, or from the log.
    pub(super) fn cool(&self) {
        self.file.unmap();
        let mut state = self.write_state();
        state.indexes = None;
        // Who asks for it later gets it from the disk.
        state.vouched_from = u64::MAX;
    }

    /// Shows the header of each readable batch from `position` on, which must be a batch's
    /// beginning. Blocks.
    pub(super) fn walk<B>(
        &self,
        position: u64,
        mut visit: impl FnMut(u64, &BatchHeader) -> ControlFlow<B>,
    ) -> Result<Option<B>, ReadError> {
        let readable = self.file.readable();
        let (mut start, mut window_bytes) = (position, WINDOW_BYTES);
        while start < readable {
            let end = start.saturating_add(window_bytes).min(readable);
            let bytes = self.bytes(start..end)?;
            let begin = start;
            for step in headers(&bytes, 0) {
                match step {
                    Ok((at, header)) => {
                        if let ControlFlow::Break(found) = visit(begin + at as u64, &header) {
                            return Ok(Some(found));
                        }
                        start = begin + (at + header.size_bytes()) as u64;
                    }
                    Err((_, BatchError::Truncated { needed, .. })) if end < readable => {
                        window_bytes = window_bytes.max(needed as u64);
                    }
                    Err((at, error)) => return Err(self.corrupt(begin + at as u64, error)),
                }
            }
        }
        Ok(None)
    }

    /// The whole batch at `position`. Blocks.
    pub(super) fn batch_at(
        &self,
        position: u64,
        header: &BatchHeader,
    ) -> Result<RecordBatch, ReadError> {
        let bytes = self.bytes(position..position + header.size_bytes() as u64)?;
        let batch = RecordBatch::parse(bytes).map_err(|error| self.corrupt(position, error))?;
        batch.check_crc().map_err(|error| self.corrupt(position, error))?;
        Ok(batch)
    }

    /// A position from which a walk finds `offset`.
    pub(super) fn position_before(&self, offset: Offset) -> Result<u64, ReadError> {
        self.with_indexes(|indexes| indexes.offsets.position_before(offset))
    }

    /// A position from which a walk finds the first record that is not older than `timestamp_ms`.
    pub(super) fn position_before_time(&self, timestamp_ms: i64) -> Result<u64, ReadError> {
        self.with_indexes(|indexes| {
            indexes.offsets.position_before(indexes.times.offset_before(timestamp_ms))
        })
    }

    fn with_indexes<R>(&self, ask: impl FnOnce(&Indexes) -> R) -> Result<R, ReadError> {
        if let Some(indexes) = &self.read_state().indexes {
            return Ok(ask(indexes));
        }
        let (contents, is_replaced) = {
            let state = self.read_state();
            (state.contents, state.is_replaced)
        };
        let loaded = if is_replaced { Ok(None) } else { self.load_indexes(&contents) };
        let indexes = match loaded {
            Ok(Some(indexes)) => indexes,
            Ok(None) => self.rebuild_indexes(contents.base_offset)?,
            Err(source) => return Err(self.unreadable(source)),
        };
        let answer = ask(&indexes);
        self.write_state().indexes = Some(indexes);
        Ok(answer)
    }

    /// The indexes from their files, if those are what the summary says.
    fn load_indexes(&self, contents: &Contents) -> io::Result<Option<Indexes>> {
        let base_offset = contents.base_offset;
        let summary = read_summary(self.disk.as_ref(), &self.folder, base_offset)?;
        let Some(summary) = summary.filter(|summary| summary.contents == *contents) else {
            return Ok(None);
        };
        let index = read(self.disk.as_ref(), &self.path(names::INDEX))?;
        let time_index = read(self.disk.as_ref(), &self.path(names::TIME_INDEX))?;
        let is_known = crc32fast::hash(&index) == summary.index_checksum
            && crc32fast::hash(&time_index) == summary.time_index_checksum;
        let offsets = OffsetIndex::parse(base_offset, &index).filter(|_| is_known);
        let times = TimeIndex::parse(base_offset, &time_index);
        Ok(offsets.zip(times).map(|(offsets, times)| Indexes { offsets, times }))
    }

    /// Makes the indexes anew from the log. Its own interval does: no reader counts on one.
    fn rebuild_indexes(&self, base_offset: Offset) -> Result<Indexes, ReadError> {
        let mut indexes = Indexes::new(base_offset);
        let (mut indexed, mut latest_ms, mut latest_offset) = (0, -1, base_offset);
        self.walk(0, |position, header| {
            if header.max_timestamp_ms > latest_ms {
                (latest_ms, latest_offset) = (header.max_timestamp_ms, header.last_offset());
            }
            if position - indexed > u64::from(LogConfig::default().index_interval_bytes) {
                indexes.offsets.append(header.last_offset(), position);
                indexes.times.append(latest_ms, latest_offset);
                indexed = position;
            }
            ControlFlow::<()>::Continue(())
        })?;
        Ok(indexes)
    }

    /// Readable bytes: of the map where there is one, else of the file.
    fn bytes(&self, range: std::ops::Range<u64>) -> Result<Bytes, ReadError> {
        match self.file.mapped_slice(range.clone()) {
            Some(bytes) => Ok(bytes),
            None => self.file.read(range).map_err(|source| self.unreadable(source)),
        }
    }

    fn corrupt(&self, position: u64, source: BatchError) -> ReadError {
        ReadError::Corrupt { path: self.path(names::LOG), position, source }
    }

    fn unreadable(&self, source: io::Error) -> ReadError {
        ReadError::Disk { path: self.path(names::LOG), source }
    }

    fn read_state(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_state(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }
}

fn read_summary(disk: &dyn Disk, folder: &str, base_offset: Offset) -> io::Result<Option<Summary>> {
    Ok(Summary::parse(&read(disk, &names::file(folder, base_offset, names::SUMMARY))?))
}

/// A small file; empty when there is none.
fn read(disk: &dyn Disk, path: &str) -> io::Result<Vec<u8>> {
    match disk.read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        other => other,
    }
}
