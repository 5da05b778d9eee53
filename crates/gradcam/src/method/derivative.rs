//! The targets that a method explains, by what its recipe takes as g.

use super::{Derivative, Method, Recipe};
use crate::{
    Result,
    error::bail,
    head::{Form, Head, HeadKind},
    targets::Target,
};

impl Method {
    /// What it takes as g; `Gradient` for a recipe on the host.
    pub(crate) fn derivative(self) -> Derivative {
        match &self.info().recipe {
            Recipe::Graph(recipe) => recipe.of,
            Recipe::Passes(_) => Derivative::Gradient,
        }
    }

    /// Checks that it explains a target of these scores.
    ///
    /// # Errors
    /// `Method`.
    pub(crate) fn check(self, target: &Target, head: &Head) -> Result<()> {
        let kind = head.info.kind;
        let is_class = matches!(target, Target::Argmax | Target::Class(_));
        let is_linear = is_class || matches!(target, Target::Difference(..) | Target::Negative(_));
        let has_rivals = matches!(kind, HeadKind::Softmax | HeadKind::Sigmoid)
            && matches!(head.form, Form::Classes(2..));
        match self.derivative() {
            Derivative::Contrast if !has_rivals => bail!(
                Method,
                "{self} compares the score of a class with those of other classes of an image, and this model's scores are \
                 of the kind {kind}; choose another method"
            ),
            Derivative::Contrast if !is_class => bail!(
                Method,
                "{self} compares a class with those of the nearest scores, and the target {target} is no class; name a \
                 class, or choose another method"
            ),
            Derivative::Row if !is_linear => bail!(
                Method,
                "{self} takes the row of a class in the last linear layer, and the target {target} has none; name a class, or \
                 choose gradcam"
            ),
            _ => Ok(()),
        }
    }
}
