//! The shapes of the requests of those who look after a cluster: where replicas lie, who leads.

use super::{Shape, flag, int8, int16, int32, int32s, string, structs};

const TOPIC: Shape = &[string("topic"), int32s("partitions")];

pub(super) const ALTER_REPLICA_LOG_DIRS: Shape =
    &[structs("dirs", &[string("path"), structs("topics", TOPIC)])];

pub(super) const DESCRIBE_LOG_DIRS: Shape = &[structs("topics", TOPIC).or_null()];

pub(super) const ELECT_LEADERS: Shape = &[
    int8("election_type").since(1),
    structs("topic_partitions", TOPIC).or_null(),
    int32("timeout_ms"),
];

pub(super) const ALTER_PARTITION_REASSIGNMENTS: Shape = &[
    int32("timeout_ms"),
    flag("allow_replication_factor_change").since(1),
    structs(
        "topics",
        &[
            string("name"),
            structs("partitions", &[int32("partition_index"), int32s("replicas").or_null()]),
        ],
    ),
];

pub(super) const LIST_PARTITION_REASSIGNMENTS: Shape =
    &[int32("timeout_ms"), structs("topics", TOPIC).or_null()];

pub(super) const DESCRIBE_QUORUM: Shape =
    &[structs("topics", &[string("topic_name"), structs("partitions", &[int32("index")])])];

pub(super) const UPDATE_FEATURES: Shape = &[
    int32("timeout_ms"),
    structs(
        "feature_updates",
        &[
            string("feature"),
            int16("max_version_level"),
            flag("allow_downgrade").until(0),
            int8("upgrade_type").since(1),
        ],
    ),
    flag("validate_only").since(1),
];
