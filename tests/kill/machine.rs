//! What stays when processes die: a folder, a port, and who may learn that the broker is back.

use std::net::TcpListener;
use std::path::PathBuf;

use rand::RngExt;
use rand::rngs::StdRng;
use tempfile::TempDir;
use tokio::sync::watch;
use uuid::Uuid;
use weir_compactor::source::client::Client;

use crate::kill::process::Process;

/// The topic that everybody writes to.
pub(super) const TOPIC: &str = "orders";
/// Its partitions.
pub(super) const PARTITIONS: i32 = 3;

/// A place where a broker and a compactor live, one life after the other.
pub(super) struct Machine {
    folder: TempDir,
    port: u16,
    /// Number of the broker's life, told once it is ready.
    lives: watch::Sender<u64>,
}

impl Machine {
    pub(super) fn new(chance: &mut StdRng, folder: TempDir) -> Machine {
        // Below the ports that the system gives to clients: those that try to connect while the
        // broker is down would now and then be given its own port, and talk to themselves.
        let port = loop {
            let port = chance.random_range(15_000..30_000);
            if TcpListener::bind(("127.0.0.1", port)).is_ok() {
                break port;
            }
        };
        Machine { folder, port, lives: watch::Sender::new(0) }
    }

    /// Where the broker is, whenever it lives.
    pub(super) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Where the tables are.
    pub(super) fn warehouse(&self) -> PathBuf {
        self.folder.path().join("warehouse")
    }

    /// Starts a broker with small segments, so that they roll.
    pub(super) fn broker(&self) -> Process {
        self.broker_with(&[])
    }

    /// Starts a broker with further settings.
    pub(super) fn broker_with(&self, settings: &[&str]) -> Process {
        let data = self.folder.path().join("log").display().to_string();
        let listeners = format!("PLAINTEXT://{}", self.address());
        let mut arguments = vec!["broker", "--data-dir", &data, "--listeners", &listeners];
        arguments.extend(["--http", "127.0.0.1:0"]);
        arguments.extend(["--override", "log.segment.bytes=1048576"]);
        arguments.extend(["--override", "log.index.interval.bytes=1024"]);
        arguments.extend(settings.iter().flat_map(|setting| ["--override", *setting]));
        Process::start(&arguments, &[])
    }

    /// Starts a compactor beside it.
    pub(super) fn compactor(&self, environment: &[(&str, &str)]) -> Process {
        let (address, warehouse) = (self.address(), self.warehouse().display().to_string());
        let mut arguments = vec!["compactor", "--bootstrap-server", &address];
        arguments.extend(["--warehouse", &warehouse, "--http", "127.0.0.1:0"]);
        arguments.extend(["--override", "discovery.interval.ms=100"]);
        arguments.extend(["--override", "orphan.age.ms=5000"]);
        Process::start(&arguments, environment)
    }

    /// Has `weir table verify` compare every snapshot of the table with the log.
    pub(super) async fn verify(&self) {
        let (address, warehouse) = (self.address(), self.warehouse().display().to_string());
        let mut arguments = vec!["table", "verify", TOPIC, "--every-snapshot"];
        arguments.extend(["--warehouse", &warehouse, "--bootstrap-server", &address]);
        Process::run(&arguments).await;
    }

    /// Whoever lost the broker learns here that it is back.
    pub(super) fn lives(&self) -> watch::Receiver<u64> {
        self.lives.subscribe()
    }

    /// Says that the broker is ready.
    pub(super) fn tell_ready(&self) {
        self.lives.send_modify(|life| *life += 1);
    }

    /// A connection to the broker, which must be ready.
    pub(super) async fn client(&self) -> Client {
        Client::connect(&self.address(), "test").await.expect("the broker is ready")
    }

    /// Makes the topic. It keeps everything, since the records are of long ago.
    pub(super) async fn create_topic(&self, configs: &[(&str, &str)]) -> Uuid {
        let configs = [configs, &[("retention.ms", "-1")]].concat();
        let client = self.client().await;
        client.create_topic(TOPIC, PARTITIONS, &configs).await.expect("the topic is made")
    }
}
