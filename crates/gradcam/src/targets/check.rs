//! Whether a target fits the scores of a model, and what it needs.

use super::Target;
use crate::{
    Result,
    error::bail,
    head::{Form, Head, Scale},
};

impl Target {
    /// Whether an input of the graph says where it is, because nothing in the graph can find the place.
    pub(crate) fn needs_place(&self) -> bool {
        matches!(self, Self::Nth(..) | Self::Box(..) | Self::Masked(..))
    }

    /// Whether it is explained at a place that is found first: that of a detector's box always.
    pub(crate) fn is_placed(&self, head: &Head) -> bool {
        let is_custom = matches!(self, Self::Custom(_));
        self.needs_place() || !is_custom && matches!(head.form, Form::Anchors(_))
    }

    /// The class that it names first.
    pub(crate) fn class(&self) -> Option<usize> {
        match self {
            Self::Argmax | Self::Similar(_) | Self::Custom(_) => None,
            Self::Class(class)
            | Self::Difference(class, _)
            | Self::Negative(class)
            | Self::Probability(class)
            | Self::Nth(class, _) => Some(*class),
            Self::Box(class, _) | Self::Masked(class, _) => *class,
        }
    }

    /// Checks it against the scores.
    ///
    /// # Errors
    /// `Target` where a class does not exist, or the scores have nothing of this kind.
    pub(crate) fn check(&self, head: &Head) -> Result<()> {
        let classes = head.form.classes();
        let other = match self {
            Self::Difference(_, other) => Some(*other),
            _ => None,
        };
        if let Some(class) = self.class().into_iter().chain(other).find(|class| *class >= classes) {
            bail!(
                Target,
                "class {class} is out of range; the model has classes 0 to {}",
                classes.max(1) - 1
            )
        }
        let kind = head.info.kind;
        match (self, &head.form) {
            (Self::Argmax, _) if !kind.has_best() => bail!(
                Target, GiveReference;
                "the model gives an embedding, which has no classes; it is explained by what it has in common with another one"
            ),
            (Self::Probability(_), Form::Classes(_) | Form::Binary)
                if head.scale != Scale::Values =>
            {
                Ok(())
            }
            (Self::Probability(_), Form::Anchors(_)) if head.scale != Scale::Softmax => Ok(()),
            (Self::Probability(class), _) => {
                bail!(
                    Target,
                    "p:{class}: the scores of a {kind} have no probability for an image; explain the class itself"
                )
            }
            (Self::Nth(..), Form::Anchors(_) | Form::Steps { .. }) => Ok(()),
            (Self::Nth(class, place), _) => bail!(
                Target,
                "{class}@{place} is one of several boxes or runs of time steps, and this model's scores are of the kind {kind}"
            ),
            (Self::Box(..), Form::Anchors(anchors)) if anchors.boxes.is_some() => Ok(()),
            (Self::Box(..), _) => {
                bail!(
                    Target,
                    "a box is a target in a detector, and this model's scores are of the kind {kind}"
                )
            }
            (Self::Masked(..), Form::Pixels(_) | Form::Mask) => Ok(()),
            (Self::Masked(..), _) => {
                bail!(
                    Target,
                    "a mask is a target in a segmentation, and this model's scores are of the kind {kind}"
                )
            }
            (Self::Similar(vector), Form::Classes(size)) => {
                if vector.len() != *size {
                    bail!(
                        Target,
                        "the vector has {} numbers, and the model's output \"{}\" has {size}",
                        vector.len(),
                        head.info.output
                    );
                }
                if vector.iter().all(|number| *number == 0.0)
                    || vector.iter().any(|number| !number.is_finite())
                {
                    bail!(Target, "the vector has no direction: it is 0, or not finite");
                }
                Ok(())
            }
            (Self::Similar(_), _) => {
                bail!(
                    Target,
                    "a vector is compared with an embedding, and this model's scores are of the kind {kind}"
                )
            }
            (
                Self::Argmax
                | Self::Class(_)
                | Self::Difference(..)
                | Self::Negative(_)
                | Self::Custom(_),
                _,
            ) => Ok(()),
        }
    }
}
