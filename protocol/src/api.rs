//! The one table of the APIs that are served: versions, what they are about, who may call them.
//!
//! Never built from the `kafka-protocol` crate's own ranges, which claim more than it encodes; a
//! test holds the two together.

/// What a caller must be allowed to do; Kafka's words and codes.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "Kafka's own words")]
pub enum Operation {
    /// Nothing in particular, or what the handler finds out by itself.
    Any = 1,
    Read = 3,
    Write = 4,
    Create = 5,
    Delete = 6,
    Alter = 7,
    Describe = 8,
    ClusterAction = 9,
    DescribeConfigs = 10,
    AlterConfigs = 11,
    IdempotentWrite = 12,
}

/// One API that is served.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct ApiRow {
    /// Its number on the wire.
    pub key: i16,
    /// Kafka's name for it.
    pub name: &'static str,
    /// The lowest version that is served.
    pub min: i16,
    /// The highest.
    pub max: i16,
    /// The lowest that ApiVersions names. Produce says 0, though 0 to 2 are refused: librdkafka
    /// before 2.11 stops compressing otherwise.
    pub advertised_min: i16,
    /// From here on strings are compact and structs end with tagged fields.
    pub flexible_from: Option<i16>,
    /// Whether it may be called before authentication.
    pub before_authentication: bool,
    /// What the caller must be allowed to do.
    pub operation: Operation,
}

impl ApiRow {
    /// Whether that version has compact strings and tagged fields.
    #[must_use]
    pub fn is_flexible(&self, version: i16) -> bool {
        self.flexible_from.is_some_and(|from| version >= from)
    }

    /// Whether that version is served.
    #[must_use]
    pub fn serves(&self, version: i16) -> bool {
        (self.min..=self.max).contains(&version)
    }

    /// The version of the header of its answers. That of ApiVersions is always 0, so that a client
    /// can read it before it knows anything.
    #[must_use]
    pub fn response_header_version(&self, version: i16) -> i16 {
        i16::from(self.key != API_VERSIONS && self.is_flexible(version))
    }
}

/// The API that a client asks first.
pub const API_VERSIONS: i16 = 18;

const fn row(
    key: i16,
    name: &'static str,
    min: i16,
    max: i16,
    flexible_from: i16,
    operation: Operation,
) -> ApiRow {
    ApiRow {
        key,
        name,
        min,
        max,
        advertised_min: if key == 0 { 0 } else { min },
        flexible_from: Some(flexible_from),
        before_authentication: key == API_VERSIONS,
        operation,
    }
}

/// An API whose strings are never compact.
const fn not_flexible(
    key: i16,
    name: &'static str,
    min: i16,
    max: i16,
    operation: Operation,
) -> ApiRow {
    ApiRow { flexible_from: None, ..row(key, name, min, max, 0, operation) }
}

/// All that is served, by key.
#[rustfmt::skip]
pub const APIS: &[ApiRow] = &[
    // key, name, versions served, flexible from, operation
    row(0,  "Produce",                  3, 13, 9,  Operation::Write),
    row(1,  "Fetch",                    4, 18, 12, Operation::Read),
    row(2,  "ListOffsets",              1, 10, 6,  Operation::Describe),
    row(3,  "Metadata",                 0, 13, 9,  Operation::Describe),
    row(8,  "OffsetCommit",             2, 9,  8,  Operation::Read),
    row(9,  "OffsetFetch",              1, 9,  6,  Operation::Describe),
    row(10, "FindCoordinator",          0, 6,  3,  Operation::Describe),
    row(11, "JoinGroup",                0, 9,  6,  Operation::Read),
    row(12, "Heartbeat",                0, 4,  4,  Operation::Read),
    row(13, "LeaveGroup",               0, 5,  4,  Operation::Read),
    row(14, "SyncGroup",                0, 5,  4,  Operation::Read),
    row(15, "DescribeGroups",           0, 6,  5,  Operation::Describe),
    row(16, "ListGroups",               0, 5,  3,  Operation::Describe),
    row(18, "ApiVersions",              0, 4,  3,  Operation::Any),
    row(19, "CreateTopics",             2, 7,  5,  Operation::Create),
    row(20, "DeleteTopics",             1, 6,  4,  Operation::Delete),
    row(21, "DeleteRecords",            0, 2,  2,  Operation::Delete),
    row(22, "InitProducerId",           0, 5,  2,  Operation::IdempotentWrite),
    row(23, "OffsetForLeaderEpoch",     2, 4,  4,  Operation::Describe),
    row(24, "AddPartitionsToTxn",       0, 5,  3,  Operation::Write),
    row(25, "AddOffsetsToTxn",          0, 4,  3,  Operation::Write),
    row(26, "EndTxn",                   0, 5,  3,  Operation::Write),
    row(27, "WriteTxnMarkers",          1, 1,  1,  Operation::ClusterAction),
    row(28, "TxnOffsetCommit",          0, 5,  3,  Operation::Write),
    row(29, "DescribeAcls",             1, 3,  2,  Operation::Describe),
    row(30, "CreateAcls",               1, 3,  2,  Operation::Alter),
    row(31, "DeleteAcls",               1, 3,  2,  Operation::Alter),
    row(32, "DescribeConfigs",          1, 4,  4,  Operation::DescribeConfigs),
    row(33, "AlterConfigs",             0, 2,  2,  Operation::AlterConfigs),
    row(34, "AlterReplicaLogDirs",      1, 2,  2,  Operation::Alter),
    row(35, "DescribeLogDirs",          1, 4,  2,  Operation::Describe),
    row(37, "CreatePartitions",         0, 3,  2,  Operation::Alter),
    row(38, "CreateDelegationToken",    1, 3,  2,  Operation::Any),
    row(39, "RenewDelegationToken",     1, 2,  2,  Operation::Any),
    row(40, "ExpireDelegationToken",    1, 2,  2,  Operation::Any),
    row(41, "DescribeDelegationToken",  1, 3,  2,  Operation::Describe),
    row(42, "DeleteGroups",             0, 2,  2,  Operation::Delete),
    row(43, "ElectLeaders",             0, 2,  2,  Operation::Alter),
    row(44, "IncrementalAlterConfigs",  0, 1,  1,  Operation::AlterConfigs),
    row(45, "AlterPartitionReassignments", 0, 1, 0, Operation::Alter),
    row(46, "ListPartitionReassignments",  0, 0, 0, Operation::Describe),
    not_flexible(47, "OffsetDelete",    0, 0,      Operation::Delete),
    row(48, "DescribeClientQuotas",     0, 1,  1,  Operation::DescribeConfigs),
    row(49, "AlterClientQuotas",        0, 1,  1,  Operation::AlterConfigs),
    row(50, "DescribeUserScramCredentials", 0, 0, 0, Operation::Describe),
    row(51, "AlterUserScramCredentials", 0, 0, 0,  Operation::Alter),
    row(55, "DescribeQuorum",           0, 2,  0,  Operation::Describe),
    row(57, "UpdateFeatures",           0, 2,  0,  Operation::Alter),
    row(60, "DescribeCluster",          0, 2,  0,  Operation::Describe),
    row(61, "DescribeProducers",        0, 0,  0,  Operation::Read),
    row(65, "DescribeTransactions",     0, 0,  0,  Operation::Describe),
    row(66, "ListTransactions",         0, 2,  0,  Operation::Describe),
    row(68, "ConsumerGroupHeartbeat",   0, 1,  0,  Operation::Read),
    row(69, "ConsumerGroupDescribe",    0, 1,  0,  Operation::Describe),
    row(74, "ListConfigResources",      0, 1,  0,  Operation::DescribeConfigs),
    row(75, "DescribeTopicPartitions",  0, 0,  0,  Operation::Describe),
    row(76, "ShareGroupHeartbeat",      1, 1,  0,  Operation::Read),
    row(77, "ShareGroupDescribe",       1, 1,  0,  Operation::Describe),
    row(78, "ShareFetch",               1, 1,  0,  Operation::Read),
    row(79, "ShareAcknowledge",         1, 1,  0,  Operation::Read),
    row(90, "DescribeShareGroupOffsets", 0, 0, 0,  Operation::Describe),
    row(91, "AlterShareGroupOffsets",   0, 0,  0,  Operation::Read),
    row(92, "DeleteShareGroupOffsets",  0, 0,  0,  Operation::Delete),
];

/// The API of that key, if it is served.
#[must_use]
pub fn find(key: i16) -> Option<&'static ApiRow> {
    APIS.binary_search_by_key(&key, |row| row.key).ok().map(|index| &APIS[index])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guard::oracle::{codec_of, codecs, served};
    use crate::shape;

    #[test]
    fn keys_are_in_order_and_each_has_a_shape() {
        assert!(APIS.windows(2).all(|pair| pair[0].key < pair[1].key));
        assert!(APIS.iter().all(|row| shape::of(row.key).is_some()));
        assert_eq!(APIS.len(), codecs().len());
        assert_eq!(find(18).map(|row| row.name), Some("ApiVersions"));
        assert_eq!(find(4), None);
        assert_eq!(find(-1), None);
    }

    #[test]
    fn the_codec_encodes_every_version_that_is_served() {
        for row in APIS {
            let codec = codec_of(row.key);
            let (min, max) = codec.request_versions;
            assert!(min <= row.min && row.max <= max, "request of {}", row.name);
            let (min, max) = codec.response_versions;
            assert!(min <= row.min && row.max <= max, "response of {}", row.name);
        }
    }

    #[test]
    fn headers_turn_flexible_where_the_codec_says() {
        for (row, version) in served() {
            let codec = codec_of(row.key);
            let request = 1 + i16::from(row.is_flexible(version));
            assert_eq!((codec.request_header)(version), request, "{} {version}", row.name);
            let response = row.response_header_version(version);
            assert_eq!((codec.response_header)(version), response, "{} {version}", row.name);
        }
    }

    #[test]
    fn produce_is_advertised_from_0() {
        let produce = find(0).unwrap();
        assert_eq!((produce.advertised_min, produce.min), (0, 3));
        assert!(!produce.serves(2));
        assert!(APIS[1..].iter().all(|row| row.advertised_min == row.min));
    }
}
