//! A table's lives, one after the other: each failure ends one, and after a while the next begins.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::status::StatusCell;
use crate::table::fault::Fault;
use crate::table::intake::DamagedPlace;
use crate::table::report::Report;
use crate::table::shared::{Declared, Shared};
use crate::table::{End, interrupted, live};

const BACK_OFF_FIRST: Duration = Duration::from_millis(100);
const BACK_OFF_MAX: Duration = Duration::from_secs(10);
/// A batch that fails its checksum so often in a row is a bad one for good.
const DAMAGED_READS_MAX: u32 = 3;

/// Runs a table until told to stop; a new declaration begins a new life.
pub async fn run(
    shared: Arc<Shared>,
    status: StatusCell,
    mut declared: watch::Receiver<Declared>,
    mut stop: watch::Receiver<bool>,
) {
    let _counted = shared.count_table();
    let (name, topic) = status.update(|status| (status.name.clone(), status.topic.clone()));
    let metrics = shared.metrics.table(&name, &topic);
    let clock = Arc::clone(&shared.clock);
    let report = Report { name, status, metrics, clock, quarantine_told_ms: Arc::default() };
    let mut back_off = BACK_OFF_FIRST;
    let mut damaged: Option<(DamagedPlace, u32)> = None;
    loop {
        let commits_before = report.metrics.commits.get();
        let given_up = damaged.filter(|(_, reads)| *reads >= DAMAGED_READS_MAX);
        let given_up = given_up.map(|(place, _)| place);
        let fault = match live(&shared, &report, given_up, &mut declared, &mut stop).await {
            Ok(End::Stopped) => return report.stopped(),
            Ok(End::Redeclared) => continue,
            Err(fault) => fault,
        };
        report.failed(&fault);
        if let Fault::Damaged(place) = fault {
            let reads = damaged.filter(|(known, _)| *known == place).map_or(0, |(_, reads)| reads);
            damaged = Some((place, reads + 1));
        }
        if report.metrics.commits.get() > commits_before {
            back_off = BACK_OFF_FIRST;
        }
        tokio::select! {
            end = interrupted(&mut declared, &mut stop) => match end {
                End::Stopped => return report.stopped(),
                End::Redeclared => back_off = BACK_OFF_FIRST,
            },
            () = tokio::time::sleep(back_off), if !fault.waits_for_change() => {
                back_off = (back_off * 2).min(BACK_OFF_MAX);
            }
        }
    }
}
