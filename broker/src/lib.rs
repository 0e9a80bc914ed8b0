//! Where the log lives: a Kafka-compatible broker on one machine.
//!
//! ```text
//! server -> connection -> api -> broker -> share -> group -> catalog -> partition -> log -> disk
//! ```
//!
//! Each room knows only those to its right. `config`, `metrics` and `clock` stand below all of
//! them; `quota` and `named_settings` know only `log` of the others. `start` puts everything
//! together, and `admin` and `housekeeping` look after it; `check` looks at its files when it has
//! stopped.
pub mod admin;
pub mod api;
pub mod arguments;
pub mod broker;
pub mod catalog;
pub mod check;
pub mod cleaner;
pub mod client_metrics;
pub mod clock;
pub mod config;
pub mod connection;
pub mod disk;
pub mod fetch_session;
pub mod framed;
pub mod group;
pub mod housekeeping;
pub mod log;
pub mod metrics;
pub mod named_settings;
pub mod partition;
pub mod producer_ids;
pub mod producers;
pub mod quota;
pub mod request_memory;
pub mod server;
pub mod share;
pub mod start;
pub mod sync;
pub mod transaction;
