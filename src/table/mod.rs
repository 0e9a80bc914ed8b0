//! `weir table`: what tables there are, what is in one, and whether it is right.
//!
//! Everything is read from the warehouse itself, as any reader of Paimon tables would; only lag and
//! the refold ask the cluster, and only the last error asks the compactor.

mod describe;
mod list;
mod open;
mod read;
mod status;
mod value;
mod verify;

use std::process::ExitCode;

use clap::{Args, Subcommand, ValueEnum};

use crate::failure::Failure;

pub(crate) use open::OpenTable;
pub(crate) use read::{row_count, rows_as_text};
pub(crate) use verify::{Log, verify_snapshot};

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum TableCommand {
    /// List the tables of a warehouse.
    List(list::List),
    /// Show one table: schema, snapshot, offsets and lag, files, rows, last error.
    Describe(describe::Describe),
    /// Print the rows of a table.
    Read(read::Read),
    /// Fold the log once more, in an independent way, and compare row by row.
    ///
    /// Exit code 0: equal. 3: they differ. 1: it could not be found out.
    Verify(verify::Verify),
}

/// Where the tables lie.
#[derive(Args, Clone, Debug)]
pub(crate) struct Warehouse {
    /// Folder or file:// URL below which the tables lie.
    #[arg(long, value_name = "DIR", default_value = "data/warehouse")]
    pub(crate) warehouse: String,
}

/// The cluster whose topics were folded.
#[derive(Args, Clone, Debug)]
pub(crate) struct Bootstrap {
    /// Brokers to ask, as host:port; several with commas between them.
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:9092")]
    pub(crate) bootstrap_server: String,
}

/// How facts are printed.
#[derive(Copy, Clone, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// For people.
    Table,
    /// For scripts.
    Json,
}

pub(crate) async fn run(command: TableCommand) -> Result<ExitCode, Failure> {
    match command {
        TableCommand::List(list) => list::run(&list).await?,
        TableCommand::Describe(describe) => describe::run(&describe).await?,
        TableCommand::Read(read) => read::run(read).await?,
        TableCommand::Verify(verify) => return verify::run(&verify).await,
    }
    Ok(ExitCode::SUCCESS)
}
