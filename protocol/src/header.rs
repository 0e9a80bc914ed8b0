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
