//! `weir-compactor`: reads its config, starts, says when it is ready, stops at SIGTERM.

use std::io::IsTerminal;
use std::process::ExitCode;

use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};
use weir_compactor::arguments::Arguments;
use weir_compactor::start::RunningCompactor;

/// Folds the topics of a Kafka cluster into Paimon tables.
#[derive(Debug, Parser)]
#[command(name = "weir-compactor", version)]
struct Cli {
    #[command(flatten)]
    arguments: Arguments,
}

#[tokio::main]
async fn main() -> ExitCode {
    let asked = std::env::var("WEIR_LOG").unwrap_or_else(|_| "info".to_owned());
    let filter = match tracing_subscriber::EnvFilter::try_new(&asked) {
        Ok(filter) => filter,
        Err(error) => {
            eprintln!("weir-compactor: WEIR_LOG={asked}: {error}");
            return ExitCode::FAILURE;
        }
    };
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        .init();
    match run(&Cli::parse().arguments).await {
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
