//! `weir-broker`: reads the command line, starts a broker, stops it on SIGTERM or SIGINT.
//!
//! Exit codes: 0 stopped cleanly, 1 the broker could not start or stop, 2 wrong usage.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};
use weir_broker::config::Config;
use weir_broker::start::RunningBroker;

/// A Kafka-compatible log broker.
#[derive(Debug, Parser)]
#[command(name = "weir-broker", version)]
struct Arguments {
    /// Settings in Kafka's server.properties format.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Folder for the logs (log.dirs).
    #[arg(long, value_name = "DIR")]
    data_dir: Option<String>,
    /// Where to listen (listeners), for instance PLAINTEXT://127.0.0.1:9092.
    #[arg(long)]
    listeners: Option<String>,
    /// Where to serve metrics and health (http.listen).
    #[arg(long, value_name = "ADDRESS")]
    http: Option<String>,
    /// Any setting, as name=value; may be repeated.
    #[arg(long = "override", value_name = "NAME=VALUE")]
    overrides: Vec<String>,
}

impl Arguments {
    fn config(&self) -> Result<Config, String> {
        let mut config = match &self.config {
            None => Config::default(),
            Some(path) => {
                let place = path.display();
                let text = std::fs::read_to_string(path)
                    .map_err(|error| format!("--config {place}: cannot be read: {error}"))?;
                Config::from_properties(&text).map_err(|error| format!("{place}: {error}"))?
            }
        };
        let flags = [
            ("log.dirs", &self.data_dir),
            ("listeners", &self.listeners),
            ("http.listen", &self.http),
        ];
        for (name, value) in flags {
            if let Some(value) = value {
                config.set(name, value).map_err(|error| error.to_string())?;
            }
        }
        for given in &self.overrides {
            let (name, value) = given
                .split_once('=')
                .ok_or_else(|| format!("--override {given}: expected name=value"))?;
            config.set(name.trim(), value).map_err(|error| error.to_string())?;
        }
        Ok(config)
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
    let config = match arguments.config() {
        Ok(config) => config,
        Err(why) => return fail(&why),
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&format!("threads cannot be started: {error}")),
    };
    match runtime.block_on(run(config)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => fail(&why),
    }
}

async fn run(config: Config) -> Result<(), String> {
    let of_signal = |error: std::io::Error| format!("signals cannot be awaited: {error}");
    let mut terminate = signal(SignalKind::terminate()).map_err(of_signal)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(of_signal)?;
    let broker = RunningBroker::start(config).await.map_err(|error| error.to_string())?;
    eprintln!("broker ready kafka={} http={}", broker.kafka_address(), broker.http_address());
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    broker.stop().await.map_err(|error| error.to_string())
}

fn fail(why: &str) -> ExitCode {
    eprintln!("weir-broker: {why}");
    ExitCode::FAILURE
}
