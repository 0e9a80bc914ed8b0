//! `weir-compactor`: reads its config, starts, says when it is ready, stops at SIGTERM.

use std::io::IsTerminal;
use std::process::ExitCode;

use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};
use weir_compactor::config::Config;
use weir_compactor::start::RunningCompactor;

/// Folds the topics of a Kafka cluster into Paimon tables.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// A compactor.properties to read first.
    #[arg(long, value_name = "FILE")]
    config: Option<std::path::PathBuf>,
    /// The cluster to read from, host:port[,host:port]... (bootstrap.servers).
    #[arg(long, value_name = "HOST:PORT")]
    bootstrap_server: Option<String>,
    /// Folder or file:// URL below which the tables live (warehouse).
    #[arg(long, value_name = "DIR")]
    warehouse: Option<String>,
    /// Address of metrics, health and table states (http.listen).
    #[arg(long, value_name = "IP:PORT")]
    http: Option<String>,
    /// Any other setting; may be given again.
    #[arg(long = "override", value_name = "KEY=VALUE")]
    overrides: Vec<String>,
}

impl Arguments {
    fn config(&self) -> Result<Config, String> {
        let mut config = Config::default();
        if let Some(path) = &self.config {
            let named = |error: String| format!("{}: {error}", path.display());
            let text = std::fs::read_to_string(path).map_err(|error| named(error.to_string()))?;
            config = Config::from_properties(&text).map_err(|error| named(error.to_string()))?;
        }
        let named = [
            ("bootstrap.servers", &self.bootstrap_server),
            ("warehouse", &self.warehouse),
            ("http.listen", &self.http),
        ];
        for (key, value) in named {
            if let Some(value) = value {
                config.set(key, value).map_err(|error| error.to_string())?;
            }
        }
        for text in &self.overrides {
            config.set_override(text).map_err(|error| error.to_string())?;
        }
        Ok(config)
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    let filter = tracing_subscriber::EnvFilter::try_from_env("WEIR_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        .init();
    match run(&Arguments::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("weir-compactor: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: &Arguments) -> Result<(), String> {
    let config = arguments.config()?;
    let mut terminate = signal(SignalKind::terminate()).map_err(|error| error.to_string())?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(|error| error.to_string())?;
    let compactor = RunningCompactor::start(config).await.map_err(|error| error.to_string())?;
    eprintln!("compactor ready http={}", compactor.http_address());
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    compactor.stop().await.map_err(|error| error.to_string())
}
