//! Batches made and read back, by the crate and by us; and whatever else arrives.
use kafka_protocol::records::{
    Compression as TheirCompression, Record as TheirRecord, RecordBatchDecoder, RecordBatchEncoder,
    RecordEncodeOptions, TimestampType,
};
use proptest::prelude::*;

use super::*;
use crate::records::builder::BatchBuilder;
use crate::records::record::Record;

const BYTES_MAX: usize = 1 << 20;

type Header = (String, Option<Vec<u8>>);

#[derive(Clone, Debug)]
struct Made {
    timestamp_ms: i64,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    headers: Vec<Header>,
}

fn build(compression: Compression, records: &[Made]) -> RecordBatch {
    let mut builder = BatchBuilder::new(compression).producer(7, 3, 40);
    for record in records {
        let headers: Vec<_> =
            record.headers.iter().map(|(key, value)| (key.as_str(), value.as_deref())).collect();
        let (key, value) = (record.key.as_deref(), record.value.as_deref());
        builder.append(record.timestamp_ms, key, value, &headers);
    }
    assert_eq!(builder.record_count(), records.len());
    RecordBatch::parse(builder.finish()).unwrap()
}

/// Three records: one with all, one without key, a tombstone.
fn small(compression: Compression) -> RecordBatch {
    let header = |key: &str, value: Option<&[u8]>| (key.to_owned(), value.map(<[u8]>::to_vec));
    build(
        compression,
        &[
            Made {
                timestamp_ms: 1000,
                key: Some(b"a".to_vec()),
                value: Some(b"one".to_vec()),
                headers: vec![header("h", Some(b"1")), header("h", None), header("h", Some(b"2"))],
            },
            Made { timestamp_ms: 900, key: None, value: Some(b"two".to_vec()), headers: vec![] },
            Made { timestamp_ms: 1100, key: Some(vec![]), value: None, headers: vec![] },
        ],
    )
}

fn all(batch: &RecordBatch) -> Vec<Record> {
    batch.records(BYTES_MAX).unwrap().map(Result::unwrap).collect()
}

/// The same batch with other header bytes, and a checksum that is true again.
fn patched(batch: &RecordBatch, position: usize, bytes: &[u8]) -> RecordBatch {
    let mut patched = batch.bytes().to_vec();
    patched[position..position + bytes.len()].copy_from_slice(bytes);
    let crc = crc32c::crc32c(&patched[21..]);
    patched[17..21].copy_from_slice(&crc.to_be_bytes());
    RecordBatch::parse(patched.into()).unwrap()
}

fn made() -> impl Strategy<Value = Made> {
    let bytes = || proptest::option::of(proptest::collection::vec(any::<u8>(), 0..40));
    let header = ("[a-z]{0,4}", bytes());
    // The span is what fits a varlong's delta in every order.
    (-1_000_000_000_000i64..4_000_000_000_000, bytes(), bytes()).prop_flat_map(
        move |(timestamp_ms, key, value)| {
            proptest::collection::vec(header.clone(), 0..4).prop_map(move |headers| Made {
                timestamp_ms,
                key: key.clone(),
                value: value.clone(),
                headers,
            })
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(200) })]

    #[test]
    fn what_was_built_is_read_by_us_and_by_the_crate(
        records in proptest::collection::vec(made(), 1..20),
        code in 0u8..5,
    ) {
        let compression = Compression::from_code(code).unwrap();
        let batch = build(compression, &records);
        batch.check_crc().unwrap();
        let summary = batch.check_records(BYTES_MAX).unwrap();
        let keyless = records.iter().position(|record| record.key.is_none());
        prop_assert_eq!(summary.first_keyless, keyless.map(|index| i32::try_from(index).unwrap()));
        let latest = records.iter().map(|record| record.timestamp_ms).max().unwrap().max(-1);
        prop_assert_eq!(summary.max_timestamp_ms, latest);
        prop_assert_eq!(batch.header().max_timestamp_ms, latest);

        let ours = all(&batch);
        let decompress = |bytes: &mut Bytes, _: TheirCompression| {
            Ok(compression.decompress(bytes, BYTES_MAX)?)
        };
        let mut bytes = batch.bytes().clone();
        let theirs = RecordBatchDecoder::decode_with_custom_compression(
            &mut bytes,
            Some(decompress),
        ).unwrap().records;
        prop_assert_eq!(ours.len(), records.len());
        prop_assert_eq!(theirs.len(), records.len());
        for (index, ((made, ours), theirs)) in records.iter().zip(&ours).zip(&theirs).enumerate() {
            prop_assert_eq!(ours.offset.0, index as i64);
            prop_assert_eq!(ours.offset.0, theirs.offset);
            prop_assert_eq!(ours.timestamp_ms, made.timestamp_ms);
            prop_assert_eq!(ours.timestamp_ms, theirs.timestamp);
            prop_assert_eq!(ours.key.as_deref(), made.key.as_deref());
            prop_assert_eq!(&ours.key, &theirs.key);
            prop_assert_eq!(ours.value.as_deref(), made.value.as_deref());
            prop_assert_eq!(&ours.value, &theirs.value);
            let headers: Vec<Header> = ours.headers.iter().map(|header| {
                let (key, value) = header.unwrap();
                (String::from_utf8(key.to_vec()).unwrap(), value.map(|value| value.to_vec()))
            }).collect();
            prop_assert_eq!(&headers, &made.headers);
            prop_assert_eq!(theirs.producer_id, 7);
            prop_assert_eq!(theirs.sequence, 40 + index as i32);
        }
    }

    #[test]
    fn what_the_crate_encodes_is_read_by_us(
        records in proptest::collection::vec(made(), 1..20),
        code in 0u8..5,
    ) {
        let compression = Compression::from_code(code).unwrap();
        let theirs: Vec<TheirRecord> = (0..).zip(&records).map(|(index, record)| TheirRecord {
            transactional: false,
            control: false,
            delete_horizon: false,
            partition_leader_epoch: 5,
            producer_id: 9,
            producer_epoch: 1,
            timestamp_type: TimestampType::Creation,
            offset: index,
            sequence: index as i32,
            timestamp: record.timestamp_ms,
            key: record.key.clone().map(Bytes::from),
            value: record.value.clone().map(Bytes::from),
            headers: Default::default(),
        }).collect();
        let their_compression = match compression {
            Compression::None => TheirCompression::None,
            Compression::Gzip => TheirCompression::Gzip,
            Compression::Snappy => TheirCompression::Snappy,
            Compression::Lz4 => TheirCompression::Lz4,
            Compression::Zstd => TheirCompression::Zstd,
        };
        let options = RecordEncodeOptions { version: 2, compression: their_compression };
        let compress = |plain: &mut BytesMut, out: &mut BytesMut, _: TheirCompression| {
            out.extend_from_slice(&compression.compress(plain)?);
            Ok(())
        };
        let mut bytes = BytesMut::new();
        RecordBatchEncoder::encode_with_custom_compression(
            &mut bytes, &theirs, &options, Some(compress),
        ).unwrap();
        let batch = RecordBatch::parse(bytes.freeze()).unwrap();
        batch.check_crc().unwrap();
        batch.check_records(BYTES_MAX).unwrap();
        for ((index, ours), theirs) in all(&batch).into_iter().enumerate().zip(&theirs) {
            prop_assert_eq!(ours.offset, Offset(index as i64));
            prop_assert_eq!(ours.timestamp_ms, theirs.timestamp);
            prop_assert_eq!(&ours.key, &theirs.key);
            prop_assert_eq!(&ours.value, &theirs.value);
        }
    }

    #[test]
    fn any_bytes_are_refused_or_read_but_never_panic(
        bytes in proptest::collection::vec(any::<u8>(), 0..200),
        codec in 0u8..8,
    ) {
        // A header that would lead to a batch, and anything for its records.
        let mut whole = small(Compression::None).bytes()[..HEADER_BYTES].to_vec();
        let length = i32::try_from(HEADER_BYTES - 12 + bytes.len()).unwrap();
        whole[8..12].copy_from_slice(&length.to_be_bytes());
        whole[22] = codec;
        whole.extend_from_slice(&bytes);
        let batch = RecordBatch::parse(whole.into()).unwrap();
        let _ = batch.check_records(BYTES_MAX);
        read_all(&batch);
    }
}

/// Walks whatever can be walked, headers included, errors as they come.
fn read_all(batch: &RecordBatch) {
    let Ok(records) = batch.records(BYTES_MAX) else { return };
    for record in records {
        let Ok(record) = record else { break };
        let _ = record.headers.iter().count();
    }
}

#[test]
fn headers_keep_every_repetition_of_a_key() {
    let records = all(&small(Compression::None));
    let headers: Vec<_> = records[0].headers.iter().map(Result::unwrap).collect();
    let key = || Bytes::from_static(b"h");
    let expected = [
        (key(), Some(Bytes::from_static(b"1"))),
        (key(), None),
        (key(), Some(Bytes::from_static(b"2"))),
    ];
    assert_eq!(headers, expected);
    assert_eq!(records[0].headers.len(), 3);
    assert!(records[1].headers.is_empty());
}

#[test]
fn keys_and_values_are_slices_of_the_batch() {
    let batch = small(Compression::None);
    let within = batch.bytes().as_ptr_range();
    let records = all(&batch);
    assert!(within.contains(&records[0].value.as_ref().unwrap().as_ptr()));
    assert_eq!(records[2].key.as_deref(), Some(&[][..]));
    assert_eq!(records[2].value, None);
}

#[test]
fn base_offset_and_epoch_are_filled_in_and_the_checksum_stays_true() {
    let batch = small(Compression::Zstd);
    let mut bytes = batch.assigned_header(Offset(1 << 40), 12).to_vec();
    bytes.extend_from_slice(&batch.bytes()[HEADER_BYTES..]);
    let assigned = RecordBatch::parse(bytes.into()).unwrap();
    assigned.check_crc().unwrap();
    assert_eq!(assigned.header().base_offset, Offset(1 << 40));
    assert_eq!(assigned.header().last_offset(), Offset((1 << 40) + 2));
    assert_eq!(assigned.header().leader_epoch, 12);
    assert_eq!(all(&assigned)[1].offset, Offset((1 << 40) + 1));
    assert_eq!(assigned.header().crc, batch.header().crc);
}

#[test]
fn log_append_time_is_the_time_of_every_record() {
    for compression in Compression::ALL {
        let batch = small(compression).with_log_append_time(5_000_000);
        batch.check_crc().unwrap();
        assert_eq!(RecordBatch::parse(batch.bytes().clone()).unwrap(), batch);
        assert!(batch.header().has_log_append_time());
        assert_eq!(batch.header().compression(), Ok(compression));
        assert!(all(&batch).iter().all(|record| record.timestamp_ms == 5_000_000));
        assert_eq!(batch.check_records(BYTES_MAX).unwrap().max_timestamp_ms, 5_000_000);
        assert_eq!(batch.header().base_timestamp_ms, 1000);
    }
}

#[test]
fn sequences_wrap_to_zero() {
    assert_eq!(sequence_after(i32::MAX, 1), 0);
    assert_eq!(sequence_after(i32::MAX - 1, 1), i32::MAX);
    assert_eq!(sequence_after(i32::MAX, i32::MAX), i32::MAX - 1);
    assert_eq!(sequence_after(0, 0), 0);
    let batch = small(Compression::None);
    assert_eq!(batch.header().last_sequence(), 42);
    let wrapping = patched(&batch, 53, &(i32::MAX - 1).to_be_bytes());
    assert_eq!(wrapping.header().last_sequence(), 0);
    let without = patched(&batch, 53, &(-1i32).to_be_bytes());
    assert_eq!(without.header().last_sequence(), -1);
}

#[test]
fn attributes_are_told_apart() {
    let batch = small(Compression::None);
    let with = |attributes: i16| *patched(&batch, 21, &attributes.to_be_bytes()).header();
    assert!(with(1 << 4).is_transactional());
    assert!(with(1 << 5).is_control());
    assert!(with(1 << 6).has_delete_horizon());
    assert!(!with(0).is_control() && !with(0).is_transactional());
    assert_eq!(with(4).compression(), Ok(Compression::Zstd));
    assert_eq!(with(7).compression(), Err(BatchError::UnknownCompression { code: 7 }));
}

#[test]
fn a_checksum_tells_every_flipped_bit_that_it_covers() {
    let whole = small(Compression::None);
    for position in 0..whole.bytes().len() {
        for bit in 0..8 {
            let mut flipped = whole.bytes().to_vec();
            flipped[position] ^= 1 << bit;
            let Ok(batch) = RecordBatch::first_of(&flipped.into()) else { continue };
            let is_covered = position >= CRC_START || (17..21).contains(&position);
            let covered = batch.bytes().len() == whole.bytes().len() && is_covered;
            assert!(!covered || batch.check_crc().is_err(), "byte {position}, bit {bit}");
        }
    }
}

#[test]
fn no_truncation_and_no_flipped_bit_panics() {
    for compression in Compression::ALL {
        let whole = small(compression);
        for length in 0..whole.bytes().len() {
            let cut = whole.bytes().slice(..length);
            let error = RecordBatch::parse(cut.clone()).unwrap_err();
            assert!(matches!(error, BatchError::Truncated { .. }), "{length}: {error}");
            assert_eq!(batches(cut).count(), 0);
        }
        for position in 0..whole.bytes().len() {
            for bit in 0..8 {
                let mut flipped = whole.bytes().to_vec();
                flipped[position] ^= 1 << bit;
                let Ok(batch) = RecordBatch::first_of(&flipped.into()) else { continue };
                let _ = batch.check_records(BYTES_MAX);
                let _ = batch.header().last_sequence();
                read_all(&batch);
            }
        }
    }
}

#[test]
fn batches_follow_each_other_and_a_cut_one_ends_the_walk() {
    let mut bytes = small(Compression::None).bytes().to_vec();
    let first = bytes.len();
    bytes.extend_from_slice(small(Compression::Gzip).bytes());
    let second = bytes.len();
    bytes.extend_from_slice(&small(Compression::None).bytes()[..40]);
    let sizes = |bytes: &[u8]| -> Vec<_> {
        let sizes = batches(Bytes::copy_from_slice(bytes));
        sizes.map(|batch| batch.map(|batch| batch.bytes().len())).collect()
    };
    assert_eq!(sizes(&bytes), [Ok(first), Ok(second - first)]);
    assert_eq!(sizes(&bytes[..second]), [Ok(first), Ok(second - first)]);
    bytes[first + 16] = 1;
    assert_eq!(sizes(&bytes), [Ok(first), Err(BatchError::Magic { magic: 1 })]);
    let trailing = RecordBatch::parse(bytes[..second].to_vec().into());
    assert_eq!(trailing, Err(BatchError::Trailing { count: second - first }));
}

#[test]
fn headers_that_cannot_be_are_refused() {
    let whole = small(Compression::None);
    for length in [48, 0, -1, i32::MIN] {
        let mut bytes = whole.bytes().to_vec();
        bytes[8..12].copy_from_slice(&length.to_be_bytes());
        let refused = RecordBatch::parse(bytes.into());
        assert_eq!(refused, Err(BatchError::Length { batch_length: length }));
    }
    let mut bytes = whole.bytes().to_vec();
    bytes[8..12].copy_from_slice(&i32::MAX.to_be_bytes());
    let refused = RecordBatch::parse(bytes.into());
    assert!(matches!(refused, Err(BatchError::Truncated { .. })));
    let hostile = patched(&whole, 57, &i32::MIN.to_be_bytes());
    assert_eq!(hostile.records(0).unwrap_err(), BatchError::Count { count: i32::MIN });
    assert_eq!(hostile.check_records(0), Err(BatchError::Count { count: i32::MIN }));
}

#[test]
fn a_walk_over_the_records_finds_what_is_wrong() {
    let whole = small(Compression::None);
    let expected = RecordsSummary {
        max_timestamp_ms: 1100,
        min_timestamp_ms: 900,
        first_keyless: Some(1),
        count: 3,
    };
    assert_eq!(whole.check_records(BYTES_MAX), Ok(expected));
    let check = |position, bytes: &[u8]| patched(&whole, position, bytes).check_records(BYTES_MAX);
    // The header says two, four, or another last offset delta.
    let two = patched(&whole, 57, &2i32.to_be_bytes());
    let delta = patched(&two, 23, &1i32.to_be_bytes());
    let left = all_or_error(&delta).unwrap_err();
    assert!(matches!(left, BatchError::TrailingRecords { .. }), "{left}");
    assert_eq!(delta.check_records(BYTES_MAX), Err(left));
    let mismatch = BatchError::CountMismatch { count: 4, last_offset_delta: 2 };
    assert_eq!(check(57, &4i32.to_be_bytes()), Err(mismatch));
    let mismatch = BatchError::CountMismatch { count: 3, last_offset_delta: 9 };
    assert_eq!(check(23, &9i32.to_be_bytes()), Err(mismatch));
    // The first record: length at 61, attributes, timestamp delta, offset delta at 64, key.
    let fault = |fault| Err(BatchError::Record { index: 0, fault });
    assert_eq!(check(64, &[2]), fault(RecordFault::OffsetDelta));
    assert_eq!(check(61, &[1]), fault(RecordFault::NegativeLength));
    assert_eq!(check(61, &[0xfe, 0x7f]), fault(RecordFault::Truncated));
    assert_eq!(check(65, &[3]), fault(RecordFault::NegativeLength));
    assert_eq!(check(65, &[0xff, 0xff, 0xff, 0xff, 0xff]), fault(RecordFault::Number));
}

fn all_or_error(batch: &RecordBatch) -> Result<Vec<Record>, BatchError> {
    batch.records(BYTES_MAX)?.collect()
}

#[test]
fn control_batches_are_read_like_others() {
    let mut builder = BatchBuilder::new(Compression::None).producer(7, 0, -1);
    builder.append(1, Some(&[0, 0, 0, 1]), Some(&[0, 0, 0, 0, 0, 9]), &[]);
    let batch = RecordBatch::parse(builder.finish()).unwrap();
    let marker = patched(&batch, 21, &(0b11_0000i16).to_be_bytes());
    assert!(marker.header().is_control() && marker.header().is_transactional());
    assert_eq!(all(&marker)[0].key.as_deref(), Some(&[0, 0, 0, 1][..]));
}
