//! Explanations of a batch with one target for each image, in one list.

use gradcam::{Explainer, Explanation, Images, Result, Target, Targets};

/// What most tests ask for.
pub(crate) trait OneEach {
    /// The explanations of all images, each for its own target, one image after the other.
    fn explain_one_each<'a>(
        &self,
        images: impl Into<Images<'a>>,
        targets: &[Target],
    ) -> Result<Vec<Explanation>>;
}

impl OneEach for Explainer {
    fn explain_one_each<'a>(
        &self,
        images: impl Into<Images<'a>>,
        targets: &[Target],
    ) -> Result<Vec<Explanation>> {
        let explained = self.explain(images, Targets::each(targets.iter().cloned()))?;
        Ok(explained.into_iter().flatten().collect())
    }
}
