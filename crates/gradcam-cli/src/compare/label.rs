//! The words of a sheet.

use std::path::{Path, PathBuf};

use gradcam::{Class, Explanation, METHODS, Target, TargetPlace, TargetSpec};

use super::{sheet::Column, text::Kept};

/// The label of the photos.
pub(super) fn photo() -> (String, Kept) {
    ("Photo".to_owned(), Kept::Start)
}

/// The name of a model: that of its file, with its folders where two files have one name.
pub(super) fn model(path: Option<&Path>, all: &[PathBuf]) -> String {
    let Some(path) = path else { return "built-in model".to_owned() };
    let is_unique = all.iter().filter(|other| other.file_stem() == path.file_stem()).count() == 1;
    let name = path.file_stem().filter(|_| is_unique);
    name.map_or_else(|| path.display().to_string(), |name| name.to_string_lossy().into_owned())
}

/// The columns of a model, each with what tells it from the others.
pub(super) fn columns(model: Option<&str>, maps: &[(&Explanation, usize)]) -> Vec<Column> {
    // A heatmap of several layers is of none by itself.
    let is_of_one =
        |explanation: &Explanation| explanation.is_of_layers() && !explanation.is_fused();
    let of_layers = || maps.iter().filter(|(explanation, _)| is_of_one(explanation));
    let layers = of_layers().any(|map| Some(layer(map)) != of_layers().next().map(layer));
    let methods = maps.iter().any(|map| Some(method(map)) != maps.first().map(method));
    let column = |map: &(&Explanation, usize)| {
        let mut labels = Vec::new();
        labels.extend(model.map(|model| (model.to_owned(), Kept::End)));
        if layers && is_of_one(map.0) {
            labels.push((layer(map).to_owned(), Kept::End));
        }
        if methods || labels.is_empty() {
            labels.push((method(map).to_owned(), Kept::Start));
        }
        Column { labels }
    };
    maps.iter().map(column).collect()
}

fn layer<'a>((explanation, layer): &(&'a Explanation, usize)) -> &'a str {
    explanation.layers.get(*layer).map_or("", |map| &map.layer)
}

fn method<'a>((explanation, _): &(&'a Explanation, usize)) -> &'a str {
    let row = METHODS.iter().find(|row| row.id == explanation.method);
    row.map_or(explanation.method, |row| row.name)
}

/// The label of a row and its amount; none where the models explain different classes.
pub(super) fn row(explanations: &[&Explanation]) -> Option<(String, String)> {
    let first = target(explanations.first()?);
    match explanations {
        [one] => Some((first, amount(one))),
        several => several.iter().all(|one| target(one) == first).then_some((first, String::new())),
    }
}

/// What stands below a map where there are several models.
pub(super) fn caption(explanation: &Explanation) -> String {
    let (target, amount) = (target(explanation), amount(explanation));
    format!("{target}, {amount}")
}

/// The target at a place as the user asked for it.
pub(super) fn asked(specs: &[TargetSpec], place: usize) -> String {
    let mut place = place;
    for spec in specs {
        match spec {
            TargetSpec::One(Target::Argmax) if place == 0 => return "best class".to_owned(),
            TargetSpec::One(target) if place == 0 => return target.to_string(),
            TargetSpec::Top(count) if place < *count => {
                return format!("top {}", place + 1);
            }
            TargetSpec::One(_) => place -= 1,
            TargetSpec::Top(count) => place -= count,
        }
    }
    String::new()
}

/// A class by the first synonym of its label.
fn class(class: &Class) -> String {
    let label = class.label.as_deref().unwrap_or_default();
    let first = label.split(',').map(str::trim).find(|first| !first.is_empty());
    first.map_or_else(|| format!("class {}", class.index), str::to_owned)
}

/// What is explained.
fn target(explanation: &Explanation) -> String {
    let class_of = || class(&explanation.class);
    let of = explanation.only_score().map_or_else(class_of, str::to_owned);
    match (&explanation.other, &explanation.target) {
        (Some(other), _) => format!("{of}, not {}", class(other)),
        (None, Target::Negative(_)) => format!("against {of}"),
        (None, Target::Nth(_, place)) => format!("{of}, no. {place}"),
        (None, Target::Box(..)) => format!("{of}, at the box"),
        (None, Target::Similar(_)) => "similarity".to_owned(),
        (None, Target::Masked(..)) => format!("{of}, in the mask"),
        _ => of,
    }
}

/// The probability of a class or a box, else the score.
fn amount(explanation: &Explanation) -> String {
    let of_class = explanation.class.probability.filter(|_| explanation.other.is_none());
    let probability = match explanation.place {
        Some(TargetPlace::Box { probability, .. }) => Some(probability),
        _ => of_class,
    };
    match probability {
        Some(probability) if probability < 0.0005 => "< 0.1 %".to_owned(),
        Some(probability) => format!("{:.1} %", probability * 100.0),
        None => format!("{:.4}", explanation.value),
    }
}
