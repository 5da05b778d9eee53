//! Installs the tools that cargo does not provide, once, below `target/`.

use std::{
    fs,
    path::{Path, PathBuf, absolute},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail, ensure};

#[cfg(feature = "models")]
use crate::run::cargo;
use crate::run::run;

#[cfg(feature = "models")]
const CARGO_FUZZ: &str = "0.13.1";
const MATURIN: &str = "1.16.0";
const ONNXRUNTIME: &str = "1.32.0";
const RUFF: &str = "0.17.6";
const ZIG: &str = "0.17.1";

/// Installs ONNX Runtime, ruff and maturin if they are missing.
pub(crate) fn install() -> Result<()> {
    if onnxruntime_library().is_err() {
        python_package("onnxruntime", ONNXRUNTIME)?;
    }
    println!("ONNX Runtime {ONNXRUNTIME}: {}", onnxruntime_library()?.display());
    if ruff().is_err() {
        python_package("ruff", RUFF)?;
    }
    println!("ruff {RUFF}: {}", ruff()?.display());
    if maturin().is_err() {
        python_package("maturin", MATURIN)?;
    }
    println!("maturin {MATURIN}: {}", maturin()?.display());
    Ok(())
}

/// The program in ruff's Python package.
pub(crate) fn ruff() -> Result<PathBuf> {
    python_program("ruff", RUFF)
}

/// The program in maturin's Python package, which builds the wheel of the Python package.
pub(crate) fn maturin() -> Result<PathBuf> {
    python_program("maturin", MATURIN)
}

/// Zig, whose linker makes libraries for older systems, required only by `cargo xtask python --wheel`; installed if that version is
/// missing.
pub(crate) fn zig() -> Result<PathBuf> {
    if python_folder("ziglang", ZIG).is_err() {
        python_package("ziglang", ZIG)?;
    }
    let program =
        python_folder("ziglang", ZIG)?.join(format!("zig{}", std::env::consts::EXE_SUFFIX));
    Ok(absolute(&program)?)
}

/// The program `NAME` of a Python package that `python_package` installed in that version.
fn python_program(name: &str, version: &str) -> Result<PathBuf> {
    let folder = python_folder(name, version)?.with_file_name("bin");
    let program = folder.join(format!("{name}{}", std::env::consts::EXE_SUFFIX));
    ensure!(program.is_file(), "no {name} in {}", folder.display());
    Ok(absolute(&program)?)
}

/// cargo-fuzz, required only by `cargo xtask fuzz`, installed if that version is missing.
#[cfg(feature = "models")]
pub(crate) fn cargo_fuzz() -> Result<PathBuf> {
    let program =
        Path::new("target/tools/bin").join(format!("cargo-fuzz{}", std::env::consts::EXE_SUFFIX));
    let shown = version(&mut Command::new(&program));
    if shown.as_deref() != Some(&format!("cargo-fuzz {CARGO_FUZZ}")) {
        // It runs for seconds without optimization; an optimized build takes minutes.
        run(cargo(["install", "cargo-fuzz", "--version", CARGO_FUZZ, "--locked", "--debug"])
            .args(["--force", "--root", "target/tools"])
            .env("CARGO_PROFILE_DEV_DEBUG", "0"))?;
    }
    Ok(program)
}

/// The shared library in ONNX Runtime's Python package.
pub(crate) fn onnxruntime_library() -> Result<PathBuf> {
    let package = python_folder("onnxruntime", ONNXRUNTIME)?;
    for entry in fs::read_dir(package.join("capi"))? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with("libonnxruntime.") || name == "onnxruntime.dll" {
            return Ok(absolute(&path)?);
        }
    }
    bail!("no library of ONNX Runtime in {}", package.join("capi").display())
}

/// The folder `NAME` of a Python package that `python_package` installed in that version.
pub(crate) fn python_folder(name: &str, version: &str) -> Result<PathBuf> {
    let folder = Path::new("target").join(name);
    let info = folder.join(format!("{name}-{version}.dist-info"));
    ensure!(info.is_dir(), "{name} {version} is not installed in {}", folder.display());
    Ok(folder.join(name))
}

/// Installs a Python package without its dependencies into `target/NAME`. It does not change the
/// user's interpreter, so pip permits it on systems with managed Python packages.
pub(crate) fn python_package(name: &str, version: &str) -> Result<()> {
    let folder = format!("target/{name}");
    if Path::new(&folder).exists() {
        fs::remove_dir_all(&folder)?;
    }
    run(Command::new(python()?)
        .args(["-m", "pip", "install", "--disable-pip-version-check", "--no-deps"])
        .args(["--only-binary", ":all:", "--target", &folder])
        .arg(format!("{name}=={version}")))
}

/// A Python with pip: the user's, or one in `target/venv`.
pub(crate) fn python() -> Result<PathBuf> {
    let has_pip = |python: &Path| version_of_pip(python).is_some();
    let names = [Path::new("python3"), Path::new("python")];
    if let Some(python) = names.into_iter().find(|python| has_pip(python)) {
        return Ok(python.to_owned());
    }
    let venv = Path::new("target/venv");
    let made = made_by_venv(venv);
    if !made.iter().any(|python| has_pip(python)) {
        run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(venv))
            .context("this needs Python 3 with pip or venv")?;
    }
    let found = made.into_iter().find(|python| has_pip(python));
    found.context("the Python of target/venv has no pip; install Python's pip")
}

/// The places of the Python of an environment.
pub(crate) fn made_by_venv(venv: &Path) -> [PathBuf; 2] {
    [venv.join("bin/python3"), venv.join("Scripts/python.exe")]
}

fn version_of_pip(python: &Path) -> Option<String> {
    version(Command::new(python).args(["-m", "pip"]))
}

/// The output of `--version`; `None` if the program does not run.
pub(crate) fn version(command: &mut Command) -> Option<String> {
    let output = command.arg("--version").stderr(Stdio::null()).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}
