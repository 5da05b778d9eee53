//! `cargo xtask cpu`: tests as another processor, which QEMU's user mode plays.
//!
//! Kernels differ by instruction set, so what passes here may fail elsewhere: products of 8-bit integers saturate on
//! processors with AVX2 and without VNNI, such as Haswell, and are exact on older ones, such as Nehalem.

use std::{path::Path, process::Command};

use anyhow::{Result, ensure};

use crate::{
    run::{Member, compile, members, run},
    tools,
};

const QEMU: &str = "qemu-x86_64";

/// Where kernels saturate, as a processor without what QEMU has not, which it would say of every process.
const HASWELL: &str = "Haswell-noTSX,-invpcid,-pcid,-x2apic,-tsc-deadline";

/// The tests of engines, rules and quantized models.
const OF_ENGINES: &[&str] = &["lib", "engine", "engine_calls", "processors", "quantized", "rules"];

/// Runs tests as a processor that QEMU knows by `name`: `lib` is those inside the crates, other words before `--` are
/// modules of the tests beside them. Without words it is all that are no examples in documentation.
pub(crate) fn test(name: &str, words: &[&str]) -> Result<()> {
    ensure!(is_there(), "this needs {QEMU}, which Debian and Ubuntu have in the package qemu-user");
    let (parts, args) = match words.iter().position(|word| *word == "--") {
        Some(place) => (&words[..place], &words[place + 1..]),
        None => (words, &[][..]),
    };
    let name = if name == "Haswell" { HASWELL } else { name };
    commands(name, parts, args)?.iter_mut().try_for_each(run)
}

/// A command for each part, because test programs take one name to look for.
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
    // A name that no test has would pass.
    ensure!(members()?.iter().any(is_of), "no crate has tests/all/{part}.rs");
    command(name, &["--test", "all"], Some(format!("{part}::")), args)
}

fn command(name: &str, targets: &[&str], filter: Option<String>, args: &[&str]) -> Result<Command> {
    let mut command = compile(["test", "--workspace", "--features", "xtask/models"]);
    // Programs that are built for this machine, whatever its target is called.
    command.arg(format!("--config=target.'cfg(all())'.runner=['{QEMU}', '-cpu', '{name}']"));
    command.args(targets).arg("--").args(filter).args(args);
    command.env("ORT_DYLIB_PATH", tools::onnxruntime_library()?);
    Ok(command)
}

/// Runs the tests of engines as a Haswell, rules at their newest opsets, or says why they are not run.
pub(crate) fn as_haswell() -> Result<()> {
    if computes_as_haswell() {
        println!(
            "not run: this processor has AVX2 and no VNNI, as a Haswell; the tests before this step were it"
        );
        return Ok(());
    }
    if !is_there() {
        println!(
            "NOT RUN: there is no {QEMU} (Debian and Ubuntu have it in the package qemu-user); products of 8-bit \
             integers were tested on this processor alone"
        );
        return Ok(());
    }
    for mut command in commands(HASWELL, OF_ENGINES, &[])? {
        run(command.env("GRADCAM_NEWEST_OPSETS", "1"))?;
    }
    Ok(())
}

/// Whether the engines take the kernels here that they take on a Haswell.
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
