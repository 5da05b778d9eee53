//! Checks the published packages: their size and contents, and that they compile.

use std::{fmt::Write as _, fs, path::Path, process::Command};

use anyhow::{Context, Result, ensure};

use crate::run::{cargo, compile, members, run};

/// The registry's size limit.
const MAX_BYTES: u64 = 10 * 1024 * 1024;

const FOLDER: &str = "target/package";

/// Packages the published crates and compiles them together from their packages, so they find each other without a
/// registry. The verification of `cargo package` would compile everything again.
pub(crate) fn check() -> Result<()> {
    let mut published = members()?;
    published.retain(|member| member.published);
    let mut package = cargo(["package", "--allow-dirty", "--no-verify", "--target-dir", "target"]);
    for member in &published {
        package.args(["--package", &member.name]);
    }
    run(&mut package)?;
    let version = env!("CARGO_PKG_VERSION");
    let (mut folders, mut patches) = (Vec::new(), String::new());
    for member in &published {
        let (name, folder) = (&member.name, format!("{}-{version}", member.name));
        let path = Path::new(FOLDER).join(format!("{folder}.crate"));
        let bytes = fs::metadata(&path)?.len();
        println!("{folder}.crate: {bytes} bytes");
        ensure!(
            bytes <= MAX_BYTES,
            "{folder}.crate has {bytes} bytes; the limit is {MAX_BYTES}: exclude files with `exclude` in its \
             Cargo.toml"
        );
        run(Command::new("tar").args(["-xzf"]).arg(&path).args(["-C", FOLDER]))?;
        writeln!(patches, "{name} = {{ path = \"{folder}\" }}")?;
        folders.push(folder);
    }
    let root = fs::read_to_string("Cargo.toml")?;
    let profiles =
        root.find("[profile.").and_then(|start| root.get(start..)).context("no profile")?;
    let manifest = format!(
        "[workspace]\nresolver = \"3\"\nmembers = {folders:?}\n\n[patch.crates-io]\n{patches}\n{profiles}"
    );
    fs::write(Path::new(FOLDER).join("Cargo.toml"), manifest)?;
    fs::copy("Cargo.lock", Path::new(FOLDER).join("Cargo.lock"))?;
    let place = format!("{FOLDER}/Cargo.toml");
    run(&mut compile(["check", "--workspace", "--manifest-path", &place, "--target-dir", "target"]))
}
