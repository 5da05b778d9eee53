//! The labels of the classes.

use crate::{
    Result,
    error::bail,
    image::{PreprocessChoice, preprocess::SettingOrigin},
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

    /// The labels, if there is one for each class. A list of another length would name classes after their neighbors: a list
    /// from the user is then an error, a list that was found is left out with a warning.
    pub(super) fn of(self, classes: usize) -> Result<(Option<Vec<String>>, Option<Warning>)> {
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
