//! The compactor as a part: started with a config, stopped with a last commit of every table.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;

use crate::admin::{self, Pages};
use crate::clock::SystemClock;
use crate::config::Config;
use crate::metrics::Metrics;
use crate::source::cluster::Cluster;
use crate::status::{Board, TableStatus};
use crate::store::{Store, StoreError};
use crate::table::shared::Shared;
use crate::tables::Tables;

/// Why the compactor cannot start: one line.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The HTTP address cannot be taken.
    #[error("http.listen: cannot listen on {address}: {source}; stop what uses it or set another")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// The warehouse cannot be opened.
    #[error("warehouse={warehouse}: {source}; set a folder that this user may write")]
    Warehouse {
        /// The location.
        warehouse: String,
        /// What is wrong with it.
        source: StoreError,
    },
    /// The metrics contradict each other.
    #[error("metrics: {0}")]
    Metrics(#[from] prometheus::Error),
}

/// Why the compactor did not stop in good order; what was committed is safe.
#[derive(Debug, thiserror::Error)]
#[error("the compactor did not stop in good order: {reason}")]
pub struct StopError {
    reason: String,
}

/// A compactor that runs.
#[derive(Debug)]
pub struct RunningCompactor {
    http_address: SocketAddr,
    board: Arc<Board>,
    stop: watch::Sender<bool>,
    tables: JoinHandle<()>,
    http: JoinHandle<std::io::Result<()>>,
}

impl RunningCompactor {
    /// Starts everything. The cluster need not be there yet; the warehouse and the port must.
    pub async fn start(config: Config) -> Result<RunningCompactor, StartError> {
        let address = config.http;
        let listener = TcpListener::bind(address)
            .await
            .map_err(|source| StartError::Listen { address, source })?;
        let http_address =
            listener.local_addr().map_err(|source| StartError::Listen { address, source })?;
        let warehouse = config.warehouse.clone();
        let store = Store::open(&warehouse)
            .map_err(|source| StartError::Warehouse { warehouse, source })?;
        let metrics = Arc::new(Metrics::new()?);
        let board = Arc::new(Board::new());
        let shared = Arc::new(Shared {
            cluster: Cluster::new(&config.bootstrap_servers, &config.group_id),
            store,
            clock: Arc::new(SystemClock),
            metrics: Arc::clone(&metrics),
            compactions: Arc::new(Semaphore::new(config.compaction_threads)),
            table_count: Arc::default(),
            config,
        });
        let (stop, stopped) = watch::channel(false);
        let tables = Tables::new(shared, Arc::clone(&board)).run(stopped.clone());
        let pages = Pages { board: Arc::clone(&board), metrics };
        let mut http_stop = stopped;
        let http = admin::serve(listener, pages, async move {
            let _ = http_stop.wait_for(|stop| *stop).await;
        });
        Ok(RunningCompactor {
            http_address,
            board,
            stop,
            tables: tokio::spawn(tables),
            http: tokio::spawn(http),
        })
    }

    /// Where metrics, health and table states are served.
    pub fn http_address(&self) -> SocketAddr {
        self.http_address
    }

    /// What every table says of itself.
    pub fn tables(&self) -> Vec<TableStatus> {
        self.board.tables()
    }

    /// Stops every table with a last flush and commit, then the pages.
    pub async fn stop(self) -> Result<(), StopError> {
        let failed = |reason: String| StopError { reason };
        let _ = self.stop.send(true);
        self.tables.await.map_err(|error| failed(error.to_string()))?;
        let served = self.http.await.map_err(|error| failed(error.to_string()))?;
        served.map_err(|error| failed(error.to_string()))
    }
}
