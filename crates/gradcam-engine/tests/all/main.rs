//! The tests of the crate in one program, which links the engines once.

#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "helpers of tests may panic"
)]

mod case;
mod common;
mod engine;
mod engine_calls;
mod operators;
mod overrides;
mod rules;
