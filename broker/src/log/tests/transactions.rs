//! What a log says of transactions is what follows from the plain list of its batches: the last
//! stable offset, the aborted ones of any range, and its producers; also after stops and crashes.
use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use weir_protocol::records::control::{Marker, marker_batch, transactional};

use super::*;
use crate::clock::Clock;
use crate::producers::{Aborted, BATCHES_REMEMBERED, Producer, ProducerError};

/// The producers: of these ids, the first writes outside of transactions only.
const IDS: std::ops::Range<i64> = 10..14;

#[derive(Copy, Clone, Debug)]
enum Sent {
    /// What follows.
    Next,
    /// The last batch once more.
    Repeat,
    /// With sequences left out.
    Gap,
    /// In an epoch that is over.
    Late,
    /// What follows, but outside of the transaction.
    Outside,
}

#[derive(Clone, Debug)]
enum Step {
    /// A batch without a producer.
    Plain(usize),
    Produce {
        id: i64,
        count: usize,
        sent: Sent,
    },
    /// A transaction ends: the epoch is kept, bumped, or bumped twice since another takes over.
    End {
        id: i64,
        marker: Marker,
        bumps: i16,
        coordinator_epoch: i32,
    },
    /// A marker of a coordinator or a producer that is over.
    LateEnd(i64),
    Sync,
    Stop,
    /// The process is gone; what it wrote is with the operating system.
    Kill,
    Retain(i64),
    DeleteBefore(u8),
}

fn step() -> impl Strategy<Value = Step> {
    let sent = prop_oneof![
        8 => Just(Sent::Next),
        1 => Just(Sent::Repeat),
        1 => Just(Sent::Gap),
        1 => Just(Sent::Late),
        1 => Just(Sent::Outside),
    ];
    let marker = prop_oneof![Just(Marker::Abort), Just(Marker::Commit)];
    prop_oneof![
        2 => (1..4_usize).prop_map(Step::Plain),
        10 => (IDS, 1..4_usize, sent).prop_map(|(id, count, sent)| Step::Produce { id, count, sent }),
        5 => (IDS, marker, 0..3_i16, 0..3_i32).prop_map(|(id, marker, bumps, coordinator_epoch)| {
            Step::End { id, marker, bumps, coordinator_epoch }
        }),
        1 => IDS.prop_map(Step::LateEnd),
        3 => Just(Step::Sync),
        1 => Just(Step::Stop),
        1 => Just(Step::Kill),
        1 => (0..3000_i64).prop_map(Step::Retain),
        1 => any::<u8>().prop_map(Step::DeleteBefore),
    ]
}

/// One batch of the log, as it was appended.
#[derive(Clone, Debug)]
struct Entry {
    base: i64,
    next: i64,
    /// Id, epoch, and first sequence; a marker has none.
    producer: Option<(i64, i16, i32)>,
    is_transactional: bool,
    /// How it ends a transaction, and by the word of which coordinator.
    end: Option<(Marker, i32)>,
}

/// A producer as it sees itself.
#[derive(Copy, Clone, Debug, Default)]
struct Writer {
    epoch: i16,
    next_sequence: i32,
}

#[derive(Default)]
struct Model {
    entries: Vec<Entry>,
    writers: BTreeMap<i64, Writer>,
    start: i64,
    durable: i64,
}

/// Of a producer: epoch, where its transaction is open from, epoch of the coordinator, and the first
/// sequences and offsets of the batches that a repeat is known by.
type Remembered = (i16, Option<i64>, i32, Vec<(i32, i64)>);

/// A transaction: whose, where it begins, and its marker.
struct Found {
    id: i64,
    first: i64,
    end: Option<(Marker, i64)>,
}

impl Model {
    fn end(&self) -> i64 {
        self.entries.last().map_or(0, |entry| entry.next)
    }

    /// All transactions, in the order of their markers; the open ones come last.
    fn transactions(&self) -> Vec<Found> {
        let mut open: BTreeMap<i64, i64> = BTreeMap::new();
        let mut found = Vec::new();
        for entry in &self.entries {
            let Some((id, ..)) = entry.producer else { continue };
            match entry.end {
                Some((marker, _)) => {
                    if let Some(first) = open.remove(&id) {
                        found.push(Found { id, first, end: Some((marker, entry.base)) });
                    }
                }
                None if entry.is_transactional => {
                    open.entry(id).or_insert(entry.base);
                }
                None => {}
            }
        }
        found.extend(open.into_iter().map(|(id, first)| Found { id, first, end: None }));
        found
    }

    fn open_from(&self, id: i64) -> Option<i64> {
        self.transactions().iter().find(|it| it.id == id && it.end.is_none()).map(|it| it.first)
    }

    fn last_stable(&self) -> i64 {
        let is_unstable = |it: &&Found| it.end.is_none_or(|(_, marker)| marker >= self.durable);
        let firsts = self.transactions().iter().filter(is_unstable).map(|it| it.first).min();
        firsts.map_or(self.durable, |first| first.min(self.durable)).max(self.start)
    }

    /// The aborted ones, in the order of their markers.
    fn aborted(&self) -> Vec<Aborted> {
        let aborted = self.transactions().into_iter().filter_map(|it| {
            let (marker, last) = it.end?;
            let (first, last) = (Offset(it.first), Offset(last));
            (marker == Marker::Abort).then_some(Aborted { producer_id: it.id, first, last })
        });
        aborted.collect()
    }

    /// What is remembered of each.
    fn producers(&self) -> BTreeMap<i64, Remembered> {
        let mut producers = BTreeMap::new();
        for entry in &self.entries {
            let Some((id, epoch, sequence)) = entry.producer else { continue };
            let known = producers.entry(id).or_insert((epoch, None, -1, Vec::new()));
            if epoch > known.0 {
                (known.0, known.3) = (epoch, Vec::new());
            }
            match entry.end {
                Some((_, coordinator_epoch)) => known.2 = known.2.max(coordinator_epoch),
                None => known.3.push((sequence, entry.base)),
            }
        }
        for (id, known) in &mut producers {
            known.1 = self.open_from(*id);
            known.3.drain(..known.3.len().saturating_sub(BATCHES_REMEMBERED));
        }
        producers
    }
}

fn config() -> LogConfig {
    LogConfig {
        segment_bytes: 700,
        index_interval_bytes: 150,
        retention_ms: Some(4000),
        retention_bytes: Some(3000),
        file_delete_delay_ms: 500,
        ..LogConfig::default()
    }
}

/// The log under test, and what it should be.
struct World {
    rig: Rig,
    log: Option<Arc<Log>>,
    model: Model,
}

impl World {
    fn log(&self) -> &Arc<Log> {
        self.log.as_ref().expect("it is open")
    }

    fn batch(&self, (id, epoch, sequence): (i64, i16, i32), count: usize) -> Bytes {
        let mut builder = BatchBuilder::new(Compression::None).producer(id, epoch, sequence);
        for _ in 0..count {
            builder.append(self.rig.clock.now_ms(), None, Some(&[5; 30]), &[]);
        }
        builder.finish()
    }

    fn append(
        &mut self,
        bytes: Bytes,
        origin: Origin,
        end: Option<(Marker, i32)>,
    ) -> Result<Appended, AppendError> {
        let batch = RecordBatch::parse(bytes).unwrap();
        let appended = self.log().append(&batch, origin)?;
        if !appended.is_duplicate {
            let header = batch.header();
            let (base, next) = (appended.base_offset.0, appended.last_offset.next().0);
            assert_eq!(base, self.model.end());
            let producer = (header.producer_id, header.producer_epoch, header.base_sequence);
            self.model.entries.push(Entry {
                base,
                next,
                producer: (header.producer_id >= 0).then_some(producer),
                is_transactional: header.is_transactional(),
                end,
            });
        }
        Ok(appended)
    }

    fn produce(&mut self, id: i64, count: usize, sent: Sent) {
        let Writer { epoch, next_sequence } =
            self.model.writers.get(&id).copied().unwrap_or_default();
        let known = self.model.producers().remove(&id);
        let known_epoch = known.as_ref().map_or(-1, |known| known.0);
        let is_open = known.as_ref().is_some_and(|known| known.1.is_some());
        let is_outside = id == IDS.start;
        let (next, wrap): (_, fn(Bytes) -> Bytes) = match is_outside {
            true => (Origin::Client, |bytes| bytes),
            false => (Origin::BumpingTransaction, |bytes| transactional(&bytes)),
        };
        match sent {
            Sent::Next => {
                let batch = wrap(self.batch((id, epoch, next_sequence), count));
                assert!(!self.append(batch, next, None).unwrap().is_duplicate);
                let next_sequence = next_sequence + i32::try_from(count).unwrap();
                self.model.writers.insert(id, Writer { epoch, next_sequence });
            }
            Sent::Repeat => {
                let last = self.model.entries.iter().rev().find(|entry| {
                    entry.end.is_none()
                        && entry.producer.is_some_and(|it| (it.0, it.1) == (id, known_epoch))
                });
                let Some(last) = last.cloned() else { return };
                let producer = last.producer.expect("it has one");
                let count = usize::try_from(last.next - last.base).unwrap();
                let batch = self.batch(producer, count);
                let (batch, origin) = match last.is_transactional || is_open {
                    true => (transactional(&batch), Origin::Transaction),
                    false => (batch, Origin::Client),
                };
                let found = self.append(batch, origin, None).unwrap();
                assert!(found.is_duplicate);
                assert_eq!(
                    (found.base_offset.0, found.last_offset.next().0),
                    (last.base, last.next)
                );
            }
            Sent::Gap => {
                let batch = transactional(&self.batch((id, epoch, next_sequence + 3), count));
                let found = self.append(batch, Origin::BumpingTransaction, None);
                let is_gap = matches!(
                    found,
                    Err(AppendError::Producer(ProducerError::OutOfOrder { expected, .. }))
                        if expected == if epoch == known_epoch { next_sequence } else { 0 }
                );
                assert!(is_gap, "{found:?}");
            }
            Sent::Late if known_epoch > 0 => {
                let batch = wrap(self.batch((id, known_epoch - 1, next_sequence), count));
                let found = self.append(batch, next, None);
                let is_late = matches!(
                    found,
                    Err(AppendError::Producer(ProducerError::OldEpoch { known, .. }))
                        if known == known_epoch
                );
                assert!(is_late, "{found:?}");
            }
            Sent::Outside if is_open && epoch == known_epoch => {
                let batch = self.batch((id, epoch, next_sequence), count);
                let found = self.append(batch, Origin::Client, None);
                let is_outside = matches!(
                    found,
                    Err(AppendError::Producer(ProducerError::InTransaction { .. }))
                );
                assert!(is_outside, "{found:?}");
            }
            Sent::Late | Sent::Outside => {}
        }
    }

    fn end(&mut self, id: i64, marker: Marker, bumps: i16, coordinator_epoch: i32) {
        let writer = self.model.writers.entry(id).or_default();
        // The one that takes over has an epoch of its own, above the marker's.
        let epoch = writer.epoch + bumps.min(1);
        writer.epoch += bumps;
        if bumps > 0 {
            writer.next_sequence = 0;
        }
        let now_ms = self.rig.clock.now_ms();
        let batch = marker_batch(id, epoch, marker, coordinator_epoch, now_ms);
        self.append(batch, Origin::Broker, Some((marker, coordinator_epoch))).unwrap();
    }

    fn end_late(&mut self, id: i64) {
        let Some(known) = self.model.producers().remove(&id) else { return };
        let now_ms = self.rig.clock.now_ms();
        if known.0 > 0 {
            let batch = marker_batch(id, known.0 - 1, Marker::Abort, 9, now_ms);
            let found = self.append(batch, Origin::Marker, None);
            assert!(matches!(found, Err(AppendError::Producer(ProducerError::OldEpoch { .. }))));
        }
        if known.2 > -1 {
            let batch = marker_batch(id, known.0, Marker::Abort, known.2 - 1, now_ms);
            let found = self.append(batch, Origin::Marker, None);
            let is_late =
                matches!(found, Err(AppendError::Producer(ProducerError::OldCoordinator { .. })));
            assert!(is_late, "{found:?}");
        }
        let told = (Marker::Abort, known.2.max(0));
        let batch = marker_batch(id, known.0, told.0, told.1, now_ms);
        self.append(batch, Origin::Marker, Some(told)).unwrap();
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Plain(count) => {
                let batch = self.batch((-1, -1, -1), count);
                self.append(batch, Origin::Client, None).unwrap();
            }
            Step::Produce { id, count, sent } => self.produce(id, count, sent),
            Step::End { id, marker, bumps, coordinator_epoch } => {
                self.end(id, marker, bumps, coordinator_epoch);
            }
            Step::LateEnd(id) => self.end_late(id),
            Step::Sync => {
                self.log().dir().sync_now();
                self.model.durable = self.model.end();
            }
            Step::Stop | Step::Kill => {
                let held = self.log.take().expect("it is open");
                if matches!(step, Step::Stop) {
                    held.dir().close().unwrap();
                }
                drop(held);
                let (opened, recovery) = self.rig.open(&config());
                assert_eq!((&recovery.damage, recovery.truncated_bytes), (&None, 0));
                self.log = Some(opened);
                self.model.durable = self.model.end();
            }
            Step::Retain(advance_ms) => {
                self.rig.clock.advance(advance_ms);
                self.log().apply_retention(None).unwrap();
                self.model.start = self.log().ends().log_start.0;
            }
            Step::DeleteBefore(choice) => {
                let Model { start, durable, .. } = self.model;
                self.model.start = start + (durable - start) * i64::from(choice) / 255;
                self.log().delete_records_before(Offset(self.model.start)).unwrap();
            }
        }
        self.check();
    }

    fn check(&self) {
        let (log, model) = (self.log(), &self.model);
        let ends = log.ends();
        let found = [ends.log_start.0, ends.last_stable.0, ends.high_watermark.0, ends.log_end.0];
        assert_eq!(found, [model.start, model.last_stable(), model.durable, model.end()]);
        let open: BTreeSet<(i64, i64)> =
            log.open_transactions().iter().map(|(id, _, first)| (*id, first.0)).collect();
        let expected = model.transactions();
        let expected = expected.iter().filter(|it| it.end.is_none());
        assert_eq!(open, expected.map(|it| (it.id, it.first)).collect());
        let seen = |(id, it): (i64, Producer)| {
            let batches = it.batches.iter().map(|it| (it.first_sequence, it.base_offset.0));
            let open_from = it.open_from.map(|first| first.0);
            (id, (it.epoch, open_from, it.coordinator_epoch, batches.collect()))
        };
        let seen: BTreeMap<_, _> = log.producers().into_iter().map(seen).collect();
        assert_eq!(seen, model.producers());
        let aborted = model.aborted();
        let is_within = |it: &Aborted, from, to| it.last >= from && it.first < to;
        for (from, to) in ranges(model.start, model.end() + 1) {
            let found = log.aborted_within(from, to);
            let expected = aborted.iter().filter(|it| is_within(it, from, to)).copied();
            assert_eq!(found, expected.collect::<Vec<_>>(), "within {from}..{to}");
        }
    }
}

/// Ranges with their edges everywhere between two offsets.
fn ranges(start: i64, end: i64) -> impl Iterator<Item = (Offset, Offset)> {
    (start..=end).flat_map(move |from| {
        let to = (from..=end).filter(move |to| *to < from + 3 || (to + from) % 5 == 0);
        to.map(move |to| (Offset(from), Offset(to)))
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 120, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_stable_and_what_was_aborted_follows_from_the_batches(
        steps in proptest::collection::vec(step(), 1..70),
        by_maps in any::<bool>(),
    ) {
        let rig = Rig::new(if by_maps { ReadMode::Mmap } else { ReadMode::Pread });
        let log = Some(rig.open(&config()).0);
        let mut world = World { rig, log, model: Model::default() };
        steps.into_iter().for_each(|step| world.step(step));
    }
}
