//! Reads an internal topic back, record by record.

use std::sync::Arc;

use weir_protocol::records::batch::{RecordBatch, batches};
use weir_protocol::records::record::Record;

use crate::log::ReadSlice;
use crate::log::error::ReadError;
use crate::partition::Partition;

/// One read.
const READ_BYTES: usize = 1 << 20;
/// A batch is not decompressed beyond this.
const DECOMPRESSED_BYTES_MAX: usize = 64 << 20;

/// Hands every record of the partition to `take`, in order. A batch that is damaged is told of and
/// passed over. Blocks.
pub fn each_record(
    partition: &Arc<Partition>,
    mut take: impl FnMut(&Record),
) -> Result<(), ReadError> {
    let ends = partition.ends();
    let mut next = ends.log_start;
    while next < ends.high_watermark {
        let bytes = match partition.read(next, READ_BYTES, true)? {
            ReadSlice::Hot(bytes) => bytes,
            ReadSlice::Cold(cold) => cold.load()?,
        };
        let before = next;
        for batch in batches(bytes).flatten() {
            next = batch.header().last_offset().next();
            match records(&batch) {
                Ok(records) => records.iter().for_each(&mut take),
                Err(error) => {
                    let offset = batch.header().base_offset.0;
                    tracing::error!(
                        offset,
                        error,
                        "a batch of an internal topic is damaged: what it says of share groups is forgotten"
                    );
                }
            }
        }
        if next == before {
            break;
        }
    }
    Ok(())
}

fn records(batch: &RecordBatch) -> Result<Vec<Record>, String> {
    batch.check_crc().map_err(|error| error.to_string())?;
    let records = batch.records(DECOMPRESSED_BYTES_MAX).map_err(|error| error.to_string())?;
    records.collect::<Result<_, _>>().map_err(|error| error.to_string())
}
