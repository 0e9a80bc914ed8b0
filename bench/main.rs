//! The load-test harness: drives any Kafka address and measures what comes back.
//!
//! - Open loop (`--rate`): records are due at fixed times, and latency counts from when a record was
//!   due, however late it was sent; a stall of the server is not hidden by a client that waits.
//! - Closed loop (no `--rate`): as fast as the server takes them, with so many requests in flight.
//!
//! The client is raw on purpose: batches are encoded before the clock starts, requests are
//! pipelined, and one thread is enough to keep a server busy.
mod clock;
mod compare;
mod connection;
mod consume;
mod feed;
mod fold;
mod limits;
mod measure;
mod null_server;
mod pipeline;
mod produce;
mod report;
mod rows;
mod standing;
mod tables;
mod tail;
mod topic;
mod transactions;

use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use weir_protocol::records::compression::Compression;

use crate::report::Report;

#[derive(Parser)]
#[command(version, about = "Drives any Kafka address and measures what comes back.")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Write batches, and measure throughput and the time to the acknowledgement.
    Produce(produce::Produce),
    /// Read a topic from its start to the end that it has now.
    Consume(consume::Consume),
    /// Write rows to a topic that is a table, and measure until a snapshot holds them.
    Fold(fold::Fold),
    /// End transactions one after the other, and measure how many a second.
    Transactions(transactions::Transactions),
    /// Hold connections, partitions and groups, and measure what they cost while nothing happens.
    Standing(standing::Standing),
    /// Serve as a broker that keeps nothing: the floor that a real one is compared with.
    NullServer(null_server::NullServer),
    /// Measure what this machine does without any broker: the floors under all figures.
    Limits(limits::LimitsCommand),
    /// Start systems in turn, put the same workloads on each, and set their figures side by side.
    Compare(compare::Compare),
}

/// What every command needs.
#[derive(Args, Clone, Debug)]
struct Target {
    /// A broker's address.
    #[arg(long, default_value = "127.0.0.1:9092")]
    bootstrap_server: String,
    /// The topic; made if it does not exist and is written to.
    #[arg(long, default_value = "weir-bench")]
    topic: String,
    /// Partitions of a topic that is made.
    #[arg(long, default_value_t = 1)]
    partitions: i32,
    /// A config of a topic that is made.
    #[arg(long = "topic-config", value_name = "KEY=VALUE", value_parser = key_and_value)]
    topic_configs: Vec<(String, String)>,
    /// The server's process: its CPU seconds, memory and writes are reported too.
    #[arg(long)]
    server_pid: Option<u32>,
    /// Threads of the client.
    #[arg(long, default_value_t = 1)]
    threads: usize,
    /// How to print the result.
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    output: Output,
}

#[derive(Copy, Clone, Debug, PartialEq, Eq, ValueEnum)]
enum Output {
    Table,
    Json,
}

/// What went wrong, in one line.
#[derive(Debug, thiserror::Error)]
enum BenchError {
    #[error("{address}: {source}")]
    Io { address: String, source: std::io::Error },
    #[error("{0}")]
    Server(String),
    #[error("{0}")]
    Usage(String),
}

fn key_and_value(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("KEY=VALUE is expected")?;
    Ok((key.to_owned(), value.to_owned()))
}

fn codec(name: &str) -> Result<Compression, String> {
    Compression::from_name(name).ok_or_else(|| "none, gzip, snappy, lz4 or zstd".to_owned())
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "a number of seconds is expected")?;
    Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())
}

fn acks(text: &str) -> Result<i16, String> {
    match text {
        "0" => Ok(0),
        "1" => Ok(1),
        "all" | "-1" => Ok(-1),
        _ => Err("0, 1 or all".to_owned()),
    }
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let (threads, output) = match &cli.command {
        Command::Produce(produce::Produce { target, .. })
        | Command::Consume(consume::Consume { target, .. })
        | Command::Transactions(transactions::Transactions { target, .. })
        | Command::Standing(standing::Standing { target, .. })
        | Command::Fold(fold::Fold { target, .. }) => (target.threads, target.output),
        Command::NullServer(server) => (server.threads, Output::Table),
        Command::Limits(limits) => (1, limits.output),
        Command::Compare(_) => (1, Output::Table),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads.max(1))
        .enable_all()
        .build();
    let result = match runtime {
        Ok(runtime) => runtime.block_on(run(cli.command)),
        Err(error) => Err(BenchError::Usage(error.to_string())),
    };
    match result {
        Ok(Some(report)) => {
            println!("{}", report.rendered(output));
            ExitCode::SUCCESS
        }
        Ok(None) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("weir-bench: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(command: Command) -> Result<Option<Report>, BenchError> {
    // A task of its own: the runtime's main thread would add a hop to every wake-up.
    let task = tokio::spawn(async move {
        match command {
            Command::Produce(produce) => produce::run(produce).await.map(Some),
            Command::Consume(consume) => consume::run(consume).await.map(Some),
            Command::Fold(fold) => fold::run(fold).await.map(Some),
            Command::Transactions(load) => transactions::run(load).await.map(Some),
            Command::Standing(load) => standing::run(load).await.map(Some),
            Command::NullServer(server) => null_server::run(server).await.map(|()| None),
            Command::Limits(limits) => limits::run(limits).await.map(Some),
            Command::Compare(comparison) => compare::run(comparison).await.map(|()| None),
        }
    });
    task.await.unwrap_or_else(|error| Err(BenchError::Server(error.to_string())))
}
