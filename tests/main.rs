//! Whole-system tests, one binary: the list of modules is the table of contents.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod disk_faults;
mod kit;
mod power_loss;
mod tidy;
