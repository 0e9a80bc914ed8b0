//! Where an encoded answer says how long its client is held back (`throttle_time_ms`).
//!
//! It is known only when the answer is about to be written, so it is set in the bytes. Most answers
//! begin with it, from some version on; the others are listed.

use bytes::BytesMut;

use crate::answer::Answer;
use crate::api::{self, API_VERSIONS};
use crate::frame::LENGTH_BYTES;
use crate::reader::{ReadError, Reader};

const CORRELATION_ID_BYTES: usize = 4;
const SIZE_BYTES: usize = 4;

const PRODUCE: i16 = 0;
const OFFSET_DELETE: i16 = 47;
/// Never says it.
const DESCRIBE_QUORUM: i16 = 55;

/// The first version of an API whose answers say it.
fn said_from(api_key: i16) -> i16 {
    match api_key {
        // ListOffsets, JoinGroup, OffsetForLeaderEpoch
        2 | 11 | 23 => 2,
        // Metadata, OffsetCommit, OffsetFetch
        3 | 8 | 9 => 3,
        // Produce, Fetch, FindCoordinator, Heartbeat, LeaveGroup, SyncGroup, DescribeGroups,
        // ListGroups, ApiVersions, DeleteTopics
        0 | 1 | 10 | 12..=16 | API_VERSIONS | 20 => 1,
        _ => 0,
    }
}

/// Where it stands in the body of an answer; `body` is its first chunk, and all of it for the APIs
/// that do not begin with it.
fn position(api_key: i16, version: i16, body: &[u8]) -> Option<usize> {
    let row = api::find(api_key).filter(|_| version >= said_from(api_key))?;
    match api_key {
        // The last field; after it the version's tagged fields, of which none is ever set.
        PRODUCE | 38..=41 => {
            body.len().checked_sub(SIZE_BYTES + usize::from(row.is_flexible(version)))
        }
        API_VERSIONS => after_api_keys(body, row.is_flexible(version)).ok(),
        // Behind the error code.
        OFFSET_DELETE => Some(2),
        DESCRIBE_QUORUM => None,
        _ => Some(0),
    }
    .filter(|position| position + SIZE_BYTES <= body.len())
}

fn after_api_keys(body: &[u8], is_flexible: bool) -> Result<usize, ReadError> {
    const ENTRY_BYTES: usize = 6;
    let mut reader = Reader::new(body.to_vec().into(), is_flexible);
    reader.i16()?;
    reader.array(|reader| {
        for _ in 0..ENTRY_BYTES / 2 {
            reader.i16()?;
        }
        reader.end_of_struct()
    })?;
    Ok(body.len() - reader.rest().len())
}

/// Says in an answer how long its client is held back; versions that cannot say it stay silent.
pub fn set(answer: &mut Answer, api_key: i16, version: i16, throttle_ms: u32) {
    let header = api::find(api_key).map_or(0, |row| row.response_header_version(version));
    let start = LENGTH_BYTES + CORRELATION_ID_BYTES + usize::from(header >= 1);
    let Some(first) = answer.first_chunk_mut() else { return };
    let Some(at) = first.get(start..).and_then(|body| position(api_key, version, body)) else {
        return;
    };
    let throttle_ms = i32::try_from(throttle_ms).unwrap_or(i32::MAX);
    let mut written = BytesMut::from(&first[..]);
    written[start + at..start + at + SIZE_BYTES].copy_from_slice(&throttle_ms.to_be_bytes());
    *first = written.freeze();
}

#[cfg(test)]
mod tests {
    use kafka_protocol::messages::ApiVersionsResponse;
    use kafka_protocol::messages::api_versions_response::ApiVersion;
    use kafka_protocol::protocol::{Decodable, StrBytes};

    use super::*;
    use crate::answer::encode_response;
    use crate::guard::oracle::{codec_of, served};

    const MARK: u32 = 0x0102_0304;

    #[test]
    fn every_answer_says_it_where_the_codec_reads_it() {
        let is_said = |shown: &str| shown.contains(&format!("throttle_time_ms: {MARK}"));
        for (row, version) in served() {
            let codec = codec_of(row.key);
            let body = (codec.empty_response)(version);
            let place = position(row.key, version, &body);
            for at in 0..=body.len().saturating_sub(SIZE_BYTES) {
                let mut marked = body.to_vec();
                if marked.len() < SIZE_BYTES {
                    continue;
                }
                marked[at..at + SIZE_BYTES].copy_from_slice(&MARK.to_be_bytes());
                let shown = (codec.show_response)(marked.into(), version).unwrap_or_default();
                assert_eq!(is_said(&shown), place == Some(at), "{} {version} {at}", row.name);
            }
        }
    }

    #[test]
    fn it_is_found_behind_the_versions_of_the_apis() {
        for version in 0..=4 {
            let entry = ApiVersion::default().with_api_key(7).with_max_version(3);
            let mut response = ApiVersionsResponse::default().with_api_keys(vec![entry; 200]);
            if version >= 3 {
                let feature =
                    kafka_protocol::messages::api_versions_response::SupportedFeatureKey::default()
                        .with_name(StrBytes::from_static_str("transaction.version"))
                        .with_max_version(2);
                response.supported_features = vec![feature];
            }
            let mut answer = encode_response(18, version, 9, &response).unwrap();
            let size_bytes = answer.size_bytes();
            set(&mut answer, 18, version, 1234);
            assert_eq!(answer.size_bytes(), size_bytes);
            let mut body = answer.chunks()[0].slice(8..);
            let read = ApiVersionsResponse::decode(&mut body, version).unwrap();
            assert_eq!(read.throttle_time_ms, if version >= 1 { 1234 } else { 0 });
            assert_eq!(read.api_keys, response.api_keys);
        }
    }
}
