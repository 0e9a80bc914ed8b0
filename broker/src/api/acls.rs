//! DescribeAcls 1-3, CreateAcls 1-3, DeleteAcls 1-3: there is no authorizer, and each is told so.
//!
//! The answers are those of a Kafka broker without an authorizer: whoever describes is told once,
//! whoever changes is told for each change, and nothing is stored.

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::create_acls_response::AclCreationResult;
use kafka_protocol::messages::delete_acls_response::DeleteAclsFilterResult;
use kafka_protocol::messages::{
    CreateAclsRequest, CreateAclsResponse, DeleteAclsRequest, DeleteAclsResponse,
    DescribeAclsRequest, DescribeAclsResponse,
};

use crate::api::{code, text};

/// Kafka's words; tools show them.
const DISABLED: &str = "No Authorizer is configured.";

/// Answers a DescribeAcls.
pub fn describe(_request: &DescribeAclsRequest) -> DescribeAclsResponse {
    DescribeAclsResponse::default()
        .with_error_code(code(ResponseError::SecurityDisabled))
        .with_error_message(Some(text(DISABLED)))
}

/// Answers a CreateAcls.
pub fn create(request: &CreateAclsRequest) -> CreateAclsResponse {
    let refused = AclCreationResult::default()
        .with_error_code(code(ResponseError::SecurityDisabled))
        .with_error_message(Some(text(DISABLED)));
    CreateAclsResponse::default().with_results(vec![refused; request.creations.len()])
}

/// Answers a DeleteAcls.
pub fn delete(request: &DeleteAclsRequest) -> DeleteAclsResponse {
    let refused = DeleteAclsFilterResult::default()
        .with_error_code(code(ResponseError::SecurityDisabled))
        .with_error_message(Some(text(DISABLED)));
    DeleteAclsResponse::default().with_filter_results(vec![refused; request.filters.len()])
}
