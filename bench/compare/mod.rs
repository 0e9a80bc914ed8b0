//! Systems side by side: every round of a workload runs on each system in turn (A B A B ...), each
//! time on a system that has just started and an empty folder, after a warm-up.
//!
//! compare > outcome > figure;  compare > load > system, workload;  table and chart show outcomes
mod chart;
mod figure;
mod load;
mod outcome;
mod system;
mod table;
mod workload;

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use serde_json::json;

use crate::compare::chart::CHARTS;
use crate::compare::load::Client;
use crate::compare::outcome::{Row, Run};
use crate::compare::system::{Programs, System};
use crate::compare::workload::Workload;
use crate::limits::{self, Limits};
use crate::{BenchError, clock};

/// Between these lines of a page stands the last comparison.
const BEGIN: &str = "<!-- comparison: by weir-bench compare -->";
const END: &str = "<!-- comparison: end -->";
/// The folder of the plots beside such a page.
const PLOTS: &str = "plots";

#[derive(Args, Clone, Debug)]
pub(crate) struct Compare {
    /// Workloads by name; see --workloads.
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    names: Vec<String>,
    /// All workloads.
    #[arg(long)]
    all: bool,
    /// The folder of the workloads' files.
    #[arg(long, value_name = "DIR", default_value = "bench/workloads")]
    workloads: PathBuf,
    /// What is compared, in this order. One that cannot be had is left out, and told.
    #[arg(long, value_enum, value_delimiter = ',', default_value = "weir,weir-os,kafka,tansu")]
    systems: Vec<System>,
    /// The program `weir`. Absent: the one beside this program.
    #[arg(long, value_name = "BIN")]
    weir: Option<PathBuf>,
    /// A file with the class path of Apache Kafka's jars.
    #[arg(long, value_name = "FILE")]
    kafka_class_path: Option<PathBuf>,
    /// Tansu's program.
    #[arg(long, value_name = "BIN")]
    tansu: Option<PathBuf>,
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Seconds that are measured.
    #[arg(long, default_value = "5", value_parser = crate::seconds)]
    seconds: Duration,
    /// Seconds of the same load before that.
    #[arg(long, default_value = "3", value_parser = crate::seconds)]
    warmup: Duration,
    /// The client on the first core, the server on the others (by taskset).
    #[arg(long)]
    pin: bool,
    /// Where systems keep their data meanwhile. Absent: the system's folder for temporary files.
    #[arg(long, value_name = "DIR")]
    scratch: Option<PathBuf>,
    /// Where comparison.md, comparison.json and the plots go.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// A page with a marked place for the comparison; the plots go beside it.
    #[arg(long, value_name = "FILE")]
    write: Option<PathBuf>,
}

/// Runs everything, or ends at an interrupt; either way nothing is left running or lying about.
pub(crate) async fn run(settings: Compare) -> Result<(), BenchError> {
    tokio::select! {
        done = compare(settings) => done,
        _ = tokio::signal::ctrl_c() => Err(BenchError::Usage("interrupted".to_owned())),
    }
}

async fn compare(settings: Compare) -> Result<(), BenchError> {
    let began = clock::now();
    let workloads = read_workloads(&settings)?;
    let page = settings.write.as_deref().map(read_page).transpose()?;
    let (programs, client) = programs(&settings)?;
    let mut notes = Vec::new();
    let mut systems = Vec::new();
    for system in &settings.systems {
        let name = system.name();
        match programs.missing(*system) {
            Some(reason) => notes.push(format!("{name} is left out: {reason}")),
            None => {
                notes.push(format!("{name}: {}", programs.version(*system).await));
                systems.push(*system);
            }
        }
    }
    notes.iter().for_each(|note| eprintln!("{note}"));
    if systems.is_empty() {
        return Err(BenchError::Usage("no system is left to compare".to_owned()));
    }
    eprintln!("limits of this machine");
    let limits = limits::measure(Duration::from_secs(1), settings.scratch.clone()).await?;
    let runs = all_runs(&settings, &workloads, &systems, &programs, &client).await?;
    let rows = outcome::rows(&runs, &workloads, &systems, &limits);
    let minutes = began.elapsed().as_secs_f64() / 60.0;
    let text = format!("{}{}", head(&settings, &notes, &limits, minutes), table::tables(&rows));
    print!("{text}");
    if let Some(folder) = &settings.out {
        let all = json!({
            "machine": machine(), "notes": notes, "limits": limits, "workloads": workloads,
            "rows": rows, "runs": runs,
        });
        write_file(&folder.join("comparison.md"), &text)?;
        write_file(&folder.join("comparison.json"), &format!("{all:#}\n"))?;
        write_charts(folder, &rows)?;
    }
    if let (Some(path), Some(page)) = (&settings.write, page) {
        let plots = path.parent().unwrap_or(Path::new("")).join(PLOTS);
        let shown: String = write_charts(&plots, &rows)?
            .iter()
            .map(|file| format!("![{file}]({PLOTS}/{file})\n"))
            .collect();
        let filled = filled(&page, &format!("{text}{shown}")).expect("the marks were looked for");
        write_file(path, &filled)?;
    }
    Ok(())
}

async fn all_runs(
    settings: &Compare,
    workloads: &[Workload],
    systems: &[System],
    programs: &Programs,
    client: &Client,
) -> Result<Vec<Run>, BenchError> {
    let count = workloads.len() * systems.len() * settings.rounds as usize;
    let mut runs = Vec::new();
    for workload in workloads {
        for round in 1..=settings.rounds {
            for system in systems {
                let (found, error) = match one_run(programs, client, workload, *system).await {
                    Ok(found) => (Some(found), None),
                    Err(error) => (None, Some(error.to_string())),
                };
                let said = match &found {
                    Some(found) => told(found),
                    None => format!("failed: {}", error.as_deref().unwrap_or_default()),
                };
                let (number, name) = (runs.len() + 1, system.name());
                eprintln!("{number}/{count} {} round {round} {name}: {said}", workload.name);
                let (workload, system) = (workload.name.clone(), *system);
                runs.push(Run { workload, system, round, found, error });
            }
        }
    }
    Ok(runs)
}

/// The main figures of a run, in a few words.
fn told(found: &load::Found) -> String {
    let latency = found.p50_ms.map_or_else(String::new, |p50| format!(", p50 {p50:.2} ms"));
    format!("{:.0} MB/s{latency}", found.mb_per_second)
}

async fn one_run(
    programs: &Programs,
    client: &Client,
    workload: &Workload,
    system: System,
) -> Result<load::Found, BenchError> {
    let running = programs.start(system).await?;
    let found = client.run(workload, &running).await;
    let address = format!("stop {}", system.name());
    running.stop().await.map_err(|source| BenchError::Io { address, source })?;
    found
}

fn read_workloads(settings: &Compare) -> Result<Vec<Workload>, BenchError> {
    let folder = &settings.workloads;
    let file = |name: &String| folder.join(format!("{name}.yaml"));
    let mut paths: Vec<PathBuf> = settings.names.iter().map(file).collect();
    if settings.all {
        let failed = |source| BenchError::Io { address: folder.display().to_string(), source };
        for entry in fs::read_dir(folder).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            if path.extension().is_some_and(|extension| extension == "yaml") {
                paths.push(path);
            }
        }
        paths.sort();
    }
    paths.iter().map(|path| Workload::read(path)).collect()
}

fn programs(settings: &Compare) -> Result<(Programs, Client), BenchError> {
    let own = std::env::current_exe()
        .map_err(|source| BenchError::Io { address: "this program".to_owned(), source })?;
    let read = |path: &PathBuf| {
        let address = path.display().to_string();
        fs::read_to_string(path)
            .map(|text| text.trim().to_owned())
            .map_err(|source| BenchError::Io { address, source })
    };
    let (client_cores, server_cores) = if settings.pin { pinned()? } else { (None, None) };
    let programs = Programs {
        weir: settings.weir.clone().unwrap_or_else(|| own.with_file_name("weir")),
        kafka_class_path: settings.kafka_class_path.as_ref().map(read).transpose()?,
        tansu: settings.tansu.clone(),
        scratch: settings.scratch.clone().unwrap_or_else(std::env::temp_dir),
        server_cores,
    };
    let client = Client {
        program: own,
        cores: client_cores,
        seconds: settings.seconds.as_secs_f64(),
        warmup_seconds: settings.warmup.as_secs_f64(),
    };
    Ok((programs, client))
}

/// Cores of the client and of the server.
fn pinned() -> Result<(Option<String>, Option<String>), BenchError> {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let is_there = std::process::Command::new("taskset").arg("--version").output().is_ok();
    if cores < 2 || !is_there {
        let said = "--pin needs the program taskset and two cores".to_owned();
        return Err(BenchError::Usage(said));
    }
    Ok((Some("0".to_owned()), Some(format!("1-{}", cores - 1))))
}

/// What was run, where and how.
fn head(settings: &Compare, notes: &[String], limits: &Limits, minutes: f64) -> String {
    let (seconds, warmup) = (settings.seconds.as_secs_f64(), settings.warmup.as_secs_f64());
    let pinned = match settings.pin {
        true => "client pinned to one core, server to the others",
        false => "client and server share the cores",
    };
    let mut out = format!("{}.\n\n", machine());
    let rounds = settings.rounds;
    writeln!(
        out,
        "Rounds in turn: {rounds}, each of {seconds} s after {warmup} s of warm-up, {pinned}; median \
         (least–most), {minutes:.0} minutes in all.\n"
    )
    .expect("a string takes all");
    notes.iter().for_each(|note| writeln!(out, "- {note}").expect("a string takes all"));
    out.push_str("\n| limit of the machine | |\n|---|---|\n");
    for (name, value, unit, digits) in [
        ("loopback TCP", limits.loopback_tcp_mb_per_second, "MB/s", 0),
        ("sendfile to loopback TCP", limits.sendfile_mb_per_second, "MB/s", 0),
        ("memcpy", limits.memcpy_mb_per_second, "MB/s", 0),
        ("CRC-32C", limits.crc32c_mb_per_second, "MB/s", 0),
        ("pwritev", limits.pwritev_mb_per_second, "MB/s", 0),
        ("append of 4 KiB and fdatasync", limits.fdatasync_per_second, "a second", 0),
        ("the median of one", limits.fdatasync_ms, "ms", 2),
    ] {
        let value = table::number(value, digits);
        writeln!(out, "| {name} | {value} {unit} |").expect("a string takes all");
    }
    out.push('\n');
    out
}

/// The day, cores, processor, memory and kernel.
fn machine() -> String {
    let line = |file: &str, name: &str| {
        let text = fs::read_to_string(file).unwrap_or_default();
        let found = text.lines().find_map(|line| line.strip_prefix(name)).map(str::to_owned);
        found.unwrap_or_default().trim_start_matches([' ', '\t', ':']).to_owned()
    };
    let memory = line("/proc/meminfo", "MemTotal");
    let kib: u64 = memory.trim_end_matches(" kB").parse().unwrap_or(0);
    let day = chrono::DateTime::from_timestamp_millis(clock::wall_ms()).unwrap_or_default();
    format!(
        "{}: {} cores ({}), {} GiB, Linux {}",
        day.format("%-d %B %Y"),
        std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
        line("/proc/cpuinfo", "model name"),
        (kib + (1 << 19)) >> 20,
        line("/proc/sys/kernel/osrelease", "")
    )
}

fn write_charts(folder: &Path, rows: &[Row]) -> Result<Vec<&'static str>, BenchError> {
    let mut files = Vec::new();
    for chart in &CHARTS {
        if let Some(drawn) = chart.draw(rows) {
            write_file(&folder.join(chart.file), &drawn)?;
            files.push(chart.file);
        }
    }
    Ok(files)
}

fn write_file(path: &Path, text: &str) -> Result<(), BenchError> {
    let failed = |source| BenchError::Io { address: path.display().to_string(), source };
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(failed)?;
    }
    fs::write(path, text).map_err(failed)
}

/// A page whose marks are there: better to hear of it before the runs than after.
fn read_page(path: &Path) -> Result<String, BenchError> {
    let address = path.display().to_string();
    let page = fs::read_to_string(path)
        .map_err(|source| BenchError::Io { address: address.clone(), source })?;
    match filled(&page, "") {
        Some(_) => Ok(page),
        None => Err(BenchError::Usage(format!("{address} lacks the lines {BEGIN} and {END}"))),
    }
}

/// The page with the comparison between its marks; `None` without marks.
fn filled(page: &str, comparison: &str) -> Option<String> {
    let (before, rest) = page.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{BEGIN}\n{comparison}{END}{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_comparison_takes_the_place_of_the_last_one() {
        let page = format!("head\n{BEGIN}\nold\n{END}\nfoot\n");
        let once = filled(&page, "new\n").expect("it has marks");
        assert_eq!(once, format!("head\n{BEGIN}\nnew\n{END}\nfoot\n"));
        assert_eq!(filled(&once, "new\n"), Some(once));
        assert_eq!(filled("no marks", "new\n"), None);
    }
}
