//! `cargo xtask python`: builds the wheel of the Python package and tests it in an environment of its own.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};

use crate::{
    run::run,
    tools::{self, made_by_venv},
};

/// The package's folder.
pub(crate) const PACKAGE: &str = "crates/gradcam-python";
/// The environment of the tests, made anew each time.
const ENVIRONMENT: &str = "target/python-tests";
/// Where the wheel is put.
const WHEELS: &str = "target/wheels";

/// What the tests need. The package itself brings NumPy.
const REQUIREMENTS: &[&str] =
    &["mypy==2.4.1", "numpy==2.4.6", "onnxruntime==1.32.0", "pillow==13.0.0", "pytest==9.2.0"];

/// Builds the wheel, installs it with what the tests need, and runs the tests.
pub(crate) fn test() -> Result<()> {
    let wheel = wheel()?;
    let python = environment(ENVIRONMENT, &tools::python()?)?;
    run(Command::new(&python)
        .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"])
        .args(["--only-binary", ":all:"])
        .args(REQUIREMENTS)
        .arg(&wheel))?;
    run(without_environment(&python).args([
        "-m",
        "mypy",
        "--strict",
        "--package",
        "onnx_gradcam",
    ]))?;
    let allowlist = format!("{PACKAGE}/stubtest-allowlist.txt");
    run(without_environment(&python).args([
        "-m",
        "mypy.stubtest",
        "onnx_gradcam",
        "--allowlist",
        &allowlist,
    ]))?;
    run(without_environment(&python).args(["-m", "pytest", "--quiet", PACKAGE]))
}

/// Makes an environment anew, and gives its Python.
pub(crate) fn environment(folder: &str, python: &Path) -> Result<PathBuf> {
    run(Command::new(python).args(["-m", "venv", "--clear", folder]))?;
    let python = made_by_venv(Path::new(folder));
    let python = python.into_iter().find(|python| python.is_file());
    python.with_context(|| format!("no Python in {folder}"))
}

/// A Python that finds ONNX Runtime and modules in its own environment alone.
pub(crate) fn without_environment(python: &Path) -> Command {
    let mut command = Command::new(python);
    command.env_remove("ORT_DYLIB_PATH").env_remove("VIRTUAL_ENV").env_remove("PYTHONPATH");
    command
}

/// Builds the wheel with the profile of all checks, whose dependencies other checks have compiled.
fn wheel() -> Result<PathBuf> {
    let maturin = tools::maturin()?;
    if Path::new(WHEELS).exists() {
        fs::remove_dir_all(WHEELS)?;
    }
    // The wheel is for this machine, so it may use its C library.
    run(Command::new(maturin)
        .args(["build", "--release", "--config", ".cargo/checks.toml", "--compatibility", "linux"])
        .args(["--manifest-path", &format!("{PACKAGE}/Cargo.toml"), "--out", WHEELS])
        .arg("--interpreter")
        .arg(tools::python()?)
        .env("CARGO", env::var_os("CARGO").unwrap_or_else(|| "cargo".into())))?;
    let wheel = only_file(WHEELS)?;
    println!("{}: {:.1} MB", wheel.display(), fs::metadata(&wheel)?.len() as f64 / 1e6);
    Ok(wheel)
}

/// The file of a folder that has one.
pub(crate) fn only_file(folder: &str) -> Result<PathBuf> {
    let files: Vec<PathBuf> =
        fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
    ensure!(files.len() == 1, "{} files in {folder}", files.len());
    files.into_iter().next().context("no file")
}
