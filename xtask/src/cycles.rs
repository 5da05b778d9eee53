//! Import cycles: whether files of a crate import each other, directly or indirectly.
//!
//! An import is a path in a `use` or in code. It refers to the file that defines the named item, through re-exports.
//! A file may import from the modules below it, and tests may import any file.

mod imports;
mod tokens;

use std::collections::{BTreeMap, BTreeSet};

use imports::{Import, Imports, imports};

/// Known cycles to remove: the folder of a crate, and files of its `src/`.
const KNOWN: &[(&str, &[&str])] = &[];

/// The maximum number of re-exports in a path.
const MAX_REEXPORTS: usize = 8;

/// The names of a module from the crate root.
type ModulePath = Vec<String>;

/// The meaning of a path.
enum ImportTarget {
    Module(ModulePath),
    /// The module that defines the item.
    Item(ModulePath),
}

struct SourceModule {
    /// The path below `src/`.
    file: String,
    imports: Imports,
}

#[derive(Default)]
struct Crate {
    modules: BTreeMap<ModulePath, SourceModule>,
}

/// A path in a file to an item of another file in the crate.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
struct Edge {
    from: String,
    to: String,
    line: usize,
    path: String,
}

/// A message for each cycle among Rust files (name and text) that is not in `KNOWN`, and for each row of `KNOWN` that
/// is not a cycle.
pub(crate) fn faults(files: &[(String, String)]) -> Vec<String> {
    faults_beside(files, KNOWN)
}

fn faults_beside(files: &[(String, String)], known: &[(&str, &[&str])]) -> Vec<String> {
    let mut crates: BTreeMap<&str, Crate> = BTreeMap::new();
    for (name, text) in files {
        if let Some((folder, file)) = name.split_once("/src/") {
            let module = SourceModule { file: file.to_owned(), imports: imports(text) };
            crates.entry(folder).or_default().modules.insert(module_path(file), module);
        }
    }
    let mut faults = Vec::new();
    let mut met = BTreeSet::new();
    for (folder, files) in &crates {
        let edges = files.edges();
        for cycle in cycles(&edges) {
            let row = known.iter().position(|(name, files)| {
                name == folder && cycle.iter().eq(files.iter().collect::<BTreeSet<_>>())
            });
            match row {
                Some(row) => _ = met.insert(row),
                None => faults.push(message(folder, &cycle, &edges)),
            }
        }
    }
    for (row, (folder, files)) in known.iter().enumerate() {
        if !met.contains(&row) {
            faults.push(format!(
                "xtask/src/cycles.rs: {} of {folder} are not a cycle; delete their row of KNOWN",
                files.join(", ")
            ));
        }
    }
    faults
}

fn message(folder: &str, cycle: &BTreeSet<&str>, edges: &[Edge]) -> String {
    let mut imports: BTreeMap<(&str, &str), (usize, Vec<&str>)> = BTreeMap::new();
    for Edge { from, to, line, path } in edges {
        if cycle.contains(from.as_str()) && cycle.contains(to.as_str()) {
            let (_, paths) = imports.entry((from, to)).or_insert((*line, Vec::new()));
            if !paths.contains(&path.as_str()) {
                paths.push(path);
            }
        }
    }
    let files: Vec<&str> = cycle.iter().copied().collect();
    let mut message = format!(
        "{folder}/src: {} import each other; move what both sides need, such as a type, to a file of its own:",
        files.join(", ")
    );
    for ((from, to), (line, paths)) in imports {
        message += &format!("\n  {folder}/src/{from}:{line}: imports {} of {to}", paths.join(", "));
    }
    message
}

/// The strongly connected components with more than one file.
fn cycles(edges: &[Edge]) -> Vec<BTreeSet<&str>> {
    let mut reached: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for edge in edges {
        let files = reached.entry(&edge.from).or_default();
        let mut open = vec![edge.to.as_str()];
        while let Some(file) = open.pop() {
            if files.insert(file) {
                open.extend(edges.iter().filter(|next| next.from == file).map(|next| &*next.to));
            }
        }
    }
    let cycles: BTreeSet<BTreeSet<&str>> = reached
        .iter()
        .filter(|(file, files)| files.contains(*file))
        .map(|(file, files)| {
            let back = |other: &&str| reached.get(other).is_some_and(|files| files.contains(file));
            files.iter().copied().filter(back).collect()
        })
        .collect();
    cycles.into_iter().collect()
}

/// `a/b.rs` and `a/b/mod.rs` are `[a, b]`; `lib.rs` and `main.rs` are the root.
fn module_path(file: &str) -> ModulePath {
    let path = file.trim_end_matches(".rs").trim_end_matches("/mod");
    match path {
        "lib" | "main" => Vec::new(),
        _ => path.split('/').map(str::to_owned).collect(),
    }
}

impl Crate {
    /// Sorted imports, without those from a file to modules below it and those of tests.
    fn edges(&self) -> Vec<Edge> {
        let mut edges: Vec<Edge> = Vec::new();
        for (here, module) in self.modules.iter().filter(|(path, _)| !self.is_test(path)) {
            for import in &module.imports.paths {
                let scope = [here.as_slice(), &import.within].concat();
                let everything = import.name.as_deref() == Some("*");
                let there = match self.resolve(&scope, &import.path, 0) {
                    Some(ImportTarget::Item(there)) => there,
                    // A module path is a prefix of other paths, which are checked themselves.
                    Some(ImportTarget::Module(there)) if everything => there,
                    _ => continue,
                };
                if !there.starts_with(here)
                    && let Some(other) = self.modules.get(&there)
                {
                    let path = import.path.join("::");
                    let (from, to) = (module.file.clone(), other.file.clone());
                    edges.push(Edge { from, to, line: import.line, path });
                }
            }
        }
        edges.sort();
        edges
    }

    /// Whether a module is named `tests` or compiled only for tests, or is below such a module.
    fn is_test(&self, path: &[String]) -> bool {
        (0..path.len()).any(|parents| {
            let parent = self.modules.get(&path[..parents]);
            path[parents] == "tests"
                || parent.is_some_and(|module| module.imports.tests.contains(&path[parents]))
        })
    }

    /// The target of a path in a module; `None` for external or unimported names.
    fn resolve(&self, scope: &[String], path: &[String], reexports: usize) -> Option<ImportTarget> {
        let (start, mut rest) = match path.first()?.as_str() {
            "crate" => (&[][..], &path[1..]),
            "self" => (scope, &path[1..]),
            "super" => (scope, path),
            name => {
                let is_child = self.modules.contains_key(&[scope, &path[..1]].concat());
                let is_known =
                    is_child || self.imported(scope, name, path.len() == 1, reexports).is_some();
                (scope, if is_known { path } else { return None })
            }
        };
        let mut here = start.to_vec();
        while let Some((name, after)) = rest.split_first() {
            rest = after;
            if name == "super" {
                here.pop();
                continue;
            }
            here.push(name.clone());
            if self.modules.contains_key(&here) {
                continue;
            }
            here.pop();
            match self.imported(&here, name, rest.is_empty(), reexports) {
                Some(ImportTarget::Module(there)) => here = there,
                Some(target) => return Some(target),
                None => {
                    // Inline modules belong to their file.
                    while !self.modules.contains_key(&here) {
                        here.pop()?;
                    }
                    return Some(ImportTarget::Item(here));
                }
            }
        }
        Some(ImportTarget::Module(here))
    }

    /// The target of an imported name, at the end of a path or before it; `None` if the module defines the name or
    /// imports it from another crate.
    fn imported(
        &self,
        module: &[String],
        name: &str,
        at_end: bool,
        reexports: usize,
    ) -> Option<ImportTarget> {
        let imports = &self.modules.get(module)?.imports;
        if reexports == MAX_REEXPORTS {
            return None;
        }
        let called = |name| {
            let is_called = move |import: &&Import| import.name.as_deref() == Some(name);
            imports.paths.iter().filter(is_called).filter_map(|import| {
                let scope = [module, &import.within].concat();
                self.resolve(&scope, &import.path, reexports + 1)
            })
        };
        // A function can have the name of a module; before `::` the name is the module.
        let (modules, items): (Vec<_>, Vec<_>) =
            called(name).partition(|target| matches!(target, ImportTarget::Module(_)));
        let (first, second) = if at_end { (items, modules) } else { (modules, items) };
        let named = first.into_iter().chain(second).next();
        if named.is_some() || imports.items.contains(name) {
            return named;
        }
        called("*").find_map(|target| {
            let ImportTarget::Module(there) = target else { return None };
            let defines = self.modules.get(&there)?.imports.items.contains(name);
            let deeper = || self.imported(&there, name, at_end, reexports + 1);
            if defines { Some(ImportTarget::Item(there)) } else { deeper() }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The imports that form cycles among files of `a/src/`, as `from -> to`.
    #[track_caller]
    fn check(files: &[(&str, &str)], known: &[(&str, &[&str])], expected: &[&str]) {
        let files: Vec<(String, String)> = files
            .iter()
            .map(|(name, text)| (format!("a/src/{name}"), (*text).to_owned()))
            .collect();
        let faults = faults_beside(&files, known).join("\n");
        let found: Vec<String> = faults
            .lines()
            .map(|line| match line.strip_prefix("  a/src/") {
                Some(line) => {
                    let (from, to) = line.split_once(':').unwrap();
                    format!("{from} -> {}", to.rsplit(' ').next().unwrap())
                }
                None => line.split(';').next().unwrap().to_owned(),
            })
            .collect();
        assert_eq!(found, expected, "{files:#?}");
    }

    const CIRCLE: &[&str] =
        &["a/src: x.rs, y.rs import each other", "x.rs -> y.rs", "y.rs -> x.rs"];

    #[test]
    fn two_files_that_import_each_other_are_a_cycle() {
        check(&[("x.rs", "use crate::y::Y;"), ("y.rs", "use super::x::X;")], &[], CIRCLE);
        check(&[("x.rs", "use crate::y::Y;"), ("y.rs", "use super::z::Z;")], &[], &[]);
    }

    #[test]
    fn a_path_in_code_counts_like_a_use() {
        check(&[("x.rs", "fn g() { crate::y::f() }"), ("y.rs", "use crate::x::*;")], &[], CIRCLE);
        let by_module = "use crate::y; fn f() { y::f() }";
        check(&[("x.rs", by_module), ("y.rs", "use crate::x::X;")], &[], CIRCLE);
        check(&[("x.rs", "/// [`crate::y::Y`]\n"), ("y.rs", "use crate::x::X;")], &[], &[]);
    }

    #[test]
    fn an_import_is_one_of_the_file_that_defines_the_item() {
        let lib = ("lib.rs", "mod x; mod y; pub use x::X; use crate::y::Y as Z;");
        check(&[lib, ("x.rs", "use super::Z;"), ("y.rs", "use crate::X;")], &[], CIRCLE);
        let all = ("lib.rs", "mod x; mod y; pub use x::*; use y::Y;");
        let x = ("x.rs", "use crate::Y; struct X;");
        check(&[all, x, ("y.rs", "use crate::X;")], &[], CIRCLE);
        let files = [
            ("lib.rs", "mod w; mod y; use y::Y;"),
            ("w.rs", "mod x; use super::Y;"),
            ("w/x.rs", "use super::Y;"),
            ("y.rs", "use crate::w::x::X;"),
        ];
        let cycle = ["a/src: w/x.rs, y.rs import each other", "w/x.rs -> y.rs", "y.rs -> w/x.rs"];
        check(&files, &[], &cycle);
    }

    #[test]
    fn a_function_may_have_the_name_of_a_module() {
        let both = "use crate::{z::y, y}; fn f() { y::g(y()) }";
        let files = [("x.rs", both), ("y.rs", "use crate::x::X;"), ("z.rs", "fn y() {}")];
        check(&files, &[], CIRCLE);
    }

    #[test]
    fn a_name_of_another_crate_is_not_an_import() {
        let x = ("x.rs", "use y::Y; use z::z; fn f() { z::z(); std::y::g() }");
        check(&[x, ("y.rs", "use crate::x::X;")], &[], &[]);
    }

    #[test]
    fn a_file_may_use_the_modules_below_it() {
        let parent = ("x.rs", "mod y; use y::Y; struct X;");
        check(&[parent, ("x/y.rs", "use super::X;")], &[], &[]);
        let files = [parent, ("x/y.rs", "use crate::z::Z;"), ("z.rs", "use crate::x::y::Y;")];
        let cycle = ["a/src: x/y.rs, z.rs import each other", "x/y.rs -> z.rs", "z.rs -> x/y.rs"];
        check(&files, &[], &cycle);
    }

    #[test]
    fn tests_may_import_any_file() {
        let x = ("x.rs", "use crate::y::Y;");
        check(&[x, ("y.rs", "#[cfg(test)] mod tests { use crate::x::X; }")], &[], &[]);
        check(&[x, ("y.rs", "mod tests;"), ("y/tests.rs", "use crate::x::X;")], &[], &[]);
        let lib = ("lib.rs", "#[cfg(test)] mod y;");
        check(&[lib, x, ("y.rs", "use crate::x::X;")], &[], &[]);
    }

    #[test]
    fn a_longer_cycle_is_one_cycle() {
        check(
            &[
                ("x.rs", "use crate::y::Y;"),
                ("y.rs", "use crate::z::Z;"),
                ("z.rs", "use super::x::X;"),
            ],
            &[],
            &[
                "a/src: x.rs, y.rs, z.rs import each other",
                "x.rs -> y.rs",
                "y.rs -> z.rs",
                "z.rs -> x.rs",
            ],
        );
    }

    #[test]
    fn a_known_cycle_is_allowed_until_it_is_removed() {
        let x = ("x.rs", "use crate::y::Y;");
        let known: &[(&str, &[&str])] = &[("a", &["x.rs", "y.rs"])];
        check(&[x, ("y.rs", "use crate::x::X;")], known, &[]);
        let dissolved = "xtask/src/cycles.rs: x.rs, y.rs of a are not a cycle";
        check(&[x, ("y.rs", "")], known, &[dissolved]);
    }
}
