//! The shapes of the requests about consumer groups.

use super::{Shape, bytes, flag, int32, int32s, int64, string, strings, structs};

pub(super) const OFFSET_COMMIT: Shape = &[
    string("group_id"),
    int32("generation_id_or_member_epoch"),
    string("member_id"),
    string("group_instance_id").or_null().since(7),
    int64("retention_time_ms").until(4),
    structs("topics", &[string("name"), structs("partitions", OFFSET_COMMIT_PARTITION)]),
];
const OFFSET_COMMIT_PARTITION: Shape = &[
    int32("partition_index"),
    int64("committed_offset"),
    int32("committed_leader_epoch").since(6),
    string("committed_metadata").or_null(),
];

pub(super) const OFFSET_FETCH: Shape = &[
    string("group_id").until(7),
    structs("topics", OFFSET_FETCH_TOPIC).or_null().until(7),
    structs("groups", OFFSET_FETCH_GROUP).since(8),
    flag("require_stable").since(7),
];
const OFFSET_FETCH_GROUP: Shape = &[
    string("group_id"),
    string("member_id").or_null().since(9),
    int32("member_epoch").since(9),
    structs("topics", OFFSET_FETCH_TOPIC).or_null(),
];
const OFFSET_FETCH_TOPIC: Shape = &[string("name"), int32s("partition_indexes")];

pub(super) const JOIN_GROUP: Shape = &[
    string("group_id"),
    int32("session_timeout_ms"),
    int32("rebalance_timeout_ms").since(1),
    string("member_id"),
    string("group_instance_id").or_null().since(5),
    string("protocol_type"),
    structs("protocols", &[string("name"), bytes("metadata")]),
    string("reason").or_null().since(8),
];

pub(super) const HEARTBEAT: Shape = &[
    string("group_id"),
    int32("generation_id"),
    string("member_id"),
    string("group_instance_id").or_null().since(3),
];

pub(super) const LEAVE_GROUP: Shape = &[
    string("group_id"),
    string("member_id").until(2),
    structs(
        "members",
        &[
            string("member_id"),
            string("group_instance_id").or_null(),
            string("reason").or_null().since(5),
        ],
    )
    .since(3),
];

pub(super) const SYNC_GROUP: Shape = &[
    string("group_id"),
    int32("generation_id"),
    string("member_id"),
    string("group_instance_id").or_null().since(3),
    string("protocol_type").or_null().since(5),
    string("protocol_name").or_null().since(5),
    structs("assignments", &[string("member_id"), bytes("assignment")]),
];

pub(super) const DESCRIBE_GROUPS: Shape =
    &[strings("groups"), flag("include_authorized_operations").since(3)];

pub(super) const LIST_GROUPS: Shape =
    &[strings("states_filter").since(4), strings("types_filter").since(5)];

pub(super) const DELETE_GROUPS: Shape = &[strings("groups_names")];

pub(super) const OFFSET_DELETE: Shape = &[
    string("group_id"),
    structs("topics", &[string("name"), structs("partitions", &[int32("partition_index")])]),
];
