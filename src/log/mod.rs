//! `weir log`: the files of a broker that has stopped, or a copy of them.

mod check;
mod salvage;

use std::process::ExitCode;

use clap::{Args, Subcommand};

use crate::failure::Failure;

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum LogCommand {
    /// Read every file of a data directory and tell what is damaged; nothing is changed.
    ///
    /// Every batch of every segment is held against its checksum, its size and the offsets around
    /// it, every index, checkpoint, snapshot and other small file against what it was made of.
    /// The broker must have stopped.
    ///
    /// Exit code 0: all is as it was written. 3: damage was found. 1: it could not be found out.
    Check(check::Check),
    /// Make a damaged partition one that opens again; records that are damaged are lost.
    ///
    /// Every good batch stays at its offset; an empty batch takes the place of each damaged stretch,
    /// as cleaning leaves them. A segment that is changed is kept as it was found, as *.log.damaged.
    /// Indexes are made anew by the next start. The broker must have stopped.
    Salvage(salvage::Salvage),
}

/// Where the logs lie.
#[derive(Args, Clone, Debug)]
pub(crate) struct DataDir {
    /// The broker's data directory (log.dirs).
    #[arg(long, value_name = "DIR", default_value = "data/log")]
    pub(crate) data_dir: std::path::PathBuf,
}

pub(crate) fn run(command: &LogCommand) -> Result<ExitCode, Failure> {
    match command {
        LogCommand::Check(check) => check::run(check),
        LogCommand::Salvage(salvage) => salvage::run(salvage),
    }
}

/// `orders` or `orders:3`.
fn topic_and_partition(text: &str) -> Result<(String, Option<i32>), String> {
    let Some((topic, partition)) = text.rsplit_once(':') else {
        return Ok((text.to_owned(), None));
    };
    match partition.parse() {
        Ok(partition) if partition >= 0 => Ok((topic.to_owned(), Some(partition))),
        _ => Err(format!("expected TOPIC or TOPIC:PARTITION, not {text:?}")),
    }
}
