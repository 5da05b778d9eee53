//! Checks the dependencies: permissive licenses, one registry, explicit versions.
//!
//! Advisories are not checked, because they change independent of commits.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use spdx::{Expression, ParseMode};

use crate::run::{cargo, show};

/// The accepted licenses. Remove a license that no crate uses.
const ALLOWED: &[&str] = &[
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "ISC",
    "MIT",
    "Unicode-3.0",
    "Zlib",
];

/// The output of `cargo metadata`.
#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    version: String,
    license: Option<String>,
    /// `None` for a crate in this workspace.
    source: Option<String>,
    dependencies: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    name: String,
    req: String,
    path: Option<String>,
}

/// Fails with each rejected crate and the reason, with all features enabled.
pub(crate) fn check() -> Result<()> {
    let mut command = cargo(["metadata", "--format-version", "1", "--all-features", "--locked"]);
    println!("$ {}", show(&command));
    let output = command.output().context("cannot start cargo")?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Metadata = serde_json::from_slice(&output.stdout)?;
    for (name, versions) in several(&metadata.packages) {
        println!("note: {name} has several versions: {}", versions.join(", "));
    }
    let wrong = wrong(&metadata.packages);
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    println!("{} crates", metadata.packages.len());
    Ok(())
}

/// A line for each violation.
fn wrong(packages: &[Package]) -> Vec<String> {
    let mut lines = Vec::new();
    let mut used = BTreeSet::new();
    let registries: BTreeSet<&str> =
        packages.iter().filter_map(|package| package.source.as_deref()).collect();
    let registry = registries.iter().find(|source| source.starts_with("registry+"));
    for package in packages {
        let crate_ = format!("{} {}", package.name, package.version);
        if let Err(why) = permissive(package.license.as_deref().unwrap_or_default(), &mut used) {
            lines.push(format!("{crate_}: {why}"));
        }
        match package.source.as_deref() {
            Some(source) if Some(&source) != registry => {
                lines.push(format!("{crate_} comes from {source}, not from the common registry"));
            }
            Some(_) => {}
            None => lines.extend(
                package
                    .dependencies
                    .iter()
                    .filter(|dependency| dependency.req == "*" && dependency.path.is_none())
                    .map(|dependency| {
                        format!("{crate_} accepts any version of {}", dependency.name)
                    }),
            ),
        }
    }
    let unused = ALLOWED.iter().filter(|license| !used.contains(**license));
    lines.extend(unused.map(|license| format!("no crate has the license {license} anymore")));
    lines
}

/// Whether the accepted licenses satisfy a license expression; records the licenses used.
fn permissive(license: &str, used: &mut BTreeSet<&'static str>) -> Result<(), String> {
    let expression = Expression::parse_mode(license, ParseMode::LAX)
        .map_err(|error| format!("its license \"{license}\" is invalid: {}", error.reason))?;
    let allowed = |wanted: &str| ALLOWED.iter().find(|allowed| **allowed == wanted);
    let met = expression.evaluate(|requirement| {
        let found = allowed(&requirement.to_string());
        used.extend(found);
        found.is_some()
    });
    if met {
        Ok(())
    } else {
        Err(format!("its license is {license}; allowed: {}", ALLOWED.join(", ")))
    }
}

/// Crates with several versions, which increase compile time.
fn several(packages: &[Package]) -> BTreeMap<&str, Vec<&str>> {
    let mut versions: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for package in packages {
        versions.entry(&package.name).or_default().push(&package.version);
    }
    versions.retain(|_, versions| versions.len() > 1);
    versions
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(license: &str, source: Option<&str>, req: &str) -> Package {
        let dependency = Dependency { name: "other".to_owned(), req: req.to_owned(), path: None };
        Package {
            name: "one".to_owned(),
            version: "1.0.0".to_owned(),
            license: Some(license.to_owned()),
            source: source.map(str::to_owned),
            dependencies: vec![dependency],
        }
    }

    #[test]
    fn violations_are_named() {
        let registry = Some("registry+one");
        let every = ALLOWED.join(" AND ");
        let with = |other: Package| {
            let mut lines = wrong(&[package(&every, registry, "1"), other]);
            assert!(lines.len() < 2, "{lines:?}");
            lines.pop().unwrap_or_default()
        };
        assert_eq!(with(package("GPL-3.0-only OR MIT", registry, "1")), "");
        assert_eq!(with(package("MIT/Apache-2.0", registry, "*")), "");
        assert!(with(package("MIT AND GPL-3.0-only", registry, "1")).contains("its license is"));
        assert!(with(package("", registry, "1")).contains("is invalid"));
        assert!(with(package("MIT", Some("git+two"), "1")).contains("comes from git+two"));
        assert!(
            with(package("MIT", Some("registry+two"), "1")).contains("comes from registry+two")
        );
        assert_eq!(with(package("MIT", None, "*")), "one 1.0.0 accepts any version of other");
        let unused = wrong(&[package("MIT", registry, "1")]);
        assert_eq!(unused.len(), ALLOWED.len() - 1, "{unused:?}");
    }
}
