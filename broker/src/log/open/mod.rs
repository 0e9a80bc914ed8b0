//! How a log comes to be, and comes back.
//!
//! After an orderly stop everything is taken as it was left. After a crash every segment from the
//! recovery point on is read: the longest valid prefix stays, the rest is cut, durably, before
//! anything is appended, so that no old batch can come back behind new ones; and a new leader
//! epoch begins. Where the valid prefix ends below the recovery point, durable records are lost:
//! then nothing is cut, and the log stays readable up to there.
mod load;
mod settle;
mod swaps;

use std::io;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, RwLock};

use uuid::Uuid;
use weir_protocol::records::Offset;

use crate::log::config::LogConfig;
use crate::log::dir::options::ReadMode;
use crate::log::dir::{LogDir, failed};
use crate::log::epochs::LeaderEpochs;
use crate::log::error::{LogError, ReadError};
use crate::log::recovery::Damage;
use crate::log::segment::Segment;
use crate::log::stable::Unstable;
use crate::log::{Appender, HOT_SEGMENTS, Log, checkpoint, meta, names};
use crate::producers::Producers;
use crate::sync::SyncPoint;

/// What opening a log found and did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovery {
    /// Bytes that were read and checked.
    pub scanned_bytes: u64,
    /// Bytes behind the valid prefix that were cut.
    pub truncated_bytes: u64,
    /// What was durable and is lost.
    pub damage: Option<Damage>,
    /// Whether there was nothing to open, and an empty log was made.
    pub is_new: bool,
}

impl Log {
    /// Makes an empty log, durably. What a deleted topic of that name left behind goes.
    ///
    /// # Errors
    /// When the disk fails or is full.
    pub fn create(
        dir: &Arc<LogDir>,
        topic: &str,
        partition: i32,
        topic_id: Uuid,
        config: LogConfig,
    ) -> Result<Arc<Log>, LogError> {
        dir.check()?;
        let key = (topic.to_owned(), partition);
        let folder = names::folder(topic, partition);
        let disk = dir.disk();
        dir.forget(&key)?;
        match disk.create_dir(&folder) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                for name in disk.list(&folder).map_err(failed("list", &folder))? {
                    let path = format!("{folder}/{name}");
                    dir.written("remove", &path, disk.unlink(&path))?;
                }
            }
            result => dir.written("make", &folder, result)?,
        }
        let mut epochs = LeaderEpochs::new();
        epochs.begin(0, Offset(0));
        let small = [
            (names::PARTITION_METADATA, meta::write_topic_id(topic_id)),
            (names::LEADER_EPOCHS, checkpoint::write_epochs(&epochs)),
        ];
        for (name, bytes) in small {
            let path = format!("{folder}/{name}");
            let written = disk.put(&path, &bytes).and_then(|file| file.sync());
            dir.written("write", &path, written)?;
        }
        let capacity_bytes = config.segment_bytes;
        let first = Segment::create(disk, &folder, Offset(0), capacity_bytes, dir.now_ms());
        let first = dir.written("make a segment in", &folder, first)?;
        let synced = disk.sync_dir(&folder).and_then(|()| disk.sync_dir(""));
        dir.written("sync", &folder, synced)?;
        let found = Found {
            segments: vec![Arc::new(first)],
            producers: Producers::new(dir.batches_remembered()),
            snapshot: None,
            epochs,
            log_start: Offset(0),
            log_end: Offset(0),
            damage: None,
        };
        found.into_log(dir, key, config)
    }

    /// Opens a log, and recovers it if need be. Where there is nothing yet, since the crash came
    /// before it was made, it is made.
    ///
    /// # Errors
    /// When the disk fails, the folder is another topic's, or durable records are gone without a
    /// trace.
    pub fn open(
        dir: &Arc<LogDir>,
        topic: &str,
        partition: i32,
        topic_id: Uuid,
        config: LogConfig,
    ) -> Result<(Arc<Log>, Recovery), LogError> {
        dir.check()?;
        let key = (topic.to_owned(), partition);
        let folder = names::folder(topic, partition);
        // Without its recovery point a log that was cleaned would be cut at its first hole. A torn
        // tail leaves no hole: at each place of a file there is one batch that could stand there.
        let recovery_point = dir.recovery_point(&key);
        let has_holes = config.compacts || dir.cleaned_to(&key).is_some();
        let mut opening = Opening {
            exact_from: match (has_holes, dir.knows_cleaned()) {
                (true, _) => swaps::EVERYWHERE,
                (false, true) => Offset(0),
                // It may have been cleaned once.
                (false, false) => recovery_point,
            },
            dir,
            log_start: dir.log_start(&key).unwrap_or_default(),
            recovery_point,
            folder,
            config: &config,
            leader_epoch: -1,
            scanned: Vec::new(),
            recovery: Recovery::default(),
        };
        let Some(found) = opening.run(topic_id)? else {
            let recovery = Recovery { is_new: true, ..Recovery::default() };
            return Ok((Log::create(dir, topic, partition, topic_id, config)?, recovery));
        };
        let recovery = opening.recovery;
        Ok((found.into_log(dir, key, config)?, recovery))
    }
}

/// A log as it was found, ready to go on.
struct Found {
    segments: Vec<Arc<Segment>>,
    producers: Producers,
    snapshot: Option<Offset>,
    epochs: LeaderEpochs,
    log_start: Offset,
    log_end: Offset,
    damage: Option<Damage>,
}

impl Found {
    fn into_log(
        self,
        dir: &Arc<LogDir>,
        key: (String, i32),
        config: LogConfig,
    ) -> Result<Arc<Log>, LogError> {
        let folder = names::folder(&key.0, key.1);
        let log_start = self.log_start.min(self.log_end);
        let point = SyncPoint::new(log_start, self.log_end);
        if dir.options().read_mode == ReadMode::Mmap {
            for segment in self.segments.iter().rev().take(HOT_SEGMENTS) {
                segment.file().map().map_err(failed("map", &segment.path(names::LOG)))?;
            }
        }
        let unstable = Unstable::new(&self.producers);
        let log = Arc::new(Log {
            dir: dir.clone(),
            folder,
            config: RwLock::new(Arc::new(config)),
            retiring: Mutex::default(),
            next_horizon_ms: Mutex::default(),
            appender: Mutex::new(Appender {
                producers: self.producers,
                snapshot: self.snapshot,
                is_closed: false,
                retired: Vec::new(),
            }),
            segments: RwLock::new(Arc::new(self.segments)),
            point: point.clone(),
            unstable,
            leader_epoch: self.epochs.latest().unwrap_or(0),
            epochs: RwLock::new(self.epochs),
            damage: self.damage,
            key,
        });
        // The recovery point of a damaged log must stay where it is: it tells of the damage.
        if log.damage.is_none() {
            let weak = Arc::downgrade(&log);
            let close = move || weak.upgrade().map_or(Ok(()), |log| log.close());
            dir.register(&log.key, point, Box::new(close));
        }
        Ok(log)
    }
}

/// A log on its way back.
struct Opening<'a> {
    dir: &'a Arc<LogDir>,
    folder: String,
    config: &'a LogConfig,
    log_start: Offset,
    recovery_point: Offset,
    /// Up to where offsets may be missing between batches: the cleaner leaves such holes.
    exact_from: Offset,
    /// The newest that a batch bears.
    leader_epoch: i32,
    /// Segments that were read, and so may not be durable.
    scanned: Vec<Arc<Segment>>,
    recovery: Recovery,
}

impl Opening<'_> {
    /// `None` when there is no log yet.
    fn run(&mut self, topic_id: Uuid) -> Result<Option<Found>, LogError> {
        let Some(mut names) = self.list()? else { return Ok(None) };
        self.check_topic(&names, topic_id)?;
        if self.finish_swaps(&names)? {
            let listed = self.dir.disk().list(&self.folder);
            names = listed.map_err(failed("list", &self.folder))?;
        }
        let (past, bases) = self.bases(&names)?;
        if bases.is_empty() && self.log_start == Offset(0) {
            return Ok(None);
        }
        let (mut segments, mut log_end) = self.load_segments(&bases)?;
        if let Some(damage) = self.recovery.damage.clone() {
            return self.damaged(segments, log_end, damage).map(Some);
        }
        if log_end < self.log_start || segments.is_empty() {
            // Only with `durability=os` can a start be durable before the records below it.
            self.drop_segments(&segments)?;
            segments = vec![self.restart()?];
            log_end = self.log_start;
        }
        let mut epochs = self.epochs(&names, &segments)?;
        let (producers, snapshot) = self.producers(&names, &past, &segments, log_end)?;
        let snapshot = self.settle(&names, &segments, log_end, &producers, snapshot)?;
        self.remove_past(&past)?;
        if !self.dir.was_clean() || !self.scanned.is_empty() || epochs.latest().is_none() {
            let newest = epochs.latest().unwrap_or(-1).max(self.leader_epoch);
            epochs.begin(newest + 1, log_end);
            let path = format!("{}/{}", self.folder, names::LEADER_EPOCHS);
            let written = self.dir.disk().replace(&path, &checkpoint::write_epochs(&epochs));
            self.dir.written("write", &path, written)?;
        }
        let (log_start, damage) = (self.log_start, None);
        Ok(Some(Found { segments, producers, snapshot, epochs, log_start, log_end, damage }))
    }

    /// The folder's files; `None` when nothing durable can have been there.
    fn list(&self) -> Result<Option<Vec<String>>, LogError> {
        let names = match self.dir.disk().list(&self.folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            result => result.map_err(failed("list", &self.folder))?,
        };
        let has_log = names
            .iter()
            .any(|name| names::parse_file(name).is_some_and(|(_, kind)| kind == names::LOG));
        if has_log {
            return Ok(Some(names));
        }
        if self.recovery_point > self.log_start {
            let (folder, recovery_point) = (self.folder.clone(), self.recovery_point);
            return Err(LogError::Lost { folder, recovery_point });
        }
        Ok((self.log_start > Offset(0)).then_some(names))
    }

    fn check_topic(&self, names: &[String], wanted: Uuid) -> Result<(), LogError> {
        let path = format!("{}/{}", self.folder, names::PARTITION_METADATA);
        let has_file = names.iter().any(|name| name == names::PARTITION_METADATA);
        let found = if has_file {
            meta::read_topic_id(&self.dir.disk().read(&path).map_err(failed("read", &path))?)
        } else {
            None
        };
        match found {
            Some(found) if found != wanted => {
                Err(LogError::ForeignTopic { folder: self.folder.clone(), found, wanted })
            }
            Some(_) => Ok(()),
            None => {
                tracing::warn!(path, "damaged or missing: written anew");
                let written = self.dir.disk().replace(&path, &meta::write_topic_id(wanted));
                self.dir.written("write", &path, written)
            }
        }
    }

    /// Where the segments begin: those wholly below the log's start, and those that count.
    fn bases(&self, names: &[String]) -> Result<(Vec<Offset>, Vec<Offset>), LogError> {
        let mut bases = Vec::new();
        for name in names {
            match names::parse_file(name) {
                Some((base_offset, names::LOG)) => bases.push(base_offset),
                _ if name.ends_with(names::DELETED) || name.ends_with(".tmp") => {
                    self.unlink(&format!("{}/{name}", self.folder))?;
                }
                _ => {}
            }
        }
        bases.sort_unstable();
        let count = bases.windows(2).take_while(|pair| pair[1] <= self.log_start).count();
        let kept = bases.split_off(count);
        Ok((bases, kept))
    }

    /// A log that has lost what was durable: readable up to there, nothing is appended.
    fn damaged(
        &self,
        segments: Vec<Arc<Segment>>,
        log_end: Offset,
        damage: Damage,
    ) -> Result<Found, LogError> {
        self.sync_scanned()?;
        let path = format!("{}/{}", self.folder, names::LEADER_EPOCHS);
        let stored = self.dir.disk().read(&path).ok();
        let first = segments.first().map_or(log_end, |segment| segment.base_offset());
        Ok(Found {
            producers: Producers::new(self.dir.batches_remembered()),
            snapshot: None,
            epochs: stored.and_then(|bytes| checkpoint::read_epochs(&bytes)).unwrap_or_default(),
            log_start: self.log_start.max(first),
            segments,
            log_end,
            damage: Some(damage),
        })
    }

    fn drop_segments(&self, segments: &[Arc<Segment>]) -> Result<(), LogError> {
        segments.iter().try_for_each(|segment| self.unlink(&segment.path(names::LOG)))
    }

    /// An empty segment at the log's start.
    fn restart(&mut self) -> Result<Arc<Segment>, LogError> {
        let (disk, now_ms) = (self.dir.disk(), self.dir.now_ms());
        let capacity_bytes = self.config.segment_bytes;
        let made = Segment::create(disk, &self.folder, self.log_start, capacity_bytes, now_ms);
        let segment = Arc::new(self.dir.written("make a segment in", &self.folder, made)?);
        self.scanned = vec![segment.clone()];
        Ok(segment)
    }

    /// The epochs as stored; made anew from the batches when that is damaged.
    fn epochs(
        &self,
        names: &[String],
        segments: &[Arc<Segment>],
    ) -> Result<LeaderEpochs, LogError> {
        let path = format!("{}/{}", self.folder, names::LEADER_EPOCHS);
        if names.iter().any(|name| name == names::LEADER_EPOCHS) {
            let bytes = self.dir.disk().read(&path).map_err(failed("read", &path))?;
            if let Some(epochs) = checkpoint::read_epochs(&bytes) {
                return Ok(epochs);
            }
        }
        tracing::warn!(path, "damaged or missing: made anew from the log");
        let mut epochs = LeaderEpochs::new();
        for segment in segments {
            let walked = segment.walk(0, |_, header| {
                if epochs.latest().is_none_or(|latest| latest < header.leader_epoch) {
                    epochs.begin(header.leader_epoch, header.base_offset);
                }
                ControlFlow::<()>::Continue(())
            });
            walked.map_err(unreadable)?;
        }
        Ok(epochs)
    }

    fn unlink(&self, path: &str) -> Result<(), LogError> {
        match self.dir.disk().unlink(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            result => self.dir.written("remove", path, result),
        }
    }
}

/// A log that cannot be read back while it is opened.
fn unreadable(error: ReadError) -> LogError {
    let path = match &error {
        ReadError::Corrupt { path, .. } | ReadError::Disk { path, .. } => path.clone(),
        other => other.to_string(),
    };
    LogError::Disk { doing: "read", path, source: io::Error::other(error) }
}
