//! The compactor dies at every named step of a commit, an expiry and a clean-up, and at random,
//! while changes of rows are written: at every snapshot the table is what the log says.

use rand::RngExt;
use tokio::time::Instant;
use weir_compactor::crash::CRASH_POINTS;

use crate::kill::content::{TABLE, change};
use crate::kill::history::Reading;
use crate::kill::machine::Machine;
use crate::kill::process::Process;
use crate::kill::table::{Ended, Table};
use crate::kill::writer::Writers;
use crate::kill::{chance, moment};
use crate::kit::folder;

const WRITERS: u32 = 2;
const KILLS: u32 = 70;

/// A broker that lives on, a topic that is a table, writers that write changes of its rows.
pub(super) struct Folding {
    pub(super) machine: Machine,
    pub(super) broker: Process,
    pub(super) reading: Reading,
    pub(super) writers: Writers,
    pub(super) table: Table,
    began: Instant,
}

impl Folding {
    pub(super) async fn begin(
        chance: &mut rand::rngs::StdRng,
        commit_interval_ms: &str,
        retain_min: &str,
    ) -> Folding {
        let (machine, began) = (Machine::new(chance, folder::quick()), Instant::now());
        let more = [
            ("table.commit.interval.ms", commit_interval_ms),
            ("table.snapshot.retain.ms", "0"),
            ("table.snapshot.retain.min", retain_min),
        ];
        let configs = [TABLE, &more].concat();
        let mut broker = machine.broker();
        broker.ready().await;
        let reading = Reading::new(&machine, machine.create_topic(&configs).await, change);
        machine.tell_ready();
        let writers = Writers::start(&machine, WRITERS, change, chance);
        let retain_min = retain_min.parse().expect("a number");
        let table = Table::new(&machine, &configs, retain_min);
        Folding { machine, broker, reading, writers, table, began }
    }

    /// Compares the table with the log after a death.
    pub(super) async fn check(&mut self) {
        self.reading.read_on().await;
        let history = self.reading.history.lock().await;
        self.table.check(&history, Ended::Killed).await;
        self.writers.acknowledged();
    }

    /// Lets the table catch up with all that was written, and compares every snapshot.
    pub(super) async fn finish(mut self) -> String {
        let sent = self.writers.finish().await;
        self.reading.read_all().await;
        let history = self.reading.history.lock().await;
        history.check_complete(&sent);
        history.check_acknowledged(self.writers.acknowledged());
        let mut compactor = self.machine.compactor(&[]);
        self.table.caught_up(&history).await;
        compactor.stop().await;
        self.table.check_anew(&history).await;
        self.machine.verify().await;
        self.broker.stop().await;
        let compactions = self.table.compaction_count();
        assert!(compactions > 0, "nothing was compacted");
        format!(
            "{} records; {} snapshots, {compactions} compactions seen, rows compared at {}; {:.1} s",
            history.record_count(),
            self.table.newest(),
            self.table.compared_count,
            self.began.elapsed().as_secs_f64(),
        )
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_compactor_that_dies_at_every_named_step_folds_each_record_once() {
    let mut chance = chance("compactor, named steps");
    let mut folding = Folding::begin(&mut chance, "40", "3").await;
    let writing = folding.writers.allow_steadily(1, 4);
    let mut deaths = 0;
    for point in CRASH_POINTS {
        let later: u32 = match *point {
            // Once in a second, and there may be no second file to take away.
            "expire.planned" | "expire.hint-written" | "orphans.file-deleted" => 1,
            _ => chance.random_range(2..8),
        };
        for pass in [1, later] {
            let at = format!("{point}:{pass}");
            let mut compactor = folding.machine.compactor(&[("WEIR_CRASH_AT", &at)]);
            compactor.dies_at(point).await;
            deaths += 1;
            folding.check().await;
        }
    }
    writing.abort();
    let told = folding.finish().await;
    println!("compactor, named steps: {deaths} deaths; {told}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_compactor_killed_70_times_at_random_folds_each_record_once() {
    let mut chance = chance("compactor, random");
    let mut folding = Folding::begin(&mut chance, "60", "5").await;
    let writing = folding.writers.allow_steadily(1, 4);
    for _ in 0..KILLS {
        let mut compactor = folding.machine.compactor(&[]);
        // From 1000 ms on there are expiries.
        let life_ms = match chance.random_range(0..10) {
            0..4 => 1..250,
            4..8 => 250..800,
            _ => 950..1500,
        };
        moment(&mut chance, life_ms).await;
        compactor.kill().await;
        folding.check().await;
    }
    writing.abort();
    let told = folding.finish().await;
    println!("compactor, random: {KILLS} kills; {told}");
}
