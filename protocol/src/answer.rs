//! An encoded answer as chunks: what we wrote, slices of the log, what we wrote, ...
//!
//! The first chunk begins with the length of the frame. Slices of any size worth it pass through
//! uncopied, for a vectored write.
use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::protocol::Encodable;

use crate::api;
use crate::frame::LENGTH_BYTES;

/// Slices smaller than this are copied: a chunk of their own costs more than the copy.
const SLICE_BYTES_MIN: usize = 2 * 1024;

/// A whole frame, ready to be written.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    chunks: Vec<Bytes>,
    size_bytes: usize,
}

impl Answer {
    /// The bytes to write, in order.
    #[must_use]
    pub fn chunks(&self) -> &[Bytes] {
        &self.chunks
    }

    /// The bytes to write, in order, for a writer that consumes them.
    #[must_use]
    pub fn into_chunks(self) -> Vec<Bytes> {
        self.chunks
    }

    /// The chunk that begins with the header.
    pub(crate) fn first_chunk_mut(&mut self) -> Option<&mut Bytes> {
        self.chunks.first_mut()
    }

    /// Bytes of all chunks, the frame's length included.
    #[must_use]
    pub fn size_bytes(&self) -> usize {
        self.size_bytes
    }
}

/// Why an answer cannot be encoded. Both are mistakes of ours, not of the client.
#[derive(Debug, thiserror::Error)]
pub enum AnswerError {
    /// The codec refuses: a field is set that the version does not have.
    #[error("the answer of API {api_key} version {api_version} does not encode: {reason}")]
    Codec {
        /// The API.
        api_key: i16,
        /// Its version.
        api_version: i16,
        /// What the codec says.
        reason: String,
    },
    /// More than a frame's length can say.
    #[error("the answer takes {size_bytes} bytes, more than a frame can hold")]
    TooLarge {
        /// Its size.
        size_bytes: usize,
    },
}

/// Encodes an answer by the codec, behind the header that its version has.
///
/// # Errors
/// When the answer sets what the version does not have, or is too large for a frame.
pub fn encode_response(
    api_key: i16,
    api_version: i16,
    correlation_id: i32,
    response: &impl Encodable,
) -> Result<Answer, AnswerError> {
    let mut writer = AnswerWriter::new(api_key, api_version, correlation_id);
    response.encode(&mut writer.head, api_version).map_err(|error| AnswerError::Codec {
        api_key,
        api_version,
        reason: error.to_string(),
    })?;
    writer.finish()
}

/// Writes an answer chunk by chunk.
#[derive(Debug)]
pub(crate) struct AnswerWriter {
    /// What is finished; the length of the frame is still open in the first.
    done: Vec<BytesMutOrBytes>,
    head: BytesMut,
}

#[derive(Debug)]
enum BytesMutOrBytes {
    Written(BytesMut),
    Slice(Bytes),
}

impl AnswerWriter {
    pub(crate) fn new(api_key: i16, api_version: i16, correlation_id: i32) -> AnswerWriter {
        let mut head = BytesMut::with_capacity(256);
        head.put_u32(0);
        head.put_i32(correlation_id);
        let header = api::find(api_key).map_or(0, |row| row.response_header_version(api_version));
        if header >= 1 {
            head.put_u8(0); // no tagged fields
        }
        AnswerWriter { done: Vec::new(), head }
    }

    /// Where to write what is ours.
    pub(crate) fn head(&mut self) -> &mut BytesMut {
        &mut self.head
    }

    /// Bytes that pass through.
    pub(crate) fn slice(&mut self, bytes: Bytes) {
        if bytes.len() < SLICE_BYTES_MIN {
            self.head.put_slice(&bytes);
            return;
        }
        self.done.push(BytesMutOrBytes::Written(self.head.split()));
        self.done.push(BytesMutOrBytes::Slice(bytes));
    }

    pub(crate) fn finish(mut self) -> Result<Answer, AnswerError> {
        if !self.head.is_empty() {
            self.done.push(BytesMutOrBytes::Written(self.head));
        }
        let size_bytes = self.done.iter().map(BytesMutOrBytes::len).sum();
        let length = i32::try_from(size_bytes - LENGTH_BYTES)
            .map_err(|_| AnswerError::TooLarge { size_bytes })?;
        if let Some(BytesMutOrBytes::Written(first)) = self.done.first_mut() {
            first[..LENGTH_BYTES].copy_from_slice(&length.to_be_bytes());
        }
        let chunks = self.done.into_iter().map(BytesMutOrBytes::freeze).collect();
        Ok(Answer { chunks, size_bytes })
    }
}

impl BytesMutOrBytes {
    fn len(&self) -> usize {
        match self {
            BytesMutOrBytes::Written(bytes) => bytes.len(),
            BytesMutOrBytes::Slice(bytes) => bytes.len(),
        }
    }

    fn freeze(self) -> Bytes {
        match self {
            BytesMutOrBytes::Written(bytes) => bytes.freeze(),
            BytesMutOrBytes::Slice(bytes) => bytes,
        }
    }
}

#[cfg(test)]
mod tests {
    use kafka_protocol::messages::{ApiVersionsResponse, FetchResponse, MetadataResponse};

    use super::*;

    #[test]
    fn answers_begin_with_their_length_and_the_header_of_their_version() {
        let metadata = MetadataResponse::default();
        let plain = encode_response(3, 8, 258, &metadata).unwrap();
        assert_eq!(plain.chunks().len(), 1);
        let chunk = &plain.chunks()[0];
        assert_eq!(plain.size_bytes(), chunk.len());
        assert_eq!(chunk[..4], u32::try_from(chunk.len() - 4).unwrap().to_be_bytes());
        assert_eq!(chunk[4..8], [0, 0, 1, 2]);
        assert_eq!(chunk.len(), 8 + metadata.compute_size(8).unwrap());
        let flexible = encode_response(3, 9, 258, &metadata).unwrap();
        assert_eq!(flexible.size_bytes(), 9 + metadata.compute_size(9).unwrap());
    }

    #[test]
    fn api_versions_always_has_the_oldest_header() {
        let response = ApiVersionsResponse::default();
        let answer = encode_response(18, 3, 1, &response).unwrap();
        assert_eq!(answer.size_bytes(), 8 + response.compute_size(3).unwrap());
    }

    #[test]
    fn what_a_version_cannot_say_is_an_error_and_no_panic() {
        let response = FetchResponse::default().with_session_id(5);
        let refused = encode_response(1, 4, 1, &response).unwrap_err();
        let said = refused.to_string();
        assert!(said.starts_with("the answer of API 1 version 4 does not encode"), "{said}");
    }
}
