//! `cargo xtask ci`: all checks, cheapest first.

use std::{
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};

use crate::{
    cpu, dependencies, package, python,
    run::{again, cargo, compile, members, run},
    tidy, tools,
};

type CheckStep = (&'static str, fn() -> Result<()>);

const STEPS: &[CheckStep] = &[
    ("format", || run(&mut cargo(["fmt", "--all", "--check"]))),
    ("tidy", tidy::check),
    ("tools", tools::install),
    ("Python files", python_files),
    ("clippy", || {
        run(compile(["clippy", "--workspace", "--all-targets", "--features", XTASK])
            .args(["--", "-D", "warnings"]))
    }),
    ("each feature alone", features),
    ("fuzz targets", fuzz_targets),
    ("tests", tests),
    ("tests as a Haswell", cpu::as_haswell),
    ("Python package", python::test),
    ("page", || again("web", &["web", "--check", "--if-possible"])),
    ("documentation", documentation),
    ("packages", package::check),
    ("dependencies", dependencies::check),
];

/// With these features, xtask is tested completely, but for what generates code.
const XTASK: &str = "xtask/models,xtask/web";

/// Runs the steps and stops at the first failure.
pub(crate) fn ci() -> Result<()> {
    let start = Instant::now();
    let mut times = Vec::new();
    for (number, (name, step)) in STEPS.iter().enumerate() {
        println!("\n==== {}/{} {name}", number + 1, STEPS.len());
        let start = Instant::now();
        step().with_context(|| format!("step \"{name}\" failed"))?;
        let time = start.elapsed();
        println!("==== {name}: {}", seconds(time));
        times.push((name, time));
    }
    println!();
    for (name, time) in times {
        println!("{:>9}  {name}", seconds(time));
    }
    println!("{:>9}  all passed", seconds(start.elapsed()));
    Ok(())
}

fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

/// Lints and formats the Python files according to `ruff.toml`.
fn python_files() -> Result<()> {
    let ruff = tools::ruff()?;
    run(Command::new(&ruff).args(["check", "--no-cache"]))?;
    run(Command::new(&ruff).args(["format", "--check", "--no-cache"]))
}

/// Checks each crate with each feature alone and without features, to find dead code and missing imports.
fn features() -> Result<()> {
    for member in members()? {
        let base = ["clippy", "--package", &member.name, "--no-default-features"];
        let deny = ["--", "-D", "warnings"];
        if !member.features.is_empty() {
            run(compile(base).args(deny))?;
        }
        for feature in &member.features {
            run(compile(base).args(["--features", feature]).args(deny))?;
        }
    }
    Ok(())
}

/// The fuzz targets are a separate workspace. Checking them does not need libFuzzer, which needs a C++ compiler.
fn fuzz_targets() -> Result<()> {
    let manifest = ["--manifest-path", "fuzz/Cargo.toml", "--target-dir", "target"];
    run(&mut cargo(["fmt", "--check", "--manifest-path", "fuzz/Cargo.toml"]))?;
    run(compile(["clippy", "--locked"])
        .args(manifest)
        .args(["--", "-D", "warnings"])
        .env("CUSTOM_LIBFUZZER_PATH", "target/fuzz/libfuzzer.a"))
}

fn tests() -> Result<()> {
    run(compile(["test", "--workspace", "--features", XTASK])
        .env("ORT_DYLIB_PATH", tools::onnxruntime_library()?))
}

fn documentation() -> Result<()> {
    run(compile(["doc", "--workspace", "--no-deps"]).env("RUSTDOCFLAGS", "-D warnings"))
}
