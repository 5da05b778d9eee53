//! The command line `gradcam` as a function, for programs that bring it along.
//!
//! [`run`] takes the arguments and gives the exit code. It prints to standard output and standard error and reads the
//! environment, as the program does, and leaves the process alone: no signal handler, no panic hook, no exit. Those are the
//! work of the program around it, its [`Host`]. There may be any number of calls, also at once.

mod args;
mod bench;
mod compare;
mod concepts;
mod engine;
mod explain;
mod export;
mod failure;
mod files;
mod generate;
mod grad;
mod hints;
mod in_order;
mod inspect;
mod layers;
mod methods;
mod model;
mod names;
mod npy;
mod terminal;
mod xml;

use std::{ffi::OsString, panic, path::PathBuf};

pub use files::{Interruption, interrupt};
pub use model::built_in;

use failure::Failure;

/// The program that the command line runs in.
#[derive(Clone, Debug, Default)]
pub struct Host {
    /// How this command line is started in a process of its own: a program and its first arguments, such as `gradcam`, or
    /// `python3 -m` and a module. `gradcam bench` does so for each of several rows; without it that is an error.
    pub command: Vec<OsString>,
    /// The environment of the interpreter of Python that runs the host, or the folder of the package `onnxruntime` in it: the
    /// library of ONNX Runtime is looked for there before the active environment, which may be none or another one.
    pub environment: Option<PathBuf>,
    /// Called before a command begins to write files. It is the time to install a signal handler that calls [`interrupt`].
    pub before_files: Option<fn()>,
}

/// Runs a command and gives the exit code: 0 done, 1 failed, 2 usage. `args` are the arguments behind the name of the
/// program, such as `["explain", "cat.jpg"]`; messages call the program `gradcam`.
///
/// A panic is caught and becomes a message and exit code 1; the text that the process's panic hook prints is the host's.
pub fn run<A: Into<OsString>>(args: impl IntoIterator<Item = A>, host: &Host) -> u8 {
    let words: Vec<OsString> = args.into_iter().map(Into::into).collect();
    let done = panic::catch_unwind(|| command(&words, host)).unwrap_or_else(failure::internal);
    done.map_or_else(terminal::report, |()| 0)
}

fn command(words: &[OsString], host: &Host) -> Result<(), Failure> {
    match args::parse(words)? {
        args::Command::Explain(args) => explain::run(*args, host),
        args::Command::Compare(args) => compare::run(&args, host),
        args::Command::Concepts(args) => concepts::run(&args, host),
        args::Command::Bench(args) => bench::run(&args, words, host),
        args::Command::Export(args) => export::run(&args, host),
        args::Command::Grad(args) => grad::run(&args, host),
        args::Command::Inspect(args) => inspect::run(&args, host),
        args::Command::Layers(args) => layers::run(&args),
        args::Command::Methods(args) => methods::run(&args),
        args::Command::Completions { shell } => generate::completions(shell),
        args::Command::Man { command } => generate::man(command.as_deref()),
    }
}

impl Host {
    fn begin_files(&self) {
        if let Some(call) = self.before_files {
            call();
        }
    }
}
