//! DescribeClientQuotas 0-1: what is set for users, client ids and addresses.

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::describe_client_quotas_response::{EntityData, EntryData, ValueData};
use kafka_protocol::messages::{DescribeClientQuotasRequest, DescribeClientQuotasResponse};

use crate::api::{code, text};
use crate::broker::Broker;
use crate::quota::book::Limits;
use crate::quota::entity::{Component, Entity, Filter, FilterError};

/// Answers the request.
pub fn answer(
    broker: &Broker,
    request: &DescribeClientQuotasRequest,
) -> DescribeClientQuotasResponse {
    let components = request.components.iter().map(|component| Component {
        kind: &component.entity_type,
        match_type: component.match_type,
        name: component._match.as_deref(),
    });
    let response = DescribeClientQuotasResponse::default();
    let (error, why) = match Filter::of(&components.collect::<Vec<_>>(), request.strict) {
        Ok(filter) => {
            let entries = broker.quotas.described(&filter).into_iter().map(entry);
            return response.with_entries(Some(entries.collect()));
        }
        Err(FilterError::Invalid(why)) => (ResponseError::InvalidRequest, why),
        Err(FilterError::Unsupported(why)) => (ResponseError::UnsupportedVersion, why),
    };
    response.with_error_code(code(error)).with_error_message(Some(text(why))).with_entries(None)
}

fn entry((entity, limits): (Entity, Limits)) -> EntryData {
    let parts = entity.parts().map(|(kind, name)| {
        EntityData::default().with_entity_type(text(kind)).with_entity_name(name.map(text))
    });
    let values = limits
        .iter()
        .map(|(key, limit)| ValueData::default().with_key(text(key.name())).with_value(*limit));
    EntryData::default().with_entity(parts.collect()).with_values(values.collect())
}
