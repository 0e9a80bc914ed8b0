//! A data directory looked at while no broker runs: every file that has a checksum, and every batch
//! of every log. Nothing is changed.

use std::collections::BTreeMap;
use std::io;

use crate::catalog::error::OpenError;
use crate::catalog::file::{SavedTopic, SavedTopics};
use crate::catalog::names::internal_policy;
use crate::catalog::{defaults, file, names};
use crate::disk::Disk;
use crate::log::check::{DirState, Known, Problem, Report, check_log};
use crate::log::dir::META;
use crate::log::meta::decode_id;
use crate::log::names::parse_folder;
use crate::share::group_configs;
use crate::{client_metrics, named_settings, producer_ids, quota};

/// Which logs are looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Chosen {
    /// Those of this topic; absent: all, and the small files too.
    pub topic: Option<String>,
    /// Only the one of this number.
    pub partition: Option<i32>,
}

impl Chosen {
    /// Whether this log is looked at.
    #[must_use]
    pub fn has(&self, topic: &str, partition: i32) -> bool {
        self.topic.as_ref().is_none_or(|chosen| chosen == topic)
            && self.partition.is_none_or(|chosen| chosen == partition)
    }
}

/// Whether a broker has ever used this directory.
///
/// # Errors
/// When it cannot be listed.
pub fn is_data_directory(disk: &dyn Disk) -> io::Result<bool> {
    let names = disk.list("")?;
    Ok(names.iter().any(|name| name == META || name == names::FILE || parse_folder(name).is_some()))
}

/// Looks at a data directory. `tell` is called with each segment before it is read.
///
/// # Errors
/// When the directory itself cannot be listed.
pub fn check(disk: &dyn Disk, chosen: &Chosen, tell: &mut dyn FnMut(&str)) -> io::Result<Report> {
    let mut report = Report::default();
    let state = DirState::read(disk, &mut report);
    let saved = saved_topics(disk, &mut report);
    check_settings(disk, &mut report);
    if chosen.topic.is_some() {
        report.problems.clear();
    }
    for log in logs(disk, saved.as_ref())? {
        if chosen.has(&log.0, log.1) {
            let known = known(&state, saved.as_ref(), &log);
            check_log(disk, (&log.0, log.1), &known, &mut report, tell);
        }
    }
    Ok(report)
}

/// What is known of one log.
#[must_use]
pub fn known(state: &DirState, saved: Option<&SavedTopics>, log: &(String, i32)) -> Known {
    let topic = saved.and_then(|saved| saved.topics.iter().find(|topic| topic.name == log.0));
    Known {
        topic_id: topic.and_then(|topic| decode_id(&topic.id)),
        log_start: state.log_start(log),
        recovery_point: state.recovery_point(log),
        was_clean: state.was_clean,
        has_holes: state.may_be_cleaned(log) || topic.is_some_and(is_compacted),
    }
}

fn is_compacted(topic: &SavedTopic) -> bool {
    let policy = internal_policy(&topic.name).map(|(_, policy)| policy);
    let policy = policy.or_else(|| topic.configs.get("cleanup.policy").cloned());
    policy.is_some_and(|policy| policy.contains("compact"))
}

/// The logs that the catalog names; without one, those that have a folder.
fn logs(disk: &dyn Disk, saved: Option<&SavedTopics>) -> io::Result<Vec<(String, i32)>> {
    let folders = disk.list("")?;
    let Some(saved) = saved else {
        return Ok(folders.iter().filter_map(|name| parse_folder(name)).collect());
    };
    let of = |topic: &SavedTopic| {
        let name = topic.name.clone();
        (0..topic.partitions).map(move |partition| (name.clone(), partition)).collect::<Vec<_>>()
    };
    Ok(saved.topics.iter().flat_map(of).collect())
}

/// The catalog; none when it cannot be read, which is told.
pub fn saved_topics(disk: &dyn Disk, report: &mut Report) -> Option<SavedTopics> {
    let known = report.problems.len();
    let Some(bytes) = report.read(disk, names::FILE) else {
        if report.problems.len() == known {
            report.problems.push(Problem::of_file(names::FILE, "it is missing", RESTORE));
        }
        return None;
    };
    match file::decode(&bytes) {
        Ok(saved) => Some(saved),
        Err(error) => {
            let (what, remedy) = match error {
                OpenError::Damaged(what) => (what, RESTORE),
                other => (other.to_string(), "use the program that wrote it"),
            };
            report.problems.push(Problem::of_file(names::FILE, what, remedy));
            None
        }
    }
}

const RESTORE: &str = "restore it from a copy";

/// What else the broker keeps beside the logs.
fn check_settings(disk: &dyn Disk, report: &mut Report) {
    const DAMAGED: &str = "its checksum or its format is wrong";
    let set_anew = "restore it from a copy, or delete it and set anew what it held";
    let is_named = |name: &str, bytes: &[u8]| match named_settings::decode(name, bytes) {
        Some(_) => Ok(()),
        None => Err(DAMAGED.to_owned()),
    };
    let is_quotas = |_: &str, bytes: &[u8]| quota::file::decode(bytes).map(drop);
    let is_ids =
        |_: &str, bytes: &[u8]| producer_ids::parse(bytes).map(drop).ok_or(DAMAGED.to_owned());
    type Read<'a> = &'a dyn Fn(&str, &[u8]) -> Result<(), String>;
    let files: BTreeMap<&str, (Read<'_>, &str)> = BTreeMap::from([
        (defaults::FILE, (&is_named as Read<'_>, set_anew)),
        (group_configs::FILE, (&is_named as Read<'_>, set_anew)),
        (client_metrics::FILE, (&is_named as Read<'_>, set_anew)),
        (quota::file::FILE, (&is_quotas as Read<'_>, set_anew)),
        (producer_ids::FILE, (&is_ids as Read<'_>, RESTORE)),
    ]);
    for (name, (read, remedy)) in files {
        if let Some(bytes) = report.read(disk, name)
            && let Err(what) = read(name, &bytes)
        {
            report.problems.push(Problem::of_file(name, what, remedy));
        }
    }
}
