//! The shapes of the requests about transactions.

use super::{Shape, flag, int16, int32, int32s, int64, string, strings, structs};

const TOPIC: Shape = &[string("name"), int32s("partitions")];

pub(super) const ADD_PARTITIONS_TO_TXN: Shape = &[
    structs(
        "transactions",
        &[
            string("transactional_id"),
            int64("producer_id"),
            int16("producer_epoch"),
            flag("verify_only"),
            structs("topics", TOPIC),
        ],
    )
    .since(4),
    string("v3_and_below_transactional_id").until(3),
    int64("v3_and_below_producer_id").until(3),
    int16("v3_and_below_producer_epoch").until(3),
    structs("v3_and_below_topics", TOPIC).until(3),
];

pub(super) const ADD_OFFSETS_TO_TXN: Shape = &[
    string("transactional_id"),
    int64("producer_id"),
    int16("producer_epoch"),
    string("group_id"),
];

pub(super) const END_TXN: Shape =
    &[string("transactional_id"), int64("producer_id"), int16("producer_epoch"), flag("committed")];

pub(super) const WRITE_TXN_MARKERS: Shape = &[structs(
    "markers",
    &[
        int64("producer_id"),
        int16("producer_epoch"),
        flag("transaction_result"),
        structs("topics", TOPIC),
        int32("coordinator_epoch"),
    ],
)];

pub(super) const TXN_OFFSET_COMMIT: Shape = &[
    string("transactional_id"),
    string("group_id"),
    int64("producer_id"),
    int16("producer_epoch"),
    int32("generation_id").since(3),
    string("member_id").since(3),
    string("group_instance_id").or_null().since(3),
    structs("topics", &[string("name"), structs("partitions", TXN_OFFSET_COMMIT_PARTITION)]),
];
const TXN_OFFSET_COMMIT_PARTITION: Shape = &[
    int32("partition_index"),
    int64("committed_offset"),
    int32("committed_leader_epoch").since(2),
    string("committed_metadata").or_null(),
];

pub(super) const DESCRIBE_PRODUCERS: Shape =
    &[structs("topics", &[string("name"), int32s("partition_indexes")])];

pub(super) const DESCRIBE_TRANSACTIONS: Shape = &[strings("transactional_ids")];

pub(super) const LIST_TRANSACTIONS: Shape = &[
    strings("state_filters"),
    super::Field::new("producer_id_filters", super::Kind::Values(&super::Kind::Fixed(8))),
    int64("duration_filter").since(1),
    string("transactional_id_pattern").or_null().since(2),
];
