//! All runs, and what they say together: a row for each workload and system. PURE.
use serde::Serialize;

use crate::compare::figure::{Rounds, Spread};
use crate::compare::load::Found;
use crate::compare::system::System;
use crate::compare::workload::Workload;
use crate::limits::Limits;
use crate::measure::round;

/// One run of a workload on a system.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Run {
    pub(crate) workload: String,
    pub(crate) system: System,
    pub(crate) round: u32,
    pub(crate) found: Option<Found>,
    pub(crate) error: Option<String>,
}

/// The rounds of one workload on one system.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Row {
    pub(crate) workload: String,
    pub(crate) system: System,
    pub(crate) is_latency: bool,
    pub(crate) mb_per_second: Option<Spread>,
    pub(crate) records_per_second: Option<Spread>,
    pub(crate) p50_ms: Option<Spread>,
    pub(crate) p99_ms: Option<Spread>,
    pub(crate) p99_9_ms: Option<Spread>,
    pub(crate) cpu_seconds_per_gb: Option<Spread>,
    pub(crate) cpu_seconds_per_million_records: Option<Spread>,
    pub(crate) rss_peak_mib: Option<Spread>,
    /// Of MB/s, or of the p50 of a latency.
    pub(crate) ratio_to_kafka: Option<Spread>,
    /// The median's share of the workload's floor; of a latency, the floor's share of the p50.
    pub(crate) of_the_limit: Option<f64>,
    /// Rounds whose main figure lies far apart.
    pub(crate) is_noisy: bool,
    /// Of the last round that failed.
    pub(crate) error: Option<String>,
}

/// Workload by workload, the systems in their order.
pub(crate) fn rows(
    runs: &[Run],
    workloads: &[Workload],
    systems: &[System],
    limits: &Limits,
) -> Vec<Row> {
    let each = workloads.iter().flat_map(|workload| systems.iter().map(move |s| (workload, *s)));
    each.filter_map(|(workload, system)| row(runs, workload, system, limits)).collect()
}

fn row(runs: &[Run], workload: &Workload, system: System, limits: &Limits) -> Option<Row> {
    let of = |system| {
        runs.iter().filter(move |run| run.workload == workload.name && run.system == system)
    };
    of(system).next()?;
    let rounds = |system, figure: &dyn Fn(&Found) -> Option<f64>| -> Rounds {
        of(system).filter_map(|run| Some((run.round, figure(run.found.as_ref()?)?))).collect()
    };
    let spread = |figure: &dyn Fn(&Found) -> Option<f64>| Spread::of(&rounds(system, figure));
    let is_latency = workload.is_latency();
    let main = |found: &Found| if is_latency { found.p50_ms } else { Some(found.mb_per_second) };
    let floor = workload.limit.of(limits);
    let share = |median: f64| if is_latency { floor / median } else { median / floor };
    let median = spread(&main);
    Some(Row {
        workload: workload.name.clone(),
        system,
        is_latency,
        mb_per_second: spread(&|found| Some(found.mb_per_second)),
        records_per_second: spread(&|found| Some(found.records_per_second)),
        p50_ms: spread(&|found| found.p50_ms),
        p99_ms: spread(&|found| found.p99_ms),
        p99_9_ms: spread(&|found| found.p99_9_ms),
        cpu_seconds_per_gb: spread(&|found| found.cpu_seconds_per_gb),
        cpu_seconds_per_million_records: spread(&|found| found.cpu_seconds_per_million_records),
        rss_peak_mib: spread(&|found| found.rss_peak_mib),
        ratio_to_kafka: Spread::of_ratios(&rounds(system, &main), &rounds(System::Kafka, &main)),
        of_the_limit: median.map(|spread| round(share(spread.median))),
        is_noisy: median.is_some_and(|spread| spread.is_noisy()),
        error: of(system).filter_map(|run| run.error.clone()).next_back(),
    })
}
