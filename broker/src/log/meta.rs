//! PURE over bytes. Who wrote a data directory (`meta.properties`) and of which topic a partition
//! is (`partition.metadata`), as Kafka writes them.
use std::collections::BTreeMap;

use uuid::Uuid;

/// What `meta.properties` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirMeta {
    /// The broker's number.
    pub node_id: i32,
    /// The cluster's id.
    pub cluster_id: String,
    /// This directory's id.
    pub directory_id: String,
}

/// What the checksum of the lines after it follows.
const CHECKSUM: &str = "weir.crc32=";
/// The layout of the directory; beside Kafka's own version, since some files are ours.
const WEIR_VERSION: &str = "1";
const KAFKA_VERSION: &str = "1";

impl DirMeta {
    /// For a new directory: with new ids.
    #[must_use]
    pub fn new(node_id: i32) -> DirMeta {
        let id = || encode_id(Uuid::new_v4());
        DirMeta { node_id, cluster_id: id(), directory_id: id() }
    }

    /// The file.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let DirMeta { node_id, cluster_id, directory_id } = self;
        let body = format!(
            "version={KAFKA_VERSION}\nweir.version={WEIR_VERSION}\n\
             node.id={node_id}\ncluster.id={cluster_id}\ndirectory.id={directory_id}\n"
        );
        let checksum = crc32fast::hash(body.as_bytes());
        format!("# Written by Weir.\n{CHECKSUM}{checksum:08x}\n{body}").into_bytes()
    }

    /// Reads the file.
    ///
    /// # Errors
    /// One line on why the directory is not ours.
    pub fn parse(bytes: &[u8]) -> Result<DirMeta, String> {
        let text = std::str::from_utf8(bytes).map_err(|_| "it is not text".to_owned())?;
        let properties: BTreeMap<&str, &str> = text
            .lines()
            .filter(|line| !line.starts_with('#'))
            .filter_map(|line| line.split_once('='))
            .collect();
        let value = |key: &str| {
            properties.get(key).copied().ok_or_else(|| format!("{key} is missing from it"))
        };
        match properties.get("weir.version").copied() {
            None => return Err("it was written by another program".to_owned()),
            Some(WEIR_VERSION) => {}
            Some(other) => {
                return Err(format!("its weir.version is {other}, only {WEIR_VERSION} is known"));
            }
        }
        match value("version")? {
            KAFKA_VERSION => {}
            other => return Err(format!("its version is {other}, only {KAFKA_VERSION} is known")),
        }
        let node_id = value("node.id")?;
        // Without the line it is of an older program.
        if let Some((told, body)) =
            text.split_once(CHECKSUM).and_then(|(_, rest)| rest.split_once('\n'))
            && told != format!("{:08x}", crc32fast::hash(body.as_bytes()))
        {
            return Err("its checksum does not fit: it is damaged".to_owned());
        }
        Ok(DirMeta {
            node_id: node_id.parse().map_err(|_| format!("its node.id is {node_id:?}"))?,
            cluster_id: value("cluster.id")?.to_owned(),
            directory_id: value("directory.id")?.to_owned(),
        })
    }
}

/// The file that names a partition's topic.
pub(super) fn write_topic_id(topic_id: Uuid) -> Vec<u8> {
    format!("version: 0\ntopic_id: {}\n", encode_id(topic_id)).into_bytes()
}

/// The topic that such a file names; `None` when it is damaged.
pub(super) fn read_topic_id(bytes: &[u8]) -> Option<Uuid> {
    let text = std::str::from_utf8(bytes).ok()?;
    let rest = text.strip_prefix("version: 0\ntopic_id: ")?;
    decode_id(rest.strip_suffix('\n')?)
}

const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
/// 22 digits of 6 bits hold 128 bits and 4 to spare, which are 0.
const ID_DIGITS: usize = 22;
const SPARE_BITS: u32 = 4;

/// An id as Kafka writes it: base 64 for URLs, unpadded.
#[must_use]
pub fn encode_id(id: Uuid) -> String {
    let bits = id.as_u128();
    let digit = |place: usize| {
        let low = 6 * (ID_DIGITS - 1 - place);
        let value = if low == 0 { bits << SPARE_BITS } else { bits >> (low - 4) };
        char::from(DIGITS[(value & 63) as usize])
    };
    (0..ID_DIGITS).map(digit).collect()
}

/// The id that Kafka writes so.
#[must_use]
pub fn decode_id(text: &str) -> Option<Uuid> {
    let (last, leading) = text.as_bytes().split_last().filter(|_| text.len() == ID_DIGITS)?;
    let value = |digit: &u8| DIGITS.iter().position(|known| known == digit);
    let mut bits: u128 = 0;
    for digit in leading {
        bits = bits << 6 | value(digit)? as u128;
    }
    let last = value(last)?;
    let is_canonical = last.trailing_zeros() >= SPARE_BITS;
    is_canonical.then(|| Uuid::from_u128(bits << 2 | (last as u128 >> SPARE_BITS)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_written_as_kafka_writes_them() {
        let id = Uuid::from_u128(0x0001_0203_0405_0607_0809_0a0b_0c0d_0eff);
        assert_eq!(encode_id(id), "AAECAwQFBgcICQoLDA0O_w");
        assert_eq!(encode_id(Uuid::from_u128(1)), "AAAAAAAAAAAAAAAAAAAAAQ");
        for id in [id, Uuid::nil(), Uuid::max(), Uuid::from_u128(1 << 77 | 3)] {
            assert_eq!(decode_id(&encode_id(id)), Some(id));
            assert_eq!(read_topic_id(&write_topic_id(id)), Some(id));
        }
        assert_eq!(decode_id("AAAAAAAAAAAAAAAAAAAAAR"), None);
        assert_eq!(decode_id("short"), None);
    }

    #[test]
    fn a_foreign_or_newer_directory_is_told_from_ours() {
        let ours = DirMeta::new(7);
        let text = String::from_utf8(ours.to_bytes()).unwrap();
        assert_eq!(DirMeta::parse(text.as_bytes()), Ok(ours));
        let refused = |text: &str| DirMeta::parse(text.as_bytes()).unwrap_err();
        let newer = text.replace("weir.version=1", "weir.version=2");
        assert_eq!(refused(&newer), "its weir.version is 2, only 1 is known");
        let kafkas = text.replace("weir.version=1\n", "");
        assert_eq!(refused(&kafkas), "it was written by another program");
        let damaged = "its checksum does not fit: it is damaged";
        assert_eq!(refused(&text.replace("node.id=7", "node.id=5")), damaged);
        assert_eq!(refused(&text[..text.len() - 2]), damaged);
        let (_, older) = text.split_once("weir.crc32=").unwrap();
        let older = older.split_once('\n').unwrap().1;
        assert!(DirMeta::parse(older.as_bytes()).is_ok(), "an older program's");
        assert_eq!(refused(&older.replace("node.id=7", "node.id=x")), "its node.id is \"x\"");
    }
}
