//! Bits that flip on the disk: what can be made anew is, what cannot is told apart from a torn
//! tail and never cut.
use std::fs;
use std::path::Path;

use super::*;

/// Seven segments, all durable; the recovery point is the log's end when the stop is orderly.
fn filled(rig: &Rig) -> Arc<Log> {
    let (log, _) = rig.open(&small_segments());
    for number in 0..25 {
        append(&log, &[1000 + number, 1002 + number]);
        log.append(&batch_of(9, 0, i32::try_from(number).unwrap()), Origin::Client).unwrap();
    }
    log.dir().sync_now();
    log
}

fn flip(path: &Path, bit: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[bit / 8] ^= 1 << (bit % 8);
    fs::write(path, bytes).unwrap();
}

fn copy(source: &Path, target: &Path) {
    fs::create_dir_all(target).unwrap();
    for entry in fs::read_dir(source).unwrap() {
        let entry = entry.unwrap();
        let to = target.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}

#[test]
fn damage_below_the_recovery_point_takes_writes_offline_and_cuts_nothing() {
    both_modes(|rig| {
        let log = filled(&rig);
        let all = read_all(&log);
        log.dir().checkpoint().unwrap();
        let active = log.active();
        let (base, path) = (active.base_offset(), rig.folder.path().join(active.path(names::LOG)));
        drop((active, log));
        // When the active segment, durable as it was, has a flipped bit, and the broker crashes.
        flip(&path, 100 * 8);
        let size = fs::metadata(&path).unwrap().len();
        let (log, recovery) = rig.open(&small_segments());
        let damage = recovery.damage.unwrap();
        assert_eq!((damage.from, damage.to), (base, Offset(75)));
        // Then nothing is cut, reads go on up to there and no further, and appends are refused.
        assert_eq!(fs::metadata(&path).unwrap().len(), size);
        assert!(all.starts_with(&read_all(&log)) && log.ends().log_end == base);
        // A consumer that was ahead of the recovery point is not told to begin elsewhere.
        for from in [base, Offset(74), Offset(75), Offset(90)] {
            let error = log.read(from, 100, FirstBatch::Whole).unwrap_err();
            assert_eq!(error.error_code(), ResponseError::KafkaStorageError, "{from}");
        }
        let refused = log.append(&batch_at(&[1]), Origin::Client).unwrap_err();
        assert_eq!(refused.error_code(), ResponseError::KafkaStorageError);
        assert!(refused.to_string().contains(&format!("{base}..75")), "{refused}");
        // An orderly stop does not make it forget.
        log.dir().close().unwrap();
        drop(log);
        let (log, recovery) = rig.open(&small_segments());
        assert!(recovery.damage.is_some());
        // And once the bit is back, all is well.
        drop(log);
        flip(&path, 100 * 8);
        let (log, recovery) = rig.open(&small_segments());
        assert_eq!(recovery.damage, None);
        assert_eq!(read_all(&log), all);
    });
}

#[test]
fn a_torn_tail_above_the_recovery_point_is_cut_for_good() {
    both_modes(|rig| {
        let log = filled(&rig);
        let all = read_all(&log);
        let active = log.active();
        let path = rig.folder.path().join(active.path(names::LOG));
        drop((active, log));
        let bytes = fs::read(&path).unwrap();
        let first = batches(Bytes::from(bytes.clone())).next().unwrap().unwrap();
        let mut torn = bytes.clone();
        torn[first.bytes().len() + 40] ^= 1;
        fs::write(&path, torn).unwrap();
        let (log, recovery) = rig.open(&small_segments());
        let cut = bytes.len() - first.bytes().len();
        assert_eq!((recovery.truncated_bytes, recovery.damage), (cut as u64, None));
        assert_eq!(fs::metadata(&path).unwrap().len(), first.bytes().len() as u64);
        assert_eq!(read_all(&log), all[..all.len() - cut]);
        assert_eq!(log.leader_epoch(), 1);
        // Producers are those of the log that is left.
        let end = log.ends().log_end;
        assert_eq!(append(&log, &[1]).base_offset, end);
    });
}

#[test]
fn a_log_whose_folder_is_lost_is_not_taken_for_a_new_one() {
    let rig = Rig::new(ReadMode::Mmap);
    let log = filled(&rig);
    log.dir().close().unwrap();
    drop(log);
    fs::remove_dir_all(rig.path("")).unwrap();
    let (dir, _) = rig.open_dir();
    let error = Log::open(&dir, "orders", 0, TOPIC_ID, small_segments()).unwrap_err();
    assert_eq!(error.to_string(), "orders-0 is lost: it held durable records up to offset 75");
}

#[test]
fn a_flipped_bit_in_any_other_file_changes_nothing_that_is_read() {
    let rig = Rig::new(ReadMode::Mmap);
    let log = filled(&rig);
    let all = read_all(&log);
    log.dir().close().unwrap();
    drop(log);
    let names = fs::read_dir(rig.path("")).unwrap();
    let mut files: Vec<PathBuf> = names
        .map(|entry| PathBuf::from("orders-0").join(entry.unwrap().file_name()))
        .filter(|path| path.extension().is_none_or(|kind| kind != "log"))
        .collect();
    files.push("recovery-point-offset-checkpoint".into());
    let mut count = 0;
    for file in files {
        let size = fs::metadata(rig.folder.path().join(&file)).unwrap().len();
        for bit in (0..usize::try_from(size).unwrap() * 8).step_by(37) {
            let other = Rig::new(ReadMode::Mmap);
            copy(rig.folder.path(), other.folder.path());
            flip(&other.folder.path().join(&file), bit);
            let (dir, _) = other.open_dir();
            match Log::open(&dir, "orders", 0, TOPIC_ID, small_segments()) {
                // Rebuilt: every record is there, and by every way.
                Ok((log, recovery)) => {
                    assert_eq!(recovery.damage, None, "{} bit {bit}", file.display());
                    assert!(read_all(&log) == all, "{} bit {bit}", file.display());
                    let at = log.offset_for_timestamp(1010).unwrap().unwrap();
                    assert_eq!((at.0, at.1), (Offset(25), 1010), "{} bit {bit}", file.display());
                    let again = log.append(&batch_of(9, 0, 24), Origin::Client).unwrap();
                    assert!(again.is_duplicate, "{} bit {bit}", file.display());
                }
                // Or refused with a message: another topic's id.
                Err(error) => assert!(matches!(error, LogError::ForeignTopic { .. }), "{error}"),
            }
            count += 1;
        }
    }
    assert!(count > 100, "{count} flips");
}

#[test]
fn a_damaged_log_start_checkpoint_is_refused() {
    let rig = Rig::new(ReadMode::Mmap);
    let log = filled(&rig);
    log.delete_records_before(Offset(10)).unwrap();
    drop(log);
    flip(&rig.folder.path().join("log-start-offset-checkpoint"), 8 * 13);
    let disk = Arc::new(OsDisk::open(rig.folder.path()).unwrap());
    let error = LogDir::open(disk, LogDirOptions::default(), rig.clock.clone()).unwrap_err();
    assert!(error.to_string().contains("deleted records would come back"), "{error}");
}
