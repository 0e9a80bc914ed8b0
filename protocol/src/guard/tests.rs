//! The guard against the crate's codec: it lets all pass that the encoder writes, and nothing that
//! would make the decoder reserve memory for what is not there.
use bytes::{BufMut, Bytes, BytesMut};
use rand::{Rng, RngExt};

use super::*;
use crate::fetch::FetchRequest;
use crate::guard::oracle::{
    chance, codec_of, count_of_counts, put_varint, random_body, served, whole_body,
};
use crate::header::RequestHeader;
use crate::produce::ProduceRequest;

const LIMITS: Limits =
    Limits { elements_max: 200_000, string_bytes_max: 32_767, tagged_fields_max: 1_000 };

fn guard(row: &ApiRow, version: i16, body: &[u8]) -> Result<(), GuardError> {
    check(row.key, version, body, &LIMITS)
}

/// The body with other bytes for the count or length that stands at that place.
fn with(body: &[u8], place: &Place, replacement: &[u8]) -> Bytes {
    let width = match place.width {
        Width::Int8 => 1,
        Width::Int16 => 2,
        Width::Int32 => 4,
        Width::Varint { bytes } => bytes,
    };
    let mut out = BytesMut::from(&body[..place.position]);
    out.put_slice(replacement);
    out.put_slice(&body[place.position + width..]);
    out.freeze()
}

fn varint(value: u32) -> Vec<u8> {
    let mut out = BytesMut::new();
    put_varint(&mut out, value);
    out.to_vec()
}

/// What no count or length may be.
fn hostile(place: &Place) -> Vec<Vec<u8>> {
    match place.width {
        Width::Int8 => vec![vec![2], vec![0], vec![0x7f], vec![0x80], vec![0xfe]],
        Width::Int16 => {
            [i16::MAX, -2, i16::MIN].map(|length| length.to_be_bytes().to_vec()).to_vec()
        }
        Width::Int32 => [i32::MAX, i32::MAX - 1, 1 << 24, -2, i32::MIN]
            .map(|length| length.to_be_bytes().to_vec())
            .to_vec(),
        Width::Varint { .. } => vec![
            varint(i32::MAX.cast_unsigned()),
            varint(1 << 31),
            varint(u32::MAX),
            varint(u32::MAX - 1),
            varint(1 << 24),
            vec![0xff; 5],
            vec![0x80, 0x80, 0x80, 0x80, 0x80, 0],
            vec![0xff, 0xff, 0xff, 0xff, 0x7f],
        ],
    }
}

#[test]
fn what_the_codec_encodes_passes_and_decodes() {
    for (row, version) in served() {
        let codec = codec_of(row.key);
        for seed in 0..100 {
            let body = random_body(row.key, version, seed);
            let encoded = (codec.recode)(body.clone(), version, version)
                .unwrap_or_else(|e| panic!("{} {version}, seed {seed}: {e}", row.name));
            // The shape has every field that the codec has, of the same width, in the same place.
            assert_eq!(encoded, body, "{} {version}, seed {seed}", row.name);
            guard(row, version, &encoded)
                .unwrap_or_else(|e| panic!("{} {version}, seed {seed}: {e}", row.name));
            // And so it is for the same message in another version, where it can be said there.
            for other in row.min..=row.max {
                if let Ok(encoded) = (codec.recode)(body.clone(), version, other) {
                    guard(row, other, &encoded).unwrap_or_else(|e| {
                        panic!("{} {version} as {other}, seed {seed}: {e}", row.name)
                    });
                }
            }
        }
    }
}

/// 7fffffff in as many bytes as there are.
fn largest(place: &Place) -> Vec<u8> {
    match place.width {
        Width::Int8 => vec![0x7f],
        Width::Int16 => i16::MAX.to_be_bytes().to_vec(),
        Width::Int32 => i32::MAX.to_be_bytes().to_vec(),
        Width::Varint { .. } => varint(i32::MAX.cast_unsigned()),
    }
}

#[test]
fn seven_fffffff_is_refused_at_every_count_of_every_api_and_version() {
    let (mut counts, mut versions) = (0, 0);
    for (row, version) in served() {
        let body = whole_body(row.key, version);
        guard(row, version, &body).unwrap();
        let places = places(row.key, version, &body, &LIMITS).unwrap();
        // Not one is passed over: the table of shapes says how many there are.
        assert_eq!(places.len(), count_of_counts(row, version), "{} {version}", row.name);
        for place in &places {
            let hostile = with(&body, place, &largest(place));
            let refused = guard(row, version, &hostile);
            assert!(refused.is_err(), "{} {version}: {place:?} passes", row.name);
        }
        counts += places.len();
        versions += 1;
    }
    let apis = crate::api::APIS.len();
    println!("7fffffff at each of {counts} counts of {apis} APIs in {versions} versions: refused");
}

#[test]
fn a_hostile_count_is_refused_at_every_place_of_every_version() {
    let mut places_seen = 0;
    for (row, version) in served() {
        for seed in 0..30 {
            let body = random_body(row.key, version, seed);
            for place in places(row.key, version, &body, &LIMITS).unwrap() {
                places_seen += 1;
                for replacement in hostile(&place) {
                    let hostile = with(&body, &place, &replacement);
                    let refused = guard(row, version, &hostile);
                    assert!(
                        refused.is_err(),
                        "{} {version}, seed {seed}: {place:?} as {replacement:02x?} passes",
                        row.name
                    );
                }
            }
        }
    }
    println!("{places_seen} counts of random requests, several hostile values at each: refused");
    assert!(places_seen > 5_000, "{places_seen} places are too few to mean anything");
}

#[test]
fn null_passes_where_the_codec_takes_it_and_nowhere_else() {
    for (row, version) in served() {
        let codec = codec_of(row.key);
        for seed in 0..30 {
            let body = random_body(row.key, version, seed);
            for place in places(row.key, version, &body, &LIMITS).unwrap() {
                let null = match place.width {
                    Width::Int8 => vec![0xff],
                    Width::Int16 => vec![0xff; 2],
                    Width::Int32 => vec![0xff; 4],
                    Width::Varint { .. } => vec![0],
                };
                // What followed the count now stands in its place, so the whole may well be
                // refused further on. The guard may be stricter there, never laxer; where the
                // codec takes it all, so must the guard.
                let mutated = with(&body, &place, &null);
                let passes = guard(row, version, &mutated);
                let decodes = if passes.is_ok() || !names_a_large_count(&mutated) {
                    (codec.recode)(mutated.clone(), version, version)
                } else {
                    continue;
                };
                let message = format!("{} {version}, seed {seed}: {place:?}", row.name);
                match (&passes, &decodes) {
                    // Text is the codec's to judge.
                    (Ok(()), Err(e)) if e.contains("utf-8") => {}
                    // Neither looks at what stands behind the last field.
                    (Ok(()), Err(e)) if e.contains("bytes are left") => {}
                    (Ok(()), Err(e)) => panic!("{message} passes, and the codec says {e}"),
                    // The codec ignores the announced size of tagged fields that it knows.
                    (Err(GuardError { fault: Fault::TagSize { .. }, .. }), Ok(_)) => {}
                    (Err(e), Ok(_)) => panic!("{message} decodes, and the guard says {e}"),
                    _ => {}
                }
            }
        }
    }
}

/// Whether some bytes read as a count would make the codec reserve more than a test should.
fn names_a_large_count(body: &[u8]) -> bool {
    body.windows(4).any(|window| {
        let plain = i32::from_be_bytes(window.try_into().unwrap());
        let compact = window.iter().take(3).all(|byte| byte & 0x80 != 0);
        plain > 1_000_000 || compact
    })
}

#[test]
fn every_truncation_is_refused_and_bytes_behind_the_end_are_not_looked_at() {
    for (row, version) in served() {
        for seed in 0..10 {
            let body = random_body(row.key, version, seed);
            for length in 0..body.len() {
                let refused = guard(row, version, &body[..length]);
                assert!(refused.is_err(), "{} {version}, seed {seed}, {length}", row.name);
            }
            let mut longer = BytesMut::from(&body[..]);
            longer.put_u8(0);
            guard(row, version, &longer).unwrap();
        }
    }
}

#[test]
fn limits_bind_over_all_levels_together() {
    // Two topics with two partitions each are six elements, a seventh stands in neither.
    let mut body = BytesMut::new();
    body.put_i32(-1);
    body.put_u8(0);
    body.put_i32(2);
    for name in [b"one", b"two"] {
        body.put_i16(3);
        body.put_slice(name);
        body.put_i32(2);
        body.put_bytes(1, 2 * 16);
    }
    let limits = |elements_max| Limits { elements_max, ..LIMITS };
    check(2, 4, &body, &limits(6)).unwrap();
    let refused = check(2, 4, &body, &limits(5)).unwrap_err();
    assert_eq!(refused.fault, Fault::Limit { count: 2, count_max: 1 });
    assert_eq!(refused.field, "partitions");
    let short = Limits { string_bytes_max: 2, ..LIMITS };
    let refused = check(2, 4, &body, &short).unwrap_err();
    assert_eq!(refused.fault, Fault::Limit { count: 3, count_max: 2 });
    assert_eq!(
        refused.to_string(),
        "ListOffsets version 4, byte 11: `name` asks for 3, 2 are allowed"
    );
}

#[test]
fn too_many_tagged_fields_are_refused() {
    let limits = Limits { tagged_fields_max: 3, ..LIMITS };
    let body = |count: u8| {
        let mut body = BytesMut::from(&[2, b'a', 2, b'1', count][..]);
        (0..count).for_each(|tag| body.put_slice(&[tag, 0]));
        body
    };
    check(18, 3, &body(3), &limits).unwrap();
    let refused = check(18, 3, &body(4), &limits).unwrap_err();
    assert_eq!(refused.fault, Fault::Limit { count: 4, count_max: 3 });
}

#[test]
fn what_is_not_served_does_not_pass() {
    for (key, version) in [(4, 0), (-1, 0), (18, 5), (18, -1), (0, 2), (999, 0)] {
        let refused = check(key, version, &[], &LIMITS).unwrap_err();
        assert_eq!(refused.fault, Fault::NotServed, "{key} {version}");
    }
}

/// What the broker does with a frame, as far as it goes without a broker.
fn take(mut frame: Bytes) -> bool {
    let Ok(header) = RequestHeader::parse(&mut frame) else { return false };
    let (key, version) = (header.api_key, header.api_version);
    if key == 0 {
        let _ = ProduceRequest::decode(version, frame.clone());
    } else if key == 1 {
        let _ = FetchRequest::decode(version, frame.clone());
    }
    if check(key, version, &frame, &LIMITS).is_err() {
        return false;
    }
    let _ = (codec_of(key).recode)(frame, version, version);
    true
}

#[test]
fn fifty_thousand_hostile_frames_do_no_harm() {
    let all: Vec<_> = served().collect();
    let mut passed = 0;
    for seed in 0..50_000u64 {
        let mut chance = chance(seed);
        let (row, version) = all[chance.random_range(0..all.len())];
        let mut frame = BytesMut::new();
        if chance.random_range(0..10) > 0 {
            frame.put_i16(row.key);
            frame.put_i16(version);
            frame.put_i32(7);
            frame.put_slice(&[0, 2, b'm', b'e']);
            if row.is_flexible(version) {
                frame.put_u8(0);
            }
        }
        if chance.random() {
            frame.put_slice(&random_body(row.key, version, seed % 1_000));
            for _ in 0..chance.random_range(0..4).min(frame.len()) {
                let position = chance.random_range(0..frame.len());
                frame[position] = *[0, 1, 0x7f, 0x80, 0xfe, 0xff, chance.random()]
                    .get(chance.random_range(0..7))
                    .unwrap();
            }
        } else {
            let mut bytes = vec![0; chance.random_range(0..200)];
            chance.fill_bytes(&mut bytes);
            frame.put_slice(&bytes);
        }
        if chance.random_range(0..4) == 0 {
            frame.truncate(chance.random_range(0..=frame.len()));
        }
        passed += u32::from(take(frame.freeze()));
    }
    println!("50,000 hostile frames, {passed} of them harmless");
    assert!((1_000..40_000).contains(&passed), "{passed} of 50,000 passed: too many or too few");
}
