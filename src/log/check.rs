//! `weir log check`: what is damaged in a data directory, where exactly, and what to do.

use std::process::ExitCode;

use clap::Args;
use weir_broker::check::{Chosen, check, is_data_directory};
use weir_broker::disk::os::OsDisk;
use weir_broker::log::check::{Kind, Problem, Report};

use crate::failure::Failure;
use crate::log::{DataDir, topic_and_partition};
use crate::print;
use crate::table::Output;

/// The exit code when something is damaged.
const EXIT_DAMAGED: u8 = 3;

#[derive(Args, Clone, Debug)]
pub(crate) struct Check {
    #[command(flatten)]
    data_dir: DataDir,
    /// Only the logs of this topic, or of one partition of it, as TOPIC:PARTITION.
    #[arg(long, value_name = "TOPIC[:PARTITION]", value_parser = topic_and_partition)]
    topic: Option<(String, Option<i32>)>,
    /// How to print what was found.
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    output: Output,
}

pub(crate) fn run(args: &Check) -> Result<ExitCode, Failure> {
    let place = args.data_dir.data_dir.display().to_string();
    let disk = OsDisk::inspect(&args.data_dir.data_dir)?;
    if !is_data_directory(&disk).map_err(|error| Failure::new(format!("{place}: {error}")))? {
        let remedy = "name the broker's log.dirs by --data-dir";
        return Err(Failure::new(format!("{place} holds no logs of a broker; {remedy}")));
    }
    let chosen = match args.topic.clone() {
        Some((topic, partition)) => Chosen { topic: Some(topic), partition },
        None => Chosen::default(),
    };
    let bar = print::progress("reading");
    let checked = check(&disk, &chosen, &mut |file| bar.set_message(file.to_owned()));
    bar.finish_and_clear();
    let report = checked.map_err(|error| Failure::new(format!("{place}: {error}")))?;
    if let (0, Some((topic, _))) = (report.logs, &args.topic) {
        return Err(Failure::new(format!("{place} has no such log of topic {topic}")));
    }
    match args.output {
        Output::Json => print::json(&report)?,
        Output::Table => print::lines(&text(&place, &report))?,
    }
    match report.is_clean() {
        true => Ok(ExitCode::SUCCESS),
        false => Ok(ExitCode::from(EXIT_DAMAGED)),
    }
}

fn text(place: &str, report: &Report) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    if !report.problems.is_empty() {
        let mut table =
            print::table(&["kind", "file", "bytes", "offsets", "what is wrong", "remedy"]);
        for problem in &report.problems {
            table.add_row(row(problem));
        }
        lines.push(table.to_string());
    }
    let count = |kind| report.problems.iter().filter(|problem| problem.kind == kind).count();
    let bytes = print::bytes(i64::try_from(report.bytes).unwrap_or(i64::MAX));
    let Report { logs, segments, batches, records, .. } = report;
    let read = format!(
        "{place}: {logs} logs, {segments} segments, {batches} batches, {records} records, {bytes}"
    );
    let found = match (count(Kind::Damage), count(Kind::Derived)) {
        (0, 0) => "nothing is damaged".to_owned(),
        (damage, derived) => {
            format!("damage in {damage} places, {derived} derived files to remake")
        }
    };
    lines.push(format!("{read}: {found}"));
    lines
}

fn row(problem: &Problem) -> [String; 6] {
    let kind = match problem.kind {
        Kind::Damage => "damage",
        Kind::Derived => "derived",
        Kind::Tail => "tail",
    };
    let bytes = problem.bytes.as_ref().map(|range| format!("{}..{}", range.start, range.end));
    let offsets = problem.offsets.as_ref().map(|range| format!("{}..{}", range.start, range.end));
    [
        kind.to_owned(),
        problem.file.clone(),
        bytes.unwrap_or_default(),
        offsets.unwrap_or_default(),
        problem.what.clone(),
        problem.remedy.clone(),
    ]
}
