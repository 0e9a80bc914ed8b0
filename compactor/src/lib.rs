//! What the log becomes: topics folded into Paimon tables of Parquet files.

pub mod admin;
pub mod binary_row;
pub mod checkpoint;
pub mod clock;
pub mod committer;
pub mod compact;
pub mod config;
pub mod crash;
pub mod data_file;
pub mod decode;
pub mod fold;
pub mod lineage;
pub mod merge_tree;
pub mod metrics;
pub mod paimon;
pub mod quarantine;
pub mod row;
pub mod scan;
pub mod schema;
pub mod source;
pub mod start;
pub mod status;
pub mod store;
pub mod table;
pub mod tables;
pub mod verify;
