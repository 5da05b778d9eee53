//! Suggests existing names similar to an unknown one.

use std::collections::HashSet;

/// `; closest: "a", "b"`, or nothing if no name is similar.
pub fn hint<'a>(wanted: &str, names: impl Iterator<Item = &'a str>) -> String {
    let close = closest(wanted, names);
    match close.is_empty() {
        true => String::new(),
        false => {
            let quoted: Vec<String> = close.iter().map(|name| format!("\"{name}\"")).collect();
            format!("; closest: {}", quoted.join(", "))
        }
    }
}

/// Up to three names, the most similar first; ties keep their order.
pub fn closest<'a>(wanted: &str, names: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let limit = wanted.chars().count() / 3 + 1;
    let mut seen = HashSet::new();
    let inside = |name: &str| !wanted.is_empty() && name.contains(wanted);
    let mut rated: Vec<(usize, &str)> = names
        .filter(|name| !name.is_empty() && seen.insert(*name))
        .filter_map(|name| match distance(wanted, name, limit) {
            Some(distance) => Some((distance, name)),
            None => inside(name).then_some((limit + 1, name)),
        })
        .collect();
    rated.sort_by_key(|(distance, _)| *distance);
    rated.into_iter().map(|(_, name)| name).take(3).collect()
}

/// The edit distance (insertions, deletions, replacements), ignoring case; `None` above the limit.
fn distance(a: &str, b: &str, limit: usize) -> Option<usize> {
    let (a, b) = (a.to_lowercase(), b.to_lowercase());
    // Names can have any length, so skip those whose lengths differ too much.
    if a.chars().count().abs_diff(b.chars().count()) > limit {
        return None;
    }
    Some(strsim::levenshtein(&a, &b)).filter(|distance| *distance <= limit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_closest_names_come_first() {
        let names =
            ["layer4.1", "layer4.2", "layer4.1", "layer3.2", "fc", "/layer4.3/conv1/Conv_output_0"];
        let hint = |wanted| hint(wanted, names.iter().copied());
        assert_eq!(hint("layer4.3"), r#"; closest: "layer4.1", "layer4.2", "layer3.2""#);
        assert_eq!(hint("FC"), r#"; closest: "fc""#);
        assert_eq!(hint("conv1"), r#"; closest: "/layer4.3/conv1/Conv_output_0""#);
        assert_eq!(hint("nothing like it"), "");
    }
}
