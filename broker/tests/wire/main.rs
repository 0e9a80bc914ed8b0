//! The broker as its clients see it: a real socket, the messages of the `kafka-protocol` crate.

mod admin;
mod client;
mod compaction;
mod config_resources;
mod configs;
mod consumer_groups;
mod every_version;
mod fetch_sessions;
mod group_versions;
mod groups;
mod hostile;
mod http;
mod large_requests;
mod lifecycle;
mod limits;
mod migration;
mod offsets;
mod produce_fetch;
mod quotas;
mod retention;
mod security;
mod share;
mod topics;
mod transaction_version_2;
mod transactions;
