//! The codecs of a batch: what compresses its records, and what decompresses them in bounds.
//!
//! Output is bounded by the caller and grows with what is really there: a claimed size is never
//! believed, neither that of a snappy block nor that of a zstd frame. Gzip may have several members,
//! lz4 is the *frame* format, snappy is either raw or in the blocks that Java's xerial library
//! writes:
//!
//! ```text
//! 82 'SNAPPY' 00 | version i32 | lowest reader i32 | (length i32, snappy block)*      big endian
//! ```
use std::io::{self, Read, Write};

use bytes::Bytes;

/// How the records of a batch are compressed: the low three bits of its attributes.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum Compression {
    /// As they are.
    #[default]
    None = 0,
    /// RFC 1952, one member or more.
    Gzip = 1,
    /// Xerial blocks or raw snappy.
    Snappy = 2,
    /// The lz4 frame format.
    Lz4 = 3,
    /// Zstandard.
    Zstd = 4,
}

/// Why bytes do not decompress.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CompressionError {
    /// More output than the caller allows.
    #[error("the records take more than {bytes_max} bytes once decompressed")]
    TooLarge {
        /// The caller's bound.
        bytes_max: usize,
    },
    /// Not what the codec writes.
    #[error("not valid {codec}: {reason}")]
    Invalid {
        /// Which codec.
        codec: &'static str,
        /// What it says.
        reason: String,
    },
}

/// What opens the blocks of Java's snappy.
const XERIAL_MAGIC: [u8; 8] = [0x82, b'S', b'N', b'A', b'P', b'P', b'Y', 0];
/// Magic, version and lowest compatible version.
const XERIAL_HEADER_BYTES: usize = 16;
/// Uncompressed bytes in a block that we write: what Java writes.
const XERIAL_BLOCK_BYTES: usize = 32 * 1024;
/// Zstandard's own default: fast, and what Java's producer takes.
const ZSTD_LEVEL: i32 = 3;

impl Compression {
    /// All of them, in the order of their codes.
    pub const ALL: [Compression; 5] = [
        Compression::None,
        Compression::Gzip,
        Compression::Snappy,
        Compression::Lz4,
        Compression::Zstd,
    ];

    /// The codec of a code, if there is one.
    #[must_use]
    pub fn from_code(code: u8) -> Option<Compression> {
        Compression::ALL.get(usize::from(code)).copied()
    }

    /// As Kafka's configs spell it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Compression::None => "none",
            Compression::Gzip => "gzip",
            Compression::Snappy => "snappy",
            Compression::Lz4 => "lz4",
            Compression::Zstd => "zstd",
        }
    }

    /// The codec that Kafka's configs call so.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Compression> {
        Compression::ALL.into_iter().find(|codec| codec.name() == name)
    }

    fn invalid(self, reason: impl ToString) -> CompressionError {
        CompressionError::Invalid { codec: self.name(), reason: reason.to_string() }
    }

    /// Compresses as Kafka's producers do.
    ///
    /// # Errors
    /// When the codec's library refuses, which it does for no input that fits in a batch.
    pub fn compress(self, input: &[u8]) -> Result<Vec<u8>, CompressionError> {
        self.compress_at(None, input)
    }

    /// The same at a level of its codec's, as Kafka's configs number them. Only gzip (-1: its
    /// default, 0 to 9) and zstd have levels here.
    ///
    /// # Errors
    /// As [`Compression::compress`].
    pub fn compress_at(
        self,
        level: Option<i32>,
        input: &[u8],
    ) -> Result<Vec<u8>, CompressionError> {
        let written: io::Result<Vec<u8>> = match self {
            Compression::None => Ok(input.to_vec()),
            Compression::Gzip => gzip(level, input),
            Compression::Snappy => return snappy_xerial(input).map_err(|e| self.invalid(e)),
            Compression::Lz4 => lz4_frame(input),
            Compression::Zstd => zstd::bulk::compress(input, level.unwrap_or(ZSTD_LEVEL)),
        };
        written.map_err(|e| self.invalid(e))
    }

    /// Decompresses to at most `bytes_max` bytes. Without a codec it copies; a batch slices instead.
    ///
    /// # Errors
    /// When the input is not what the codec writes, or gives more than `bytes_max` bytes.
    pub fn decompress(self, input: &[u8], bytes_max: usize) -> Result<Bytes, CompressionError> {
        match self {
            Compression::None if input.len() > bytes_max => {
                Err(CompressionError::TooLarge { bytes_max })
            }
            Compression::None => Ok(Bytes::copy_from_slice(input)),
            Compression::Gzip => {
                self.read_bounded(flate2::bufread::MultiGzDecoder::new(input), bytes_max)
            }
            Compression::Snappy => self.snappy(input, bytes_max),
            Compression::Lz4 => {
                self.read_bounded(lz4_flex::frame::FrameDecoder::new(input), bytes_max)
            }
            Compression::Zstd => {
                let decoder =
                    zstd::stream::read::Decoder::with_buffer(input).map_err(|e| self.invalid(e))?;
                self.read_bounded(decoder, bytes_max)
            }
        }
    }

    /// Reads until the end, or until one byte more than is allowed has come out. The buffer grows
    /// with what came, so a small bomb costs no more than `bytes_max`.
    fn read_bounded(self, reader: impl Read, bytes_max: usize) -> Result<Bytes, CompressionError> {
        let mut output = Vec::new();
        let bound = u64::try_from(bytes_max).unwrap_or(u64::MAX).saturating_add(1);
        reader.take(bound).read_to_end(&mut output).map_err(|e| self.invalid(e))?;
        if output.len() > bytes_max {
            return Err(CompressionError::TooLarge { bytes_max });
        }
        Ok(output.into())
    }

    fn snappy(self, input: &[u8], bytes_max: usize) -> Result<Bytes, CompressionError> {
        let mut output = Vec::new();
        if input.starts_with(&XERIAL_MAGIC) {
            let mut rest = input
                .get(XERIAL_HEADER_BYTES..)
                .ok_or_else(|| self.invalid("the xerial header is cut short"))?;
            while let Some((length, after)) = rest.split_first_chunk::<4>() {
                let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
                let block =
                    after.get(..length).ok_or_else(|| self.invalid("a block is cut short"))?;
                self.snappy_block(block, &mut output, bytes_max)?;
                rest = &after[length..];
            }
            if !rest.is_empty() {
                return Err(self.invalid("a block's length is cut short"));
            }
        } else {
            self.snappy_block(input, &mut output, bytes_max)?;
        }
        Ok(output.into())
    }

    /// Appends one raw block. What the block claims to hold is bounded twice before room is made
    /// for it: by the caller's bound, and by what so few bytes could ever expand to.
    fn snappy_block(
        self,
        block: &[u8],
        output: &mut Vec<u8>,
        bytes_max: usize,
    ) -> Result<(), CompressionError> {
        let claimed = snap::raw::decompress_len(block).map_err(|e| self.invalid(e))?;
        if claimed > bytes_max.saturating_sub(output.len()) {
            return Err(CompressionError::TooLarge { bytes_max });
        }
        // A copy element takes two bytes at least and gives 64 at most.
        if claimed > block.len().saturating_mul(64) {
            return Err(self.invalid("a block claims more than its bytes can hold"));
        }
        let start = output.len();
        output.resize(start + claimed, 0);
        snap::raw::Decoder::new()
            .decompress(block, &mut output[start..])
            .map(drop)
            .map_err(|e| self.invalid(e))
    }
}

fn gzip(level: Option<i32>, input: &[u8]) -> io::Result<Vec<u8>> {
    let level = level.and_then(|level| u32::try_from(level).ok());
    let level = level.map_or_else(flate2::Compression::default, flate2::Compression::new);
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), level);
    encoder.write_all(input)?;
    encoder.finish()
}

/// 64 KiB independent blocks without content checksum, as Java writes.
fn lz4_frame(input: &[u8]) -> io::Result<Vec<u8>> {
    let settings = lz4_flex::frame::FrameInfo::new()
        .block_size(lz4_flex::frame::BlockSize::Max64KB)
        .block_mode(lz4_flex::frame::BlockMode::Independent);
    let mut encoder = lz4_flex::frame::FrameEncoder::with_frame_info(settings, Vec::new());
    encoder.write_all(input)?;
    Ok(encoder.finish()?)
}

fn snappy_xerial(input: &[u8]) -> Result<Vec<u8>, snap::Error> {
    let mut output = Vec::with_capacity(XERIAL_HEADER_BYTES + input.len() / 2);
    output.extend_from_slice(&XERIAL_MAGIC);
    output.extend_from_slice(&1i32.to_be_bytes());
    output.extend_from_slice(&1i32.to_be_bytes());
    let mut encoder = snap::raw::Encoder::new();
    for block in input.chunks(XERIAL_BLOCK_BYTES) {
        let compressed = encoder.compress_vec(block)?;
        let length = u32::try_from(compressed.len()).expect("a block of 32 KiB stays small");
        output.extend_from_slice(&length.to_be_bytes());
        output.extend_from_slice(&compressed);
    }
    Ok(output)
}

#[cfg(test)]
mod tests;
