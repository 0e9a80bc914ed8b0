//! Listeners, limits, a task per connection, orderly stop.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use kafka_protocol::protocol::StrBytes;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use crate::api::Caller;
use crate::broker::{Broker, Endpoint};
use crate::config::Config;
use crate::config::listener::Listener;
use crate::connection;

/// How long accepting rests when the process has no file descriptor left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Connections that are held back before they are closed; more are closed at once.
const HELD_BACK_MAX: usize = 1000;
/// How long stopping waits for connections; they give themselves less.
const STOP_PATIENCE: Duration = Duration::from_secs(3);

/// A listener that is bound and not yet served.
#[derive(Debug)]
pub struct Bound {
    listener: TcpListener,
    /// Where it really listens.
    pub address: SocketAddr,
    caller: Arc<Caller>,
}

/// Binds one listener; clients will be told to dial its advertised address.
pub async fn bind(config: &Config, wanted: &Listener) -> io::Result<Bound> {
    let host = if wanted.host.is_empty() { "0.0.0.0" } else { &wanted.host };
    let listener = TcpListener::bind((host, wanted.port)).await?;
    let address = listener.local_addr()?;
    let told = config.advertised_listener().unwrap_or_else(|| wanted.clone());
    // Port 0 took a free one: that is the one to tell.
    let port = if told.port == 0 { address.port() } else { told.port };
    let endpoint = Endpoint { host: StrBytes::from_string(told.host), port };
    Ok(Bound { listener, address, caller: Arc::new(Caller { endpoint, host: String::new() }) })
}

/// How many connections there are, in all and by address.
#[derive(Debug, Default)]
struct Open {
    count: usize,
    by_address: HashMap<IpAddr, usize>,
}

/// A place among the connections; given back when dropped.
struct Place {
    open: Arc<Mutex<Open>>,
    broker: Arc<Broker>,
    address: IpAddr,
}

impl Place {
    fn take(open: &Arc<Mutex<Open>>, broker: &Arc<Broker>, address: IpAddr) -> Option<Self> {
        let limit = |setting: i32| usize::try_from(setting).unwrap_or(0);
        let mut counts = open.lock().unwrap_or_else(PoisonError::into_inner);
        let of_address = counts.by_address.get(&address).copied().unwrap_or(0);
        if counts.count >= limit(broker.config.max_connections)
            || of_address >= limit(broker.config.max_connections_per_ip)
        {
            return None;
        }
        counts.count += 1;
        counts.by_address.insert(address, of_address + 1);
        broker.metrics.connections.set(counts.count as i64);
        Some(Self { open: open.clone(), broker: broker.clone(), address })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        counts.count -= 1;
        if let Some(of_address) = counts.by_address.get_mut(&self.address) {
            *of_address -= 1;
            if *of_address == 0 {
                counts.by_address.remove(&self.address);
            }
        }
        self.broker.metrics.connections.set(counts.count as i64);
    }
}

/// All listeners, being served.
#[derive(Debug)]
pub struct Server {
    stop: watch::Sender<bool>,
    accepting: JoinSet<()>,
}

impl Server {
    /// Begins to serve.
    pub fn start(broker: &Arc<Broker>, bound: Vec<Bound>) -> Self {
        let (stop, stopped) = watch::channel(false);
        let open = Arc::new(Mutex::new(Open::default()));
        let mut accepting = JoinSet::new();
        for bound in bound {
            accepting.spawn(accept(broker.clone(), bound, open.clone(), stopped.clone()));
        }
        Self { stop, accepting }
    }

    /// Takes no more connections, lets those that are open answer what they have begun, and ends.
    pub async fn stop(mut self) {
        // Nobody listening any more means that nothing is left to stop.
        let _ = self.stop.send(true);
        while self.accepting.join_next().await.is_some() {}
    }
}

async fn accept(
    broker: Arc<Broker>,
    bound: Bound,
    open: Arc<Mutex<Open>>,
    mut stop: watch::Receiver<bool>,
) {
    let mut connections = JoinSet::new();
    let held_back = Arc::new(Semaphore::new(HELD_BACK_MAX));
    loop {
        let accepted = tokio::select! {
            accepted = bound.listener.accept() => accepted,
            _ = stop.changed() => break,
            Some(ended) = connections.join_next(), if !connections.is_empty() => {
                tell_panic(ended);
                continue;
            }
        };
        match accepted {
            Ok((stream, peer)) => {
                let throttle_ms = broker.quotas.charge_connection(peer.ip());
                if throttle_ms > 0 {
                    hold_back(&held_back, stream, throttle_ms);
                    continue;
                }
                let Some(place) = Place::take(&open, &broker, peer.ip()) else {
                    broker.metrics.refused_connections.inc();
                    tracing::warn!(%peer, "connection refused: max.connections is reached");
                    continue;
                };
                connections.spawn(serve(place, bound.caller.clone(), stream, peer, stop.clone()));
            }
            Err(error) => {
                tracing::warn!(%error, "a connection cannot be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(bound.listener);
    let ended = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(STOP_PATIENCE, ended).await.is_err() {
        connections.shutdown().await;
    }
}

/// An address that connects too often is not served; closed at once, it would come again at once.
fn hold_back(held_back: &Arc<Semaphore>, stream: TcpStream, throttle_ms: u32) {
    let Ok(place) = held_back.clone().try_acquire_owned() else { return };
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(u64::from(throttle_ms))).await;
        drop((stream, place));
    });
}

async fn serve(
    place: Place,
    caller: Arc<Caller>,
    stream: TcpStream,
    peer: SocketAddr,
    stop: watch::Receiver<bool>,
) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%peer, %error, "the connection broke at once");
        return;
    }
    connection::serve(place.broker.clone(), caller, stream, peer, stop).await;
    drop(place);
}

fn tell_panic(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        tracing::error!(%error, "a connection ended by a panic; the others go on");
    }
}
