//! THE walk of one table: fetch, decode, fold, write, commit; compaction beside it.
//!
//! ```text
//! open: newest snapshot, schema, is the log still that log? ---------------------.
//!   |                                                                            |
//!   v          .--------------------- a life -----------------------.            |
//! source -> take in (blocking) -> ripe: flush -> write -> commit    |            |
//!              ^                                   |                |            |
//!              '----------- goes on while ---------'--> merges      |            |
//!                                                                   v            |
//!             any failure, any change of the declaration, stop -> finish --------'
//! ```
//!
//! - This file only orders the steps; each step lives in a file of its own.
//! - A life ends with every record that was taken in committed, or with none of them counted.
//! - After a failure the next life opens from the newest snapshot: there is no other recovery.

mod courtesy;
pub mod fault;
mod flush;
mod intake;
mod janitor;
pub mod lives;
mod merges;
pub mod opening;
mod report;
pub mod shared;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use weir_protocol::records::Offset;
use weir_protocol::table::column::Column;

use crate::committer::Committer;
use crate::lineage::Lineage;
use crate::schema::evolution::evolve;
use crate::source::{Answered, Source};
use crate::table::courtesy::Courtesy;
use crate::table::fault::Fault;
use crate::table::flush::{Writing, Written};
use crate::table::intake::{DamagedPlace, Intake, Pause};
use crate::table::janitor::{Janitor, Keeping};
use crate::table::merges::{Ended, Merges, Outcome};
use crate::table::opening::{COMMIT_USER, begin_fold, open, schema_of};
use crate::table::report::Report;
use crate::table::shared::{Declared, Shared};

/// Why a life ended in good order.
enum End {
    /// Told to stop.
    Stopped,
    /// The declaration has changed.
    Redeclared,
}

/// One life of a table.
async fn live(
    shared: &Arc<Shared>,
    report: &Report,
    given_up: Option<DamagedPlace>,
    declared: &mut watch::Receiver<Declared>,
    stop: &mut watch::Receiver<bool>,
) -> Result<End, Fault> {
    let now = declared.borrow_and_update().clone();
    let opened = tokio::select! {
        opened = open(shared, &now, report) => opened?,
        end = interrupted(declared, stop) => return Ok(end),
    };
    let opening::Opened { writing, mut intake, live, source, bounds } = opened;
    intake.give_up(given_up);
    let permits = Arc::clone(&shared.compactions);
    let merges = Merges::new(&writing.schema, &live, permits, stop.clone())?;
    let latest = writing.committer.lock().await.latest().cloned();
    report.opened(latest.as_ref(), writing.schema.id, &bounds, merges.files(&writing));
    let keeping = Keeping {
        snapshot_retain_ms: now.settings.snapshot_retain_ms,
        snapshot_retain_min: now.settings.snapshot_retain_min,
        orphan_age_ms: shared.config.orphan_age_ms,
    };
    let second = Committer::open(shared.store.clone(), writing.paths.clone(), COMMIT_USER).await?;
    let clock = Arc::clone(&shared.clock);
    let janitor = Janitor::start(second, keeping, clock, report.metrics.clone());
    let courtesy = Courtesy::start(&shared.cluster, &shared.config.group_id, &now.topic);
    let mut life = Life {
        shared: Arc::clone(shared),
        report: report.clone(),
        declared: now,
        writing,
        intake: Some(Box::new(intake)),
        merges,
        write: None,
        courtesy,
    };
    if let Some(latest) = &latest {
        life.tell(latest);
    }
    let ended = life.fold_on(source, declared, stop).await;
    let finished = life.finish(ended.as_ref().err()).await;
    janitor.finish().await;
    ended.and_then(|end| finished.map(|()| end))
}

/// The parts of a life.
struct Life {
    shared: Arc<Shared>,
    report: Report,
    declared: Declared,
    writing: Writing,
    /// Absent while a blocking thread has it, and after that thread panicked.
    intake: Option<Box<Intake>>,
    merges: Merges,
    /// The commit that is under way: one at a time, so they follow each other.
    write: Option<JoinHandle<Result<Written, Fault>>>,
    courtesy: Courtesy,
}

impl Life {
    /// Folds until something ends it.
    async fn fold_on(
        &mut self,
        mut source: Source,
        declared: &mut watch::Receiver<Declared>,
        stop: &mut watch::Receiver<bool>,
    ) -> Result<End, Fault> {
        loop {
            self.merges.start(&self.writing);
            let now_ms = self.shared.clock.now_ms();
            let intake = self.intake.as_mut().ok_or_else(lost)?;
            intake.limit_memory(self.shared.memory_share());
            if intake.is_empty() && !intake.is_ripe(now_ms) {
                let ripe_at_ms = intake.fold().ripe_at_ms();
                let ripe_in_ms = ripe_at_ms.map_or(0, |at_ms| at_ms.saturating_sub(now_ms).max(0));
                let ripe = tokio::time::sleep(Duration::from_millis(ripe_in_ms.unsigned_abs()));
                tokio::select! {
                    end = interrupted(declared, stop) => return Ok(end),
                    answer = source.next() => self.push(answer?)?,
                    written = ended(&mut self.write) => self.note_written(&written?)?,
                    ended = self.merges.next() => self.note_merged(ended?)?,
                    () = ripe, if ripe_at_ms.is_some() => {}
                }
                continue;
            }
            match self.take_in().await? {
                Pause::Empty if self.is_ripe()? => self.flush().await?,
                Pause::Empty => {}
                Pause::Ripe => self.flush().await?,
                Pause::NeedsSchema(columns) => self.evolve(&columns).await?,
                Pause::Halted { partition, offset, reason } => {
                    return Err(Fault::Halted { partition, offset, reason });
                }
                Pause::Damaged(place) => return Err(Fault::Damaged(place)),
            }
        }
    }

    fn push(&mut self, answer: Answered) -> Result<(), Fault> {
        let intake = self.intake.as_mut().ok_or_else(lost)?;
        self.report.answered(&answer.ends, intake.newest_ms());
        intake.push(answer.batches);
        Ok(())
    }

    fn is_ripe(&self) -> Result<bool, Fault> {
        let intake = self.intake.as_ref().ok_or_else(lost)?;
        Ok(intake.is_ripe(self.shared.clock.now_ms()))
    }

    /// Lets a blocking thread work on the intake.
    async fn with_intake<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&mut Intake) -> T + Send + 'static,
    ) -> Result<T, Fault> {
        let mut intake = self.intake.take().ok_or_else(lost)?;
        let worked = tokio::task::spawn_blocking(move || {
            let outcome = work(&mut intake);
            (intake, outcome)
        });
        let (intake, outcome) = worked.await?;
        self.intake = Some(intake);
        Ok(outcome)
    }

    /// Decodes and folds what was fetched, up to a pause.
    async fn take_in(&mut self) -> Result<Pause, Fault> {
        let clock = Arc::clone(&self.shared.clock);
        let (pause, bytes, memory_bytes) = self
            .with_intake(move |intake| {
                let pause = intake.run(&*clock);
                (pause, intake.take_bytes(), intake.fold().memory_bytes())
            })
            .await?;
        self.report.metrics.folded_bytes.inc_by(bytes);
        self.report.metrics.memory_bytes.set(i64::try_from(memory_bytes).unwrap_or(i64::MAX));
        Ok(pause?)
    }

    /// Sorts what is in memory and has it written and committed, beside what comes next.
    async fn flush(&mut self) -> Result<(), Fault> {
        self.settle_write().await?;
        while self.merges.is_behind() {
            let ended = self.merges.next().await?;
            self.note_merged(ended)?;
            self.merges.start(&self.writing);
        }
        let interval_ms = i64::try_from(self.declared.settings.commit_interval_ms);
        let interval_ms = interval_ms.unwrap_or(i64::MAX);
        let (oldest_ms, flushed) = self
            .with_intake(move |intake| {
                let fold = intake.fold();
                let oldest_ms = fold.ripe_at_ms().map(|at| at.saturating_sub(interval_ms));
                (oldest_ms, fold.flush())
            })
            .await?;
        let (Some(oldest_ms), flush) = (oldest_ms, flushed?) else { return Ok(()) };
        self.write = Some(tokio::spawn(self.writing.clone().write(flush, oldest_ms)));
        Ok(())
    }

    /// Commits what is in memory, adds the columns, and goes on with them.
    async fn evolve(&mut self, columns: &[Column]) -> Result<(), Fault> {
        self.flush().await?;
        self.settle_write().await?;
        self.merges.call_off_waiting();
        while self.merges.is_running() {
            let ended = self.merges.next().await?;
            self.note_merged(ended)?;
        }
        let committer = Arc::clone(&self.writing.committer);
        let mut committer = committer.lock().await;
        if let Some(mut schema) = evolve(&self.writing.schema, columns)? {
            schema.time_ms = self.shared.clock.now_ms();
            committer.add_schema(&schema).await?;
            let (table, schema) = (&self.report.name, schema.id);
            tracing::info!(table, schema, "the records have more columns than the table had");
        }
        self.writing.schema = schema_of(&committer)?;
        let Declared { topic, topic_id, settings, partitions, .. } = &self.declared;
        let lineage = committer.lineage()?.unwrap_or_else(|| Lineage {
            topic: topic.clone(),
            topic_id: *topic_id,
            partitions: BTreeMap::new(),
        });
        let intake = self.intake.as_mut().ok_or_else(lost)?;
        let next = |partition: &i32| Some((*partition, intake.fold().next_of(*partition)?));
        let next: BTreeMap<i32, Offset> = partitions.iter().filter_map(next).collect();
        let (decoder, fold) = begin_fold(settings, &committer, lineage, next).await?;
        Ok(intake.go_on_with(decoder, fold)?)
    }

    /// Ends a life: all that was taken in is committed, unless it is not certain what was.
    async fn finish(mut self, fault: Option<&Fault>) -> Result<(), Fault> {
        let is_certain = match fault {
            None => true,
            Some(Fault::Source(_) | Fault::Halted { .. } | Fault::Damaged(_)) => true,
            Some(_) => false,
        };
        // What other tables merge is not waited for.
        self.merges.close();
        let mut outcome = self.settle_write().await;
        if is_certain && outcome.is_ok() {
            outcome = match self.flush().await {
                Ok(()) => self.settle_write().await,
                failed => failed,
            };
        }
        // Also after a failure: nothing of this life may commit once the next one has begun.
        while self.merges.is_running() {
            let ended = self.merges.next().await;
            let noted = ended.and_then(|ended| self.note_merged(ended));
            outcome = outcome.and(noted);
        }
        self.courtesy.finish().await;
        outcome
    }

    async fn settle_write(&mut self) -> Result<(), Fault> {
        if self.write.is_some() {
            let written = ended(&mut self.write).await?;
            self.note_written(&written)?;
        }
        Ok(())
    }

    fn note_written(&mut self, written: &Written) -> Result<(), Fault> {
        self.merges.add(&written.files)?;
        self.report.written(written);
        self.report.files(self.merges.files(&self.writing));
        self.tell(&written.snapshot);
        Ok(())
    }

    fn note_merged(&mut self, ended: Ended) -> Result<(), Fault> {
        match self.merges.end(ended, self.shared.clock.now_ms())? {
            Outcome::Merged(merged) => {
                self.report.merged(&merged.snapshot, merged.took_ms, self.merges.is_sound());
                self.report.files(self.merges.files(&self.writing));
            }
            Outcome::Failed(fault) => self.report.merge_failed(&fault),
            Outcome::NotBegun => {}
        }
        Ok(())
    }

    /// Tells the group, as a courtesy, what a snapshot holds.
    fn tell(&self, snapshot: &crate::paimon::snapshot::Snapshot) {
        if let Ok(checkpoint) = snapshot.checkpoint() {
            let next = checkpoint.next.into_iter().map(|(partition, next)| (partition, next.0));
            self.courtesy.tell(next.collect());
        }
    }
}

/// The end of the commit that is under way; for ever pending if there is none. May be cancelled.
async fn ended(write: &mut Option<JoinHandle<Result<Written, Fault>>>) -> Result<Written, Fault> {
    let Some(running) = write.as_mut() else { return std::future::pending().await };
    let ended = running.await;
    *write = None;
    ended?
}

async fn interrupted(
    declared: &mut watch::Receiver<Declared>,
    stop: &mut watch::Receiver<bool>,
) -> End {
    tokio::select! {
        _ = stop.wait_for(|stop| *stop) => End::Stopped,
        changed = declared.changed() => match changed {
            Ok(()) => End::Redeclared,
            Err(_) => End::Stopped,
        },
    }
}

fn lost() -> Fault {
    Fault::Defect("the rows in memory were lost with a thread".into())
}
