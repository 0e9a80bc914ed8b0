//! What the log becomes: topics folded into Paimon tables of Parquet files.

pub mod checkpoint;
pub mod crash;
pub mod lineage;
pub mod paimon;
pub mod source;
pub mod store;
