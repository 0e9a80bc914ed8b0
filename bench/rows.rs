//! Rows to fold: made up, or the lines of a file.
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use clap::ValueEnum;
use flate2::read::MultiGzDecoder;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{BenchError, clock};

/// How a row is written.
#[derive(Copy, Clone, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// The row itself.
    Json,
    /// A change as Debezium writes it, without the schema.
    DebeziumJson,
}

impl Format {
    /// As `table.value.format` spells it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Format::Json => "json",
            Format::DebeziumJson => "debezium-json",
        }
    }
}

/// The columns of rows that are made up.
pub(crate) const SCHEMA: &str =
    "id BIGINT NOT NULL, customer STRING, amount DOUBLE, status STRING, updated_at BIGINT";
/// Their primary key.
pub(crate) const PRIMARY_KEY: &str = "id";

/// One record to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) key: Option<Vec<u8>>,
    pub(crate) value: Option<Vec<u8>>,
}

impl Row {
    /// Rows of one key go to one partition (FNV-1a of the key).
    pub(crate) fn partition(&self, partitions: usize) -> usize {
        let start = 0xcbf2_9ce4_8422_2325u64;
        let key = self.key.as_deref().unwrap_or_default();
        let hash = key
            .iter()
            .fold(start, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3));
        usize::try_from(hash % partitions as u64).expect("below a count")
    }
}

/// Rows in the order in which they are sent.
pub(crate) enum Rows {
    /// Made up as they are needed.
    Made { format: Format, number: u64, rows: u64, keys: u64, now_ms: i64 },
    /// Read before the clock starts.
    Read(std::vec::IntoIter<Row>),
}

impl Rows {
    /// So many rows over so many keys: row after row the keys are gone through in turn.
    pub(crate) fn made(format: Format, rows: u64, keys: u64) -> Rows {
        Rows::Made { format, number: 0, rows, keys: keys.max(1), now_ms: clock::wall_ms() }
    }

    /// Lines of `{"key": ..., "value": ...}`, compressed if the name ends with `.gz`. A string is
    /// sent as the text in it, null as null, anything else as the JSON that stands there.
    pub(crate) fn read(path: &Path) -> Result<Rows, BenchError> {
        let address = path.display().to_string();
        let failed = |source| BenchError::Io { address: address.clone(), source };
        let file = File::open(path).map_err(failed)?;
        let is_compressed = path.extension().is_some_and(|extension| extension == "gz");
        let plain: Box<dyn Read> =
            if is_compressed { Box::new(MultiGzDecoder::new(file)) } else { Box::new(file) };
        let mut rows = Vec::new();
        for (number, line) in (1u64..).zip(BufReader::new(plain).lines()) {
            let row = row_of(&line.map_err(failed)?);
            rows.push(
                row.map_err(|e| BenchError::Usage(format!("{address}, line {number}: {e}")))?,
            );
        }
        Ok(Rows::Read(rows.into_iter()))
    }
}

impl Iterator for Rows {
    type Item = Row;

    fn next(&mut self) -> Option<Row> {
        match self {
            Rows::Made { number, rows, .. } if *number >= *rows => None,
            Rows::Made { format, number, keys, now_ms, .. } => {
                let row = made(*format, *number, *keys, *now_ms);
                *number += 1;
                Some(row)
            }
            Rows::Read(rows) => rows.next(),
        }
    }
}

#[derive(Deserialize)]
struct Line<'a> {
    #[serde(borrow)]
    key: Option<&'a RawValue>,
    #[serde(borrow)]
    value: Option<&'a RawValue>,
}

fn row_of(line: &str) -> Result<Row, serde_json::Error> {
    let line: Line = serde_json::from_str(line)?;
    let bytes = |raw: &RawValue| -> Result<Vec<u8>, serde_json::Error> {
        let text = raw.get();
        if text.starts_with('"') {
            serde_json::from_str::<String>(text).map(String::into_bytes)
        } else {
            Ok(text.as_bytes().to_vec())
        }
    };
    Ok(Row { key: line.key.map(bytes).transpose()?, value: line.value.map(bytes).transpose()? })
}

fn made(format: Format, number: u64, keys: u64, now_ms: i64) -> Row {
    let id = number % keys;
    let amount = number.wrapping_mul(2_654_435_761) % 1_000_000;
    let status = ["new", "paid", "shipped", "returned"][usize::try_from(number % 4).unwrap_or(0)];
    let after = format!(
        "{{\"id\":{id},\"customer\":\"customer-{:06}\",\"amount\":{}.{:02},\
         \"status\":\"{status}\",\"updated_at\":{}}}",
        id % 100_000,
        amount / 100,
        amount % 100,
        now_ms,
    );
    let key = format!("{{\"id\":{id}}}").into_bytes();
    let value = match format {
        Format::Json => after,
        Format::DebeziumJson => {
            let (op, before) =
                if number < keys { ("c", "null".to_owned()) } else { ("u", after.clone()) };
            format!(
                "{{\"before\":{before},\"after\":{after},\"source\":{{\"version\":\"3.6.3.Final\",\
                 \"connector\":\"postgresql\",\"name\":\"bench\",\"ts_ms\":{now_ms},\
                 \"snapshot\":\"false\",\"db\":\"bench\",\"schema\":\"public\",\
                 \"table\":\"orders\",\"txId\":{number},\"lsn\":{}}},\"op\":\"{op}\",\
                 \"ts_ms\":{now_ms}}}",
                number * 64,
            )
        }
    };
    Row { key: Some(key), value: Some(value.into_bytes()) }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn lines_are_sent_as_they_stand() {
        let row = row_of(r#"{"key":{"b":1,"a":2},"value":"{\"x\": 1.50}","other":3}"#).unwrap();
        assert_eq!(row.key.as_deref(), Some(&br#"{"b":1,"a":2}"#[..]));
        assert_eq!(row.value.as_deref(), Some(&br#"{"x": 1.50}"#[..]));
        let tombstone = row_of(r#"{"key":7,"value":null}"#).unwrap();
        assert_eq!(tombstone, Row { key: Some(b"7".to_vec()), value: None });
    }

    #[test]
    fn made_rows_are_json_and_keys_come_again() {
        for format in [Format::Json, Format::DebeziumJson] {
            let mut ids = Vec::new();
            for row in Rows::made(format, 5, 3) {
                let key: Value = serde_json::from_slice(&row.key.unwrap()).unwrap();
                let value: Value = serde_json::from_slice(&row.value.unwrap()).unwrap();
                let columns = if format == Format::Json { &value } else { &value["after"] };
                assert_eq!(columns["id"], key["id"]);
                ids.push(key["id"].as_u64().unwrap());
            }
            assert_eq!(ids, [0, 1, 2, 0, 1]);
        }
    }

    #[test]
    fn a_key_stays_in_its_partition() {
        let row = |key: &str| Row { key: Some(key.into()), value: None };
        assert_eq!(row("a").partition(7), row("a").partition(7));
        let seen: std::collections::BTreeSet<_> =
            (0..100).map(|n| row(&n.to_string()).partition(4)).collect();
        assert_eq!(seen.len(), 4);
    }
}
