//! ACLs, delegation tokens and SCRAM: none is served, and each is told in Kafka's way.

use kafka_protocol::messages::alter_user_scram_credentials_request::ScramCredentialUpsertion;
use kafka_protocol::messages::create_acls_request::AclCreation;
use kafka_protocol::messages::delete_acls_request::DeleteAclsFilter;
use kafka_protocol::messages::describe_user_scram_credentials_request::UserName;
use kafka_protocol::messages::{
    AlterUserScramCredentialsRequest, CreateAclsRequest, CreateDelegationTokenRequest,
    DeleteAclsRequest, DescribeAclsRequest, DescribeDelegationTokenRequest,
    DescribeUserScramCredentialsRequest, ExpireDelegationTokenRequest, RenewDelegationTokenRequest,
};

use crate::client::{Client, broker, text};
use crate::every_version::all;

const SECURITY_DISABLED: i16 = 54;
const TOKENS_DISABLED: i16 = 61;

fn filter() -> DeleteAclsFilter {
    let filter = DeleteAclsFilter::default().with_resource_type_filter(1);
    filter.with_pattern_type_filter(1).with_operation(1).with_permission_type(1)
}

fn scram() -> AlterUserScramCredentialsRequest {
    let upsertion = ScramCredentialUpsertion::default()
        .with_name(text("ada"))
        .with_mechanism(1)
        .with_iterations(4096);
    AlterUserScramCredentialsRequest::default().with_upsertions(vec![upsertion])
}

/// Every API in every version, once at least.
pub(crate) async fn ask(client: &mut Client) {
    all(client, |_| DescribeAclsRequest::default().with_resource_name_filter(Some(text("t"))))
        .await;
    all(client, |_| CreateAclsRequest::default().with_creations(vec![AclCreation::default()]))
        .await;
    all(client, |_| DeleteAclsRequest::default().with_filters(vec![filter()])).await;
    all(client, |_| CreateDelegationTokenRequest::default().with_max_lifetime_ms(5)).await;
    all(client, |_| RenewDelegationTokenRequest::default().with_hmac("h".into())).await;
    all(client, |_| ExpireDelegationTokenRequest::default().with_hmac("h".into())).await;
    all(client, |_| DescribeDelegationTokenRequest::default().with_owners(None)).await;
    all(client, |_| {
        let user = UserName::default().with_name(text("ada"));
        DescribeUserScramCredentialsRequest::default().with_users(Some(vec![user]))
    })
    .await;
    all(client, |_| scram()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_an_authorizer_acls_are_refused_as_kafka_refuses_them() {
    let (_folder, broker) = broker().await;
    let mut client = Client::of(&broker).await;
    let described = client.call(3, &DescribeAclsRequest::default()).await;
    assert_eq!(described.error_code, SECURITY_DISABLED);
    assert_eq!(described.error_message.as_deref(), Some("No Authorizer is configured."));
    let creations = vec![AclCreation::default(); 2];
    let created =
        client.call(3, &CreateAclsRequest::default().with_creations(creations)).await.results;
    assert_eq!(created.iter().map(|it| it.error_code).collect::<Vec<_>>(), [54, 54]);
    let deleted = DeleteAclsRequest::default().with_filters(vec![filter()]);
    let deleted = client.call(3, &deleted).await.filter_results;
    assert_eq!(deleted.len(), 1);
    assert_eq!(deleted[0].error_code, SECURITY_DISABLED);
    broker.stop().await.expect("a clean stop");
}

#[tokio::test(flavor = "multi_thread")]
async fn delegation_tokens_are_off_and_scram_credentials_are_not_taken() {
    let (_folder, broker) = broker().await;
    let mut client = Client::of(&broker).await;
    let created = client.call(3, &CreateDelegationTokenRequest::default()).await;
    assert_eq!(created.error_code, TOKENS_DISABLED);
    let described = client.call(3, &DescribeDelegationTokenRequest::default()).await;
    assert_eq!((described.error_code, described.tokens.len()), (TOKENS_DISABLED, 0));
    let altered = client.call(0, &scram()).await.results.remove(0);
    assert_eq!(altered.error_code, 33);
    assert!(altered.error_message.is_some_and(|why| why.contains("SASL is not served")));
    let all = DescribeUserScramCredentialsRequest::default().with_users(None);
    assert!(client.call(0, &all).await.results.is_empty());
    broker.stop().await.expect("a clean stop");
}
