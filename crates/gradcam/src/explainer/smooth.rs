//! Smoothing: test-time augmentation, where a batch is explained with changed copies of its images, and principal components
//! in place of sums.

use std::ops::Range;

use ndarray::{ArrayViewD, Axis};

use super::{
    Explainer,
    key::{MapPlace, OutputMeaning},
    read::Outputs,
    slot::{RunImage, Slot},
};
use crate::{
    Result,
    error::ErrorKind,
    explanation::{Augmentation, AugmentedMaps, Explanation, LayerMap},
    method::{Summand, principal_component},
    targets::Target,
};

/// The passes of `aug_smooth` of pytorch-grad-cam, the image as it is first.
const AUGMENTATIONS: [Augmentation; 6] = [
    Augmentation::NONE,
    Augmentation { flipped: false, factor: 0.9 },
    Augmentation { flipped: false, factor: 1.1 },
    Augmentation { flipped: true, factor: 1.0 },
    Augmentation { flipped: true, factor: 0.9 },
    Augmentation { flipped: true, factor: 1.1 },
];

impl Explainer {
    /// Explains a batch. Gives for each slot and image one explanation for each method.
    pub(super) fn batched(
        &self,
        x: ArrayViewD<'_, f32>,
        slots: &[Slot],
        layers: &Range<usize>,
    ) -> Result<Vec<Vec<Vec<Explanation>>>> {
        let count = self.inputs.image.check(x.shape())?;
        if self.setup.maps.aug_smooth {
            return self.augmented(&x, slots, layers, count);
        }
        let images: Vec<RunImage> = (0..count).map(RunImage::plain).collect();
        let a_run = self.inputs.image.batch().unwrap_or(count);
        self.in_runs(&x, slots, layers, &images, a_run)
    }

    /// Explains the images of a batch and their changed copies.
    fn augmented(
        &self,
        x: &ArrayViewD<'_, f32>,
        slots: &[Slot],
        layers: &Range<usize>,
        count: usize,
    ) -> Result<Vec<Vec<Vec<Explanation>>>> {
        let copies = |augmentation| (0..count).map(move |number| RunImage { number, augmentation });
        let images: Vec<RunImage> = AUGMENTATIONS.into_iter().flat_map(copies).collect();
        let mut all = self.in_largest_runs(x, slots, layers, &images)?;
        // The copies are explained for the class of the image itself.
        let class = |of_copy: &Vec<Explanation>| of_copy.first().map(|one| one.class.index);
        let pinned = |(slot, of_slot): (&Slot, &Vec<Vec<Explanation>>)| {
            let (plain, copies) = of_slot.split_at(count);
            let same = copies.iter().zip(plain.iter().cycle()).all(|(a, b)| class(a) == class(b));
            let target = |at: usize, one: &Target| match one {
                Target::Argmax => class(&plain[at]).map_or(Target::Argmax, Target::Class),
                other => other.clone(),
            };
            let numbers = 0..count;
            let each = match slot {
                Slot::Each(targets) => {
                    numbers.zip(targets).map(|(at, one)| target(at, &one.target).into()).collect()
                }
                Slot::Rank(_) => numbers.map(|at| target(at, &Target::Argmax).into()).collect(),
            };
            (!same).then_some(Slot::Each(each))
        };
        let pinned: Vec<Option<Slot>> = slots.iter().zip(&all).map(pinned).collect();
        if pinned.iter().any(Option::is_some) {
            let slots = slots.iter().zip(pinned);
            let slots: Vec<Slot> =
                slots.map(|(slot, pinned)| pinned.unwrap_or_else(|| slot.clone())).collect();
            let again = self.in_largest_runs(x, &slots, layers, &images)?;
            for (of_slot, again) in all.iter_mut().zip(again) {
                of_slot.splice(count.., again.into_iter().skip(count));
            }
        }
        for of_slot in &mut all {
            let copies = of_slot.split_off(count);
            for (image, of_copy) in images[count..].iter().zip(copies) {
                for (plain, copy) in of_slot[image.number].iter_mut().zip(of_copy) {
                    let (augmentation, layers) = (image.augmentation, copy.layers);
                    plain.augmented.push(AugmentedMaps { augmentation, layers });
                }
            }
        }
        Ok(all)
    }

    /// Explains images and their copies in one run, or in several where that would be above the memory limit.
    fn in_largest_runs(
        &self,
        x: &ArrayViewD<'_, f32>,
        slots: &[Slot],
        layers: &Range<usize>,
        images: &[RunImage],
    ) -> Result<Vec<Vec<Vec<Explanation>>>> {
        if let Some(fixed) = self.inputs.image.batch() {
            return self.in_runs(x, slots, layers, images, fixed);
        }
        for runs in [1, 2, 3] {
            match self.in_runs(x, slots, layers, images, images.len() / runs) {
                Err(error) if error.kind() == ErrorKind::Memory => {}
                explained => return explained,
            }
        }
        self.in_runs(x, slots, layers, images, images.len() / AUGMENTATIONS.len())
    }

    /// Replaces the maps of one image, target and method, sums over channels, by principal components.
    pub(super) fn smooth_maps(
        &self,
        outputs: &Outputs,
        at: MapPlace,
        layers: &Range<usize>,
        item: usize,
        maps: &mut [LayerMap],
    ) -> Result<()> {
        let summand = self.setup.methods[at.method].info().summand;
        for (layer, map) in layers.clone().zip(maps) {
            let of_item = |output: OutputMeaning| -> Result<_> {
                Ok(outputs.floats(&output)?.index_axis(Axis(0), item).to_owned())
            };
            let summands = match summand {
                Summand::Weighted => {
                    let mut weighted = of_item(OutputMeaning::Activation(layer))?;
                    for (mut channel, weight) in weighted.outer_iter_mut().zip(map.weights.iter()) {
                        channel *= *weight;
                    }
                    weighted
                }
                Summand::Product => of_item(OutputMeaning::Product(MapPlace { layer, ..at }))?,
                Summand::Nothing => continue,
            };
            map.map = principal_component(&summands.view())?.map.into_shared();
        }
        Ok(())
    }
}
