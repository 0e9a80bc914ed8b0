//! Consumer groups: so far their committed offsets, as simple consumers use them, and the machine
//! of groups whose assignments the broker makes.

pub mod consumer;
pub mod offset_records;
pub mod offsets;
