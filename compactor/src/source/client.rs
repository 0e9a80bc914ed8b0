//! One connection to a Kafka broker: requests go out as they are asked for, answers come back by
//! correlation id.
//!
//! - Requests leave in the order of the calls to [`Client::start`]; many may be under way at once.
//! - An answer is read whole before it is decoded.
//! - After any doubt (socket lost, answer too large, no answer in time) the connection is closed
//!   for good: whoever holds it is told why and connects again.

use std::collections::BTreeMap;
use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::{
    ApiKey, ApiVersionsRequest, ApiVersionsResponse, RequestHeader, ResponseHeader,
};
use kafka_protocol::protocol::{
    Decodable, Encodable, HeaderVersion, Message, Request, StrBytes, VersionRange,
};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};

use crate::source::link::{Link, read_answers, write_frames};

/// How long a call waits for its answer unless it says otherwise.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Why a request has no good answer. Each names the broker's address and the API.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens there, or the name means no address.
    #[error("cannot connect to {address}: {reason}")]
    Connect {
        /// Host and port as given.
        address: String,
        /// What the system said.
        reason: String,
    },
    /// The connection was lost before the answer came.
    #[error("{api} to {address}: connection lost: {reason}")]
    Closed {
        /// Host and port as given.
        address: String,
        /// Name of the API.
        api: &'static str,
        /// What ended the connection.
        reason: String,
    },
    /// No answer in time. The connection is closed.
    #[error("{api} to {address}: no answer within {waited_ms} ms")]
    TimedOut {
        /// Host and port as given.
        address: String,
        /// Name of the API.
        api: &'static str,
        /// How long was waited.
        waited_ms: u128,
    },
    /// The broker does not serve a version that we can speak.
    #[error("{api} to {address}: the broker serves versions {theirs}, this program {ours}")]
    Unsupported {
        /// Host and port as given.
        address: String,
        /// Name of the API.
        api: &'static str,
        /// Versions of the broker; empty if it does not know the API.
        theirs: String,
        /// Versions of this program.
        ours: String,
    },
    /// The request or the answer does not fit the protocol.
    #[error("{api} to {address}: cannot {doing} version {version}: {reason}")]
    Codec {
        /// Host and port as given.
        address: String,
        /// Name of the API.
        api: &'static str,
        /// `encode` or `decode`.
        doing: &'static str,
        /// Version of the API.
        version: i16,
        /// What the codec said.
        reason: String,
    },
    /// The broker answered with an error.
    #[error("{api} to {address}: {subject}: {}", describe(*code, message.as_deref()))]
    Refused {
        /// Host and port as given.
        address: String,
        /// Name of the API.
        api: &'static str,
        /// What was asked about: a topic, a partition, a group.
        subject: String,
        /// Kafka's error.
        code: ResponseError,
        /// The broker's own words, if any.
        message: Option<String>,
    },
}

impl ClientError {
    /// Kafka's error code, if the broker gave one.
    pub fn code(&self) -> Option<ResponseError> {
        match self {
            Self::Refused { code, .. } => Some(*code),
            _ => None,
        }
    }

    /// Whether the same request may succeed later, on this or a new connection.
    pub fn is_retriable(&self) -> bool {
        match self {
            Self::Connect { .. } | Self::Closed { .. } | Self::TimedOut { .. } => true,
            Self::Refused { code, .. } => code.is_retriable(),
            Self::Unsupported { .. } | Self::Codec { .. } => false,
        }
    }
}

fn describe(code: ResponseError, message: Option<&str>) -> String {
    match message {
        Some(message) if !message.is_empty() => format!("{code}: {message}"),
        _ => code.to_string(),
    }
}

/// One connection. Dropping it closes the socket.
#[derive(Debug)]
pub struct Client {
    address: String,
    client_id: StrBytes,
    versions: BTreeMap<i16, VersionRange>,
    link: Arc<Link>,
    frames: mpsc::UnboundedSender<Bytes>,
    tasks: [tokio::task::JoinHandle<()>; 2],
}

impl Drop for Client {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
        self.link.close("dropped by this program");
    }
}

impl Client {
    /// Connects and asks which APIs the broker serves.
    pub async fn connect(address: &str, client_id: &str) -> Result<Self, ClientError> {
        let failed = |reason: String| ClientError::Connect { address: address.to_owned(), reason };
        let socket = tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect(address))
            .await
            .map_err(|_| failed(format!("no answer within {} ms", CONNECT_TIMEOUT.as_millis())))?
            .map_err(|error| failed(error.to_string()))?;
        socket.set_nodelay(true).map_err(|error| failed(error.to_string()))?;
        let (source, target) = socket.into_split();
        let link = Arc::new(Link::default());
        let (frames, waiting) = mpsc::unbounded_channel();
        let tasks = [
            tokio::spawn(write_frames(target, waiting, Arc::clone(&link))),
            tokio::spawn(read_answers(source, Arc::clone(&link))),
        ];
        let mut client = Self {
            address: address.to_owned(),
            client_id: StrBytes::from_string(client_id.to_owned()),
            versions: BTreeMap::new(),
            link,
            frames,
            tasks,
        };
        client.versions = client.ask_versions().await?;
        Ok(client)
    }

    /// Host and port as given to [`Client::connect`].
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Whether the connection is of no more use.
    pub fn is_closed(&self) -> bool {
        self.link.state().closed.is_some()
    }

    /// The newest version of an API that the broker and we (`ours`) can speak.
    pub fn version_within(&self, api_key: i16, ours: VersionRange) -> Result<i16, ClientError> {
        let theirs = self.versions.get(&api_key);
        let shared = theirs.map(|theirs| theirs.intersect(&ours));
        match shared {
            Some(shared) if !shared.is_empty() => Ok(shared.max),
            _ => Err(ClientError::Unsupported {
                address: self.address.clone(),
                api: api_name(api_key),
                theirs: theirs.map_or_else(|| "none".to_owned(), range_text),
                ours: range_text(&ours),
            }),
        }
    }

    /// The newest version of an API that the broker serves, at most `our_max`.
    pub fn version_for(&self, api_key: i16, our_max: i16) -> Result<i16, ClientError> {
        self.version_within(api_key, VersionRange { min: 0, max: our_max })
    }

    /// Sends a request in the given version and waits for its answer.
    pub async fn call<Req: Request>(
        &self,
        request: &Req,
        version: i16,
    ) -> Result<Req::Response, ClientError> {
        self.call_within(request, version, REQUEST_TIMEOUT).await
    }

    /// [`Client::call`] with a deadline of its own, for requests that wait on purpose.
    pub async fn call_within<Req: Request>(
        &self,
        request: &Req,
        version: i16,
        timeout: Duration,
    ) -> Result<Req::Response, ClientError> {
        let answer = self.start(request, version)?;
        match tokio::time::timeout(timeout, answer).await {
            Ok(answer) => answer,
            Err(_) => {
                let waited_ms = timeout.as_millis();
                self.link.close(&format!("no answer within {waited_ms} ms"));
                let api = api_name(Req::KEY);
                Err(ClientError::TimedOut { address: self.address.clone(), api, waited_ms })
            }
        }
    }

    /// Sends the newest version that both sides know.
    pub async fn ask<Req: Request>(&self, request: &Req) -> Result<Req::Response, ClientError> {
        self.call(request, self.version_within(Req::KEY, Req::VERSIONS)?).await
    }

    /// Puts a request on the wire, in the order of these calls; the answer may be awaited later.
    pub fn start<Req: Request>(
        &self,
        request: &Req,
        version: i16,
    ) -> Result<Answering<Req>, ClientError> {
        let (sender, receiver) = oneshot::channel();
        self.put_on_wire(request, version, Some(sender))?;
        let address = self.address.clone();
        Ok(Answering { link: Arc::clone(&self.link), receiver, address, version, of: PhantomData })
    }

    /// Sends a request to which the broker gives no answer (Produce with acks 0).
    pub fn send_only<Req: Request>(&self, request: &Req, version: i16) -> Result<(), ClientError> {
        self.put_on_wire(request, version, None)
    }

    fn put_on_wire<Req: Request>(
        &self,
        request: &Req,
        version: i16,
        answer: Option<oneshot::Sender<Bytes>>,
    ) -> Result<(), ClientError> {
        // One lock for number and queue: answers come in the order of requests on the wire.
        let mut state = self.link.state();
        if let Some(reason) = &state.closed {
            let (address, reason) = (self.address.clone(), reason.clone());
            return Err(ClientError::Closed { address, api: api_name(Req::KEY), reason });
        }
        let correlation_id = state.next_id;
        state.next_id = state.next_id.wrapping_add(1);
        let frame = self.encode(request, version, correlation_id)?;
        if let Some(answer) = answer {
            state.waiting.insert(correlation_id, answer);
        }
        // A writer that is gone has closed the link or is about to: the answer says so.
        let _ = self.frames.send(frame);
        Ok(())
    }

    fn encode<Req: Request>(
        &self,
        request: &Req,
        version: i16,
        correlation_id: i32,
    ) -> Result<Bytes, ClientError> {
        let header = RequestHeader::default()
            .with_request_api_key(Req::KEY)
            .with_request_api_version(version)
            .with_correlation_id(correlation_id)
            .with_client_id(Some(self.client_id.clone()));
        let mut frame = BytesMut::new();
        frame.put_i32(0);
        let encoded = header
            .encode(&mut frame, Req::header_version(version))
            .and_then(|()| request.encode(&mut frame, version))
            .map_err(|error| error.to_string())
            .and_then(|()| i32::try_from(frame.len() - 4).map_err(|error| error.to_string()));
        match encoded {
            Ok(size) => {
                frame[..4].copy_from_slice(&size.to_be_bytes());
                Ok(frame.freeze())
            }
            Err(reason) => Err(ClientError::Codec {
                address: self.address.clone(),
                api: api_name(Req::KEY),
                doing: "encode",
                version,
                reason,
            }),
        }
    }

    async fn ask_versions(&self) -> Result<BTreeMap<i16, VersionRange>, ClientError> {
        let request = ApiVersionsRequest::default()
            .with_client_software_name(StrBytes::from_static_str("weir"))
            .with_client_software_version(StrBytes::from_static_str(env!("CARGO_PKG_VERSION")));
        let version = ApiVersionsRequest::VERSIONS.max.min(3);
        let response = match self.call(&request, version).await {
            // An old broker answers in version 0, whatever was asked: ask in that version.
            Err(ClientError::Codec { .. }) => self.call(&ApiVersionsRequest::default(), 0).await?,
            Ok(answer) if answer.error_code == ResponseError::UnsupportedVersion.code() => {
                self.call(&ApiVersionsRequest::default(), 0).await?
            }
            other => other?,
        };
        self.accept("ApiVersions", response.error_code, None, || "connection".to_owned())?;
        let ApiVersionsResponse { api_keys, .. } = response;
        let range = |min_version, max_version| VersionRange { min: min_version, max: max_version };
        Ok(api_keys
            .into_iter()
            .map(|api| (api.api_key, range(api.min_version, api.max_version)))
            .collect())
    }

    /// An error code of an answer as an error, with the words that go with it.
    ///
    /// # Errors
    /// [`ClientError::Refused`] when the code is one.
    pub fn accept(
        &self,
        api: &'static str,
        code: i16,
        message: Option<&StrBytes>,
        subject: impl FnOnce() -> String,
    ) -> Result<(), ClientError> {
        match ResponseError::try_from_code(code) {
            None => Ok(()),
            Some(code) => Err(ClientError::Refused {
                address: self.address.clone(),
                api,
                subject: subject(),
                code,
                message: message.map(|message| message.to_string()),
            }),
        }
    }
}

/// An answer that is under way: await it.
#[derive(Debug)]
pub struct Answering<Req> {
    link: Arc<Link>,
    receiver: oneshot::Receiver<Bytes>,
    address: String,
    version: i16,
    of: PhantomData<fn() -> Req>,
}

impl<Req: Request> Future for Answering<Req> {
    type Output = Result<Req::Response, ClientError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match Pin::new(&mut self.receiver).poll(context) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Ok(body)) => Poll::Ready(self.decode(body)),
            Poll::Ready(Err(_)) => Poll::Ready(Err(ClientError::Closed {
                address: self.address.clone(),
                api: api_name(Req::KEY),
                reason: self.link.state().closed.clone().unwrap_or_else(|| "dropped".to_owned()),
            })),
        }
    }
}

impl<Req: Request> Answering<Req> {
    fn decode(&self, mut body: Bytes) -> Result<Req::Response, ClientError> {
        ResponseHeader::decode(&mut body, Req::Response::header_version(self.version))
            .and_then(|_| Req::Response::decode(&mut body, self.version))
            .map_err(|error| ClientError::Codec {
                address: self.address.clone(),
                api: api_name(Req::KEY),
                doing: "decode",
                version: self.version,
                reason: error.to_string(),
            })
    }
}

fn range_text(range: &VersionRange) -> String {
    format!("{}..={}", range.min, range.max)
}

/// Kafka's name of an API, for people.
pub(crate) fn api_name(api_key: i16) -> &'static str {
    match ApiKey::try_from(api_key) {
        Ok(ApiKey::Produce) => "Produce",
        Ok(ApiKey::Fetch) => "Fetch",
        Ok(ApiKey::ListOffsets) => "ListOffsets",
        Ok(ApiKey::Metadata) => "Metadata",
        Ok(ApiKey::OffsetCommit) => "OffsetCommit",
        Ok(ApiKey::OffsetFetch) => "OffsetFetch",
        Ok(ApiKey::FindCoordinator) => "FindCoordinator",
        Ok(ApiKey::ApiVersions) => "ApiVersions",
        Ok(ApiKey::CreateTopics) => "CreateTopics",
        Ok(ApiKey::DeleteTopics) => "DeleteTopics",
        Ok(ApiKey::DeleteRecords) => "DeleteRecords",
        Ok(ApiKey::InitProducerId) => "InitProducerId",
        Ok(ApiKey::OffsetForLeaderEpoch) => "OffsetForLeaderEpoch",
        Ok(ApiKey::DescribeConfigs) => "DescribeConfigs",
        Ok(ApiKey::AlterConfigs) => "AlterConfigs",
        Ok(ApiKey::CreatePartitions) => "CreatePartitions",
        Ok(ApiKey::IncrementalAlterConfigs) => "IncrementalAlterConfigs",
        Ok(ApiKey::DescribeCluster) => "DescribeCluster",
        Ok(ApiKey::JoinGroup) => "JoinGroup",
        Ok(ApiKey::SyncGroup) => "SyncGroup",
        Ok(ApiKey::Heartbeat) => "Heartbeat",
        Ok(ApiKey::LeaveGroup) => "LeaveGroup",
        Ok(ApiKey::ListGroups) => "ListGroups",
        Ok(ApiKey::DescribeGroups) => "DescribeGroups",
        Ok(ApiKey::DeleteGroups) => "DeleteGroups",
        Ok(ApiKey::OffsetDelete) => "OffsetDelete",
        Ok(ApiKey::ConsumerGroupDescribe) => "ConsumerGroupDescribe",
        Ok(ApiKey::ShareGroupDescribe) => "ShareGroupDescribe",
        _ => "Request",
    }
}

#[cfg(test)]
mod tests {
    use bytes::Buf;
    use kafka_protocol::messages::api_versions_response::ApiVersion;
    use kafka_protocol::messages::{MetadataRequest, MetadataResponse};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    /// A broker of one connection: answers ApiVersions, then does as the test says.
    async fn broker<F, Fut>(then: F) -> String
    where
        F: FnOnce(TcpStream) -> Fut + Send + 'static,
        Fut: Future<Output = ()> + Send,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        tokio::spawn(async move {
            let (mut socket, _) = listener.accept().await.unwrap();
            let correlation_id = next_request(&mut socket).await;
            let served = |key, max| {
                ApiVersion::default().with_api_key(key).with_min_version(0).with_max_version(max)
            };
            let answer = ApiVersionsResponse::default()
                .with_api_keys(vec![served(ApiKey::ApiVersions as i16, 3), served(3, 1)]);
            send(&mut socket, correlation_id, &answer, 3).await;
            then(socket).await;
        });
        address
    }

    async fn next_request(socket: &mut TcpStream) -> i32 {
        let size = socket.read_i32().await.unwrap();
        let mut frame = vec![0; size as usize];
        socket.read_exact(&mut frame).await.unwrap();
        (&frame[4..8]).get_i32()
    }

    async fn send<A: Encodable + HeaderVersion>(
        socket: &mut TcpStream,
        correlation_id: i32,
        answer: &A,
        version: i16,
    ) {
        let mut frame = BytesMut::new();
        let header = ResponseHeader::default().with_correlation_id(correlation_id);
        header.encode(&mut frame, A::header_version(version)).unwrap();
        answer.encode(&mut frame, version).unwrap();
        socket.write_i32(frame.len() as i32).await.unwrap();
        socket.write_all(&frame).await.unwrap();
    }

    fn with_controller(id: i32) -> MetadataResponse {
        MetadataResponse::default().with_controller_id(id.into())
    }

    #[tokio::test]
    async fn each_caller_gets_its_own_answer_whatever_the_order_of_the_answers() {
        let address = broker(|mut socket| async move {
            let first = next_request(&mut socket).await;
            let second = next_request(&mut socket).await;
            send(&mut socket, second, &with_controller(2), 1).await;
            send(&mut socket, first, &with_controller(1), 1).await;
        })
        .await;
        let client = Client::connect(&address, "test").await.unwrap();
        let first = client.start(&MetadataRequest::default(), 1).unwrap();
        let second = client.start(&MetadataRequest::default(), 1).unwrap();
        assert_eq!(first.await.unwrap().controller_id, 1);
        assert_eq!(second.await.unwrap().controller_id, 2);
    }

    #[tokio::test]
    async fn a_lost_connection_is_told_to_whoever_waits_and_to_whoever_asks_later() {
        let address = broker(|mut socket| async move {
            next_request(&mut socket).await;
        })
        .await;
        let client = Client::connect(&address, "test").await.unwrap();
        let waiting = client.call(&MetadataRequest::default(), 1).await;
        assert!(matches!(waiting, Err(ClientError::Closed { api: "Metadata", .. })));
        let later = client.call(&MetadataRequest::default(), 1).await.unwrap_err();
        assert!(client.is_closed() && later.is_retriable(), "{later}");
        assert!(later.to_string().contains(&address), "{later}");
    }

    #[tokio::test]
    async fn an_answer_of_absurd_size_ends_the_connection_before_memory_is_taken() {
        let address = broker(|mut socket| async move {
            next_request(&mut socket).await;
            socket.write_i32(i32::MAX).await.unwrap();
            next_request(&mut socket).await;
        })
        .await;
        let client = Client::connect(&address, "test").await.unwrap();
        let error = client.call(&MetadataRequest::default(), 1).await.unwrap_err();
        assert!(error.to_string().contains("2147483647 bytes"), "{error}");
    }

    #[tokio::test]
    async fn a_broker_that_stays_silent_is_left_at_the_deadline() {
        let address = broker(|mut socket| async move {
            next_request(&mut socket).await;
            std::future::pending::<()>().await;
        })
        .await;
        let client = Client::connect(&address, "test").await.unwrap();
        let timeout = Duration::from_millis(1);
        let error = client.call_within(&MetadataRequest::default(), 1, timeout).await.unwrap_err();
        assert!(matches!(error, ClientError::TimedOut { waited_ms: 1, .. }), "{error}");
        assert!(client.is_closed());
    }

    #[tokio::test]
    async fn an_api_that_the_broker_lacks_is_named_with_both_ranges() {
        let address = broker(|_| async {}).await;
        let client = Client::connect(&address, "test").await.unwrap();
        let error = client.init_producer_id().await.unwrap_err();
        assert!(error.to_string().contains("serves versions none, this program 0..=5"), "{error}");
    }
}
