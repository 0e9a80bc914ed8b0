//! Consumer groups: so far their committed offsets, as simple consumers use them.

pub mod offset_records;
pub mod offsets;
