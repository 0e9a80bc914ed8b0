//! Where the log lives.
pub mod clock;
pub mod disk;
pub mod log;
pub mod partition;
pub mod producers;
pub mod sync;
