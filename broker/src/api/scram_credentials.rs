//! DescribeUserScramCredentials 0 and AlterUserScramCredentials 0: nobody has credentials here.
//!
//! Kafka would store what is altered. This broker serves no SASL, so a stored credential would
//! protect nothing: whoever sets one is told so, and nothing is accepted that has no effect.

use std::collections::BTreeSet;

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::alter_user_scram_credentials_response::AlterUserScramCredentialsResult;
use kafka_protocol::messages::describe_user_scram_credentials_response::DescribeUserScramCredentialsResult;
use kafka_protocol::messages::{
    AlterUserScramCredentialsRequest, AlterUserScramCredentialsResponse,
    DescribeUserScramCredentialsRequest, DescribeUserScramCredentialsResponse,
};

use crate::api::{code, doubled, text};

/// Answers a DescribeUserScramCredentials: all users are none, and no named one is there.
pub fn describe(
    request: &DescribeUserScramCredentialsRequest,
) -> DescribeUserScramCredentialsResponse {
    let users = request.users.as_deref().unwrap_or_default();
    let doubled = doubled(users.iter().map(|user| user.name.as_str()));
    let names: BTreeSet<&str> = users.iter().map(|user| user.name.as_str()).collect();
    let results = names.into_iter().map(|name| {
        let (error, why) = match doubled.contains(name) {
            true => (ResponseError::DuplicateResource, format!("User {name} is named twice.")),
            false => {
                (ResponseError::ResourceNotFound, format!("User {name} has no SCRAM credentials."))
            }
        };
        DescribeUserScramCredentialsResult::default()
            .with_user(text(name))
            .with_error_code(code(error))
            .with_error_message(Some(text(why)))
    });
    DescribeUserScramCredentialsResponse::default().with_results(results.collect())
}

/// Answers an AlterUserScramCredentials: each user once, and none is altered.
pub fn alter(request: &AlterUserScramCredentialsRequest) -> AlterUserScramCredentialsResponse {
    let deleted = request.deletions.iter().map(|deletion| deletion.name.as_str());
    let names: BTreeSet<&str> =
        deleted.chain(request.upsertions.iter().map(|one| one.name.as_str())).collect();
    let results = names.into_iter().map(|name| {
        let why = "SASL is not served by this broker: SCRAM credentials would have no effect.";
        AlterUserScramCredentialsResult::default()
            .with_user(text(name))
            .with_error_code(code(ResponseError::UnsupportedSaslMechanism))
            .with_error_message(Some(text(why)))
    });
    AlterUserScramCredentialsResponse::default().with_results(results.collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use kafka_protocol::messages::alter_user_scram_credentials_request::{
        ScramCredentialDeletion, ScramCredentialUpsertion,
    };
    use kafka_protocol::messages::describe_user_scram_credentials_request::UserName;

    #[test]
    fn nobody_has_credentials_and_a_doubled_name_is_told() {
        let users = ["ada", "bob", "ada"].map(|name| UserName::default().with_name(text(name)));
        let request =
            DescribeUserScramCredentialsRequest::default().with_users(Some(users.to_vec()));
        let answered = describe(&request);
        let codes = answered.results.iter().map(|it| (it.user.as_str(), it.error_code));
        assert_eq!(answered.error_code, 0);
        assert_eq!(codes.collect::<Vec<_>>(), [("ada", 92), ("bob", 91)]);
        let all = DescribeUserScramCredentialsRequest::default().with_users(None);
        assert!(describe(&all).results.is_empty());
    }

    #[test]
    fn nothing_is_accepted_that_has_no_effect() {
        let deletion = ScramCredentialDeletion::default().with_name(text("bob"));
        let upsertions =
            ["ada", "bob"].map(|name| ScramCredentialUpsertion::default().with_name(text(name)));
        let request = AlterUserScramCredentialsRequest::default()
            .with_deletions(vec![deletion])
            .with_upsertions(upsertions.to_vec());
        let answered = alter(&request);
        let codes = answered.results.iter().map(|it| (it.user.as_str(), it.error_code));
        assert_eq!(codes.collect::<Vec<_>>(), [("ada", 33), ("bob", 33)]);
    }
}
