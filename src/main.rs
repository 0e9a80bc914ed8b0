//! `weir`: one command for all of it.
//!
//! Exit codes: 0 done, 1 it failed (one line on standard error says what and what to do),
//! 2 wrong usage, 3 `table verify` found that table and log differ, or `log check` found damage.

mod consume;
mod demo;
mod failure;
mod group;
mod log;
mod print;
mod produce;
mod serve;
mod table;
mod topic;

use std::io::IsTerminal;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::failure::Failure;

/// The Dynamic Table as a server: a Kafka-compatible log, and the Paimon tables folded from it.
#[derive(Debug, Parser)]
#[command(name = "weir", version, max_term_width = 100, after_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Examples:
  weir demo                        a sample of real change records becomes tables, step by step
  weir up                          broker and compactor in one process, data under ./data
  weir topic create orders --config table.enabled=true --config table.primary.key=id
                                   JSON records of this topic become rows of a table
  weir produce orders < lines      each line is a record
  weir consume orders --exit       and prints them again
  weir group describe billing      how far a consumer group has read, and what is left
  weir table list                  which tables there are
  weir table read default.orders   the rows of one
  weir log check                   whether any file of a stopped broker is damaged

WEIR_LOG sets what is logged to standard error: off, error, warn, info, debug or trace.";

#[derive(Debug, Subcommand)]
enum Command {
    /// See it all once: a sample of real change records becomes tables.
    Demo(demo::Demo),
    /// Run broker and compactor in one process.
    Up(serve::Up),
    /// Run the broker alone: the log.
    Broker(weir_broker::arguments::Arguments),
    /// Run the compactor alone, beside any Kafka-compatible cluster: the tables.
    Compactor(weir_compactor::arguments::Arguments),
    /// Create and change topics; a topic's configs make it a table.
    #[command(subcommand)]
    Topic(topic::TopicCommand),
    /// Send lines of standard input as records.
    Produce(produce::Produce),
    /// Print the records of a topic, alone or as a member of a group.
    Consume(consume::Consume),
    /// Look at consumer groups, and move or forget their offsets.
    #[command(subcommand)]
    Group(group::GroupCommand),
    /// Check the files of a broker that has stopped, or of a copy, for damage.
    #[command(subcommand)]
    Log(log::LogCommand),
    /// Look at tables: list, describe, read, verify.
    #[command(subcommand)]
    Table(table::TableCommand),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    // Services log what an operator needs; a command that prints an answer logs only troubles.
    let level = match cli.command {
        Command::Up(_) | Command::Broker(_) | Command::Compactor(_) => "info",
        _ => "warn",
    };
    let asked = std::env::var("WEIR_LOG").unwrap_or_else(|_| level.to_owned());
    let filter = match tracing_subscriber::EnvFilter::try_new(&asked) {
        Ok(filter) => filter,
        Err(error) => {
            let remedy = "use off, error, warn, info, debug or trace";
            return fail(&Failure::new(format!("WEIR_LOG={asked}: {error}; {remedy}")));
        }
    };
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&Failure::new(format!("threads cannot be started: {error}"))),
    };
    match runtime.block_on(run(cli.command)) {
        Ok(code) => code,
        Err(failure) => fail(&failure),
    }
}

async fn run(command: Command) -> Result<ExitCode, Failure> {
    match command {
        Command::Demo(demo) => demo::run(&demo).await?,
        Command::Up(up) => serve::up(&up).await?,
        Command::Broker(arguments) => serve::broker(&arguments).await?,
        Command::Compactor(arguments) => serve::compactor(&arguments).await?,
        Command::Topic(command) => topic::run(command).await?,
        Command::Produce(produce) => produce::run(produce).await?,
        Command::Consume(consume) => consume::run(consume).await?,
        Command::Group(command) => group::run(command).await?,
        Command::Log(command) => return log::run(&command),
        Command::Table(command) => return table::run(command).await,
    }
    Ok(ExitCode::SUCCESS)
}

fn fail(failure: &Failure) -> ExitCode {
    // A reader that has seen enough (`weir table read | head`) is no failure.
    if failure.is_closed_pipe() {
        return ExitCode::SUCCESS;
    }
    eprintln!("weir: {failure}");
    ExitCode::FAILURE
}
