//! One line for an image, where there are many.

use gradcam::{Class, Explanation};

use crate::terminal::{self, Style};

/// A class by number and the first synonym of its label, which suffices beside the list of the classes.
pub(super) fn class(class: &Class) -> String {
    let label = class.label.as_deref().unwrap_or_default();
    let first = terminal::printable(label.split(',').next().unwrap_or_default());
    format!("{} {first}", class.index).trim_end().to_owned()
}

/// The classes of a target.
pub(super) fn target(explanation: &Explanation) -> String {
    let target = class(&explanation.class);
    match &explanation.other {
        Some(other) => format!("{target} and not {}", class(other)),
        None => target,
    }
}

/// An image on one line: what was explained, and where the files are.
pub(super) fn line(
    style: Style,
    image: &str,
    explanations: &[Explanation],
    files: &[Vec<String>],
) -> String {
    let mut targets = Vec::new();
    for explanation in explanations {
        let amount = match explanation.class.probability {
            Some(probability) => format!(" {:.1} %", probability * 100.0),
            None => format!(" {:.4}", explanation.class.score),
        };
        let text = target(explanation) + if explanation.other.is_none() { &amount } else { "" };
        // Several methods explain the same.
        if !targets.contains(&text) {
            targets.push(text);
        }
    }
    let mut all = files.iter().flatten();
    let wrote = all.next().map_or_else(String::new, |first| {
        let more = all.count();
        let more = if more == 0 { String::new() } else { format!(" and {more} more") };
        format!("  wrote {}{more}", style.green(terminal::printable(first)))
    });
    format!("{}  {}{wrote}\n", style.bold(image), targets.join(", "))
}
