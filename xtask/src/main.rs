//! Developer commands, run as `cargo xtask COMMAND`.

#![expect(clippy::print_stderr, clippy::print_stdout, reason = "command-line output")]

mod ci;
#[cfg(feature = "models")]
mod counts;
mod cpu;
mod cycles;
mod dependencies;
#[cfg(feature = "models")]
mod fuzz;
mod package;
mod proto;
mod python;
mod run;
mod tidy;
mod tools;
#[cfg(feature = "web")]
mod web;
mod wheel;

use std::{env, process::ExitCode};

use anyhow::{Result, bail};

const USAGE: &str = "\
usage: cargo xtask COMMAND

  ci              everything that must pass before a change is merged
  docs            write the documents that are generated from tables; a test compares them
  tidy            the rules about files that no other tool knows
  tools           install what `ci` needs under target/: ONNX Runtime, ruff and maturin
  fuzz [TARGET] [SECONDS]
                  run a target of fuzz/, or all, each for that long; 600 where it is not said
  counts [--write]
                  count instructions from opening a model to its compiled graph, and compare them with
                  crates/bench/instructions.json, or write that; needs valgrind
  cpu NAME [PART]... [-- ARGUMENTS]
                  run tests as the processor NAME of `qemu-x86_64 -cpu help`, such as Haswell or Nehalem: a module
                  (quantized, rules, …), lib for those inside the crates, all where none is named; needs qemu-user
  python          build the wheel of the Python package, and test it in a new environment
  python --peers [ARGUMENTS]
                  compare the package with torch, pytorch-grad-cam, TorchCAM, Captum and Keras, in an environment with
                  these that is made once; the arguments are pytest's; takes an hour and more
  python --wheel [PYTHON]...
                  build the wheel that is published, and try it in a clean environment of each interpreter
  python --sdist  build the source distribution, and install it
  web             build the page that explains models in a browser, in target/page; it needs Rust for WebAssembly
  web --check [--if-possible]
                  build it and test it in Chromium, which with Node.js has to be there; or say what is missing
  web --figures   build it and measure it in Chromium
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
        ["docs"] => run::run(
            run::compile(["test", "--quiet", "--workspace", "--test", "all", "documents::"])
                .env("GRADCAM_WRITE_DOCUMENTS", "1"),
        ),
        ["tidy"] => tidy::check(),
        ["tools"] => tools::install(),
        #[cfg(feature = "models")]
        ["fuzz", ref rest @ ..] => fuzz::fuzz(rest),
        #[cfg(not(feature = "models"))]
        ["fuzz", ..] => run::again("models", &args),
        #[cfg(feature = "models")]
        ["counts"] => counts::compare(),
        #[cfg(feature = "models")]
        ["counts", "--write"] => counts::write(),
        #[cfg(not(feature = "models"))]
        ["counts", ..] => run::again("models", &args),
        ["cpu", name, ref tests @ ..] => cpu::test(name, tests),
        ["python", "--wheel", ref pythons @ ..] => {
            tools::install().and_then(|()| wheel::wheel(pythons))
        }
        ["python", "--sdist"] => tools::install().and_then(|()| wheel::sdist()),
        ["python"] => tools::install().and_then(|()| python::test()),
        ["python", "--peers", ref rest @ ..] => tools::install().and_then(|()| python::peers(rest)),
        #[cfg(feature = "web")]
        ["web"] => web::build(),
        #[cfg(feature = "web")]
        ["web", "--check"] => web::check(true),
        #[cfg(feature = "web")]
        ["web", "--check", "--if-possible"] => web::check(false),
        #[cfg(feature = "web")]
        ["web", "--figures"] => web::figures(),
        #[cfg(not(feature = "web"))]
        ["web", ..] => run::again("web", &args),
        ["proto"] => proto::generate(),
        ["help" | "-h" | "--help"] => {
            println!("{USAGE}");
            Ok(())
        }
        [] => bail!("no command\n\n{USAGE}"),
        _ => bail!("no command `{}`\n\n{USAGE}", args.join(" ")),
    }
}
