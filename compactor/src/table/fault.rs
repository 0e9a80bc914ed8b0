//! Why a table's life ended, and what its state is then.

use weir_protocol::records::Offset;

use crate::committer::CommitError;
use crate::data_file::writer::WriteError;
use crate::fold::outcome::FoldError;
use crate::lineage::Stranger;
use crate::merge_tree::levels::LevelsError;
use crate::paimon::commit::Conflict;
use crate::paimon::paths::PathError;
use crate::paimon::snapshot::SnapshotError;
use crate::schema::SchemaError;
use crate::schema::evolution::EvolutionError;
use crate::source::SourceError;
use crate::source::client::ClientError;
use crate::status::State;
use crate::store::StoreError;
use crate::table::intake::DamagedPlace;

/// Why a table's life ended. What was committed is safe; the next life begins there.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// The log cannot be read, or is not the one that was folded before.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The broker is away or refuses.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The log is not the one that was folded before.
    #[error(transparent)]
    Stranger(#[from] Stranger),
    /// A snapshot cannot be made or read.
    #[error(transparent)]
    Commit(#[from] CommitError),
    /// A snapshot's properties cannot be read.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// A file cannot be stored.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A name has no place in the table.
    #[error(transparent)]
    Path(#[from] PathError),
    /// The offsets do not fit together.
    #[error(transparent)]
    Fold(#[from] FoldError),
    /// The live files are no LSM tree.
    #[error(transparent)]
    Levels(#[from] LevelsError),
    /// Rows cannot be sorted.
    #[error("rows cannot be sorted: {0}")]
    Sort(#[from] arrow_schema::ArrowError),
    /// A data file cannot be made.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// Files cannot be merged.
    #[error("compaction: {0}")]
    Compact(String),
    /// The settings and the table that is there contradict each other.
    #[error("{0}")]
    Invalid(String),
    /// The columns cannot be inferred from the records so far.
    #[error("the columns cannot be inferred: {0}")]
    Uninferred(String),
    /// The declared columns make no schema.
    #[error(transparent)]
    Schema(#[from] SchemaError),
    /// The columns cannot become what they are to be.
    #[error(transparent)]
    Evolution(#[from] EvolutionError),
    /// A bad record, and the table is told to halt.
    #[error(
        "partition {partition}, offset {offset}: {reason}; set table.on.bad.record=quarantine to \
         set it aside and go on"
    )]
    Halted {
        /// The partition.
        partition: i32,
        /// Where the record lies.
        offset: Offset,
        /// What is wrong with it.
        reason: String,
    },
    /// A batch fails its checksum.
    #[error("{0}: the batch fails its checksum; reading it again")]
    Damaged(DamagedPlace),
    /// A thread of ours panicked: our own mistake.
    #[error("a defect of this program: {0}")]
    Defect(String),
}

impl Fault {
    /// What the table is after this.
    pub(super) fn state(&self) -> State {
        match self {
            Self::Halted { .. } => State::Halted,
            Self::Invalid(_) | Self::Schema(_) | Self::Evolution(_) => State::Invalid,
            Self::Source(SourceError::Stranger(stranger)) | Self::Stranger(stranger) => {
                state_of(stranger)
            }
            Self::Commit(CommitError::Conflict(Conflict::Stranger(stranger))) => state_of(stranger),
            Self::Commit(CommitError::ProgressLost { .. }) => State::Refused,
            Self::Commit(
                CommitError::UnreadableSchema { .. } | CommitError::LossySchema { .. },
            ) => State::Invalid,
            Self::Fold(FoldError::Gap { .. }) => State::Gap,
            _ => State::Retrying,
        }
    }

    /// What is wrong, and what a person can do where only a person can.
    pub(super) fn with_remedy(&self) -> String {
        match self.state() {
            State::Gap | State::Refused => format!(
                "{self}; with another table.name the log as it is now is folded into a new table"
            ),
            _ => self.to_string(),
        }
    }

    /// Whether only a person can help: nothing is tried before something changes.
    pub(super) fn waits_for_change(&self) -> bool {
        matches!(self.state(), State::Halted | State::Invalid)
    }
}

fn state_of(stranger: &Stranger) -> State {
    match stranger {
        Stranger::LostHead { .. } => State::Gap,
        _ => State::Refused,
    }
}

impl From<tokio::task::JoinError> for Fault {
    fn from(error: tokio::task::JoinError) -> Self {
        Self::Defect(match error.try_into_panic() {
            Ok(panic) => {
                let text = panic.downcast_ref::<String>().map(String::as_str);
                let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
                text.unwrap_or("a thread panicked").to_owned()
            }
            Err(error) => error.to_string(),
        })
    }
}
