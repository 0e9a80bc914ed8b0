//! DescribeCluster 0-2: the cluster's name and its one broker, which is also its controller.
//!
//! Only brokers are described (endpoint type 1); asking for controllers is refused as Kafka's
//! brokers refuse it.

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::describe_cluster_request::DescribeClusterRequest;
use kafka_protocol::messages::describe_cluster_response::{
    DescribeClusterBroker, DescribeClusterResponse,
};

use crate::api::metadata::CLUSTER_OPERATIONS;
use crate::api::{Caller, code, text};
use crate::broker::Broker;

const BROKERS: i8 = 1;
const CONTROLLERS: i8 = 2;

/// Answers the request.
pub fn answer(
    broker: &Broker,
    caller: &Caller,
    request: &DescribeClusterRequest,
    version: i16,
) -> DescribeClusterResponse {
    if version >= 1 && request.endpoint_type != BROKERS {
        let error = if request.endpoint_type == CONTROLLERS {
            ResponseError::MismatchedEndpointType
        } else {
            ResponseError::UnsupportedEndpointType
        };
        return DescribeClusterResponse::default()
            .with_error_code(code(error))
            .with_error_message(Some(text("this endpoint describes brokers (type 1)")))
            .with_endpoint_type(BROKERS);
    }
    let own = DescribeClusterBroker::default()
        .with_broker_id(broker.node_id())
        .with_host(caller.endpoint.host.clone())
        .with_port(i32::from(caller.endpoint.port))
        .with_rack(broker.rack());
    let mut response = DescribeClusterResponse::default()
        .with_cluster_id(broker.cluster_id.clone())
        .with_controller_id(broker.node_id())
        .with_brokers(vec![own]);
    if request.include_cluster_authorized_operations {
        response.cluster_authorized_operations = CLUSTER_OPERATIONS;
    }
    response
}
