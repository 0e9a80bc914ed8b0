//! ListTransactions 0-2: transactional ids, by state, producer, age (1) and name pattern (2).

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::list_transactions_request::ListTransactionsRequest;
use kafka_protocol::messages::list_transactions_response::{
    ListTransactionsResponse, TransactionState,
};
use kafka_protocol::messages::{ProducerId, TransactionalId};
use weir_protocol::records::control::Marker;

use crate::api::{code, text};
use crate::broker::Broker;
use crate::transaction::state::State;

const STATES: [State; 6] = [
    State::Empty,
    State::Ongoing,
    State::Preparing(Marker::Commit),
    State::Preparing(Marker::Abort),
    State::Complete(Marker::Commit),
    State::Complete(Marker::Abort),
];

/// Answers the request.
pub fn answer(
    broker: &Broker,
    request: &ListTransactionsRequest,
    version: i16,
) -> ListTransactionsResponse {
    let pattern = request.transactional_id_pattern.as_deref().filter(|_| version >= 2);
    if pattern.is_some_and(|pattern| !pattern.is_empty()) {
        // Kafka takes RE2 here; nothing in this broker reads regular expressions.
        return ListTransactionsResponse::default()
            .with_error_code(code(ResponseError::InvalidRegularExpression));
    }
    let is_known = |name: &str| STATES.iter().any(|state| state.name() == name);
    let unknown = request.state_filters.iter().filter(|name| !is_known(name)).cloned();
    let now_ms = broker.clock.now_ms();
    let listed = broker.transactions.list().into_iter().filter(|(_, it)| {
        let state = it.state.name();
        let by_state = request.state_filters.is_empty()
            || request.state_filters.iter().any(|name| name.as_str() == state);
        let by_producer = request.producer_id_filters.is_empty()
            || request.producer_id_filters.iter().any(|id| id.0 == it.producer_id);
        let age_ms = now_ms.saturating_sub(it.started_ms);
        let by_age = version < 1
            || request.duration_filter < 0
            || it.started_ms >= 0 && age_ms > request.duration_filter;
        by_state && by_producer && by_age
    });
    let told = listed.map(|(id, it)| {
        TransactionState::default()
            .with_transactional_id(TransactionalId(text(id)))
            .with_producer_id(ProducerId(it.producer_id))
            .with_transaction_state(text(it.state.name()))
    });
    ListTransactionsResponse::default()
        .with_unknown_state_filters(unknown.collect())
        .with_transaction_states(told.collect())
}
