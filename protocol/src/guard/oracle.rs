//! Only for tests: the crate's codec as the judge of our own, and random requests by their shapes.
use std::fmt::Debug;

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::messages::*;
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, Message, Request};
use rand::rngs::StdRng;
use rand::{Rng, RngExt, SeedableRng};

use crate::api::{self, ApiRow};
use crate::shape::{self, Kind, Shape};

/// What the crate says about one API.
pub(crate) struct Codec {
    pub(crate) key: i16,
    pub(crate) request_versions: (i16, i16),
    pub(crate) response_versions: (i16, i16),
    pub(crate) request_header: fn(i16) -> i16,
    pub(crate) response_header: fn(i16) -> i16,
    /// Decodes in one version and encodes in another.
    pub(crate) recode: fn(Bytes, i16, i16) -> Result<Bytes, String>,
    /// An answer in which nothing is set.
    pub(crate) empty_response: fn(i16) -> Bytes,
    /// The fields of an answer.
    pub(crate) show_response: fn(Bytes, i16) -> Result<String, String>,
}

fn codec<R: Request>() -> Codec
where
    R::Response: Default + Debug,
{
    Codec {
        key: R::KEY,
        request_versions: (R::VERSIONS.min, R::VERSIONS.max),
        response_versions: (R::Response::VERSIONS.min, R::Response::VERSIONS.max),
        request_header: R::header_version,
        response_header: R::Response::header_version,
        recode: |mut bytes, source, target| {
            let request = R::decode(&mut bytes, source).map_err(|e| e.to_string())?;
            if !bytes.is_empty() {
                return Err(format!("{} bytes are left", bytes.len()));
            }
            let mut out = BytesMut::new();
            request.encode(&mut out, target).map_err(|e| e.to_string())?;
            Ok(out.freeze())
        },
        empty_response: |version| {
            let mut out = BytesMut::new();
            R::Response::default().encode(&mut out, version).expect("it is served");
            out.freeze()
        },
        show_response: |mut bytes, version| {
            let response = R::Response::decode(&mut bytes, version);
            response.map(|response| format!("{response:?}")).map_err(|error| error.to_string())
        },
    }
}

/// All APIs that the crate and we have in common.
pub(crate) fn codecs() -> Vec<Codec> {
    vec![
        codec::<ProduceRequest>(),
        codec::<FetchRequest>(),
        codec::<ListOffsetsRequest>(),
        codec::<MetadataRequest>(),
        codec::<OffsetCommitRequest>(),
        codec::<OffsetFetchRequest>(),
        codec::<FindCoordinatorRequest>(),
        codec::<JoinGroupRequest>(),
        codec::<HeartbeatRequest>(),
        codec::<LeaveGroupRequest>(),
        codec::<SyncGroupRequest>(),
        codec::<DescribeGroupsRequest>(),
        codec::<ListGroupsRequest>(),
        codec::<ApiVersionsRequest>(),
        codec::<CreateTopicsRequest>(),
        codec::<DeleteTopicsRequest>(),
        codec::<DeleteRecordsRequest>(),
        codec::<InitProducerIdRequest>(),
        codec::<OffsetForLeaderEpochRequest>(),
        codec::<AddPartitionsToTxnRequest>(),
        codec::<AddOffsetsToTxnRequest>(),
        codec::<EndTxnRequest>(),
        codec::<WriteTxnMarkersRequest>(),
        codec::<TxnOffsetCommitRequest>(),
        codec::<DescribeAclsRequest>(),
        codec::<CreateAclsRequest>(),
        codec::<DeleteAclsRequest>(),
        codec::<DescribeConfigsRequest>(),
        codec::<AlterConfigsRequest>(),
        codec::<AlterReplicaLogDirsRequest>(),
        codec::<DescribeLogDirsRequest>(),
        codec::<CreatePartitionsRequest>(),
        codec::<CreateDelegationTokenRequest>(),
        codec::<RenewDelegationTokenRequest>(),
        codec::<ExpireDelegationTokenRequest>(),
        codec::<DescribeDelegationTokenRequest>(),
        codec::<DeleteGroupsRequest>(),
        codec::<ElectLeadersRequest>(),
        codec::<IncrementalAlterConfigsRequest>(),
        codec::<AlterPartitionReassignmentsRequest>(),
        codec::<ListPartitionReassignmentsRequest>(),
        codec::<OffsetDeleteRequest>(),
        codec::<DescribeClientQuotasRequest>(),
        codec::<AlterClientQuotasRequest>(),
        codec::<DescribeUserScramCredentialsRequest>(),
        codec::<AlterUserScramCredentialsRequest>(),
        codec::<DescribeQuorumRequest>(),
        codec::<UpdateFeaturesRequest>(),
        codec::<DescribeClusterRequest>(),
        codec::<DescribeProducersRequest>(),
        codec::<DescribeTransactionsRequest>(),
        codec::<ListTransactionsRequest>(),
        codec::<ConsumerGroupHeartbeatRequest>(),
        codec::<ConsumerGroupDescribeRequest>(),
        codec::<ListConfigResourcesRequest>(),
        codec::<DescribeTopicPartitionsRequest>(),
        codec::<ShareGroupHeartbeatRequest>(),
        codec::<ShareGroupDescribeRequest>(),
        codec::<ShareFetchRequest>(),
        codec::<ShareAcknowledgeRequest>(),
        codec::<DescribeShareGroupOffsetsRequest>(),
        codec::<AlterShareGroupOffsetsRequest>(),
        codec::<DeleteShareGroupOffsetsRequest>(),
    ]
}

/// The crate's codec for an API.
pub(crate) fn codec_of(key: i16) -> Codec {
    codecs().into_iter().find(|codec| codec.key == key).expect("every served API is listed")
}

/// Every API with every version that is served.
pub(crate) fn served() -> impl Iterator<Item = (&'static ApiRow, i16)> {
    api::APIS.iter().flat_map(|row| (row.min..=row.max).map(move |version| (row, version)))
}

/// Chance by a seed that a failing test prints.
pub(crate) fn chance(seed: u64) -> StdRng {
    StdRng::seed_from_u64(seed)
}

/// A random valid body, as the crate's encoder writes it: numbers in their shortest form, tagged
/// fields in order, known ones where the version has them.
pub(crate) fn random_body(key: i16, version: i16, seed: u64) -> Bytes {
    let row = api::find(key).expect("served");
    let shape = shape::of(key).expect("served");
    let mut writer = Writer {
        version,
        is_flexible: row.is_flexible(version),
        is_whole: false,
        chance: chance(seed),
        out: BytesMut::new(),
    };
    writer.fields(shape);
    writer.out.freeze()
}

/// A valid body in which everything that can be there is there once: no null, no empty array, every
/// known tagged field.
pub(crate) fn whole_body(key: i16, version: i16) -> Bytes {
    let row = api::find(key).expect("served");
    let mut writer = Writer {
        version,
        is_flexible: row.is_flexible(version),
        is_whole: true,
        chance: chance(0),
        out: BytesMut::new(),
    };
    writer.fields(shape::of(key).expect("served"));
    writer.out.freeze()
}

/// How many counts and lengths stand in [`whole_body`], by the table of shapes alone.
pub(crate) fn count_of_counts(row: &ApiRow, version: i16) -> usize {
    let is_flexible = row.is_flexible(version);
    counts_of_fields(shape::of(row.key).expect("served"), version, is_flexible)
}

fn counts_of_fields(fields: Shape, version: i16, is_flexible: bool) -> usize {
    let of = |kind| counts_of(kind, version, is_flexible);
    let plain = fields.iter().filter(|field| field.is_plain_in(version));
    let plain: usize = plain.map(|field| of(field.kind)).sum();
    if !is_flexible {
        return plain;
    }
    let tagged = fields.iter().filter(|field| field.tag.is_some() && field.since <= version);
    let tagged: usize = tagged.map(|field| 1 + of(field.kind)).sum();
    plain + 1 + tagged
}

fn counts_of(kind: Kind, version: i16, is_flexible: bool) -> usize {
    match kind {
        Kind::Fixed(_) => 0,
        Kind::String | Kind::Bytes => 1,
        Kind::Structs(fields) | Kind::NullableStruct(fields) => {
            1 + counts_of_fields(fields, version, is_flexible)
        }
        Kind::Values(kind) => 1 + counts_of(*kind, version, is_flexible),
        Kind::Struct(fields) => counts_of_fields(fields, version, is_flexible),
    }
}

struct Writer {
    version: i16,
    is_flexible: bool,
    /// Whether chance leaves nothing out.
    is_whole: bool,
    chance: StdRng,
    out: BytesMut,
}

impl Writer {
    fn fields(&mut self, shape: Shape) {
        let version = self.version;
        for field in shape.iter().filter(|field| field.is_plain_in(version)) {
            self.value(field.name, field.kind, field.nullable);
        }
        if self.is_flexible {
            self.tagged_fields(shape);
        }
    }

    fn value(&mut self, name: &str, kind: Kind, nullable: bool) {
        let is_null = nullable && !self.is_whole && self.chance.random_range(0..4) == 0;
        match kind {
            Kind::Fixed(1) if name == "isolation_level" => {
                self.out.put_u8(self.chance.random_range(0..2));
            }
            // Flags: the codec takes any byte and writes 0 or 1.
            Kind::Fixed(1) => self.out.put_u8(self.chance.random_range(0..2)),
            Kind::Fixed(size) => {
                let mut bytes = vec![0; size];
                self.chance.fill_bytes(&mut bytes);
                self.out.put_slice(&bytes);
            }
            Kind::String | Kind::Bytes if is_null => self.null(matches!(kind, Kind::String)),
            Kind::String => {
                let length = self.chance.random_range(0..12);
                let string: String = (0..length)
                    .map(|_| *self.pick(&['a', 'Z', '.', '-', '7', 'é', '表']))
                    .collect();
                self.length(string.len(), true);
                self.out.put_slice(string.as_bytes());
            }
            Kind::Bytes => {
                let mut bytes = vec![0; self.chance.random_range(0..300)];
                self.chance.fill_bytes(&mut bytes);
                self.length(bytes.len(), false);
                self.out.put_slice(&bytes);
            }
            Kind::Structs(_) | Kind::Values(_) if is_null => self.null(false),
            Kind::Structs(shape) => {
                let count = self.count();
                (0..count).for_each(|_| self.fields(shape));
            }
            Kind::Values(&kind) => {
                let count = self.count();
                (0..count).for_each(|_| self.value("", kind, false));
            }
            Kind::NullableStruct(shape) => {
                if self.is_whole || self.chance.random() {
                    self.out.put_i8(1);
                    self.fields(shape);
                } else {
                    self.out.put_i8(-1);
                }
            }
            Kind::Struct(shape) => self.fields(shape),
        }
    }

    fn tagged_fields(&mut self, shape: Shape) {
        let mut fields: Vec<(u32, Bytes)> = Vec::new();
        let version = self.version;
        for field in shape.iter().filter(|field| field.since <= version) {
            let Some(tag) = field.tag else { continue };
            if self.is_whole || self.chance.random() {
                let outer = self.out.split();
                self.value(field.name, field.kind, false);
                let value = std::mem::replace(&mut self.out, outer).freeze();
                fields.push((tag, value));
            }
        }
        for tag in [20, 300, 70_000] {
            if !self.is_whole && self.chance.random_range(0..6) == 0 {
                fields.push((tag, Bytes::from(vec![7; self.chance.random_range(0..9)])));
            }
        }
        self.varint(fields.len());
        for (tag, value) in fields {
            self.varint(tag as usize);
            self.varint(value.len());
            self.out.put_slice(&value);
        }
    }

    fn count(&mut self) -> usize {
        let count = if self.is_whole { 1 } else { *self.pick(&[0, 1, 1, 2, 3]) };
        self.length(count, false);
        count
    }

    fn null(&mut self, is_short: bool) {
        match (self.is_flexible, is_short) {
            (true, _) => self.out.put_u8(0),
            (false, true) => self.out.put_i16(-1),
            (false, false) => self.out.put_i32(-1),
        }
    }

    fn length(&mut self, length: usize, is_short: bool) {
        match (self.is_flexible, is_short) {
            (true, _) => self.varint(length + 1),
            (false, true) => self.out.put_i16(i16::try_from(length).expect("short")),
            (false, false) => self.out.put_i32(i32::try_from(length).expect("short")),
        }
    }

    fn varint(&mut self, value: usize) {
        put_varint(&mut self.out, u32::try_from(value).expect("short"));
    }

    fn pick<'a, T>(&mut self, choices: &'a [T]) -> &'a T {
        &choices[self.chance.random_range(0..choices.len())]
    }
}

/// Appends an unsigned varint.
pub(crate) fn put_varint(out: &mut BytesMut, mut value: u32) {
    while value >= 0x80 {
        out.put_u8((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.put_u8(value as u8);
}
