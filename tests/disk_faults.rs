//! A disk that fails, and a disk that is full.
//!
//! The first failed sync or write is final for the log directory: no later acknowledgement, reads
//! of what is durable go on. A full disk is not final: appends are refused while it lasts.
use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::StdRng;
use weir_broker::catalog::Catalog;
use weir_broker::catalog::error::OpenError;
use weir_broker::clock::ManualClock;
use weir_broker::disk::Disk;
use weir_broker::log::ReadSlice;
use weir_broker::log::config::LogConfig;
use weir_broker::log::dir::LogDir;
use weir_broker::log::dir::options::{LogDirOptions, ReadMode, SyncDriver};
use weir_broker::log::error::AppendError;
use weir_broker::log::meta::decode_id;
use weir_broker::metrics::Metrics;
use weir_broker::partition::Partition;
use weir_broker::producer_ids::ProducerIds;
use weir_protocol::records::Offset;
use weir_protocol::records::batch::RecordBatch;
use weir_protocol::records::builder::BatchBuilder;
use weir_protocol::records::compression::Compression;

use crate::kit::disk::{Faults, SimDisk};

fn open(disk: &SimDisk) -> (Arc<LogDir>, Arc<Partition>) {
    let options = LogDirOptions {
        sync_driver: SyncDriver::Caller,
        read_mode: ReadMode::Mmap,
        ..LogDirOptions::default()
    };
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    let (dir, _) = LogDir::open(disk, options, Arc::new(ManualClock::new(1000))).unwrap();
    let topic_id = decode_id("AAAAAAAAAAAAAAAAAAAABw").unwrap();
    let config = LogConfig { segment_bytes: 4000, file_delete_delay_ms: 0, ..LogConfig::default() };
    let (partition, recovery) = Partition::open(&dir, "orders", 0, topic_id, config).unwrap();
    assert_eq!(recovery.damage, None);
    (dir, partition)
}

fn batch(value: u8) -> RecordBatch {
    let mut builder = BatchBuilder::new(Compression::None);
    builder.append(1000, None, Some(&[value; 200]), &[]);
    RecordBatch::parse(builder.finish()).unwrap()
}

fn values(partition: &Partition) -> Vec<u8> {
    let mut values = Vec::new();
    let (mut from, end) = (partition.ends().log_start, partition.ends().high_watermark);
    while from < end {
        let bytes = match partition.read(from, 1 << 20, true).unwrap() {
            ReadSlice::Hot(bytes) => bytes,
            ReadSlice::Cold(cold) => cold.load().unwrap(),
        };
        for batch in weir_protocol::records::batch::batches(bytes) {
            let batch = batch.unwrap();
            let record = batch.records(1 << 20).unwrap().next().unwrap().unwrap();
            values.push(record.value.unwrap()[0]);
            from = batch.header().last_offset().next();
        }
    }
    values
}

fn assert_refused(partition: &Partition, reason: &str) {
    let error = partition.append(&batch(99)).unwrap_err();
    assert!(matches!(error, AppendError::Storage { .. }), "{error:?}");
    assert!(error.to_string().contains(reason), "{error}");
}

#[test]
fn the_first_failed_sync_is_final_and_reads_go_on() {
    // Given two durable records and one that is not.
    let disk = SimDisk::new();
    let (dir, partition) = open(&disk);
    partition.append(&batch(1)).unwrap();
    partition.append(&batch(2)).unwrap();
    dir.sync_now();
    partition.append(&batch(3)).unwrap();
    // When its sync fails, and the disk is well again after that.
    disk.set_faults(Faults { fails_syncs: true, ..Faults::default() });
    dir.sync_now();
    disk.set_faults(Faults::default());
    dir.sync_now();
    // Then it is never acknowledged, nothing else is taken, and what is durable can be read.
    assert!(dir.failed().unwrap().contains("simulated sync error"));
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    assert!(runtime.block_on(partition.durable(Offset(2))).is_ok());
    let refused = runtime.block_on(partition.durable(Offset(3))).unwrap_err();
    assert!(refused.to_string().contains("simulated sync error"), "{refused}");
    assert_refused(&partition, "offline");
    assert_eq!(values(&partition), [1, 2]);
    assert!(dir.close().is_err());
    // And the next start goes on from there.
    let (_, partition) = open(&disk.image().cut(0));
    assert_eq!(values(&partition), [1, 2]);
}

#[test]
fn what_a_failed_sync_left_in_memory_is_durable_before_the_next_start_shows_it() {
    // Given records that the disk has lost, and the operating system takes for written.
    let disk = SimDisk::new();
    let (dir, partition) = open(&disk);
    for value in 0..30 {
        partition.append(&batch(value)).unwrap();
        dir.sync_now();
    }
    dir.checkpoint().unwrap();
    for value in 30..60 {
        partition.append(&batch(value)).unwrap();
    }
    disk.set_faults(Faults { fails_syncs: true, ..Faults::default() });
    dir.sync_now();
    disk.set_faults(Faults::default());
    drop((dir, partition));
    // When the broker starts again on the same machine, and a consumer sees them.
    let (dir, partition) = open(&disk);
    let seen = values(&partition);
    assert_eq!(seen, (0..60).collect::<Vec<u8>>());
    drop((dir, partition));
    // Then a power cut does not take them back.
    let mut chance = StdRng::seed_from_u64(0);
    let (_, partition) = open(&disk.image().cut_with(0.0, &mut chance));
    assert_eq!(values(&partition), seen);
}

#[test]
fn who_waits_for_a_sync_learns_that_it_failed() {
    let disk = SimDisk::new();
    let (dir, partition) = open(&disk);
    let appended = partition.append(&batch(1)).unwrap();
    disk.set_faults(Faults { fails_syncs: true, ..Faults::default() });
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let answer = runtime.block_on(async {
        let waits = partition.durable(appended.last_offset.next());
        let (answer, _) = tokio::join!(waits, async { dir.sync_now() });
        answer
    });
    assert!(answer.unwrap_err().to_string().contains("offline"));
}

#[test]
fn a_failed_write_is_final_and_leaves_no_trace() {
    let disk = SimDisk::new();
    let (dir, partition) = open(&disk);
    partition.append(&batch(1)).unwrap();
    disk.set_faults(Faults { fails_writes: Some(ErrorKind::Other), ..Faults::default() });
    assert_refused(&partition, "the disk failed");
    disk.set_faults(Faults::default());
    assert_refused(&partition, "offline");
    assert!(dir.failed().is_some());
    // What was appended before is not acknowledged any more, for nothing is synced.
    dir.sync_now();
    assert_eq!(partition.ends().high_watermark, Offset(0));
}

#[test]
fn a_full_disk_refuses_appends_until_there_is_room_again() {
    let disk = SimDisk::new();
    let (dir, partition) = open(&disk);
    for value in 0..10 {
        partition.append(&batch(value)).unwrap();
    }
    dir.sync_now();
    // When nothing more fits but what is reserved, not even a new segment.
    disk.set_faults(Faults { capacity_bytes: Some(0), ..Faults::default() });
    let mut count = 10;
    while partition.append(&batch(count)).is_ok() {
        count += 1;
    }
    for _ in 0..20 {
        assert_refused(&partition, "no storage space");
    }
    dir.sync_now();
    // Then the directory is not given up, and reads go on.
    assert_eq!(dir.failed(), None);
    assert_eq!(values(&partition), (0..count).collect::<Vec<u8>>());
    // And with room it goes on where it was.
    disk.set_faults(Faults::default());
    for value in count..40 {
        assert_eq!(partition.append(&batch(value)).unwrap().base_offset, Offset(value.into()));
    }
    dir.sync_now();
    assert!(partition.segment_count() > 2);
    drop((dir, partition));
    let (_, partition) = open(&disk.image().cut(0));
    assert_eq!(partition.ends().high_watermark, Offset(40));
}

#[test]
fn a_lack_of_open_files_or_memory_passes() {
    // EMFILE, ENFILE, ENOMEM, EAGAIN, EINTR.
    for number in [24, 23, 12, 11, 4] {
        let disk = SimDisk::new();
        let (dir, partition) = open(&disk);
        let mut count = 0;
        let mut fill = |partition: &Partition| {
            while partition.append(&batch(count)).is_ok() {
                count += 1;
                if count.is_multiple_of(40) {
                    break;
                }
            }
            count
        };
        fill(&partition);
        // Given new segments whose names are not yet durable; when nothing can be opened.
        disk.set_faults(Faults { fails_opens: Some(number), ..Faults::default() });
        dir.sync_now();
        fill(&partition);
        let end = partition.ends().log_end;
        assert!(partition.append(&batch(99)).is_err(), "no new segment can be made");
        assert!(dir.checkpoint().is_err());
        // Then nothing is acknowledged, and the directory is not given up.
        assert_eq!((dir.failed(), partition.ends().high_watermark), (None, Offset(0)));
        assert!(dir.sync_now() == 1 && partition.ends().high_watermark == Offset(0));
        // And when it has passed, the round is made good, with nothing lost.
        disk.set_faults(Faults::default());
        assert_eq!(dir.sync_now(), 1);
        assert_eq!(partition.ends().high_watermark, end);
        assert_eq!(partition.append(&batch(200)).unwrap().base_offset, end);
        dir.sync_now();
        let all = values(&partition);
        drop((dir, partition));
        let mut chance = StdRng::seed_from_u64(0);
        let (_, partition) = open(&disk.image().cut_with(0.0, &mut chance));
        assert_eq!(values(&partition), all, "error {number}");
    }
}

#[test]
fn a_stop_whose_last_round_could_not_sync_is_no_orderly_one() {
    let disk = SimDisk::new();
    let (dir, partition) = open(&disk);
    for value in 0..40 {
        partition.append(&batch(value)).unwrap();
    }
    disk.set_faults(Faults { fails_opens: Some(24), ..Faults::default() });
    assert!(dir.close().is_err());
    assert!(disk.read(".kafka_cleanshutdown").is_err());
}

#[test]
fn a_disk_that_fills_in_the_middle_of_a_batch_leaves_no_trace_of_it() {
    let disk = SimDisk::new();
    let (dir, partition) = open(&disk);
    partition.append(&batch(1)).unwrap();
    let full = Some(ErrorKind::StorageFull);
    disk.set_faults(Faults { fails_writes: full, ..Faults::default() });
    assert!(partition.append(&batch(2)).is_err());
    let log = disk.read("orders-0/00000000000000000000.log").unwrap();
    assert_eq!(log.len() as u64, partition.size_bytes());
    disk.set_faults(Faults::default());
    partition.append(&batch(3)).unwrap();
    dir.sync_now();
    assert_eq!(values(&partition), [1, 3]);
}

#[test]
fn a_full_disk_can_be_cleared() {
    // Given a disk whose every byte is taken.
    let disk = SimDisk::new();
    let (dir, partition) = open(&disk);
    for value in 0..100 {
        partition.append(&batch(value)).unwrap();
    }
    dir.sync_now();
    disk.set_faults(Faults { capacity_bytes: Some(disk.used_bytes()), ..Faults::default() });
    while partition.append(&batch(100)).is_ok() {}
    dir.sync_now();
    // When records are deleted: for that, too, something must be written.
    assert_eq!(partition.delete_records_before(Offset(90)).unwrap(), Offset(90));
    assert!(partition.apply_retention(None).unwrap().segments > 3);
    // Then there is room again.
    let appended = partition.append(&batch(101)).unwrap();
    dir.sync_now();
    assert!(partition.ends().high_watermark > appended.base_offset);
    assert_eq!(dir.failed(), None);
}

#[test]
fn appends_do_not_wait_while_retention_syncs() {
    let disk = SimDisk::new();
    let (dir, partition) = open(&disk);
    for value in 0..40 {
        partition.append(&batch(value)).unwrap();
    }
    dir.sync_now();
    let append_meanwhile = |value: u8| {
        let partition = partition.clone();
        disk.during_folder_sync(move || {
            let (sender, receiver) = std::sync::mpsc::channel();
            let append = move || sender.send(partition.append(&batch(value)).is_ok());
            std::thread::spawn(append);
            // Bounded only so that the test fails rather than hangs.
            assert_eq!(receiver.recv_timeout(Duration::from_secs(10)), Ok(true));
        });
    };
    append_meanwhile(40);
    partition.delete_records_before(Offset(30)).unwrap();
    partition.set_config(LogConfig { retention_bytes: Some(0), ..partition.config() });
    append_meanwhile(41);
    assert!(partition.apply_retention(None).unwrap().segments > 0);
    dir.sync_now();
    let all = values(&partition);
    assert!(all.ends_with(&[40, 41]), "{all:?}");
    drop((dir, partition));
    let (_, partition) = open(&disk.image().cut(0));
    assert_eq!(values(&partition), all);
}

fn open_catalog(disk: &SimDisk) -> (Arc<LogDir>, Catalog) {
    try_open_catalog(disk).unwrap()
}

fn try_open_catalog(disk: &SimDisk) -> Result<(Arc<LogDir>, Catalog), OpenError> {
    let options = LogDirOptions { sync_driver: SyncDriver::Caller, ..LogDirOptions::default() };
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    let (dir, _) = LogDir::open(disk, options, Arc::new(ManualClock::new(1000))).unwrap();
    let (config, metrics) = (Arc::default(), Arc::new(Metrics::new().unwrap()));
    let catalog = Catalog::open(dir.clone(), config, metrics)?;
    Ok((dir, catalog))
}

#[test]
fn topics_can_be_changed_and_deleted_on_a_full_disk() {
    let disk = SimDisk::new();
    let (dir, catalog) = open_catalog(&disk);
    for topic in ["a", "b"] {
        catalog.create(topic, 1, BTreeMap::new()).unwrap();
    }
    disk.set_faults(Faults { capacity_bytes: Some(disk.used_bytes()), ..Faults::default() });
    let retention = BTreeMap::from([("retention.ms".to_owned(), "1000".to_owned())]);
    catalog.reconfigure("a", false, |_| Ok(retention.clone())).unwrap();
    catalog.delete("b").unwrap();
    assert_eq!(dir.failed(), None);
    assert_eq!(ProducerIds::open(dir.clone()).unwrap().next().unwrap(), 0);
}

#[test]
fn a_catalog_that_may_differ_from_its_file_takes_the_directory_offline() {
    let disk = SimDisk::new();
    let (dir, catalog) = open_catalog(&disk);
    catalog.create("a", 1, BTreeMap::new()).unwrap();
    // When the file has its new content, and it is not known whether the disk has it.
    disk.set_faults(Faults { fails_folder_syncs: true, ..Faults::default() });
    assert!(catalog.delete("a").is_err());
    disk.set_faults(Faults::default());
    // Then nothing is promised any more: neither the topic that the file names no longer...
    assert!(dir.failed().unwrap().contains("weir-catalog"));
    let topic = catalog.topic("a").unwrap();
    assert!(topic.partitions[0].append(&batch(1)).is_err());
    // ...nor another.
    assert!(catalog.create("b", 1, BTreeMap::new()).is_err());
    drop((dir, catalog, topic));
    let (_, catalog) = open_catalog(&disk);
    assert!(catalog.topic("a").is_none());
}

#[test]
fn a_failed_claim_of_producer_ids_takes_the_directory_offline() {
    let disk = SimDisk::new();
    let (dir, _) = open(&disk);
    let ids = ProducerIds::open(dir.clone()).unwrap();
    disk.set_faults(Faults { fails_syncs: true, ..Faults::default() });
    assert!(ids.next().is_err());
    assert!(dir.failed().unwrap().contains("producer-ids"));
}

#[test]
fn logs_without_a_catalog_are_refused_and_left_as_they_are() {
    let disk = SimDisk::new();
    let (dir, catalog) = open_catalog(&disk);
    // The first catalog is there before the first log.
    assert!(disk.read("weir-catalog").is_ok());
    catalog.create("a", 1, BTreeMap::new()).unwrap();
    drop((dir, catalog));
    disk.unlink("weir-catalog").unwrap();
    let names = disk.list("").unwrap();
    let error = try_open_catalog(&disk).unwrap_err();
    let told = "a-0 holds a log, but there is no weir-catalog; restore it from a copy";
    assert_eq!(error.to_string(), told);
    assert_eq!(disk.list("").unwrap(), names);
}

#[test]
fn a_stray_folder_of_a_long_topic_is_set_aside() {
    let disk = SimDisk::new();
    drop(open_catalog(&disk));
    let stray = format!("{}-0", "t".repeat(249));
    disk.create_dir(&stray).unwrap();
    drop(open_catalog(&disk));
    let names = disk.list("").unwrap();
    assert!(!names.contains(&stray));
    assert!(names.iter().all(|name| name.len() <= 255));
}
