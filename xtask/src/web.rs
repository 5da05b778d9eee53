//! `cargo xtask web`: builds the page as a folder that any static host serves; `--check` tests it in Chromium.

mod local;

use std::{
    env,
    ffi::OsString,
    fs,
    hash::{DefaultHasher, Hash, Hasher},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, ensure};
use wasm_bindgen_cli_support::Bindgen;

use crate::run::{compile, root, run};

/// The page's own files.
const SOURCE: &str = "web";
/// The folder that is served.
const PAGE: &str = "target/page";
/// Where the crate is compiled.
const BUILD: &str = "target/web";
/// Where the browser's tests are installed, and what they read.
const TESTS: &str = "target/page-tests";
/// The model and the photo that the page begins with.
const EXAMPLES: [&str; 2] = [
    "crates/gradcam-cli/assets/efficientnet_lite0.onnx",
    "crates/gradcam-cli/assets/cat_over_coffee.png",
];
/// What the page is measured beside.
const PEER: &str = "onnxruntime-web@1.30.0";
const TARGET: &str = "wasm32-unknown-unknown";

/// Builds the page.
pub(crate) fn build() -> Result<()> {
    build_with(&Toolchain::find()?)
}

/// Builds the page and tests it in Chromium. Where that cannot be done, it says what is missing; with `required` it fails.
pub(crate) fn check(required: bool) -> Result<()> {
    match Browser::find() {
        Ok(browser) => browser.node(&["--test", "--test-concurrency=1"], &[]),
        Err(missing) if !required => {
            println!("the page is not tested: {missing:#}");
            Ok(())
        }
        Err(missing) => Err(missing),
    }
}

/// Builds the page and measures it in Chromium.
pub(crate) fn figures() -> Result<()> {
    Browser::find()?.node(&["figures.mjs"], &[PEER])
}

/// What tests of the page need.
struct Browser {
    toolchain: Toolchain,
    chromium: PathBuf,
}

impl Browser {
    fn find() -> Result<Self> {
        ensure!(on_path("node").is_some() && on_path("npm").is_some(), "no Node.js with npm");
        Ok(Self { toolchain: Toolchain::find()?, chromium: chromium()? })
    }

    /// Builds the page, and runs Node.js in the folder of its tests, where packages are installed.
    fn node(&self, args: &[&str], packages: &[&str]) -> Result<()> {
        build_with(&self.toolchain)?;
        let references = root()?.join(TESTS).join("references");
        let example = ["run", "--quiet", "--package", "gradcam-web", "--example"];
        run(compile(example).args(["page_references", "--"]).arg(&references))?;
        for entry in fs::read_dir(Path::new(SOURCE).join("tests"))? {
            let path = entry?.path();
            if path.is_file() {
                fs::copy(&path, Path::new(TESTS).join(path.file_name().context("no name")?))?;
            }
        }
        run(Command::new("npm")
            .args(["install", "--no-audit", "--no-fund", "--no-package-lock", "--ignore-scripts"])
            .args(packages)
            .current_dir(TESTS))?;
        run(Command::new("node")
            .args(args)
            .current_dir(TESTS)
            .env("ROOT", root()?)
            .env("PAGE", root()?.join(PAGE))
            .env("REFERENCES", references)
            .env("CHROMIUM", &self.chromium))
    }
}

fn build_with(toolchain: &Toolchain) -> Result<()> {
    run(&mut toolchain.command()?)?;
    if Path::new(PAGE).exists() {
        fs::remove_dir_all(PAGE)?;
    }
    fs::create_dir_all(PAGE)?;
    let compiled = Path::new(BUILD).join(TARGET).join("web/gradcam_web.wasm");
    Bindgen::new()
        .input_path(&compiled)
        .web(true)?
        .typescript(false)
        .remove_name_section(true)
        .remove_producers_section(true)
        .generate(PAGE)?;
    let own = fs::read_dir(SOURCE)?.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    for path in own.iter().filter(|path| path.is_file()) {
        copy_into_page(path)?;
    }
    EXAMPLES.iter().try_for_each(|path| copy_into_page(Path::new(path)))?;
    list_files()?;
    let examples = EXAMPLES.iter().filter_map(|path| path.rsplit('/').next());
    let files: Vec<&str> = examples.chain(["gradcam_web_bg.wasm"]).collect();
    local::write(Path::new(PAGE), &files)?;
    println!("{PAGE}: serve it with any web server, such as python3 -m http.server -d {PAGE}");
    Ok(())
}

fn copy_into_page(path: &Path) -> Result<()> {
    fs::copy(path, Path::new(PAGE).join(path.file_name().context("no name")?))?;
    Ok(())
}

/// Writes `files.json`, the files that the service worker keeps, with a version that changes with their bytes.
fn list_files() -> Result<()> {
    let names = fs::read_dir(PAGE)?.map(|entry| Ok(entry?.file_name()));
    let mut names = names.collect::<Result<Vec<OsString>>>()?;
    names.sort();
    let mut hasher = DefaultHasher::new();
    for name in &names {
        (name, fs::read(Path::new(PAGE).join(name))?).hash(&mut hasher);
    }
    let names: Vec<String> = names.iter().map(|name| name.display().to_string()).collect();
    let list =
        serde_json::json!({ "version": format!("{:016x}", hasher.finish()), "files": names });
    fs::write(Path::new(PAGE).join("files.json"), serde_json::to_vec_pretty(&list)?)?;
    Ok(())
}

/// A compiler for WebAssembly.
struct Toolchain {
    cargo: OsString,
    rustc: OsString,
    /// Whether it compiles the standard library too, because it has only the sources.
    builds_std: bool,
    /// The linker, where the compiler does not bring one.
    linker: Option<PathBuf>,
}

impl Toolchain {
    /// That of cargo, or Debian's, whose package rust-web-src has the sources of the standard library.
    fn find() -> Result<Self> {
        let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
        let candidates = [(cargo, rustc), ("/usr/bin/cargo".into(), "/usr/bin/rustc".into())];
        candidates.into_iter().find_map(|(cargo, rustc)| Self::of(cargo, rustc)).context(
            "no Rust for WebAssembly; `rustup target add wasm32-unknown-unknown`, or on Debian \
             `apt install rustc-web cargo-web rust-web-src lld-22`",
        )
    }

    fn of(cargo: OsString, rustc: OsString) -> Option<Self> {
        let sysroot = PathBuf::from(printed(&rustc, &["--print", "sysroot"])?);
        let rustlib = sysroot.join("lib/rustlib");
        let has_std = rustlib.join(TARGET).join("lib").is_dir();
        let builds_std = !has_std && rustlib.join("src/rust/library/std").is_dir();
        let host = printed(&rustc, &["--print", "host-tuple"])?;
        let has_linker = rustlib.join(host).join("bin/rust-lld").is_file();
        let linker = if has_linker { None } else { Some(wasm_linker()?) };
        (has_std || builds_std).then_some(Self { cargo, rustc, builds_std, linker })
    }

    fn command(&self) -> Result<Command> {
        let mut command = Command::new(&self.cargo);
        command
            .args(["build", "--profile", "web", "--package", "gradcam-web", "--lib"])
            .args(["--target", TARGET, "--target-dir", BUILD])
            .env("RUSTC", &self.rustc)
            .env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_RUSTFLAGS", self.flags()?);
        if self.builds_std {
            command.args(["-Z", "build-std=std,panic_abort"]).env("RUSTC_BOOTSTRAP", "1");
        }
        if let Some(linker) = &self.linker {
            command.env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", linker);
        }
        Ok(command)
    }

    /// Vectors of 128 bits, which every browser has; and no folder of this machine in the messages of panics.
    fn flags(&self) -> Result<String> {
        let home = env::var_os("CARGO_HOME").map(PathBuf::from);
        let home = home.or_else(|| Some(env::home_dir()?.join(".cargo")));
        let home = home.context("no home folder")?;
        let folders = [(home.join("registry/src"), "crates"), (root()?.to_owned(), "gradcam")];
        let remapped = folders
            .iter()
            .map(|(from, to)| format!(" --remap-path-prefix={}={to}", from.display()));
        Ok(format!("-Ctarget-feature=+simd128{}", remapped.collect::<String>()))
    }
}

/// What a program prints, without the line feed.
fn printed(program: &OsString, args: &[&str]) -> Option<String> {
    let output = Command::new(program).args(args).stderr(Stdio::null()).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}

/// LLVM's linker for WebAssembly: the newest of those that Debian installs with their version in the name, which can be newer
/// than the one without.
fn wasm_linker() -> Option<PathBuf> {
    let versions = (18..40).rev().map(|version| format!("wasm-ld-{version}"));
    versions.chain(["wasm-ld".to_owned()]).find_map(|name| on_path(&name))
}

fn on_path(name: &str) -> Option<PathBuf> {
    let folders = env::var_os("PATH")?;
    env::split_paths(&folders).map(|folder| folder.join(name)).find(|path| path.is_file())
}

fn chromium() -> Result<PathBuf> {
    let names = ["chromium", "chromium-headless-shell", "google-chrome", "chrome"];
    let named = env::var_os("CHROMIUM").map(PathBuf::from);
    named
        .or_else(|| names.iter().find_map(|name| on_path(name)))
        .context("no Chromium; on Debian `apt install chromium`, or name one with CHROMIUM")
}
