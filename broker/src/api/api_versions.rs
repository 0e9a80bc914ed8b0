//! ApiVersions 0-4: which APIs are served, in which versions.
//!
//! A version that is not served is answered in version 0 with error 35 and the one entry that lets
//! the client try again. Of the features only those are claimed that have something behind them: a
//! client that is told `transaction.version` 2 ends its transactions by EndTxn 5, which bumps its
//! epoch, and adds no partition to them by a request of its own (KIP-890, part 2).

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::ApiVersionsRequest;
use kafka_protocol::messages::api_versions_response::{
    ApiVersion, ApiVersionsResponse, FinalizedFeatureKey, SupportedFeatureKey,
};
use weir_protocol::answer::{Answer, AnswerError, encode_response};
use weir_protocol::api::{API_VERSIONS, APIS, ApiRow};

use crate::api::{code, text};

/// Features that are claimed, each with its level; the lowest that could be is 0.
pub(super) const FEATURES: &[(&str, i16)] =
    &[("group.version", 1), ("share.version", 1), ("transaction.version", 2)];
/// From here on there are features.
const FEATURES_FROM: i16 = 3;
/// Before, Java clients cannot read a feature that may be as low as 0 (KAFKA-17492).
const SUPPORTED_FROM_0_FROM: i16 = 4;

/// Answers the request.
pub fn answer(request: &ApiVersionsRequest, version: i16) -> ApiVersionsResponse {
    let is_named = is_software_name(&request.client_software_name)
        && is_software_name(&request.client_software_version);
    if version >= 3 && !is_named {
        return ApiVersionsResponse::default().with_error_code(code(ResponseError::InvalidRequest));
    }
    let response = ApiVersionsResponse::default().with_api_keys(APIS.iter().map(entry).collect());
    if version < FEATURES_FROM {
        return response;
    }
    let finalized = FEATURES.iter().map(|(name, level)| {
        FinalizedFeatureKey::default()
            .with_name(text(*name))
            .with_min_version_level(*level)
            .with_max_version_level(*level)
    });
    let response =
        response.with_finalized_features_epoch(0).with_finalized_features(finalized.collect());
    if version < SUPPORTED_FROM_0_FROM {
        return response;
    }
    let supported = FEATURES.iter().map(|(name, level)| {
        SupportedFeatureKey::default().with_name(text(*name)).with_max_version(*level)
    });
    response.with_supported_features(supported.collect())
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
