//! `cargo xtask python --wheel` and `--sdist`: what is published of the Python package, and its checks.

use std::{
    env, fs,
    path::{Path, PathBuf, absolute},
    process::Command,
};

use anyhow::{Context, Result, ensure};

use crate::{
    python::{PACKAGE, environment, only_file, without_environment},
    run::run,
    tools,
};

/// Where the wheel and the source distribution are put.
const PUBLISHED: &str = "target/published";
/// The environment of the checks, made anew for each interpreter.
const ENVIRONMENT: &str = "target/published-tests";

/// The oldest Linux that the wheel runs on, by its C library: glibc 2.28, as Debian 10, Ubuntu 18.10 and RHEL 8 have it.
const PLATFORM: &str = "manylinux_2_28";
/// The most that each may be.
const MAX_BYTES: u64 = 15_000_000;
/// The package declares this version of NumPy as its oldest, and has to work with it where Python is as old.
const OLDEST_NUMPY: &str = "numpy==1.26.4";

/// Builds the wheel that is published, checks tag and size, and tries it in a clean environment of each interpreter.
pub(crate) fn wheel(pythons: &[&str]) -> Result<()> {
    let zig = tools::zig()?;
    // All crates are optimized as one, which makes the library smaller; a build for this machine alone takes less time.
    let wheel = built(
        Command::new(tools::maturin()?)
            .args(["build", "--release", "--zig", "--compatibility", PLATFORM])
            .args(["--config", "profile.release.lto=\"fat\"", "--compression-level", "9"])
            .arg("--interpreter")
            .arg(tools::python()?)
            .env("CARGO_ZIGBUILD_ZIG_PATH", zig),
    )?;
    let name = wheel.file_name().unwrap_or_default().to_string_lossy();
    let tag = format!("-cp310-abi3-{PLATFORM}_{}.whl", env::consts::ARCH);
    ensure!(name.ends_with(&tag), "the wheel is called {name}; it must end in {tag}");
    check_size(&wheel)?;
    match pythons {
        [] => try_install(&tools::python()?, &wheel),
        several => several.iter().try_for_each(|python| try_install(Path::new(python), &wheel)),
    }
}

/// Builds the source distribution, checks its size, and installs it as people do who have Rust.
pub(crate) fn sdist() -> Result<()> {
    let sdist = built(Command::new(tools::maturin()?).arg("sdist"))?;
    check_size(&sdist)?;
    try_install(&tools::python()?, &sdist)
}

/// Runs maturin, and gives the only file that it makes.
fn built(maturin: &mut Command) -> Result<PathBuf> {
    if Path::new(PUBLISHED).exists() {
        fs::remove_dir_all(PUBLISHED)?;
    }
    run(maturin
        .args(["--manifest-path", &format!("{PACKAGE}/Cargo.toml"), "--out", PUBLISHED])
        .env("CARGO", env::var_os("CARGO").unwrap_or_else(|| "cargo".into())))?;
    only_file(PUBLISHED)
}

fn check_size(file: &Path) -> Result<()> {
    let bytes = fs::metadata(file)?.len();
    println!("{}: {:.2} MB", file.display(), bytes as f64 / 1e6);
    ensure!(bytes <= MAX_BYTES, "{} has {bytes} bytes; the limit is {MAX_BYTES}", file.display());
    Ok(())
}

/// Installs a file with NumPy and Pillow alone, and explains a photo with what was installed.
fn try_install(python: &Path, file: &Path) -> Result<()> {
    let version = tools::version(&mut Command::new(python))
        .with_context(|| format!("no Python runs as {}", python.display()))?;
    let numpy = if version.contains("Python 3.10.") { OLDEST_NUMPY } else { "numpy" };
    let python = environment(ENVIRONMENT, python)?;
    let install = || {
        let mut pip = without_environment(&python);
        pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]);
        pip
    };
    run(install().args(["--only-binary", ":all:", numpy, "pillow"]))?;
    // A build from source finds what was compiled before.
    run(install().arg(file).env("CARGO_TARGET_DIR", absolute("target")?))?;
    run(without_environment(&python).arg(format!("{PACKAGE}/try_install.py")))
}
