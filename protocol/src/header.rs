//! The header of a request: which API, which version, whose.
//!
//! The first eight bytes are read before anything is believed: they say whether the rest can be
//! read at all, and an answer needs the correlation id even when it cannot.
use bytes::Bytes;
use kafka_protocol::protocol::StrBytes;

use crate::api::{self, ApiRow};
use crate::reader::{ReadError, Reader};

/// What stands before every request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestHeader {
    /// The API.
    pub api_key: i16,
    /// Its version, which is served.
    pub api_version: i16,
    /// What the answer must repeat.
    pub correlation_id: i32,
    /// What the client calls itself.
    pub client_id: Option<StrBytes>,
}

/// Why a request cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// Too few bytes, or bytes that are no header.
    #[error("the request header cannot be read: {0}")]
    Malformed(#[from] ReadError),
    /// An API that is not served. There is no form to answer in: close the connection.
    #[error("API key {key} (version {version}) is not served")]
    UnknownApi {
        /// What was asked for.
        key: i16,
        /// In which version.
        version: i16,
    },
    /// A version that is not served. ApiVersions has an answer for this; for others close.
    #[error("{} version {version} is not served", api_name(*key))]
    UnsupportedVersion {
        /// The API, which is served.
        key: i16,
        /// The version, which is not.
        version: i16,
        /// What an answer must repeat.
        correlation_id: i32,
    },
}

fn api_name(key: i16) -> &'static str {
    api::find(key).map_or("unknown", |row| row.name)
}

impl RequestHeader {
    /// Takes the header off a frame; what is left is the body.
    ///
    /// # Errors
    /// When it cannot be read, or asks for what is not served.
    pub fn parse(frame: &mut Bytes) -> Result<RequestHeader, HeaderError> {
        let mut reader = Reader::new(frame.clone(), false);
        let key = reader.i16()?;
        let version = reader.i16()?;
        let correlation_id = reader.i32()?;
        let row = api::find(key).ok_or(HeaderError::UnknownApi { key, version })?;
        if !row.serves(version) {
            return Err(HeaderError::UnsupportedVersion { key, version, correlation_id });
        }
        // Not compact, even where the header ends with tagged fields: it is older than they are.
        let client_id = reader.nullable_string()?;
        if row.is_flexible(version) {
            reader.skip_tagged_fields()?;
        }
        *frame = reader.rest();
        Ok(RequestHeader { api_key: key, api_version: version, correlation_id, client_id })
    }

    /// The API's row of the table.
    ///
    /// # Panics
    /// When somebody made up a header for an API that is not served.
    #[must_use]
    pub fn api(&self) -> &'static ApiRow {
        api::find(self.api_key).expect("parse refuses what is not served")
    }
}

#[cfg(test)]
mod tests {
    use bytes::{BufMut, BytesMut};
    use kafka_protocol::messages;
    use kafka_protocol::protocol::encode_request_header_into_buffer;

    use super::*;
    use crate::guard::oracle::served;

    fn header(key: i16, version: i16, client_id: Option<&str>) -> BytesMut {
        let mut out = BytesMut::new();
        let header = messages::RequestHeader::default()
            .with_request_api_key(key)
            .with_request_api_version(version)
            .with_correlation_id(-7)
            .with_client_id(client_id.map(|id| StrBytes::from_string(id.to_owned())));
        encode_request_header_into_buffer(&mut out, &header).unwrap();
        out
    }

    #[test]
    fn headers_of_every_version_are_read_up_to_the_body() {
        for (row, version) in served() {
            for client_id in [None, Some(""), Some("rdkafka")] {
                let mut frame = header(row.key, version, client_id);
                frame.put_slice(b"body");
                let mut frame = frame.freeze();
                let read = RequestHeader::parse(&mut frame).unwrap();
                assert_eq!(&frame[..], b"body", "{} {version}", row.name);
                assert_eq!((read.api_key, read.api_version), (row.key, version));
                assert_eq!(read.correlation_id, -7);
                assert_eq!(read.client_id.as_deref(), client_id);
                assert_eq!(read.api(), row);
            }
        }
    }

    #[test]
    fn unknown_tagged_fields_are_skipped() {
        let mut frame = header(18, 3, Some("a"));
        frame.truncate(frame.len() - 1);
        frame.put_slice(&[2, 9, 2, 1, 1, 10, 0]);
        frame.put_slice(b"body");
        let mut frame = frame.freeze();
        RequestHeader::parse(&mut frame).unwrap();
        assert_eq!(&frame[..], b"body");
    }

    #[test]
    fn what_is_not_served_is_told_apart() {
        let parse = |bytes: &[u8]| RequestHeader::parse(&mut Bytes::copy_from_slice(bytes));
        let unknown = parse(&[0, 4, 0, 0, 0, 0, 0, 1]).unwrap_err();
        assert_eq!(unknown, HeaderError::UnknownApi { key: 4, version: 0 });
        let newer = parse(&[0, 18, 0, 9, 0, 0, 0, 1]).unwrap_err();
        let expected = HeaderError::UnsupportedVersion { key: 18, version: 9, correlation_id: 1 };
        assert_eq!(newer, expected);
        assert_eq!(newer.to_string(), "ApiVersions version 9 is not served");
    }

    #[test]
    fn broken_headers_are_refused_at_every_byte() {
        let whole = header(18, 3, Some("somebody")).freeze();
        for length in 0..whole.len() {
            let refused = RequestHeader::parse(&mut whole.slice(..length));
            let expected = HeaderError::Malformed(ReadError::Truncated);
            assert_eq!(refused, Err(expected), "{length}");
        }
        let mut hostile = whole.to_vec();
        hostile[8..10].copy_from_slice(&[0x80, 0]);
        let refused = RequestHeader::parse(&mut hostile.into()).unwrap_err();
        assert_eq!(refused, HeaderError::Malformed(ReadError::NegativeLength));
        let mut hostile = whole.to_vec();
        *hostile.last_mut().unwrap() = 0x7f;
        let refused = RequestHeader::parse(&mut hostile.into()).unwrap_err();
        assert_eq!(refused, HeaderError::Malformed(ReadError::Truncated));
    }
}
