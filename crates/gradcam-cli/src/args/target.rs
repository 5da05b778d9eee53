//! The flags of targets.

use std::path::PathBuf;

use clap::{Args, ValueHint};
use gradcam::Area;

use super::values;

/// The arguments about what is explained.
#[derive(Debug, Args)]
pub(crate) struct TargetArgs {
    /// What to explain: argmax, a class number or label, A-B, top:K, p:CLASS, neg:CLASS, CLASS@K
    ///
    /// argmax is the class with the largest score. 285-967 explains why class 285 and not 967, as does
    /// 'Egyptian cat-espresso'. top:3 explains the three best classes. p:285 explains the probability, neg:285
    /// the score with the opposite sign. A label is written in full or as one of its synonyms; case does
    /// not matter. In a detector (YOLO, DETR, SSD), a class is explained at its best box, and person@2 is the second
    /// best after non-maximum suppression. In a sequence (text recognition), a class is explained at its time steps,
    /// and e@2 is its second run. The value of a regressor is value, or -value for what lowers it. May be given
    /// several times; `gradcam compare` takes several separated by commas too, where a label with a comma is written as
    /// one of its synonyms, and gives each a row.
    #[arg(
        long = "target",
        value_name = "TARGET",
        default_value = "argmax",
        allow_hyphen_values = true
    )]
    pub(crate) targets: Vec<String>,

    /// The box to explain, in pixels of the photo: of a detector's boxes the one that overlaps most
    ///
    /// With --target CLASS, of the boxes of that class. Of a tensor, in pixels of the network's input.
    #[arg(long = "box", value_name = "X,Y,WIDTH,HEIGHT", value_parser = values::area)]
    pub(crate) area: Option<Area>,

    /// In a segmentation, the pixels whose scores are explained: a picture over the photo, white where they count
    ///
    /// Without it, a class is explained at the pixels that the model gives it.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, conflicts_with = "area")]
    pub(crate) mask: Option<PathBuf>,

    /// What an embedding is compared with: a photo, or a vector in a .npy file
    ///
    /// The cosine of the angle between the two vectors is explained: which parts of the photo make it similar.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath,
          conflicts_with_all = ["targets", "area", "mask"])]
    pub(crate) similar_to: Option<PathBuf>,
}

impl TargetArgs {
    /// The files that are read.
    pub(crate) fn files(&self) -> impl Iterator<Item = &PathBuf> {
        self.mask.iter().chain(&self.similar_to)
    }
}
