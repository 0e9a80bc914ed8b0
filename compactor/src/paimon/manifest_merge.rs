//! PURE. How manifests are kept few: which are merged, and what a list says of each.
//!
//! Each commit adds a manifest. Small ones are merged when there are many, and when those that are
//! small or tell of deleted files have grown large, all are replaced by one that holds live files
//! only. So the work of a reader stays in proportion to the table.

use std::collections::BTreeSet;

use weir_protocol::table::column::ColumnType;

use crate::binary_row::{BinaryRow, BinaryRowError, compare_values};
use crate::data_file::SimpleStats;
use crate::paimon::manifest::{EntryKind, FileEntry, ManifestEntry, ManifestMeta};
use crate::row::Value;

/// Manifests are merged into ones of about this size.
pub const MANIFEST_BYTES: i64 = 8 << 20;
/// So many small manifests in a row are merged.
pub const MANIFEST_COUNT_MIN: usize = 30;
/// When manifests that are small or delete files have this size, all are written anew.
pub const FULL_MERGE_BYTES: i64 = 16 << 20;

/// A piece of the next snapshot's base: a manifest that stays, or several that become one.
#[derive(Clone, Debug, PartialEq)]
pub enum BasePart {
    /// Stays as it is.
    Keep(ManifestMeta),
    /// To be read, merged and written as one.
    Merge(Vec<ManifestMeta>),
    /// All live files, in place of every manifest so far.
    AllLive,
}

/// Which manifests of the newest snapshot stay and which are merged, so that their number and the
/// dead lines in them stay bounded.
pub fn plan_base(manifests: &[ManifestMeta]) -> Vec<BasePart> {
    let is_small_or_deletes =
        |meta: &&ManifestMeta| meta.deleted_count > 0 || meta.file_size < MANIFEST_BYTES;
    let due: i64 = manifests.iter().filter(is_small_or_deletes).map(|meta| meta.file_size).sum();
    if due >= FULL_MERGE_BYTES {
        return vec![BasePart::AllLive];
    }
    let mut base = Vec::new();
    let mut group: Vec<ManifestMeta> = Vec::new();
    let mut group_bytes = 0;
    for meta in manifests {
        group_bytes += meta.file_size;
        group.push(meta.clone());
        if group_bytes >= MANIFEST_BYTES {
            close_group(&mut base, std::mem::take(&mut group));
            group_bytes = 0;
        }
    }
    match group.len() >= MANIFEST_COUNT_MIN {
        true => close_group(&mut base, group),
        false => base.extend(group.into_iter().map(BasePart::Keep)),
    }
    base
}

fn close_group(base: &mut Vec<BasePart>, mut group: Vec<ManifestMeta>) {
    match group.len() {
        1 => base.extend(group.pop().map(BasePart::Keep)),
        _ => base.push(BasePart::Merge(group)),
    }
}

/// What a manifest list says of a manifest with these lines.
pub fn meta_of(
    file_name: String,
    file_size: i64,
    schema_id: i64,
    lines: &[ManifestEntry],
    partition_types: &[ColumnType],
) -> Result<ManifestMeta, BinaryRowError> {
    let deleted = lines.iter().filter(|line| line.kind == EntryKind::Delete).count() as i64;
    let span = |of: fn(&FileEntry) -> i32| {
        let numbers = || lines.iter().map(|line| of(&line.entry));
        numbers().min().zip(numbers().max())
    };
    Ok(ManifestMeta {
        file_name,
        file_size,
        added_count: lines.len() as i64 - deleted,
        deleted_count: deleted,
        partition_stats: partition_stats(lines, partition_types)?,
        schema_id,
        buckets: span(|entry| entry.bucket),
        levels: span(|entry| entry.file.level),
    })
}

fn partition_stats(
    lines: &[ManifestEntry],
    types: &[ColumnType],
) -> Result<SimpleStats, BinaryRowError> {
    let partitions: BTreeSet<&BinaryRow> = lines.iter().map(|line| &line.entry.partition).collect();
    let mut min = vec![Value::Null; types.len()];
    let mut max = min.clone();
    let mut null_counts = vec![0; types.len()];
    for partition in partitions {
        for (column, value) in partition.to_values(types)?.into_iter().enumerate() {
            if value.is_null() {
                let holders = lines.iter().filter(|line| line.entry.partition == *partition);
                null_counts[column] += holders.count() as i64;
                continue;
            }
            if min[column].is_null() || compare_values(&value, &min[column]).is_lt() {
                min[column] = value.clone();
            }
            if max[column].is_null() || compare_values(&value, &max[column]).is_gt() {
                max[column] = value;
            }
        }
    }
    Ok(SimpleStats {
        min: BinaryRow::from_values(&min, types),
        max: BinaryRow::from_values(&max, types),
        null_counts: null_counts.into_iter().map(Some).collect(),
    })
}
