//! What Kafka's bytes mean: frames, the guard, codecs, record batches. All of it is pure: no I/O,
//! no clock, no chance.
//!
//! Bytes from the network walk this way, and only this way:
//!
//! ```text
//! socket -> frame (whole requests) -> header (which API, which version)
//!        -> guard (every count and length against the bytes that are there) -> codec -> a handler
//! handler -> answer (chunks; record slices pass through uncopied) -> socket
//! ```
//!
//! The messages themselves are the structs of the `kafka-protocol` crate. It allocates from counts
//! on the wire before it looks at the bytes that are left, so nothing reaches it that the guard has
//! not walked. Produce and Fetch have codecs of our own, because records must stay slices.
pub mod answer;
pub mod api;
pub mod fetch;
pub mod frame;
pub mod guard;
pub mod header;
pub mod produce;
pub mod properties;
pub mod reader;
pub mod records;
pub mod shape;
pub mod table;
pub mod throttle;
