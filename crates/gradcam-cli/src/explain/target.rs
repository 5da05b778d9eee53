//! The targets of the command line: of --target, --box, --mask and --similar-to together.

use std::{path::Path, sync::Arc};

use gradcam::{
    Explainer, Explanation, Mask, Target, TargetSpec, Warning,
    engine::Tensor,
    image::{Limits, Photo},
};

use super::input::{self, Content};
use crate::{
    args::TargetArgs,
    failure::{Failure, Result, failed},
    npy,
};

/// The targets, each once, and what is said about them.
#[derive(Debug)]
pub(crate) struct Targets {
    pub(crate) specs: Vec<TargetSpec>,
    notes: Vec<(Target, Warning)>,
}

impl Targets {
    /// Adds the notes about targets to their explanations.
    pub(crate) fn annotate(&self, explanations: &mut [Explanation]) {
        for explanation in explanations {
            let own = self.notes.iter().filter(|(target, _)| *target == explanation.target);
            explanation.warnings.extend(own.map(|(_, note)| note.clone()));
        }
    }
}

/// The targets that the flags say.
pub(crate) fn targets(args: &TargetArgs, explainer: &Explainer) -> Result<Targets> {
    let mut notes = Vec::new();
    if let Some(path) = &args.similar_to {
        let target = TargetSpec::One(Target::Similar(vector(path, explainer)?));
        explainer.check_target(&target)?;
        return Ok(Targets { specs: vec![target], notes });
    }
    let mask = args.mask.as_deref().map(mask).transpose()?;
    let mut targets = Vec::new();
    for text in &args.targets {
        let mut spec = explainer.parse_target(text)?;
        let note = spec.note(text);
        let flag = if args.area.is_some() { "--box" } else { "--mask" };
        if args.area.is_some() || mask.is_some() {
            let class = match &spec {
                TargetSpec::One(Target::Argmax) => None,
                TargetSpec::One(Target::Class(class)) => Some(*class),
                _ => {
                    return Err(Failure::Usage(format!(
                        "{flag} goes with a class as the target, or without --target, and not with --target {text}"
                    )));
                }
            };
            spec = match (args.area, &mask) {
                (Some(area), _) => Target::Box(class, area).into(),
                (None, Some(mask)) => Target::Masked(class, mask.clone()).into(),
                (None, None) => spec,
            };
        }
        explainer.check_target(&spec)?;
        if let (TargetSpec::One(target), Some(note)) = (&spec, note) {
            notes.push((target.clone(), note));
        }
        // Two names of one target, such as a number and its label, give one map.
        if !targets.contains(&spec) {
            targets.push(spec);
        }
    }
    Ok(Targets { specs: targets, notes })
}

fn mask(path: &Path) -> Result<Arc<Mask>> {
    let about = |why: String| failed(format!("--mask {}: {why}", path.display()));
    let picture =
        Photo::open(path, &Limits::default()).map_err(|error| about(error.to_string()))?;
    Ok(Arc::new(Mask::of(&picture).map_err(|error| about(error.to_string()))?))
}

/// The vector of a .npy file, or what the model says of a photo.
pub(crate) fn vector(path: &Path, explainer: &Explainer) -> Result<Arc<[f32]>> {
    let about = |why: String| failed(format!("--similar-to {}: {why}", path.display()));
    if path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("npy"))
        && let Tensor::F32(array) = npy::load(path).map_err(Failure::Failed)?
        && array.ndim() == 1
    {
        return Ok(array.iter().copied().collect());
    }
    let embedding = match input::read_content(path, explainer.image_input()).map_err(about)? {
        Content::Picture(bytes) => {
            let photo = Photo::decode(&bytes, &Limits::default());
            explainer.embedding(&photo.map_err(|error| about(error.to_string()))?)
        }
        Content::Tensor(x) => explainer.embedding(x.view()),
    };
    embedding.map_err(|error| about(error.to_string()))
}
