//! The integration tests in one program.

#![expect(clippy::expect_used, reason = "helpers of tests may panic")]

mod emitted;
mod model;
