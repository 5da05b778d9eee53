//! Explains targets at places: a first run of the network finds the place of each, a second one explains it.

use std::{ops::Range, sync::Arc};

use ndarray::{ArrayViewD, Axis, Ix2};

use super::{
    Explainer, MOST_TARGETS,
    key::{Key, OutputMeaning},
    place::{Detections, PhotoPlacement, Place, PlacedTarget, nth_run},
    read::{Outputs, class_numbers},
    slot::{RunImage, Slot},
};
use crate::{
    Result,
    error::bail,
    explanation::{Explanation, TargetPlace},
    head::Form,
    targets::Target,
};

/// A target at its place, with its number among those of the call.
type NumberedTarget = (usize, PlacedTarget);

/// What the model says of one image, as far as places are found in it.
enum Prediction {
    Boxes(Detections),
    /// The class that wins each time step.
    Steps(Vec<usize>),
    /// Nothing has to be found.
    Nothing,
}

impl Explainer {
    /// Explains each image for itself, because each has its places. Slots and explanations have the numbers of their targets.
    pub(super) fn at_places(
        &self,
        x: ArrayViewD<'_, f32>,
        slots: &[(usize, Slot)],
        photos: Option<&[PhotoPlacement]>,
    ) -> Result<Vec<Vec<(usize, Explanation)>>> {
        let images = 0..x.len_of(Axis(0));
        let each = images.map(|image| {
            let photo = photos.and_then(|photos| photos.get(image)).copied();
            let prediction = self.predicted(&x, image, slots)?;
            let placed: Vec<NumberedTarget> = slots
                .iter()
                .map(|(number, slot)| Ok((*number, self.placed(slot, image, &prediction, photo)?)))
                .collect::<Result<_>>()?;
            let mut explained = self.explain_placed(&x, image, placed, photo)?;
            if let Prediction::Boxes(found) = &prediction {
                let (probabilities, ranking): (Arc<[f32]>, Arc<[usize]>) =
                    (found.of_classes().into(), found.ranked().into());
                for (_, explanation) in &mut explained {
                    explanation.rank(probabilities.clone(), ranking.clone());
                }
            }
            Ok(explained)
        });
        each.collect()
    }

    /// Explains one image of a batch for targets whose places are known.
    fn explain_placed(
        &self,
        x: &ArrayViewD<'_, f32>,
        image: usize,
        placed: Vec<NumberedTarget>,
        photo: Option<PhotoPlacement>,
    ) -> Result<Vec<(usize, Explanation)>> {
        let (count, a_run) = (x.len_of(Axis(0)), self.inputs.image.batch().unwrap_or(1).max(1));
        let mut by_layers: Vec<(Range<usize>, Vec<NumberedTarget>)> = Vec::new();
        for (number, one) in placed {
            let layers = self.layers_for(&one);
            match by_layers.iter_mut().find(|(range, _)| *range == layers) {
                Some((_, targets)) => targets.push((number, one)),
                None => by_layers.push((layers, vec![(number, one)])),
            }
        }
        let mut explained: Vec<(usize, Explanation)> = Vec::new();
        for (layers, targets) in by_layers {
            for targets in targets.chunks(MOST_TARGETS) {
                let slots = targets.iter().map(|(_, one)| Slot::Each(vec![one.clone(); count]));
                let slots: Vec<Slot> = slots.collect();
                let of_slots =
                    self.run(x.view(), &slots, &layers, &vec![RunImage::plain(image); a_run], 1)?;
                for ((number, _), of_slot) in targets.iter().zip(of_slots) {
                    explained.extend(of_slot.into_iter().flatten().map(|one| (*number, one)));
                }
            }
        }
        if let Some(photo) = photo {
            for (_, explanation) in &mut explained {
                if let Some(TargetPlace::Box { area, .. }) = &mut explanation.place {
                    *area = area.to_photo(&photo.placement);
                }
            }
        }
        Ok(explained)
    }

    /// The layers that are explained for a target: those of the scale that its box comes from, where nobody named layers.
    fn layers_for(&self, placed: &PlacedTarget) -> Range<usize> {
        let Some(Place::Box { found, .. }) = &placed.place else {
            return 0..self.setup.layers.len();
        };
        match self.setup.scales.iter().position(|anchors| anchors.contains(&found.anchor)) {
            Some(scale) => scale..scale + 1,
            None if self.setup.scales.is_empty() => 0..self.setup.layers.len(),
            None => 0..1,
        }
    }

    /// Runs the network on one image, where a target has to be found in its result.
    fn predicted(
        &self,
        x: &ArrayViewD<'_, f32>,
        image: usize,
        slots: &[(usize, Slot)],
    ) -> Result<Prediction> {
        let is_nth = |(_, slot): &(usize, Slot)| match slot {
            Slot::Each(targets) => targets.iter().any(|one| matches!(one.target, Target::Nth(..))),
            Slot::Rank(_) => false,
        };
        let head = &self.setup.head;
        let anchors = match &head.form {
            Form::Anchors(anchors) => Some(anchors),
            Form::Steps { .. } if slots.iter().any(is_nth) => None,
            _ => return Ok(Prediction::Nothing),
        };
        let a_run = self.inputs.image.batch().unwrap_or(1).max(1);
        let mut shape = x.shape().to_vec();
        shape[0] = a_run;
        let compiled = self.compiled(Key::Prediction(shape))?;
        let batch = self.batch(x, &vec![RunImage::plain(image); a_run])?;
        let outputs = Outputs::of(&compiled, self.feed(&compiled, &batch, &[])?);
        let Some(anchors) = anchors else {
            let winners = outputs.floats(&OutputMeaning::Winners)?.index_axis(Axis(0), 0);
            return Ok(Prediction::Steps(class_numbers(&winners)));
        };
        let flat = |output: OutputMeaning| -> Result<_> {
            let values = outputs.floats(&output)?.index_axis(Axis(0), 0);
            match values.into_dimensionality::<Ix2>() {
                Ok(values) => Ok(values),
                Err(_) => bail!(Engine, "the engine gave \"{output}\" of another shape"),
            }
        };
        let scores = flat(OutputMeaning::AnchorScores)?;
        let boxes = match anchors.boxes {
            Some(_) => Some(flat(OutputMeaning::AnchorBoxes)?),
            None => None,
        };
        let sides = match self.input_size(x.shape()).as_slice() {
            [height, width] => (*height, *width),
            _ => (1, 1),
        };
        Ok(Prediction::Boxes(Detections::new(head, anchors, scores, boxes, sides)))
    }

    /// The target of one image with its place.
    fn placed(
        &self,
        slot: &Slot,
        image: usize,
        prediction: &Prediction,
        photo: Option<PhotoPlacement>,
    ) -> Result<PlacedTarget> {
        let target = match slot {
            Slot::Each(targets) => {
                targets.get(image).map(|one| one.target.clone()).unwrap_or_default()
            }
            Slot::Rank(rank) => match prediction {
                Prediction::Boxes(detections) => match detections.ranked().get(*rank) {
                    Some(class) => Target::Class(*class),
                    None => bail!(Target, "the model has no class at rank {}", rank + 1),
                },
                // The graph finds it.
                _ => Target::Argmax,
            },
        };
        let place = match (&target, prediction) {
            (Target::Masked(_, mask), _) => Some(Place::Mask(mask.clone(), photo)),
            (Target::Nth(class, place), Prediction::Steps(winners)) => {
                Some(nth_run(winners, *class, *place)?)
            }
            (Target::Nth(class, place), Prediction::Boxes(found)) => {
                Some(found.nth(*class, *place)?)
            }
            (Target::Box(class, area), Prediction::Boxes(found)) => {
                let in_network = photo.map_or(*area, |photo| area.to_network(&photo.placement));
                Some(found.at(*class, &in_network, area)?)
            }
            (target, Prediction::Boxes(found)) => {
                let best = found.ranked().first().copied();
                match target.class().or(best) {
                    Some(class) => Some(found.nth(class, 1)?),
                    None => bail!(Target, "the model has no class"),
                }
            }
            _ => None,
        };
        Ok(PlacedTarget { target, place })
    }
}
