//! A share-partition against a list that says of every record what became of it.
use proptest::prelude::*;

use super::*;

const LIMITS: Limits = Limits { deliveries_max: 3, locks_max: 12 };
const LOCK_MS: i64 = 100;

fn span(first: i64, last: i64) -> Span {
    Span { first, last }
}

fn wish(member: &str, now_ms: i64) -> Wish {
    let until_ms = now_ms + LOCK_MS;
    Wish { member: member.into(), until_ms, records_max: 100, batch_records: 100 }
}

/// What ada or bob gets at time 0.
fn get(partition: &mut SharePartition, who: &str, from: i64, read: &[Span]) -> Vec<Acquired> {
    partition.acquire(&wish(who, 0), &LIMITS, from, read).0
}

fn all(first: i64, last: i64, verdict: Verdict) -> Vec<Acknowledgement> {
    vec![Acknowledgement { span: span(first, last), verdicts: vec![verdict] }]
}

#[test]
fn what_one_member_has_no_other_gets() {
    let mut partition = SharePartition::new(0);
    let ada = get(&mut partition, "ada", 0, &[span(0, 4)]);
    assert_eq!(ada, [Acquired { span: span(0, 4), deliveries: 1 }]);
    assert_eq!(get(&mut partition, "bob", 0, &[span(0, 4)]), []);
    let refused = partition.acknowledge("bob", &all(0, 0, Verdict::Accept), &LIMITS);
    assert_eq!(refused, Err(ResponseError::InvalidRecordState));
    let kept = partition.acknowledge("ada", &all(0, 2, Verdict::Accept), &LIMITS);
    assert_eq!(kept, Ok(Some(Kept { start: 3, batches: vec![] })));
    assert_eq!((partition.start(), partition.end()), (3, 5));
}

#[test]
fn a_lock_ends_and_the_last_delivery_is_the_last() {
    let mut partition = SharePartition::new(0);
    for round in 1..=3 {
        let now_ms = i64::from(round) * 1000;
        let (got, _) = partition.acquire(&wish("ada", now_ms), &LIMITS, 0, &[span(0, 0)]);
        assert_eq!(got, [Acquired { span: span(0, 0), deliveries: round }]);
        assert_eq!(partition.deadline_ms(), Some(now_ms + LOCK_MS));
        assert_eq!(partition.tick(now_ms + LOCK_MS - 1, &LIMITS), None);
        let kept = partition.tick(now_ms + LOCK_MS, &LIMITS).expect("it is given back");
        let batch = StateBatch { span: span(0, 0), state: 0, deliveries: round };
        let batches = if round < 3 { vec![batch] } else { vec![] };
        assert_eq!(kept, Kept { start: i64::from(round == 3), batches });
    }
    assert_eq!(partition.next(&LIMITS), Some(1));
}

#[test]
fn verdicts_are_taken_all_or_none() {
    let mut partition = SharePartition::new(0);
    get(&mut partition, "ada", 0, &[span(0, 3)]);
    let before = partition.clone();
    let mut verdicts = all(0, 1, Verdict::Accept);
    verdicts.extend(all(2, 4, Verdict::Accept));
    let refused = partition.acknowledge("ada", &verdicts, &LIMITS);
    assert_eq!(refused, Err(ResponseError::InvalidRecordState));
    assert_eq!(partition, before);
    let mixed = vec![Verdict::Accept, Verdict::Release, Verdict::Reject, Verdict::Gap];
    let mixed = [Acknowledgement { span: span(0, 3), verdicts: mixed }];
    let kept = partition.acknowledge("ada", &mixed, &LIMITS).unwrap().unwrap();
    let one = |at, state| StateBatch { span: at, state, deliveries: 1 };
    assert_eq!(kept, Kept { start: 1, batches: vec![one(span(1, 1), 0), one(span(2, 3), 4)] });
    for (first, last, count) in [(3, 2, 1), (0, 3, 2), (0, i64::MAX, 5)] {
        let verdicts = vec![Verdict::Accept; count];
        let odd = [Acknowledgement { span: Span { first, last }, verdicts }];
        let refused = partition.acknowledge("ada", &odd, &LIMITS);
        assert_eq!(refused, Err(ResponseError::InvalidRequest));
    }
}

#[test]
fn no_more_is_in_flight_than_may_be() {
    let mut partition = SharePartition::new(0);
    let got = get(&mut partition, "ada", 0, &[span(0, 9), span(10, 19)]);
    assert_eq!(got, [Acquired { span: span(0, 11), deliveries: 1 }]);
    assert_eq!(partition.next(&LIMITS), None);
    partition.acknowledge("ada", &all(1, 1, Verdict::Release), &LIMITS).unwrap();
    assert_eq!(partition.next(&LIMITS), Some(1));
    get(&mut partition, "bob", 1, &[span(0, 9), span(10, 19)]);
    partition.acknowledge("ada", &all(0, 0, Verdict::Accept), &LIMITS).unwrap();
    assert_eq!(partition.next(&LIMITS), Some(12));
}

#[test]
fn offsets_without_records_are_stepped_over() {
    let mut partition = SharePartition::new(0);
    // Compaction took 0-9 and 15-19; a control batch at 22 is left out.
    let got = get(&mut partition, "ada", 0, &[span(10, 11), span(20, 21)]);
    assert_eq!(got, [Acquired { span: span(10, 11), deliveries: 1 }]);
    partition.acknowledge("ada", &all(10, 11, Verdict::Accept), &LIMITS).unwrap();
    assert_eq!(partition.start(), 20);
    let got = get(&mut partition, "ada", 20, &[span(20, 21)]);
    assert_eq!(got, [Acquired { span: span(20, 21), deliveries: 1 }]);
    partition.archive_hole(22, 22);
    assert_eq!(partition.end(), 23);
}

#[test]
fn a_member_that_goes_gives_back_what_it_has_uncounted() {
    let mut partition = SharePartition::new(0);
    get(&mut partition, "ada", 0, &[span(0, 1)]);
    let kept = partition.release_all("ada").expect("it had something");
    let batches = vec![StateBatch { span: span(0, 1), state: 0, deliveries: 0 }];
    assert_eq!(kept, Kept { start: 0, batches });
    let got = get(&mut partition, "bob", 0, &[span(0, 1)]);
    assert_eq!(got, [Acquired { span: span(0, 1), deliveries: 1 }]);
    assert_eq!(partition.release_all("ada"), None);
}

#[test]
fn what_went_with_the_log_may_still_be_acknowledged() {
    let mut partition = SharePartition::new(0);
    get(&mut partition, "ada", 0, &[span(0, 9)]);
    assert_eq!(partition.cut_before(5), Some(Kept { start: 5, batches: vec![] }));
    partition.acknowledge("ada", &all(0, 9, Verdict::Accept), &LIMITS).expect("it is alright");
    assert_eq!((partition.start(), partition.end()), (10, 10));
    assert_eq!(partition.cut_before(3), None);
}

#[derive(Clone, Debug)]
enum Act {
    Acquire { member: usize, bytes: i64, records_max: i64 },
    Judge { member: usize, skip: usize, verdict: i8, together: bool },
    Leave { member: usize },
    Wait { ms: i64 },
    Restart,
    Retire { records: i64 },
}

fn act() -> impl Strategy<Value = Act> {
    let member = 0usize..3;
    prop_oneof![
        5 => (member.clone(), 1i64..30, 1i64..12)
            .prop_map(|(member, bytes, records_max)| Act::Acquire { member, bytes, records_max }),
        6 => (member.clone(), 0usize..4, 0i8..4, any::<bool>()).prop_map(
            |(member, skip, verdict, together)| Act::Judge { member, skip, verdict, together }
        ),
        1 => member.prop_map(|member| Act::Leave { member }),
        2 => (1i64..150).prop_map(|ms| Act::Wait { ms }),
        1 => Just(Act::Restart),
        1 => (0i64..8).prop_map(|records| Act::Retire { records }),
    ]
}

/// What became of one record.
#[derive(Clone, Debug, Default, PartialEq)]
struct Fate {
    holder: Option<(usize, i64)>,
    is_accepted: bool,
    is_rejected: bool,
    /// Deliveries that count, as the broker should count them.
    deliveries: i16,
    /// The count that a restart goes back to.
    kept_deliveries: i16,
}

impl Fate {
    fn is_done(&self) -> bool {
        self.is_accepted
            || self.is_rejected
            || self.deliveries >= LIMITS.deliveries_max && self.holder.is_none()
    }

    fn give_back(&mut self) {
        self.holder = None;
        self.kept_deliveries = self.deliveries;
    }
}

/// A log of batches, some offsets of which hold no record, and the share-partition over it.
struct World {
    batches: Vec<Span>,
    log_start: i64,
    log_end: i64,
    now_ms: i64,
    partition: SharePartition,
    kept: Kept,
    fates: Vec<Fate>,
}

const MEMBERS: [&str; 3] = ["ada", "bob", "eve"];

impl World {
    fn new(lengths: &[(i64, i64)]) -> Self {
        let mut next = 0;
        let mut batches = Vec::new();
        for (hole, length) in lengths {
            batches.push(span(next + hole, next + hole + length - 1));
            next += hole + length;
        }
        Self {
            batches,
            log_start: 0,
            log_end: next,
            now_ms: 0,
            partition: SharePartition::new(0),
            kept: Kept::default(),
            fates: vec![Fate::default(); usize::try_from(next).unwrap()],
        }
    }

    fn has_record(&self, offset: i64) -> bool {
        self.batches.iter().any(|batch| batch.first <= offset && offset <= batch.last)
    }

    fn keep(&mut self, change: Option<Kept>) {
        if let Some(change) = change {
            self.kept.update(&change);
        }
    }

    fn time_passes(&mut self, ms: i64) {
        self.now_ms += ms;
        for fate in &mut self.fates {
            if fate.holder.is_some_and(|(_, until_ms)| until_ms <= self.now_ms) {
                fate.give_back();
            }
        }
        let change = self.partition.tick(self.now_ms, &LIMITS);
        self.keep(change);
    }

    fn acquire(&mut self, member: usize, bytes: i64, records_max: i64) {
        let Some(from) = self.partition.next(&LIMITS) else {
            let held = self.fates.iter().any(|fate| fate.holder.is_some());
            assert!(held, "nothing is handed out, and nobody has anything");
            return;
        };
        let read = self.batches.iter().filter(|batch| batch.last >= from);
        let read: Vec<Span> =
            read.take_while(|batch| batch.first < from + bytes).copied().collect();
        let mut wish = wish(MEMBERS[member], self.now_ms);
        wish.records_max = records_max;
        let (acquired, change) = self.partition.acquire(&wish, &LIMITS, from, &read);
        self.keep(change);
        for Acquired { span, deliveries } in acquired {
            for offset in span.first..=span.last {
                assert!(self.has_record(offset) && offset >= self.log_start);
                let fate = &mut self.fates[offset as usize];
                assert_eq!(fate.holder, None, "{offset} is acquired by two");
                assert!(!fate.is_done(), "{offset} was done");
                fate.holder = Some((member, wish.until_ms));
                fate.deliveries += 1;
                assert_eq!(deliveries, fate.deliveries);
                assert!(deliveries <= LIMITS.deliveries_max);
            }
        }
    }

    fn judge(&mut self, member: usize, skip: usize, verdict: i8, together: bool) {
        let held = self.fates.iter().enumerate();
        let held = held.filter(|(at, fate)| {
            *at as i64 >= self.log_start && fate.holder.is_some_and(|(holder, _)| holder == member)
        });
        let mut held: Vec<i64> = held.map(|(at, _)| at as i64).skip(skip).collect();
        if together {
            let first = held.first().copied().unwrap_or(0);
            let run = held.iter().zip(first..).take_while(|(at, expected)| *at == expected).count();
            held.truncate(run);
        } else {
            held = held.into_iter().step_by(2).collect();
        }
        let (Some(first), Some(last)) = (held.first(), held.last()) else { return };
        let verdict = Verdict::of(verdict).unwrap();
        let acknowledgements = if together {
            all(*first, *last, verdict)
        } else {
            held.iter().flat_map(|at| all(*at, *at, verdict)).collect()
        };
        let kept = self.partition.acknowledge(MEMBERS[member], &acknowledgements, &LIMITS);
        self.keep(kept.expect("it has them"));
        for offset in held {
            let fate = &mut self.fates[offset as usize];
            fate.give_back();
            match verdict {
                Verdict::Accept => fate.is_accepted = true,
                Verdict::Reject | Verdict::Gap => fate.is_rejected = true,
                Verdict::Release => {}
            }
        }
    }

    fn leave(&mut self, member: usize) {
        let change = self.partition.release_all(MEMBERS[member]);
        self.keep(change);
        for fate in &mut self.fates {
            if fate.holder.is_some_and(|(holder, _)| holder == member) {
                fate.deliveries -= 1;
                fate.give_back();
            }
        }
    }

    fn restart(&mut self) {
        self.partition = SharePartition::restore(&self.kept);
        for fate in &mut self.fates {
            fate.holder = None;
            fate.deliveries = fate.kept_deliveries;
        }
    }

    fn retire(&mut self, records: i64) {
        self.log_start = (self.log_start + records).min(self.log_end);
        let change = self.partition.cut_before(self.log_start);
        self.keep(change);
        for fate in &mut self.fates[..self.log_start as usize] {
            fate.holder = None;
        }
    }

    fn check(&self) {
        for (span, standing) in self.partition.standings() {
            for offset in span.first..=span.last {
                let fate = &self.fates[offset as usize];
                let holder = match &standing.state {
                    State::Acquired { member, until_ms } => {
                        let index = MEMBERS.iter().position(|name| **name == **member).unwrap();
                        Some((index, *until_ms))
                    }
                    _ => None,
                };
                assert_eq!(holder, fate.holder, "offset {offset}");
                if self.has_record(offset) {
                    assert_eq!(standing.is_done(), fate.is_done(), "offset {offset}");
                }
            }
        }
        for offset in self.log_start..self.partition.start() {
            let is_lost = self.has_record(offset) && !self.fates[offset as usize].is_done();
            assert!(!is_lost, "the start passed {offset}, which is not done");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]
    #[test]
    fn every_record_is_accepted_or_archived_and_none_is_had_by_two(
        lengths in prop::collection::vec((prop_oneof![4 => Just(0i64), 1 => 1i64..20], 1i64..9), 1..8),
        acts in prop::collection::vec(act(), 1..80),
    ) {
        let mut world = World::new(&lengths);
        let mut start = 0;
        for act in acts {
            match act {
                Act::Acquire { member, bytes, records_max } => world.acquire(member, bytes, records_max),
                Act::Judge { member, skip, verdict, together } => world.judge(member, skip, verdict, together),
                Act::Leave { member } => world.leave(member),
                Act::Wait { ms } => world.time_passes(ms),
                Act::Restart => world.restart(),
                Act::Retire { records } => world.retire(records),
            }
            prop_assert!(world.partition.start() >= start, "the start went back");
            start = world.partition.start();
            world.check();
        }
        // In the end somebody comes who accepts all that is left.
        world.time_passes(LOCK_MS);
        for _ in 0..200 {
            world.acquire(0, 30, 100);
            world.judge(0, 0, 1, false);
            world.judge(0, 0, 1, false);
            world.time_passes(0);
        }
        for offset in world.log_start..world.log_end {
            let fate = &world.fates[offset as usize];
            prop_assert!(!world.has_record(offset) || fate.is_done(), "{offset} is lost: {fate:?}");
        }
        prop_assert_eq!(world.partition.start(), world.log_end);
    }

    #[test]
    fn what_is_kept_is_what_the_changes_say(acts in prop::collection::vec(act(), 1..60)) {
        let mut world = World::new(&[(0, 5), (0, 3), (0, 9), (0, 4)]);
        for act in acts {
            match act {
                Act::Acquire { member, bytes, records_max } => world.acquire(member, bytes, records_max),
                Act::Judge { member, skip, verdict, together } => world.judge(member, skip, verdict, together),
                Act::Wait { ms } => world.time_passes(ms),
                Act::Retire { records } => world.retire(records),
                Act::Leave { .. } | Act::Restart => {}
            }
            prop_assert_eq!(SharePartition::restore(&world.partition.kept()), SharePartition::restore(&world.kept));
        }
    }
}
