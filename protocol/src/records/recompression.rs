//! The same records in another codec: for topics whose `compression.type` asks for one.
use super::BatchError;
use super::batch::{COMPRESSION_BITS, RecordBatch};
use super::compression::Compression;
use super::thinning::written;

/// The batch in another codec, its records decompressed to at most so many bytes. All but codec,
/// length and checksum stay.
///
/// # Errors
/// When the records do not decompress in that bound.
pub fn recompressed(
    batch: &RecordBatch,
    codec: Compression,
    level: Option<i32>,
    decompressed_bytes_max: usize,
) -> Result<RecordBatch, BatchError> {
    let header = batch.header();
    let records = batch.decompressed(decompressed_bytes_max)?;
    let compressed = codec.compress_at(level, &records)?;
    let attributes = header.attributes & !COMPRESSION_BITS | codec as i16;
    let times = (header.base_timestamp_ms, header.max_timestamp_ms);
    Ok(written(batch, attributes, times, header.record_count, &compressed))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::records::builder::BatchBuilder;

    #[test]
    fn records_are_the_same_in_each_codec_and_at_each_level() {
        let batch_in = |codec| {
            let mut builder = BatchBuilder::new(codec).producer(7, 1, 30);
            for number in 0..50 {
                builder.append(number, Some(b"key"), Some(&[7; 100]), &[("h", None)]);
            }
            RecordBatch::parse(builder.finish()).unwrap()
        };
        let plain = batch_in(Compression::None);
        let read = |batch: &RecordBatch| -> Vec<_> {
            batch.records(1 << 20).unwrap().collect::<Result<_, _>>().unwrap()
        };
        for source in Compression::ALL {
            for target in Compression::ALL {
                let batch = recompressed(&batch_in(source), target, None, 1 << 20).unwrap();
                batch.check_crc().unwrap();
                assert_eq!(read(&batch), read(&plain));
                assert_eq!(batch.header().compression(), Ok(target));
                assert_eq!(batch.bytes(), batch_in(target).bytes(), "{source:?} to {target:?}");
            }
        }
        for (codec, levels) in [(Compression::Gzip, -1..10), (Compression::Zstd, -7..20)] {
            for level in levels {
                let batch = recompressed(&plain, codec, Some(level), 1 << 20).unwrap();
                assert_eq!(read(&batch), read(&plain), "{codec:?} at {level}");
            }
        }
    }
}
