//! ApiVersions 0-4: which APIs are served, in which versions.
//!
//! A version that is not served is answered in version 0 with error 35 and the one entry that lets
//! the client try again. Only features that are served are claimed: `transaction.version` would switch
//! clients to another protocol.

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::ApiVersionsRequest;
use kafka_protocol::messages::api_versions_response::{
    ApiVersion, ApiVersionsResponse, FinalizedFeatureKey, SupportedFeatureKey,
};
use kafka_protocol::protocol::StrBytes;
use weir_protocol::answer::{Answer, AnswerError, encode_response};
use weir_protocol::api::{API_VERSIONS, APIS, ApiRow};

use crate::api::code;

/// Features with their levels. `group.version` 1 is the consumer protocol of KIP-848.
const FEATURES: &[(&str, i16)] = &[("group.version", 1)];
/// From here on features are told.
const FEATURES_FROM: i16 = 3;
/// Older clients cannot read a feature whose lowest level is 0 (KAFKA-17492).
const ZERO_LEVELS_FROM: i16 = 4;

/// Answers the request.
pub fn answer(request: &ApiVersionsRequest, version: i16) -> ApiVersionsResponse {
    let is_named = is_software_name(&request.client_software_name)
        && is_software_name(&request.client_software_version);
    if version >= 3 && !is_named {
        return ApiVersionsResponse::default().with_error_code(code(ResponseError::InvalidRequest));
    }
    let response = ApiVersionsResponse::default().with_api_keys(APIS.iter().map(entry).collect());
    if version >= FEATURES_FROM { with_features(response, version) } else { response }
}

/// The features that are served, each at its highest level.
fn with_features(mut response: ApiVersionsResponse, version: i16) -> ApiVersionsResponse {
    for (name, level) in FEATURES {
        if version >= ZERO_LEVELS_FROM {
            let supported = SupportedFeatureKey::default().with_name(StrBytes::from(*name));
            response.supported_features.push(supported.with_max_version(*level));
        }
        let finalized = FinalizedFeatureKey::default().with_name(StrBytes::from(*name));
        let finalized = finalized.with_min_version_level(*level).with_max_version_level(*level);
        response.finalized_features.push(finalized);
    }
    response.with_finalized_features_epoch(0)
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
