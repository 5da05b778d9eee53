//! The tests of the crate in one program.

#![expect(clippy::unwrap_used, reason = "helpers of tests may panic")]

mod decode;
mod pictures;
mod pixels;
mod resolve;
