//! DescribeTransactions 0: transactional ids with what they have open.

use std::collections::BTreeMap;

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::describe_transactions_request::DescribeTransactionsRequest;
use kafka_protocol::messages::describe_transactions_response::{
    DescribeTransactionsResponse, TopicData, TransactionState,
};
use kafka_protocol::messages::{ProducerId, TopicName, TransactionalId};

use crate::api::{code, text};
use crate::broker::Broker;

/// Answers the request.
pub fn answer(
    broker: &Broker,
    request: &DescribeTransactionsRequest,
) -> DescribeTransactionsResponse {
    let described = request.transactional_ids.iter().map(|id| describe(broker, id));
    DescribeTransactionsResponse::default().with_transaction_states(described.collect())
}

fn describe(broker: &Broker, id: &TransactionalId) -> TransactionState {
    let described = TransactionState::default().with_transactional_id(id.clone());
    let Some(it) = broker.transactions.view(id) else {
        return described.with_error_code(code(ResponseError::TransactionalIdNotFound));
    };
    let mut topics: BTreeMap<String, Vec<i32>> = BTreeMap::new();
    for (topic, partition) in it.partitions {
        topics.entry(topic).or_default().push(partition);
    }
    let topics = topics.into_iter().map(|(topic, partitions)| {
        TopicData::default().with_topic(TopicName(text(topic))).with_partitions(partitions)
    });
    described
        .with_transaction_state(text(it.state.name()))
        .with_transaction_timeout_ms(it.timeout_ms)
        .with_transaction_start_time_ms(it.started_ms)
        .with_producer_id(ProducerId(it.producer_id))
        .with_producer_epoch(it.epoch)
        .with_topics(topics.collect())
}
