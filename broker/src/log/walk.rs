//! PURE over bytes. Steps from batch to batch by their headers, without a look at the records.
use weir_protocol::records::batch::BatchHeader;
use weir_protocol::records::{BatchError, Offset};

/// Headers of batches that follow each other, with their positions. Bytes that end within a batch
/// end the walk with [`BatchError::Truncated`].
#[derive(Debug)]
pub(super) struct Headers<'a> {
    bytes: &'a [u8],
    position: usize,
}

/// The headers in `bytes` from `position` on.
pub(super) fn headers(bytes: &[u8], position: usize) -> Headers<'_> {
    Headers { bytes, position }
}

impl Iterator for Headers<'_> {
    type Item = Result<(usize, BatchHeader), (usize, BatchError)>;

    fn next(&mut self) -> Option<Self::Item> {
        let position = self.position;
        let rest = self.bytes.get(position..).filter(|rest| !rest.is_empty())?;
        let fail = |walk: &mut Self, error| {
            walk.position = walk.bytes.len();
            Some(Err((position, error)))
        };
        let header = match BatchHeader::parse(rest) {
            Ok(header) => header,
            Err(error) => return fail(self, error),
        };
        let needed = header.size_bytes();
        if needed > rest.len() {
            return fail(self, BatchError::Truncated { needed, available: rest.len() });
        }
        self.position = position + needed;
        Some(Ok((position, header)))
    }
}

/// Where the batches lie that a fetch gets.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) enum Selection {
    /// These bytes: whole batches, none of them before the one that holds the asked offset.
    Range { start: usize, end: usize },
    /// The first batch alone is bigger than the bound.
    TooBig { start: usize, end: usize },
    /// All batches end before the asked offset.
    Before,
    /// The bytes end within the first batch that counts, which begins at `start` and, if that much
    /// is known, ends at `end`.
    Cut { start: usize, end: Option<usize> },
}

/// Finds whole batches from the one that holds `from` on, together not above `bytes_max`.
///
/// `skip_to` may name a later beginning of a batch, to spare the steps up to there; it is asked for
/// one at or before a position.
pub(super) fn select(
    bytes: &[u8],
    position: usize,
    from: Offset,
    bytes_max: usize,
    skip_to: impl Fn(usize) -> Option<usize>,
) -> Result<Selection, (usize, BatchError)> {
    let mut first = None;
    for step in headers(bytes, position) {
        match step {
            Ok((start, header)) if header.last_offset() >= from => {
                first = Some((start, start + header.size_bytes()));
                break;
            }
            Ok(_) => {}
            Err((start, BatchError::Truncated { needed, .. })) => {
                let end = (needed > weir_protocol::records::batch::HEADER_BYTES)
                    .then_some(start + needed);
                return Ok(Selection::Cut { start, end });
            }
            Err(error) => return Err(error),
        }
    }
    let Some((start, first_end)) = first else { return Ok(Selection::Before) };
    let limit = start.saturating_add(bytes_max).min(bytes.len());
    if first_end > limit {
        return Ok(Selection::TooBig { start, end: first_end });
    }
    let mut end = skip_to(limit).filter(|known| *known > first_end).unwrap_or(first_end);
    for step in headers(&bytes[..limit], end) {
        let Ok((position, header)) = step else { break };
        end = position + header.size_bytes();
    }
    Ok(Selection::Range { start, end })
}
