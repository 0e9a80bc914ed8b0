//! Where the records come from: a plain Kafka client.

pub mod client;
pub mod requests;
