//! The documents that are generated from tables of the code, so that they cannot drift from it.

use std::{fmt::Write as _, fs};

use anyhow::{Result, ensure};
use gradcam::engine::{EngineKind, REFUSED_FORMS, support};
use onnx_grad::Gradient;

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

/// The operators: gradients from the table of rules, engines from the tables that compile graphs.
fn operators() -> String {
    let mut text = format!(
        "<!-- Written by `cargo xtask docs` from the tables in crates/onnx-grad/src/grad/table.rs \
         and crates/gradcam/src/engine/lower/tables.rs. -->\n\
         # Operators\n\
         \n\
         Every operator of the ONNX standard, for models of opset {} to {}.\n\
         \n\
         *Gradient*: by a *rule*; by way of the operator's *definition* in others; *zero* \
         everywhere, so that the gradient stops there; or *refused*, with an error before anything \
         runs, but only where the operator stands between the layer and the class score. *Engines*: \
         an operator runs *as it is*; some or all of its forms are *rewritten* in other operators; \
         or there is *no* way to run it. What is refused of an operator that otherwise works stands \
         in the words of the error, with … for what differs.\n\
         \n\
         Any operator may be refused with:\n\n",
        onnx_grad::OLDEST_OPSET,
        onnx_grad::NEWEST_OPSET,
    );
    // Writing to a string cannot fail.
    for form in onnx_grad::REFUSED_FORMS.iter().chain(REFUSED_FORMS) {
        let _ = writeln!(text, "- {form}");
    }
    text += "\n| operator | opsets | gradient | rten | ONNX Runtime |\n|---|---|---|---|---|\n";
    for rule in onnx_grad::rules() {
        let (op, (from, to)) = (rule.op, rule.opsets);
        let link = match op {
            "SimplifiedLayerNormalization" => op.to_owned(),
            _ => format!("[{op}](https://onnx.ai/onnx/operators/onnx__{op}.html)"),
        };
        let gradient = match rule.gradient {
            Gradient::Rule => "rule".to_owned(),
            Gradient::Definition => "definition".to_owned(),
            Gradient::Zero => "zero".to_owned(),
            Gradient::Refused(why) => format!("refused: {why}"),
            _ => "other".to_owned(),
        };
        let refuses: Vec<String> = rule.refuses.iter().map(|&form| form.to_owned()).collect();
        let gradient = cell(&gradient, &refuses);
        let [rten, runtime] = [EngineKind::Rten, EngineKind::OnnxRuntime].map(|kind| {
            let support = support(kind, op);
            let how = match (support.runs, support.rewritten) {
                (false, _) => "no",
                (true, true) => "rewritten",
                (true, false) => "as it is",
            };
            cell(how, if support.runs { &support.refuses } else { &[] })
        });
        let _ = writeln!(text, "| {link} | {from}–{to} | {gradient} | {rten} | {runtime} |");
    }
    text += "\nOperators of the domain `com.microsoft` that are rewritten in words of the standard, for \
             gradients and for both engines: ";
    text += &onnx_grad::MICROSOFT.join(", ");
    text += ". Other operators of other domains are refused.\n";
    text
}

/// A word, and behind it what is refused.
fn cell(word: &str, refuses: &[String]) -> String {
    let refuses = refuses.iter().map(|form| format!("<br>refused: {form}"));
    let text: String = std::iter::once(word.to_owned()).chain(refuses).collect();
    text.replace('|', "\\|")
}
