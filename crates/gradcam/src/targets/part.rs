//! The kinds of targets: what a graph is made for.

use super::{CustomTarget, Target};

/// The scalar that a target is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum TargetForm {
    /// The score of one class for each image; −1 is the arg-max.
    Class,
    /// The difference of two classes.
    Difference,
    /// The score of a class with the opposite sign.
    Negative,
    /// The probability of a class.
    Probability,
    /// The cosine of the scores and a vector.
    Similarity,
    /// What the user emits. It has no input.
    Custom,
    /// The score of the class at this rank (1 is the second best). It has no input.
    Rank(usize),
}

impl TargetForm {
    /// Whether it is an affine function of the scores.
    pub(crate) fn is_affine(self) -> bool {
        match self {
            Self::Class | Self::Difference | Self::Negative | Self::Rank(_) => true,
            Self::Probability | Self::Similarity | Self::Custom => false,
        }
    }
}

/// The kind of a target. A graph is made for kinds; the classes and places are its inputs.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct TargetKind {
    pub(crate) form: TargetForm,
    /// Whether an input says where: an anchor, pixels or time steps.
    pub(crate) placed: bool,
    /// What the user emits.
    pub(crate) custom: Option<CustomTarget>,
}

impl TargetKind {
    /// The kind of a target, where it is at a place that is known or everywhere.
    pub(crate) fn of(target: &Target, placed: bool) -> Self {
        let form = match target {
            Target::Argmax
            | Target::Class(_)
            | Target::Nth(..)
            | Target::Box(..)
            | Target::Masked(..) => TargetForm::Class,
            Target::Difference(..) => TargetForm::Difference,
            Target::Negative(_) => TargetForm::Negative,
            Target::Probability(_) => TargetForm::Probability,
            Target::Similar(_) => TargetForm::Similarity,
            Target::Custom(_) => TargetForm::Custom,
        };
        let custom = match target {
            Target::Custom(custom) => Some(custom.clone()),
            _ => None,
        };
        Self { form, placed, custom }
    }

    /// The kind of a rank.
    pub(crate) fn rank(rank: usize) -> Self {
        Self { form: TargetForm::Rank(rank), placed: false, custom: None }
    }
}
