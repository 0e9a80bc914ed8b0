//! The power is cut at every disk operation of a scripted run, and at 20,000 random points; the log
//! comes back each time, and is compared with a model of what it was told.
//!
//! What must hold after each cut, for every partition:
//! - the log is a prefix of what was appended, byte for byte, and ends at a batch's end;
//! - what was acknowledged, and so seen by consumers, is there;
//! - what was deleted before is not back, and nothing more is deleted than was asked for;
//! - of each producer the last five batches are known, with their offsets, and no older one;
//! - which transactions are open and which were aborted, and so the last stable offset, follows from
//!   the batches; what was seen as stable is so still (`transactions`);
//! - the leader epoch is a new one, and tells where the old one ends.
//!
//! After each cut the run goes on for a few steps and is cut again: during the recovery or after it.
mod transactions;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use weir_broker::clock::{Clock, ManualClock, SystemClock};
use weir_broker::log::config::LogConfig;
use weir_broker::log::dir::LogDir;
use weir_broker::log::dir::options::{Durability, LogDirOptions, ReadMode, SyncDriver};
use weir_broker::log::error::AppendError;
use weir_broker::log::meta::decode_id;
use weir_broker::log::seeded_bugs::SeededBugs;
use weir_broker::log::{Appended, ReadSlice};
use weir_broker::partition::Partition;
use weir_broker::producers::{BATCHES_REMEMBERED, ProducerError, Start};
use weir_protocol::records::Offset;
use weir_protocol::records::batch::{HEADER_BYTES, RecordBatch};
use weir_protocol::records::builder::BatchBuilder;
use weir_protocol::records::compression::Compression;
use weir_protocol::records::control::{Marker, marker_batch, transactional};

use crate::kit::disk::{Image, SimDisk};
use crate::power_loss::transactions::{Writer, check_transactions, writer};

const PARTITIONS: usize = 3;
/// The ids of idempotent producers, and of those that write in transactions.
const PRODUCERS: std::ops::Range<i64> = 0..4;
const TRANSACTIONAL: std::ops::Range<i64> = 2..4;
const TOPIC: &str = "orders";
const TOPIC_ID: &str = "AAAAAAAAAAAAAAAAAAAABw";
/// Steps of a run until its first cut, and of its continuation until the second.
const STEPS: usize = 120;
const STEPS_AFTER_CUT: usize = 12;

/// A violation of what must hold.
type Violated = String;

/// A batch as the model knows it: with the offsets and the epoch that it was given.
#[derive(Clone)]
struct Batch {
    /// The operation before which the append began.
    began: u64,
    base_offset: Offset,
    next_offset: Offset,
    bytes: Bytes,
    /// As it was sent.
    sent: RecordBatch,
}

/// What must hold for a partition at one moment.
#[derive(Clone)]
struct Expected {
    batches: Vec<Batch>,
    durable_min: Offset,
    stable_min: Offset,
    start_min: Offset,
    start_max: Offset,
    epoch_min: i32,
    /// Whether the last stop was an orderly one: then nothing at all is lost.
    made: bool,
}

/// A partition, what was done to it, and when. Moments are counts of disk operations.
struct History {
    /// What held before this run had opened the partition.
    before: Expected,
    opened: u64,
    batches: Vec<Batch>,
    durable: Vec<(u64, Offset)>,
    stable: Vec<(u64, Offset)>,
    start_min: Vec<(u64, Offset)>,
    start_max: Vec<(u64, Offset)>,
    epoch: i32,
}

fn latest(moments: &[(u64, Offset)], now: u64) -> Offset {
    let reached = moments.iter().filter(|(moment, _)| *moment <= now);
    reached.map(|(_, offset)| *offset).max().unwrap_or_default()
}

impl History {
    /// What must hold when the power is cut during operation `now`.
    fn at(&self, now: u64) -> Expected {
        if now < self.opened {
            return self.before.clone();
        }
        let begun = self.batches.iter().filter(|batch| batch.began <= now);
        Expected {
            batches: begun.cloned().collect(),
            durable_min: latest(&self.durable, now),
            stable_min: latest(&self.stable, now),
            start_min: latest(&self.start_min, now),
            start_max: latest(&self.start_max, now),
            epoch_min: self.epoch + 1,
            made: true,
        }
    }
}

/// How a run is set up.
#[derive(Copy, Clone)]
struct Setup {
    read_mode: ReadMode,
    bugs: SeededBugs,
}

impl Setup {
    fn options(self) -> LogDirOptions {
        LogDirOptions {
            durability: Durability::Fsync,
            read_mode: self.read_mode,
            sync_driver: SyncDriver::Caller,
            seeded_bugs: self.bugs,
            ..LogDirOptions::default()
        }
    }
}

fn config(partition: usize) -> LogConfig {
    LogConfig {
        segment_bytes: [1500, 3000, 6000][partition],
        index_interval_bytes: 300,
        retention_ms: Some(20_000),
        retention_bytes: (partition == 1).then_some(8000),
        file_delete_delay_ms: if partition == 0 { 0 } else { 3000 },
        ..LogConfig::default()
    }
}

/// A run: the log under test, and the model of it.
struct World {
    setup: Setup,
    disk: SimDisk,
    clock: Arc<ManualClock>,
    dir: Arc<LogDir>,
    partitions: Vec<Arc<Partition>>,
    histories: Vec<History>,
    /// How far each producer is in each partition.
    writers: Vec<Vec<Writer>>,
    chance: StdRng,
    serial: u64,
}

impl World {
    /// A run on a new disk.
    fn new(setup: Setup, seed: u64) -> Result<World, Violated> {
        let nothing = Expected {
            batches: Vec::new(),
            durable_min: Offset(0),
            stable_min: Offset(0),
            start_min: Offset(0),
            start_max: Offset(0),
            epoch_min: 0,
            made: false,
        };
        World::open(setup, SimDisk::new(), vec![nothing; PARTITIONS], seed, 0)
    }

    /// Opens what a cut has left, and checks it.
    fn open(
        setup: Setup,
        disk: SimDisk,
        expected: Vec<Expected>,
        seed: u64,
        serial: u64,
    ) -> Result<World, Violated> {
        let clock = Arc::new(ManualClock::new(1_000_000 + i64::try_from(serial).unwrap() * 100));
        let (dir, was_clean) = LogDir::open(Arc::new(disk.clone()), setup.options(), clock.clone())
            .map_err(|error| error.to_string())?;
        let mut world = World {
            setup,
            disk,
            clock,
            dir,
            partitions: Vec::new(),
            histories: Vec::new(),
            writers: Vec::new(),
            chance: StdRng::seed_from_u64(seed),
            serial,
        };
        for (number, mut expected) in expected.into_iter().enumerate() {
            if was_clean && expected.epoch_min > 0 {
                // The marker has survived: then so has everything.
                let end = expected.batches.last().map_or(Offset(0), |batch| batch.next_offset);
                expected.durable_min = end;
                expected.epoch_min -= 1;
            }
            world.open_partition(number, expected)?;
        }
        Ok(world)
    }

    fn open_partition(&mut self, number: usize, expected: Expected) -> Result<(), Violated> {
        let (id, topic_id) = (i32::try_from(number).unwrap(), decode_id(TOPIC_ID).unwrap());
        let (partition, recovery) = Partition::open(&self.dir, TOPIC, id, topic_id, config(number))
            .map_err(|error| error.to_string())?;
        let violated = |what: String| format!("partition {number}: {what}");
        if let Some(damage) = &recovery.damage {
            return Err(violated(format!("{damage:?}")));
        }
        let mut batches = check(&partition, &expected).map_err(violated)?;
        batches.iter_mut().for_each(|batch| batch.began = 0);
        let ends = partition.ends();
        let opened = self.disk.operation_count();
        self.writers.push(PRODUCERS.map(|id| writer(&batches, id)).collect());
        self.histories.push(History {
            before: expected,
            opened,
            batches,
            durable: vec![(0, ends.high_watermark)],
            stable: vec![(0, ends.last_stable)],
            start_min: vec![(0, ends.log_start)],
            start_max: vec![(0, ends.log_start)],
            epoch: partition.leader_epoch(),
        });
        self.partitions.push(partition);
        Ok(())
    }

    /// One random step.
    fn step(&mut self) -> Result<(), Violated> {
        let number = self.chance.random_range(0..PARTITIONS);
        self.clock.advance(self.chance.random_range(0..200));
        match self.chance.random_range(0..100) {
            0..62 => self.append(number)?,
            62..66 => self.repeat(number)?,
            66..84 => {
                self.dir.sync_now();
            }
            84..89 => self.delete_records(number)?,
            89..94 => self.retain(number)?,
            94..97 => self.dir.checkpoint().map_err(|error| error.to_string())?,
            97..98 => {
                self.clock.advance(6000);
            }
            _ => self.restart()?,
        }
        self.observe();
        Ok(())
    }

    /// What consumers and producers learn now.
    fn observe(&mut self) {
        let now = self.disk.operation_count();
        for (partition, history) in self.partitions.iter().zip(&mut self.histories) {
            let ends = partition.ends();
            history.durable.push((now, ends.high_watermark));
            history.stable.push((now, ends.last_stable));
            history.start_min.push((now, ends.log_start));
        }
    }

    fn append(&mut self, number: usize) -> Result<(), Violated> {
        self.serial += 1;
        let now_ms = 1_000_000 + i64::try_from(self.serial).unwrap();
        let mut builder = BatchBuilder::new(Compression::None);
        let id = self.chance.random_range(-1..PRODUCERS.end);
        if TRANSACTIONAL.contains(&id) && self.chance.random_bool(0.4) {
            return self.end_transaction(number, id, now_ms);
        }
        if let Ok(place) = usize::try_from(id) {
            let Writer { epoch, next_sequence } = self.writers[number][place];
            builder = builder.producer(id, epoch, next_sequence);
        }
        for _ in 0..self.chance.random_range(1..4) {
            let mut value = self.serial.to_be_bytes().to_vec();
            value.resize(self.chance.random_range(8..300), self.serial.to_be_bytes()[7]);
            builder.append(now_ms, None, Some(&value), &[]);
        }
        let bytes = builder.finish();
        let bytes = if TRANSACTIONAL.contains(&id) { transactional(&bytes) } else { bytes };
        let sent = RecordBatch::parse(bytes).expect("the builder makes batches");
        let began = self.disk.operation_count();
        let appended = send(&self.partitions[number], &sent).map_err(|error| error.to_string())?;
        if appended.is_duplicate {
            return Err(format!("partition {number}: a new batch is taken for a repeat"));
        }
        self.remember(number, began, &appended, sent);
        Ok(())
    }

    /// A transaction ends, or a producer that has none is told so. The epoch is kept or bumped, as
    /// by the two versions of transactions.
    fn end_transaction(&mut self, number: usize, id: i64, now_ms: i64) -> Result<(), Violated> {
        let place = usize::try_from(id).unwrap();
        let epoch = self.writers[number][place].epoch + i16::from(self.chance.random_bool(0.5));
        let marker = if self.chance.random_bool(0.5) { Marker::Commit } else { Marker::Abort };
        let sent = RecordBatch::parse(marker_batch(id, epoch, marker, 0, now_ms)).unwrap();
        let began = self.disk.operation_count();
        let appended = self.partitions[number].append_internal(&sent);
        let appended = appended.map_err(|error| error.to_string())?;
        self.remember(number, began, &appended, sent);
        Ok(())
    }

    fn remember(&mut self, number: usize, began: u64, appended: &Appended, sent: RecordBatch) {
        let history = &mut self.histories[number];
        let header = sent.assigned_header(appended.base_offset, history.epoch);
        let bytes = [&header[..], &sent.bytes()[HEADER_BYTES..]].concat();
        if let Ok(place) = usize::try_from(sent.header().producer_id) {
            self.writers[number][place].see(&sent);
        }
        history.batches.push(Batch {
            began,
            base_offset: appended.base_offset,
            next_offset: appended.last_offset.next(),
            bytes: Bytes::from(bytes),
            sent,
        });
    }

    /// A producer sends again what it has sent before.
    fn repeat(&mut self, number: usize) -> Result<(), Violated> {
        let history = &self.histories[number];
        check_producers(&self.partitions[number], &history.batches)
            .map_err(|what| format!("partition {number}: {what}"))
    }

    fn delete_records(&mut self, number: usize) -> Result<(), Violated> {
        let (partition, history) = (&self.partitions[number], &mut self.histories[number]);
        let ends = partition.ends();
        let asked = self.chance.random_range(ends.log_start.0..=ends.high_watermark.0);
        history.start_max.push((self.disk.operation_count(), Offset(asked)));
        let start = partition.delete_records_before(Offset(asked));
        let start = start.map_err(|error| error.to_string())?;
        if start == Offset(asked) { Ok(()) } else { Err(format!("{start} is not {asked}")) }
    }

    fn retain(&mut self, number: usize) -> Result<(), Violated> {
        let (partition, history) = (&self.partitions[number], &mut self.histories[number]);
        let ends = partition.ends();
        let folded = self.chance.random_range(ends.log_start.0..=ends.log_end.0);
        let keep_from = self.chance.random_bool(0.5).then_some(Offset(folded));
        let limit = keep_from.unwrap_or(ends.high_watermark).min(ends.high_watermark);
        history.start_max.push((self.disk.operation_count(), limit));
        partition.apply_retention(keep_from).map_err(|error| error.to_string())?;
        let start = partition.ends().log_start;
        if start <= limit.max(ends.log_start) {
            Ok(())
        } else {
            Err(format!("partition {number}: retention passed {limit} to {start}"))
        }
    }

    /// Stops in good order and starts again: nothing may be lost.
    fn restart(&mut self) -> Result<(), Violated> {
        self.dir.close().map_err(|error| error.to_string())?;
        self.observe();
        self.partitions.clear();
        let disk = Arc::new(self.disk.clone());
        let (dir, was_clean) = LogDir::open(disk, self.setup.options(), self.clock.clone())
            .map_err(|error| error.to_string())?;
        if !was_clean {
            return Err("the marker of an orderly stop is gone".to_owned());
        }
        self.dir = dir;
        let now = self.disk.operation_count();
        for (number, history) in self.histories.iter().enumerate() {
            let mut expected = history.at(now);
            expected.durable_min = expected.batches.last().map_or(Offset(0), |it| it.next_offset);
            expected.epoch_min = history.epoch;
            let (id, topic_id) = (i32::try_from(number).unwrap(), decode_id(TOPIC_ID).unwrap());
            let (partition, recovery) =
                Partition::open(&self.dir, TOPIC, id, topic_id, config(number))
                    .map_err(|error| error.to_string())?;
            if recovery.scanned_bytes > 0 {
                return Err(format!("partition {number}: read again after an orderly stop"));
            }
            check(&partition, &expected).map_err(|what| format!("partition {number}: {what}"))?;
            self.partitions.push(partition);
        }
        Ok(())
    }

    fn run(&mut self, steps: usize) -> Result<(), Violated> {
        (0..steps).try_for_each(|_| self.step())
    }

    /// What must hold when the power is cut during operation `now`.
    fn expected(&self, now: u64) -> Vec<Expected> {
        self.histories.iter().map(|history| history.at(now)).collect()
    }
}

/// Compares a partition with what must hold, and returns the batches that are left of the model.
fn check(partition: &Partition, expected: &Expected) -> Result<Vec<Batch>, Violated> {
    let ends = partition.ends();
    let (start, end) = (ends.log_start, ends.log_end);
    if !(start <= ends.last_stable && ends.last_stable <= ends.high_watermark && start <= end) {
        return Err(format!("the ends are out of order: {ends:?}"));
    }
    if ends.high_watermark != end {
        return Err(format!("not all that is left is durable: {ends:?}"));
    }
    if end < expected.durable_min {
        return Err(format!("lost: the log ends at {end}, {} was acked", expected.durable_min));
    }
    if start < expected.start_min {
        return Err(format!("back: the log starts at {start}, not {}", expected.start_min));
    }
    if start > expected.start_max.max(expected.start_min) {
        return Err(format!("gone: the log starts at {start}, not {}", expected.start_max));
    }
    if partition.leader_epoch() < expected.epoch_min {
        let (found, least) = (partition.leader_epoch(), expected.epoch_min);
        return Err(format!("leader epoch {found} is not {least}"));
    }
    let batches: Vec<Batch> =
        expected.batches.iter().filter(|batch| batch.next_offset <= end).cloned().collect();
    let model_end = batches.last().map_or(Offset(0), |batch| batch.next_offset);
    if model_end != end {
        return Err(format!("the log ends at {end}, within a batch after {model_end}"));
    }
    let readable: Vec<&Batch> = batches.iter().filter(|it| it.next_offset > start).collect();
    let model: Vec<u8> = readable.iter().flat_map(|batch| batch.bytes.iter().copied()).collect();
    let found = read_all(partition)?;
    if found != model {
        let sizes = (found.len(), model.len());
        return Err(format!("other bytes in {start}..{end}: {sizes:?} read and appended"));
    }
    if expected.epoch_min > 0 && expected.made && partition.leader_epoch() > 0 {
        let (_, told) = partition.epoch_end(partition.leader_epoch() - 1);
        if told > end {
            return Err(format!("the old epoch ends at {told}, past {end}"));
        }
    }
    check_producers(partition, &batches)?;
    check_transactions(partition, &batches)?;
    if ends.last_stable < expected.stable_min {
        let (found, seen) = (ends.last_stable, expected.stable_min);
        return Err(format!("unstable: all before {seen} was seen as stable, not past {found}"));
    }
    Ok(batches)
}

/// Sends a batch as its producer does.
fn send(partition: &Partition, batch: &RecordBatch) -> Result<Appended, AppendError> {
    if batch.header().is_transactional() {
        partition.append_in_transaction(batch, Start::AtZero)
    } else {
        partition.append(batch)
    }
}

fn read_all(partition: &Partition) -> Result<Vec<u8>, Violated> {
    let ends = partition.ends();
    let (mut from, mut all) = (ends.log_start, Vec::new());
    while from < ends.high_watermark {
        let slice = partition.read(from, 1000, true).map_err(|error| error.to_string())?;
        let bytes = match slice {
            ReadSlice::Hot(bytes) => bytes,
            ReadSlice::Cold(cold) => cold.load().map_err(|error| error.to_string())?,
        };
        for batch in weir_protocol::records::batch::batches(bytes.clone()) {
            from = batch.map_err(|error| error.to_string())?.header().last_offset().next();
        }
        if bytes.is_empty() {
            return Err(format!("nothing to read at {from} below {}", ends.high_watermark));
        }
        all.extend_from_slice(&bytes);
    }
    Ok(all)
}

/// Every producer sends the last batches of its epoch again: the last five are known, an older one
/// is not.
fn check_producers(partition: &Partition, batches: &[Batch]) -> Result<(), Violated> {
    for producer in PRODUCERS {
        let epoch = writer(batches, producer).epoch;
        let of_it = batches.iter().filter(|batch| {
            let header = batch.sent.header();
            !header.is_control() && (header.producer_id, header.producer_epoch) == (producer, epoch)
        });
        for (age, batch) in of_it.rev().take(BATCHES_REMEMBERED + 1).enumerate() {
            let answer = send(partition, &batch.sent);
            let place = (batch.base_offset, batch.next_offset);
            if age >= BATCHES_REMEMBERED {
                let Err(AppendError::Producer(ProducerError::OutOfOrder { .. })) = answer else {
                    return Err(format!("producer {producer}: batch {age} at {place:?} is known"));
                };
                continue;
            }
            let found = answer.map_err(|error| format!("at {place:?}: {error}"))?;
            if !found.is_duplicate || (found.base_offset, found.last_offset.next()) != place {
                return Err(format!("producer {producer}: the batch at {place:?} is {found:?}"));
            }
        }
    }
    Ok(())
}

/// Cuts a run at one operation, goes on, and cuts again.
fn cut_twice(
    setup: Setup,
    world: &World,
    images: &[Image],
    point: usize,
    seed: u64,
) -> Result<(), Violated> {
    let expected = world.expected(u64::try_from(point).unwrap());
    let disk = images[point].cut(seed);
    let mut after = World::open(setup, disk, expected, seed ^ 1, world.serial + 1000)?;
    after.run(STEPS_AFTER_CUT)?;
    let images = after.disk.images();
    let point = StdRng::seed_from_u64(seed ^ 2).random_range(0..images.len());
    let expected = after.expected(u64::try_from(point).unwrap());
    let disk = images[point].cut(seed ^ 3);
    World::open(setup, disk, expected, seed ^ 4, after.serial + 1000)
        .map(drop)
        .map_err(|what| format!("second cut, at operation {point}: {what}"))
}

/// A run without cuts, and the disk during each of its operations.
fn scripted(setup: Setup, seed: u64) -> Result<(World, Vec<Image>), Violated> {
    let mut world = World::new(setup, seed)?;
    world.run(STEPS)?;
    let images = world.disk.images();
    Ok((world, images))
}

/// Cuts at random points of random runs. How many cuts there were.
fn random_cuts(setup: Setup, seeds: std::ops::Range<u64>, per_run: u64) -> Result<u64, Violated> {
    let mut count = 0;
    for seed in seeds {
        let (world, images) =
            scripted(setup, seed).map_err(|what| format!("seed {seed}: {what}"))?;
        let mut chance = StdRng::seed_from_u64(seed);
        for number in 0..per_run {
            let point = chance.random_range(0..images.len());
            let cut_seed = seed * 1_000_003 + number * 16;
            cut_twice(setup, &world, &images, point, cut_seed).map_err(|what| {
                format!("seed {seed}, operation {point}, cut seed {cut_seed}: {what}")
            })?;
            count += 1;
        }
    }
    Ok(count)
}

fn setup(number: u64) -> Setup {
    let read_mode = if number.is_multiple_of(2) { ReadMode::Mmap } else { ReadMode::Pread };
    Setup { read_mode, bugs: SeededBugs::default() }
}

fn seconds_since(began_ms: i64) -> f64 {
    (SystemClock.now_ms() - began_ms) as f64 / 1e3
}

#[test]
fn no_power_cut_at_any_operation_loses_or_revives_a_record() {
    let began_ms = SystemClock.now_ms();
    let (mut cuts, mut operations) = (0, 0);
    for seed in 0..2 {
        let setup = setup(seed);
        let (world, images) = scripted(setup, seed).unwrap();
        assert!(images.len() > 300, "the run has only {} operations", images.len());
        operations += images.len();
        for (point, image) in images.iter().enumerate() {
            for (number, survival) in [0.0, 0.5, 1.0].into_iter().enumerate() {
                let cut_seed = u64::try_from(point * 3 + number).unwrap();
                let disk = image.cut_with(survival, &mut StdRng::seed_from_u64(cut_seed));
                let expected = world.expected(u64::try_from(point).unwrap());
                World::open(setup, disk, expected, cut_seed, 1_000_000).map(drop).unwrap_or_else(
                    |what| panic!("seed {seed}, operation {point}, {survival} survives: {what}"),
                );
                cuts += 1;
            }
        }
    }
    let seconds = seconds_since(began_ms);
    println!("{cuts} cuts, three at each of {operations} operations, in {seconds:.1} s");
    assert_eq!(cuts, 3 * operations);
}

#[test]
fn no_power_cut_during_a_recovery_loses_or_revives_a_record() {
    let began_ms = SystemClock.now_ms();
    let setup = setup(0);
    let (world, images) = scripted(setup, 7).unwrap();
    let mut cuts = 0;
    for (point, image) in images.iter().enumerate().step_by(9) {
        let seed = u64::try_from(point).unwrap();
        let expected = world.expected(seed);
        let first = image.cut(seed);
        let after = World::open(setup, first, expected, seed, 1_000_000).unwrap();
        for (again, image) in after.disk.images().iter().enumerate() {
            let expected = after.expected(u64::try_from(again).unwrap());
            let cut_seed = seed * 1000 + u64::try_from(again).unwrap();
            World::open(setup, image.cut(cut_seed), expected, seed, 2_000_000)
                .map(drop)
                .unwrap_or_else(|what| {
                    panic!("operation {point}, then {again}, cut seed {cut_seed}: {what}")
                });
            cuts += 1;
        }
    }
    let seconds = seconds_since(began_ms);
    println!("{cuts} cuts, at operations of a recovery, in {seconds:.1} s");
}

#[test]
fn no_power_cut_at_a_random_point_loses_or_revives_a_record() {
    const RUNS: u64 = 80;
    const CUTS_PER_RUN: u64 = 250;
    let began_ms = SystemClock.now_ms();
    let cuts = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for half in 0..2 {
            let cuts = &cuts;
            scope.spawn(move || {
                for seed in (100..100 + RUNS).filter(|seed| seed % 2 == half) {
                    let count = random_cuts(setup(half), seed..seed + 1, CUTS_PER_RUN);
                    cuts.fetch_add(count.unwrap(), Ordering::Relaxed);
                }
            });
        }
    });
    let cuts = cuts.into_inner();
    let seconds = seconds_since(began_ms);
    println!(
        "{cuts} random points of {RUNS} runs (seeds from 100 on), each cut twice, in {seconds:.1} s"
    );
    assert_eq!(cuts, 20_000);
}

/// With the bug the check must fail, by a message with these words; without it the very same cuts
/// must pass.
fn assert_caught(bugs: SeededBugs, words: &str) {
    let sound = setup(0);
    let count = random_cuts(sound, 0..20, 50).unwrap();
    match random_cuts(Setup { bugs, ..sound }, 0..20, 50) {
        Ok(count) => panic!("{bugs:?} was not seen in {count} cuts"),
        Err(what) => {
            assert!(what.contains(words), "{bugs:?} is seen for another reason: {what}");
            println!("{bugs:?} is seen: {what}; without it {count} cuts pass");
        }
    }
}

#[test]
fn the_suite_sees_a_broker_that_acknowledges_before_it_syncs() {
    assert_caught(SeededBugs { acknowledges_before_sync: true, ..SeededBugs::default() }, "lost");
}

#[test]
fn the_suite_sees_a_broker_that_forgets_to_sync_directories() {
    assert_caught(SeededBugs { forgets_directory_sync: true, ..SeededBugs::default() }, "lost");
}

#[test]
fn the_suite_sees_a_broker_that_remembers_four_batches_instead_of_five() {
    let bugs = SeededBugs { remembers_four_batches: true, ..SeededBugs::default() };
    assert_caught(bugs, "does not follow");
}
