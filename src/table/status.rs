//! What the compactor says of a table: asked over HTTP, and no failure if nobody answers.

use std::time::Duration;

use serde_json::Value as Json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const ANSWER_BYTES_MAX: u64 = 64 << 20;
const PATIENCE: Duration = Duration::from_secs(3);

/// The status of the table `name` from `/v1/tables`; the error says why it is not known.
pub(super) async fn of_table(address: &str, name: &str) -> Result<Json, String> {
    let asked = tokio::time::timeout(PATIENCE, tables(address)).await;
    let tables = asked.unwrap_or_else(|_| Err("no answer in time".to_owned()));
    let tables = tables.map_err(|why| format!("no compactor at {address}: {why}"))?;
    let found = tables.as_array().into_iter().flatten().find(|table| table["name"] == name);
    found.cloned().ok_or_else(|| format!("the compactor at {address} does not fold this table"))
}

async fn tables(address: &str) -> Result<Json, String> {
    let mut stream = TcpStream::connect(address).await.map_err(|error| error.to_string())?;
    // HTTP/1.0: the answer ends with the connection.
    let request = format!("GET /v1/tables HTTP/1.0\r\nHost: {address}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.map_err(|error| error.to_string())?;
    let mut answer = Vec::new();
    let mut limited = stream.take(ANSWER_BYTES_MAX);
    limited.read_to_end(&mut answer).await.map_err(|error| error.to_string())?;
    let answer = String::from_utf8_lossy(&answer);
    let (head, body) = answer.split_once("\r\n\r\n").ok_or("its answer is not HTTP")?;
    let status = head.lines().next().unwrap_or_default();
    if !status.contains(" 200 ") {
        return Err(format!("it answers {status}"));
    }
    serde_json::from_str(body).map_err(|error| error.to_string())
}
