//! Which handler answers which API about who may do what, and how much of it.

use std::sync::Arc;

use bytes::Bytes;
use kafka_protocol::messages::ApiKey;
use weir_protocol::header::RequestHeader;

use crate::api::{
    Begun, Caller, Refusal, acls, decode, delegation_tokens, group_routes, reply, scram_credentials,
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
        ApiKey::DescribeUserScramCredentials => {
            reply(header, &scram_credentials::describe(&decode(header, body)?))
        }
        ApiKey::AlterUserScramCredentials => {
            reply(header, &scram_credentials::alter(&decode(header, body)?))
        }
        _ => return group_routes::dispatch(api, broker, caller, header, body),
    }))
}
