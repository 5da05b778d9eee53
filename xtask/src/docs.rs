//! The documents that are generated from tables of the code, so that they cannot drift from it.

use std::{fmt::Write as _, fs};

use anyhow::{Result, ensure};

type Document = (&'static str, fn() -> String);

const DOCUMENTS: &[Document] = &[("docs/operators.md", operators)];

/// Writes every document.
pub(crate) fn write() -> Result<()> {
    fs::create_dir_all("docs")?;
    for (path, text) in DOCUMENTS {
        fs::write(path, text())?;
        println!("wrote {path}");
    }
    Ok(())
}

/// An error that lists the documents which differ from what `write` would write.
pub(crate) fn check() -> Result<()> {
    let same = |path: &str, text: &str| {
        fs::read_to_string(path).is_ok_and(|old| old.lines().eq(text.lines()))
    };
    let stale: Vec<&str> = DOCUMENTS
        .iter()
        .filter(|(path, text)| !same(path, &text()))
        .map(|(path, _)| *path)
        .collect();
    ensure!(stale.is_empty(), "out of date: {}; run `cargo xtask docs`", stale.join(", "));
    Ok(())
}

/// The table of gradient rules.
fn operators() -> String {
    let mut text = format!(
        "<!-- Written by `cargo xtask docs` from crates/onnx-grad/src/grad/table.rs. -->\n\
         # Operators that have gradients\n\
         \n\
         Models of opset {} to {} are differentiated. *rule*: the derivative is computed. *zero*: \
         the derivative is zero everywhere, and the gradient stops there. An operator that is not \
         in the table is an error, but only where it stands between the layer and the class score.\n\
         \n\
         | operator | opsets | gradient |\n\
         |---|---|---|\n",
        onnx_grad::OLDEST_OPSET,
        onnx_grad::NEWEST_OPSET,
    );
    for rule in onnx_grad::rules() {
        let (op, (from, to)) = (rule.op, rule.opsets);
        let kind = if rule.zero { "zero" } else { "rule" };
        let link = format!("https://onnx.ai/onnx/operators/onnx__{op}.html");
        // Writing to a string cannot fail.
        let _ = writeln!(text, "| [{op}]({link}) | {from}–{to} | {kind} |");
    }
    text
}
