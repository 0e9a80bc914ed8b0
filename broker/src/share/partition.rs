//! A share-partition: who has which records of a partition, on behalf of one share group. PURE.
//!
//! ```text
//!        start                                              end
//!   done   |  acquired | acknowledged | available | acquired |   not handed out yet
//! ---------+-------------------------------------------------+------------------------>
//!
//! available --acquire--> acquired --accept--> acknowledged
//!     ^                     |    \--reject, gap--> archived
//!     +--release, timeout---+    \--release, timeout of the last delivery--> archived
//! ```
//!
//! - A record is acquired by one member at most, until its lock ends.
//! - `start` never goes back: what lies before it is done, and its first record is not.
//! - `start..end` is never longer than `locks_max`, but for offsets that hold no record.
//!
//! A delivery is counted when a record is acquired. It is kept in the records of the log when the
//! record is given back; what was acquired when the broker died is available again. Locks that
//! have ended are found out when somebody looks: every call that takes a time does so first.

use std::sync::Arc;

use kafka_protocol::error::ResponseError;

use crate::share::kept::{Kept, StateBatch};
use crate::share::runs::{Runs, Span};
use crate::share::verdict::{Acknowledgement, Verdict};

/// Bounds of a share-partition; the settings say what they mean.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// A record that was delivered so often and not accepted is archived.
    pub deliveries_max: i16,
    /// Offsets between start and end.
    pub locks_max: i64,
}

/// How a record stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// Whoever comes next gets it.
    Available,
    /// A member has it until then.
    Acquired {
        /// The member.
        member: Arc<str>,
        /// When its lock ends.
        until_ms: i64,
    },
    /// It was processed.
    Acknowledged,
    /// Nobody gets it any more: rejected, delivered too often, or no record at all.
    Archived,
}

/// A record's state and how often it was delivered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// How it stands.
    pub state: State,
    /// Deliveries, the current one included.
    pub deliveries: i16,
}

impl Standing {
    const NEW: Standing = Standing { state: State::Available, deliveries: 0 };

    fn archived(deliveries: i16) -> Self {
        Self { state: State::Archived, deliveries }
    }

    fn is_done(&self) -> bool {
        matches!(self.state, State::Acknowledged | State::Archived)
    }
}

/// Records that a member got.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acquired {
    /// Their offsets.
    pub span: Span,
    /// How often they were delivered, this time included.
    pub deliveries: i16,
}

/// Who acquires, and how much.
#[derive(Clone, Debug)]
pub struct Wish {
    /// The member.
    pub member: Arc<str>,
    /// When its locks end.
    pub until_ms: i64,
    /// Stop after the batch with which so many records are reached.
    pub records_max: i64,
    /// The size at which a run of acquired records is ended at the next batch.
    pub batch_records: i64,
}

/// See the head of this file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SharePartition {
    start: i64,
    end: i64,
    /// Offsets before it went with the log, done or not.
    log_start: i64,
    runs: Runs<Standing>,
}

impl SharePartition {
    /// A partition of which nothing was handed out.
    pub fn new(start: i64) -> Self {
        Self { start, end: start, log_start: i64::MIN, runs: Runs::default() }
    }

    /// A partition as it was kept.
    pub fn restore(kept: &Kept) -> Self {
        let mut partition = Self::new(kept.start);
        for batch in &kept.batches {
            partition.overlay(batch);
        }
        partition.advance();
        partition
    }

    fn overlay(&mut self, batch: &StateBatch) {
        let Some(span) = Span::new(batch.span.first.max(self.start), batch.span.last) else {
            return;
        };
        let state = match batch.state {
            2 => State::Acknowledged,
            4 => State::Archived,
            _ => State::Available,
        };
        self.reach(span.last);
        self.runs.set(span, Standing { state, deliveries: batch.deliveries });
    }

    /// All of the state that outlives the broker.
    pub fn kept(&self) -> Kept {
        let batches = self.runs.iter().filter_map(|(span, standing)| keep(span, standing));
        Kept { start: self.start, batches: batches.collect() }
    }

    /// The first offset that is not done.
    pub fn start(&self) -> i64 {
        self.start
    }

    /// The first offset that was not handed out yet.
    pub fn end(&self) -> i64 {
        self.end
    }

    /// How each offset from start to end stands.
    pub fn standings(&self) -> impl Iterator<Item = (Span, &Standing)> {
        self.runs.iter()
    }

    /// Where to read what can be acquired next; `None`: too much is in flight.
    pub fn next(&self, limits: &Limits) -> Option<i64> {
        let mut available =
            self.runs.iter().filter(|(_, standing)| standing.state == State::Available);
        if let Some((span, _)) = available.next() {
            return Some(span.first);
        }
        (self.end - self.start < limits.locks_max).then_some(self.end)
    }

    /// When the first lock ends.
    pub fn deadline_ms(&self) -> Option<i64> {
        let deadlines = self.runs.iter().filter_map(|(_, standing)| match standing.state {
            State::Acquired { until_ms, .. } => Some(until_ms),
            _ => None,
        });
        deadlines.min()
    }

    /// Takes back what is locked for too long. Answers what is to be kept of it.
    pub fn tick(&mut self, now_ms: i64, limits: &Limits) -> Option<Kept> {
        let is_over = |state: &State| matches!(state, State::Acquired { until_ms, .. } if *until_ms <= now_ms);
        self.give_back(is_over, |standing| released(standing, limits))
    }

    /// Takes back all that a member has: it is gone, and has not tried to process it, so this
    /// delivery does not count.
    pub fn release_all(&mut self, gone: &str) -> Option<Kept> {
        let is_its =
            |state: &State| matches!(state, State::Acquired { member, .. } if **member == *gone);
        self.give_back(is_its, |standing| Standing {
            state: State::Available,
            deliveries: (standing.deliveries - 1).max(0),
        })
    }

    fn give_back(
        &mut self,
        is_meant: impl Fn(&State) -> bool,
        becomes: impl Fn(&Standing) -> Standing,
    ) -> Option<Kept> {
        let meant = self.runs.iter().filter(|(_, standing)| is_meant(&standing.state));
        let changes: Vec<_> = meant.map(|(span, standing)| (span, becomes(standing))).collect();
        self.change(changes)
    }

    /// Moves the start to where the log now begins; what lay before is gone.
    pub fn cut_before(&mut self, log_start: i64) -> Option<Kept> {
        self.log_start = self.log_start.max(log_start);
        if log_start <= self.start {
            return None;
        }
        self.runs.clear(Span { first: i64::MIN, last: log_start - 1 });
        self.start = log_start;
        self.end = self.end.max(log_start);
        self.advance();
        Some(Kept { start: self.start, batches: Vec::new() })
    }

    /// Forgets what lies beyond the end of the log: it was lost with a crash.
    pub fn cut_after(&mut self, log_end: i64) -> Option<Kept> {
        if self.end <= log_end {
            return None;
        }
        self.runs.clear(Span { first: log_end, last: i64::MAX });
        self.end = log_end;
        self.start = self.start.min(log_end);
        Some(self.kept())
    }

    /// Gives a member what is available among records that were read from [`SharePartition::next`]
    /// on. `from` is where the reading began and `batches` the offsets of the batches with data; all
    /// other offsets between hold no records. Also answers what is to be kept.
    pub fn acquire(
        &mut self,
        wish: &Wish,
        limits: &Limits,
        from: i64,
        batches: &[Span],
    ) -> (Vec<Acquired>, Option<Kept>) {
        let start = self.start;
        let mut acquired: Vec<Acquired> = Vec::new();
        let mut count = 0;
        let mut known_to = from.max(self.start);
        let window_last = self.start.saturating_add(limits.locks_max - 1);
        for batch in batches {
            if count >= wish.records_max {
                break;
            }
            self.empty(known_to, batch.first - 1);
            known_to = known_to.max(batch.last.saturating_add(1));
            let Some(batch) = Span::new(batch.first.max(self.start), batch.last) else { continue };
            let last = batch.last.min(window_last).max(self.end - 1);
            if self.end.max(batch.first) <= last.min(batch.last) {
                self.reach(last.min(batch.last));
            }
            let available: Vec<(Span, i16)> = self
                .runs
                .within(batch)
                .filter(|(_, standing)| standing.state == State::Available)
                .map(|(span, standing)| (span, standing.deliveries.saturating_add(1)))
                .collect();
            for (span, deliveries) in available {
                let state =
                    State::Acquired { member: wish.member.clone(), until_ms: wish.until_ms };
                self.runs.set(span, Standing { state, deliveries });
                count += span.count();
                join(&mut acquired, Acquired { span, deliveries }, wish.batch_records);
            }
        }
        self.advance();
        (acquired, self.moved(start))
    }

    /// Says that nothing was found from `first` to `last`: there are no records there.
    pub fn archive_hole(&mut self, first: i64, last: i64) -> Option<Kept> {
        let start = self.start;
        self.empty(first, last);
        self.advance();
        self.moved(start)
    }

    /// What is to be kept when nothing but the start may have moved.
    fn moved(&self, start: i64) -> Option<Kept> {
        (self.start > start).then_some(Kept { start: self.start, batches: Vec::new() })
    }

    fn empty(&mut self, first: i64, last: i64) {
        let Some(hole) = Span::new(first.max(self.start), last) else { return };
        if hole.last >= self.end && hole.first <= self.end {
            self.reach(hole.last);
        }
        let available = self.runs.within(hole);
        let available = available.filter(|(_, standing)| standing.state == State::Available);
        let empty: Vec<_> =
            available.map(|(span, one)| (span, Standing::archived(one.deliveries))).collect();
        for (span, standing) in empty {
            self.runs.set(span, standing);
        }
    }

    /// Takes a member's verdicts, all or none. Answers what is to be kept.
    ///
    /// # Errors
    /// INVALID_REQUEST when the batches make no sense, INVALID_RECORD_STATE when a record is not
    /// acquired by that member.
    pub fn acknowledge(
        &mut self,
        member: &str,
        acknowledgements: &[Acknowledgement],
        limits: &Limits,
    ) -> Result<Option<Kept>, ResponseError> {
        let mut changes = Vec::new();
        let mut next = i64::MIN;
        for one in acknowledgements {
            let Acknowledgement { span, verdicts } = one;
            let each = i64::try_from(verdicts.len()).unwrap_or(i64::MAX);
            if span.first < next || span.first > span.last || (each != 1 && each != span.count()) {
                return Err(ResponseError::InvalidRequest);
            }
            next = span.last.saturating_add(1);
            // Whoever speaks of what has gone with the log is right, and too late.
            let Some(alive) = Span::new(span.first.max(self.log_start), span.last) else {
                continue;
            };
            let mut covered = 0;
            for (part, standing) in self.runs.within(alive) {
                let is_its = matches!(&standing.state, State::Acquired { member: owner, .. } if **owner == *member);
                if !is_its {
                    return Err(ResponseError::InvalidRecordState);
                }
                covered += part.count();
                if each == 1 {
                    changes.push((part, judged(standing, verdicts[0], limits)));
                    continue;
                }
                for offset in part.first..=part.last {
                    let verdict = verdicts[(offset - span.first) as usize];
                    let at = Span { first: offset, last: offset };
                    changes.push((at, judged(standing, verdict, limits)));
                }
            }
            if covered != alive.count() {
                return Err(ResponseError::InvalidRecordState);
            }
        }
        Ok(self.change(changes))
    }

    /// Sets new standings and answers those that are to be kept.
    fn change(&mut self, changes: Vec<(Span, Standing)>) -> Option<Kept> {
        let whole = Span::new(changes.first()?.0.first, changes.last()?.0.last)?;
        let mut changed: Runs<()> = Runs::default();
        for (span, standing) in changes {
            changed.set(span, ());
            self.runs.set(span, standing);
        }
        self.advance();
        let mut batches = Vec::new();
        for (span, ()) in changed.within(whole) {
            let kept = self.runs.within(span).map(|(part, standing)| StateBatch {
                span: part,
                state: number(&standing.state),
                deliveries: standing.deliveries,
            });
            batches.extend(kept);
        }
        Some(Kept { start: self.start, batches })
    }

    /// Makes `last` the last offset that is known; what is new is available.
    fn reach(&mut self, last: i64) {
        if let Some(new) = Span::new(self.end, last) {
            self.runs.set(new, Standing::NEW);
            self.end = last.saturating_add(1);
        }
    }

    /// Moves the start over what is done.
    fn advance(&mut self) {
        while let Some((span, standing)) = self.runs.first()
            && standing.is_done()
        {
            self.start = span.last.saturating_add(1);
            self.runs.clear(span);
        }
        assert!(self.start <= self.end, "the start passes the end");
        let first = self.runs.first().map_or(self.end, |(span, _)| span.first);
        assert_eq!(first, self.start, "the first run begins at the start");
    }
}

/// What becomes of a record that is given back.
fn released(standing: &Standing, limits: &Limits) -> Standing {
    if standing.deliveries >= limits.deliveries_max {
        return Standing::archived(standing.deliveries);
    }
    Standing { state: State::Available, deliveries: standing.deliveries }
}

fn judged(standing: &Standing, verdict: Verdict, limits: &Limits) -> Standing {
    let deliveries = standing.deliveries;
    match verdict {
        Verdict::Accept => Standing { state: State::Acknowledged, deliveries },
        Verdict::Release => released(standing, limits),
        Verdict::Reject | Verdict::Gap => Standing::archived(deliveries),
    }
}

/// What outlives the broker of a record that stands so; nothing, if it is as good as new.
fn keep(span: Span, standing: &Standing) -> Option<StateBatch> {
    let deliveries = match standing.state {
        State::Acquired { .. } => standing.deliveries - 1,
        _ => standing.deliveries,
    };
    let state = number(&standing.state);
    (state != 0 || deliveries > 0).then_some(StateBatch { span, state, deliveries })
}

fn number(state: &State) -> i8 {
    match state {
        State::Available | State::Acquired { .. } => 0,
        State::Acknowledged => 2,
        State::Archived => 4,
    }
}

/// Adds to the last run of acquired records, or begins another.
fn join(acquired: &mut Vec<Acquired>, more: Acquired, batch_records: i64) {
    if let Some(last) = acquired.last_mut()
        && last.span.last + 1 == more.span.first
        && last.deliveries == more.deliveries
        && last.span.count() < batch_records
    {
        last.span.last = more.span.last;
        return;
    }
    acquired.push(more);
}

#[cfg(test)]
mod tests;
