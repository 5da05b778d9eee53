//! `gradcam methods`: the table of methods.

use std::io;

use gradcam::{METHODS, Method, PictureStyle, Site};
use serde_json::json;

use crate::{
    args::MethodsArgs,
    failure::Result,
    terminal::{self, Style},
};

/// How a map is drawn: as a heatmap, or as a picture of the network's input.
fn picture(site: Site) -> &'static str {
    match site.picture() {
        None => "heatmap",
        Some(PictureStyle::Magnitude) => "magnitude",
        Some(PictureStyle::Colors) => "colors",
    }
}

/// The widest line: that of a narrow terminal.
const WIDTH: usize = 80;

const INDENT: &str = "    ";

const LEGEND: [&str; 5] = [
    "An explanation by it takes as long as so many inferences, at the last stage of ResNet-50.",
    "A is the layer's output, g the gradient of the target's score with respect to it, k a channel.",
    "Methods of the input take no layer: there A is the network's input, after preprocessing.",
    "Deep feature factorization (dff), which takes no target, is a command of its own: gradcam concepts IMAGE",
    "* is the default. Use one with: gradcam explain IMAGE --method METHOD",
];

/// Prints the table: of each method its name, what it is good for, its formula and its paper.
pub(crate) fn run(args: &MethodsArgs) -> Result<()> {
    let is_default = |id: &str| id == Method::default().id();
    if args.json {
        let rows: Vec<_> = METHODS
            .iter()
            .map(|row| {
                json!({
                    "id": row.id, "name": row.name, "formula": row.formula, "use_for": row.use_for,
                    "paper": row.paper, "inferences": row.inferences(),
                    "takes_layer": row.site.takes_layer(), "picture": picture(row.site),
                    "default": is_default(row.id),
                })
            })
            .collect();
        return terminal::print(format!("{}\n", json!(rows)));
    }
    let style = Style::of(&io::stdout());
    let mut text = String::new();
    for row in METHODS {
        let mark = if is_default(row.id) { style.green("*") } else { " ".to_owned() };
        let cost = row
            .inferences()
            .map_or_else(String::new, |cost| format!(", {} inferences", short(cost)));
        text += &format!("{mark} {}  {}{cost}\n", style.bold(row.id), row.name);
        for line in lines(row.use_for, WIDTH).chain(lines(row.formula, WIDTH)) {
            text += &format!("{INDENT}{line}\n");
        }
        for line in lines(row.paper, WIDTH) {
            text += &format!("{INDENT}{}\n", style.dim(line));
        }
    }
    text += "\n";
    for part in LEGEND {
        for line in lines(part, WIDTH) {
            text += &format!("{}\n", style.dim(line));
        }
    }
    terminal::print(text)
}

/// A number of inferences, with a digit behind the point where there are few.
fn short(cost: f32) -> String {
    if cost < 9.95 { format!("{cost:.1}") } else { format!("{cost:.0}") }
}

/// A text in lines that fit behind the indent into this width, if words do.
fn lines(text: &str, width: usize) -> impl Iterator<Item = String> {
    let most = width.saturating_sub(INDENT.len());
    let mut lines: Vec<String> = Vec::new();
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= most => {
                *line += " ";
                *line += word;
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines.into_iter()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_stay_whole() {
        let wrapped = |width| lines("Σ_k w_k A_k", width).collect::<Vec<_>>();
        assert_eq!(wrapped(15), ["Σ_k w_k A_k"]);
        assert_eq!(wrapped(14), ["Σ_k w_k", "A_k"]);
        assert_eq!(wrapped(2), ["Σ_k", "w_k", "A_k"]);
    }
}
