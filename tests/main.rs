//! Whole-system tests, one binary: the list of modules is the table of contents.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
#![allow(unreachable_pub, reason = "a test binary exports nothing")]

mod bad_input;
mod cleaning;
mod command_line;
mod commit;
mod disk_faults;
mod history;
mod kill;
mod kit;
mod log_command;
mod power_loss;
mod rot;
mod seeded_bugs;
mod tidy;
