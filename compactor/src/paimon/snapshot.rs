//! PURE. A version of the table: the JSON of `snapshot/snapshot-<N>`, as Paimon writes it.
//!
//! What we add stands in `properties`, which foreign readers pass over: how far the log was folded
//! (`weir.offsets`), which log that was (`weir.lineage`), by whom (`weir.epoch`), what became of
//! the records (`weir.counts`) and where the bad ones are kept (`weir.quarantine`). Each of our
//! commits carries all of them, so that the newest snapshot alone says all there is to know.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use uuid::Uuid;
use weir_protocol::records::Offset;

use crate::checkpoint::Checkpoint;
use crate::lineage::{LastBatch, Lineage};

/// Property: the topic, its id, and the next offset of each partition.
pub const OFFSETS: &str = "weir.offsets";
/// Property: the last batch of each partition.
pub const LINEAGE: &str = "weir.lineage";
/// Property: the epoch of the compactor that folded last.
pub const EPOCH: &str = "weir.epoch";
/// Property: how many records were folded, quarantined and skipped so far.
pub const COUNTS: &str = "weir.counts";
/// Property: the list of quarantine files and how many records they hold.
pub const QUARANTINE: &str = "weir.quarantine";

/// What kind of change a snapshot made.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum CommitKind {
    /// New rows.
    Append,
    /// The same rows in other files.
    Compact,
    /// Rows replaced by partition or by a delete; we never write it.
    Overwrite,
    /// Statistics only; we never write it.
    Analyze,
}

/// One version of the table. Fields are Paimon's, in Paimon's order; unknown ones are passed over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Snapshot {
    /// Format of this file: 3.
    pub version: i32,
    /// Tells this snapshot from any other that was meant to have the same id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uuid: Option<String>,
    /// Number of this version; the first is 1.
    pub id: i64,
    /// The newest schema when this was committed.
    pub schema_id: i64,
    /// Manifests of all that was live before this commit.
    pub base_manifest_list: String,
    /// Its length in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base_manifest_list_size: Option<i64>,
    /// Manifests of what this commit changed.
    pub delta_manifest_list: String,
    /// Its length in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delta_manifest_list_size: Option<i64>,
    /// Manifests of changelog files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changelog_manifest_list: Option<String>,
    /// Its length in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changelog_manifest_list_size: Option<i64>,
    /// Manifest of index files, such as deletion vectors.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub index_manifest: Option<String>,
    /// Who committed; stable over restarts.
    pub commit_user: String,
    /// The program that committed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub writer_version: Option<String>,
    /// Number of the commit, rising for each user.
    pub commit_identifier: i64,
    /// What kind of change it was.
    pub commit_kind: CommitKind,
    /// When, by the committer's clock. Nothing relies on it: ids give the order.
    pub time_millis: i64,
    /// Paimon up to 1.3: bucket to log offset. Read and kept, never written by us.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub log_offsets: BTreeMap<String, i64>,
    /// Physical rows of all live files.
    pub total_record_count: i64,
    /// Physical rows that this commit added, less those it took away.
    pub delta_record_count: i64,
    /// Rows of changelog files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changelog_record_count: Option<i64>,
    /// Event-time watermark.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub watermark: Option<i64>,
    /// Name of the statistics file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub statistics: Option<String>,
    /// Free properties; ours begin with `weir.`.
    #[serde(
        default,
        deserialize_with = "null_as_empty",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    pub properties: BTreeMap<String, String>,
    /// Next row id of tables with row tracking.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_row_id: Option<i64>,
}

fn null_as_empty<'de, D: serde::Deserializer<'de>>(
    json: D,
) -> Result<BTreeMap<String, String>, D::Error> {
    Ok(Option::deserialize(json)?.unwrap_or_default())
}

/// A snapshot file or one of our properties in it cannot be understood.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// The file is not a snapshot.
    #[error("this is not a snapshot: {0}")]
    Json(#[source] serde_json::Error),
    /// The file is of a format that we do not know.
    #[error("snapshot {id} has format version {version}; this program reads version 3")]
    Version {
        /// Id of the snapshot.
        id: i64,
        /// The version that it claims.
        version: i32,
    },
    /// One of our properties is damaged.
    #[error("snapshot {id}: property {name} cannot be read: {source}")]
    Property {
        /// Id of the snapshot.
        id: i64,
        /// Name of the property.
        name: &'static str,
        /// What is wrong.
        source: serde_json::Error,
    },
}

/// What became of the records so far; their sum is the span of all ranges.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Records that changed the table.
    pub folded: u64,
    /// Records that could not be decoded and are kept aside.
    pub quarantined: u64,
    /// Records and offsets without meaning for the table.
    pub skipped: u64,
}

/// Where the quarantined records of all snapshots so far are listed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuarantineList {
    /// Name of the list file.
    pub list: String,
    /// Records in all files of the list.
    pub records: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct OffsetsJson {
    topic: String,
    topic_id: UuidText,
    partitions: BTreeMap<i32, i64>,
}

/// A UUID as its text (the crate is built without serde).
struct UuidText(Uuid);

impl Serialize for UuidText {
    fn serialize<S: serde::Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        out.collect_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for UuidText {
    fn deserialize<D: serde::Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        let text = String::deserialize(json)?;
        Uuid::parse_str(&text).map(UuidText).map_err(serde::de::Error::custom)
    }
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct BatchJson {
    base_offset: i64,
    last_offset: i64,
    leader_epoch: i32,
    crc: u32,
}

impl Snapshot {
    /// Reads a snapshot file.
    pub fn from_json(bytes: &[u8]) -> Result<Snapshot, SnapshotError> {
        let snapshot: Snapshot = serde_json::from_slice(bytes).map_err(SnapshotError::Json)?;
        match snapshot.version {
            3 => Ok(snapshot),
            version => Err(SnapshotError::Version { id: snapshot.id, version }),
        }
    }

    /// The bytes of a snapshot file.
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec_pretty(self).expect("a snapshot holds only what JSON can say")
    }

    /// Up to where the log was folded; nowhere if this snapshot has none of our properties.
    pub fn checkpoint(&self) -> Result<Checkpoint, SnapshotError> {
        let Some(offsets) = self.property::<OffsetsJson>(OFFSETS)? else {
            return Ok(Checkpoint::default());
        };
        let next = offsets.partitions.into_iter().map(|(id, next)| (id, Offset(next))).collect();
        Ok(Checkpoint { next })
    }

    /// Of which log this was folded; absent before the first fold.
    pub fn lineage(&self) -> Result<Option<Lineage>, SnapshotError> {
        let Some(offsets) = self.property::<OffsetsJson>(OFFSETS)? else { return Ok(None) };
        let batches = self.property::<BTreeMap<i32, BatchJson>>(LINEAGE)?.unwrap_or_default();
        let batch_of = |batch: BatchJson| LastBatch {
            base_offset: Offset(batch.base_offset),
            last_offset: Offset(batch.last_offset),
            leader_epoch: batch.leader_epoch,
            crc: batch.crc,
        };
        let partitions = batches.into_iter().map(|(id, batch)| (id, batch_of(batch))).collect();
        Ok(Some(Lineage { topic: offsets.topic, topic_id: offsets.topic_id.0, partitions }))
    }

    /// The epoch of the compactor that folded last; 0 before the first.
    pub fn epoch(&self) -> Result<u64, SnapshotError> {
        Ok(self.property(EPOCH)?.unwrap_or(0))
    }

    /// What became of the records so far.
    pub fn counts(&self) -> Result<Counts, SnapshotError> {
        Ok(self.property(COUNTS)?.unwrap_or_default())
    }

    /// Where the quarantined records are listed, if there are any.
    pub fn quarantine(&self) -> Result<Option<QuarantineList>, SnapshotError> {
        self.property(QUARANTINE)
    }

    fn property<T: for<'de> Deserialize<'de>>(
        &self,
        name: &'static str,
    ) -> Result<Option<T>, SnapshotError> {
        let Some(text) = self.properties.get(name) else { return Ok(None) };
        let read = serde_json::from_str(text);
        read.map(Some).map_err(|source| SnapshotError::Property { id: self.id, name, source })
    }
}

/// The properties that say where a fold stands.
pub fn fold_properties(
    checkpoint: &Checkpoint,
    lineage: &Lineage,
    epoch: u64,
    counts: Counts,
) -> BTreeMap<String, String> {
    let offsets = OffsetsJson {
        topic: lineage.topic.clone(),
        topic_id: UuidText(lineage.topic_id),
        partitions: checkpoint.next.iter().map(|(id, next)| (*id, next.0)).collect(),
    };
    let json_of = |batch: &LastBatch| BatchJson {
        base_offset: batch.base_offset.0,
        last_offset: batch.last_offset.0,
        leader_epoch: batch.leader_epoch,
        crc: batch.crc,
    };
    let batches: BTreeMap<i32, BatchJson> =
        lineage.partitions.iter().map(|(id, batch)| (*id, json_of(batch))).collect();
    BTreeMap::from([
        (OFFSETS.into(), property_text(&offsets)),
        (LINEAGE.into(), property_text(&batches)),
        (EPOCH.into(), epoch.to_string()),
        (COUNTS.into(), property_text(&counts)),
    ])
}

/// A property's value as JSON.
pub fn property_text(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("a property holds only what JSON can say")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As pypaimon 2.1.0 writes it, with a field that nobody knows yet.
    const FOREIGN: &str = r#"{
        "version": 3, "id": 2, "schemaId": 0,
        "baseManifestList": "manifest-list-a-0", "deltaManifestList": "manifest-list-a-1",
        "totalRecordCount": 20, "deltaRecordCount": 5, "commitUser": "u",
        "commitIdentifier": 9223372036854775807, "commitKind": "OVERWRITE",
        "timeMillis": 1700000000000, "changelogManifestList": null, "properties": null,
        "operation": "WRITE", "something": {"new": [1, 2]}
    }"#;

    fn folded() -> Snapshot {
        let mut snapshot = Snapshot::from_json(FOREIGN.as_bytes()).unwrap();
        let batch = LastBatch {
            base_offset: Offset(90),
            last_offset: Offset(99),
            leader_epoch: 3,
            crc: u32::MAX,
        };
        let lineage = Lineage {
            topic: "orders".into(),
            topic_id: Uuid::from_u128(7),
            partitions: BTreeMap::from([(0, batch)]),
        };
        let checkpoint = Checkpoint { next: BTreeMap::from([(0, Offset(100)), (11, Offset(0))]) };
        let counts = Counts { folded: 97, quarantined: 2, skipped: 1 };
        snapshot.properties = fold_properties(&checkpoint, &lineage, 7, counts);
        snapshot
    }

    #[test]
    fn snapshots_of_others_are_read_and_have_no_progress() {
        let snapshot = Snapshot::from_json(FOREIGN.as_bytes()).unwrap();
        assert_eq!(snapshot.commit_kind, CommitKind::Overwrite);
        assert_eq!(snapshot.checkpoint().unwrap(), Checkpoint::default());
        assert_eq!(snapshot.lineage().unwrap(), None);
        assert_eq!(snapshot.epoch().unwrap(), 0);
    }

    #[test]
    fn progress_survives_the_way_through_json() {
        let snapshot = Snapshot::from_json(&folded().to_json()).unwrap();
        assert_eq!(snapshot, folded());
        assert_eq!(snapshot.checkpoint().unwrap().next_of(11), Some(Offset(0)));
        assert_eq!(snapshot.lineage().unwrap().unwrap().partitions[&0].crc, u32::MAX);
        assert_eq!(snapshot.epoch().unwrap(), 7);
        assert_eq!(snapshot.counts().unwrap().folded, 97);
        assert_eq!(snapshot.quarantine().unwrap(), None);
    }

    #[test]
    fn the_properties_read_as_the_page_says() {
        let properties = folded().properties;
        let id = Uuid::from_u128(7);
        let offsets =
            format!(r#"{{"topic":"orders","topicId":"{id}","partitions":{{"0":100,"11":0}}}}"#);
        assert_eq!(properties[OFFSETS], offsets);
        assert_eq!(
            properties[LINEAGE],
            r#"{"0":{"baseOffset":90,"lastOffset":99,"leaderEpoch":3,"crc":4294967295}}"#
        );
        assert_eq!(properties[EPOCH], "7");
        assert_eq!(properties[COUNTS], r#"{"folded":97,"quarantined":2,"skipped":1}"#);
    }

    #[test]
    fn fields_stand_in_the_order_of_paimon_and_absent_ones_are_left_out() {
        let mut snapshot = folded();
        snapshot.uuid = Some("u".into());
        snapshot.base_manifest_list_size = Some(1);
        let json = String::from_utf8(snapshot.to_json()).unwrap();
        let places: Vec<usize> = [
            "version",
            "uuid",
            "id",
            "schemaId",
            "baseManifestList",
            "baseManifestListSize",
            "deltaManifestList",
            "commitUser",
            "commitIdentifier",
            "commitKind",
            "timeMillis",
            "totalRecordCount",
            "deltaRecordCount",
            "properties",
        ]
        .iter()
        .map(|name| json.find(&format!("\"{name}\"")).unwrap())
        .collect();
        assert!(places.is_sorted(), "{json}");
        assert!(!json.contains("null") && !json.contains("changelog"), "{json}");
    }

    #[test]
    fn damage_is_an_error_that_says_where() {
        assert!(Snapshot::from_json(b"").is_err());
        assert!(Snapshot::from_json(b"{}").is_err());
        let newer = FOREIGN.replace("\"version\": 3", "\"version\": 4");
        let error = Snapshot::from_json(newer.as_bytes()).unwrap_err().to_string();
        assert!(error.contains("version 4"), "{error}");
        let mut snapshot = folded();
        snapshot.properties.insert(OFFSETS.into(), "{".into());
        let error = snapshot.checkpoint().unwrap_err().to_string();
        assert!(error.contains("snapshot 2") && error.contains(OFFSETS), "{error}");
    }
}
