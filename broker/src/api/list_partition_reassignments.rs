//! ListPartitionReassignments 0: what is being moved, which on one broker is nothing.

use kafka_protocol::messages::list_partition_reassignments_response::ListPartitionReassignmentsResponse;

/// Answers the request, whatever it asks about.
pub fn answer() -> ListPartitionReassignmentsResponse {
    ListPartitionReassignmentsResponse::default()
}
