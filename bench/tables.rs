//! How far tables are: asks the compactor's `/v1/tables` over one HTTP connection that stays open.
use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use crate::connection::io;
use crate::{BenchError, clock};

/// The largest answer that is taken.
const ANSWER_BYTES_MAX: usize = 64 << 20;
/// How long a compactor may take to come up.
const START_MAX: Duration = Duration::from_secs(60);

/// What the compactor says about one table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct TableState {
    /// The next offset to fold, by partition; empty before the first snapshot.
    pub(crate) offsets: BTreeMap<i32, i64>,
    /// The newest snapshot.
    pub(crate) snapshot_id: Option<i64>,
    /// What has stopped it, if anything has.
    pub(crate) last_error: Option<String>,
}

impl TableState {
    /// Whether its newest snapshot holds everything before these offsets.
    pub(crate) fn covers(&self, ends: &[i64]) -> bool {
        (0..).zip(ends).all(|(index, end)| {
            *end == 0 || self.offsets.get(&index).is_some_and(|next| next >= end)
        })
    }
}

/// A connection to the compactor's HTTP port.
pub(crate) struct Tables {
    address: String,
    stream: BufReader<TcpStream>,
}

impl Tables {
    /// Connects; a compactor that is just starting is waited for.
    pub(crate) async fn open(address: &str) -> Result<Tables, BenchError> {
        let deadline = clock::now() + START_MAX;
        loop {
            match TcpStream::connect(address).await {
                Ok(stream) => {
                    stream.set_nodelay(true).map_err(|source| io(address, source))?;
                    let stream = BufReader::new(stream);
                    return Ok(Tables { address: address.to_owned(), stream });
                }
                Err(source) if clock::now() > deadline => return Err(io(address, source)),
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    }

    /// The table folded from that topic, if the compactor has found it.
    pub(crate) async fn of_topic(&mut self, topic: &str) -> Result<Option<TableState>, BenchError> {
        let body = self.get().await?;
        let answer: Value = serde_json::from_slice(&body)
            .map_err(|error| BenchError::Server(format!("{}: {error}", self.address)))?;
        Ok(state_of(&answer, topic))
    }

    async fn get(&mut self) -> Result<Vec<u8>, BenchError> {
        let request = format!("GET /v1/tables HTTP/1.1\r\nHost: {}\r\n\r\n", self.address);
        let address = self.address.clone();
        let failed = |source| io(&address, source);
        self.stream.write_all(request.as_bytes()).await.map_err(failed)?;
        let mut length = None;
        let mut line = String::new();
        let mut status = String::new();
        loop {
            line.clear();
            if self.stream.read_line(&mut line).await.map_err(failed)? == 0 {
                return Err(failed(std::io::ErrorKind::UnexpectedEof.into()));
            }
            let text = line.trim_end();
            if status.is_empty() {
                text.clone_into(&mut status);
            } else if text.is_empty() {
                break;
            } else if let Some((name, value)) = text.split_once(':')
                && name.eq_ignore_ascii_case("content-length")
            {
                length = value.trim().parse::<usize>().ok();
            }
        }
        let length = length.filter(|length| *length <= ANSWER_BYTES_MAX);
        match length {
            Some(length) if status.contains(" 200 ") => {
                let mut body = vec![0; length];
                self.stream.read_exact(&mut body).await.map_err(failed)?;
                Ok(body)
            }
            _ => Err(BenchError::Server(format!("{address}/v1/tables: {status}"))),
        }
    }
}

/// The answer is a list of tables, or an object that holds one.
fn state_of(answer: &Value, topic: &str) -> Option<TableState> {
    let tables = answer.as_array().or_else(|| answer.get("tables")?.as_array())?;
    let table = tables.iter().find(|table| table["topic"] == topic)?;
    let offset = |(partition, offset): (&String, &Value)| {
        Some((partition.parse::<i32>().ok()?, offset.as_i64()?))
    };
    let offsets = table["offsets"].as_object();
    let snapshot = ["snapshotId", "snapshot_id", "snapshot"];
    Some(TableState {
        offsets: offsets.into_iter().flatten().filter_map(offset).collect(),
        snapshot_id: snapshot.iter().find_map(|name| table.get(name)?.as_i64()),
        last_error: ["lastError", "last_error"]
            .iter()
            .find_map(|name| Some(table.get(name)?.as_str()?.to_owned())),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_found_by_its_topic_and_covers_what_its_offsets_reach() {
        let answer: Value = serde_json::from_str(
            r#"{"tables":[{"topic":"a","offsets":{"0":5}},
                {"topic":"b","offsets":{"0":10,"1":7},"snapshotId":3}]}"#,
        )
        .unwrap();
        let table = state_of(&answer, "b").unwrap();
        assert_eq!(table.offsets, BTreeMap::from([(0, 10), (1, 7)]));
        assert_eq!(table.snapshot_id, Some(3));
        assert!(table.covers(&[10, 7]));
        assert!(!table.covers(&[10, 8]));
        assert!(table.covers(&[10, 7, 0]));
        assert!(!table.covers(&[10, 7, 1]));
        assert_eq!(state_of(&answer["tables"], "a").unwrap().snapshot_id, None);
        assert_eq!(state_of(&answer, "c"), None);
    }
}
