//! CreateDelegationToken 1-3, RenewDelegationToken 1-2, ExpireDelegationToken 1-2,
//! DescribeDelegationToken 1-3: there are no tokens, and each is told that they are off.
//!
//! Kafka tells a client on a listener without authentication that it may not ask (64). Here tokens
//! are off whoever asks, and 61 says that.

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::{
    CreateDelegationTokenRequest, CreateDelegationTokenResponse, DescribeDelegationTokenRequest,
    DescribeDelegationTokenResponse, ExpireDelegationTokenRequest, ExpireDelegationTokenResponse,
    RenewDelegationTokenRequest, RenewDelegationTokenResponse,
};

use crate::api::code;

const DISABLED: ResponseError = ResponseError::DelegationTokenAuthDisabled;

/// Answers a CreateDelegationToken.
pub fn create(_request: &CreateDelegationTokenRequest) -> CreateDelegationTokenResponse {
    CreateDelegationTokenResponse::default()
        .with_error_code(code(DISABLED))
        .with_issue_timestamp_ms(-1)
        .with_expiry_timestamp_ms(-1)
        .with_max_timestamp_ms(-1)
}

/// Answers a RenewDelegationToken.
pub fn renew(_request: &RenewDelegationTokenRequest) -> RenewDelegationTokenResponse {
    RenewDelegationTokenResponse::default()
        .with_error_code(code(DISABLED))
        .with_expiry_timestamp_ms(-1)
}

/// Answers an ExpireDelegationToken.
pub fn expire(_request: &ExpireDelegationTokenRequest) -> ExpireDelegationTokenResponse {
    ExpireDelegationTokenResponse::default()
        .with_error_code(code(DISABLED))
        .with_expiry_timestamp_ms(-1)
}

/// Answers a DescribeDelegationToken.
pub fn describe(_request: &DescribeDelegationTokenRequest) -> DescribeDelegationTokenResponse {
    DescribeDelegationTokenResponse::default().with_error_code(code(DISABLED))
}
