//! `cargo xtask ci`: every check, in the order of their cost.

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};

use crate::{
    docs,
    run::{cargo, members, run},
    tidy, tools,
};

type Step = (&'static str, fn() -> Result<()>);

const STEPS: &[Step] = &[
    ("format", || run(&mut cargo(["fmt", "--all", "--check"]))),
    ("tidy", tidy::check),
    ("generated documents", docs::check),
    ("tools", tools::install),
    ("clippy", || {
        run(&mut cargo(["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]))
    }),
    ("each feature alone", features),
    ("fuzz targets", fuzz_targets),
    ("tests", tests),
    ("documentation", documentation),
    ("packages", packages),
    ("dependencies", dependencies),
];

/// The registry refuses larger packages.
const MAX_PACKAGE_BYTES: u64 = 10 * 1024 * 1024;

/// Runs the steps and stops at the first that fails.
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

/// Dead code and missing imports show when a feature is switched on alone; so does a crate
/// without any.
fn features() -> Result<()> {
    for member in members()? {
        let base = ["clippy", "--package", &member.name, "--no-default-features"];
        let deny = ["--", "-D", "warnings"];
        if !member.features.is_empty() {
            run(cargo(base).args(deny))?;
        }
        for feature in &member.features {
            run(cargo(base).args(["--features", feature]).args(deny))?;
        }
    }
    Ok(())
}

/// They are a workspace of their own. libFuzzer itself takes a C++ compiler and is not needed to check them.
fn fuzz_targets() -> Result<()> {
    let manifest = ["--manifest-path", "fuzz/Cargo.toml", "--target-dir", "target/fuzz"];
    run(&mut cargo(["fmt", "--check", "--manifest-path", "fuzz/Cargo.toml"]))?;
    run(cargo(["clippy", "--locked"])
        .args(manifest)
        .args(["--", "-D", "warnings"])
        .env("CUSTOM_LIBFUZZER_PATH", "target/fuzz/libfuzzer.a"))
}

fn tests() -> Result<()> {
    run(cargo(["test", "--workspace"]).env("ORT_DYLIB_PATH", tools::onnxruntime_library()?))
}

fn documentation() -> Result<()> {
    run(cargo(["doc", "--workspace", "--no-deps"]).env("RUSTDOCFLAGS", "-D warnings"))
}

/// Packages what is published and builds it from the packages, together, so that crates find each
/// other although no registry has them.
fn packages() -> Result<()> {
    let mut published = members()?;
    published.retain(|member| member.published);
    let mut package = cargo(["package", "--allow-dirty", "--target-dir", "target"]);
    for member in &published {
        package.args(["--package", &member.name]);
    }
    run(&mut package)?;
    for member in &published {
        let file = format!("{}-{}.crate", member.name, env!("CARGO_PKG_VERSION"));
        let bytes = fs::metadata(Path::new("target/package").join(&file))?.len();
        println!("{file}: {bytes} bytes");
        ensure!(
            bytes <= MAX_PACKAGE_BYTES,
            "{file} has {bytes} bytes; a package may have {MAX_PACKAGE_BYTES}: leave files out with \
             `exclude` in its Cargo.toml"
        );
    }
    Ok(())
}

fn dependencies() -> Result<()> {
    run(tools::cargo_deny()
        .args(["check", "--hide-inclusion-graph"])
        .args(["bans", "licenses", "sources"]))
}
