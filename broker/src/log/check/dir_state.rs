//! What the small files beside the logs say of each of them.
use weir_protocol::records::Offset;

use crate::disk::Disk;
use crate::log::check::{Problem, RESTORE, Report};
use crate::log::checkpoint::{self, Offsets};
use crate::log::dir::{CLEAN_SHUTDOWN, CLEANED, LOG_STARTS, META, RECOVERY_POINTS};
use crate::log::meta::DirMeta;

/// What a directory's checkpoints say; what is damaged says nothing.
#[derive(Clone, Debug, Default)]
pub struct DirState {
    /// Whether there is the mark of an orderly stop.
    pub was_clean: bool,
    starts: Offsets,
    recovery_points: Option<Offsets>,
    cleaned: Option<Offsets>,
}

impl DirState {
    /// Reads the checkpoints and `meta.properties`.
    pub fn read(disk: &dyn Disk, report: &mut Report) -> DirState {
        match report.read(disk, META).map(|bytes| DirMeta::parse(&bytes)) {
            Some(Ok(_)) => {}
            Some(Err(reason)) => report.problems.push(Problem::of_file(META, reason, RESTORE)),
            None => report.problems.push(Problem::of_file(META, "it is missing", RESTORE)),
        }
        let recovery_points = offsets(disk, RECOVERY_POINTS, report, || {
            let remedy = "none needed: the next start checks every log from its beginning; damage \
                          in a log is then taken for the tail that a crash leaves, so let this \
                          command tell of no other first";
            Problem { remedy: remedy.to_owned(), ..Problem::derived(RECOVERY_POINTS, DAMAGED) }
        });
        let starts = offsets(disk, LOG_STARTS, report, || {
            let remedy = "restore it from a copy, or delete it: then deleted records come back";
            Problem::of_file(LOG_STARTS, DAMAGED, remedy)
        });
        let cleaned = offsets(disk, CLEANED, report, || Problem::derived(CLEANED, DAMAGED));
        let was_clean =
            disk.list("").is_ok_and(|names| names.iter().any(|it| it == CLEAN_SHUTDOWN));
        DirState {
            was_clean: was_clean && recovery_points.is_some(),
            starts: starts.unwrap_or_default(),
            recovery_points,
            cleaned,
        }
    }

    /// Where a log begins.
    #[must_use]
    pub fn log_start(&self, log: &(String, i32)) -> Offset {
        self.starts.get(log).copied().unwrap_or_default()
    }

    /// Up to where a log was durable at the last checkpoint; none when that is not known.
    #[must_use]
    pub fn recovery_point(&self, log: &(String, i32)) -> Option<Offset> {
        Some(self.recovery_points.as_ref()?.get(log).copied().unwrap_or_default())
    }

    /// Whether a log may have been cleaned.
    #[must_use]
    pub fn may_be_cleaned(&self, log: &(String, i32)) -> bool {
        self.cleaned.as_ref().is_none_or(|cleaned| cleaned.contains_key(log))
    }
}

const DAMAGED: &str = "its checksum or its format is wrong";

/// The offsets in a checkpoint; none when it is damaged.
fn offsets(
    disk: &dyn Disk,
    path: &str,
    report: &mut Report,
    problem: impl Fn() -> Problem,
) -> Option<Offsets> {
    let count = report.problems.len();
    let Some(bytes) = report.read(disk, path) else {
        return (report.problems.len() == count).then(Offsets::new);
    };
    let offsets = checkpoint::read_offsets(path, &bytes);
    if offsets.is_none() {
        report.problems.push(problem());
    }
    offsets
}
