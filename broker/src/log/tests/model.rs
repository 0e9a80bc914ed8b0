//! Whatever is done to a log, it is the list of batches that the model says.
use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Step {
    Append {
        count: usize,
        value_bytes: usize,
        time: i64,
    },
    Sync,
    Stop,
    /// The process is gone; what it wrote is with the operating system.
    Kill,
    Retain {
        advance_ms: i64,
        folded: Option<u8>,
    },
    DeleteBefore(u8),
    Read {
        from: u8,
        bytes_max: usize,
    },
    FindTime(i64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (1..5_usize, 0..200_usize, 0..2000_i64)
            .prop_map(|(count, value_bytes, time)| Step::Append { count, value_bytes, time }),
        4 => Just(Step::Sync),
        1 => Just(Step::Stop),
        1 => Just(Step::Kill),
        1 => (0..3000_i64, proptest::option::of(any::<u8>()))
            .prop_map(|(advance_ms, folded)| Step::Retain { advance_ms, folded }),
        1 => any::<u8>().prop_map(Step::DeleteBefore),
        5 => (any::<u8>(), 0..1500_usize)
            .prop_map(|(from, bytes_max)| Step::Read { from, bytes_max }),
        2 => (0..2200_i64).prop_map(Step::FindTime),
    ]
}

/// A batch as the log must hold it.
struct Held {
    bytes: Bytes,
    base: i64,
    times: Vec<i64>,
    epoch: i32,
}

struct Model {
    batches: Vec<Held>,
    start: i64,
    durable: i64,
    end: i64,
}

/// A place between two offsets, chosen by a byte.
fn pick(from: i64, to: i64, choice: u8) -> i64 {
    from + (to - from) * i64::from(choice) / 255
}

fn config() -> LogConfig {
    LogConfig {
        segment_bytes: 1200,
        segment_ms: 1500,
        index_interval_bytes: 150,
        retention_ms: Some(4000),
        retention_bytes: Some(6000),
        file_delete_delay_ms: 500,
        ..LogConfig::default()
    }
}

fn apply(rig: &Rig, log: &mut Option<Arc<Log>>, model: &mut Model, step: Step) {
    let held = log.take().unwrap();
    match step {
        Step::Append { count, value_bytes, time } => {
            let times: Vec<i64> = (0..count).map(|n| time + (n as i64 * 37) % 11).collect();
            let mut builder = BatchBuilder::new(Compression::None);
            for time in &times {
                builder.append(*time, None, Some(&vec![3; value_bytes]), &[]);
            }
            let batch = RecordBatch::parse(builder.finish()).unwrap();
            let appended = held.append(&batch, Origin::Client).unwrap();
            assert_eq!(appended.base_offset, Offset(model.end));
            let epoch = held.leader_epoch();
            let header = batch.assigned_header(appended.base_offset, epoch);
            let bytes = Bytes::from([&header[..], &batch.bytes()[HEADER_BYTES..]].concat());
            model.batches.push(Held { bytes, base: model.end, times, epoch });
            model.end = appended.last_offset.next().0;
        }
        Step::Sync => {
            held.dir().sync_now();
            model.durable = model.end;
        }
        Step::Stop | Step::Kill => {
            if matches!(step, Step::Stop) {
                held.dir().close().unwrap();
            }
            drop(held);
            let (opened, recovery) = rig.open(&config());
            assert_eq!((&recovery.damage, recovery.truncated_bytes), (&None, 0));
            model.durable = model.end;
            *log = Some(opened);
            return;
        }
        Step::Retain { advance_ms, folded } => {
            rig.clock.advance(advance_ms);
            let keep_from = folded.map(|choice| pick(model.start, model.end, choice));
            held.apply_retention(keep_from.map(Offset)).unwrap();
            let start = held.ends().log_start.0;
            let limit = keep_from.unwrap_or(model.durable).min(model.durable);
            assert!(start == model.start || model.start < start && start <= limit);
            model.start = start;
        }
        Step::DeleteBefore(choice) => {
            model.start = pick(model.start, model.durable, choice);
            held.delete_records_before(Offset(model.start)).unwrap();
        }
        Step::Read { from, bytes_max } => {
            let from = pick(model.start, model.durable, from);
            let found = read(&held, from, bytes_max, FirstBatch::Whole);
            let wanted: Vec<&Held> = model
                .batches
                .iter()
                .filter(|held| {
                    held.base + (held.times.len() as i64) > from && held.base < model.durable
                })
                .collect();
            let all: Vec<u8> = wanted.iter().flat_map(|held| held.bytes.to_vec()).collect();
            assert!(all.starts_with(&found), "from {from}: other bytes");
            assert_eq!(found.is_empty(), wanted.is_empty(), "from {from}");
            if let Some(first) = wanted.first() {
                assert!(found.len() <= bytes_max || found.len() == first.bytes.len());
            }
        }
        Step::FindTime(target) => {
            let records = model.batches.iter().flat_map(|held| {
                let offsets = held.base..;
                offsets.zip(&held.times).map(|(offset, time)| (offset, *time, held.epoch))
            });
            let readable: Vec<_> = records
                .filter(|(offset, ..)| (model.start..model.durable).contains(offset))
                .collect();
            let wrap = |(offset, time, epoch)| (Offset(offset), time, epoch);
            let first = readable.iter().find(|(_, time, _)| *time >= target).copied();
            assert_eq!(held.offset_for_timestamp(target).unwrap(), first.map(wrap));
            let latest = held.max_timestamp().unwrap().map(|(_, time, _)| time);
            assert_eq!(latest, readable.iter().map(|(_, time, _)| *time).max());
        }
    }
    *log = Some(held);
}

fn run(read_mode: ReadMode, steps: Vec<Step>) {
    let rig = Rig::new(read_mode);
    let mut log = Some(rig.open(&config()).0);
    let mut model = Model { batches: Vec::new(), start: 0, durable: 0, end: 0 };
    for step in steps {
        apply(&rig, &mut log, &mut model, step);
        let log = log.as_ref().unwrap();
        let ends = log.ends();
        let found = [ends.log_start.0, ends.last_stable.0, ends.high_watermark.0, ends.log_end.0];
        assert_eq!(found, [model.start, model.durable, model.durable, model.end]);
    }
    let log = log.unwrap();
    let readable = model.batches.iter().filter(|held| {
        held.base + held.times.len() as i64 > model.start && held.base < model.durable
    });
    let all: Vec<u8> = readable.flat_map(|held| held.bytes.to_vec()).collect();
    assert!(read_all(&log) == all, "other bytes in {:?}", log.ends());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_log_read_through_maps_is_what_the_model_says(
        steps in proptest::collection::vec(step(), 1..60)
    ) {
        run(ReadMode::Mmap, steps);
    }

    #[test]
    fn a_log_read_by_system_calls_is_what_the_model_says(
        steps in proptest::collection::vec(step(), 1..60)
    ) {
        run(ReadMode::Pread, steps);
    }
}
