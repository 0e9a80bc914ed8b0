//! The power is cut at every disk operation of a cleaning, and of the recovery after it; the log
//! comes back as it was before or as it is after, segment by segment, and never in between. And a
//! full disk ends a cleaning without a trace.
//!
//! What must hold after each cut:
//! - for some segment that the cleaning made, all before it is as the finished cleaning leaves it,
//!   and all from there on as it was before;
//! - the log's end is reached, and each producer's last batch is known again;
//! - another cleaning comes to the same as the first.
use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use rand::SeedableRng;
use rand::rngs::StdRng;
use weir_broker::clock::ManualClock;
use weir_broker::disk::Disk;
use weir_broker::log::ReadSlice;
use weir_broker::log::cleaning::CleanError;
use weir_broker::log::config::LogConfig;
use weir_broker::log::dir::LogDir;
use weir_broker::log::dir::options::{LogDirOptions, SyncDriver};
use weir_broker::log::meta::decode_id;
use weir_broker::log::seeded_bugs::SeededBugs;
use weir_broker::partition::Partition;
use weir_protocol::records::Offset;
use weir_protocol::records::batch::{RecordBatch, batches};
use weir_protocol::records::builder::BatchBuilder;
use weir_protocol::records::compression::Compression;

use crate::kit::disk::{Faults, Image, SimDisk};

const TOPIC_ID: &str = "AAAAAAAAAAAAAAAAAAAABw";
const NOW_MS: i64 = 1_000_000;
const ROOM: u64 = 1 << 20;
const BATCHES: i32 = 70;

type Violated = String;
/// Offset, key and value of a record.
type Found = (i64, Option<Bytes>, Option<Bytes>);

fn config() -> LogConfig {
    LogConfig {
        segment_bytes: 1200,
        index_interval_bytes: 200,
        deletes: false,
        compacts: true,
        dirty_ratio_min: 0.0,
        ..LogConfig::default()
    }
}

fn open(disk: &SimDisk, bugs: SeededBugs) -> Result<(Arc<LogDir>, Arc<Partition>), Violated> {
    let options = LogDirOptions {
        sync_driver: SyncDriver::Caller,
        seeded_bugs: bugs,
        ..LogDirOptions::default()
    };
    let clock = Arc::new(ManualClock::new(NOW_MS));
    let told = |error: &dyn std::fmt::Display| error.to_string();
    let (dir, _) = LogDir::open(Arc::new(disk.clone()), options, clock).map_err(|e| told(&e))?;
    let id = decode_id(TOPIC_ID).unwrap();
    let opened = Partition::open(&dir, "orders", 0, id, config());
    let (partition, recovery) = opened.map_err(|error| told(&error))?;
    match recovery.damage {
        None => Ok((dir, partition)),
        Some(damage) => Err(format!("{damage:?}")),
    }
}

/// Batches of two producers over a few keys, some of them tombstones; each in its codec.
fn batch(number: i32) -> RecordBatch {
    let codec = Compression::ALL[usize::try_from(number).unwrap() % 5];
    let mut builder = BatchBuilder::new(codec).producer(i64::from(number % 2), 0, number / 2 * 2);
    for part in 0..2 {
        let key = [b'k', u8::try_from((number * 3 + part) % 7).unwrap()];
        let value = [u8::try_from(number).unwrap(); 60];
        let value = (number % 11 != 10).then_some(&value[..]);
        builder.append(NOW_MS - 1000 + i64::from(number), Some(&key), value, &[]);
    }
    RecordBatch::parse(builder.finish()).unwrap()
}

fn clean(partition: &Partition) -> Result<(), CleanError> {
    let dirt = partition.dirt(None).expect("it is compacted");
    partition.clean(&dirt, ROOM, &|| false).map(drop)
}

fn read_all(partition: &Partition) -> Result<Vec<Found>, Violated> {
    let ends = partition.ends();
    let (mut from, mut all) = (ends.log_start, Vec::new());
    while from < ends.log_end {
        let slice = partition.read(from, 500, true).map_err(|error| error.to_string())?;
        let bytes = match slice {
            ReadSlice::Hot(bytes) => bytes,
            ReadSlice::Cold(cold) => cold.load().map_err(|error| error.to_string())?,
        };
        if bytes.is_empty() {
            return Err(format!("nothing to read at {from} below {}", ends.log_end));
        }
        for batch in batches(bytes) {
            let batch = batch.map_err(|error| error.to_string())?;
            for record in batch.records(1 << 20).map_err(|error| error.to_string())? {
                let record = record.map_err(|error| error.to_string())?;
                all.push((record.offset.0, record.key, record.value));
            }
            from = batch.header().last_offset().next();
        }
    }
    Ok(all)
}

/// A log before and after its cleaning, and the disk during each operation of it.
struct Scripted {
    before: Vec<Found>,
    after: Vec<Found>,
    /// Where the segments of the cleaned log begin.
    bases: BTreeSet<i64>,
    images: Vec<Image>,
}

fn appended(bugs: SeededBugs) -> (SimDisk, Arc<LogDir>, Arc<Partition>) {
    let disk = SimDisk::new();
    let (dir, partition) = open(&disk, bugs).unwrap();
    for number in 0..BATCHES {
        partition.append(&batch(number)).unwrap();
        dir.sync_now();
    }
    (disk, dir, partition)
}

fn scripted(bugs: SeededBugs) -> Scripted {
    let (disk, dir, partition) = appended(bugs);
    // The first cleaning merges nothing, for the segments are full; the second one does.
    clean(&partition).unwrap();
    for number in BATCHES..BATCHES + 12 {
        partition.append(&batch(number)).unwrap();
        dir.sync_now();
    }
    let before = read_all(&partition).unwrap();
    let segments = partition.segment_count();
    let began = usize::try_from(disk.operation_count()).unwrap();
    clean(&partition).unwrap();
    assert!(partition.segment_count() + 2 < segments, "segments were merged");
    let images = disk.images().split_off(began);
    let after = read_all(&partition).unwrap();
    let names = disk.list("orders-0").unwrap();
    let bases = names.iter().filter_map(|name| name.strip_suffix(".log")?.parse().ok()).collect();
    Scripted { before, after, bases, images }
}

/// Opens what a cut has left and compares it; and the disk of the recovery.
fn check(script: &Scripted, disk: &SimDisk, bugs: SeededBugs) -> Result<(), Violated> {
    let (_, partition) = open(disk, bugs)?;
    let end = Offset(i64::from(BATCHES + 12) * 2);
    if partition.ends().log_end != end {
        return Err(format!("the log ends at {}, not {end}", partition.ends().log_end));
    }
    let found = read_all(&partition)?;
    let is_at = |border: i64| {
        let done = script.after.iter().filter(|(offset, _, _)| *offset < border);
        let left = script.before.iter().filter(|(offset, _, _)| *offset >= border);
        done.chain(left).eq(&found)
    };
    if !script.bases.iter().copied().any(is_at) {
        let offsets: Vec<i64> = found.iter().map(|(offset, _, _)| *offset).collect();
        return Err(format!("in between: {offsets:?}"));
    }
    for number in [BATCHES + 10, BATCHES + 11] {
        let answer = partition.append(&batch(number)).map_err(|error| error.to_string())?;
        if !answer.is_duplicate {
            return Err(format!("batch {number} is not known again"));
        }
    }
    let stray = disk.list("orders-0").unwrap();
    let stray = stray.iter().find(|name| name.ends_with(".cleaned") || name.ends_with(".swap"));
    if let Some(stray) = stray {
        return Err(format!("{stray} is left"));
    }
    Ok(())
}

/// Cuts at every operation. How many cuts there were.
fn cut_everywhere(bugs: SeededBugs) -> Result<usize, Violated> {
    let script = scripted(bugs);
    let mut cuts = 0;
    for (point, image) in script.images.iter().enumerate() {
        for (number, survival) in [0.0, 0.3, 0.5, 0.8, 1.0].into_iter().enumerate() {
            let seed = u64::try_from(point * 5 + number).unwrap();
            let disk = image.cut_with(survival, &mut StdRng::seed_from_u64(seed));
            let told = |what| format!("operation {point}, {survival} survives: {what}");
            check(&script, &disk, bugs).map_err(told)?;
            cuts += 1;
        }
    }
    Ok(cuts)
}

#[test]
fn a_power_cut_at_any_operation_of_a_cleaning_leaves_each_segment_as_before_or_as_after() {
    let cuts = cut_everywhere(SeededBugs::default()).unwrap();
    println!("{cuts} cuts, five at each operation of a cleaning");
    assert!(cuts > 300, "only {cuts} cuts");
}

#[test]
fn a_power_cut_during_the_recovery_of_a_cleaning_does_no_harm_and_it_can_be_done_again() {
    let script = scripted(SeededBugs::default());
    let mut cuts = 0;
    for (point, image) in script.images.iter().enumerate() {
        let seed = u64::try_from(point).unwrap();
        let disk = image.cut(seed);
        drop(open(&disk, SeededBugs::default()).unwrap());
        for (again, image) in disk.images().iter().enumerate() {
            let cut = image.cut(seed * 1000 + u64::try_from(again).unwrap());
            check(&script, &cut, SeededBugs::default())
                .unwrap_or_else(|what| panic!("operation {point}, then {again}: {what}"));
            cuts += 1;
        }
        let (_, partition) = open(&disk, SeededBugs::default()).unwrap();
        clean(&partition).unwrap();
        let known = |all: &[Found]| -> BTreeSet<Option<Bytes>> {
            all.iter().map(|(_, key, _)| key.clone()).collect()
        };
        let found = read_all(&partition).unwrap();
        assert_eq!(known(&found), known(&script.after), "operation {point}");
    }
    println!("{cuts} cuts at operations of a recovery");
}

#[test]
fn the_suite_sees_a_cleaner_that_swaps_what_is_not_durable() {
    let bugs = SeededBugs { swaps_before_sync: true, ..SeededBugs::default() };
    println!("seen: {}", cut_everywhere(bugs).unwrap_err());
}

#[test]
fn the_suite_sees_a_cleaner_that_forgets_to_sync_directories() {
    let bugs = SeededBugs { forgets_directory_sync: true, ..SeededBugs::default() };
    println!("seen: {}", cut_everywhere(bugs).unwrap_err());
}

#[test]
fn a_full_disk_ends_a_cleaning_without_a_trace_and_room_lets_it_succeed() {
    let (disk, dir, partition) = appended(SeededBugs::default());
    dir.checkpoint().unwrap();
    let (before, names) = (read_all(&partition).unwrap(), disk.list("orders-0").unwrap());
    let used_bytes = disk.used_bytes();
    // Not even the header of an emptied batch fits.
    for spare_bytes in [0, 30, 60] {
        let capacity_bytes = Some(used_bytes + spare_bytes);
        disk.set_faults(Faults { capacity_bytes, ..Faults::default() });
        let error = clean(&partition).unwrap_err();
        assert!(matches!(error, CleanError::Log(_)), "{error}");
        assert_eq!(dir.failed(), None);
        assert_eq!(disk.list("orders-0").unwrap(), names, "{spare_bytes} bytes to spare");
        assert_eq!(read_all(&partition).unwrap(), before);
    }
    disk.set_faults(Faults::default());
    clean(&partition).unwrap();
    assert!(read_all(&partition).unwrap().len() < before.len() / 2);
}
