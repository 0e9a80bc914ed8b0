//! Whole-system tests, one binary: the list of modules is the table of contents.

mod kit;
mod power_loss;
mod tidy;
