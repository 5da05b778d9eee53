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
mod gradient_node;
mod operators;
mod overrides;
mod rules;

use std::process::ExitCode;

use testkit::Suite;

fn main() -> ExitCode {
    let mut suite = Suite::default();
    engine::tests(&mut suite);
    engine_calls::tests(&mut suite);
    gradient_node::tests(&mut suite);
    operators::tests(&mut suite);
    overrides::tests(&mut suite);
    rules::tests(&mut suite);
    suite.run()
}
