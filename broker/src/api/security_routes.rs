//! Which handler answers which API about who may do what, how much of it, and what has settings.

use std::sync::Arc;

use bytes::Bytes;
use kafka_protocol::messages::ApiKey;
use weir_protocol::header::RequestHeader;

use crate::api::{
    Begun, Caller, Refusal, acls, admin_routes, alter_client_quotas, decode, delegation_tokens,
    describe_client_quotas, list_config_resources, reply, scram_credentials, wait,
};
use crate::broker::Broker;

/// Begins a request of one of these APIs; the others are for the next to know.
pub(super) fn dispatch(
    api: ApiKey,
    broker: &Arc<Broker>,
    caller: &Arc<Caller>,
    header: &RequestHeader,
    body: Bytes,
) -> Result<Begun, Refusal> {
    Ok(Begun::Done(match api {
        ApiKey::DescribeAcls => reply(header, &acls::describe(&decode(header, body)?)),
        ApiKey::CreateAcls => reply(header, &acls::create(&decode(header, body)?)),
        ApiKey::DeleteAcls => reply(header, &acls::delete(&decode(header, body)?)),
        ApiKey::CreateDelegationToken => {
            reply(header, &delegation_tokens::create(&decode(header, body)?))
        }
        ApiKey::RenewDelegationToken => {
            reply(header, &delegation_tokens::renew(&decode(header, body)?))
        }
        ApiKey::ExpireDelegationToken => {
            reply(header, &delegation_tokens::expire(&decode(header, body)?))
        }
        ApiKey::DescribeDelegationToken => {
            reply(header, &delegation_tokens::describe(&decode(header, body)?))
        }
        ApiKey::DescribeClientQuotas => {
            reply(header, &describe_client_quotas::answer(broker, &decode(header, body)?))
        }
        ApiKey::ListConfigResources => {
            let request = decode(header, body)?;
            reply(header, &list_config_resources::answer(broker, &request, header.api_version))
        }
        ApiKey::AlterClientQuotas => {
            let (broker, request) = (broker.clone(), decode(header, body)?);
            return Ok(wait(header, move || alter_client_quotas::answer(&broker, &request)));
        }
        ApiKey::DescribeUserScramCredentials => {
            reply(header, &scram_credentials::describe(&decode(header, body)?))
        }
        ApiKey::AlterUserScramCredentials => {
            reply(header, &scram_credentials::alter(&decode(header, body)?))
        }
        _ => return admin_routes::dispatch(api, broker, caller, header, body),
    }))
}
