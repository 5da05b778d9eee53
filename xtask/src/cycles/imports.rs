//! The imports of one Rust file: its `use` trees and the paths in its code, except in its inline tests.

use std::collections::BTreeSet;

use super::tokens::{Token, tokens};

/// A path in a file, as written.
#[derive(Debug, PartialEq)]
pub(super) struct Import {
    pub(super) line: usize,
    /// The enclosing inline modules, outermost first.
    pub(super) within: Vec<String>,
    pub(super) path: Vec<String>,
    /// The name that a `use` binds; `*` for a glob.
    pub(super) name: Option<String>,
}

#[derive(Debug, Default)]
pub(super) struct Imports {
    pub(super) paths: Vec<Import>,
    /// Names of functions, types, constants and macros defined in the file.
    pub(super) items: BTreeSet<String>,
    /// Modules in separate files that are compiled only for tests.
    pub(super) tests: BTreeSet<String>,
}

pub(super) fn imports(text: &str) -> Imports {
    let tokens = tokens(text);
    let mut imports = Imports::default();
    let (mut at, mut depth) = (0, 0_usize);
    // Open inline modules, each with its brace depth.
    let mut open: Vec<(String, usize)> = Vec::new();
    while let Some(token) = tokens.get(at) {
        let texts: Vec<&str> = tokens[at..].iter().take(6).map(|token| token.text).collect();
        let within = || -> Vec<String> { open.iter().map(|(name, _)| name.clone()).collect() };
        match texts[..] {
            ["#", "[", "cfg", "(", "test", ..] => {
                at = after_item(&tokens, at, &mut imports.tests);
                continue;
            }
            ["{", ..] => depth += 1,
            ["}", ..] => {
                depth = depth.saturating_sub(1);
                open.pop_if(|(_, around)| *around == depth);
            }
            ["mod", name, "{", ..] => open.push((name.to_owned(), depth)),
            ["use", next, ..] if next != "<" => {
                at = tree(&tokens, at + 1, &[], &within(), &mut imports.paths);
                continue;
            }
            ["macro_rules", "!", name, ..]
            | [
                "fn" | "struct" | "enum" | "trait" | "type" | "const" | "static" | "union",
                name,
                ..,
            ] => {
                imports.items.insert(name.to_owned());
            }
            [_, "::", ..] if token.is_word() && (at == 0 || tokens[at - 1].text != "::") => {
                let mut path = vec![token.text.to_owned()];
                let line = token.line;
                while tokens.get(at + 1).is_some_and(|token| token.text == "::")
                    && tokens.get(at + 2).is_some_and(Token::is_word)
                {
                    at += 2;
                    path.push(tokens[at].text.to_owned());
                }
                if path.len() > 1 {
                    imports.paths.push(Import { line, within: within(), path, name: None });
                }
            }
            _ => {}
        }
        at += 1;
    }
    imports
}

/// Adds the paths of the `use` tree that starts at a token, with a prefix; returns the end of the tree.
fn tree(
    tokens: &[Token<'_>],
    mut at: usize,
    prefix: &[String],
    within: &[String],
    paths: &mut Vec<Import>,
) -> usize {
    let mut path = prefix.to_vec();
    let mut name = None;
    let line = tokens.get(at).map_or(0, |token| token.line);
    while let Some(token) = tokens.get(at) {
        match token.text {
            "{" => {
                at += 1;
                while tokens.get(at).is_some_and(|token| token.text != "}") {
                    at = tree(tokens, at, &path, within, paths);
                    at += usize::from(tokens.get(at).is_some_and(|token| token.text == ","));
                }
                return at + 1;
            }
            "*" => name = Some("*".to_owned()),
            // `a::{self}` is `a`.
            "self" if path.len() == prefix.len() && !prefix.is_empty() => {}
            "as" => {
                at += 1;
                name = tokens.get(at).map(|token| token.text.to_owned());
            }
            "::" => {}
            word if token.is_word() => path.push(word.to_owned()),
            _ => break,
        }
        at += 1;
    }
    let name = name.or_else(|| path.last().cloned());
    if !path.is_empty() {
        paths.push(Import { line, within: within.to_vec(), path, name });
    }
    // Skips tokens that are not part of a tree, such as a macro's `$`.
    at + usize::from(tokens.get(at).is_some_and(|token| ![",", "}"].contains(&token.text)))
}

/// The end of the item to which an attribute at a token belongs. Records a module without a body as a test module.
fn after_item(tokens: &[Token<'_>], mut at: usize, tests: &mut BTreeSet<String>) -> usize {
    let mut depth = 0;
    while let Some(token) = tokens.get(at) {
        match token.text {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" => depth -= 1,
            "}" => {
                depth -= 1;
                if depth == 0 {
                    return at + 1;
                }
            }
            "mod" if depth == 0 => {
                if let Some([name, end]) = tokens.get(at + 1..at + 3)
                    && end.text == ";"
                {
                    tests.insert(name.text.to_owned());
                }
            }
            ";" if depth == 0 => return at + 1,
            _ => {}
        }
        at += 1;
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &[&str]) {
        let found: Vec<String> = imports(text)
            .paths
            .iter()
            .map(|import| {
                let name = import.name.as_ref().map(|name| format!(" as {name}"));
                let within: String = import.within.iter().map(|name| format!("{name}: ")).collect();
                format!("{within}{}{}", import.path.join("::"), name.unwrap_or_default())
            })
            .collect();
        assert_eq!(found, expected, "{text}");
    }

    #[test]
    fn a_use_tree_is_a_path_per_leaf() {
        check("use crate::a::B;", &["crate::a::B as B"]);
        check("pub(crate) use self::a::*;", &["self::a as *"]);
        check("use a::B as C; use d;", &["a::B as C", "d as d"]);
        check(
            "use super::{self as up, a::{self, B}, c::{D, E},}; fn f() {}",
            &[
                "super as up",
                "super::a as a",
                "super::a::B as B",
                "super::c::D as D",
                "super::c::E as E",
            ],
        );
    }

    #[test]
    fn a_path_in_code_is_an_import_without_a_name() {
        check("fn f(a: super::B) -> crate::c::D { e::<F>() }", &["super::B", "crate::c::D"]);
        check("mod a { mod b { c::d() } e::f() } g::h()", &["a: b: c::d", "a: e::f", "g::h"]);
    }

    #[test]
    fn test_code_is_skipped() {
        let text = "#[cfg(test)] mod tests { use a::B; } #[cfg(test)] #[expect(x)] use c::D; \
                    #[cfg(test)] fn f(a: [u8; 2]) { c::d() } #[cfg(test)] mod cases; use e::F;";
        check(text, &["e::F as F"]);
        assert_eq!(imports(text).tests, BTreeSet::from(["cases".to_owned()]));
    }
}
