//! The run: compiles the graph for a shape and kinds of targets once, and runs it.

use std::{ops::Range, sync::Arc};

use ndarray::{Array1, ArrayD, ArrayViewD, Axis, CowArray};
use onnx_grad::{DeclaredDim, Model};
use web_time::Instant;

use super::{
    Explainer,
    key::{ExplainerProgram, Key},
    place::Place,
    read::Outputs,
    slot::{RunBatch, RunImage, Slot},
};
use crate::{
    Result,
    engine::{Tensor, TensorView},
    explanation::{Explanation, Timings, scores_of},
    head::Form,
    targets::{Target, class_input, other_input, place_input},
};

impl Explainer {
    /// Explains a batch in as many runs as the model's batch size needs. Gives for each slot and image one explanation for
    /// each method.
    pub(super) fn in_runs(
        &self,
        x: &ArrayViewD<'_, f32>,
        slots: &[Slot],
        layers: &Range<usize>,
        images: &[RunImage],
        a_run: usize,
    ) -> Result<Vec<Vec<Vec<Explanation>>>> {
        let mut all: Vec<Vec<Vec<Explanation>>> = slots.iter().map(|_| Vec::new()).collect();
        let a_run = match self.inputs.image.batch() {
            Some(_) => a_run,
            None => a_run.min(self.most_images),
        };
        for of_run in images.chunks(a_run.max(1)) {
            // The last batch is padded by repeating its last image.
            let padding =
                of_run.last().into_iter().cycle().take(a_run.saturating_sub(of_run.len()));
            let padded: Vec<RunImage> = of_run.iter().chain(padding).copied().collect();
            let explained = self.run(x.view(), slots, layers, &padded, of_run.len())?;
            for (all, some) in all.iter_mut().zip(explained) {
                all.extend(some);
            }
        }
        Ok(all)
    }

    /// Explains `images` of a batch in one run; those behind the first `of_run` pad it. Gives for each slot
    /// and image the explanations, method by method.
    pub(super) fn run(
        &self,
        x: ArrayViewD<'_, f32>,
        slots: &[Slot],
        layers: &Range<usize>,
        images: &[RunImage],
        of_run: usize,
    ) -> Result<Vec<Vec<Vec<Explanation>>>> {
        self.cancel.check()?;
        let slots: Vec<Slot> = slots.iter().map(|slot| slot.rows(images)).collect();
        let kinds = slots.iter().map(Slot::kind).collect::<Result<_>>()?;
        let mut shape = x.shape().to_vec();
        shape[0] = images.len();
        let mut timings = Timings::default();
        let key = Key::Explanation(shape, kinds, layers.clone());
        let compiled = self.compiled_in(key, &mut timings)?;
        let batch = self.batch(&x, images)?;
        let targets = self.target_inputs(&slots, &compiled)?;
        let started = Instant::now();
        let tensors = self.feed(&compiled, &batch, &targets)?;
        timings.run = started.elapsed();
        let outputs = Outputs::of(&compiled, tensors);
        let mut explained = self.read(&outputs, &slots, layers, &batch, of_run, timings)?;
        if self.setup.compare_deployed {
            let compiled = self.compiled(Key::Deployed(batch.x.shape().to_vec()))?;
            let scores = self.feed(&compiled, &batch, &targets)?.pop().and_then(Tensor::into_f32);
            let rows = scores.iter().flat_map(|scores| scores.axis_iter(Axis(0)).enumerate());
            for (item, row) in rows {
                let row: Vec<f32> = row.iter().copied().collect();
                let (scores, probabilities) = scores_of(&self.setup.head, &row);
                let of_item = explained.iter_mut().filter_map(|of_slot| of_slot.get_mut(item));
                for explanation in of_item.flatten() {
                    explanation.compare(scores.clone(), probabilities.clone());
                }
            }
        }
        Ok(explained)
    }

    /// The images of a run, and the values of the other inputs for them. A padded batch may be large, so it is made only
    /// when the program has checked the memory limit.
    pub(super) fn batch<'x>(
        &self,
        x: &'x ArrayViewD<'_, f32>,
        images: &[RunImage],
    ) -> Result<RunBatch<'x>> {
        let count = x.shape().first().copied().unwrap_or(0);
        let numbers: Vec<usize> = images.iter().map(|image| image.number).collect();
        let given = self.inputs.given.iter().map(|given| given.rows(&numbers, count));
        let given = given.collect::<Result<Vec<_>>>()?;
        let start = numbers.first().copied().unwrap_or(0);
        let range = (start..start + images.len()).map(RunImage::plain);
        if images.iter().copied().eq(range) {
            let x = x.slice_axis(Axis(0), (start..start + images.len()).into());
            return Ok(RunBatch { x: CowArray::from(x), given });
        }
        let mut chosen = x.select(Axis(0), &numbers);
        for (row, image) in chosen.outer_iter_mut().zip(images) {
            self.inputs.image.augment(row, image.augmentation);
        }
        Ok(RunBatch { x: CowArray::from(chosen), given })
    }

    /// Runs a program on a batch. `targets` are its further inputs.
    pub(super) fn feed(
        &self,
        compiled: &ExplainerProgram,
        batch: &RunBatch<'_>,
        targets: &[(String, Tensor)],
    ) -> Result<Vec<Tensor>> {
        self.cancel.check()?;
        let integers = self.inputs.image.integers(&batch.x.view())?;
        let images =
            integers.as_ref().map_or(TensorView::from(batch.x.view()), |x| x.view().into());
        let mut inputs = vec![(self.inputs.image.name.as_str(), images)];
        inputs.extend(targets.iter().map(|(name, tensor)| (name.as_str(), tensor.view())));
        let names = self.inputs.given.iter().map(|given| given.name.as_str());
        inputs.extend(names.zip(batch.given.iter().map(Tensor::view)));
        compiled.program.run(&inputs)
    }

    /// The classes of the targets, and where they are, as inputs of a program: −1 is the arg-max.
    pub(super) fn target_inputs(
        &self,
        slots: &[Slot],
        program: &ExplainerProgram,
    ) -> Result<Vec<(String, Tensor)>> {
        let mut inputs = Vec::new();
        for (slot, targets) in slots.iter().enumerate() {
            let Slot::Each(targets) = targets else { continue };
            let number = |class: Option<usize>| {
                class.and_then(|class| i64::try_from(class).ok()).unwrap_or(-1)
            };
            let classes = targets.iter().map(|one| match &one.place {
                Some(Place::Box { class, .. }) => number(Some(*class)),
                _ => number(one.target.class()),
            });
            let others = targets.iter().map(|one| match one.target {
                Target::Difference(_, other) => number(Some(other)),
                _ => -1,
            });
            let whole = |numbers: Vec<i64>| Tensor::I64(Array1::from(numbers).into_dyn());
            inputs.push((class_input(slot), whole(classes.collect())));
            inputs.push((other_input(slot), whole(others.collect())));
            let Some(shape) = program.place_shape(slot) else { continue };
            if let Form::Anchors(_) = self.setup.head.form {
                let anchors = targets.iter().map(|one| match &one.place {
                    Some(Place::Box { found, .. }) => number(Some(found.anchor)),
                    _ => 0,
                });
                inputs.push((place_input(slot), whole(anchors.collect())));
                continue;
            }
            let mut weights = ArrayD::zeros(shape);
            for (one, mut row) in targets.iter().zip(weights.outer_iter_mut()) {
                if let Target::Similar(vector) = &one.target {
                    let length = vector.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>().sqrt();
                    #[expect(clippy::cast_possible_truncation, reason = "the network's precision")]
                    let unit = vector.iter().map(|v| (f64::from(*v) / length) as f32);
                    row.iter_mut().zip(unit).for_each(|(weight, unit)| *weight = unit);
                } else if let Some(place) = &one.place {
                    row.assign(&place.weights(&shape[1..]));
                }
            }
            inputs.push((place_input(slot), Tensor::F32(weights)));
        }
        Ok(inputs)
    }

    /// The program of a key.
    pub(super) fn compiled(&self, key: Key) -> Result<Arc<ExplainerProgram>> {
        self.compiled_in(key, &mut Timings::default())
    }

    /// The program of a key; `timings` gets the time of making it.
    pub(super) fn compiled_in(
        &self,
        key: Key,
        timings: &mut Timings,
    ) -> Result<Arc<ExplainerProgram>> {
        self.programs.get((self.inputs.default_sizes(None), key), |(_, key)| {
            let started = Instant::now();
            let (model, outputs) = self.model_of(key)?;
            timings.differentiate = started.elapsed();
            let started = Instant::now();
            let program = match key {
                Key::Deployed(_) => self.setup.runtime.program_as_deployed(&model)?,
                _ => self.setup.runtime.program(&model)?,
            };
            timings.compile = started.elapsed();
            let channels = self.channels_of(key, &outputs)?;
            let layer = self.layer_places(key, &outputs)?;
            let place_shapes = place_shapes(&model, key.kinds().len());
            Ok(ExplainerProgram { program, outputs, channels, layer, place_shapes })
        })
    }
}

/// The shapes of the inputs of a graph that say where targets are.
fn place_shapes(model: &Model, targets: usize) -> Vec<(usize, Vec<usize>)> {
    let inputs = onnx_grad::inputs(model);
    let shape = |target: usize| {
        let name = place_input(target);
        let dims = inputs.iter().find(|input| input.name == name)?.dims.as_ref()?;
        let size = |dim: &DeclaredDim| match dim {
            DeclaredDim::Size(size) => usize::try_from(*size).ok(),
            DeclaredDim::Name(_) | DeclaredDim::Unknown => None,
        };
        Some((target, dims.iter().map(size).collect::<Option<_>>()?))
    };
    (0..targets).filter_map(shape).collect()
}
