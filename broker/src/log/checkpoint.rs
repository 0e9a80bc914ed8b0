//! PURE over bytes. Kafka's checkpoint files: a version, a count, and that many lines.
//!
//! ```text
//! recovery-point-offset-checkpoint    0 / n / <topic> <partition> <offset>
//! log-start-offset-checkpoint         the same
//! leader-epoch-checkpoint             0 / n / <epoch> <start offset>
//! ```
//!
//! Kafka's format has no checksum. In the first two, a line for a topic that cannot be, `%crc32`,
//! bears one over the other lines; to Kafka's tools it is a partition that does not exist.
use std::collections::BTreeMap;
use std::fmt::Write;

use weir_protocol::records::Offset;

use crate::log::epochs::LeaderEpochs;

const VERSION: &str = "0";
const CHECKSUM_TOPIC: &str = "%crc32";

/// Offsets by topic and partition.
pub(super) type Offsets = BTreeMap<(String, i32), Offset>;

/// The file for these offsets.
pub(super) fn write_offsets(offsets: &Offsets) -> Vec<u8> {
    let mut lines = String::new();
    for ((topic, partition), offset) in offsets {
        writeln!(lines, "{topic} {partition} {offset}").expect("strings take all");
    }
    let checksum = crc32fast::hash(lines.as_bytes());
    let count = offsets.len() + 1;
    format!("{VERSION}\n{count}\n{lines}{CHECKSUM_TOPIC} 0 {checksum}\n").into_bytes()
}

/// The offsets in a file; `None` when it is damaged.
pub(super) fn read_offsets(bytes: &[u8]) -> Option<Offsets> {
    let mut offsets = Offsets::new();
    let mut checksum = None;
    let mut sum = crc32fast::Hasher::new();
    for line in body(bytes)? {
        let mut words = line.split(' ');
        let (topic, partition, offset) = (words.next()?, words.next()?, words.next()?);
        if topic == CHECKSUM_TOPIC {
            checksum = Some(offset.parse::<u32>().ok()?);
            continue;
        }
        sum.update(line.as_bytes());
        sum.update(b"\n");
        let offset = offset.parse().ok().filter(|offset| *offset >= 0)?;
        offsets.insert((topic.to_owned(), partition.parse().ok()?), Offset(offset));
    }
    (checksum? == sum.finalize()).then_some(offsets)
}

/// The file for these epochs.
pub(super) fn write_epochs(epochs: &LeaderEpochs) -> Vec<u8> {
    let mut text = format!("{VERSION}\n{}\n", epochs.entries().len());
    for (epoch, start) in epochs.entries() {
        writeln!(text, "{epoch} {start}").expect("strings take all");
    }
    text.into_bytes()
}

/// The epochs in a file; `None` when it is damaged.
pub(super) fn read_epochs(bytes: &[u8]) -> Option<LeaderEpochs> {
    let entry = |line: &str| {
        let (epoch, start) = line.split_once(' ')?;
        Some((epoch.parse().ok()?, Offset(start.parse().ok()?)))
    };
    LeaderEpochs::from_entries(body(bytes)?.into_iter().map(entry).collect::<Option<_>>()?)
}

/// The lines after version and count.
fn body(bytes: &[u8]) -> Option<Vec<&str>> {
    let mut lines = std::str::from_utf8(bytes).ok()?.lines();
    if lines.next()? != VERSION {
        return None;
    }
    let count: usize = lines.next()?.parse().ok()?;
    let lines: Vec<&str> = lines.collect();
    (lines.len() == count).then_some(lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offsets() -> Offsets {
        let key = |topic: &str, partition| (topic.to_owned(), partition);
        Offsets::from([(key("a", 0), Offset(5)), (key("b.c", 11), Offset(1 << 40))])
    }

    #[test]
    fn offsets_read_back_the_same_and_every_flipped_bit_is_seen() {
        let bytes = write_offsets(&offsets());
        assert!(bytes.starts_with(b"0\n3\na 0 5\nb.c 11 1099511627776\n%crc32 0 "));
        assert_eq!(read_offsets(&bytes), Some(offsets()));
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let read = read_offsets(&flipped);
            assert!(read.as_ref().is_none_or(|read| *read == offsets()), "bit {bit}: {read:?}");
        }
        for cut in 0..bytes.len() - 1 {
            let read = read_offsets(&bytes[..cut]);
            assert!(read.is_none_or(|read| read == offsets()), "cut at {cut}");
        }
    }

    #[test]
    fn epochs_read_back_the_same() {
        let mut epochs = LeaderEpochs::new();
        epochs.begin(0, Offset(0));
        epochs.begin(3, Offset(12));
        assert_eq!(write_epochs(&epochs), b"0\n2\n0 0\n3 12\n");
        assert_eq!(read_epochs(b"0\n2\n0 0\n3 12\n"), Some(epochs));
        assert_eq!(read_epochs(b"0\n2\n3 0\n0 12\n"), None);
        assert_eq!(read_epochs(b"0\n3\n0 0\n3 12\n"), None);
        assert_eq!(read_epochs(b"1\n0\n"), None);
    }
}
