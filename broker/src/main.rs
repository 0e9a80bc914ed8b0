//! `weir-broker`: reads the command line, starts a broker, stops it on SIGTERM or SIGINT.
//!
//! Exit codes: 0 stopped cleanly, 1 the broker could not start or stop, 2 wrong usage.

use std::io::IsTerminal;
use std::process::ExitCode;

use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};
use weir_broker::arguments::Arguments;
use weir_broker::config::Config;
use weir_broker::start::RunningBroker;

/// A Kafka-compatible log broker.
#[derive(Debug, Parser)]
#[command(name = "weir-broker", version)]
struct Cli {
    #[command(flatten)]
    arguments: Arguments,
}

fn main() -> ExitCode {
    let arguments = Cli::parse().arguments;
    let asked = std::env::var("WEIR_LOG").unwrap_or_else(|_| "info".to_owned());
    let filter = match tracing_subscriber::EnvFilter::try_new(&asked) {
        Ok(filter) => filter,
        Err(error) => return fail(&format!("WEIR_LOG={asked}: {error}")),
    };
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
