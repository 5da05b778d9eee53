//! `cargo xtask cpu`: runs tests on another processor, emulated by QEMU's user mode.
//!
//! Kernels depend on the instruction set, so results vary between processors. Products of 8-bit integers saturate on
//! processors with AVX2 and without VNNI, such as Haswell, and are exact on older ones, such as Nehalem.

use std::{path::Path, process::Command};

use anyhow::{Result, ensure};

use crate::{
    run::{Member, compile, members, run},
    tools,
};

const QEMU: &str = "qemu-x86_64";

/// A processor whose kernels saturate, without the features that QEMU lacks and would warn about in every process.
const HASWELL: &str = "Haswell-noTSX,-invpcid,-pcid,-x2apic,-tsc-deadline";

/// The tests of engines, rules and quantized models.
const OF_ENGINES: &[&str] = &["lib", "engine", "engine_calls", "processors", "quantized", "rules"];

/// Runs tests on the QEMU processor `name`. `lib` selects the tests inside the crates; other words before `--` select
/// modules of the integration tests. Without words it runs all tests except documentation tests.
pub(crate) fn test(name: &str, words: &[&str]) -> Result<()> {
    ensure!(is_there(), "this needs {QEMU}, from the package qemu-user of Debian and Ubuntu");
    let (parts, args) = match words.iter().position(|word| *word == "--") {
        Some(place) => (&words[..place], &words[place + 1..]),
        None => (words, &[][..]),
    };
    let name = if name == "Haswell" { HASWELL } else { name };
    commands(name, parts, args)?.iter_mut().try_for_each(run)
}

/// One command for each part, because a test program accepts one filter.
fn commands(name: &str, parts: &[&str], args: &[&str]) -> Result<Vec<Command>> {
    if parts.is_empty() {
        return Ok(vec![command(name, &["--tests"], None, args)?]);
    }
    parts.iter().map(|part| of_part(name, part, args)).collect()
}

fn of_part(name: &str, part: &str, args: &[&str]) -> Result<Command> {
    if part == "lib" {
        return command(name, &["--lib"], None, args);
    }
    let is_of = |member: &Member| {
        Path::new(&format!("crates/{}/tests/all/{part}.rs", member.name)).exists()
    };
    // A filter that matches no test would succeed.
    ensure!(members()?.iter().any(is_of), "no crate has tests/all/{part}.rs");
    command(name, &["--test", "all"], Some(format!("{part}::")), args)
}

fn command(name: &str, targets: &[&str], filter: Option<String>, args: &[&str]) -> Result<Command> {
    let mut command = compile(["test", "--workspace", "--features", "xtask/models"]);
    // Programs built for this machine, for any target name.
    command.arg(format!("--config=target.'cfg(all())'.runner=['{QEMU}', '-cpu', '{name}']"));
    command.args(targets).arg("--").args(filter).args(args);
    command.env("ORT_DYLIB_PATH", tools::onnxruntime_library()?);
    Ok(command)
}

/// Runs the engine tests on a Haswell, with rules at their newest opsets, or prints why they are skipped.
pub(crate) fn as_haswell() -> Result<()> {
    if computes_as_haswell() {
        println!(
            "skipped: this processor has AVX2 and no VNNI, like a Haswell, so the previous steps tested this case"
        );
        return Ok(());
    }
    if !is_there() {
        println!(
            "SKIPPED: {QEMU} is missing (package qemu-user of Debian and Ubuntu); products of 8-bit \
             integers were tested on this processor only"
        );
        return Ok(());
    }
    for mut command in commands(HASWELL, OF_ENGINES, &[])? {
        run(command.env("GRADCAM_NEWEST_OPSETS", "1"))?;
    }
    Ok(())
}

/// Whether the engines use the same kernels here as on a Haswell.
#[cfg(target_arch = "x86_64")]
fn computes_as_haswell() -> bool {
    use std::arch::is_x86_feature_detected as has;
    has!("avx2") && has!("fma") && !has!("avx512f") && !has!("avxvnni")
}

#[cfg(not(target_arch = "x86_64"))]
fn computes_as_haswell() -> bool {
    false
}

fn is_there() -> bool {
    cfg!(target_arch = "x86_64") && tools::version(&mut Command::new(QEMU)).is_some()
}
