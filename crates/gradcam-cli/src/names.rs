//! The names of files.

use std::path::Path;

use gradcam::{Class, Explanation, LayerMap, Target};

/// Longest part that a label or a layer adds to a file name; file systems allow 255 bytes in all.
const LONGEST: usize = 60;

/// Whether a path stands for standard input or output.
pub(crate) fn is_dash(path: &Path) -> bool {
    path.as_os_str() == "-"
}

/// The target in a file name: `285-egyptian-cat`, `285` without a label, `285-vs-967`, `p-285`, `0-person@2`.
pub(crate) fn target(explanation: &Explanation) -> String {
    let Class { index, label, .. } = &explanation.class;
    if let Some(other) = &explanation.other {
        return format!("{index}-vs-{}", other.index);
    }
    let slug = label.as_deref().map(slug).filter(|slug| !slug.is_empty());
    let numbered = || slug.map_or_else(|| index.to_string(), |slug| format!("{index}-{slug}"));
    let class = explanation.only_score().map_or_else(numbered, str::to_owned);
    match &explanation.target {
        Target::Negative(_) => format!("neg-{class}"),
        Target::Probability(_) => format!("p-{class}"),
        Target::Nth(_, place) => format!("{class}@{place}"),
        Target::Box(_, area) => {
            format!("{class}@{:.0}-{:.0}-{:.0}x{:.0}", area.x, area.y, area.width, area.height)
        }
        Target::Masked(..) => format!("{class}.masked"),
        Target::Similar(_) => "similarity".to_owned(),
        _ => class,
    }
}

/// The first synonym of a label, in lower case, words joined by `-`.
fn slug(label: &str) -> String {
    let first = label.split(',').next().unwrap_or_default().to_lowercase();
    let words = first.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
    shortened(&words.collect::<Vec<_>>().join("-"))
}

/// A layer's name in a file name: letters, digits, `.`, `_` and `-` stay, all else becomes `-`.
pub(crate) fn layer(name: &str) -> String {
    let safe = |c: char| if c.is_alphanumeric() || matches!(c, '.' | '_') { c } else { '-' };
    let safe: String = name.chars().map(safe).collect();
    let safe = safe.trim_matches(['-', '.']);
    // The end of a path is more specific than its beginning.
    let mut kept = safe;
    while kept.len() > LONGEST {
        let mut rest = kept.chars();
        rest.next();
        kept = rest.as_str();
    }
    kept.trim_start_matches(['-', '.']).to_owned()
}

/// The name of an explanation's layer in a file name, with its number where another layer would be called the same.
pub(crate) fn layer_of(explanation: &Explanation, at: usize) -> String {
    let this = &explanation.layers[at];
    let safe = layer(&this.layer);
    let same = |other: &LayerMap| layer(&other.layer) == safe && other.value != this.value;
    if explanation.layers[..at].iter().any(same) { format!("{safe}-{at}") } else { safe }
}

fn shortened(text: &str) -> String {
    let mut end = text.len().min(LONGEST);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].trim_end_matches('-').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slugs() {
        let rows = [
            ("Egyptian cat", "egyptian-cat"),
            ("tabby, tabby cat", "tabby"),
            ("jack-o'-lantern", "jack-o-lantern"),
            ("Café  Noir!", "café-noir"),
            ("../../etc/passwd", "etc-passwd"),
            ("", ""),
            ("???", ""),
        ];
        for (label, wanted) in rows {
            assert_eq!(slug(label), wanted, "{label}");
        }
        assert!(slug(&"äb".repeat(100)).len() <= LONGEST);
    }

    #[test]
    fn layers() {
        let rows = [
            ("layer4.2", "layer4.2"),
            ("/model/conv:0", "model-conv-0"),
            ("../x", "x"),
            ("efficientnet-lite0/model/blocks_15", "efficientnet-lite0-model-blocks_15"),
        ];
        for (name, wanted) in rows {
            assert_eq!(layer(name), wanted, "{name}");
        }
        assert_eq!(layer(&format!("{}.last", "x".repeat(100))).len(), LONGEST);
    }
}
