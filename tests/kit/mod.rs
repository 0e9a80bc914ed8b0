//! What the scenarios are made of.
pub(crate) mod disk;
