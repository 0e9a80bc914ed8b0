//! A log on a real disk: what it tells its readers, and what it is after a stop or a crash.
use std::path::PathBuf;

use kafka_protocol::error::ResponseError;
use tempfile::TempDir;
use uuid::Uuid;
use weir_protocol::records::batch::batches;
use weir_protocol::records::builder::BatchBuilder;
use weir_protocol::records::compression::Compression;

use super::*;
use crate::clock::ManualClock;
use crate::disk::os::OsDisk;
use crate::log::config::TimestampType;
use crate::log::dir::options::{Durability, LogDirOptions, ReadMode, SyncDriver};
use crate::log::open::Recovery;

mod model;
mod rot;
mod transactions;

const TOPIC_ID: Uuid = Uuid::from_u128(42);

/// A data directory, and a clock that stands still.
struct Rig {
    folder: TempDir,
    clock: Arc<ManualClock>,
    read_mode: ReadMode,
    durability: Durability,
}

impl Rig {
    fn new(read_mode: ReadMode) -> Rig {
        let folder = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::new(1_000_000));
        Rig { folder, clock, read_mode, durability: Durability::Fsync }
    }

    fn open_dir(&self) -> (Arc<LogDir>, bool) {
        let options = LogDirOptions {
            read_mode: self.read_mode,
            durability: self.durability,
            sync_driver: SyncDriver::Caller,
            ..LogDirOptions::default()
        };
        let disk = Arc::new(OsDisk::open(self.folder.path()).unwrap());
        LogDir::open(disk, options, self.clock.clone()).unwrap()
    }

    fn open(&self, config: &LogConfig) -> (Arc<Log>, Recovery) {
        let (dir, _) = self.open_dir();
        Log::open(&dir, "orders", 0, TOPIC_ID, config.clone()).unwrap()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join("orders-0").join(name)
    }
}

fn small_segments() -> LogConfig {
    LogConfig { segment_bytes: 1000, index_interval_bytes: 100, ..LogConfig::default() }
}

/// A batch whose records bear these times.
fn batch_at(times: &[i64]) -> RecordBatch {
    let mut builder = BatchBuilder::new(Compression::None);
    for time in times {
        builder.append(*time, None, Some(&[7; 40]), &[]);
    }
    RecordBatch::parse(builder.finish()).unwrap()
}

fn batch_of(producer_id: i64, epoch: i16, sequence: i32) -> RecordBatch {
    let mut builder = BatchBuilder::new(Compression::None).producer(producer_id, epoch, sequence);
    let time = 1000 + i64::from(sequence);
    builder.append(time, Some(b"key"), Some(&sequence.to_be_bytes()), &[]);
    RecordBatch::parse(builder.finish()).unwrap()
}

fn append(log: &Log, times: &[i64]) -> Appended {
    log.append(&batch_at(times), Origin::Client).unwrap()
}

/// What a reader gets, hot or cold.
fn read(log: &Log, from: i64, bytes_max: usize, first_batch: FirstBatch) -> Bytes {
    match log.read(Offset(from), bytes_max, first_batch).unwrap() {
        ReadSlice::Hot(bytes) => bytes,
        ReadSlice::Cold(cold) => cold.load().unwrap(),
    }
}

/// Base offsets of the batches in some bytes.
fn bases(bytes: Bytes) -> Vec<i64> {
    batches(bytes).map(|batch| batch.unwrap().header().base_offset.0).collect()
}

/// Everything that can be read, as one.
fn read_all(log: &Log) -> Vec<u8> {
    let (mut from, mut all) = (log.ends().log_start, Vec::new());
    while from < log.ends().high_watermark {
        let bytes = read(log, from.0, 300, FirstBatch::Whole);
        from = batches(bytes.clone()).last().unwrap().unwrap().header().last_offset().next();
        all.extend_from_slice(&bytes);
    }
    all
}

fn both_modes(test: impl Fn(Rig)) {
    test(Rig::new(ReadMode::Mmap));
    test(Rig::new(ReadMode::Pread));
}

#[test]
fn readers_see_only_what_is_durable() {
    both_modes(|rig| {
        let (log, _) = rig.open(&LogConfig::default());
        append(&log, &[1, 2]);
        assert_eq!(read(&log, 0, 1000, FirstBatch::Whole), Bytes::new());
        assert_eq!((log.ends().high_watermark, log.ends().log_end), (Offset(0), Offset(2)));
        log.dir().sync_now();
        assert_eq!(bases(read(&log, 0, 1000, FirstBatch::Whole)), [0]);
        assert_eq!(log.ends().high_watermark, Offset(2));
    });
}

#[test]
fn a_reader_whom_retention_overtakes_does_not_get_later_records() {
    both_modes(|rig| {
        let (log, _) = rig.open(&small_segments());
        for _ in 0..12 {
            append(&log, &[1, 2, 3]);
        }
        log.dir().sync_now();
        // Given a reader that has looked at the ends; when its segment is retired.
        let ends = log.ends();
        log.delete_records_before(Offset(20)).unwrap();
        log.apply_retention(None).unwrap();
        let first = log.segments()[0].base_offset();
        assert!(first > Offset(0));
        let asked = |from| Asked { from, bytes_max: 1000, first_batch: FirstBatch::Whole };
        let error = log.read_within(&ends, asked(Offset(0))).unwrap_err();
        assert_eq!(error.error_code(), ResponseError::OffsetOutOfRange);
        assert!(error.to_string().contains("holds 20..36"), "{error}");
        assert!(log.read_within(&ends, asked(first)).is_ok());
    });
}

#[test]
fn with_os_durability_readers_see_what_is_appended() {
    both_modes(|rig| {
        let rig = Rig { durability: Durability::Os, ..rig };
        let (log, _) = rig.open(&LogConfig::default());
        append(&log, &[1, 2]);
        assert_eq!(log.ends().high_watermark, Offset(2));
        assert_eq!(bases(read(&log, 1, 1000, FirstBatch::Whole)), [0]);
    });
}

#[test]
fn an_offset_within_a_batch_gets_the_whole_batch_and_bounds_hold_after_the_first() {
    both_modes(|rig| {
        let (log, _) = rig.open(&small_segments());
        for _ in 0..12 {
            append(&log, &[1, 2, 3]); // 3 records, 217 bytes; 4 batches fit a segment
        }
        log.dir().sync_now();
        assert!(log.segment_count() > 2, "old segments are cold");
        let size = log.segments()[0].contents().size_bytes / 4;
        let size = usize::try_from(size).unwrap();
        for (from, base) in [(0, 0), (2, 0), (3, 3), (13, 12), (35, 33)] {
            assert_eq!(bases(read(&log, from, 1, FirstBatch::Whole)), [base]);
            assert_eq!(bases(read(&log, from, size, FirstBatch::Bounded)), [base]);
            assert_eq!(read(&log, from, size - 1, FirstBatch::Bounded), Bytes::new());
        }
        assert_eq!(bases(read(&log, 4, 2 * size + 1, FirstBatch::Bounded)), [3, 6]);
        assert_eq!(bases(read(&log, 4, 1 << 20, FirstBatch::Whole)), [3, 6, 9]);
        assert_eq!(read(&log, 36, 1 << 20, FirstBatch::Whole), Bytes::new());
        let outside = log.read(Offset(37), 1, FirstBatch::Whole).unwrap_err();
        assert_eq!(outside.error_code(), ResponseError::OffsetOutOfRange);
        assert_eq!(outside.to_string(), "offset 37 is outside the log, which holds 0..36");
    });
}

#[test]
fn a_slice_of_the_log_stays_what_it_was_while_the_log_is_retired_and_deleted() {
    let rig = Rig::new(ReadMode::Mmap);
    let (log, _) = rig.open(&small_segments());
    append(&log, &[1]);
    log.dir().sync_now();
    let slice = read(&log, 0, 1000, FirstBatch::Whole);
    let copy = slice.to_vec();
    for _ in 0..100 {
        append(&log, &[2]);
    }
    log.dir().sync_now();
    log.delete().unwrap();
    drop(log);
    assert_eq!(slice, copy);
}

#[test]
fn segments_roll_by_size_by_event_time_and_when_they_are_quiet() {
    let rig = Rig::new(ReadMode::Mmap);
    let (log, _) = rig.open(&LogConfig {
        segment_ms: 1000,
        segment_bytes: 1000,
        retention_ms: None,
        ..LogConfig::default()
    });
    append(&log, &[5000]);
    append(&log, &[6000]);
    assert_eq!(log.segment_count(), 1);
    append(&log, &[6001]); // spans more than segment.ms
    assert_eq!(log.segment_count(), 2);
    for _ in 0..10 {
        append(&log, &[6001]);
    }
    assert_eq!(log.segment_count(), 3); // is full
    rig.clock.advance(999);
    log.apply_retention(None).unwrap();
    assert_eq!(log.segment_count(), 3);
    rig.clock.advance(1);
    log.apply_retention(None).unwrap();
    assert_eq!(log.segment_count(), 4); // was quiet for segment.ms
    log.apply_retention(None).unwrap();
    assert_eq!(log.segment_count(), 4); // an empty one is not rolled
}

#[test]
fn retention_takes_old_segments_even_the_active_one_but_nothing_that_is_not_folded() {
    both_modes(|rig| {
        let (log, _) = rig.open(&LogConfig { retention_ms: Some(500), ..small_segments() });
        for _ in 0..20 {
            append(&log, &[1_000_000]);
        }
        log.dir().sync_now();
        let second = log.segments()[1].base_offset();
        rig.clock.advance(501);
        assert_eq!(log.apply_retention(Some(second.plus(-1))).unwrap().segments, 0);
        assert_eq!(log.apply_retention(Some(second)).unwrap().segments, 1);
        assert_eq!(log.ends().log_start, second);
        let gone = log.read(second.plus(-1), 1, FirstBatch::Whole).unwrap_err();
        assert_eq!(gone.error_code(), ResponseError::OffsetOutOfRange);
        let retired = log.apply_retention(None).unwrap();
        assert!(retired.segments > 1 && retired.bytes > 1000, "{retired:?}");
        assert_eq!((log.ends().log_start, log.ends().log_end), (Offset(20), Offset(20)));
        assert_eq!((log.segment_count(), log.size_bytes()), (1, 0));
        // Files go after the delay.
        let count = || std::fs::read_dir(rig.path("")).unwrap().count();
        let before = count();
        rig.clock.advance(60_000);
        log.apply_retention(None).unwrap();
        assert!(count() < before);
        // And the start is still there after a restart.
        drop(log);
        let (log, _) = rig.open(&small_segments());
        assert_eq!((log.ends().log_start, log.ends().log_end), (Offset(20), Offset(20)));
        assert_eq!(append(&log, &[1]).base_offset, Offset(20));
    });
}

#[test]
fn deleted_records_stay_deleted_after_a_crash() {
    both_modes(|rig| {
        let (log, _) = rig.open(&small_segments());
        for _ in 0..20 {
            append(&log, &[1, 2]);
        }
        log.dir().sync_now();
        append(&log, &[1]);
        assert_eq!(log.delete_records_before(Offset(31)).unwrap(), Offset(31));
        assert_eq!(log.delete_records_before(Offset(5)).unwrap(), Offset(31));
        let past = log.delete_records_before(Offset(41)).unwrap_err();
        assert_eq!(past.error_code(), ResponseError::OffsetOutOfRange);
        drop(log);
        let (log, _) = rig.open(&small_segments());
        assert_eq!(log.ends().log_start, Offset(31));
        assert_eq!(bases(read(&log, 31, 1, FirstBatch::Whole)), [30]);
        log.apply_retention(None).unwrap();
        assert!(log.segments()[0].base_offset() > Offset(20));
    });
}

#[test]
fn offsets_by_time_are_those_of_records_not_of_batches() {
    both_modes(|rig| {
        let (log, _) = rig.open(&small_segments());
        assert_eq!(log.offset_for_timestamp(0).unwrap(), None);
        assert_eq!(log.max_timestamp().unwrap(), None);
        for number in 0..30 {
            let time = number * 100;
            append(&log, &[time, time + 50, time + 20]);
        }
        let at = |time| log.offset_for_timestamp(time).unwrap();
        assert_eq!(at(0), None, "nothing is durable yet");
        log.dir().sync_now();
        assert_eq!(at(0), Some((Offset(0), 0, 0)));
        assert_eq!(at(1), Some((Offset(1), 50, 0)));
        assert_eq!(at(50), Some((Offset(1), 50, 0)));
        assert_eq!(at(51), Some((Offset(3), 100, 0)));
        assert_eq!(at(2_920), Some((Offset(88), 2_950, 0)));
        assert_eq!(at(2_951), None);
        assert_eq!(log.max_timestamp().unwrap(), Some((Offset(88), 2_950, 0)));
        // What is not durable does not count, what is deleted neither.
        append(&log, &[9_000]);
        assert_eq!((at(2_951), log.max_timestamp().unwrap().unwrap().0), (None, Offset(88)));
        log.delete_records_before(Offset(2)).unwrap();
        assert_eq!(at(0), Some((Offset(2), 20, 0)));
        log.delete_records_before(Offset(89)).unwrap();
        assert_eq!(log.max_timestamp().unwrap(), Some((Offset(89), 2_920, 0)));
    });
}

#[test]
fn the_time_of_the_append_takes_the_place_of_the_producers() {
    let rig = Rig::new(ReadMode::Mmap);
    let config = LogConfig { timestamp_type: TimestampType::LogAppendTime, ..LogConfig::default() };
    let (log, _) = rig.open(&config);
    rig.clock.set(777);
    assert_eq!(append(&log, &[1, 2]).log_append_time_ms, 777);
    log.dir().sync_now();
    let batch = RecordBatch::parse(read(&log, 0, 1000, FirstBatch::Whole)).unwrap();
    batch.check_crc().unwrap();
    assert!(batch.header().has_log_append_time());
    assert!(batch.records(1000).unwrap().all(|record| record.unwrap().timestamp_ms == 777));
    assert_eq!(log.offset_for_timestamp(700).unwrap(), Some((Offset(0), 777, 0)));
}

#[test]
fn a_repeat_gets_the_offsets_of_the_first_time_even_after_a_restart_and_a_retirement() {
    both_modes(|rig| {
        let (log, _) = rig.open(&small_segments());
        append(&log, &[1_000_000; 4]);
        for sequence in 0..7 {
            log.append(&batch_of(9, 0, sequence), Origin::Client).unwrap();
        }
        let check = |log: &Log| {
            for sequence in 2..7 {
                let again = log.append(&batch_of(9, 0, sequence), Origin::Client).unwrap();
                assert!(again.is_duplicate);
                assert_eq!(again.base_offset, Offset(4 + i64::from(sequence)));
            }
            let old = log.append(&batch_of(9, 0, 1), Origin::Client).unwrap_err();
            assert_eq!(old.error_code(), ResponseError::OutOfOrderSequenceNumber);
            let gap = log.append(&batch_of(9, 0, 8), Origin::Client).unwrap_err();
            assert_eq!(gap.error_code(), ResponseError::OutOfOrderSequenceNumber);
            assert_eq!(log.ends().log_end, Offset(11), "a refused batch takes no offset");
        };
        check(&log);
        log.dir().close().unwrap();
        drop(log);
        let (log, recovery) = rig.open(&small_segments());
        assert_eq!(recovery.scanned_bytes, 0, "the stop was an orderly one");
        check(&log);
        // All its batches are retired, and then the broker crashes.
        log.set_config(LogConfig { retention_ms: Some(0), ..small_segments() });
        rig.clock.advance(1);
        log.apply_retention(None).unwrap();
        assert_eq!(log.size_bytes(), 0);
        drop(log);
        let (log, _) = rig.open(&small_segments());
        check(&log);
        assert_eq!(log.producer_count(), 1);
    });
}

#[test]
fn every_start_after_a_crash_begins_a_new_epoch_and_tells_where_the_old_one_ended() {
    let rig = Rig::new(ReadMode::Mmap);
    let (log, _) = rig.open(&small_segments());
    append(&log, &[1, 2]);
    log.dir().close().unwrap();
    drop(log);
    let (log, _) = rig.open(&small_segments());
    assert_eq!(log.leader_epoch(), 0, "the stop was an orderly one");
    append(&log, &[3]);
    drop(log);
    let (log, recovery) = rig.open(&small_segments());
    assert!(recovery.scanned_bytes > 0);
    assert_eq!((log.leader_epoch(), log.epoch_end(0)), (1, (0, Offset(3))));
    append(&log, &[4]);
    assert_eq!(log.epoch_end(1), (1, Offset(4)));
    log.dir().sync_now();
    let last = RecordBatch::parse(read(&log, 3, 1000, FirstBatch::Whole)).unwrap();
    assert_eq!(last.header().leader_epoch, 1);
}

#[test]
fn who_stops_cleanly_takes_nothing_more() {
    let rig = Rig::new(ReadMode::Mmap);
    let (log, _) = rig.open(&small_segments());
    log.dir().close().unwrap();
    let refused = log.append(&batch_at(&[1]), Origin::Client).unwrap_err();
    assert_eq!(refused.error_code(), ResponseError::KafkaStorageError);
    assert!(refused.to_string().contains("stopping"), "{refused}");
}

#[test]
fn a_deleted_log_is_gone_and_its_name_is_free() {
    let rig = Rig::new(ReadMode::Mmap);
    let (log, _) = rig.open(&small_segments());
    append(&log, &[1]);
    log.dir().sync_now();
    log.dir().checkpoint().unwrap();
    let dir = log.dir().clone();
    log.delete().unwrap();
    assert_eq!(dir.partitions().unwrap(), []);
    let refused = log.append(&batch_at(&[1]), Origin::Client).unwrap_err();
    assert_eq!(refused.error_code(), ResponseError::UnknownTopicOrPartition);
    let other = Log::create(&dir, "orders", 0, Uuid::from_u128(43), small_segments()).unwrap();
    assert_eq!(other.ends().log_end, Offset(0));
    drop((log, other, dir));
    let (dir, _) = rig.open_dir();
    let error = Log::open(&dir, "orders", 0, TOPIC_ID, small_segments()).unwrap_err();
    assert!(matches!(error, LogError::ForeignTopic { .. }), "{error}");
}

#[test]
fn the_sync_thread_wakes_who_waits_for_durability_and_who_waits_for_growth() {
    let rig = Rig::new(ReadMode::Mmap);
    let disk = Arc::new(OsDisk::open(rig.folder.path()).unwrap());
    let (dir, _) = LogDir::open(disk, LogDirOptions::default(), rig.clock.clone()).unwrap();
    let (log, _) = Log::open(&dir, "orders", 0, TOPIC_ID, LogConfig::default()).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let watcher = Arc::new(tokio::sync::Notify::new());
        log.point().watch(&watcher);
        for _ in 0..50 {
            let appended = append(&log, &[1, 2, 3]);
            log.wait_durable(appended.last_offset.next()).await.unwrap();
            watcher.notified().await;
            assert!(log.ends().high_watermark > appended.last_offset);
        }
    });
    assert!(dir.counters().syncs.get() >= 50);
    dir.close().unwrap();
}

#[test]
fn the_indexes_on_disk_are_kafkas() {
    let rig = Rig::new(ReadMode::Mmap);
    let (log, _) = rig.open(&small_segments());
    for number in 0..30 {
        append(&log, &[1000 + number, 1001 + number]);
    }
    log.dir().close().unwrap();
    for segment in log.segments().iter() {
        let base = segment.base_offset();
        let log_bytes =
            Bytes::from(std::fs::read(rig.folder.path().join(segment.path("log"))).unwrap());
        let known: Vec<_> = batches(log_bytes).map(|batch| *batch.unwrap().header()).collect();
        let index = std::fs::read(rig.folder.path().join(segment.path("index"))).unwrap();
        let (entries, rest) = index.as_chunks::<8>();
        assert!(!entries.is_empty() && rest.is_empty());
        for entry in entries {
            let relative = u32::from_be_bytes([entry[0], entry[1], entry[2], entry[3]]);
            let position = u32::from_be_bytes([entry[4], entry[5], entry[6], entry[7]]);
            // The batch that begins there ends with that offset.
            let mut at = 0;
            let header = known.iter().find(|header| {
                let found = at == position as usize;
                at += header.size_bytes();
                found
            });
            assert_eq!(header.unwrap().last_offset(), base.plus(i64::from(relative)));
        }
        let times = std::fs::read(rig.folder.path().join(segment.path("timeindex"))).unwrap();
        let last = times.as_chunks::<12>().0.last().unwrap();
        let latest_ms = i64::from_be_bytes(*last.first_chunk().unwrap());
        assert_eq!(latest_ms, known.last().unwrap().max_timestamp_ms);
    }
}
