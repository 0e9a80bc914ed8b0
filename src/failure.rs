//! Why a command failed: one line for the person who typed it.

use std::fmt;
use std::io;

/// One line that names the thing, the place and the remedy.
#[derive(Debug)]
pub(crate) struct Failure {
    line: String,
    closed_pipe: bool,
}

impl Failure {
    pub(crate) fn new(line: impl Into<String>) -> Self {
        Self { line: line.into(), closed_pipe: false }
    }

    /// Whether it is only that nobody reads our output any more.
    pub(crate) fn is_closed_pipe(&self) -> bool {
        self.closed_pipe
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str(&self.line)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        let closed_pipe = error.kind() == io::ErrorKind::BrokenPipe;
        Self { line: format!("standard output: {error}"), closed_pipe }
    }
}

impl From<csv::Error> for Failure {
    fn from(error: csv::Error) -> Self {
        match error.into_kind() {
            csv::ErrorKind::Io(error) => error.into(),
            other => Self::new(format!("{other:?}")),
        }
    }
}

/// Errors of the libraries are one line already.
macro_rules! from_error {
    ($($error:ty),+) => {
        $(impl From<$error> for Failure {
            fn from(error: $error) -> Self {
                Self::new(error.to_string())
            }
        })+
    };
}

from_error!(
    weir_broker::disk::os::OpenError,
    weir_broker::start::StartError,
    weir_broker::start::StopError,
    weir_compactor::start::StartError,
    weir_compactor::start::StopError,
    weir_compactor::store::StoreError,
    weir_compactor::committer::CommitError,
    weir_compactor::paimon::snapshot::SnapshotError,
    weir_compactor::paimon::paths::PathError,
    weir_compactor::scan::ScanError,
    weir_compactor::source::SourceError,
    weir_compactor::source::client::ClientError,
    weir_protocol::records::BatchError
);
