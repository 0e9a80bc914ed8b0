//! `weir log salvage`: a damaged partition opens again, without the records that are lost.

use std::process::ExitCode;

use clap::Args;
use weir_broker::check::{known, saved_topics};
use weir_broker::disk::os::OsDisk;
use weir_broker::log::check::{DirState, Kind, Report};
use weir_broker::log::salvage::{Mended, Mode, salvage};

use crate::failure::Failure;
use crate::log::{DataDir, topic_and_partition};
use crate::print;
use crate::table::Output;

#[derive(Args, Clone, Debug)]
pub(crate) struct Salvage {
    #[command(flatten)]
    data_dir: DataDir,
    /// The partition, as TOPIC:PARTITION.
    #[arg(long, value_name = "TOPIC:PARTITION", value_parser = topic_and_partition)]
    topic: (String, Option<i32>),
    /// Only tell what would be lost and kept.
    #[arg(long)]
    dry_run: bool,
    /// How to print it.
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    output: Output,
}

pub(crate) fn run(args: &Salvage) -> Result<ExitCode, Failure> {
    let place = args.data_dir.data_dir.display().to_string();
    let (topic, Some(partition)) = args.topic.clone() else {
        return Err(Failure::new("--topic: name one partition, as TOPIC:PARTITION"));
    };
    let (disk, mode) = match args.dry_run {
        true => (OsDisk::inspect(&args.data_dir.data_dir)?, Mode::Tell),
        false => {
            // It must be there: opening would make it.
            OsDisk::inspect(&args.data_dir.data_dir)?;
            (OsDisk::open(&args.data_dir.data_dir)?, Mode::Mend)
        }
    };
    let mut report = Report::default();
    let state = DirState::read(&disk, &mut report);
    let saved = saved_topics(&disk, &mut report);
    if let Some(problem) = report.problems.iter().find(|it| it.kind == Kind::Damage) {
        // Where a log begins and up to where it was durable stands there.
        return Err(Failure::new(format!("{place}: mend this first: {problem}")));
    }
    let log = (topic, partition);
    let known = known(&state, saved.as_ref(), &log);
    let mended = salvage(&disk, (&log.0, log.1), &known, mode).map_err(|error| {
        Failure::new(format!("{place}: {}-{partition} cannot be salvaged: {error}", log.0))
    })?;
    match args.output {
        Output::Json => print::json(&mended)?,
        Output::Table => print::lines(&text(&mended, args.dry_run))?,
    }
    Ok(ExitCode::SUCCESS)
}

fn text(mended: &[Mended], is_dry: bool) -> Vec<String> {
    if mended.is_empty() {
        return vec!["no segment of it is damaged: nothing was changed".to_owned()];
    }
    let mut lines = Vec::new();
    for Mended { file, kept_as, batches, records, lost, damaged_bytes } in mended {
        let lost: Vec<String> =
            lost.iter().map(|range| format!("{}..{}", range.start, range.end)).collect();
        let lost = if lost.is_empty() { "no offsets".to_owned() } else { lost.join(", ") };
        lines.push(format!(
            "{file}: lost {lost} ({damaged_bytes} damaged bytes); kept {batches} batches, \
             {records} records"
        ));
        if let Some(kept_as) = kept_as {
            lines.push(format!("  as it was found: {kept_as}"));
        }
    }
    lines.push(match is_dry {
        true => "nothing was changed: this was a dry run".to_owned(),
        false => {
            "the broker serves the rest at the next start; the lost offsets are empty".to_owned()
        }
    });
    lines
}
