//! Targets: the scores that are explained, as users write them and as one scalar per image in the graph.

mod emit;
mod scores;

use std::ops::Range;

use onnx_grad::closest::closest;

use crate::{Result, error::bail};

pub(crate) use emit::{
    HeadValues, TargetKind, TargetRequest, TargetValues, class_input, emit, other_input,
};
pub(crate) use scores::{Activation, Form, Head, head};

/// The score that is explained of one image.
///
/// In a segmentation, the score of a class is its sum over the pixels of this class; in a detector, that of its highest
/// anchor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Target {
    /// The class with the largest score, the first of equal ones.
    #[default]
    Argmax,
    /// The score of a class.
    Class(usize),
    /// The score of the first class minus that of the second: why this and not that.
    Difference(usize, usize),
}

/// A target as a user writes it, before scores are known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TargetSpec {
    /// One target.
    One(Target),
    /// The K classes with the largest scores.
    Top(usize),
}

/// The targets of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Targets {
    /// The same for every image; of `top:K` each image has its own classes.
    Shared(Vec<TargetSpec>),
    /// One for each image.
    OneEach(Vec<Target>),
}

impl Targets {
    /// One target for each image.
    pub fn each(targets: impl IntoIterator<Item = Target>) -> Self {
        Self::OneEach(targets.into_iter().collect())
    }

    /// # Errors
    /// `Target` where they are not as many as the images.
    pub(crate) fn check(&self, images: usize) -> Result<()> {
        match self {
            Self::OneEach(targets) if targets.len() != images => bail!(
                Target,
                "the number of targets is {}, that of the images {images}; give one target for each image",
                targets.len()
            ),
            _ => Ok(()),
        }
    }

    /// Those of some of the images.
    pub(crate) fn rows(&self, images: Range<usize>) -> Self {
        match self {
            Self::OneEach(targets) => {
                Self::OneEach(targets.get(images).unwrap_or_default().to_vec())
            }
            Self::Shared(specs) => Self::Shared(specs.clone()),
        }
    }
}

impl From<Target> for TargetSpec {
    fn from(target: Target) -> Self {
        Self::One(target)
    }
}

impl From<Target> for Targets {
    fn from(target: Target) -> Self {
        TargetSpec::One(target).into()
    }
}

impl From<TargetSpec> for Targets {
    fn from(target: TargetSpec) -> Self {
        Self::Shared(vec![target])
    }
}

impl From<Vec<TargetSpec>> for Targets {
    fn from(targets: Vec<TargetSpec>) -> Self {
        Self::Shared(targets)
    }
}

impl<const N: usize> From<[TargetSpec; N]> for Targets {
    fn from(targets: [TargetSpec; N]) -> Self {
        Self::Shared(targets.into())
    }
}

impl From<&[TargetSpec]> for Targets {
    fn from(targets: &[TargetSpec]) -> Self {
        Self::Shared(targets.to_vec())
    }
}

impl From<&Vec<TargetSpec>> for Targets {
    fn from(targets: &Vec<TargetSpec>) -> Self {
        targets.as_slice().into()
    }
}

impl TargetSpec {
    /// Reads `argmax`, a class number, `top:K`, `A-B` with two class numbers, or a label.
    ///
    /// A label fits where it equals a class's whole label or one of its synonyms, which commas separate. Case does not matter. A
    /// number that is the whole label of a class is that label.
    ///
    /// # Errors
    /// `Target` where the text is no target, a label fits no class or several, a number is not below
    /// `classes`, or a difference names one class twice.
    pub fn parse(text: &str, labels: Option<&[String]>, classes: Option<usize>) -> Result<Self> {
        let class = |number: &str| -> Result<usize> {
            let in_range = |class: &usize| classes.is_none_or(|classes| *class < classes);
            match (number.parse::<usize>().ok().filter(in_range), classes) {
                (Some(class), _) => Ok(class),
                (None, Some(0) | None) => bail!(Target, "class {number} is out of range"),
                (None, Some(classes)) => {
                    bail!(
                        Target,
                        "class {number} is out of range; the model has classes 0 to {}",
                        classes - 1
                    )
                }
            }
        };
        let text = text.trim();
        let digits =
            |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        if text.eq_ignore_ascii_case("argmax") {
            return Ok(Self::One(Target::Argmax));
        }
        let is_label = || labels.is_some_and(|labels| labels.iter().any(|label| label == text));
        if digits(text) && !is_label() {
            return Ok(Self::One(Target::Class(class(text)?)));
        }
        if let Some(count) = text.strip_prefix("top:") {
            return match count.parse::<usize>() {
                Ok(count) if count > 0 => Ok(Self::Top(count)),
                _ => bail!(
                    Target,
                    "\"{text}\" is no target; write top:K with K of at least 1, such as top:3"
                ),
            };
        }
        if let Some((a, b)) = text.split_once('-').filter(|(a, b)| digits(a) && digits(b)) {
            let (a, b) = (class(a)?, class(b)?);
            if a == b {
                bail!(Target, "{text} is the difference of a class and itself, which is always 0");
            }
            return Ok(Self::One(Target::Difference(a, b)));
        }
        if text.strip_prefix('-').is_some_and(digits) {
            bail!(Target, "class {text} is negative; classes count from 0");
        }
        labeled(text, labels).map(|class| Self::One(Target::Class(class)))
    }
}

fn labeled(text: &str, labels: Option<&[String]>) -> Result<usize> {
    let Some(labels) = labels else {
        bail!(
            Target, GiveLabels;
            "\"{text}\" is no target: the model has no labels; write a class number, argmax, top:K or A-B"
        )
    };
    let wanted = text.to_lowercase();
    let whole = |label: &String| label.to_lowercase() == wanted;
    let synonym =
        |label: &String| label.to_lowercase().split(',').any(|word| word.trim() == wanted);
    let fitting = |fits: &dyn Fn(&String) -> bool| -> Vec<usize> {
        labels.iter().enumerate().filter(|(_, label)| fits(label)).map(|(class, _)| class).collect()
    };
    let mut found = fitting(&whole);
    if found.is_empty() {
        found = fitting(&synonym);
    }
    let show = |classes: &[usize]| -> String {
        let each = classes.iter().map(|class| format!("{class} ({})", labels[*class]));
        each.collect::<Vec<_>>().join(", ")
    };
    match found.as_slice() {
        [class] => Ok(*class),
        [] => match closest_labels(&wanted, labels).as_slice() {
            [] => bail!(
                Target,
                "no class is labeled \"{text}\"; write a class number, argmax, top:K or A-B"
            ),
            near => bail!(Target, "no class is labeled \"{text}\"; closest: {}", show(near)),
        },
        several => {
            bail!(Target, "\"{text}\" labels several classes: {}; write the number", show(several))
        }
    }
}

/// Up to five classes whose labels have the words, else up to three that are spelled like them.
fn closest_labels(wanted: &str, labels: &[String]) -> Vec<usize> {
    let words = |text: &str| {
        let lower = text.to_lowercase();
        let words = lower.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
        format!(" {} ", words.collect::<Vec<_>>().join(" "))
    };
    let phrase = words(wanted);
    let classes = || labels.iter().enumerate();
    let with_words = classes().filter(|(_, label)| words(label).contains(&phrase));
    let found: Vec<usize> = with_words.map(|(class, _)| class).take(5).collect();
    if !found.is_empty() && !phrase.trim().is_empty() {
        return found;
    }
    let mut names: Vec<(usize, String)> = Vec::new();
    for (class, label) in classes() {
        names.extend(label.split(',').map(|word| (class, word.trim().to_lowercase())));
    }
    let near = closest(wanted, names.iter().map(|(_, name)| name.as_str()));
    let class =
        |name: &str| names.iter().find(|(_, synonym)| synonym == name).map(|(class, _)| *class);
    near.into_iter().filter_map(class).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<TargetSpec, String> {
        let labels =
            ["crane", "tabby, tabby cat", "Egyptian cat", "crane"].map(str::to_owned).to_vec();
        TargetSpec::parse(text, Some(&labels), Some(4)).map_err(|error| error.to_string())
    }

    #[test]
    fn targets_as_they_are_written() {
        let rows = [
            ("argmax", TargetSpec::One(Target::Argmax)),
            ("2", TargetSpec::One(Target::Class(2))),
            ("top:3", TargetSpec::Top(3)),
            ("1-2", TargetSpec::One(Target::Difference(1, 2))),
            ("Tabby Cat", TargetSpec::One(Target::Class(1))),
            ("tabby, tabby cat", TargetSpec::One(Target::Class(1))),
            ("egyptian cat", TargetSpec::One(Target::Class(2))),
        ];
        for (text, target) in rows {
            assert_eq!(parse(text), Ok(target), "{text}");
        }
    }

    #[test]
    fn a_number_that_is_a_label_is_that_label() {
        let labels = ["0", "90", "180", "270"].map(str::to_owned);
        let parse = |text| TargetSpec::parse(text, Some(&labels), Some(300)).ok();
        assert_eq!(parse("270"), Some(TargetSpec::One(Target::Class(3))));
        assert_eq!(parse("0"), Some(TargetSpec::One(Target::Class(0))));
        assert_eq!(parse("2"), Some(TargetSpec::One(Target::Class(2))));
    }

    /// The words count, not the letters in other words.
    #[test]
    fn cats_are_closest_to_cat() {
        let labels = ["vacation home", "scatter rug", "catamount", "tiger cat", "cat, kitten"];
        let labels = labels.map(str::to_owned);
        assert_eq!(closest_labels("cat", &labels[..4]), [3]);
        assert_eq!(closest_labels("catamont", &labels), [2]);
        assert_eq!(closest_labels("???", &labels), [] as [usize; 0]);
    }

    #[test]
    fn wrong_targets_say_why() {
        let rows = [
            ("4", "classes 0 to 3"),
            ("-1", "negative"),
            ("1-9", "class 9 is out of range"),
            ("3-3", "a class and itself"),
            ("top:0", "top:K"),
            ("top:x", "top:K"),
            ("crane", "labels several classes: 0 (crane), 3 (crane)"),
            ("cat", "closest: 1 (tabby, tabby cat), 2 (Egyptian cat)"),
            ("egiptian cat", "closest: 2 (Egyptian cat)"),
            ("tab", "closest: 1 (tabby, tabby cat)"),
            ("zebra", "no class is labeled \"zebra\""),
        ];
        for (text, phrase) in rows {
            let message = parse(text).expect_err(text);
            assert!(message.contains(phrase), "{text}: {message}");
        }
        let message = TargetSpec::parse("cat", None, None).expect_err("no labels").to_string();
        assert!(message.contains("no labels"), "{message}");
    }
}
