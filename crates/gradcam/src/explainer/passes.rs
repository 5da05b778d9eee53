//! The passes of one image, one target and one layer, or the input: the runs that recipes on the host ask for.

use std::sync::Arc;

use ndarray::{ArrayD, ArrayViewD, Axis};
use onnx_grad::graph::Graph;

use super::{
    Explainer,
    batches::{Batches, ChangeInBatch, ReadRun, floats, repeat},
    key::{ExplainerProgram, Key},
    place::PlacedTarget,
    slot::Slot,
};
use crate::{
    Result,
    engine::{Tensor, TensorView},
    error::{ErrorKind, bail},
    method::{Change, ChangedGradient, FillMask, Formulas, MethodSettings, Observe, Passes},
    targets::TargetKind,
};

/// The most images, or activations, of one run.
const LARGEST_BATCH: usize = 32;

/// The most images of one run that computes gradients, which keeps the activations of the whole network.
const LARGEST_GRADIENT_BATCH: usize = 10;

/// The terms of ablated scores in closed form, of one image: the values at which the channels meet, and the gradient of the
/// score there.
pub(super) struct Meeting {
    pub(super) values: Vec<ArrayD<f32>>,
    pub(super) gradients: Vec<ArrayD<f32>>,
}

/// One image, one target and one layer, or the input.
pub(super) struct ImagePasses<'a> {
    pub(super) explainer: &'a Explainer,
    /// The image, [1, …].
    pub(super) x: ArrayViewD<'a, f32>,
    /// The values of the other inputs for this image, with their names.
    pub(super) given: Vec<(&'a str, Tensor)>,
    pub(super) method: &'static str,
    pub(super) target: PlacedTarget,
    /// `None` for a method at the input.
    pub(super) layer: Option<usize>,
    /// [K, …].
    pub(super) activation: ArrayViewD<'a, f32>,
    /// Where the recipe prepares it.
    pub(super) gradient: Option<ArrayViewD<'a, f32>>,
    /// With respect to the image, where the recipe prepares it.
    pub(super) input_gradient: Option<ArrayViewD<'a, f32>>,
    /// Where the recipe prepares them.
    pub(super) bias_maps: Vec<ArrayViewD<'a, f32>>,
    pub(super) score: f32,
    pub(super) input_size: Vec<usize>,
    pub(super) meeting: Option<Meeting>,
    /// The layer's value and the other values that the suffix reads, by name, for a batch of a run's size; computed at the
    /// first use.
    pub(super) cut: Option<Vec<(String, Tensor)>>,
}

impl ImagePasses<'_> {
    /// The layer. Only methods at layers ask for what is behind one.
    fn layer(&self) -> Result<usize> {
        match self.layer {
            Some(layer) => Ok(layer),
            None => bail!(Method, "{} explains the input and has no layer", self.method),
        }
    }

    fn kind(&self) -> TargetKind {
        TargetKind::of(&self.target.target, self.target.place.is_some())
    }

    /// The batch size, where the model fixes it.
    fn fixed(&self) -> Option<usize> {
        self.explainer.inputs.image.batch()
    }

    fn shape(&self, batch: usize) -> Vec<usize> {
        let mut shape = self.x.shape().to_vec();
        shape[0] = batch;
        shape
    }

    /// The program for the largest batch that fits into the memory limit and is not larger than `count` needs, and its size.
    fn largest(
        &self,
        count: usize,
        key: impl Fn(Vec<usize>) -> Key,
    ) -> Result<(usize, Arc<ExplainerProgram>)> {
        if let Some(fixed) = self.fixed() {
            return Ok((fixed, self.explainer.compiled(key(self.shape(fixed)))?));
        }
        // As few runs as the largest batch allows, all of one size.
        let most = match key(self.shape(1)) {
            Key::Gradients(..) => LARGEST_GRADIENT_BATCH,
            _ => LARGEST_BATCH,
        };
        let mut batch = count.div_ceil(count.div_ceil(most).max(1)).max(1);
        loop {
            match self.explainer.compiled(key(self.shape(batch))) {
                Err(error) if error.kind() == ErrorKind::Memory && batch > 1 => batch /= 2,
                compiled => return Ok((batch, compiled?)),
            }
        }
    }

    /// The classes of the target, and where it is, for a batch.
    fn classes(&self, program: &ExplainerProgram, batch: usize) -> Result<Vec<(String, Tensor)>> {
        self.explainer.target_inputs(&[Slot::Each(vec![self.target.clone(); batch])], program)
    }

    /// The inputs of the model beside the image, for a batch of copies of the image.
    fn given(&self, batch: usize) -> Vec<(&str, Tensor)> {
        let repeated = |tensor: &Tensor, name: &str| match self.explainer.inputs.is_per_image(name)
        {
            true => repeat(tensor, batch),
            false => tensor.clone(),
        };
        self.given.iter().map(|(name, tensor)| (*name, repeated(tensor, name))).collect()
    }

    fn program_of_cut(&self) -> Result<Arc<ExplainerProgram>> {
        let batch = self.fixed().unwrap_or(1);
        self.explainer.compiled(Key::Cut(self.shape(batch), self.layer()?, self.kind()))
    }

    /// The layer's value and the other values that the suffix reads, of the image.
    fn cut(&mut self) -> Result<&[(String, Tensor)]> {
        if self.cut.is_none() {
            let batch = self.fixed().unwrap_or(1);
            let compiled = self.program_of_cut()?;
            let mut names = compiled.outputs.iter().map(ToString::to_string);
            if compiled.layer.as_ref().is_some_and(|layer| layer.is_picture) {
                let value = self.activation.view().insert_axis(Axis(0)).to_owned();
                self.cut = Some(names.next().into_iter().zip([Tensor::F32(value)]).collect());
                return Ok(self.cut.as_deref().unwrap_or_default());
            }
            let x = repeat(&Tensor::F32(self.x.to_owned()), batch);
            let image = &self.explainer.inputs.image;
            let integers = image.integers(&self.x)?.map(|whole| repeat(&Tensor::I64(whole), batch));
            let (given, classes) = (self.given(batch), self.classes(&compiled, batch)?);
            let mut inputs = vec![(image.name.as_str(), integers.as_ref().unwrap_or(&x).view())];
            inputs.extend(given.iter().map(|(name, tensor)| (*name, tensor.view())));
            inputs.extend(classes.iter().map(|(name, tensor)| (name.as_str(), tensor.view())));
            let values = compiled.program.run(&inputs)?;
            self.cut = Some(names.zip(values).collect());
        }
        Ok(self.cut.as_deref().unwrap_or_default())
    }

    /// The scores of changed values of the layer, by running the suffix on each. `change` gets the rows of one image, in the
    /// value's own order of axes; `images_first` says whether it has such rows.
    fn scores_from(
        &mut self,
        count: usize,
        images_first: bool,
        change: &mut Change<'_>,
    ) -> Result<Vec<f32>> {
        let (layer, kind) = (self.layer()?, self.kind());
        let explainer = self.explainer;
        let cut = self.cut()?.to_vec();
        let Some(((name, whole @ Tensor::F32(value)), beside)) = cut.split_first() else {
            bail!(Layer, "layer \"{}\" holds no floats", explainer.setup.layers[layer].0)
        };
        let own = self.fixed().unwrap_or(1);
        let rows = value.len_of(Axis(0)) / own.max(1);
        let fits = |tensor: &Tensor| tensor.shape().first() == Some(&1);
        // The other values are repeated for each image of the batch, where they have one row for the image.
        let alone = !images_first || !beside.iter().all(|(_, tensor)| fits(tensor));
        let count_of_run = if alone && self.fixed().is_none() { 1 } else { count };
        let (batch, compiled) =
            self.largest(count_of_run, |shape| Key::Suffix(shape, layer, kind.clone()))?;
        if batch > 1 && !images_first {
            bail!(
                Layer,
                "layer \"{}\" does not hold the images of the model's batch of {batch} one behind the other; export the model \
                 with a batch of 1",
                explainer.setup.layers[layer].0
            )
        }
        let times = batch / own;
        let classes = self.classes(&compiled, batch)?;
        let beside: Vec<(&str, Tensor)> =
            beside.iter().map(|(name, tensor)| (name.as_str(), repeat(tensor, times))).collect();
        let classes = classes.iter().map(|(name, tensor)| (name.as_str(), tensor));
        let others: Vec<(&str, &Tensor)> =
            classes.chain(beside.iter().map(|(name, tensor)| (*name, tensor))).collect();
        let batches = Batches {
            program: &compiled.program,
            size: batch,
            image: &explainer.inputs.image,
            name: name.as_str(),
            value: whole,
            times,
            others: &others,
            method: self.method,
            observer: explainer.setup.observer.as_ref(),
            cancel: &explainer.cancel,
        };
        batches.scores(count, &mut |at, number, all| {
            let mut one = all.view_mut();
            if batch > 1 {
                one.slice_axis_inplace(Axis(0), (at * rows..(at + 1) * rows).into());
            }
            change(number, one);
        })
    }

    /// The graph for a batch of this size.
    fn graph(&self, batch: usize) -> Result<Graph> {
        let explainer = self.explainer;
        Ok(Graph::new(&explainer.setup.model, &explainer.inputs.sizes(&self.shape(batch)))?)
    }

    /// Runs a program on changed copies of the image.
    fn run_images(
        &self,
        count: usize,
        key: impl Fn(Vec<usize>) -> Key,
        change: &mut ChangeInBatch<'_>,
        read: &mut ReadRun<'_>,
    ) -> Result<()> {
        let explainer = self.explainer;
        let (batch, compiled) = self.largest(count, key)?;
        let x = Tensor::F32(self.x.to_owned());
        let (given, classes) = (self.given(batch), self.classes(&compiled, batch)?);
        let given = given.iter().map(|(name, tensor)| (*name, tensor));
        let others: Vec<(&str, &Tensor)> =
            given.chain(classes.iter().map(|(name, tensor)| (name.as_str(), tensor))).collect();
        let image = &explainer.inputs.image;
        let batches = Batches {
            program: &compiled.program,
            size: batch,
            image,
            name: &image.name,
            value: &x,
            times: batch,
            others: &others,
            method: self.method,
            observer: explainer.setup.observer.as_ref(),
            cancel: &explainer.cancel,
        };
        batches.run(count, change, read)
    }

    /// The axis of the layer's channels, and whether its first axis is that of the images.
    fn layer_axes(&self) -> Result<(usize, bool)> {
        let explainer = self.explainer;
        // The axis of size 2 is that of the images.
        let graph = self.graph(self.fixed().unwrap_or(2))?;
        let (path, value) = &explainer.setup.layers[self.layer()?];
        match explainer.views(&graph).channel_axis(&graph, graph.value(value)?) {
            Some(found) => Ok(found),
            None => bail!(
                Layer,
                "the channels of layer \"{path}\" are not on one axis of their own, so they cannot be changed one by one; \
                 choose another layer, or a method that needs no such runs"
            ),
        }
    }

    /// Ablated scores in closed form: y + Σ g·(P′ − P) over the elements of each channel.
    fn in_closed_form(&self, meeting: &Meeting, replacement: f32) -> Result<Vec<f32>> {
        let explainer = self.explainer;
        let (shape, layer) = (self.shape(self.fixed().unwrap_or(1)), self.layer()?);
        let compiled = explainer.compiled(Key::Channels(shape, layer))?;
        let Some(known) = &compiled.channels else {
            bail!(
                Layer,
                "the channels of layer \"{}\" are not known",
                explainer.setup.layers[layer].0
            )
        };
        let replaced = ArrayD::from_elem(known.shape.as_slice(), replacement);
        let inputs = [(explainer.setup.layers[layer].1.as_str(), TensorView::from(&replaced))];
        let replaced = compiled.program.run(&inputs)?;
        let mut scores = vec![f64::from(self.score); self.activation.len_of(Axis(0))];
        let terms = meeting.values.iter().zip(&meeting.gradients);
        for ((channels, replaced), (value, gradient)) in
            known.of_elements.iter().zip(replaced).zip(terms)
        {
            let Tensor::F32(replaced) = replaced else {
                bail!(Engine, "the engine gave no floats")
            };
            let replaced = replaced.index_axis(Axis(0), 0);
            let each = channels.iter().zip(replaced.iter()).zip(value.iter()).zip(gradient.iter());
            for (((channel, replaced), value), gradient) in each {
                scores[*channel] +=
                    f64::from(*gradient) * (f64::from(*replaced) - f64::from(*value));
            }
        }
        #[expect(clippy::cast_possible_truncation, reason = "scores are float32")]
        let scores = scores.into_iter().map(|score| score as f32).collect();
        Ok(scores)
    }
}

impl Passes for ImagePasses<'_> {
    fn settings(&self) -> &MethodSettings {
        &self.explainer.setup.method_settings
    }

    fn formulas(&self) -> Formulas {
        self.explainer.setup.maps.profile.info().formulas
    }

    fn activation(&self) -> ArrayViewD<'_, f32> {
        self.activation.view()
    }

    fn gradient(&self) -> Result<ArrayViewD<'_, f32>> {
        match &self.gradient {
            Some(gradient) => Ok(gradient.view()),
            None => bail!(Engine, "the graph has no gradient for {}", self.method),
        }
    }

    fn input_gradient(&self) -> Result<ArrayViewD<'_, f32>> {
        match &self.input_gradient {
            Some(gradient) => Ok(gradient.view()),
            None => bail!(Engine, "the graph has no gradient of the image for {}", self.method),
        }
    }

    fn bias_maps(&self) -> &[ArrayViewD<'_, f32>] {
        &self.bias_maps
    }

    fn score(&self) -> f32 {
        self.score
    }

    fn input_size(&self) -> &[usize] {
        &self.input_size
    }

    fn scores(&mut self, count: usize, change: &mut Change<'_>) -> Result<Vec<f32>> {
        let kind = self.kind();
        let image = &self.explainer.inputs.image;
        let mut scores = Vec::with_capacity(count);
        self.run_images(
            count,
            |shape| Key::Target(shape, kind.clone()),
            &mut |at, number, all| {
                change(number, image.channels_first(all.index_axis_mut(Axis(0), at)));
            },
            &mut |_, of_run, mut outputs| {
                scores.extend(floats(outputs.pop())?.iter().take(of_run));
                Ok(())
            },
        )?;
        Ok(scores)
    }

    fn gradients(
        &mut self,
        count: usize,
        change: &mut Change<'_>,
        observe: &mut Observe<'_>,
    ) -> Result<()> {
        let (kind, layer) = (self.kind(), self.layer);
        let image = &self.explainer.inputs.image;
        self.run_images(
            count,
            |shape| Key::Gradients(shape, layer, kind.clone()),
            &mut |at, number, all| {
                change(number, image.channels_first(all.index_axis_mut(Axis(0), at)));
            },
            &mut |start, of_run, mut outputs| {
                let gradients = floats(outputs.pop())?;
                let activations = outputs.pop().map(|output| floats(Some(output))).transpose()?;
                for (at, gradient) in gradients.outer_iter().take(of_run).enumerate() {
                    let activation = activations.as_ref().map(|all| all.index_axis(Axis(0), at));
                    observe(start + at, ChangedGradient { gradient, activation });
                }
                Ok(())
            },
        )
    }

    fn scores_with_masks(&mut self, count: usize, fill: &mut FillMask<'_>) -> Result<Vec<f32>> {
        let compiled = self.program_of_cut()?;
        let layer = compiled.layer.as_ref();
        let Some(elements) = layer.and_then(|layer| layer.elements.as_ref()) else {
            let (path, _) = &self.explainer.setup.layers[self.layer()?];
            bail!(Layer, "the positions of layer \"{path}\" are not known; choose another layer")
        };
        let images_first = layer.is_some_and(|layer| layer.images_first);
        let in_order = elements.iter().copied().eq(0..elements.len());
        let channels = elements.len_of(Axis(0));
        let mut mask = vec![0.0; elements.len() / channels.max(1)];
        let mut factors: Vec<f32> = Vec::new();
        self.scores_from(count, images_first, &mut |number, mut rows| {
            fill(number, &mut mask);
            if in_order {
                rows.iter_mut().zip(mask.iter().cycle()).for_each(|(a, factor)| *a *= factor);
                return;
            }
            // Tokens outside the picture keep the factor 1.
            factors.resize(rows.len(), 1.0);
            for (element, factor) in elements.iter().zip(mask.iter().cycle()) {
                if let Some(of_element) = factors.get_mut(*element) {
                    *of_element = *factor;
                }
            }
            rows.iter_mut().zip(&factors).for_each(|(a, factor)| *a *= factor);
        })
    }

    fn least(&mut self) -> Result<f32> {
        let least =
            |values: &mut dyn Iterator<Item = &f32>| values.copied().fold(f32::INFINITY, f32::min);
        if self.meeting.is_some() {
            // Then the picture holds all entries of the value.
            return Ok(least(&mut self.activation.iter()));
        }
        match self.cut()?.first() {
            Some((_, Tensor::F32(value))) => Ok(least(&mut value.iter())),
            _ => bail!(Engine, "the engine gave no activation"),
        }
    }

    fn has_closed_form(&self) -> bool {
        self.meeting.is_some()
    }

    fn scores_without_channels(
        &mut self,
        channels: &[usize],
        replacement: f32,
    ) -> Result<Vec<f32>> {
        if let Some(meeting) = &self.meeting {
            let scores = self.in_closed_form(meeting, replacement)?;
            return Ok(channels.iter().map(|channel| scores[*channel]).collect());
        }
        let (axis, images_first) = self.layer_axes()?;
        self.scores_from(channels.len(), images_first, &mut |number, mut value| {
            value.index_axis_mut(Axis(axis), channels[number]).fill(replacement)
        })
    }
}
