//! The compactor.
fn main() {}
