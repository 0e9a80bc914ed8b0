//! Random logs are cleaned again and again and compared with all that was ever appended to them.
//!
//! What must hold after each step:
//! - every record that is read is one that was appended, at its offset, with its time, its key and
//!   its value, and offsets ascend;
//! - what a consumer of committed records knows of each key at the end has not changed;
//! - the last batch reaches the log's end;
//! - what may not be cleaned yet is all there, and what was cleaned holds each key once.
use std::collections::{BTreeMap, BTreeSet};

use bytes::{Bytes, BytesMut};
use proptest::prelude::*;
use tempfile::TempDir;
use uuid::Uuid;
use weir_protocol::records::batch::{RecordBatch, batches};
use weir_protocol::records::builder::BatchBuilder;
use weir_protocol::records::compression::Compression;

use super::*;
use crate::clock::{Clock, ManualClock};
use crate::disk::os::OsDisk;
use crate::log::ReadSlice;
use crate::log::config::LogConfig;
use crate::log::dir::LogDir;
use crate::log::dir::options::{LogDirOptions, SyncDriver};
use crate::log::seeded_bugs::SeededBugs;
use crate::log::segment::read::FirstBatch;
use crate::log::validate::Origin;

const TOPIC_ID: Uuid = Uuid::from_u128(7);
const RETENTION_MS: i64 = 1000;
const ROOM: u64 = 1 << 20;
const TRANSACTIONAL: i16 = 1 << 4;
const CONTROL: i16 = 1 << 5;

fn never() -> bool {
    false
}

/// A record as it was appended.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Known {
    timestamp_ms: i64,
    key: Option<Bytes>,
    value: Option<Bytes>,
}

/// One step.
#[derive(Clone, Debug)]
enum Step {
    /// Keys (0: none) and values (0: none) of a batch. The producer is none, idempotent or in a
    /// transaction.
    Append { codec: usize, producer: i64, records: Vec<(u8, u8)> },
    /// Ends the transaction of a producer.
    End { producer: i64, commits: bool },
    /// Time passes.
    Wait(i64),
    /// A cleaning, with room for so many keys.
    Clean { keys: u64 },
    /// An orderly stop and a start.
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    let records = prop::collection::vec((0..6_u8, 0..4_u8), 1..5);
    prop_oneof![
        10 => (0..5_usize, -1..4_i64, records)
            .prop_map(|(codec, producer, records)| Step::Append { codec, producer, records }),
        3 => (2..4_i64, any::<bool>())
            .prop_map(|(producer, commits)| Step::End { producer, commits }),
        2 => (1..1500_i64).prop_map(Step::Wait),
        3 => prop_oneof![Just(2), Just(1000)].prop_map(|keys| Step::Clean { keys }),
        1 => Just(Step::Reopen),
    ]
}

struct World {
    folder: TempDir,
    clock: Arc<ManualClock>,
    bugs: SeededBugs,
    config: LogConfig,
    log: Option<Arc<Log>>,
    appended: BTreeMap<i64, Known>,
    /// Offsets of aborted records and of markers: no consumer sees them.
    hidden: BTreeSet<i64>,
    open: BTreeMap<i64, Vec<i64>>,
    sequences: BTreeMap<i64, i32>,
    last_sent: BTreeMap<i64, (RecordBatch, i64)>,
}

fn config() -> LogConfig {
    LogConfig {
        segment_bytes: 600,
        index_interval_bytes: 100,
        deletes: false,
        compacts: true,
        validates_records: false,
        dirty_ratio_min: 0.0,
        delete_retention_ms: RETENTION_MS,
        ..LogConfig::default()
    }
}

impl World {
    fn new(bugs: SeededBugs, compaction_lag_min_ms: i64) -> World {
        let mut world = World {
            folder: tempfile::tempdir().unwrap(),
            clock: Arc::new(ManualClock::new(1_000_000)),
            bugs,
            // Without a key a record is refused; logs from before the topic was compacted have them.
            config: LogConfig { compaction_lag_min_ms, ..config() },
            log: None,
            appended: BTreeMap::new(),
            hidden: BTreeSet::new(),
            open: BTreeMap::new(),
            sequences: BTreeMap::new(),
            last_sent: BTreeMap::new(),
        };
        world.open();
        world
    }

    fn log(&self) -> &Arc<Log> {
        self.log.as_ref().expect("it is open")
    }

    fn open(&mut self) {
        let options = LogDirOptions {
            sync_driver: SyncDriver::Caller,
            seeded_bugs: self.bugs,
            ..LogDirOptions::default()
        };
        let disk = Arc::new(OsDisk::open(self.folder.path()).unwrap());
        let (dir, _) = LogDir::open(disk, options, self.clock.clone()).unwrap();
        let (log, recovery) = Log::open(&dir, "t", 0, TOPIC_ID, self.config.clone()).unwrap();
        assert_eq!((recovery.damage, recovery.truncated_bytes), (None, 0));
        self.log = Some(log);
    }

    fn append(&mut self, codec: usize, producer: i64, records: &[(u8, u8)]) {
        let mut builder = BatchBuilder::new(Compression::ALL[codec]);
        let sequence = self.sequences.entry(producer).or_insert(0);
        if producer >= 0 {
            builder = builder.producer(producer, 0, *sequence);
            *sequence += i32::try_from(records.len()).unwrap();
        }
        let now_ms = self.clock.now_ms();
        let mut known = Vec::new();
        for (index, (key, value)) in records.iter().enumerate() {
            let timestamp_ms = now_ms - i64::try_from(index).unwrap() * 3;
            let key = (*key > 0).then(|| Bytes::from(vec![b'k', *key]));
            let value = (*value > 0).then(|| Bytes::from(vec![*value; 20]));
            builder.append(timestamp_ms, key.as_deref(), value.as_deref(), &[("h", None)]);
            known.push(Known { timestamp_ms, key, value });
        }
        let attributes = if producer >= 2 { TRANSACTIONAL } else { 0 };
        let batch = with_attributes(&builder.finish(), attributes);
        let appended = self.log().append(&batch, Origin::Broker).unwrap();
        let base = appended.base_offset.0;
        for (index, known) in known.into_iter().enumerate() {
            let offset = base + i64::try_from(index).unwrap();
            self.appended.insert(offset, known);
            if producer >= 2 {
                self.open.entry(producer).or_default().push(offset);
            }
        }
        if producer >= 0 {
            self.last_sent.insert(producer, (batch, base));
        }
        self.log().dir().sync_now();
    }

    fn end(&mut self, producer: i64, commits: bool) {
        let Some(offsets) = self.open.remove(&producer) else { return };
        let mut builder = BatchBuilder::new(Compression::None).producer(producer, 0, -1);
        let key = [0, 0, 0, u8::from(commits)];
        let timestamp_ms = self.clock.now_ms();
        builder.append(timestamp_ms, Some(&key), Some(&[0, 0, 0, 0, 0, 0]), &[]);
        let batch = with_attributes(&builder.finish(), TRANSACTIONAL | CONTROL);
        let appended = self.log().append(&batch, Origin::Broker).unwrap();
        let (key, value) = (Some(Bytes::copy_from_slice(&key)), Some(Bytes::from(vec![0; 6])));
        self.appended.insert(appended.base_offset.0, Known { timestamp_ms, key, value });
        self.hidden.insert(appended.base_offset.0);
        if !commits {
            self.hidden.extend(offsets);
        }
        self.log().dir().sync_now();
    }

    fn step(&mut self, step: &Step) -> Result<(), String> {
        match step {
            Step::Append { codec, producer, records } => self.append(*codec, *producer, records),
            Step::End { producer, commits } => self.end(*producer, *commits),
            Step::Wait(ms) => {
                self.clock.advance(*ms);
            }
            Step::Clean { keys } => return self.clean(*keys),
            Step::Reopen => {
                self.log().dir().close().unwrap();
                self.log = None;
                self.open();
            }
        }
        Ok(())
    }

    /// Cleans, and compares with the model.
    fn clean(&mut self, keys: u64) -> Result<(), String> {
        let dirt = self.log().dirt(None).expect("it is compacted");
        let cleaned = match self.log().clean(&dirt, keys * 66, &never) {
            Ok(cleaned) => cleaned,
            Err(CleanError::Interrupted) if !self.open.is_empty() => return Ok(()),
            Err(error) => return Err(error.to_string()),
        };
        self.check()?;
        let found = read_all(self.log());
        let keys = |range: std::ops::Range<i64>| {
            let of = found.iter().filter(move |(offset, _)| range.contains(offset));
            of.filter(|(offset, _)| !self.hidden.contains(offset)).map(|(_, it)| it.key.clone())
        };
        let clean: Vec<_> = keys(0..cleaned.to.0).collect();
        let distinct: BTreeSet<_> = clean.iter().cloned().collect();
        if distinct.len() < clean.len() || distinct.contains(&None) {
            return Err(format!("not clean up to {}: {clean:?}", cleaned.to));
        }
        let kept = found.iter().filter(|(offset, _)| *offset >= dirt.limit.0).count();
        let wanted = self.appended.range(dirt.limit.0..).count();
        if kept != wanted {
            return Err(format!("{kept} of {wanted} records from {} on", dirt.limit));
        }
        let oldest_ms = self.clock.now_ms() - self.config.compaction_lag_min_ms;
        if self.config.compaction_lag_min_ms > 0
            && let Some((offset, _)) = self
                .appended
                .iter()
                .find(|(offset, it)| it.timestamp_ms > oldest_ms && !found_at(&found, **offset))
            && *offset >= dirt.first_dirty.0
        {
            return Err(format!("{offset} is too young to go"));
        }
        Ok(())
    }

    fn check(&self) -> Result<(), String> {
        let found = read_all(self.log());
        for (offset, record) in &found {
            if self.appended.get(offset) != Some(record) {
                return Err(format!(
                    "at {offset}: {record:?} is not {:?}",
                    self.appended.get(offset)
                ));
            }
        }
        if !found.is_sorted_by_key(|(offset, _)| *offset) {
            return Err("offsets do not ascend".to_owned());
        }
        let knows = |records: &mut dyn Iterator<Item = (i64, Known)>| {
            let seen = records.filter(|(offset, _)| !self.hidden.contains(offset));
            let mut known = BTreeMap::new();
            for (_, record) in seen {
                if let Some(key) = record.key {
                    known.insert(key, record.value);
                }
            }
            known.retain(|_, value| value.is_some());
            known
        };
        let now = knows(&mut found.into_iter());
        let always = knows(&mut self.appended.iter().map(|(offset, it)| (*offset, it.clone())));
        if now != always {
            return Err(format!("a reader knows {now:?}, not {always:?}"));
        }
        for (batch, base) in self.last_sent.values() {
            let answer = self.log().append(batch, Origin::Broker);
            let answer = answer.map_err(|error| format!("the last batch again: {error}"))?;
            if !answer.is_duplicate || answer.base_offset.0 != *base {
                return Err(format!("the last batch of a producer, at {base}, is {answer:?}"));
            }
        }
        Ok(())
    }
}

fn found_at(found: &[(i64, Known)], offset: i64) -> bool {
    found.binary_search_by_key(&offset, |(offset, _)| *offset).is_ok()
}

fn with_attributes(bytes: &Bytes, attributes: i16) -> RecordBatch {
    let mut bytes = BytesMut::from(&bytes[..]);
    bytes[21] |= attributes.to_be_bytes()[0];
    bytes[22] |= attributes.to_be_bytes()[1];
    let crc = crc32c::crc32c(&bytes[21..]);
    bytes[17..21].copy_from_slice(&crc.to_be_bytes());
    RecordBatch::parse(bytes.freeze()).unwrap()
}

/// All records, by whole batches; the reader must come to the end.
fn read_all(log: &Log) -> Vec<(i64, Known)> {
    let (mut from, mut all) = (log.ends().log_start, Vec::new());
    while from < log.ends().high_watermark {
        let bytes = match log.read(from, 250, FirstBatch::Whole).unwrap() {
            ReadSlice::Hot(bytes) => bytes,
            ReadSlice::Cold(cold) => cold.load().unwrap(),
        };
        assert!(!bytes.is_empty(), "nothing to read at {from} below the high watermark");
        for batch in batches(bytes) {
            let batch = batch.unwrap();
            batch.check_crc().unwrap();
            for record in batch.records(1 << 20).unwrap() {
                let record = record.unwrap();
                let (timestamp_ms, key, value) = (record.timestamp_ms, record.key, record.value);
                all.push((record.offset.0, Known { timestamp_ms, key, value }));
            }
            from = batch.header().last_offset().next();
        }
    }
    all
}

fn run(bugs: SeededBugs, lag_ms: i64, steps: &[Step]) -> Result<(), String> {
    let mut world = World::new(bugs, lag_ms);
    steps.iter().try_for_each(|step| world.step(step))?;
    for producer in 2..4 {
        world.end(producer, producer == 2);
    }
    world.clean(1000)?;
    world.step(&Step::Reopen)?;
    world.check()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn what_a_reader_ends_up_knowing_never_changes(
        lag_ms in prop_oneof![Just(0), Just(700)],
        steps in prop::collection::vec(step(), 1..120),
    ) {
        let outcome = run(SeededBugs::default(), lag_ms, &steps);
        prop_assert!(outcome.is_ok(), "{}", outcome.unwrap_err());
    }
}

/// Many versions of a few keys, then a cleaning.
fn versions() -> Vec<Step> {
    let append = |number: u8| Step::Append {
        codec: usize::from(number % 5),
        producer: -1,
        records: vec![(1 + number % 3, 1 + number % 2), (4, 3)],
    };
    let first = |value: u8| Step::Append { codec: 0, producer: -1, records: vec![(5, value)] };
    let steps = (1..3).map(first).chain((0..40).map(append));
    steps.chain([Step::Clean { keys: 1000 }]).collect()
}

#[test]
fn the_model_sees_a_cleaner_that_keeps_what_is_outdated() {
    run(SeededBugs::default(), 0, &versions()).unwrap();
    let bugs = SeededBugs { keeps_outdated: true, ..SeededBugs::default() };
    let seen = run(bugs, 0, &versions()).unwrap_err();
    assert!(seen.starts_with("a reader knows"), "{seen}");
}

#[test]
fn tombstones_stay_for_their_time_once_they_are_clean_and_then_go() {
    let mut world = World::new(SeededBugs::default(), 0);
    world.append(0, -1, &[(1, 1), (2, 1)]);
    world.append(0, -1, &[(1, 0)]);
    for _ in 0..20 {
        world.append(0, -1, &[(5, 1)]);
    }
    world.clean(1000).unwrap();
    let tombstone = |world: &World| found_at(&read_all(world.log()), 2);
    assert!(tombstone(&world) && !found_at(&read_all(world.log()), 0));
    let is_due = |world: &World| world.log().is_cleaning_due(&world.log().dirt(None).unwrap());
    world.clock.advance(RETENTION_MS - 1);
    world.clean(1000).unwrap();
    assert!(tombstone(&world) && !is_due(&world));
    world.clock.advance(1);
    assert!(is_due(&world), "its time has come, though nothing is dirty");
    world.clean(1000).unwrap();
    assert!(!tombstone(&world) && found_at(&read_all(world.log()), 1));
    assert!(!is_due(&world));
}

#[test]
fn an_aborted_record_goes_at_once_and_its_marker_two_cleanings_later() {
    let mut world = World::new(SeededBugs::default(), 0);
    world.append(0, 2, &[(1, 1)]);
    world.append(0, -1, &[(3, 3)]);
    world.end(2, false);
    world.append(0, 2, &[(2, 1)]);
    world.end(2, true);
    for _ in 0..20 {
        world.append(0, -1, &[(5, 1)]);
    }
    let holds = |world: &World| [0, 2, 3, 4].map(|offset| found_at(&read_all(world.log()), offset));
    assert_eq!(holds(&world), [true, true, true, true]);
    world.clean(1000).unwrap();
    assert_eq!(holds(&world), [false, true, true, true], "its marker stays while it was there");
    world.clean(1000).unwrap();
    world.clock.advance(RETENTION_MS);
    world.clean(1000).unwrap();
    assert_eq!(holds(&world), [false, false, true, true], "the commit still has its record");
}

#[test]
fn a_damaged_batch_ends_the_cleaning_and_leaves_the_log_as_it_was() {
    // In the records of the first batch, which the checksum covers; and in the base offset of the
    // second, which it does not.
    for position in [75, 100] {
        check_damage_at(position);
    }
}

fn check_damage_at(position: usize) {
    let mut world = World::new(SeededBugs::default(), 0);
    for number in 0..30 {
        world.append(0, -1, &[(1 + number % 3, 1)]);
    }
    let path = world.folder.path().join("t-0/00000000000000000000.log");
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[position] ^= 1;
    std::fs::write(&path, &bytes).unwrap();
    let names = || {
        let entries = std::fs::read_dir(world.folder.path().join("t-0")).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.collect::<BTreeSet<String>>()
    };
    let before = names();
    let dirt = world.log().dirt(None).unwrap();
    let error = world.log().clean(&dirt, ROOM, &never).unwrap_err();
    assert!(matches!(error, CleanError::Unreadable(ReadError::Corrupt { .. })), "{error}");
    assert_eq!(names(), before);
    assert_eq!(world.log().dir().failed(), None);
}

#[test]
fn what_was_retired_or_is_over_meanwhile_interrupts_the_cleaning() {
    let mut world = World::new(SeededBugs::default(), 0);
    for number in 0..30 {
        world.append(0, -1, &[(1 + number % 3, 1)]);
    }
    let dirt = world.log().dirt(None).unwrap();
    let stopped = world.log().clean(&dirt, ROOM, &|| true).unwrap_err();
    assert!(matches!(stopped, CleanError::Interrupted), "{stopped}");
    let segments = world.log().segments();
    let old = segments[..2].to_vec();
    world.log().delete_records_before(dirt.limit).unwrap();
    world.log().apply_retention(None).unwrap();
    let disk = world.log().dir().disk();
    let fresh = Segment::create_cleaned(disk, "t-0", old[0].base_offset()).unwrap();
    let refused = world.log().swap(&old, Arc::new(fresh)).unwrap_err();
    assert!(matches!(refused, CleanError::Interrupted), "{refused}");
    assert_eq!(world.log().dir().failed(), None);
}

#[test]
fn readers_go_on_with_the_segments_that_they_have() {
    let mut world = World::new(SeededBugs::default(), 0);
    for number in 0..40 {
        world.append(0, -1, &[(1 + number % 3, 1 + number % 2)]);
    }
    let old = world.log().segments();
    let read = |segment: &Segment| {
        let mut all = Vec::new();
        segment
            .each_batch(|_, batch| {
                all.extend_from_slice(batch.bytes());
                Ok::<(), ReadError>(())
            })
            .unwrap();
        (all, segment.position_before(segment.contents().next_offset).unwrap())
    };
    let before: Vec<_> = old.iter().map(|segment| read(segment)).collect();
    world.clean(1000).unwrap();
    let is_replaced = |place: usize| !Arc::ptr_eq(&world.log().segments()[place], &old[place]);
    assert!(old.len() > 3 && is_replaced(0) && is_replaced(1));
    old.iter().for_each(|segment| segment.cool());
    let after: Vec<_> = old.iter().map(|segment| read(segment)).collect();
    assert!(before.iter().zip(&after).all(|(before, after)| before.0 == after.0));
}

#[test]
fn a_log_with_holes_comes_back_after_a_crash_even_without_its_checkpoints() {
    let mut world = World::new(SeededBugs::default(), 0);
    for number in 0..60 {
        world.append(0, -1, &[(1 + number % 3, 1)]);
    }
    world.clean(1000).unwrap();
    let before = read_all(world.log());
    // No orderly stop: everything is read again, with holes below the recovery point.
    world.log = None;
    world.open();
    assert_eq!(read_all(world.log()), before);
    world.log = None;
    for name in ["recovery-point-offset-checkpoint", "cleaner-offset-checkpoint"] {
        std::fs::write(world.folder.path().join(name), b"rot").unwrap();
    }
    world.open();
    assert_eq!(read_all(world.log()), before);
    world.clean(1000).unwrap();
}

#[test]
fn what_a_table_has_not_folded_stays_and_so_does_the_batch_that_it_folded_last() {
    let mut world = World::new(SeededBugs::default(), 0);
    for _ in 0..60 {
        world.append(0, -1, &[(1, 1)]);
    }
    let bytes =
        |world: &World, from: i64| match world.log().read(Offset(from), 1 << 20, FirstBatch::Whole)
        {
            Ok(ReadSlice::Hot(bytes)) => bytes,
            Ok(ReadSlice::Cold(cold)) => cold.load().unwrap(),
            Err(error) => panic!("{error}"),
        };
    for folded in [0, 1, 17, 30, 59] {
        let last = (folded - 1).max(0);
        let before = bytes(&world, last);
        let dirt = world.log().dirt(Some(Offset(folded))).unwrap();
        world.log().clean(&dirt, ROOM, &never).unwrap();
        assert_eq!(bytes(&world, last), before, "folded up to {folded}");
    }
    assert!(read_all(world.log()).len() < 30);
}
