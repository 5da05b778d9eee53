//! The run: compiles the graph for a shape and kinds of targets once, runs it, and reads its outputs.

use std::{
    collections::{HashMap, HashSet},
    ops::Range,
    sync::Arc,
    time::Instant,
};

use ndarray::{Array1, ArrayD, ArrayViewD, Axis, CowArray};

use super::{
    Explainer,
    key::{ExplainerProgram, Key, MapPlace, OutputMeaning},
    passes::{ImagePasses, Meeting},
};
use crate::{
    Result,
    engine::{Tensor, TensorView},
    error::bail,
    explanation::{
        Class, Explanation, LayerMap, Timings, gradient_warning, map_warning, range, scores_of,
    },
    image::preprocess::Channels,
    method::{ChannelMap, Method, PassesRecipe, Recipe, Site},
    targets::{Target, TargetKind, class_input, other_input},
    warning::Warning,
};

/// One target for each image of a run.
#[derive(Clone, Debug)]
pub(super) enum Slot {
    /// One target for each image.
    Each(Vec<Target>),
    /// For each image the class at this rank (1 is the second best).
    Rank(usize),
}

impl Slot {
    /// Replaces a rank by its classes, where explanations of the images give the scores already.
    pub(super) fn resolve(&mut self, known: &[Vec<Explanation>]) {
        let Self::Rank(rank) = *self else { return };
        let class = |explained: &Vec<Explanation>| {
            let top = explained.first()?.top(rank + 1);
            top.get(rank).map(|class| Target::Class(class.index))
        };
        if let Some(targets) = known.iter().map(class).collect() {
            *self = Self::Each(targets);
        }
    }

    /// The slot for some of the images.
    pub(super) fn rows(&self, images: &[usize]) -> Self {
        match self {
            Self::Each(targets) => Self::Each(images.iter().map(|at| targets[*at]).collect()),
            Self::Rank(rank) => Self::Rank(*rank),
        }
    }

    /// The kind of the targets of some images.
    fn kind(&self, images: Range<usize>) -> Result<TargetKind> {
        let targets = match self {
            Self::Each(targets) => targets.get(images).unwrap_or_default(),
            Self::Rank(rank) => return Ok(TargetKind::Rank(*rank)),
        };
        let kinds: HashSet<TargetKind> =
            targets.iter().map(|target| TargetKind::of(*target)).collect();
        match kinds.iter().collect::<Vec<_>>().as_slice() {
            [kind] => Ok(**kind),
            _ => bail!(
                Target,
                "a batch has differences of classes for all of its images or for none"
            ),
        }
    }
}

impl Explainer {
    /// Runs the images from `start` on, `a_run` at once. The last batch is padded by repeating its last image. Gives for each
    /// slot and image the explanations, method by method.
    pub(super) fn run(
        &self,
        x: ArrayViewD<'_, f32>,
        slots: &[Slot],
        start: usize,
        a_run: usize,
    ) -> Result<Vec<Vec<Vec<Explanation>>>> {
        let count = x.shape().first().copied().unwrap_or(0);
        let of_run = start..count.min(start + a_run);
        let kinds = slots.iter().map(|slot| slot.kind(of_run.clone())).collect::<Result<_>>()?;
        let mut shape = x.shape().to_vec();
        shape[0] = a_run;
        let mut timings = Timings::default();
        let compiled = self.compiled_in(Key::Explanation(shape, kinds), &mut timings)?;
        // The padded batch may be large. It is made only now, after the program has checked the memory limit.
        let images: Vec<usize> = (start..start + a_run).map(|at| at.min(count - 1)).collect();
        let slots: Vec<Slot> = slots.iter().map(|slot| slot.rows(&images)).collect();
        let x = match start + a_run > count {
            true => CowArray::from(x.select(Axis(0), &images)),
            false => CowArray::from(x.slice_axis(Axis(0), (start..start + a_run).into())),
        };
        let given = self.inputs.given.iter().map(|given| given.rows(&images, count));
        let given = given.collect::<Result<Vec<_>>>()?;
        let classes = self.class_inputs(&slots)?;
        let integers = self.inputs.image.integers(&x.view())?;
        let images = integers.as_ref().map_or(TensorView::from(x.view()), |x| x.view().into());
        let mut inputs = vec![(self.inputs.image.name.as_str(), images)];
        let classes = classes.iter().map(|(name, class)| (name.as_str(), class.view().into_dyn()));
        inputs.extend(classes.map(|(name, class)| (name, TensorView::from(class))));
        let names = self.inputs.given.iter().map(|given| given.name.as_str());
        inputs.extend(names.zip(given.iter().map(Tensor::view)));
        let started = Instant::now();
        let tensors = compiled.program.run(&inputs)?;
        timings.run = started.elapsed();
        let outputs = Outputs::of(&compiled, tensors);
        let of_run = of_run.len();
        let mut explained = self.read(&outputs, &slots, &x.view(), &given, of_run, timings)?;
        if self.setup.compare_deployed {
            let compiled = self.compiled(Key::Deployed(x.shape().to_vec()))?;
            let scores = compiled.program.run(&inputs)?.pop().and_then(Tensor::into_f32);
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

    /// The classes of the targets, as inputs of the graph: −1 is the arg-max.
    fn class_inputs(&self, slots: &[Slot]) -> Result<Vec<(String, Array1<i64>)>> {
        let mut inputs = Vec::new();
        for (slot, targets) in slots.iter().enumerate() {
            let Slot::Each(targets) = targets else { continue };
            let pairs = targets.iter().map(|target| self.class_numbers(target));
            let (classes, others): (Vec<i64>, Vec<i64>) =
                pairs.collect::<Result<Vec<_>>>()?.into_iter().unzip();
            inputs.push((class_input(slot), classes.into()));
            inputs.push((other_input(slot), others.into()));
        }
        Ok(inputs)
    }

    /// The numbers of a target's classes, as inputs of a graph.
    pub(super) fn class_numbers(&self, target: &Target) -> Result<(i64, i64)> {
        let classes = self.classes();
        let index = |class: usize| -> Result<i64> {
            match i64::try_from(class) {
                Ok(index) if class < classes => Ok(index),
                _ => bail!(
                    Target,
                    "class {class} is out of range; the model has classes 0 to {}",
                    classes.max(1) - 1
                ),
            }
        };
        match target {
            Target::Argmax => Ok((-1, -1)),
            Target::Class(class) => Ok((index(*class)?, -1)),
            Target::Difference(a, b) => Ok((index(*a)?, index(*b)?)),
        }
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
        self.programs.get(key, |key| {
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
            Ok(ExplainerProgram { program, outputs, channels })
        })
    }

    /// The channels of the input, in its order; RGB where the model takes no photos.
    fn channels(&self) -> Channels {
        self.setup.resolved.as_ref().map_or(Channels::Rgb, |resolved| resolved.preprocess.channels)
    }

    /// Reads the explanations of each slot, for the first `of_run` images, from the outputs of a run.
    fn read(
        &self,
        outputs: &Outputs,
        slots: &[Slot],
        x: &ArrayViewD<'_, f32>,
        given: &[Tensor],
        of_run: usize,
        timings: Timings,
    ) -> Result<Vec<Vec<Vec<Explanation>>>> {
        let scores = outputs.floats(&OutputMeaning::Scores)?;
        let mut all = Vec::with_capacity(slots.len());
        for (place, slot) in slots.iter().enumerate() {
            let classes = outputs.integers(&OutputMeaning::Class(place))?;
            let mut of_slot = Vec::with_capacity(of_run);
            for item in 0..of_run {
                let scores: Vec<f32> = scores.index_axis(Axis(0), item).iter().copied().collect();
                let mut base = self.explanation(&scores, x.shape(), timings);
                let class = classes.iter().nth(item).and_then(|class| usize::try_from(*class).ok());
                let class = match class.filter(|class| *class < base.scores.len()) {
                    Some(class) => class,
                    None => bail!(
                        Engine,
                        "the model's scores are not numbers, so no class is the largest"
                    ),
                };
                base.class = base.class_at(class);
                base.target = match slot {
                    Slot::Each(targets) => targets.get(item).copied().unwrap_or_default(),
                    Slot::Rank(_) => Target::Class(class),
                };
                if let Target::Difference(_, other) = base.target {
                    base.other = Some(base.class_at(other));
                }
                let pixels = outputs.find(&OutputMeaning::Pixels(place));
                let pixels = pixels.and_then(|pixels| pixels.iter().nth(item).copied());
                let mut of_item = Vec::with_capacity(self.setup.methods.len());
                for (method, row) in self.setup.methods.iter().enumerate() {
                    let mut explanation =
                        Explanation { method: row.id(), site: row.info().site, ..base.clone() };
                    let at = MapPlace { target: place, method, layer: 0 };
                    explanation.layers = match &row.info().recipe {
                        Recipe::Graph(_) => self.maps(outputs, at, item)?,
                        Recipe::Passes(recipe) => {
                            let started = Instant::now();
                            let maps =
                                self.passes(recipe, outputs, at, item, &explanation, x, given)?;
                            explanation.timings.run += started.elapsed();
                            maps
                        }
                    };
                    explanation.warnings = self.warnings(&explanation, pixels, *row);
                    of_item.push(explanation);
                }
                of_slot.push(of_item);
            }
            all.push(of_slot);
        }
        Ok(all)
    }

    /// The maps of one image that are a part of the graph.
    fn maps(&self, outputs: &Outputs, at: MapPlace, item: usize) -> Result<Vec<LayerMap>> {
        let layers = self.places(self.setup.methods[at.method]).iter().enumerate();
        let maps = layers.map(|(layer, (path, value))| {
            let at = MapPlace { layer, ..at };
            let map = outputs.floats(&OutputMeaning::Map(at))?.index_axis(Axis(0), item).to_owned();
            let weights = outputs.find(&OutputMeaning::Weights(at));
            let weights = weights.map_or_else(Vec::new, |weights| {
                weights.index_axis(Axis(0), item).iter().copied().collect()
            });
            let (layer, value) = (path.clone(), value.clone());
            Ok(LayerMap { layer, value, map: map.into_shared(), weights: weights.into() })
        });
        maps.collect()
    }

    /// The maps of one image that a recipe of passes makes on the host.
    #[expect(clippy::too_many_arguments, reason = "they are what a pass is of")]
    fn passes(
        &self,
        recipe: &PassesRecipe,
        outputs: &Outputs,
        at: MapPlace,
        item: usize,
        explanation: &Explanation,
        x: &ArrayViewD<'_, f32>,
        given: &[Tensor],
    ) -> Result<Vec<LayerMap>> {
        let score = outputs.floats(&OutputMeaning::Target(at.target))?.iter().nth(item).copied();
        let target = match explanation.target {
            Target::Argmax => Target::Class(explanation.class.index),
            target => target,
        };
        let layers = self.setup.layers.iter().enumerate();
        let maps = layers.map(|(layer, (path, value))| {
            let activation = outputs.floats(&OutputMeaning::Activation(layer))?;
            let of_item = |output: OutputMeaning| {
                outputs.find(&output).map(|values| values.index_axis(Axis(0), item).to_owned())
            };
            let values: Vec<ArrayD<f32>> =
                (0..).map_while(|place| of_item(OutputMeaning::Meeting(layer, place))).collect();
            let gradients: Vec<ArrayD<f32>> = (0..)
                .map_while(|place| of_item(OutputMeaning::MeetingGradient(at.target, layer, place)))
                .collect();
            let given = self.inputs.given.iter().zip(given);
            let given =
                given.map(|(input, tensor)| (input.name.as_str(), input.row_of(tensor, item)));
            let mut passes = ImagePasses {
                explainer: self,
                x: x.slice_axis(Axis(0), (item..=item).into()),
                given: given.collect(),
                method: explanation.method,
                target,
                layer,
                activation: activation.index_axis(Axis(0), item),
                score: score.unwrap_or(f32::NAN),
                input_size: explanation.input_size.clone(),
                meeting: Some(Meeting { values, gradients })
                    .filter(|meeting| !meeting.values.is_empty()),
                cut: None,
            };
            let ChannelMap { weights, map } = (recipe.run)(&mut passes)?;
            let (layer, value) = (path.clone(), value.clone());
            Ok(LayerMap { layer, value, map: map.into_shared(), weights: weights.into() })
        });
        maps.collect()
    }

    /// The explanation of one image of a batch, with its target, method and maps still missing.
    fn explanation(&self, scores: &[f32], shape: &[usize], timings: Timings) -> Explanation {
        let space = self.inputs.image.space();
        let input_size = space.filter_map(|axis| shape.get(axis).copied()).collect();
        let (scores, probabilities) = scores_of(&self.setup.head, scores);
        Explanation {
            layers: Vec::new(),
            target: Target::Argmax,
            class: Class { index: 0, label: None, score: 0.0, probability: None },
            other: None,
            scores,
            probabilities,
            input_size,
            placement: None,
            method: Method::default().id(),
            engine: self.setup.runtime.engine_name(),
            deployed: None,
            warnings: Vec::new(),
            timings,
            labels: self.setup.labels.clone(),
            site: Site::Layer,
            channels: self.channels(),
        }
    }

    fn warnings(
        &self,
        explanation: &Explanation,
        pixels: Option<f32>,
        method: Method,
    ) -> Vec<Warning> {
        let maps = explanation.layers.iter();
        let mut warnings: Vec<Warning> = if method.info().is_of_input() {
            maps.filter_map(gradient_warning).collect()
        } else {
            maps.filter_map(map_warning).collect()
        };
        if self.setup.plain.contains(&method) {
            warnings.push(Warning::NoRelu);
        }
        if let Some(activation) = self.setup.head.activation {
            warnings.push(Warning::SoftmaxOutput { op: activation.op() });
        }
        warnings.extend_from_slice(&self.setup.warnings);
        if pixels == Some(0.0) {
            warnings.push(Warning::EmptyMask { class: explanation.class.index });
        }
        let infinite = explanation.layers.iter().filter(|map| !range(&map.map).1.is_finite());
        warnings.extend(infinite.map(|map| Warning::NotFinite { layer: map.layer.clone() }));
        warnings
    }
}

/// The outputs of a run, by meaning.
struct Outputs(HashMap<OutputMeaning, Tensor>);

impl Outputs {
    fn of(compiled: &ExplainerProgram, tensors: Vec<Tensor>) -> Self {
        Self(compiled.outputs.iter().cloned().zip(tensors).collect())
    }

    /// The floats of an output, where the graph has it.
    fn find(&self, output: &OutputMeaning) -> Option<&ArrayD<f32>> {
        match self.0.get(output)? {
            Tensor::F32(array) => Some(array),
            Tensor::I64(_) => None,
        }
    }

    fn floats(&self, output: &OutputMeaning) -> Result<&ArrayD<f32>> {
        match self.find(output) {
            Some(array) => Ok(array),
            None => bail!(Engine, "the engine gave no floats for \"{output}\""),
        }
    }

    fn integers(&self, output: &OutputMeaning) -> Result<&ArrayD<i64>> {
        match self.0.get(output) {
            Some(Tensor::I64(array)) => Ok(array),
            _ => bail!(Engine, "the engine gave no integers for \"{output}\""),
        }
    }
}
