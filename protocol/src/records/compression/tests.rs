//! Codecs round, in the forms that other clients write, and against bombs.
use super::*;

/// Text that compresses, with enough in it to span blocks.
fn text(bytes: usize) -> Vec<u8> {
    (0..)
        .flat_map(|n: u32| format!("row {n}: {}\n", n.wrapping_mul(2_654_435_761)).into_bytes())
        .take(bytes)
        .collect()
}

fn round(codec: Compression, input: &[u8]) {
    let compressed = codec.compress(input).unwrap();
    let output = codec.decompress(&compressed, input.len()).unwrap();
    assert_eq!(output, input, "{codec:?}, {} bytes", input.len());
    if let Some(less) = input.len().checked_sub(1) {
        let refused = codec.decompress(&compressed, less).unwrap_err();
        assert_eq!(refused, CompressionError::TooLarge { bytes_max: less }, "{codec:?}");
    }
}

#[test]
fn what_was_compressed_comes_back_and_never_more_than_allowed() {
    for codec in Compression::ALL {
        for bytes in [0, 1, 100, 32 * 1024, 32 * 1024 + 1, 1_000_000] {
            round(codec, &text(bytes));
        }
    }
}

#[test]
fn codes_and_names_are_kafkas() {
    for (code, codec) in (0..).zip(Compression::ALL) {
        assert_eq!(codec as u8, code);
        assert_eq!(Compression::from_code(code), Some(codec));
        assert_eq!(Compression::from_name(codec.name()), Some(codec));
    }
    assert_eq!(Compression::from_code(5), None);
    assert_eq!(Compression::from_name("brotli"), None);
}

#[test]
fn gzip_may_have_several_members() {
    let mut members = gzip(None, b"first ").unwrap();
    members.extend(gzip(None, b"second").unwrap());
    assert_eq!(Compression::Gzip.decompress(&members, 100).unwrap(), "first second");
}

#[test]
fn snappy_is_written_in_xerial_blocks_and_read_raw_too() {
    let input = text(100_000);
    let written = Compression::Snappy.compress(&input).unwrap();
    assert_eq!(written[..16], *b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01");
    let raw = snap::raw::Encoder::new().compress_vec(&input).unwrap();
    assert_eq!(Compression::Snappy.decompress(&raw, 100_000).unwrap(), input);
    let refused = Compression::Snappy.decompress(&raw, 99_999).unwrap_err();
    assert_eq!(refused, CompressionError::TooLarge { bytes_max: 99_999 });
}

#[test]
fn lz4_frames_are_read_in_every_form() {
    use lz4_flex::frame::{BlockMode, BlockSize, FrameEncoder, FrameInfo};
    let input = text(300_000);
    for mode in [BlockMode::Independent, BlockMode::Linked] {
        for size in [BlockSize::Max64KB, BlockSize::Max256KB, BlockSize::Max4MB] {
            for sums in [false, true] {
                let form = FrameInfo::new()
                    .block_mode(mode)
                    .block_size(size)
                    .block_checksums(sums)
                    .content_checksum(sums)
                    .content_size(sums.then_some(300_000));
                let mut encoder = FrameEncoder::with_frame_info(form, Vec::new());
                encoder.write_all(&input).unwrap();
                let frame = encoder.finish().unwrap();
                assert_eq!(Compression::Lz4.decompress(&frame, 300_000).unwrap(), input);
            }
        }
    }
}

#[test]
fn zstd_without_a_content_size_is_read() {
    let input = text(300_000);
    let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
    encoder.write_all(&input).unwrap();
    let streamed = encoder.finish().unwrap();
    assert_eq!(Compression::Zstd.decompress(&streamed, 300_000).unwrap(), input);
}

#[test]
fn a_bomb_costs_no_more_than_the_bound() {
    let zeros = vec![0; 64 << 20];
    for codec in [Compression::Gzip, Compression::Lz4, Compression::Zstd, Compression::Snappy] {
        let bomb = codec.compress(&zeros).unwrap();
        assert!(bomb.len() < 4 << 20, "{codec:?} takes {}", bomb.len());
        let refused = codec.decompress(&bomb, 1 << 20).unwrap_err();
        assert_eq!(refused, CompressionError::TooLarge { bytes_max: 1 << 20 }, "{codec:?}");
    }
}

#[test]
fn claimed_sizes_are_not_believed() {
    // A raw snappy block that claims 4 GiB less one, in five bytes, and one that claims 1 GiB.
    for claim in [&[0xff, 0xff, 0xff, 0xff, 0x0f][..], &[0x80, 0x80, 0x80, 0x80, 0x04]] {
        Compression::Snappy.decompress(claim, 1 << 20).unwrap_err();
        let invalid = Compression::Snappy.decompress(claim, usize::MAX).unwrap_err();
        assert!(matches!(invalid, CompressionError::Invalid { codec: "snappy", .. }));
    }
    // A xerial block whose length is beyond the bytes, and one that is negative.
    for length in [[0x7f, 0xff, 0xff, 0xff], [0xff, 0xff, 0xff, 0xfe]] {
        let mut frame = b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01".to_vec();
        frame.extend_from_slice(&length);
        let refused = Compression::Snappy.decompress(&frame, 1 << 20).unwrap_err();
        assert!(refused.to_string().ends_with("a block is cut short"), "{refused}");
    }
    // A zstd frame that claims 2^60 bytes of content.
    let claim = [0x28, 0xb5, 0x2f, 0xfd, 0xe0, 0, 0, 0, 0, 0, 0, 0, 0x10, 1, 0, 0];
    Compression::Zstd.decompress(&claim, 1 << 20).unwrap_err();
}

#[test]
fn truncated_and_flipped_input_never_panics_and_stays_in_bounds() {
    let input = text(500);
    for codec in [Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd] {
        let whole = codec.compress(&input).unwrap();
        for length in 0..whole.len() {
            if let Ok(output) = codec.decompress(&whole[..length], 2000) {
                assert!(output.len() <= 2000);
            }
        }
        for position in 0..whole.len() {
            for bit in 0..8 {
                let mut flipped = whole.clone();
                flipped[position] ^= 1 << bit;
                if let Ok(output) = codec.decompress(&flipped, 2000) {
                    assert!(output.len() <= 2000);
                }
            }
        }
    }
}
