//! AlterClientQuotas 0-1: sets and removes quotas of users, client ids and addresses.
//!
//! Each entity is taken as a whole or not at all, durable before the answer, effective at once.

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::alter_client_quotas_request::EntryData;
use kafka_protocol::messages::alter_client_quotas_response;
use kafka_protocol::messages::{AlterClientQuotasRequest, AlterClientQuotasResponse};

use crate::api::{code, doubled, text};
use crate::broker::Broker;
use crate::quota::Refusal;
use crate::quota::book::Alteration;
use crate::quota::entity::Entity;

/// Answers the request.
pub fn answer(broker: &Broker, request: &AlterClientQuotasRequest) -> AlterClientQuotasResponse {
    let read: Vec<_> = request.entries.iter().map(alteration).collect();
    let named = read.iter().flatten().map(|alteration| &alteration.entity);
    let doubled = doubled(named);
    let (mut places, mut alterations) = (Vec::new(), Vec::new());
    let mut results: Vec<Result<(), Refusal>> = Vec::new();
    for (place, read) in read.iter().enumerate() {
        results.push(match read {
            Err(why) => Err(Refusal::Invalid(why.clone())),
            Ok(one) if doubled.contains(&one.entity) => {
                Err(Refusal::Invalid(format!("{} is altered twice.", one.entity)))
            }
            Ok(one) => {
                places.push(place);
                alterations.push(one.clone());
                Ok(())
            }
        });
    }
    let altered = broker.quotas.alter(&alterations, request.validate_only);
    for (place, altered) in places.into_iter().zip(altered) {
        results[place] = altered;
    }
    let entries = request.entries.iter().zip(results).map(|(asked, result)| told(asked, result));
    AlterClientQuotasResponse::default().with_entries(entries.collect())
}

fn alteration(entry: &EntryData) -> Result<Alteration, String> {
    let parts =
        entry.entity.iter().map(|part| (part.entity_type.as_str(), part.entity_name.as_deref()));
    let values = entry.ops.iter().map(|op| (op.key.to_string(), (!op.remove).then_some(op.value)));
    Ok(Alteration { entity: Entity::of(parts)?, values: values.collect() })
}

fn told(asked: &EntryData, result: Result<(), Refusal>) -> alter_client_quotas_response::EntryData {
    let parts = asked.entity.iter().map(|part| {
        alter_client_quotas_response::EntityData::default()
            .with_entity_type(part.entity_type.clone())
            .with_entity_name(part.entity_name.clone())
    });
    let entry = alter_client_quotas_response::EntryData::default().with_entity(parts.collect());
    match result {
        Ok(()) => entry.with_error_message(None),
        Err(Refusal::Invalid(why)) => entry
            .with_error_code(code(ResponseError::InvalidRequest))
            .with_error_message(Some(text(why))),
        Err(Refusal::Storage) => entry.with_error_code(code(ResponseError::KafkaStorageError)),
    }
}
