//! ApiVersions 0-4: which APIs are served, in which versions.
//!
//! A version that is not served is answered in version 0 with error 35 and the one entry that lets
//! the client try again. No features are claimed: `transaction.version` would switch clients to a
//! protocol that is not served, and the others have nothing behind them yet.

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::ApiVersionsRequest;
use kafka_protocol::messages::api_versions_response::{ApiVersion, ApiVersionsResponse};
use weir_protocol::answer::{Answer, AnswerError, encode_response};
use weir_protocol::api::{API_VERSIONS, APIS, ApiRow};

use crate::api::code;

/// Answers the request.
pub fn answer(request: &ApiVersionsRequest, version: i16) -> ApiVersionsResponse {
    let is_named = is_software_name(&request.client_software_name)
        && is_software_name(&request.client_software_version);
    if version >= 3 && !is_named {
        return ApiVersionsResponse::default().with_error_code(code(ResponseError::InvalidRequest));
    }
    ApiVersionsResponse::default().with_api_keys(APIS.iter().map(entry).collect())
}

/// The answer to a version that is not served.
pub fn answer_unsupported(correlation_id: i32) -> Result<Answer, AnswerError> {
    let own = APIS.iter().filter(|row| row.key == API_VERSIONS);
    let response = ApiVersionsResponse::default()
        .with_error_code(code(ResponseError::UnsupportedVersion))
        .with_api_keys(own.map(entry).collect());
    encode_response(API_VERSIONS, 0, correlation_id, &response)
}

fn entry(row: &ApiRow) -> ApiVersion {
    ApiVersion::default()
        .with_api_key(row.key)
        .with_min_version(row.advertised_min)
        .with_max_version(row.max)
}

/// Kafka's rule: letters, digits, dots and dashes, with a letter or digit at both ends.
fn is_software_name(name: &str) -> bool {
    let is_edge = |c: char| c.is_ascii_alphanumeric();
    name.starts_with(is_edge)
        && name.ends_with(is_edge)
        && name.chars().all(|c| is_edge(c) || c == '-' || c == '.')
}
