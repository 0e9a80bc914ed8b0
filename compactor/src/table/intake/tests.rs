//! What becomes of each record of a batch, good or bad, and where taking in pauses.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use uuid::Uuid;
use weir_protocol::records::builder::BatchBuilder;
use weir_protocol::records::compression::Compression;
use weir_protocol::table::settings::TableSettings;

use super::*;
use crate::clock::ManualClock;
use crate::fold::{FoldLimits, FoldStart};
use crate::schema::TableSchema;
use crate::schema::evolution::evolve;

const MEMORY_BYTES: usize = 1 << 20;

struct World {
    intake: Intake,
    clock: ManualClock,
    declared: Declared,
    schema: TableSchema,
}

fn fold(schema: &TableSchema, next: i64) -> Fold {
    let next = BTreeMap::from([(0, Offset(next))]);
    let start = FoldStart { next, ..FoldStart::default() };
    let limits = FoldLimits { memory_bytes_max: usize::MAX, age_ms_max: 1_000 };
    Fold::new(Arc::new(schema.clone()), start, limits).unwrap()
}

/// A table `id BIGINT, name STRING` keyed by `id` that stands at offset 10 of partition 0.
fn world(settings: &[(&str, &str)], has_holes: bool) -> World {
    let mut configs = BTreeMap::from([
        ("table.enabled".to_owned(), "true".to_owned()),
        ("table.primary.key".to_owned(), "id".to_owned()),
        ("table.schema".to_owned(), "id BIGINT NOT NULL, name STRING".to_owned()),
    ]);
    configs.extend(settings.iter().map(|(key, value)| ((*key).into(), (*value).into())));
    let settings = TableSettings::parse("t", &configs).unwrap();
    let columns = settings.columns.clone().unwrap();
    let schema = TableSchema::from_settings(&settings, &columns, 1, 0).unwrap();
    let decoder = Decoder::new(&settings, &schema);
    let declared = Declared {
        topic: "t".into(),
        topic_id: Uuid::nil(),
        partitions: vec![0],
        has_holes,
        settings,
    };
    let intake = Intake::new(&declared, MEMORY_BYTES, decoder, fold(&schema, 10));
    World { intake, clock: ManualClock::at(5_000), declared, schema }
}

/// A batch as the log has it: these values from an offset on.
fn batch(base_offset: i64, values: &[&str]) -> RecordBatch {
    let mut builder = BatchBuilder::new(Compression::None);
    for value in values {
        builder.append(7, None, Some(value.as_bytes()), &[]);
    }
    at(base_offset, &builder.finish())
}

fn at(base_offset: i64, batch: &[u8]) -> RecordBatch {
    let mut bytes = BytesMut::from(batch);
    bytes[..8].copy_from_slice(&base_offset.to_be_bytes());
    RecordBatch::parse(bytes.freeze()).unwrap()
}

/// The batch with a byte of its records changed, and, if it is to pass, its checksum made true.
fn with_garbage(batch: &RecordBatch, is_checksum_true: bool) -> RecordBatch {
    let mut bytes = BytesMut::from(&batch.bytes()[..]);
    bytes[61] = 0x7f; // the first record's length
    if is_checksum_true {
        let crc = crc_of(&bytes[21..]);
        bytes[17..21].copy_from_slice(&crc.to_be_bytes());
    }
    RecordBatch::parse(bytes.freeze()).unwrap()
}

/// CRC-32C, bit by bit.
fn crc_of(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0_u32, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0x82f6_3b78 * (crc & 1)))
    })
}

impl World {
    fn push(&mut self, batch: RecordBatch, kind: BatchKind) {
        self.intake.push(vec![Fetched { partition: 0, batch, kind }]);
    }

    fn run(&mut self) -> Pause {
        self.intake.run(&self.clock).unwrap()
    }

    /// Folded, quarantined, skipped, and the place after them.
    fn counts(&mut self) -> (u64, u64, u64, i64) {
        let fold = self.intake.fold();
        let counts = fold.counts();
        let next = fold.next_of(0).unwrap().0;
        (counts.folded, counts.quarantined, counts.skipped, next)
    }
}

#[test]
fn a_record_that_cannot_be_a_row_is_kept_with_its_place_and_the_others_are_folded() {
    let mut world = world(&[], false);
    let values = [r#"{"id":1}"#, "{broken", r#"{"name":"no key"}"#, r#"{"id":2}"#];
    world.push(batch(10, &values), BatchKind::Records);
    assert!(matches!(world.run(), Pause::Empty));
    assert_eq!(world.counts(), (2, 2, 0, 14));
    let flush = world.intake.fold().flush().unwrap();
    let kept: Vec<(i64, &[u8])> =
        flush.quarantine.iter().map(|it| (it.offset.0, it.value.as_deref().unwrap())).collect();
    assert_eq!(kept, [(11, values[1].as_bytes()), (12, values[2].as_bytes())]);
    assert!(flush.quarantine[1].reason.contains("id"), "{}", flush.quarantine[1].reason);
}

#[test]
fn a_table_that_halts_stops_before_the_bad_record_and_says_where() {
    let mut world = world(&[("table.on.bad.record", "halt")], false);
    world.push(batch(10, &[r#"{"id":1}"#, "{broken", r#"{"id":2}"#]), BatchKind::Records);
    let Pause::Halted { partition: 0, offset: Offset(11), .. } = world.run() else {
        panic!("it should halt at offset 11");
    };
    assert_eq!(world.counts(), (1, 0, 0, 11));
    assert!(matches!(world.run(), Pause::Halted { offset: Offset(11), .. }), "and stays there");
}

#[test]
fn of_an_unreadable_batch_each_offset_is_set_aside_and_the_first_keeps_the_bytes() {
    let mut world = world(&[], false);
    let unreadable = with_garbage(&batch(10, &[r#"{"id":1}"#, r#"{"id":2}"#]), true);
    world.push(unreadable.clone(), BatchKind::Records);
    world.push(batch(12, &[r#"{"id":3}"#]), BatchKind::Records);
    assert!(matches!(world.run(), Pause::Empty));
    assert_eq!(world.counts(), (1, 2, 0, 13));
    let flush = world.intake.fold().flush().unwrap();
    assert_eq!(flush.quarantine[0].value.as_ref(), Some(unreadable.bytes()));
    assert_eq!(flush.quarantine[1].value, None);
    assert!(flush.quarantine[1].reason.contains("offset 10"), "{}", flush.quarantine[1].reason);
}

#[test]
fn a_halting_table_stops_before_an_unreadable_batch() {
    let mut world = world(&[("table.on.bad.record", "halt")], false);
    world.push(with_garbage(&batch(10, &[r#"{"id":1}"#]), true), BatchKind::Records);
    assert!(matches!(world.run(), Pause::Halted { offset: Offset(10), .. }));
    assert!(matches!(world.run(), Pause::Halted { offset: Offset(10), .. }), "and stays there");
    assert_eq!(world.counts(), (0, 0, 0, 10));
}

#[test]
fn a_batch_that_fails_its_checksum_is_read_again_before_it_is_given_up() {
    let damaged = with_garbage(&batch(10, &[r#"{"id":1}"#]), false);
    let mut world = world(&[], false);
    world.push(damaged.clone(), BatchKind::Records);
    let Pause::Damaged(place) = world.run() else { panic!("it should be read again") };
    assert_eq!(world.counts(), (0, 0, 0, 10));
    world.intake.give_up(Some(place));
    world.push(damaged, BatchKind::Records);
    assert!(matches!(world.run(), Pause::Empty));
    assert_eq!(world.counts(), (0, 1, 0, 11));
}

#[test]
fn aborted_and_control_batches_are_no_rows_but_their_offsets_count() {
    let mut world = world(&[], false);
    world.push(batch(10, &[r#"{"id":1}"#, r#"{"id":2}"#]), BatchKind::Aborted);
    world.push(batch(12, &["marker"]), BatchKind::Control);
    world.push(batch(13, &[r#"{"id":3}"#]), BatchKind::Records);
    assert!(matches!(world.run(), Pause::Empty));
    assert_eq!(world.counts(), (1, 0, 3, 14));
}

#[test]
fn a_batch_that_lies_half_before_the_place_is_folded_from_the_place_on() {
    let mut world = world(&[], false);
    world.push(batch(8, &[r#"{"id":1}"#; 4]), BatchKind::Records);
    assert!(matches!(world.run(), Pause::Empty));
    assert_eq!(world.counts(), (2, 0, 0, 12));
}

#[test]
fn a_new_column_pauses_inside_the_batch_and_the_record_is_folded_once() {
    let mut world = world(&[], false);
    let values = [r#"{"id":1}"#, r#"{"id":2,"age":3}"#, r#"{"id":3}"#];
    world.push(batch(10, &values), BatchKind::Records);
    let Pause::NeedsSchema(columns) = world.run() else { panic!("there is a new column") };
    assert_eq!(world.counts(), (1, 0, 0, 11));
    world.intake.fold().flush().unwrap();
    let schema = evolve(&world.schema, &columns).unwrap().unwrap();
    let decoder = Decoder::new(&world.declared.settings, &schema);
    world.intake.go_on_with(decoder, fold(&schema, 11)).unwrap();
    assert!(matches!(world.run(), Pause::Empty));
    assert_eq!(world.counts(), (2, 0, 0, 13));
}

#[test]
fn memory_that_is_full_pauses_even_inside_a_batch() {
    let mut world = world(&[], false);
    let long = "x".repeat(1_000);
    let values: Vec<String> =
        (0..5_000).map(|id| format!(r#"{{"id":{id},"name":"{long}"}}"#)).collect();
    let values: Vec<&str> = values.iter().map(String::as_str).collect();
    world.push(batch(10, &values), BatchKind::Records);
    let mut flushes = 0;
    let mut rows = 0;
    while matches!(world.run(), Pause::Ripe) {
        assert!(world.intake.fold().memory_bytes() < 4 * MEMORY_BYTES);
        let flush = world.intake.fold().flush().unwrap();
        rows += flush.counts.folded;
        flushes += 1;
    }
    rows += world.intake.fold().flush().unwrap().counts.folded;
    assert!(flushes >= 3, "{flushes}");
    assert_eq!((rows, world.counts().3), (5_000, 5_010));
}

#[test]
fn large_records_pass_the_memory_by_little() {
    let mut world = world(&[], false);
    let large = "x".repeat(300 << 10);
    let values: Vec<String> =
        (0..100).map(|id| format!(r#"{{"id":{id},"name":"{large}"}}"#)).collect();
    let values: Vec<&str> = values.iter().map(String::as_str).collect();
    world.push(batch(10, &values), BatchKind::Records);
    assert!(matches!(world.run(), Pause::Ripe));
    let taken = world.intake.fold().memory_bytes();
    assert!((MEMORY_BYTES..4 * MEMORY_BYTES).contains(&taken), "{taken} bytes wait");
}

#[test]
fn what_is_old_is_flushed_before_the_next_batch() {
    let mut world = world(&[], false);
    world.push(batch(10, &[r#"{"id":1}"#]), BatchKind::Records);
    assert!(matches!(world.run(), Pause::Empty));
    world.clock.advance(1_000);
    world.push(batch(11, &[r#"{"id":2}"#]), BatchKind::Records);
    assert!(matches!(world.run(), Pause::Ripe));
    assert_eq!(world.counts(), (1, 0, 0, 11));
}

#[test]
fn a_hole_is_the_cleaners_work_or_a_gap() {
    let after_the_hole = batch(20, &[r#"{"id":1}"#]);
    let mut compacted = world(&[], true);
    compacted.push(after_the_hole.clone(), BatchKind::Records);
    assert!(matches!(compacted.run(), Pause::Empty));
    assert_eq!(compacted.counts(), (1, 0, 10, 21));
    let mut other = world(&[], false);
    other.push(after_the_hole, BatchKind::Records);
    let outcome = other.intake.run(&other.clock);
    assert!(matches!(outcome, Err(FoldError::Gap { found: Offset(20), .. })), "{outcome:?}");
}

#[test]
fn offsets_that_do_not_ascend_make_the_rest_of_the_batch_unreadable() {
    let mut world = world(&[], false);
    let sound = batch(10, &[r#"{"id":1}"#, r#"{"id":2}"#]);
    let mut bytes = BytesMut::from(&sound.bytes()[..]);
    // Offset delta of the second record: after its length, attributes and timestamp delta.
    let second = 61 + 1 + usize::from(bytes[61]) / 2;
    assert_eq!(bytes[second + 3], 2, "delta 1, zig-zag");
    bytes[second + 3] = 0;
    let crc = crc_of(&bytes[21..]);
    bytes[17..21].copy_from_slice(&crc.to_be_bytes());
    let sound: Bytes = bytes.freeze();
    world.push(RecordBatch::parse(sound).unwrap(), BatchKind::Records);
    assert!(matches!(world.run(), Pause::Empty));
    assert_eq!(world.counts(), (1, 1, 0, 12));
}

#[test]
fn what_the_cleaner_took_out_of_a_batch_or_left_empty_is_skipped() {
    use weir_protocol::records::thinning::{Thinning, emptied};
    let full = batch(12, &[r#"{"id":1}"#, r#"{"id":2}"#, r#"{"id":3}"#]);
    let mut thinning = Thinning::of(&full, DECOMPRESSED_BYTES_MAX).unwrap();
    thinning.retain(|record| record.offset == Offset(13));
    let thinned = thinning.finish(Some(9_000)).unwrap();
    let mut world = world(&[], true);
    world.push(thinned, BatchKind::Records);
    world.push(emptied(&batch(17, &["gone", "gone"])), BatchKind::Records);
    world.push(batch(19, &[r#"{"id":4}"#]), BatchKind::Records);
    assert!(matches!(world.run(), Pause::Empty));
    assert_eq!(world.counts(), (2, 0, 8, 20));
}
