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
const REQUIREMENTS: &[&str] = &[
    "mypy==2.4.1",
    "numpy==2.4.6",
    "onnxruntime==1.32.0",
    "pillow==13.0.0",
    "pyarrow==26.0.1",
    "pytest==9.2.0",
];

/// The tests that compare with torch and what is built on it, and their environment, which stays.
const PEERS: &str = "crates/gradcam-python/peers";
const PEERS_ENVIRONMENT: &str = "target/python-peers";

/// Builds the wheel, installs it with what the tests need, and runs the tests.
pub(crate) fn test() -> Result<()> {
    let wheel = wheel()?;
    let python = environment(ENVIRONMENT, &tools::python()?)?;
    run(install(&python).args(["--only-binary", ":all:"]).args(REQUIREMENTS).arg(&wheel))?;
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

/// Builds the wheel, installs it with torch and what is built on it, and compares them; `args` are pytest's.
pub(crate) fn peers(args: &[&str]) -> Result<()> {
    let wheel = wheel()?;
    let python = match python_of(PEERS_ENVIRONMENT) {
        Ok(python) => python,
        Err(_) => environment(PEERS_ENVIRONMENT, &tools::python()?)?,
    };
    run(install(&python).args(["--requirement", &format!("{PEERS}/requirements.txt")]))?;
    // The version of the wheel does not tell it from the one that is there.
    run(install(&python).args(["--force-reinstall", "--no-deps"]).arg(&wheel))?;
    run(without_environment(&python).args(["-m", "pytest", "--quiet", PEERS]).args(args))
}

/// Makes an environment anew, and gives its Python.
pub(crate) fn environment(folder: &str, python: &Path) -> Result<PathBuf> {
    run(Command::new(python).args(["-m", "venv", "--clear", folder]))?;
    python_of(folder)
}

/// The Python of an environment.
fn python_of(environment: &str) -> Result<PathBuf> {
    let python = made_by_venv(Path::new(environment)).into_iter().find(|python| python.is_file());
    python.with_context(|| format!("no Python in {environment}"))
}

/// An installation into the environment of a Python.
fn install(python: &Path) -> Command {
    let mut command = Command::new(python);
    command.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]);
    command
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
