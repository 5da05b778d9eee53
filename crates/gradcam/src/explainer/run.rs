//! The run: the graph that a shape and a kind of target need, compiled once, and what comes out of it.

use std::{
    collections::HashSet,
    ops::Range,
    sync::{Arc, PoisonError},
    time::Instant,
};

use ndarray::{Array1, ArrayD, ArrayViewD, Axis, CowArray};
use onnx_grad::{
    Model, Want,
    builder::Builder,
    differentiate,
    graph::{Graph, ValueId},
    proto::tensor_proto::DataType,
    prune,
};

use super::Explainer;
use crate::{
    Result,
    engine::{Session, Tensor, TensorView},
    error::bail,
    explanation::{
        Class, Explanation, LayerMap, Timings, Warning, gradient_warning, map_warnings, range,
        scores_of,
    },
    image::preprocess::{Channels, Layout},
    layer::{View, Views},
    memory,
    targets::{Asked, EmittedTarget, Kind, Target, class_input, emit, head, other_input},
};

/// What a compiled graph was made for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) shape: Vec<usize>,
    /// Of the targets; none for the scores alone, as a program gets them that runs the file with the engine's defaults.
    pub(super) kinds: Vec<Kind>,
}

/// One target for each image of a run.
#[derive(Clone, Debug)]
pub(super) enum Slot {
    /// Its own for each image.
    Each(Vec<Target>),
    /// For each image the class that has so many before it by score, one at least.
    Rank(usize),
}

impl Slot {
    /// Says the classes of a rank where the scores are known already, from explanations of the images.
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

    /// The same for some of the images.
    pub(super) fn rows(&self, images: &[usize]) -> Self {
        match self {
            Self::Each(targets) => Self::Each(images.iter().map(|at| targets[*at]).collect()),
            Self::Rank(rank) => Self::Rank(*rank),
        }
    }

    /// The kind of the targets of some images.
    fn kind(&self, images: Range<usize>) -> Result<Kind> {
        let targets = match self {
            Self::Each(targets) => targets.get(images).unwrap_or_default(),
            Self::Rank(rank) => return Ok(Kind::Rank(*rank)),
        };
        let kinds: HashSet<Kind> = targets.iter().map(|target| Kind::of(*target)).collect();
        match kinds.iter().collect::<Vec<_>>().as_slice() {
            [kind] => Ok(**kind),
            _ => bail!(
                Target,
                "a batch has differences of classes for all of its images or for none"
            ),
        }
    }
}

pub(super) struct Compiled {
    session: Box<dyn Session>,
    outputs: Outputs,
    /// The memory of a run.
    bytes: u64,
}

/// What the graph gives.
struct Outputs {
    names: Vec<String>,
    /// The inputs that it reads.
    inputs: Vec<String>,
    /// Whether the pixels of the classes are among it.
    pixels: bool,
    /// Whether the method's overriding rules changed nothing, for want of a node that they are for.
    plain: bool,
}

/// The most compiled graphs that are kept; inputs of ever new sizes would fill the memory.
const KEPT: usize = 8;

const SCORES: &str = "gradcam.scores";

impl Explainer {
    /// Runs the images from `start` on, `a_run` at once; where images are missing, the last one stands in.
    pub(super) fn run(
        &self,
        x: ArrayViewD<'_, f32>,
        slots: &[Slot],
        start: usize,
        a_run: usize,
    ) -> Result<Vec<Vec<Explanation>>> {
        let count = x.shape().first().copied().unwrap_or(0);
        let of_run = start..count.min(start + a_run);
        let kinds = slots.iter().map(|slot| slot.kind(of_run.clone())).collect::<Result<_>>()?;
        let mut shape = x.shape().to_vec();
        shape[0] = a_run;
        let mut timings = Timings::default();
        let compiled = self.compiled(Key { shape, kinds }, &mut timings)?;
        // A batch of any size that a model declares is in memory only from here on, where the limit is checked.
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
        let outputs = self.outputs(&compiled, &inputs)?;
        timings.run = started.elapsed();
        let mut explained = self.read(&compiled, outputs, &slots, x.shape(), timings)?;
        if self.compare_deployed {
            let key = Key { shape: x.shape().to_vec(), kinds: Vec::new() };
            let compiled = self.compiled(key, &mut Timings::default())?;
            let scores = self.outputs(&compiled, &inputs)?.pop().and_then(Tensor::into_f32);
            let rows = scores.iter().flat_map(|scores| scores.axis_iter(Axis(0)).enumerate());
            for (item, row) in rows {
                let row: Vec<f32> = row.iter().copied().collect();
                let (scores, probabilities) = scores_of(&self.head, &row);
                for explanation in explained.iter_mut().filter_map(|of_slot| of_slot.get_mut(item))
                {
                    explanation.compare(scores.clone(), probabilities.clone());
                }
            }
        }
        Ok(explained)
    }

    /// Runs a compiled graph on those of the inputs that it reads.
    fn outputs(
        &self,
        compiled: &Compiled,
        inputs: &[(&str, TensorView<'_>)],
    ) -> Result<Vec<Tensor>> {
        let reads = |name: &str| compiled.outputs.inputs.iter().any(|kept| kept == name);
        let inputs: Vec<_> = inputs.iter().filter(|(name, _)| reads(name)).cloned().collect();
        let _taken = self.memory.take(compiled.bytes);
        let names: Vec<&str> = compiled.outputs.names.iter().map(String::as_str).collect();
        Ok(compiled.session.run(&inputs, &names)?)
    }

    /// The classes of the targets, as inputs of the graph: −1 is the arg-max.
    fn class_inputs(&self, slots: &[Slot]) -> Result<Vec<(String, Array1<i64>)>> {
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
        let pair = |target: &Target| -> Result<(i64, i64)> {
            match target {
                Target::Argmax => Ok((-1, -1)),
                Target::Class(class) => Ok((index(*class)?, -1)),
                Target::Difference(a, b) => Ok((index(*a)?, index(*b)?)),
            }
        };
        let mut inputs = Vec::new();
        for (slot, targets) in slots.iter().enumerate() {
            let Slot::Each(targets) = targets else { continue };
            let pairs = targets.iter().map(pair).collect::<Result<Vec<_>>>()?;
            let (classes, others): (Vec<i64>, Vec<i64>) = pairs.into_iter().unzip();
            inputs.push((class_input(slot), classes.into()));
            inputs.push((other_input(slot), others.into()));
        }
        Ok(inputs)
    }

    pub(super) fn compiled(&self, key: Key, timings: &mut Timings) -> Result<Arc<Compiled>> {
        let lock = || self.compiled.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(compiled) = lock().get(&key) {
            return Ok(compiled.clone());
        }
        // One caller makes a graph; the others wait for it and do not make it too.
        let _making = self.making.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(compiled) = lock().get(&key) {
            return Ok(compiled.clone());
        }
        let started = Instant::now();
        let (model, outputs) = self.differentiated(&key)?;
        timings.differentiate = started.elapsed();
        let bytes = memory::check([&model], self.memory.limit)?;
        let started = Instant::now();
        let session = match key.kinds.as_slice() {
            [] => self.engine.compile_as_deployed(&model)?,
            _ => self.engine.compile(&model)?,
        };
        timings.compile = started.elapsed();
        let compiled = Arc::new(Compiled { session, outputs, bytes });
        let mut kept = lock();
        if kept.len() >= KEPT {
            kept.clear();
        }
        kept.insert(key, compiled.clone());
        Ok(compiled)
    }

    /// The graph that computes scores, weights and maps for inputs of one shape.
    fn differentiated(&self, key: &Key) -> Result<(Model, Outputs)> {
        let sizes = self.inputs.sizes(&key.shape);
        let batch = sizes.get(&self.inputs.image.name).map_or(vec![], |shape| shape[..1].to_vec());
        let mut graph = Graph::new(&self.model, &sizes)?;
        let head = head(&graph, self.output.as_deref())?;
        let layers = self
            .chosen
            .iter()
            .map(|(_, value)| graph.value(value))
            .collect::<Result<Vec<_>, _>>()?;
        let mut asked = Vec::new();
        for (slot, kind) in key.kinds.iter().enumerate() {
            let mut input = |name: String| graph.push_input(&name, DataType::Int64, batch.clone());
            asked.push(match kind {
                Kind::Class => Asked::Class(input(class_input(slot))?),
                Kind::Difference => {
                    Asked::Difference(input(class_input(slot))?, input(other_input(slot))?)
                }
                Kind::Rank(rank) => Asked::Rank(*rank),
            });
        }
        let method = self.method.info();
        let overridden = |id| method.overrides.iter().any(|row| row.is_for(&graph, id));
        let plain = !method.overrides.is_empty() && !graph.nodes().any(|(id, _)| overridden(id));
        let mut b = Builder::new(&mut graph, "cam");
        let emitted = emit(&mut b, &head, &asked)?;
        let views = Views::new(b.graph(), self.grid);
        let view = |layer: &ValueId| match views.of(b.graph(), *layer) {
            Some(view) => Ok(view),
            None if method.is_of_input() => Ok(View::Plain),
            None => bail!(
                Layer,
                "layer \"{}\" shows no picture in inputs of this size",
                b.graph().name(*layer)
            ),
        };
        let views = layers.iter().map(view).collect::<Result<Vec<_>>>()?;
        // The sum over space is of the first two axes, which other layouts do not have.
        let want = |view: &View| if *view == View::Plain { method.want } else { Want::Full };
        let wanted: Vec<_> =
            layers.iter().zip(&views).map(|(layer, view)| (*layer, want(view))).collect();
        let activation = |(layer, view): (&ValueId, &View)| view.emit(&mut b, *layer);
        let activations =
            layers.iter().zip(&views).map(activation).collect::<Result<Vec<_>, _>>()?;
        let mut named = vec![(SCORES.to_owned(), emitted.scores)];
        for (slot, EmittedTarget { target, class, pixels }) in emitted.targets.iter().enumerate() {
            named.push((format!("gradcam.explained.{slot}"), *class));
            named.extend(pixels.map(|pixels| (format!("gradcam.pixels.{slot}"), pixels)));
            let seed = b.scalar(*target, 1.0)?;
            let gradients = differentiate(&mut b, &[(*target, seed)], &wanted, method.overrides)?;
            b.set_scope("cam");
            let each = activations.iter().zip(&views).zip(gradients);
            for (index, ((a, view), gradient)) in each.enumerate() {
                let mut gradient = view.emit(&mut b, gradient)?;
                if method.want != want(view) {
                    gradient = spatial_sum(&mut b, gradient)?;
                }
                let made = (method.emit)(&mut b, *a, gradient)?;
                named.push((format!("gradcam.map.{slot}.{index}"), made.map));
                let weights = made.weights;
                named.extend(weights.map(|w| (format!("gradcam.weights.{slot}.{index}"), w)));
            }
        }
        let mut outputs = Vec::new();
        let mut names = Vec::new();
        for (name, value) in named {
            let value = match graph.fact(value).elem {
                DataType::Float | DataType::Int64 => value,
                _ => Builder::new(&mut graph, "cam/out").cast(value, DataType::Float)?,
            };
            outputs.push(graph.alias(value, &name)?);
            names.push(name);
        }
        let pixels = emitted.targets.iter().any(|target| target.pixels.is_some());
        let model = prune(&graph, &outputs)?;
        let inputs = onnx_grad::inputs(&model).into_iter().map(|input| input.name).collect();
        Ok((model, Outputs { names, inputs, pixels, plain }))
    }

    /// The channels of the input, in its order; RGB where the model takes no photos.
    fn channels(&self) -> Channels {
        self.resolved.as_ref().map_or(Channels::Rgb, |resolved| resolved.preprocess.channels)
    }

    /// The order of the input's axes; [N, C, …] where the model takes no photos.
    fn layout(&self) -> Layout {
        self.resolved.as_ref().map_or(Layout::Nchw, |resolved| resolved.preprocess.layout)
    }

    /// The explanations of each slot, from what the engine gave.
    fn read(
        &self,
        compiled: &Compiled,
        outputs: Vec<Tensor>,
        slots: &[Slot],
        shape: &[usize],
        timings: Timings,
    ) -> Result<Vec<Vec<Explanation>>> {
        let mut outputs = outputs.into_iter();
        #[expect(clippy::cast_precision_loss, reason = "a class number")]
        let mut floats = || match outputs.next() {
            Some(Tensor::F32(array)) => Ok(array),
            Some(Tensor::I64(array)) => Ok(array.mapv(|class| class as f32)),
            None => bail!(Engine, "the engine gave fewer outputs than it was asked for"),
        };
        let scores = floats()?;
        let weighs = !self.method.info().is_of_input();
        let mut all = Vec::with_capacity(slots.len());
        for slot in slots {
            let classes = floats()?;
            let pixels = if compiled.outputs.pixels { Some(floats()?) } else { None };
            let mut map = || Ok((floats()?, if weighs { Some(floats()?) } else { None }));
            let maps = self.chosen.iter().map(|_| map()).collect::<Result<Vec<_>>>()?;
            let mut of_slot = Vec::with_capacity(classes.len());
            for (item, explained) in classes.iter().enumerate() {
                let scores = scores.index_axis(Axis(0), item).iter().copied().collect::<Vec<_>>();
                let mut explanation = self.explanation(&scores, &maps, item, shape, timings);
                let class = whole(*explained, &explanation.scores)?;
                explanation.class = explanation.class_at(class);
                explanation.target = match slot {
                    Slot::Each(targets) => targets.get(item).copied().unwrap_or_default(),
                    Slot::Rank(_) => Target::Class(class),
                };
                if let Target::Difference(_, other) = explanation.target {
                    explanation.other = Some(explanation.class_at(other));
                }
                let pixels = pixels.as_ref().and_then(|pixels| pixels.iter().nth(item));
                explanation.warnings = self.warnings(&explanation, pixels, compiled.outputs.plain);
                of_slot.push(explanation);
            }
            all.push(of_slot);
        }
        Ok(all)
    }

    /// The explanation of one image of a batch, its target not said yet.
    fn explanation(
        &self,
        scores: &[f32],
        maps: &[(ArrayD<f32>, Option<ArrayD<f32>>)],
        item: usize,
        shape: &[usize],
        timings: Timings,
    ) -> Explanation {
        let space = match self.layout() {
            Layout::Nhwc => 1..shape.len().saturating_sub(1),
            Layout::Nchw => 2..shape.len(),
        };
        let (scores, probabilities) = scores_of(&self.head, scores);
        let layers =
            self.chosen.iter().zip(maps).map(|((layer, value), (map, weights))| LayerMap {
                layer: layer.clone(),
                value: value.clone(),
                map: map.index_axis(Axis(0), item).to_owned(),
                weights: weights.as_ref().map_or_else(Vec::new, |weights| {
                    weights.index_axis(Axis(0), item).iter().copied().collect()
                }),
            });
        Explanation {
            layers: layers.collect(),
            target: Target::Argmax,
            class: Class { index: 0, label: None, score: 0.0, probability: None },
            other: None,
            scores,
            probabilities,
            input_size: shape.get(space).unwrap_or_default().to_vec(),
            method: self.method.id(),
            engine: self.engine.name(),
            deployed: None,
            warnings: Vec::new(),
            timings,
            labels: self.labels.clone(),
            site: self.method.info().site,
            channels: self.channels(),
        }
    }

    fn warnings(
        &self,
        explanation: &Explanation,
        pixels: Option<&f32>,
        plain: bool,
    ) -> Vec<Warning> {
        let maps = explanation.layers.iter();
        let mut warnings: Vec<Warning> = if self.method.info().is_of_input() {
            maps.filter_map(gradient_warning).collect()
        } else {
            maps.flat_map(map_warnings).collect()
        };
        if plain {
            let text = "the model holds no Relu, and no Clip from 0, so this is the plain gradient, that \
                        of saliency";
            warnings.push(Warning::new("no-relu", text));
        }
        if let Some(activation) = self.head.activation {
            let text = format!(
                "the model ends in {}; the score that is explained is the logit under it",
                activation.op()
            );
            warnings.push(Warning::new("softmax-output", text));
        }
        warnings.extend_from_slice(&self.warnings);
        if pixels == Some(&0.0) {
            let text = format!(
                "no pixel is of class {}; its score is summed over all pixels",
                explanation.class.index
            );
            warnings.push(Warning::new("empty-mask", text));
        }
        for layer in explanation.layers.iter().filter(|l| !range(&l.map).1.is_finite()) {
            let text =
                format!("the map at layer \"{}\" holds values that are not finite", layer.layer);
            warnings.push(Warning::new("not-finite", text));
        }
        warnings
    }
}

/// The sum over all positions of a gradient [N, K, …]: [N, K].
fn spatial_sum(b: &mut Builder<'_>, gradient: ValueId) -> Result<ValueId> {
    let shape = b.shape(gradient)?;
    let axes: Vec<usize> = (2..shape.len()).collect();
    let sum = b.sum(gradient, &axes)?;
    Ok(b.reshape(sum, &shape[..2])?)
}

/// A class that came out of the graph, as an index of `scores`.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "checked: a whole number in range"
)]
fn whole(class: f32, scores: &[f32]) -> Result<usize> {
    if class >= 0.0 && (class as usize) < scores.len() {
        return Ok(class as usize);
    }
    bail!(Engine, "the model's scores are not numbers, so no class is the largest")
}

#[cfg(test)]
mod tests {
    use onnx_grad::graph::Sizes;
    use testkit::zoo;

    use super::*;

    /// Exporters write thousands of nodes that compute sizes and indices: what is left for the engine is the
    /// way of the class, one number for each image, to its row.
    #[test]
    fn transformers_run_without_arithmetic_of_shapes() {
        let mut count = 0;
        for small in zoo() {
            if !["swin", "vit"].contains(&small.name.split('.').next().unwrap()) {
                continue;
            }
            count += 1;
            let file = Model::open(small.path()).unwrap();
            let explainer = Explainer::builder(file).build().unwrap();
            let key = Key { shape: small.input.clone(), kinds: vec![Kind::Class] };
            let (model, _) = explainer.differentiated(&key).unwrap();
            let graph = Graph::new(&model, &Sizes::new()).unwrap();
            let whole = |id| matches!(graph.fact(id).elem, DataType::Int64 | DataType::Int32);
            let single =
                |id| graph.fact(id).sizes().is_some_and(|s| s.iter().product::<i64>() == 1);
            let mut classes = HashSet::from([graph.value(&class_input(0)).unwrap()]);
            for (id, node) in graph.nodes() {
                let made: Vec<_> = graph.node_outputs(id).iter().flatten().copied().collect();
                let mut read = graph.node_inputs(id).iter().flatten();
                if node.op() != "Shape" && read.any(|value| classes.contains(value)) {
                    classes.extend(made.iter().copied().filter(|&value| single(value)));
                }
                let stray =
                    made.into_iter().find(|value| whole(*value) && !classes.contains(value));
                assert_eq!(stray, None, "{}: {} {}", small.name, node.op(), node.label());
            }
        }
        assert_eq!(count, 4, "two families, two exporters");
    }
}
