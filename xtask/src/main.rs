//! Developer commands, run as `cargo xtask COMMAND`.

#![expect(clippy::print_stderr, clippy::print_stdout, reason = "a command line talks to its user")]

mod ci;
mod counts;
mod docs;
mod fuzz;
mod proto;
mod run;
mod tidy;
mod tools;

use std::{env, process::ExitCode};

use anyhow::{Result, bail};

const USAGE: &str = "\
usage: cargo xtask COMMAND

  ci              everything that must pass before a change is merged
  docs [--check]  write the documents that are generated from tables, or compare them
  tidy            the rules about files that no other tool knows
  tools           install what `ci` needs under target/: ONNX Runtime and cargo-deny
  fuzz [TARGET] [SECONDS]
                  run a target of fuzz/, or all, each for that long; 600 where it is not said
  counts [--write]
                  count instructions from opening a model to its compiled graph, and compare them with
                  crates/bench/instructions.json, or write that; needs valgrind
  proto           generate crates/onnx-grad/src/proto/onnx.rs from the definition of ONNX
";

fn main() -> ExitCode {
    match command() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\nerror: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn command() -> Result<()> {
    let args: Vec<String> = env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    env::set_current_dir(run::root()?)?;
    match args[..] {
        ["ci"] => ci::ci(),
        ["docs"] => docs::write(),
        ["docs", "--check"] => docs::check(),
        ["tidy"] => tidy::check(),
        ["tools"] => tools::install(),
        ["fuzz", ref rest @ ..] => fuzz::fuzz(rest),
        ["counts"] => counts::compare(),
        ["counts", "--write"] => counts::write(),
        ["proto"] => proto::generate(),
        ["help" | "-h" | "--help"] => {
            println!("{USAGE}");
            Ok(())
        }
        [] => bail!("no command\n\n{USAGE}"),
        _ => bail!("no command `{}`\n\n{USAGE}", args.join(" ")),
    }
}
