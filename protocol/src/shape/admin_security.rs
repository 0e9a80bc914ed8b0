//! The requests about who may do what and how much of it: ACLs, delegation tokens, SCRAM, quotas.

use super::{Field, Kind, Shape, bytes, flag, int8, int32, int64, string, structs};

pub(super) const DESCRIBE_ACLS: Shape = &[
    int8("resource_type_filter"),
    string("resource_name_filter").or_null(),
    int8("pattern_type_filter"),
    string("principal_filter").or_null(),
    string("host_filter").or_null(),
    int8("operation"),
    int8("permission_type"),
];

pub(super) const CREATE_ACLS: Shape = &[structs(
    "creations",
    &[
        int8("resource_type"),
        string("resource_name"),
        int8("resource_pattern_type"),
        string("principal"),
        string("host"),
        int8("operation"),
        int8("permission_type"),
    ],
)];

pub(super) const DELETE_ACLS: Shape = &[structs("filters", DESCRIBE_ACLS)];

const PRINCIPAL: Shape = &[string("principal_type"), string("principal_name")];

pub(super) const CREATE_DELEGATION_TOKEN: Shape = &[
    string("owner_principal_type").or_null().since(3),
    string("owner_principal_name").or_null().since(3),
    structs("renewers", PRINCIPAL),
    int64("max_lifetime_ms"),
];

/// Renewing and expiring ask for the same.
pub(super) const CHANGE_DELEGATION_TOKEN: Shape = &[bytes("hmac"), int64("period_ms")];

pub(super) const DESCRIBE_DELEGATION_TOKEN: Shape = &[structs("owners", PRINCIPAL).or_null()];

pub(super) const DESCRIBE_USER_SCRAM_CREDENTIALS: Shape =
    &[structs("users", &[string("name")]).or_null()];

pub(super) const ALTER_USER_SCRAM_CREDENTIALS: Shape = &[
    structs("deletions", &[string("name"), int8("mechanism")]),
    structs(
        "upsertions",
        &[
            string("name"),
            int8("mechanism"),
            int32("iterations"),
            bytes("salt"),
            bytes("salted_password"),
        ],
    ),
];

pub(super) const DESCRIBE_CLIENT_QUOTAS: Shape = &[
    structs("components", &[string("entity_type"), int8("match_type"), string("match").or_null()]),
    flag("strict"),
];

pub(super) const ALTER_CLIENT_QUOTAS: Shape = &[
    structs(
        "entries",
        &[
            structs("entity", &[string("entity_type"), string("entity_name").or_null()]),
            // The value is a floating point number: any eight bytes are one.
            structs("ops", &[string("key"), int64("value"), flag("remove")]),
        ],
    ),
    flag("validate_only"),
];

pub(super) const LIST_CONFIG_RESOURCES: Shape =
    &[Field::new("resource_types", Kind::Values(&Kind::Fixed(1))).since(1)];
