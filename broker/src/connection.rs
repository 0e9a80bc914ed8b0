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
//! they may ask for what it does. What a client can have in flight is bounded, and so is what all
//! have together; beyond it, sockets are not read. A client over its quota is answered at once, told for how long it is held
//! back, and not read so long (KIP-219). A client that breaks the protocol is closed, with one line
//! in the log.

mod admission;
mod charge;
mod write;

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::Instant;
use weir_protocol::api::API_VERSIONS;
use weir_protocol::frame::{FrameBuffer, LENGTH_BYTES};
use weir_protocol::guard::Limits;
use weir_protocol::header::{HeaderError, RequestHeader};

use crate::api::{self, Begun, Caller, Pending, Reply};
use crate::broker::Broker;
use crate::connection::admission::Admission;
use crate::connection::charge::{Charge, Timed};
use crate::connection::write::write_chunks;
use crate::request_memory::Room;

/// Requests of one connection that have begun and are not answered.
const IN_FLIGHT_MAX: usize = 256;
/// Bytes that are read ahead of a request that holds back the others.
const READ_AHEAD_BYTES: usize = 64 << 10;
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

/// What began: its API, how far it is, and what it costs.
type Begin = (i16, State, Option<Charge>);

struct InFlight {
    api_key: i16,
    since: Instant,
    state: State,
    /// What its client's quotas are charged for it; nothing while there are no quotas.
    charge: Option<Charge>,
    /// What it takes of the memory for requests.
    _room: Room,
}

/// One client's connection.
pub struct Connection {
    broker: Arc<Broker>,
    caller: Arc<Caller>,
    stream: TcpStream,
    frames: FrameBuffer,
    admission: Admission,
    limits: Limits,
    in_flight: VecDeque<InFlight>,
    out: VecDeque<Bytes>,
    last_request: Instant,
    idle_max: Duration,
    /// The client is over its quota, and is not read before.
    muted_until: Option<Instant>,
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
            admission: Admission::new(broker.request_memory.clone()),
            broker,
            caller,
            stream,
            frames: FrameBuffer::new(frame_bytes_max),
            limits: Limits::default(),
            in_flight: VecDeque::new(),
            out: VecDeque::new(),
            last_request: Instant::now(),
            idle_max: Duration::from_millis(idle_ms.min(DAYS_1000_MS)),
            muted_until: None,
        }
    }

    async fn run(&mut self, mut stop: watch::Receiver<bool>) -> Ending {
        let idle = tokio::time::sleep(self.idle_max);
        tokio::pin!(idle);
        loop {
            if let Err(ending) = self.advance().await {
                return ending;
            }
            let reads = self.muted_until.is_none()
                && !self.admission.is_waiting()
                && (self.may_begin() || self.frames.pending_bytes() < READ_AHEAD_BYTES);
            tokio::select! {
                biased;
                reply = head(&mut self.in_flight) => self.settle_head(reply),
                ready = self.stream.readable(), if reads => {
                    if ready.is_err() || !self.read() {
                        return Ending::Gone;
                    }
                }
                () = self.admission.granted(), if self.admission.is_waiting() => {}
                () = unmuted(self.muted_until), if self.muted_until.is_some() => {
                    self.muted_until = None;
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
            while self.may_begin() && self.is_admitted() {
                let since = Instant::now();
                let begun = match self.frames.next_frame() {
                    Ok(Some(frame)) => self.begin(frame, since),
                    Ok(None) => break,
                    Err(error) => Err(Ending::Hostile(error.to_string())),
                };
                let (api_key, state, charge) =
                    begun.unwrap_or_else(|ending| (-1, State::Over(ending), None));
                let _room = self.admission.take();
                self.in_flight.push_back(InFlight { api_key, since, state, charge, _room });
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
        self.muted_until.is_none()
            && self.in_flight.len() < IN_FLIGHT_MAX
            && !matches!(
                self.in_flight.back(),
                Some(InFlight { state: State::Blocking(_) | State::Over(_), .. })
            )
    }

    /// Whether there is room for the request that comes next.
    fn is_admitted(&mut self) -> bool {
        match self.frames.announced() {
            Ok(Some(bytes)) => self.admission.admits(bytes, self.in_flight.is_empty()),
            // Nothing is known yet, or it is refused anyway.
            Ok(None) | Err(_) => true,
        }
    }

    fn begin(&self, mut frame: Bytes, since: Instant) -> Result<Begin, Ending> {
        let size_bytes = LENGTH_BYTES + frame.len();
        match RequestHeader::parse(&mut frame) {
            Ok(header) => {
                let api_key = header.api_key;
                let is_charged = self.broker.quotas.is_any();
                let mut charge = is_charged.then(|| Charge::new(&header, size_bytes));
                // Only a produce may begin while others wait: what it does cannot be seen by them.
                let state = if api_key == PRODUCE || self.is_settled() {
                    self.start(header, frame, charge.as_mut())?
                } else {
                    self.hold_back(header, frame)
                };
                if let Some(charge) = &mut charge {
                    charge.worked(since.elapsed());
                }
                Ok((api_key, state, charge))
            }
            Err(HeaderError::UnsupportedVersion { key: API_VERSIONS, correlation_id, .. }) => {
                let answer = api::api_versions::answer_unsupported(correlation_id)
                    .map_err(|error| Ending::Failed(error.to_string()))?;
                let state = State::Ready(Reply::Answer(answer));
                Ok((API_VERSIONS, state, None))
            }
            Err(error) => Err(Ending::Hostile(error.to_string())),
        }
    }

    fn start(
        &self,
        header: RequestHeader,
        body: Bytes,
        charge: Option<&mut Charge>,
    ) -> Result<State, Ending> {
        let begun = api::begin(&self.broker, &self.caller, &self.limits, header, body);
        Ok(match begun.map_err(|refusal| Ending::Hostile(refusal.to_string()))? {
            Begun::Done(reply) => State::Ready(reply),
            Begun::Overlapping(pending) => State::Overlapping(pending),
            Begun::Blocking(pending) => State::Blocking(pending),
            Begun::Working(pending) => {
                if let Some(charge) = charge {
                    charge.is_work = true;
                }
                State::Blocking(pending)
            }
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
                Ok(
                    Begun::Overlapping(pending)
                    | Begun::Blocking(pending)
                    | Begun::Working(pending),
                ) => pending.await,
                Err(refusal) => Reply::Close(refusal.to_string()),
            }
        }))
    }

    fn settle_head(&mut self, reply: Reply) {
        if let Some(head) = self.in_flight.front_mut() {
            if let Some(charge) = head.charge.as_mut().filter(|charge| charge.is_work) {
                charge.worked(head.since.elapsed());
            }
            head.state = State::Ready(reply);
        }
    }

    /// Takes the replies that are ready, in order, as chunks to write; or the end.
    fn take_ready(&mut self) -> Option<Ending> {
        while let Some(InFlight { state: State::Ready(_) | State::Over(_), .. }) =
            self.in_flight.front()
        {
            let InFlight { api_key, since, state, charge, _room } = self.in_flight.pop_front()?;
            if let Some(seconds) = self.broker.metrics.request_seconds(api_key) {
                seconds.observe(since.elapsed().as_secs_f64());
            }
            let state = match (state, charge) {
                (State::Ready(reply), Some(charge)) => State::Ready(self.charge(reply, charge)),
                (state, _) => state,
            };
            match state {
                State::Ready(Reply::Answer(answer) | Reply::Throttled(answer, _)) => {
                    self.out.extend(answer.into_chunks());
                }
                State::Ready(Reply::Silence) => {}
                State::Ready(Reply::Close(reason)) => return Some(Ending::Failed(reason)),
                State::Over(ending) => return Some(ending),
                State::Overlapping(_) | State::Blocking(_) => {}
            }
        }
        None
    }

    /// Charges the client's quotas; if it must be held back, its answer says so and it is not read.
    fn charge(&mut self, reply: Reply, charge: Charge) -> Reply {
        let (reply, throttle_ms) = charge.settle(&self.broker.quotas, reply);
        if throttle_ms > 0 {
            let until = Instant::now() + Duration::from_millis(u64::from(throttle_ms));
            self.muted_until = Some(self.muted_until.map_or(until, |other| other.max(until)));
            // A client that may not send is not idle.
            self.last_request = self.last_request.max(until);
        }
        reply
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
            state: State::Overlapping(pending) | State::Blocking(pending),
            charge,
            ..
        }) => Timed::new(pending, charge.as_mut()).await,
        _ => std::future::pending().await,
    }
}

/// Waits until the client may be read again.
async fn unmuted(until: Option<Instant>) {
    if let Some(until) = until {
        tokio::time::sleep_until(until).await;
    }
}
