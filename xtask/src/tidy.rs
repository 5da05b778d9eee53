//! Rules for repository files that rustfmt and clippy do not check.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Result, bail};

use crate::cycles;

const MAX_LINES: usize = 500;
const MAX_BYTES: u64 = 1_000_000;

/// Files that may exceed the limit, with forward slashes.
const LARGE: &[&str] = &["crates/gradcam-cli/assets/efficientnet_lite0.onnx"];
const GENERATED: &[&str] = &["crates/onnx-grad/src/proto/onnx.rs"];

/// Extensions of files that must not have tabs or trailing spaces.
const TEXT: &[&str] = &["css", "html", "js", "md", "py", "pyi", "rs", "sh", "toml", "yml"];

/// Lints are disabled with `expect`; these forms would bypass that rule.
const FORBIDDEN: &[(&str, &str)] = &[
    (concat!("#[", "ignore"), "a test that does not run is deleted or repaired"),
    (concat!("todo", "!("), "unfinished code stays on its branch"),
    (concat!("unimplemented", "!("), "unfinished code stays on its branch"),
];

/// Checks every file below the root and reports all faults together.
pub(crate) fn check() -> Result<()> {
    let mut files = Vec::new();
    walk(Path::new("."), &mut files)?;
    let (mut faults, mut sources) = (Vec::new(), Vec::new());
    for path in &files {
        let name = path.to_string_lossy().replace('\\', "/");
        let name = name.trim_start_matches("./");
        let bytes = fs::metadata(path)?.len();
        if bytes > MAX_BYTES && !LARGE.contains(&name) {
            faults.push(format!("{name}: {bytes} bytes, more than {MAX_BYTES}"));
        }
        let extension = path.extension().unwrap_or_default().to_string_lossy();
        if !TEXT.contains(&extension.as_ref()) || GENERATED.contains(&name) {
            continue;
        }
        match fs::read_to_string(path) {
            Ok(text) => {
                faults.extend(faults_of(name, &extension, &text));
                if extension == "rs" {
                    sources.push((name.to_owned(), text));
                }
            }
            Err(error) => faults.push(format!("{name}: {error}")),
        }
    }
    faults.extend(cycles::faults(&sources));
    if faults.is_empty() {
        println!("{} files are tidy", files.len());
        return Ok(());
    }
    bail!("untidy:\n{}", faults.join("\n"))
}

/// Every file except generated ones: build folders, caches, Python environments, dot folders.
fn walk(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let (kind, path, name) = (entry.file_type()?, entry.path(), entry.file_name());
        let name = name.to_string_lossy();
        let made = name.starts_with('.') && ![".cargo", ".ci"].contains(&name.as_ref())
            || ["__pycache__", "node_modules"].contains(&name.as_ref())
            // Cargo marks its build folders with this file.
            || path.join("CACHEDIR.TAG").exists()
            || path.join("pyvenv.cfg").exists();
        if kind.is_file() {
            files.push(path);
        } else if kind.is_dir() && !made {
            walk(&path, files)?;
        }
    }
    files.sort();
    Ok(())
}

/// The faults of one text.
fn faults_of(name: &str, extension: &str, text: &str) -> Vec<String> {
    let mut faults = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let mut fault = |what: &str| faults.push(format!("{name}:{}: {what}", index + 1));
        if line.contains('\t') {
            fault("a tab");
        }
        if line.ends_with(' ') {
            fault("space at the end of the line");
        }
        if extension == "rs" {
            for (pattern, why) in FORBIDDEN {
                if line.contains(pattern) {
                    fault(&format!("{pattern}: {why}"));
                }
            }
        }
    }
    if !text.is_empty() && !text.ends_with('\n') {
        faults.push(format!("{name}: no newline at the end"));
    }
    if extension == "rs" {
        if !text.starts_with("//!") {
            faults.push(format!("{name}:1: does not start with a //! description of the file"));
        }
        let lines = text.lines().count();
        if lines > MAX_LINES {
            faults.push(format!("{name}: {lines} lines, more than {MAX_LINES}; split it"));
        }
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_rule_finds_its_fault() {
        let long = format!("//! Long.\n{}", "\n".repeat(MAX_LINES));
        let skipped = format!("//! A.\n{}]\n", concat!("#[", "ignore"));
        for (text, fault) in [
            ("//! A.\nfn a() {}\n", ""),
            ("fn a() {}\n", "a.rs:1: does not start with a //!"),
            ("//! A.\n\tb\n", "a.rs:2: a tab"),
            ("//! A. \n", "a.rs:1: space at the end"),
            ("//! A.", "a.rs: no newline"),
            (&long, "a.rs: 501 lines"),
            (&skipped, "a.rs:2: #["),
        ] {
            let faults = faults_of("a.rs", "rs", text);
            assert_eq!(faults.len(), usize::from(!fault.is_empty()), "{text:?}: {faults:?}");
            assert!(faults.iter().all(|found| found.starts_with(fault)), "{text:?}: {faults:?}");
        }
    }
}
