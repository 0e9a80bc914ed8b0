//! PURE. What a Paimon table is on storage: bytes to values and back, and what the next version
//! of a table must be. Nothing here reads a file, a clock or chance.

pub mod avro;
pub mod bucket;
pub mod commit;
pub mod expire;
pub mod live_files;
pub mod manifest;
pub mod manifest_merge;
pub mod paths;
pub mod snapshot;

pub use crate::binary_row;
