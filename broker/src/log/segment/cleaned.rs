//! What the log cleaner needs of segments: whole batches one by one, and a segment that is written
//! beside the one whose name it will take.
use std::io;
use std::sync::Arc;

use weir_protocol::records::batch::{HEADER_BYTES, RecordBatch};
use weir_protocol::records::{BatchError, Offset};

use crate::disk::Disk;
use crate::disk::growing_file::{GrowError, GrowingFile};
use crate::log::error::ReadError;
use crate::log::names;
use crate::log::segment::{Indexes, Segment, WINDOW_BYTES};
use crate::log::summary::Contents;

/// Positions in an index have 32 bits.
const BYTES_MAX: u64 = u32::MAX as u64;

impl Segment {
    /// Shows every readable batch, with its position. Blocks. Bytes of a batch may be a slice of
    /// the map. An error of `visit`'s ends the walk.
    pub(in crate::log) fn each_batch<E: From<ReadError>>(
        &self,
        mut visit: impl FnMut(u64, &RecordBatch) -> Result<(), E>,
    ) -> Result<(), E> {
        let readable = self.file.readable();
        let (mut start, mut window_bytes) = (0, WINDOW_BYTES);
        while start < readable {
            let end = start.saturating_add(window_bytes).min(readable);
            let mut bytes = self.bytes(start..end)?;
            while !bytes.is_empty() {
                match RecordBatch::first_of(&bytes) {
                    Ok(batch) => {
                        let size_bytes = batch.bytes().len();
                        visit(start, &batch)?;
                        start += size_bytes as u64;
                        bytes = bytes.slice(size_bytes..);
                    }
                    Err(BatchError::Truncated { needed, .. }) if end < readable => {
                        window_bytes = WINDOW_BYTES.max(needed as u64);
                        break;
                    }
                    Err(error) => return Err(self.corrupt(start, error).into()),
                }
            }
        }
        Ok(())
    }

    /// A batch of it that cannot be read.
    pub(in crate::log) fn bad_batch(&self, position: u64, error: BatchError) -> ReadError {
        self.corrupt(position, error)
    }

    /// Makes an empty segment whose file bears the name of one in the making.
    pub(in crate::log) fn create_cleaned(
        disk: &Arc<dyn Disk>,
        folder: &str,
        base_offset: Offset,
    ) -> io::Result<Segment> {
        let path = names::file(folder, base_offset, names::CLEANED);
        match disk.unlink(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let file = GrowingFile::create(disk.as_ref(), &path, BYTES_MAX)?;
        // The time of the append comes with the batches.
        let contents = Contents::empty(base_offset, 0);
        let segment = Segment::new(disk, folder, file, contents, Some(Indexes::new(base_offset)));
        segment.allow_holes();
        Ok(segment)
    }

    /// Appends a batch as it is. `appended_ms` is when the log got it.
    pub(in crate::log) fn append_cleaned(
        &self,
        batch: &RecordBatch,
        index_interval_bytes: u32,
        appended_ms: i64,
    ) -> Result<(), GrowError> {
        if self.file.end() + batch.bytes().len() as u64 > BYTES_MAX {
            let reason = io::Error::new(io::ErrorKind::StorageFull, "the segment would pass 4 GiB");
            return Err(GrowError::Passing(reason));
        }
        let (header, body) = batch.bytes().split_at(HEADER_BYTES);
        let position = self.file.append(&[header, body])?;
        self.note(position, batch.header(), index_interval_bytes, appended_ms);
        Ok(())
    }

    /// Gives reserved blocks back and makes the segment durable and readable; its name is not yet.
    /// `is_lazy` is a seeded bug: it is not durable.
    pub(in crate::log) fn finish_cleaned(&self, is_lazy: bool) -> io::Result<()> {
        self.file.cut(self.file.end())?;
        if !is_lazy {
            self.file.sync()?;
        }
        self.file.publish(self.file.end())
    }

    /// Says that another one has taken its name. Those who read it go on.
    pub(in crate::log) fn replace(&self) {
        self.write_state().is_replaced = true;
    }
}
