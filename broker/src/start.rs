//! Starting and stopping a whole broker, in this process.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};

use kafka_protocol::protocol::StrBytes;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::broker::Broker;
use crate::catalog::{self, Catalog};
use crate::cleaner::Cleaner;
use crate::clock::{Clock, SystemClock};
use crate::config::Config;
use crate::config::setting::ConfigError;
use crate::disk::Disk;
use crate::disk::os::{OpenError, OsDisk};
use crate::fetch_session::FetchSessions;
use crate::group::coordinator::Groups;
use crate::log::dir::LogDir;
use crate::log::dir::options::{Durability, LogDirOptions, ReadMode};
use crate::log::error::{LogError, ReadError};
use crate::metrics::Metrics;
use crate::named_settings::NamedSettings;
use crate::producer_ids::ProducerIds;
use crate::quota::Quotas;
use crate::quota::gauges::QuotaGauges;
use crate::request_memory::RequestMemory;
use crate::server::{self, Bound, Server};
use crate::share::coordinator::ShareCoordinator;
use crate::share::group_configs::GroupConfigs;
use crate::transaction::coordinator::Transactions;
use crate::{admin, client_metrics, group, housekeeping, share};

/// Why a broker does not start; one line for the operator.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The settings contradict each other.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// An address is taken, or is not ours.
    #[error("{setting}: cannot listen on {address}: {source}; stop what uses it or set another")]
    Bind {
        /// The setting that names the address.
        setting: &'static str,
        /// The address.
        address: String,
        /// Why not.
        source: std::io::Error,
    },
    /// The data directory cannot be had.
    #[error("log.dirs: {0}")]
    Directory(#[from] OpenError),
    /// The logs cannot be opened.
    #[error("data directory {directory}: {source}")]
    Log {
        /// The directory.
        directory: String,
        /// What is wrong.
        source: LogError,
    },
    /// The topics cannot be read.
    #[error("data directory {directory}: {source}")]
    Catalog {
        /// The directory.
        directory: String,
        /// What is wrong.
        source: catalog::error::OpenError,
    },
    /// The committed offsets cannot be read.
    #[error("data directory {directory}: __consumer_offsets: {source}")]
    Offsets {
        /// The directory.
        directory: String,
        /// What is wrong.
        source: ReadError,
    },
    /// The share groups cannot be read.
    #[error("data directory {directory}: the internal topics of share groups: {source}")]
    Shares {
        /// The directory.
        directory: String,
        /// What is wrong.
        source: ReadError,
    },
    /// The transactions cannot be read.
    #[error("data directory {directory}: __transaction_state: {source}")]
    Transactions {
        /// The directory.
        directory: String,
        /// What is wrong.
        source: ReadError,
    },
    /// One of the small files of the data directory cannot be read.
    #[error("data directory {directory}: {source}")]
    Kept {
        /// The directory.
        directory: String,
        /// What is wrong.
        source: std::io::Error,
    },
    /// The log cleaner's threads cannot be started.
    #[error("the log cleaner cannot be started: {0}")]
    Cleaner(std::io::Error),
    /// The counters cannot be made: a mistake of ours.
    #[error("the metrics cannot be registered: {0}")]
    Metrics(#[from] prometheus::Error),
    /// Opening ended by a panic.
    #[error("opening the data directory {directory} panicked")]
    Panic {
        /// The directory.
        directory: String,
    },
}

/// Why a broker did not stop cleanly; the next start will check the logs.
#[derive(Debug, thiserror::Error)]
pub enum StopError {
    /// The last sync failed.
    #[error("the log directory was not closed cleanly: {0}")]
    Log(#[from] LogError),
    /// Closing ended by a panic.
    #[error("closing the log directory panicked")]
    Panic,
}

/// A broker that serves.
#[derive(Debug)]
pub struct RunningBroker {
    kafka_address: SocketAddr,
    http_address: SocketAddr,
    broker: Arc<Broker>,
    server: Server,
    http: JoinHandle<()>,
    http_stop: oneshot::Sender<()>,
    housekeeping: JoinHandle<()>,
    shares: JoinHandle<()>,
    groups: JoinHandle<()>,
    transactions: JoinHandle<()>,
    cleaner: Cleaner,
}

impl RunningBroker {
    /// Opens the data directory, recovers the logs, and serves.
    pub async fn start(config: Config) -> Result<Self, StartError> {
        config.validate()?;
        let config = Arc::new(config);
        let http = TcpListener::bind(&config.http_listen).await;
        let bind =
            |setting, address: String| move |source| StartError::Bind { setting, address, source };
        let http = http.map_err(bind("http.listen", config.http_listen.clone()))?;
        let http_address =
            http.local_addr().map_err(bind("http.listen", config.http_listen.clone()))?;
        let mut bound: Vec<Bound> = Vec::new();
        for listener in config.listener_list() {
            let one = server::bind(&config, &listener).await;
            bound.push(one.map_err(bind("listeners", listener.to_string()))?);
        }
        let kafka_address = bound[0].address;
        let directory = config.log_dir().to_owned();
        let opened = tokio::task::spawn_blocking(move || open(config)).await;
        let broker = opened.map_err(|_| StartError::Panic { directory })??;
        // A crash may have come between deleting a topic and forgetting its offsets.
        housekeeping::keep_offsets(&broker).await;
        let cleaner = Cleaner::start(&broker).map_err(StartError::Cleaner)?;
        let (http_stop, stop) = oneshot::channel();
        Ok(Self {
            kafka_address,
            http_address,
            server: Server::start(&broker, bound),
            http: tokio::spawn(admin::serve(broker.clone(), http, stop)),
            http_stop,
            housekeeping: tokio::spawn(housekeeping::run(broker.clone())),
            shares: tokio::spawn(housekeeping::keep_shares(broker.clone())),
            groups: tokio::spawn(broker.groups.clone().run()),
            transactions: tokio::spawn(broker.transactions.clone().run()),
            cleaner,
            broker,
        })
    }

    /// Where Kafka clients find it.
    pub fn kafka_address(&self) -> SocketAddr {
        self.kafka_address
    }

    /// Where metrics and health are.
    pub fn http_address(&self) -> SocketAddr {
        self.http_address
    }

    /// Answers what has begun, syncs everything and leaves the clean-shutdown marker.
    pub async fn stop(self) -> Result<(), StopError> {
        self.server.stop().await;
        for task in [self.housekeeping, self.groups, self.shares, self.transactions] {
            task.abort();
            // It was aborted, or had panicked and told so.
            let _ = task.await;
        }
        let _ = self.http_stop.send(());
        // An HTTP client that keeps its connection must not keep the broker.
        let abort = self.http.abort_handle();
        if tokio::time::timeout(std::time::Duration::from_secs(1), self.http).await.is_err() {
            abort.abort();
        }
        let (broker, cleaner) = (self.broker, self.cleaner);
        let close = move || {
            cleaner.stop();
            broker.logs.close()
        };
        tokio::task::spawn_blocking(close)
            .await
            .map_err(|_| StopError::Panic)?
            .map_err(StopError::Log)
    }
}

/// Every segment and every connection is an open file, and the usual limit is 1024. The system
/// lets a process raise it up to a hard limit.
fn raise_open_files() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, ..limit };
    match setrlimit(Resource::Nofile, raised) {
        Ok(()) => tracing::info!(open_files_max = ?limit.maximum, "limit of open files"),
        Err(error) => tracing::warn!(
            %error,
            open_files_max = ?limit.current,
            "the limit of open files cannot be raised; raise it where the broker is started"
        ),
    }
}

/// All that blocks: the lock, recovery, the catalog.
fn open(config: Arc<Config>) -> Result<Arc<Broker>, StartError> {
    raise_open_files();
    let disk: Arc<dyn Disk> = Arc::new(OsDisk::open(Path::new(config.log_dir()))?);
    open_on(disk, config, Arc::new(SystemClock))
}

/// A broker with all that its disk holds, which serves nobody yet.
///
/// # Errors
/// What is wrong with the disk's files.
pub fn open_on(
    disk: Arc<dyn Disk>,
    config: Arc<Config>,
    clock: Arc<dyn Clock>,
) -> Result<Arc<Broker>, StartError> {
    let (logs, metrics) = open_logs(disk, &config, clock.clone())?;
    let directory = config.log_dir().to_owned();
    let catalog = Catalog::open(logs.clone(), config.clone(), metrics.clone())
        .map_err(|source| StartError::Catalog { directory: directory.clone(), source })?;
    let catalog = Arc::new(catalog);
    let share_groups = share::groups::Groups::default();
    let stored = group::open(&catalog, &mut |record| share_groups.take(&record))
        .map_err(|source| StartError::Offsets { directory: directory.clone(), source })?;
    let group::Stored { offsets, groups: stored } = stored;
    let configs = GroupConfigs::open(logs.clone(), config.clone())
        .map_err(|source| StartError::Kept { directory: directory.clone(), source })?;
    let shares = ShareCoordinator::open(&catalog, &config, share_groups, configs, clock.now_ms())
        .map_err(|source| StartError::Shares { directory: directory.clone(), source })?;
    let producer_ids = ProducerIds::open(logs.clone())
        .map_err(|source| StartError::Kept { directory: directory.clone(), source })?;
    let client_metrics = NamedSettings::open(logs.clone(), client_metrics::FILE)
        .map_err(|source| StartError::Kept { directory: directory.clone(), source })?;
    let gauges = QuotaGauges::new(|collector| metrics.register(collector))?;
    let quotas = Quotas::open(logs.clone(), clock.clone(), gauges)
        .map_err(|source| StartError::Kept { directory: directory.clone(), source })?;
    let groups = Arc::new(Groups::new(&config, catalog.clone(), clock.clone(), stored.classic));
    groups.restore_consumers(stored.consumer);
    let (offsets, producer_ids) = (Arc::new(offsets), Arc::new(producer_ids));
    let transactions = Transactions::open(
        config.clone(),
        catalog.clone(),
        offsets.clone(),
        producer_ids.clone(),
        clock.clone(),
    );
    let transactions =
        Arc::new(transactions.map_err(|source| StartError::Transactions { directory, source })?);
    let cluster_id = StrBytes::from_string(logs.meta().cluster_id.clone());
    let session_slots = usize::try_from(config.max_incremental_fetch_session_cache_slots);
    let session_slots = session_slots.unwrap_or(0);
    let request_memory = Arc::new(RequestMemory::new(config.queued_max_request_bytes));
    Ok(Arc::new(Broker {
        config,
        cluster_id,
        catalog,
        offsets,
        shares,
        groups,
        fetch_sessions: Mutex::new(FetchSessions::new(session_slots)),
        producer_ids,
        transactions,
        client_metrics,
        quotas,
        request_memory,
        logs,
        metrics,
        clock,
    }))
}

fn open_logs(
    disk: Arc<dyn Disk>,
    config: &Config,
    clock: Arc<dyn Clock>,
) -> Result<(Arc<LogDir>, Arc<Metrics>), StartError> {
    let directory = config.log_dir().to_owned();
    let options = LogDirOptions {
        durability: match config.log_durability.as_str() {
            "os" => Durability::Os,
            _ => Durability::Fsync,
        },
        read_mode: match config.read_mode.as_str() {
            "pread" => ReadMode::Pread,
            _ => ReadMode::Mmap,
        },
        node_id: config.node_id,
        producer_silence_max_ms: i64::from(config.producer_id_expiration_ms),
        ..LogDirOptions::default()
    };
    let (logs, was_clean) = LogDir::open(disk, options, clock)
        .map_err(|source| StartError::Log { directory: directory.clone(), source })?;
    if !was_clean {
        tracing::info!(directory, "the last stop was not clean: logs are checked");
    }
    let metrics = Arc::new(Metrics::new()?);
    let counters = logs.counters();
    metrics.register(Box::new(counters.syncs.clone()))?;
    metrics.register(Box::new(counters.sync_seconds.clone()))?;
    metrics.register(Box::new(counters.group_partitions.clone()))?;
    metrics.register(Box::new(counters.failed.clone()))?;
    Ok((logs, metrics))
}
