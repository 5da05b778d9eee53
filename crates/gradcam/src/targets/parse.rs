//! Targets as users write them.

use onnx_grad::closest::closest;

use super::{Target, TargetSpec};
use crate::{Result, error::bail, warning::Warning};

/// The classes of a model, by which a text is read.
#[derive(Clone, Copy)]
struct Classes<'a> {
    labels: Option<&'a [String]>,
    count: Option<usize>,
}

impl TargetSpec {
    /// Reads a target: `argmax`; a class, which is a number or a label; `top:K`; `A-B`, one class against another;
    /// `p:CLASS`, its probability; `neg:CLASS`, its score with the opposite sign; `CLASS@K`, its K-th box or run of time
    /// steps. The only value of a regressor is also called `value`, and with the opposite sign `-value`.
    ///
    /// A label fits where it equals a class's whole label or one of its synonyms, which commas separate. Case does not matter. A
    /// number that is the whole label of a class is that label.
    ///
    /// # Errors
    /// `Target` where the text is no target, a label fits no class or several, a number is not below
    /// `classes`, or a difference names one class twice.
    pub fn parse(text: &str, labels: Option<&[String]>, classes: Option<usize>) -> Result<Self> {
        let known = Classes { labels, count: classes };
        let text = text.trim();
        if text.eq_ignore_ascii_case("argmax") {
            return Ok(Self::One(Target::Argmax));
        }
        if let Some(count) = text.strip_prefix("top:") {
            return match counted(count) {
                Some(count) => Ok(Self::Top(count)),
                None => bail!(
                    Target,
                    "\"{text}\" is no target; write top:K with K of at least 1, such as top:3"
                ),
            };
        }
        known.target(text).map(Self::One)
    }

    /// The note about a text that was read as this target: it is the number of one class and the label of another.
    pub fn note(&self, text: &str) -> Option<Warning> {
        match (text.trim().parse::<usize>(), self) {
            (Ok(number), Self::One(Target::Class(class))) if number != *class => {
                Some(Warning::NumberIsLabel { label: text.trim().to_owned(), class: *class })
            }
            _ => None,
        }
    }
}

impl Classes<'_> {
    fn target(self, text: &str) -> Result<Target> {
        // A label may look like anything else.
        if let Some(class) = self.exactly(text) {
            return Ok(Target::Class(class));
        }
        if let Some(class) = text.strip_prefix("p:") {
            return self.class(class).map(Target::Probability);
        }
        if let Some(class) = text.strip_prefix("neg:") {
            return self.class(class).map(Target::Negative);
        }
        match (self.count, text) {
            (Some(1), "value") => return Ok(Target::Class(0)),
            (Some(1), "-value") => return Ok(Target::Negative(0)),
            _ => {}
        }
        if let Some((class, place)) = text.rsplit_once('@') {
            return match counted(place) {
                Some(place) => Ok(Target::Nth(self.class(class)?, place)),
                None => bail!(
                    Target,
                    "\"{text}\" is no target; write CLASS@K with K of at least 1, such as {class}@2 for the second best box"
                ),
            };
        }
        if let Some(target) = self.difference(text)? {
            return Ok(target);
        }
        if text.strip_prefix('-').is_some_and(is_number) {
            bail!(Target, "class {text} is negative; classes count from 0");
        }
        self.class(text).map(Target::Class)
    }

    /// `A-B`, where both sides are classes. A label may have hyphens itself, so each is tried.
    fn difference(self, text: &str) -> Result<Option<Target>> {
        let sides =
            text.match_indices('-').map(|(at, _)| (text[..at].trim(), text[at + 1..].trim()));
        for (a, b) in sides {
            let (a, b) = match (is_number(a) && is_number(b), self.exactly(a), self.exactly(b)) {
                (true, ..) => (self.class(a)?, self.class(b)?),
                (false, a_class, b_class) => {
                    let number =
                        |text: &str| is_number(text).then(|| self.class(text).ok()).flatten();
                    match (a_class.or_else(|| number(a)), b_class.or_else(|| number(b))) {
                        (Some(a), Some(b)) => (a, b),
                        _ => continue,
                    }
                }
            };
            if a == b {
                bail!(Target, "{text} is the difference of a class and itself, which is always 0");
            }
            return Ok(Some(Target::Difference(a, b)));
        }
        Ok(None)
    }

    /// A class by its number or its label.
    fn class(self, text: &str) -> Result<usize> {
        let text = text.trim();
        if !is_number(text)
            || self.labels.is_some_and(|labels| labels.iter().any(|label| label == text))
        {
            return labeled(text, self.labels);
        }
        let in_range = |class: &usize| self.count.is_none_or(|classes| *class < classes);
        match (text.parse::<usize>().ok().filter(in_range), self.count) {
            (Some(class), _) => Ok(class),
            (None, Some(0) | None) => bail!(Target, "class {text} is out of range"),
            (None, Some(classes)) => {
                bail!(
                    Target,
                    "class {text} is out of range; the model has classes 0 to {}",
                    classes - 1
                )
            }
        }
    }

    /// The only class whose label is the text, or one of whose synonyms it is.
    fn exactly(self, text: &str) -> Option<usize> {
        let labels = self.labels?;
        match fitting(labels, text).as_slice() {
            [class] if !is_number(text) || labels[*class] == text => Some(*class),
            _ => None,
        }
    }
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// A number that counts from 1.
fn counted(text: &str) -> Option<usize> {
    text.trim().parse().ok().filter(|count| *count > 0)
}

/// The classes whose whole label is the text, else those whose label is it in another case, else those of which a synonym is.
fn fitting(labels: &[String], text: &str) -> Vec<usize> {
    let (text, lower) = (text.trim(), text.trim().to_lowercase());
    let classes = |fits: &dyn Fn(&str) -> bool| -> Vec<usize> {
        let each = labels.iter().enumerate().filter(|(_, label)| fits(label));
        each.map(|(class, _)| class).collect()
    };
    let synonym = |label: &str| label.to_lowercase().split(',').any(|word| word.trim() == lower);
    let ways: [&dyn Fn(&str) -> bool; 3] =
        [&|label| label == text, &|label| label.to_lowercase() == lower, &synonym];
    ways.into_iter().map(classes).find(|found| !found.is_empty()).unwrap_or_default()
}

fn labeled(text: &str, labels: Option<&[String]>) -> Result<usize> {
    let Some(labels) = labels else {
        bail!(
            Target, GiveLabels;
            "\"{text}\" is no target: the model has no labels; write a class number, argmax, top:K or A-B"
        )
    };
    let show = |classes: &[usize]| -> String {
        let each = classes.iter().map(|class| format!("{class} ({})", labels[*class]));
        each.collect::<Vec<_>>().join(", ")
    };
    match fitting(labels, text).as_slice() {
        [class] => Ok(*class),
        [] => match closest_labels(&text.to_lowercase(), labels).as_slice() {
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
        let labels = ["crane", "tabby, tabby cat", "Egyptian cat", "crane", "T-shirt"]
            .map(str::to_owned)
            .to_vec();
        TargetSpec::parse(text, Some(&labels), Some(5)).map_err(|error| error.to_string())
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
            ("Egyptian cat-tabby", TargetSpec::One(Target::Difference(2, 1))),
            ("0-Egyptian cat", TargetSpec::One(Target::Difference(0, 2))),
            ("t-shirt-tabby", TargetSpec::One(Target::Difference(4, 1))),
            ("T-shirt", TargetSpec::One(Target::Class(4))),
            ("p:2", TargetSpec::One(Target::Probability(2))),
            ("p:tabby", TargetSpec::One(Target::Probability(1))),
            ("neg:t-shirt", TargetSpec::One(Target::Negative(4))),
            ("tabby@2", TargetSpec::One(Target::Nth(1, 2))),
            ("0@1", TargetSpec::One(Target::Nth(0, 1))),
        ];
        for (text, target) in rows {
            assert_eq!(parse(text), Ok(target), "{text}");
        }
    }

    #[test]
    fn wrong_targets_say_why() {
        let rows = [
            ("5", "classes 0 to 4"),
            ("p:7", "classes 0 to 4"),
            ("tabby@0", "CLASS@K"),
            ("tabby-tabby", "a class and itself"),
            ("tabby-zebra", "no class is labeled"),
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

    #[test]
    fn a_number_that_is_a_label_is_that_label() {
        let labels = ["0", "90", "180", "270"].map(str::to_owned);
        let parse = |text| TargetSpec::parse(text, Some(&labels), Some(300)).ok();
        assert_eq!(parse("270"), Some(TargetSpec::One(Target::Class(3))));
        assert_eq!(parse("0"), Some(TargetSpec::One(Target::Class(0))));
        assert_eq!(parse("2"), Some(TargetSpec::One(Target::Class(2))));
        let note = |text| parse(text).and_then(|spec| spec.note(text));
        let said = Warning::NumberIsLabel { label: "270".to_owned(), class: 3 };
        assert_eq!(note(" 270"), Some(said));
        assert_eq!([note("0"), note("2"), note("270-0"), note("argmax")], [None, None, None, None]);
    }

    #[test]
    fn letters_have_a_case() {
        let labels = ["L", "l", "Tab, ta", "tab, TA"].map(str::to_owned);
        let parse =
            |text| TargetSpec::parse(text, Some(&labels), Some(4)).map_err(|e| e.to_string());
        assert_eq!(parse("l"), Ok(TargetSpec::One(Target::Class(1))));
        assert_eq!(parse("L"), Ok(TargetSpec::One(Target::Class(0))));
        let several = parse("ta").expect_err("two classes");
        assert!(several.contains("labels several classes: 2 (Tab, ta), 3 (tab, TA)"), "{several}");
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
    fn the_only_value_has_a_name() {
        let parse = |text| TargetSpec::parse(text, None, Some(1)).expect(text);
        assert_eq!(parse("value"), TargetSpec::One(Target::Class(0)));
        assert_eq!(parse("-value"), TargetSpec::One(Target::Negative(0)));
    }
}
