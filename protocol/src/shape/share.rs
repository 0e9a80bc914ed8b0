//! The requests about share groups (KIP-932).
use super::{Field, Kind, Shape, flag, int32, int32s, int64, string, strings, structs, uuid};

pub(super) const GROUP_HEARTBEAT: Shape = &[
    string("group_id"),
    string("member_id"),
    int32("member_epoch"),
    string("rack_id").or_null(),
    strings("subscribed_topic_names").or_null(),
];

pub(super) const GROUP_DESCRIBE: Shape =
    &[strings("group_ids"), flag("include_authorized_operations")];

const ACKNOWLEDGEMENTS: Field = structs(
    "acknowledgement_batches",
    &[
        int64("first_offset"),
        int64("last_offset"),
        Field::new("acknowledge_types", Kind::Values(&Kind::Fixed(1))),
    ],
);
const PARTITION: Shape = &[int32("partition_index"), ACKNOWLEDGEMENTS];

pub(super) const FETCH: Shape = &[
    string("group_id").or_null(),
    string("member_id").or_null(),
    int32("share_session_epoch"),
    int32("max_wait_ms"),
    int32("min_bytes"),
    int32("max_bytes"),
    int32("max_records"),
    int32("batch_size"),
    structs("topics", &[uuid("topic_id"), structs("partitions", PARTITION)]),
    structs("forgotten_topics_data", &[uuid("topic_id"), int32s("partitions")]),
];

pub(super) const ACKNOWLEDGE: Shape = &[
    string("group_id").or_null(),
    string("member_id").or_null(),
    int32("share_session_epoch"),
    structs("topics", &[uuid("topic_id"), structs("partitions", PARTITION)]),
];

pub(super) const DESCRIBE_OFFSETS: Shape = &[structs(
    "groups",
    &[
        string("group_id"),
        structs("topics", &[string("topic_name"), int32s("partitions")]).or_null(),
    ],
)];

pub(super) const ALTER_OFFSETS: Shape = &[
    string("group_id"),
    structs(
        "topics",
        &[
            string("topic_name"),
            structs("partitions", &[int32("partition_index"), int64("start_offset")]),
        ],
    ),
];

pub(super) const DELETE_OFFSETS: Shape =
    &[string("group_id"), structs("topics", &[string("topic_name")])];
