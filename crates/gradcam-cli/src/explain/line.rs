//! One line for an image, where there are many.

use gradcam::{Class, Explanation, Profile, Target, TargetPlace};

use crate::terminal::{self, Style};

/// A class by number and the first synonym of its label, which suffices beside the list of the classes.
pub(super) fn class(class: &Class) -> String {
    let label = class.label.as_deref().unwrap_or_default();
    // A comma, and a space, may be a class themselves.
    let first = label.split(',').next().filter(|first| !first.is_empty()).unwrap_or(label);
    let first = match first.trim().is_empty() && !first.is_empty() {
        true => format!("\"{first}\""),
        false => terminal::printable(first),
    };
    format!("{} {first}", class.index).trim_end().to_owned()
}

/// A target: its class, what is explained of it, and where.
pub(super) fn target(explanation: &Explanation) -> String {
    let class_of = || class(&explanation.class);
    let mut target = explanation.only_score().map_or_else(class_of, str::to_owned);
    if let Some(other) = &explanation.other {
        target += &format!(" and not {}", class(other));
    }
    match &explanation.target {
        Target::Negative(_) => target += ", opposite sign",
        Target::Probability(_) => target += &format!(", probability {:.4}", explanation.value),
        Target::Similar(_) => target = format!("similarity {:.4}", explanation.value),
        Target::Masked(..) => target += " in the mask",
        _ => {}
    }
    match &explanation.place {
        Some(TargetPlace::Box { area, probability, .. }) => {
            target += &format!(" in box {area} ({:.1} %)", probability * 100.0);
        }
        Some(TargetPlace::Steps { from, to }) if from + 1 == *to => {
            target += &format!(" at time step {from}");
        }
        Some(TargetPlace::Steps { from, to }) => {
            target += &format!(" at time steps {from} to {}", to - 1);
        }
        _ => {}
    }
    target
}

/// What became of the maps, where that is not usual.
pub(super) fn made(explanation: &Explanation) -> String {
    let mut made = String::new();
    if explanation.is_fused() {
        made += &format!(", fused by {}", explanation.heatmap_settings.fusion);
    }
    if explanation.eigen_smooth {
        made += ", principal component";
    }
    if !explanation.augmented.is_empty() {
        made += &format!(", mean of {} passes", 1 + explanation.augmented.len());
    }
    if explanation.profile != Profile::default() {
        made += &format!(", as {}", explanation.profile.info().library);
    }
    made
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
        let amount = match (&explanation.target, &explanation.place, explanation.class.probability)
        {
            // The target says it.
            (Target::Probability(_) | Target::Similar(_), ..)
            | (_, Some(TargetPlace::Box { .. }), _) => String::new(),
            (_, _, Some(probability)) => format!(" {:.1} %", probability * 100.0),
            (_, _, None) => format!(" {:.4}", explanation.value),
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
