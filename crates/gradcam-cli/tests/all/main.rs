//! The tests of the command line in one program.

#![expect(clippy::expect_used, clippy::panic, reason = "helpers of tests may panic")]

mod bad_input;
mod bench;
mod compare;
mod concepts;
mod engines;
mod folders;
mod inputs;
mod inspected;
mod library;
mod lists;
mod maps;
mod models;
mod pictures;
mod results;
mod run;
mod several;
mod transcript;

use std::process::ExitCode;

use testkit::Suite;

fn main() -> ExitCode {
    if let Some(code) = library::host() {
        return code;
    }
    let mut suite = Suite::default();
    bad_input::tests(&mut suite);
    bench::tests(&mut suite);
    compare::tests(&mut suite);
    concepts::tests(&mut suite);
    engines::tests(&mut suite);
    folders::tests(&mut suite);
    inputs::tests(&mut suite);
    inspected::tests(&mut suite);
    library::tests(&mut suite);
    lists::tests(&mut suite);
    maps::tests(&mut suite);
    pictures::tests(&mut suite);
    results::tests(&mut suite);
    several::tests(&mut suite);
    suite.run()
}
