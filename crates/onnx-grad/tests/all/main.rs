//! The integration tests in one program.

#![expect(clippy::expect_used, reason = "test helpers may panic")]

mod emitted;
mod model;
