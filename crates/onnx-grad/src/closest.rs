//! Names that are like one that does not exist.

/// ` ; closest: "a", "b"`, or nothing where no name is like the wanted one.
pub(crate) fn hint<'a>(wanted: &str, names: impl Iterator<Item = &'a str>) -> String {
    let close = closest(wanted, names);
    match close.is_empty() {
        true => String::new(),
        false => {
            let quoted: Vec<String> = close.iter().map(|name| format!("\"{name}\"")).collect();
            format!("; closest: {}", quoted.join(", "))
        }
    }
}

/// Up to three names, the most alike first, the earlier first among equals.
fn closest<'a>(wanted: &str, names: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let limit = wanted.chars().count() / 3 + 1;
    let inside = |name: &str| !wanted.is_empty() && name.contains(wanted);
    let mut rated: Vec<(usize, &str)> = names
        .filter(|name| !name.is_empty())
        .filter_map(|name| match distance(wanted, name, limit) {
            Some(distance) => Some((distance, name)),
            None => inside(name).then_some((limit + 1, name)),
        })
        .collect();
    rated.sort_by_key(|(distance, _)| *distance);
    rated.into_iter().map(|(_, name)| name).take(3).collect()
}

/// The number of letters to insert, drop or replace, case ignored; `None` beyond the limit.
fn distance(a: &str, b: &str, limit: usize) -> Option<usize> {
    let lower = |text: &str| text.chars().flat_map(char::to_lowercase).collect::<Vec<_>>();
    let (a, b) = (lower(a), lower(b));
    if a.len().abs_diff(b.len()) > limit {
        return None;
    }
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row.last().copied().filter(|distance| *distance <= limit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_closest_names_come_first() {
        let names = ["layer4.1", "layer4.2", "layer3.2", "fc", "/layer4.3/conv1/Conv_output_0"];
        let hint = |wanted| hint(wanted, names.iter().copied());
        assert_eq!(hint("layer4.3"), r#"; closest: "layer4.1", "layer4.2", "layer3.2""#);
        assert_eq!(hint("FC"), r#"; closest: "fc""#);
        assert_eq!(hint("conv1"), r#"; closest: "/layer4.3/conv1/Conv_output_0""#);
        assert_eq!(hint("nothing like it"), "");
    }
}
