//! The images and targets of a run.

use std::collections::HashSet;

use ndarray::{CowArray, IxDyn};

use super::{Setup, place::PlacedTarget};
use crate::{
    Result,
    engine::Tensor,
    error::bail,
    explanation::{Augmentation, Explanation},
    head::Head,
    targets::{Target, TargetKind},
};

/// One target for each image of a run.
#[derive(Clone, Debug)]
pub(super) enum Slot {
    /// One target for each image.
    Each(Vec<PlacedTarget>),
    /// For each image the class at this rank (1 is the second best).
    Rank(usize),
}

impl Slot {
    /// Replaces a rank by its classes, where explanations of the images give the scores already.
    pub(super) fn resolve(&mut self, known: &[Vec<(usize, Explanation)>]) {
        let Self::Rank(rank) = *self else { return };
        let class = |explained: &Vec<(usize, Explanation)>| {
            let top = explained.first()?.1.top(rank + 1);
            top.get(rank).map(|class| Target::Class(class.index).into())
        };
        if let Some(targets) = known.iter().map(class).collect() {
            *self = Self::Each(targets);
        }
    }

    /// The slot for some of the images.
    pub(super) fn rows(&self, images: &[RunImage]) -> Self {
        match self {
            Self::Each(targets) => {
                let of_image = |image: &RunImage| targets.get(image.number).cloned();
                Self::Each(images.iter().filter_map(of_image).collect())
            }
            Self::Rank(rank) => Self::Rank(*rank),
        }
    }

    /// Checks its targets.
    ///
    /// # Errors
    /// `Target`, `Method`.
    pub(super) fn check(&self, setup: &Setup) -> Result<()> {
        match self {
            Self::Each(targets) => targets.iter().try_for_each(|one| setup.check(&one.target)),
            Self::Rank(_) => setup.check(&Target::Argmax),
        }
    }

    /// Whether its targets are explained at places that are found first.
    pub(super) fn is_placed(&self, head: &Head) -> bool {
        match self {
            Self::Each(targets) => targets.iter().any(|one| one.target.is_placed(head)),
            Self::Rank(_) => Target::Argmax.is_placed(head),
        }
    }

    /// The kind of the targets.
    pub(super) fn kind(&self) -> Result<TargetKind> {
        let targets = match self {
            Self::Each(targets) => targets,
            Self::Rank(rank) => return Ok(TargetKind::rank(*rank)),
        };
        let kinds: HashSet<TargetKind> =
            targets.iter().map(|one| TargetKind::of(&one.target, one.place.is_some())).collect();
        match kinds.iter().collect::<Vec<_>>().as_slice() {
            [kind] => Ok((*kind).clone()),
            _ => bail!(
                Target,
                "the images of a batch have targets of one kind: differences of classes for all of them or for none"
            ),
        }
    }
}

impl Setup {
    /// Checks a target against the scores, the methods, and what is made of their maps.
    ///
    /// # Errors
    /// `Target`, `Method`.
    pub(super) fn check(&self, target: &Target) -> Result<()> {
        target.check(&self.head)?;
        self.maps.check_target(target, &self.head)?;
        self.methods.iter().try_for_each(|method| method.check(target, &self.head))
    }
}

/// An image of a run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct RunImage {
    /// Its number among those of the call.
    pub(super) number: usize,
    /// How it is changed.
    pub(super) augmentation: Augmentation,
}

impl RunImage {
    /// An image as it is.
    pub(super) fn plain(number: usize) -> Self {
        Self { number, augmentation: Augmentation::NONE }
    }
}

/// The images of a run, and the values of the other inputs for them.
pub(super) struct RunBatch<'x> {
    pub(super) x: CowArray<'x, f32, IxDyn>,
    pub(super) given: Vec<Tensor>,
}
