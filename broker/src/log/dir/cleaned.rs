//! Up to where each compacted log is clean. A checkpoint that is lost costs a cleaning from the
//! log's start, nothing else.
use weir_protocol::records::Offset;

use crate::log::dir::{CLEANED, LogDir};
use crate::log::error::LogError;

impl LogDir {
    /// Up to where a log was cleaned, if it ever was.
    pub(in crate::log) fn cleaned_to(&self, log: &(String, i32)) -> Option<Offset> {
        self.lock().cleaned.get(log).copied()
    }

    /// Whether it is known which logs were ever cleaned: the file was read, or there was none.
    pub(in crate::log) fn knows_cleaned(&self) -> bool {
        self.knows_cleaned
    }

    /// Makes durable up to where a log is clean. One that was deleted meanwhile is left out.
    pub(in crate::log) fn set_cleaned(
        &self,
        log: &(String, i32),
        to: Offset,
    ) -> Result<(), LogError> {
        let mut logs = self.lock();
        if !logs.open.contains_key(log) {
            return Ok(());
        }
        let mut cleaned = logs.cleaned.clone();
        cleaned.insert(log.clone(), to);
        self.write_offsets(CLEANED, &cleaned)?;
        logs.cleaned = cleaned;
        Ok(())
    }
}
