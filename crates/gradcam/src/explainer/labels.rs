//! The labels of the classes.

use crate::{
    Result,
    error::bail,
    head::{Form, Head},
    image::{
        PreprocessChoice,
        preprocess::{SettingOrigin, with_blank},
    },
    warning::Warning,
};

/// The labels of the classes, and where they come from.
#[derive(Debug)]
pub(super) struct Labels {
    names: Vec<String>,
    origin: SettingOrigin,
}

impl Labels {
    pub(super) fn of_choice(choice: &PreprocessChoice) -> Option<Self> {
        let origin = choice.origins.labels?;
        Some(Self { names: choice.labels.clone()?, origin })
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.names.len()
    }

    /// The class of no object, or of nothing between two others.
    pub(super) fn nothing(&self) -> Option<usize> {
        const NAMES: [&str; 8] = [
            "background",
            "__background__",
            "no object",
            "no_object",
            "blank",
            "<blank>",
            "[blank]",
            "<pad>",
        ];
        let is_nothing = |name: &String| NAMES.iter().any(|known| known.eq_ignore_ascii_case(name));
        self.names.iter().position(is_nothing)
    }

    /// The labels, if there is one for each class. A list of another length would name classes after their neighbors: a list
    /// from the user is then an error, a list that was found is left out with a warning. A list may leave out the class that
    /// stands for nothing, and that of the space between words behind the others.
    pub(super) fn of(mut self, head: &Head) -> Result<(Option<Vec<String>>, Option<Warning>)> {
        let classes = head.form.classes();
        self.names = with_blank(self.origin, self.names, classes);
        let nothing = match &head.form {
            Form::Anchors(anchors) => anchors.background,
            _ => head.blank,
        };
        if let Some(nothing) =
            nothing.filter(|nothing| self.nothing().is_none() && *nothing <= self.names.len())
        {
            if self.names.len() + 1 == classes || self.names.len() + 2 == classes {
                self.names.insert(nothing, String::new());
            }
            if self.names.len() + 1 == classes && head.blank.is_some() {
                self.names.push(" ".to_owned());
            }
        }
        let count = self.names.len();
        if count == classes {
            return Ok((Some(self.names), None));
        }
        match self.origin {
            SettingOrigin::Flag => bail!(
                Target,
                "the file of labels has {count} labels, but the model has {classes} classes; give one line, or one JSON \
                 entry, for each class"
            ),
            origin => {
                let source = origin.to_string();
                Ok((None, Some(Warning::LabelsLeftOut { source, labels: count, classes })))
            }
        }
    }
}
