//! `weir up`, `weir broker`, `weir compactor`: start, say where, serve until SIGTERM or SIGINT.

use clap::Args;
use tokio::signal::unix::{Signal, SignalKind, signal};
use weir_broker::start::RunningBroker;
use weir_compactor::start::RunningCompactor;

use crate::failure::Failure;

/// What `weir up` is told. Each setting of either service can be given.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct Up {
    /// Folder for everything: the log in `log`, the tables in `warehouse`.
    #[arg(long, value_name = "DIR", default_value = "data")]
    pub(crate) data_dir: String,
    /// Where Kafka clients connect (listeners) [default: PLAINTEXT://127.0.0.1:9092].
    #[arg(long, value_name = "LISTENERS")]
    pub(crate) listeners: Option<String>,
    /// The broker's metrics and health [default: 127.0.0.1:9644].
    #[arg(long, value_name = "IP:PORT")]
    pub(crate) http: Option<String>,
    /// The compactor's metrics, health and table states [default: 127.0.0.1:9645].
    #[arg(long, value_name = "IP:PORT")]
    pub(crate) compactor_http: Option<String>,
    /// Where the tables lie, if not in the data folder (warehouse).
    #[arg(long, value_name = "DIR")]
    pub(crate) warehouse: Option<String>,
    /// The broker's settings in Kafka's server.properties format.
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<std::path::PathBuf>,
    /// A compactor.properties.
    #[arg(long, value_name = "FILE")]
    pub(crate) compactor_config: Option<std::path::PathBuf>,
    /// Any setting of the broker, as name=value; may be repeated.
    #[arg(long = "override", value_name = "NAME=VALUE")]
    pub(crate) overrides: Vec<String>,
    /// Any setting of the compactor, as name=value; may be repeated.
    #[arg(long = "compactor-override", value_name = "NAME=VALUE")]
    pub(crate) compactor_overrides: Vec<String>,
}

/// Broker and compactor in this process, the second a client of the first.
#[derive(Debug)]
pub(crate) struct Both {
    pub(crate) broker: RunningBroker,
    pub(crate) compactor: RunningCompactor,
    /// Where the tables lie.
    pub(crate) warehouse: String,
}

impl Both {
    /// Starts the broker, then the compactor; if the second cannot start, the first is stopped.
    pub(crate) async fn start(up: &Up) -> Result<Both, Failure> {
        let broker_arguments = weir_broker::arguments::Arguments {
            config: up.config.clone(),
            data_dir: Some(format!("{}/log", up.data_dir)),
            listeners: up.listeners.clone(),
            http: up.http.clone(),
            overrides: up.overrides.clone(),
        };
        let broker_config = broker_arguments.config().map_err(of("broker"))?;
        let warehouse = format!("{}/warehouse", up.data_dir);
        let mut compactor_arguments = weir_compactor::arguments::Arguments {
            config: up.compactor_config.clone(),
            bootstrap_server: None,
            warehouse: Some(up.warehouse.clone().unwrap_or(warehouse)),
            http: up.compactor_http.clone(),
            overrides: up.compactor_overrides.clone(),
        };
        // Wrong settings are told before anything is started.
        compactor_arguments.config().map_err(of("compactor"))?;
        let broker = RunningBroker::start(broker_config).await;
        let broker = broker.map_err(|error| of("broker")(error.to_string()))?;
        compactor_arguments.bootstrap_server = Some(broker.kafka_address().to_string());
        let compactor_config = compactor_arguments.config().map_err(of("compactor"))?;
        let warehouse = compactor_config.warehouse.clone();
        match RunningCompactor::start(compactor_config).await {
            Ok(compactor) => Ok(Both { broker, compactor, warehouse }),
            Err(error) => {
                broker.stop().await?;
                Err(of("compactor")(error.to_string()))
            }
        }
    }

    /// Stops the compactor, which needs the broker for its last commits, then the broker.
    pub(crate) async fn stop(self) -> Result<(), Failure> {
        let stopped = self.compactor.stop().await;
        self.broker.stop().await?;
        Ok(stopped?)
    }
}

/// A failure of one of the two, which share the names of some settings.
fn of(service: &'static str) -> impl Fn(String) -> Failure {
    move |line| Failure::new(format!("{service}: {line}"))
}

/// SIGTERM or SIGINT.
pub(crate) struct Stop {
    terminate: Signal,
    interrupt: Signal,
}

impl Stop {
    pub(crate) fn listen() -> Result<Stop, Failure> {
        let of = |kind| {
            signal(kind)
                .map_err(|error| Failure::new(format!("signals cannot be awaited: {error}")))
        };
        Ok(Stop {
            terminate: of(SignalKind::terminate())?,
            interrupt: of(SignalKind::interrupt())?,
        })
    }

    pub(crate) async fn wait(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

fn say_broker(broker: &RunningBroker) {
    eprintln!("broker ready kafka={} http={}", broker.kafka_address(), broker.http_address());
}

fn say_compactor(compactor: &RunningCompactor) {
    eprintln!("compactor ready http={}", compactor.http_address());
}

pub(crate) async fn up(up: &Up) -> Result<(), Failure> {
    let mut stop = Stop::listen()?;
    let both = Both::start(up).await?;
    say_broker(&both.broker);
    say_compactor(&both.compactor);
    stop.wait().await;
    both.stop().await
}

pub(crate) async fn broker(arguments: &weir_broker::arguments::Arguments) -> Result<(), Failure> {
    let mut stop = Stop::listen()?;
    let config = arguments.config().map_err(Failure::new)?;
    let broker = RunningBroker::start(config).await?;
    say_broker(&broker);
    stop.wait().await;
    Ok(broker.stop().await?)
}

pub(crate) async fn compactor(
    arguments: &weir_compactor::arguments::Arguments,
) -> Result<(), Failure> {
    let mut stop = Stop::listen()?;
    let config = arguments.config().map_err(Failure::new)?;
    let compactor = RunningCompactor::start(config).await?;
    say_compactor(&compactor);
    stop.wait().await;
    Ok(compactor.stop().await?)
}
