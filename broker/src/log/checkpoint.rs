//! PURE over bytes. Kafka's checkpoint files: a version, a count, and that many lines.
//!
//! ```text
//! recovery-point-offset-checkpoint    0 / n / <topic> <partition> <offset>
//! log-start-offset-checkpoint         the same
//! leader-epoch-checkpoint             0 / n / <epoch> <start offset>
//! ```
//!
//! Kafka's format has no checksum. In the first two, a line for a topic that cannot be, `%crc32`,
//! bears one over the other lines; to Kafka's tools it is a partition that does not exist. In the
//! third such a line comes last; a file without it is of an older program.
use std::collections::BTreeMap;
use std::fmt::Write;

use weir_protocol::records::Offset;

use crate::log::epochs::LeaderEpochs;

const VERSION: &str = "0";
const CHECKSUM_TOPIC: &str = "%crc32";

/// Offsets by topic and partition.
pub(super) type Offsets = BTreeMap<(String, i32), Offset>;

/// The file of that name for these offsets. Its name is part of the checksum, since the others have
/// the same format and a disk may write one over another.
pub(super) fn write_offsets(name: &str, offsets: &Offsets) -> Vec<u8> {
    let mut lines = String::new();
    for ((topic, partition), offset) in offsets {
        writeln!(lines, "{topic} {partition} {offset}").expect("strings take all");
    }
    let checksum = crc32fast::hash(format!("{name}\n{lines}").as_bytes());
    let count = offsets.len() + 1;
    format!("{VERSION}\n{count}\n{lines}{CHECKSUM_TOPIC} 0 {checksum}\n").into_bytes()
}

/// The offsets in the file of that name; `None` when it is damaged.
pub(super) fn read_offsets(name: &str, bytes: &[u8]) -> Option<Offsets> {
    let mut offsets = Offsets::new();
    let mut checksum = None;
    let mut lines = format!("{name}\n");
    for line in body(bytes)? {
        let mut words = line.split(' ');
        let (topic, partition, offset) = (words.next()?, words.next()?, words.next()?);
        if topic == CHECKSUM_TOPIC {
            checksum = Some(offset.parse::<u32>().ok()?);
            continue;
        }
        lines.push_str(line);
        lines.push('\n');
        let offset = offset.parse().ok().filter(|offset| *offset >= 0)?;
        offsets.insert((topic.to_owned(), partition.parse().ok()?), Offset(offset));
    }
    // Older programs left the name out.
    let unnamed = &lines[name.len() + 1..];
    let known = [lines.as_str(), unnamed].map(|text| crc32fast::hash(text.as_bytes()));
    known.contains(&checksum?).then_some(offsets)
}

/// The file for these epochs.
pub(super) fn write_epochs(epochs: &LeaderEpochs) -> Vec<u8> {
    let mut lines = String::new();
    for (epoch, start) in epochs.entries() {
        writeln!(lines, "{epoch} {start}").expect("strings take all");
    }
    let checksum = crc32fast::hash(lines.as_bytes());
    let count = epochs.entries().len() + 1;
    format!("{VERSION}\n{count}\n{lines}{CHECKSUM_TOPIC} {checksum}\n").into_bytes()
}

/// The epochs in a file; `None` when it is damaged.
pub(super) fn read_epochs(bytes: &[u8]) -> Option<LeaderEpochs> {
    let entry = |line: &str| {
        let (epoch, start) = line.split_once(' ')?;
        Some((epoch.parse().ok()?, Offset(start.parse().ok()?)))
    };
    let mut lines = body(bytes)?;
    let sum = |line: &&str| line.strip_prefix(CHECKSUM_TOPIC).map(str::to_owned);
    if let Some(told) = lines.last().and_then(sum) {
        lines.pop();
        let text: String = lines.iter().flat_map(|line| [*line, "\n"]).collect();
        if told != format!(" {}", crc32fast::hash(text.as_bytes())) {
            return None;
        }
    }
    LeaderEpochs::from_entries(lines.into_iter().map(entry).collect::<Option<_>>()?)
}

/// The lines after version and count.
fn body(bytes: &[u8]) -> Option<Vec<&str>> {
    let mut lines = std::str::from_utf8(bytes).ok()?.strip_suffix('\n')?.lines();
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
        let bytes = write_offsets("a", &offsets());
        assert!(bytes.starts_with(b"0\n3\na 0 5\nb.c 11 1099511627776\n%crc32 0 "));
        assert_eq!(read_offsets("a", &bytes), Some(offsets()));
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let read = read_offsets("a", &flipped);
            assert!(read.as_ref().is_none_or(|read| *read == offsets()), "bit {bit}: {read:?}");
        }
        assert_eq!(read_offsets("b", &bytes), None, "another file's");
        for cut in 0..bytes.len() - 1 {
            let read = read_offsets("a", &bytes[..cut]);
            assert!(read.is_none_or(|read| read == offsets()), "cut at {cut}");
        }
    }

    #[test]
    fn epochs_read_back_the_same() {
        let mut epochs = LeaderEpochs::new();
        epochs.begin(0, Offset(0));
        epochs.begin(3, Offset(12));
        let bytes = write_epochs(&epochs);
        assert!(bytes.starts_with(b"0\n3\n0 0\n3 12\n%crc32 "));
        assert_eq!(read_epochs(&bytes), Some(epochs.clone()));
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(read_epochs(&flipped).is_none_or(|read| read == epochs), "bit {bit}");
        }
        assert_eq!(read_epochs(b"0\n2\n0 0\n3 12\n"), Some(epochs), "an older program's");
        assert_eq!(read_epochs(b"0\n2\n3 0\n0 12\n"), None);
        assert_eq!(read_epochs(b"0\n3\n0 0\n3 12\n"), None);
        assert_eq!(read_epochs(b"1\n0\n"), None);
    }
}
