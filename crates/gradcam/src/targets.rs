//! Targets: the scores that are explained, as users write them and as one scalar per image in the graph.

mod check;
mod custom;
mod emit;
mod parse;
mod part;
mod region;

use std::{fmt, ops::Range, sync::Arc};

use crate::{Result, error::bail};

pub use custom::CustomTarget;
pub(crate) use emit::{
    HeadValues, TargetRequest, TargetValues, class_input, emit, other_input, place_input,
};
pub(crate) use part::{TargetForm, TargetKind};
pub use region::{Area, Mask};

/// The score that is explained of one image.
///
/// In a segmentation, the score of a class is its sum over the pixels of this class; in a detector, that of its best box; of
/// a sequence, its sum over the time steps of this class. A regressor has one class for each of its values.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub enum Target {
    /// The class with the largest score, the first of equal ones.
    #[default]
    Argmax,
    /// The score of a class.
    Class(usize),
    /// The score of the first class minus that of the second: why this and not that.
    Difference(usize, usize),
    /// The score of a class with the opposite sign: what speaks against it, or what lowers a value.
    Negative(usize),
    /// The probability of a class.
    Probability(usize),
    /// One of several places of a class, counted from 1: the K-th best box after non-maximum suppression, or the K-th run of
    /// time steps.
    Nth(usize, usize),
    /// The box that overlaps most with an area, of the class if one is named.
    Box(Option<usize>, Area),
    /// The score of a class, or of the best one, over the pixels of a mask.
    Masked(Option<usize>, Arc<Mask>),
    /// The cosine of the angle between an embedding and a vector.
    Similar(Arc<[f32]>),
    /// What a user of the library emits. The class beside it is the one with the largest score.
    Custom(CustomTarget),
}

/// As users write it, with numbers for classes.
impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let class =
            |class: &Option<usize>| class.map_or("argmax".to_owned(), |class| class.to_string());
        match self {
            Self::Argmax => f.write_str("argmax"),
            Self::Class(class) => write!(f, "{class}"),
            Self::Difference(a, b) => write!(f, "{a}-{b}"),
            Self::Negative(class) => write!(f, "neg:{class}"),
            Self::Probability(class) => write!(f, "p:{class}"),
            Self::Nth(class, place) => write!(f, "{class}@{place}"),
            Self::Box(of, area) => write!(f, "{} in box {area}", class(of)),
            Self::Masked(of, _) => write!(f, "{} in mask", class(of)),
            Self::Similar(_) => f.write_str("similarity"),
            Self::Custom(custom) => f.write_str(custom.name()),
        }
    }
}

/// A target as a user writes it, before scores are known.
#[derive(Clone, Debug, PartialEq)]
pub enum TargetSpec {
    /// One target.
    One(Target),
    /// The K classes with the largest scores.
    Top(usize),
}

/// The targets of a call.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Targets {
    /// The same for every image; of `top:K` each image has its own classes.
    Shared(Vec<TargetSpec>),
    /// One for each image.
    OneEach(Vec<Target>),
}

/// As users write it.
impl fmt::Display for TargetSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::One(target) => target.fmt(f),
            Self::Top(best) => write!(f, "top:{best}"),
        }
    }
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
