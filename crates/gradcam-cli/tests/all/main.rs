//! The tests of the command line in one program.

#![expect(clippy::expect_used, reason = "helpers of tests may panic")]

mod bad_input;
mod bench;
mod engines;
mod inputs;
mod models;
mod results;
mod run;
mod several;
