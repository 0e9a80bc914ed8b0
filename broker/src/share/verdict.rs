//! What members say of records that they have acquired. PURE.

use crate::share::runs::Span;

/// What a client says of records that it has acquired (KIP-932).
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// There is no such record.
    Gap = 0,
    /// Processed.
    Accept = 1,
    /// Not processed; somebody may try again.
    Release = 2,
    /// Cannot be processed.
    Reject = 3,
}

impl Verdict {
    /// By Kafka's number.
    pub fn of(number: i8) -> Option<Self> {
        Some(match number {
            0 => Self::Gap,
            1 => Self::Accept,
            2 => Self::Release,
            3 => Self::Reject,
            _ => return None,
        })
    }
}

/// Verdicts on a span of offsets: one for all, or one for each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acknowledgement {
    /// The offsets.
    pub span: Span,
    /// What is said of them.
    pub verdicts: Vec<Verdict>,
}
