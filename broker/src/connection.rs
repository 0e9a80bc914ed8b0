//! One client: frame, guard, API, answer, strictly in order.
//!
//! ```text
//! socket -> FrameBuffer -> header -> api::begin -> queue of replies -> chunks -> socket
//! ```
//!
//! One task owns the socket and everything else, so nothing hops between tasks. Requests begin in
//! the order in which they came and are answered in that order, whoever is done first. Produce
//! requests overlap: their batches are appended as they arrive and their answers wait for the disk
//! together. Any other request that has to wait holds back those behind it, as in Kafka, because
//! they may ask for what it does. What a client can have in flight is bounded; beyond it, its
//! socket is not read. A client that breaks the protocol is closed, with one line in the log.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, Bytes};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::Instant;
use weir_protocol::api::API_VERSIONS;
use weir_protocol::frame::FrameBuffer;
use weir_protocol::guard::Limits;
use weir_protocol::header::{HeaderError, RequestHeader};

use crate::api::{self, Begun, Caller, Pending, Reply};
use crate::broker::Broker;

/// Requests of one connection that have begun and are not answered.
const IN_FLIGHT_MAX: usize = 256;
/// Bytes that are read ahead of a request that holds back the others.
const READ_AHEAD_BYTES: usize = 64 << 10;
/// Chunks in one vectored write.
const WRITE_CHUNKS: usize = 64;
/// How long a connection may go on answering when the broker stops.
const STOP_GRACE: Duration = Duration::from_secs(1);

/// Why a connection ends.
#[derive(Debug, thiserror::Error)]
pub enum Ending {
    /// The client closed it, or it broke.
    #[error("closed by the client")]
    Gone,
    /// Nothing came for too long.
    #[error("idle")]
    Idle,
    /// The broker stops.
    #[error("the broker stops")]
    Stopping,
    /// The client broke the protocol.
    #[error("{0}")]
    Hostile(String),
    /// An answer cannot be given; the reason is for the operator.
    #[error("{0}")]
    Failed(String),
}

enum State {
    Ready(Reply),
    Overlapping(Pending),
    Blocking(Pending),
    /// The connection ends here, once all before it are answered.
    Over(Ending),
}

struct InFlight {
    api_key: i16,
    since: Instant,
    state: State,
}

/// One client's connection.
pub struct Connection {
    broker: Arc<Broker>,
    caller: Arc<Caller>,
    stream: TcpStream,
    frames: FrameBuffer,
    limits: Limits,
    in_flight: VecDeque<InFlight>,
    out: VecDeque<Bytes>,
    last_request: Instant,
    idle_max: Duration,
}

/// Serves one client until the connection ends.
pub async fn serve(
    broker: Arc<Broker>,
    caller: Arc<Caller>,
    stream: TcpStream,
    peer: SocketAddr,
    stop: watch::Receiver<bool>,
) {
    let metrics = broker.metrics.clone();
    let caller = Arc::new(Caller { host: format!("/{}", peer.ip()), ..Caller::clone(&caller) });
    let mut connection = Connection::new(broker, caller, stream);
    match connection.run(stop).await {
        Ending::Hostile(reason) => {
            metrics.hostile_connections.inc();
            tracing::warn!(%peer, reason, "connection closed: the client broke the protocol");
        }
        Ending::Failed(reason) => tracing::warn!(%peer, reason, "connection closed"),
        ending => tracing::debug!(%peer, reason = %ending, "connection closed"),
    }
}

impl Connection {
    fn new(broker: Arc<Broker>, caller: Arc<Caller>, stream: TcpStream) -> Self {
        let frame_bytes_max = usize::try_from(broker.config.socket_request_max_bytes).unwrap_or(0);
        let idle_ms = u64::try_from(broker.config.connections_max_idle_ms).unwrap_or(u64::MAX);
        Self {
            broker,
            caller,
            stream,
            frames: FrameBuffer::new(frame_bytes_max),
            limits: Limits::default(),
            in_flight: VecDeque::new(),
            out: VecDeque::new(),
            last_request: Instant::now(),
            idle_max: Duration::from_millis(idle_ms.min(DAYS_1000_MS)),
        }
    }

    async fn run(&mut self, mut stop: watch::Receiver<bool>) -> Ending {
        let idle = tokio::time::sleep(self.idle_max);
        tokio::pin!(idle);
        loop {
            if let Err(ending) = self.advance().await {
                return ending;
            }
            let reads = self.may_begin() || self.frames.pending_bytes() < READ_AHEAD_BYTES;
            tokio::select! {
                biased;
                reply = head(&mut self.in_flight) => self.settle_head(reply),
                ready = self.stream.readable(), if reads => {
                    if ready.is_err() || !self.read() {
                        return Ending::Gone;
                    }
                }
                () = &mut idle => {
                    let deadline = self.last_request + self.idle_max;
                    if self.in_flight.is_empty() && deadline <= Instant::now() {
                        return Ending::Idle;
                    }
                    idle.as_mut().reset(deadline.max(Instant::now() + self.idle_max / 10));
                }
                _ = stop.changed() => return self.finish().await,
            }
        }
    }

    /// Begins what may begin and writes what is answered, until neither goes on.
    async fn advance(&mut self) -> Result<(), Ending> {
        loop {
            let mut is_quiet = true;
            while self.may_begin() {
                let since = Instant::now();
                let begun = match self.frames.next_frame() {
                    Ok(Some(frame)) => self.begin(frame),
                    Ok(None) => break,
                    Err(error) => Err(Ending::Hostile(error.to_string())),
                };
                let (api_key, state) = begun.unwrap_or_else(|ending| (-1, State::Over(ending)));
                self.in_flight.push_back(InFlight { api_key, since, state });
                self.last_request = since;
                is_quiet = false;
            }
            let ending = self.take_ready();
            if !self.out.is_empty() {
                self.write().await?;
                is_quiet = false;
            }
            match ending {
                Some(ending) => return Err(ending),
                None if is_quiet => return Ok(()),
                None => {}
            }
        }
    }

    /// A request that waits holds back those behind it, unless it is a produce.
    fn may_begin(&self) -> bool {
        self.in_flight.len() < IN_FLIGHT_MAX
            && !matches!(
                self.in_flight.back(),
                Some(InFlight { state: State::Blocking(_) | State::Over(_), .. })
            )
    }

    fn begin(&self, mut frame: Bytes) -> Result<(i16, State), Ending> {
        match RequestHeader::parse(&mut frame) {
            Ok(header) => {
                let api_key = header.api_key;
                // Only a produce may begin while others wait: what it does cannot be seen by them.
                let state = if api_key == PRODUCE || self.is_settled() {
                    self.start(header, frame)?
                } else {
                    self.hold_back(header, frame)
                };
                Ok((api_key, state))
            }
            Err(HeaderError::UnsupportedVersion { key: API_VERSIONS, correlation_id, .. }) => {
                let answer = api::api_versions::answer_unsupported(correlation_id)
                    .map_err(|error| Ending::Failed(error.to_string()))?;
                Ok((API_VERSIONS, State::Ready(Reply::Answer(answer))))
            }
            Err(error) => Err(Ending::Hostile(error.to_string())),
        }
    }

    fn start(&self, header: RequestHeader, body: Bytes) -> Result<State, Ending> {
        let begun = api::begin(&self.broker, &self.caller, &self.limits, header, body);
        Ok(match begun.map_err(|refusal| Ending::Hostile(refusal.to_string()))? {
            Begun::Done(reply) => State::Ready(reply),
            Begun::Overlapping(pending) => State::Overlapping(pending),
            Begun::Blocking(pending) => State::Blocking(pending),
        })
    }

    /// Whether all that came before is done.
    fn is_settled(&self) -> bool {
        self.in_flight.iter().all(|one| matches!(one.state, State::Ready(_)))
    }

    /// Begins a request only when its turn to answer comes: all before it is done then.
    fn hold_back(&self, header: RequestHeader, body: Bytes) -> State {
        let (broker, caller, limits) = (self.broker.clone(), self.caller.clone(), self.limits);
        State::Blocking(Box::pin(async move {
            match api::begin(&broker, &caller, &limits, header, body) {
                Ok(Begun::Done(reply)) => reply,
                Ok(Begun::Overlapping(pending) | Begun::Blocking(pending)) => pending.await,
                Err(refusal) => Reply::Close(refusal.to_string()),
            }
        }))
    }

    fn settle_head(&mut self, reply: Reply) {
        if let Some(head) = self.in_flight.front_mut() {
            head.state = State::Ready(reply);
        }
    }

    /// Takes the replies that are ready, in order, as chunks to write; or the end.
    fn take_ready(&mut self) -> Option<Ending> {
        while let Some(InFlight { state: State::Ready(_) | State::Over(_), .. }) =
            self.in_flight.front()
        {
            let InFlight { api_key, since, state } = self.in_flight.pop_front()?;
            if let Some(seconds) = self.broker.metrics.request_seconds(api_key) {
                seconds.observe(since.elapsed().as_secs_f64());
            }
            match state {
                State::Ready(Reply::Answer(answer)) => self.out.extend(answer.into_chunks()),
                State::Ready(Reply::Silence) => {}
                State::Ready(Reply::Close(reason)) => return Some(Ending::Failed(reason)),
                State::Over(ending) => return Some(ending),
                State::Overlapping(_) | State::Blocking(_) => {}
            }
        }
        None
    }

    /// Reads what is there; `false`: the client has gone.
    fn read(&mut self) -> bool {
        match self.stream.try_read_buf(self.frames.buffer()) {
            Ok(count) => count > 0,
            Err(error) => error.kind() == io::ErrorKind::WouldBlock,
        }
    }

    /// Writes all chunks. A client that does not read for too long is given up.
    async fn write(&mut self) -> Result<(), Ending> {
        let written = write_chunks(&self.stream, &mut self.out);
        match tokio::time::timeout(self.idle_max, written).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(Ending::Gone),
            Err(_) => Err(Ending::Idle),
        }
    }

    /// Answers what has begun, for a while, and begins nothing more.
    async fn finish(&mut self) -> Ending {
        let rest = async {
            while !self.in_flight.is_empty() {
                let reply = head(&mut self.in_flight).await;
                self.settle_head(reply);
                let ending = self.take_ready();
                if self.write().await.is_err() || ending.is_some() {
                    break;
                }
            }
        };
        // Whoever is not done by then is told by the closed connection.
        let _ = tokio::time::timeout(STOP_GRACE, rest).await;
        Ending::Stopping
    }
}

const PRODUCE: i16 = 0;
/// Timers do not take durations without end.
const DAYS_1000_MS: u64 = 86_400_000 * 1000;

/// The reply of the oldest request; waits for ever when there is none.
async fn head(in_flight: &mut VecDeque<InFlight>) -> Reply {
    match in_flight.front_mut() {
        Some(InFlight {
            state: State::Overlapping(pending) | State::Blocking(pending), ..
        }) => pending.await,
        _ => std::future::pending().await,
    }
}

async fn write_chunks(stream: &TcpStream, out: &mut VecDeque<Bytes>) -> io::Result<()> {
    while !out.is_empty() {
        let mut slices = [IoSlice::new(&[]); WRITE_CHUNKS];
        let count = out.len().min(WRITE_CHUNKS);
        for (slice, chunk) in slices.iter_mut().zip(out.iter()) {
            *slice = IoSlice::new(chunk);
        }
        match stream.try_write_vectored(&slices[..count]) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => advance(out, written),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => stream.writable().await?,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Drops what was written.
fn advance(out: &mut VecDeque<Bytes>, mut written: usize) {
    while let Some(first) = out.front_mut() {
        if written < first.len() {
            first.advance(written);
            return;
        }
        written -= first.len();
        out.pop_front();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partial_write_goes_on_where_it_stopped() {
        let mut out = VecDeque::from([Bytes::from("abc"), Bytes::new(), Bytes::from("def")]);
        advance(&mut out, 2);
        assert_eq!(out, ["c", "", "def"]);
        advance(&mut out, 2);
        assert_eq!(out, ["ef"]);
        advance(&mut out, 2);
        assert!(out.is_empty());
    }
}
