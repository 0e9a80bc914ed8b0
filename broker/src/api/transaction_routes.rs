//! Which handler answers which API of transactions.

use std::sync::Arc;

use bytes::Bytes;
use kafka_protocol::messages::ApiKey;
use weir_protocol::header::RequestHeader;

use crate::api::{
    Begun, Refusal, add_offsets_to_txn, add_partitions_to_txn, decode, describe_producers,
    describe_transactions, dispatch_change, end_txn, init_producer_id, later, list_transactions,
    reply, txn_offset_commit, write_txn_markers,
};
use crate::broker::Broker;

/// Begins a request of one of these APIs; the others are for the next to know.
pub(super) fn dispatch(
    api: ApiKey,
    broker: &Arc<Broker>,
    header: &RequestHeader,
    body: Bytes,
) -> Result<Begun, Refusal> {
    let version = header.api_version;
    let shared = broker.clone();
    Ok(match api {
        ApiKey::InitProducerId => {
            later(header, init_producer_id::answer(shared, decode(header, body)?, version))
        }
        ApiKey::AddPartitionsToTxn => {
            later(header, add_partitions_to_txn::answer(shared, decode(header, body)?, version))
        }
        ApiKey::AddOffsetsToTxn => {
            later(header, add_offsets_to_txn::answer(shared, decode(header, body)?, version))
        }
        ApiKey::EndTxn => later(header, end_txn::answer(shared, decode(header, body)?, version)),
        ApiKey::TxnOffsetCommit => {
            later(header, txn_offset_commit::answer(shared, decode(header, body)?, version))
        }
        ApiKey::WriteTxnMarkers => {
            later(header, write_txn_markers::answer(shared, decode(header, body)?))
        }
        ApiKey::DescribeProducers => {
            Begun::Done(reply(header, &describe_producers::answer(broker, &decode(header, body)?)))
        }
        ApiKey::DescribeTransactions => {
            let request = decode(header, body)?;
            Begun::Done(reply(header, &describe_transactions::answer(broker, &request)))
        }
        ApiKey::ListTransactions => {
            let request = decode(header, body)?;
            Begun::Done(reply(header, &list_transactions::answer(broker, &request, version)))
        }
        _ => return dispatch_change(api, shared, header, body),
    })
}
