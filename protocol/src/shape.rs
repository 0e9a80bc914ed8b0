//! Where the counts and lengths of each request stand, by version: what the guard walks by.
//!
//! A shape lists the fields of a struct in wire order, each with the versions that have it. Which
//! versions have compact lengths and tagged fields is the API's row in [`crate::api`]. Fields of a
//! fixed size are listed by their size only. `or_null` marks what the codec takes as null, in every
//! version: what a null means, and whether it may stand there, is the handler's to answer.

mod admin;
mod admin_security;
mod group;
mod share;
mod transaction;

/// A struct: its fields in wire order. In flexible versions tagged fields follow.
pub type Shape = &'static [Field];

/// One field of a struct, or the elements of an array.
#[derive(Copy, Clone, Debug)]
pub struct Field {
    /// Its name in Kafka's schema.
    pub name: &'static str,
    /// How it is written.
    pub kind: Kind,
    /// The first version that has it.
    pub since: i16,
    /// The last version that has it.
    pub until: i16,
    /// Whether null may stand there.
    pub nullable: bool,
    /// Its number, if it is one of the tagged fields.
    pub tag: Option<u32>,
}

/// How a field is written.
#[derive(Copy, Clone, Debug)]
pub enum Kind {
    /// So many bytes.
    Fixed(usize),
    /// A length and that many bytes of UTF-8.
    String,
    /// A length and that many bytes.
    Bytes,
    /// A count and that many structs.
    Structs(Shape),
    /// A count and that many values of one kind.
    Values(&'static Kind),
    /// A struct behind a byte that says whether it is there.
    NullableStruct(Shape),
    /// A struct; only as a tagged field.
    Struct(Shape),
}

impl Field {
    const fn new(name: &'static str, kind: Kind) -> Field {
        Field { name, kind, since: 0, until: i16::MAX, nullable: false, tag: None }
    }

    const fn or_null(mut self) -> Field {
        self.nullable = true;
        self
    }

    const fn since(mut self, version: i16) -> Field {
        self.since = version;
        self
    }

    const fn until(mut self, version: i16) -> Field {
        self.until = version;
        self
    }

    const fn tag(mut self, tag: u32) -> Field {
        self.tag = Some(tag);
        self
    }

    /// Whether it stands among the plain fields of that version.
    pub(crate) fn is_plain_in(&self, version: i16) -> bool {
        self.tag.is_none() && self.since <= version && version <= self.until
    }
}

const fn flag(name: &'static str) -> Field {
    Field::new(name, Kind::Fixed(1))
}

const fn int8(name: &'static str) -> Field {
    Field::new(name, Kind::Fixed(1))
}

const fn int16(name: &'static str) -> Field {
    Field::new(name, Kind::Fixed(2))
}

const fn int32(name: &'static str) -> Field {
    Field::new(name, Kind::Fixed(4))
}

const fn int64(name: &'static str) -> Field {
    Field::new(name, Kind::Fixed(8))
}

const fn uuid(name: &'static str) -> Field {
    Field::new(name, Kind::Fixed(16))
}

const fn string(name: &'static str) -> Field {
    Field::new(name, Kind::String)
}

const fn bytes(name: &'static str) -> Field {
    Field::new(name, Kind::Bytes)
}

const fn strings(name: &'static str) -> Field {
    Field::new(name, Kind::Values(&Kind::String))
}

const fn int32s(name: &'static str) -> Field {
    Field::new(name, Kind::Values(&Kind::Fixed(4)))
}

const fn structs(name: &'static str, shape: Shape) -> Field {
    Field::new(name, Kind::Structs(shape))
}

/// The shape of a request, if its API is served.
#[must_use]
pub fn of(api_key: i16) -> Option<Shape> {
    Some(match api_key {
        0 => PRODUCE,
        1 => FETCH,
        2 => LIST_OFFSETS,
        3 => METADATA,
        8 => group::OFFSET_COMMIT,
        9 => group::OFFSET_FETCH,
        10 => FIND_COORDINATOR,
        11 => group::JOIN_GROUP,
        12 => group::HEARTBEAT,
        13 => group::LEAVE_GROUP,
        14 => group::SYNC_GROUP,
        15 => group::DESCRIBE_GROUPS,
        16 => group::LIST_GROUPS,
        18 => API_VERSIONS,
        19 => CREATE_TOPICS,
        20 => DELETE_TOPICS,
        21 => DELETE_RECORDS,
        22 => INIT_PRODUCER_ID,
        23 => OFFSET_FOR_LEADER_EPOCH,
        24 => transaction::ADD_PARTITIONS_TO_TXN,
        25 => transaction::ADD_OFFSETS_TO_TXN,
        26 => transaction::END_TXN,
        27 => transaction::WRITE_TXN_MARKERS,
        28 => transaction::TXN_OFFSET_COMMIT,
        29 => admin_security::DESCRIBE_ACLS,
        30 => admin_security::CREATE_ACLS,
        31 => admin_security::DELETE_ACLS,
        32 => DESCRIBE_CONFIGS,
        33 => ALTER_CONFIGS,
        34 => admin::ALTER_REPLICA_LOG_DIRS,
        35 => admin::DESCRIBE_LOG_DIRS,
        37 => CREATE_PARTITIONS,
        38 => admin_security::CREATE_DELEGATION_TOKEN,
        39 | 40 => admin_security::CHANGE_DELEGATION_TOKEN,
        41 => admin_security::DESCRIBE_DELEGATION_TOKEN,
        42 => group::DELETE_GROUPS,
        43 => admin::ELECT_LEADERS,
        44 => INCREMENTAL_ALTER_CONFIGS,
        45 => admin::ALTER_PARTITION_REASSIGNMENTS,
        46 => admin::LIST_PARTITION_REASSIGNMENTS,
        47 => group::OFFSET_DELETE,
        48 => admin_security::DESCRIBE_CLIENT_QUOTAS,
        49 => admin_security::ALTER_CLIENT_QUOTAS,
        50 => admin_security::DESCRIBE_USER_SCRAM_CREDENTIALS,
        51 => admin_security::ALTER_USER_SCRAM_CREDENTIALS,
        55 => admin::DESCRIBE_QUORUM,
        57 => admin::UPDATE_FEATURES,
        60 => DESCRIBE_CLUSTER,
        61 => transaction::DESCRIBE_PRODUCERS,
        65 => transaction::DESCRIBE_TRANSACTIONS,
        66 => transaction::LIST_TRANSACTIONS,
        68 => group::CONSUMER_GROUP_HEARTBEAT,
        69 => group::CONSUMER_GROUP_DESCRIBE,
        74 => admin_security::LIST_CONFIG_RESOURCES,
        75 => DESCRIBE_TOPIC_PARTITIONS,
        76 => share::GROUP_HEARTBEAT,
        77 => share::GROUP_DESCRIBE,
        78 => share::FETCH,
        79 => share::ACKNOWLEDGE,
        90 => share::DESCRIBE_OFFSETS,
        91 => share::ALTER_OFFSETS,
        92 => share::DELETE_OFFSETS,
        _ => return None,
    })
}

const PRODUCE: Shape = &[
    string("transactional_id").or_null(),
    int16("acks"),
    int32("timeout_ms"),
    structs("topic_data", PRODUCE_TOPIC),
];
const PRODUCE_TOPIC: Shape = &[
    string("name").until(12),
    uuid("topic_id").since(13),
    structs("partition_data", &[int32("index"), bytes("records").or_null()]),
];

const FETCH: Shape = &[
    string("cluster_id").or_null().tag(0).since(12),
    int32("replica_id").until(14),
    Field::new("replica_state", Kind::Struct(&[int32("replica_id"), int64("replica_epoch")]))
        .tag(1)
        .since(15),
    int32("max_wait_ms"),
    int32("min_bytes"),
    int32("max_bytes"),
    int8("isolation_level"),
    int32("session_id").since(7),
    int32("session_epoch").since(7),
    structs("topics", FETCH_TOPIC),
    structs("forgotten_topics_data", FETCH_FORGOTTEN).since(7),
    string("rack_id").since(11),
];
const FETCH_TOPIC: Shape = &[
    string("topic").until(12),
    uuid("topic_id").since(13),
    structs("partitions", FETCH_PARTITION),
];
const FETCH_PARTITION: Shape = &[
    int32("partition"),
    int32("current_leader_epoch").since(9),
    int64("fetch_offset"),
    int32("last_fetched_epoch").since(12),
    int64("log_start_offset").since(5),
    int32("partition_max_bytes"),
    uuid("replica_directory_id").tag(0).since(17),
    int64("high_watermark").tag(1).since(18),
];
const FETCH_FORGOTTEN: Shape =
    &[string("topic").until(12), uuid("topic_id").since(13), int32s("partitions")];

const LIST_OFFSETS: Shape = &[
    int32("replica_id"),
    int8("isolation_level").since(2),
    structs("topics", LIST_OFFSETS_TOPIC),
    int32("timeout_ms").since(10),
];
const LIST_OFFSETS_TOPIC: Shape = &[
    string("name"),
    structs(
        "partitions",
        &[int32("partition_index"), int32("current_leader_epoch").since(4), int64("timestamp")],
    ),
];

const METADATA: Shape = &[
    structs("topics", &[uuid("topic_id").since(10), string("name").or_null()]).or_null(),
    flag("allow_auto_topic_creation").since(4),
    flag("include_cluster_authorized_operations").since(8).until(10),
    flag("include_topic_authorized_operations").since(8),
];

const FIND_COORDINATOR: Shape =
    &[string("key").until(3), int8("key_type").since(1), strings("coordinator_keys").since(4)];

const API_VERSIONS: Shape =
    &[string("client_software_name").since(3), string("client_software_version").since(3)];

const CREATE_TOPICS: Shape =
    &[structs("topics", CREATE_TOPIC), int32("timeout_ms"), flag("validate_only")];
const CREATE_TOPIC: Shape = &[
    string("name"),
    int32("num_partitions"),
    int16("replication_factor"),
    structs("assignments", &[int32("partition_index"), int32s("broker_ids")]),
    structs("configs", &[string("name"), string("value").or_null()]),
];

const DELETE_TOPICS: Shape = &[
    structs("topics", &[string("name").or_null(), uuid("topic_id")]).since(6),
    strings("topic_names").until(5),
    int32("timeout_ms"),
];

const DELETE_RECORDS: Shape = &[
    structs(
        "topics",
        &[string("name"), structs("partitions", &[int32("partition_index"), int64("offset")])],
    ),
    int32("timeout_ms"),
];

const INIT_PRODUCER_ID: Shape = &[
    string("transactional_id").or_null(),
    int32("transaction_timeout_ms"),
    int64("producer_id").since(3),
    int16("producer_epoch").since(3),
];

const OFFSET_FOR_LEADER_EPOCH: Shape = &[
    int32("replica_id").since(3),
    structs("topics", &[string("topic"), structs("partitions", OFFSET_FOR_LEADER_PARTITION)]),
];
const OFFSET_FOR_LEADER_PARTITION: Shape =
    &[int32("partition"), int32("current_leader_epoch"), int32("leader_epoch")];

const DESCRIBE_CONFIGS: Shape = &[
    structs(
        "resources",
        &[int8("resource_type"), string("resource_name"), strings("configuration_keys").or_null()],
    ),
    flag("include_synonyms"),
    flag("include_documentation").since(3),
];

const ALTER_CONFIGS: Shape = &[
    structs(
        "resources",
        &[
            int8("resource_type"),
            string("resource_name"),
            structs("configs", &[string("name"), string("value").or_null()]),
        ],
    ),
    flag("validate_only"),
];

const INCREMENTAL_ALTER_CONFIGS: Shape = &[
    structs(
        "resources",
        &[
            int8("resource_type"),
            string("resource_name"),
            structs(
                "configs",
                &[string("name"), int8("config_operation"), string("value").or_null()],
            ),
        ],
    ),
    flag("validate_only"),
];

const CREATE_PARTITIONS: Shape = &[
    structs(
        "topics",
        &[
            string("name"),
            int32("count"),
            structs("assignments", &[int32s("broker_ids")]).or_null(),
        ],
    ),
    int32("timeout_ms"),
    flag("validate_only"),
];

const DESCRIBE_CLUSTER: Shape = &[
    flag("include_cluster_authorized_operations"),
    int8("endpoint_type").since(1),
    flag("include_fenced_brokers").since(2),
];

const DESCRIBE_TOPIC_PARTITIONS: Shape = &[
    structs("topics", &[string("name")]),
    int32("response_partition_limit"),
    Field::new("cursor", Kind::NullableStruct(&[string("topic_name"), int32("partition_index")])),
];
