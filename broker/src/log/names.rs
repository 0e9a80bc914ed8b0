//! PURE. What files and folders are called: Kafka's names.
//!
//! ```text
//! <topic>-<partition>/                     a partition
//!     00000000000000001234.log             a segment: the batches from offset 1234 on
//!                         .index           its offset index
//!                         .timeindex       its time index
//!                         .summary         ours: what the three hold, and their checksums
//!                         .snapshot        the producers as they were before offset 1234
//!                         .log.cleaned     a cleaned segment in the making
//!                         .log.swap        one that is whole, on its way to its place
//!     leader-epoch-checkpoint  partition.metadata
//! <topic>-<partition>.<id>-delete/         a partition that is being deleted
//! <topic>-<partition>.<id>-stray/          one that no topic claims
//! ```
use uuid::Uuid;
use weir_protocol::records::Offset;

/// Record batches.
pub(super) const LOG: &str = "log";
/// Offset index.
pub(super) const INDEX: &str = "index";
/// Time index.
pub(super) const TIME_INDEX: &str = "timeindex";
/// What a segment's files hold.
pub(super) const SUMMARY: &str = "summary";
/// Producers.
pub(super) const SNAPSHOT: &str = "snapshot";
/// A segment that the cleaner is writing; of no account after a crash.
pub(super) const CLEANED: &str = "log.cleaned";
/// A segment that the cleaner has written, durably: it takes the place of those whose offsets it
/// covers, and what a crash interrupts the next start finishes.
pub(super) const SWAP: &str = "log.swap";
/// What a retired segment's file ends with.
pub(super) const DELETED: &str = ".deleted";
/// The leader epochs of a partition.
pub(super) const LEADER_EPOCHS: &str = "leader-epoch-checkpoint";
/// The topic id of a partition.
pub(super) const PARTITION_METADATA: &str = "partition.metadata";
/// What the folder of a partition that is being deleted ends with.
pub(super) const DELETE_FOLDER: &str = "-delete";

/// What the folder of a partition ends with that no topic claims.
const STRAY_FOLDER: &str = "-stray";

/// The folder of a partition.
#[must_use]
pub fn folder(topic: &str, partition: i32) -> String {
    format!("{topic}-{partition}")
}

/// The name that a partition's folder gets before its files go.
pub(super) fn deleted_folder(folder: &str, id: Uuid) -> String {
    renamed_folder(folder, id, DELETE_FOLDER)
}

/// The name that a folder gets which no topic claims.
#[must_use]
pub fn stray_folder(folder: &str, id: Uuid) -> String {
    renamed_folder(folder, id, STRAY_FOLDER)
}

/// As Kafka does, a long name is cut to what file systems bear.
fn renamed_folder(folder: &str, id: Uuid, end: &str) -> String {
    let suffix = format!(".{}{end}", id.simple());
    let mut kept = folder.len().min(255 - suffix.len());
    while !folder.is_char_boundary(kept) {
        kept -= 1;
    }
    format!("{}{suffix}", &folder[..kept])
}

/// Topic and partition of a folder, if it is one of a partition.
#[must_use]
pub fn parse_folder(name: &str) -> Option<(String, i32)> {
    let (topic, partition) = name.rsplit_once('-')?;
    let number: i32 = partition.parse().ok()?;
    (!topic.is_empty() && partition == number.to_string()).then(|| (topic.to_owned(), number))
}

/// A file of the segment, or the snapshot, that begins at `base_offset`.
pub(super) fn file(folder: &str, base_offset: Offset, kind: &str) -> String {
    format!("{folder}/{:020}.{kind}", base_offset.0)
}

/// Base offset and kind of such a file.
pub(super) fn parse_file(name: &str) -> Option<(Offset, &str)> {
    let (digits, kind) = name.split_once('.')?;
    let is_offset = digits.len() == 20 && digits.bytes().all(|byte| byte.is_ascii_digit());
    Some((Offset(digits.parse().ok().filter(|_| is_offset)?), kind))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partitions_folder_tells_topic_and_number() {
        assert_eq!(parse_folder(&folder("a-b-7", 12)), Some(("a-b-7".to_owned(), 12)));
        for stray in ["orders", "-1", "orders-x", "orders-01", "orders-0.1f-delete", "lost+found"] {
            assert_eq!(parse_folder(stray), None, "{stray}");
        }
    }

    #[test]
    fn a_segments_file_tells_its_base_offset() {
        let path = file("orders-0", Offset(1234), INDEX);
        assert_eq!(path, "orders-0/00000000000000001234.index");
        assert_eq!(parse_file("00000000000000001234.index"), Some((Offset(1234), INDEX)));
        assert_eq!(parse_file("1234.log"), None);
        assert_eq!(parse_file("99999999999999999999.log"), None);
    }

    #[test]
    fn the_name_of_a_deleted_or_stray_folder_is_not_too_long() {
        let long = folder(&"t".repeat(249), 3);
        let (deleted, stray) =
            (deleted_folder(&long, Uuid::nil()), stray_folder(&long, Uuid::nil()));
        assert_eq!((deleted.len(), stray.len()), (255, 255));
        assert!(deleted.ends_with("-delete") && stray.ends_with("-stray"));
    }
}
