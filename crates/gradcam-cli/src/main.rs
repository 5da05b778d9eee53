//! The `gradcam` command: Grad-CAM for any ONNX image model, on the command line.

mod args;
mod bench;
mod compare;
mod concepts;
mod engine;
mod explain;
mod failure;
mod files;
mod generate;
mod hints;
mod in_order;
mod layers;
mod methods;
mod model;
mod names;
mod npy;
mod terminal;

use std::{panic, process::ExitCode};

fn main() -> ExitCode {
    // A panic inside an engine or a decoder is caught and reported as an error, so its own text is not printed.
    panic::set_hook(Box::new(|_| {}));
    let done = panic::catch_unwind(|| run(args::parse()?)).unwrap_or_else(failure::internal);
    done.map_or_else(terminal::report, |()| ExitCode::SUCCESS)
}

fn run(command: args::Command) -> Result<(), failure::Failure> {
    match command {
        args::Command::Explain(args) => explain::run(*args),
        args::Command::Compare(args) => compare::run(&args),
        args::Command::Concepts(args) => concepts::run(&args),
        args::Command::Bench(args) => bench::run(&args),
        args::Command::Layers(args) => layers::run(&args),
        args::Command::Methods(args) => methods::run(&args),
        args::Command::Completions { shell } => generate::completions(shell),
        args::Command::Man { command } => generate::man(command.as_deref()),
    }
}
