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
const OVERRIDES: &str = "max.connections.per.ip.overrides";
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

/// How many connections there are, in all and by address, and how many there may be.
#[derive(Debug)]
struct Open {
    count: usize,
    by_address: HashMap<IpAddr, usize>,
    count_max: usize,
    by_address_max: usize,
    /// Addresses with a limit of their own.
    overrides: HashMap<IpAddr, usize>,
}

impl Open {
    fn new(config: &Config) -> Self {
        let limit = |setting: i32| usize::try_from(setting).unwrap_or(0);
        let overrides = config.connection_overrides().into_iter();
        Self {
            count: 0,
            by_address: HashMap::new(),
            count_max: limit(config.max_connections),
            by_address_max: limit(config.max_connections_per_ip),
            overrides: overrides.map(|(address, setting)| (address, limit(setting))).collect(),
        }
    }

    /// Counts one more; or names the setting that does not let it in.
    fn enter(&mut self, address: IpAddr) -> Result<(), &'static str> {
        let of_address = self.by_address.get(&address).copied().unwrap_or(0);
        let own_max = self.overrides.get(&address).copied();
        if self.count >= self.count_max {
            return Err("max.connections");
        }
        if of_address >= own_max.unwrap_or(self.by_address_max) {
            let is_own = own_max.is_some();
            return Err(if is_own { OVERRIDES } else { "max.connections.per.ip" });
        }
        self.count += 1;
        self.by_address.insert(address, of_address + 1);
        Ok(())
    }
}

/// A place among the connections; given back when dropped.
struct Place {
    open: Arc<Mutex<Open>>,
    broker: Arc<Broker>,
    address: IpAddr,
}

impl Place {
    fn take(
        open: &Arc<Mutex<Open>>,
        broker: &Arc<Broker>,
        address: IpAddr,
    ) -> Result<Self, &'static str> {
        let address = address.to_canonical();
        let mut counts = open.lock().unwrap_or_else(PoisonError::into_inner);
        counts.enter(address)?;
        broker.metrics.connections.set(counts.count as i64);
        Ok(Self { open: open.clone(), broker: broker.clone(), address })
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
        let open = Arc::new(Mutex::new(Open::new(&broker.config)));
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
                let place = match Place::take(&open, &broker, peer.ip()) {
                    Ok(place) => place,
                    Err(limit) => {
                        broker.metrics.refused_connections.inc();
                        tracing::warn!(%peer, limit, "connection refused: the limit is reached");
                        continue;
                    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_of_the_overrides_has_a_limit_of_its_own() {
        let mut config = Config::default();
        for (name, value) in [
            ("max.connections", "4"),
            ("max.connections.per.ip", "1"),
            (OVERRIDES, "10.0.0.2:2,10.0.0.3:0"),
        ] {
            config.set(name, value).expect("valid");
        }
        let mut open = Open::new(&config);
        let mut enter = |last: u8| open.enter(IpAddr::from([10, 0, 0, last]));
        assert_eq!((enter(1), enter(1)), (Ok(()), Err("max.connections.per.ip")));
        assert_eq!((enter(2), enter(2), enter(2)), (Ok(()), Ok(()), Err(OVERRIDES)));
        assert_eq!(enter(3), Err(OVERRIDES));
        assert_eq!((enter(4), enter(5)), (Ok(()), Err("max.connections")));
    }
}
