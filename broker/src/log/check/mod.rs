//! What is wrong with the files of a log directory that nobody writes to: looked at, never changed.
//!
//! - [`DirState`]: what the directory's own small files say;
//! - [`check_log`]: every file of one log, of its segments every batch (`survey`).
//!
//! A problem is one of three kinds. *Damage* has lost what was durable, or may have. A *derived* file
//! is made anew from the log by the next start. A *tail* behind the last checkpoint is what a crash
//! leaves: the next start cuts it.
pub(in crate::log) mod segment;
pub(in crate::log) mod survey;

mod dir_state;

use std::fmt;
use std::io;
use std::ops::Range;

use serde::Serialize;
use uuid::Uuid;
use weir_protocol::records::Offset;

use crate::disk::Disk;
use crate::log::{checkpoint, meta, names, snapshot};
use crate::producers::BATCHES_REMEMBERED;

pub use crate::log::check::dir_state::DirState;

/// What can be done about a damaged file of which there is no other copy.
const RESTORE: &str = "restore it from a copy";
/// What needs be done about a derived file.
const NONE_NEEDED: &str = "none needed: the next start makes it anew";

/// What a problem means.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// What was durable is lost, or may be.
    Damage,
    /// Only what can be made anew.
    Derived,
    /// What a crash left behind the last checkpoint.
    Tail,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// What it means.
    pub kind: Kind,
    /// The file, as seen from the data directory.
    pub file: String,
    /// Which bytes of it.
    pub bytes: Option<Range<u64>>,
    /// From the first offset that is lost to the first good one after it.
    pub offsets: Option<Range<i64>>,
    /// What is wrong there.
    pub what: String,
    /// What to do.
    pub remedy: String,
}

impl Problem {
    /// A file that as a whole is not what was written.
    #[must_use]
    pub fn of_file(file: &str, what: impl Into<String>, remedy: &str) -> Problem {
        let (kind, remedy) = (Kind::Damage, remedy.to_owned());
        let file = file.to_owned();
        Problem { kind, file, bytes: None, offsets: None, what: what.into(), remedy }
    }

    /// A file that the next start makes anew.
    #[must_use]
    pub fn derived(file: &str, what: impl Into<String>) -> Problem {
        Problem { kind: Kind::Derived, ..Problem::of_file(file, what, NONE_NEEDED) }
    }

    fn unreadable(file: &str, error: &io::Error) -> Problem {
        Problem::of_file(file, format!("it cannot be read: {error}"), RESTORE)
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if let Some(bytes) = &self.bytes {
            write!(f, ", bytes {}..{}", bytes.start, bytes.end)?;
        }
        if let Some(offsets) = &self.offsets {
            write!(f, ", offsets {}..{}", offsets.start, offsets.end)?;
        }
        write!(f, ": {}; remedy: {}", self.what, self.remedy)
    }
}

/// What was looked at, and what is wrong with it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Logs that were looked at.
    pub logs: u64,
    /// Their segments.
    pub segments: u64,
    /// Good batches in them.
    pub batches: u64,
    /// Records in those.
    pub records: u64,
    /// Bytes of all files that were read.
    pub bytes: u64,
    /// In the order of files.
    pub problems: Vec<Problem>,
}

impl Report {
    /// Whether anything that was written is not as it was written.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.problems.iter().all(|problem| problem.kind == Kind::Tail)
    }

    /// The bytes of a small file; none when it is missing, or cannot be read, which is told.
    pub fn read(&mut self, disk: &dyn Disk, file: &str) -> Option<Vec<u8>> {
        match disk.read(file) {
            Ok(bytes) => {
                self.bytes += bytes.len() as u64;
                Some(bytes)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => {
                self.problems.push(Problem::unreadable(file, &error));
                None
            }
        }
    }
}

/// What is known of a log beside its files.
#[derive(Clone, Debug)]
pub struct Known {
    /// Its topic's id, when the catalog names it.
    pub topic_id: Option<Uuid>,
    /// Where it begins.
    pub log_start: Offset,
    /// Up to where it was durable at the last checkpoint; none when no checkpoint can be read.
    pub recovery_point: Option<Offset>,
    /// Whether the last stop was an orderly one: then it ends there.
    pub was_clean: bool,
    /// Whether the cleaner may have left holes between its offsets.
    pub has_holes: bool,
}

/// Looks at every file of a log. `tell` is called with each segment before it is read.
pub fn check_log(
    disk: &dyn Disk,
    (topic, partition): (&str, i32),
    known: &Known,
    report: &mut Report,
    tell: &mut dyn FnMut(&str),
) {
    let folder = names::folder(topic, partition);
    report.logs += 1;
    let files = match disk.list(&folder) {
        Ok(files) => files,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let offsets = known.log_start..known.recovery_point.unwrap_or_default();
            if !offsets.is_empty() {
                report.problems.push(Problem {
                    offsets: Some(offsets.start.0..offsets.end.0),
                    ..Problem::of_file(&folder, "the folder is gone", RESTORE)
                });
            }
            return;
        }
        Err(error) => return report.problems.push(Problem::unreadable(&folder, &error)),
    };
    let log = segment::LogFiles { disk, folder: &folder, topic, partition, known };
    log.check_segments(&files, report, tell);
    for file in &files {
        let path = format!("{folder}/{file}");
        match names::parse_file(file) {
            Some((_, names::SNAPSHOT)) => {
                let bytes = report.read(disk, &path);
                if bytes.is_some_and(|bytes| snapshot::read(&bytes, BATCHES_REMEMBERED).is_none()) {
                    let what = "its checksum or its format is wrong";
                    report.problems.push(Problem::derived(&path, what));
                }
            }
            Some((base_offset, names::SWAP)) => log.check_swap(&path, base_offset, report),
            _ => {}
        }
    }
    check_small_files(disk, &folder, known, report);
}

fn check_small_files(disk: &dyn Disk, folder: &str, known: &Known, report: &mut Report) {
    let path = format!("{folder}/{}", names::LEADER_EPOCHS);
    if let Some(bytes) = report.read(disk, &path)
        && checkpoint::read_epochs(&bytes).is_none()
    {
        report.problems.push(Problem::derived(&path, "its checksum or its format is wrong"));
    }
    let path = format!("{folder}/{}", names::PARTITION_METADATA);
    let Some(bytes) = report.read(disk, &path) else { return };
    match (meta::read_topic_id(&bytes), known.topic_id) {
        (None, _) => report.problems.push(Problem::derived(&path, "it names no topic id")),
        (Some(found), Some(wanted)) if found != wanted => {
            let (found, wanted) = (meta::encode_id(found), meta::encode_id(wanted));
            let what = format!("it names the topic id {found}, the catalog says {wanted}");
            let remedy = "delete it if the folder is the right one: the next start makes it anew";
            report.problems.push(Problem::of_file(&path, what, remedy));
        }
        _ => {}
    }
}
