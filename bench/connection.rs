//! One connection to a broker: requests one after the other, or its two halves for a pipeline.
use std::collections::BTreeMap;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::{ApiVersionsRequest, RequestHeader, ResponseHeader};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, Request, StrBytes};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use weir_protocol::frame::FrameBuffer;

use crate::{BenchError, clock, topic};

/// What we call ourselves.
pub(crate) const CLIENT_ID: &str = "weir-bench";
/// How long is waited before a coordinator is asked again.
const RETRY: Duration = Duration::from_millis(1);
/// How long a coordinator may say that it is not ready.
const PATIENCE: Duration = Duration::from_secs(60);
/// The largest answer that is taken.
const ANSWER_BYTES_MAX: usize = 256 << 20;

/// A connection and what its broker serves.
pub(crate) struct Connection {
    address: String,
    frames: Frames,
    writer: OwnedWriteHalf,
    versions: BTreeMap<i16, (i16, i16)>,
    correlation_id: i32,
}

/// The half that reads: whole answers.
pub(crate) struct Frames {
    address: String,
    reader: OwnedReadHalf,
    buffer: FrameBuffer,
}

impl Frames {
    /// The next answer; an error when the broker closes.
    pub(crate) async fn next(&mut self) -> Result<Bytes, BenchError> {
        loop {
            match self.buffer.next_frame() {
                Ok(Some(frame)) => return Ok(frame),
                Ok(None) => {}
                Err(error) => return Err(BenchError::Server(error.to_string())),
            }
            let read = self.reader.read_buf(self.buffer.buffer()).await;
            let read = read.map_err(|source| io(&self.address, source))?;
            if read == 0 {
                return Err(io(&self.address, std::io::ErrorKind::UnexpectedEof.into()));
            }
        }
    }
}

pub(crate) fn io(address: &str, source: std::io::Error) -> BenchError {
    BenchError::Io { address: address.to_owned(), source }
}

impl Connection {
    /// Connects and asks what is served.
    pub(crate) async fn open(address: &str) -> Result<Connection, BenchError> {
        let stream = TcpStream::connect(address).await.map_err(|source| io(address, source))?;
        stream.set_nodelay(true).map_err(|source| io(address, source))?;
        let (reader, writer) = stream.into_split();
        let buffer = FrameBuffer::new(ANSWER_BYTES_MAX);
        let frames = Frames { address: address.to_owned(), reader, buffer };
        let mut connection = Connection {
            address: address.to_owned(),
            frames,
            writer,
            versions: BTreeMap::from([(ApiVersionsRequest::KEY, (0, 0))]),
            correlation_id: 0,
        };
        let served = connection.call(&ApiVersionsRequest::default(), 0).await?;
        let range = |api: &kafka_protocol::messages::api_versions_response::ApiVersion| {
            (api.api_key, (api.min_version, api.max_version))
        };
        connection.versions = served.api_keys.iter().map(range).collect();
        Ok(connection)
    }

    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// The version to speak: ours, or the broker's highest where that is lower.
    pub(crate) fn version(&self, api_key: i16, ours: i16) -> Result<i16, BenchError> {
        let (min, max) = self.versions.get(&api_key).copied().unwrap_or((0, -1));
        if ours < min || max < 0 {
            let address = &self.address;
            return Err(BenchError::Server(format!(
                "{address} serves versions {min} to {max} of API {api_key}, we speak {ours}"
            )));
        }
        Ok(ours.min(max))
    }

    /// One request and its answer.
    pub(crate) async fn call<R: Request>(
        &mut self,
        request: &R,
        version_max: i16,
    ) -> Result<R::Response, BenchError> {
        let version = self.version(R::KEY, version_max)?;
        self.correlation_id += 1;
        let frame = encode(request, version, self.correlation_id)?;
        let written = self.writer.write_all(&frame).await;
        written.map_err(|source| io(&self.address, source))?;
        let answer = self.frames.next().await?;
        decode::<R>(answer, version, self.correlation_id)
    }

    /// Asks until the coordinator is ready: the answer, and how often it was not.
    pub(crate) async fn call_until_ready<R: Request>(
        &mut self,
        request: &R,
        version_max: i16,
        error_of: impl Fn(&R::Response) -> i16,
    ) -> Result<(R::Response, u64), BenchError> {
        let deadline = clock::now() + PATIENCE;
        let mut asked_again = 0;
        loop {
            let answer = self.call(request, version_max).await?;
            let error = error_of(&answer);
            if error == 0 {
                return Ok((answer, asked_again));
            }
            let passes = matches!(
                ResponseError::try_from_code(error),
                Some(
                    ResponseError::ConcurrentTransactions
                        | ResponseError::CoordinatorNotAvailable
                        | ResponseError::CoordinatorLoadInProgress
                        | ResponseError::NotCoordinator
                )
            );
            if !passes || clock::now() > deadline {
                let name = topic::error_name(error);
                return Err(BenchError::Server(format!("API {}: {name}", R::KEY)));
            }
            asked_again += 1;
            tokio::time::sleep(RETRY).await;
        }
    }

    /// The halves, for many requests in flight.
    pub(crate) fn into_halves(self) -> (OwnedWriteHalf, Frames) {
        (self.writer, self.frames)
    }
}

fn codec(error: impl std::fmt::Display) -> BenchError {
    BenchError::Server(format!("codec: {error}"))
}

/// A request as a frame.
pub(crate) fn encode<R: Request>(
    request: &R,
    version: i16,
    correlation_id: i32,
) -> Result<BytesMut, BenchError> {
    let header = RequestHeader::default()
        .with_request_api_key(R::KEY)
        .with_request_api_version(version)
        .with_correlation_id(correlation_id)
        .with_client_id(Some(StrBytes::from_static_str(CLIENT_ID)));
    let mut frame = BytesMut::new();
    frame.put_u32(0);
    header.encode(&mut frame, R::header_version(version)).map_err(codec)?;
    request.encode(&mut frame, version).map_err(codec)?;
    let length = u32::try_from(frame.len() - 4).map_err(codec)?;
    frame[..4].copy_from_slice(&length.to_be_bytes());
    Ok(frame)
}

/// The answer to a request of that version.
pub(crate) fn decode<R: Request>(
    mut answer: Bytes,
    version: i16,
    correlation_id: i32,
) -> Result<R::Response, BenchError> {
    let header = ResponseHeader::decode(&mut answer, R::Response::header_version(version));
    let answered = header.map_err(codec)?.correlation_id;
    if answered != correlation_id {
        let wrong = format!("request {correlation_id} was answered as {answered}");
        return Err(BenchError::Server(wrong));
    }
    R::Response::decode(&mut answer, version).map_err(codec)
}
