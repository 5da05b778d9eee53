//! Reads explanations from the outputs of a run.

use std::{collections::HashMap, ops::Range};

use ndarray::{ArrayD, ArrayViewD, Axis};
use web_time::Instant;

use super::{
    Explainer,
    key::{ExplainerProgram, MapPlace, OutputMeaning},
    passes::{ImagePasses, Meeting},
    place::{Place, PlacedTarget, greedy_text},
    slot::{RunBatch, Slot},
};
use crate::{
    Result,
    engine::Tensor,
    error::bail,
    explanation::{
        Class, Explanation, LayerMap, Timings, gradient_warning, map_warning, range, scores_of,
    },
    head::HeadKind,
    image::preprocess::Channels,
    method::{ChannelMap, Method, PassesRecipe, Recipe, Site},
    targets::Target,
    warning::Warning,
};

/// What a recipe of passes makes its maps of.
#[derive(Clone, Copy)]
struct MadeOf<'a> {
    outputs: &'a Outputs,
    at: MapPlace,
    layers: &'a Range<usize>,
    item: usize,
    x: &'a ArrayViewD<'a, f32>,
    given: &'a [Tensor],
}

impl Explainer {
    /// The text that a sequence reads, where the classes have labels. Labels of several letters are words apart.
    fn text(&self, winners: &ArrayViewD<'_, f32>) -> Option<String> {
        let labels = self.setup.labels.as_deref()?;
        let winners = class_numbers(winners);
        Some(greedy_text(&winners, self.setup.head.blank, labels))
    }

    /// The channels of the input, in its order; RGB where the model takes no photos.
    fn channels(&self) -> Channels {
        self.setup.resolved.as_ref().map_or(Channels::Rgb, |resolved| resolved.preprocess.channels)
    }

    /// Reads the explanations of each slot, for the first `of_run` images, from the outputs of a run.
    pub(super) fn read(
        &self,
        outputs: &Outputs,
        slots: &[Slot],
        layers: &Range<usize>,
        batch: &RunBatch<'_>,
        of_run: usize,
        timings: Timings,
    ) -> Result<Vec<Vec<Vec<Explanation>>>> {
        let x = batch.x.view();
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
                let placed = match slot {
                    Slot::Each(targets) => targets.get(item).cloned(),
                    Slot::Rank(_) => None,
                };
                let placed = placed.unwrap_or(Target::Class(class).into());
                base.place = placed.place.as_ref().and_then(Place::shown);
                base.target = placed.target.clone();
                if let Target::Difference(_, other) = base.target {
                    base.other = Some(base.class_at(other));
                }
                let value = outputs.find(&OutputMeaning::Target(place));
                let value = value.and_then(|values| values.iter().nth(item).copied());
                base.value = value.unwrap_or_else(|| {
                    base.class.score - base.other.as_ref().map_or(0.0, |other| other.score)
                });
                if let Some(winners) = outputs.find(&OutputMeaning::Winners) {
                    base.text = self.text(&winners.index_axis(Axis(0), item));
                }
                let pixels = outputs.find(&OutputMeaning::Pixels(place));
                let pixels = pixels.and_then(|pixels| pixels.iter().nth(item).copied());
                let mut of_item = Vec::with_capacity(self.setup.methods.len());
                for (method, row) in self.setup.methods.iter().enumerate() {
                    let mut explanation = Explanation {
                        method: row.id(),
                        site: row.info().site,
                        heatmap_settings: self.setup.maps.heatmaps_of(*row),
                        ..base.clone()
                    };
                    let at = MapPlace { target: place, method, layer: 0 };
                    explanation.layers = match &row.info().recipe {
                        Recipe::Graph(_) => self.maps(outputs, at, layers, item)?,
                        Recipe::Passes(recipe) => {
                            let started = Instant::now();
                            let made =
                                MadeOf { outputs, at, layers, item, x: &x, given: &batch.given };
                            let maps = self.passes(recipe, &made, &explanation, &placed)?;
                            explanation.timings.run += started.elapsed();
                            maps
                        }
                    };
                    if self.setup.maps.eigen_smooth {
                        let maps = &mut explanation.layers;
                        self.smooth_maps(outputs, at, layers, item, maps)?;
                    }
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
    fn maps(
        &self,
        outputs: &Outputs,
        at: MapPlace,
        layers: &Range<usize>,
        item: usize,
    ) -> Result<Vec<LayerMap>> {
        let of_input = self.setup.methods[at.method].info().is_of_input();
        let (names, layers) = match of_input {
            true => (self.setup.image.as_slice(), 0..1),
            false => (self.setup.layers.as_slice(), layers.clone()),
        };
        let maps = layers.map(|layer| {
            let (path, value) = &names[layer];
            let at = MapPlace { layer, ..at };
            let map = outputs.floats(&OutputMeaning::Map(at))?.index_axis(Axis(0), item).to_owned();
            let weights = outputs.find(&OutputMeaning::Weights(at));
            let weights = weights.map_or_else(Vec::new, |weights| {
                weights.index_axis(Axis(0), item).iter().copied().collect()
            });
            let (layer, value) = (path.clone(), value.clone());
            let (map, weights) = (map.into_shared(), weights.into());
            Ok(LayerMap { layer, value, map, weights, completeness_error: None, coverage: None })
        });
        maps.collect()
    }

    /// The maps of one image that a recipe of passes makes on the host.
    fn passes(
        &self,
        recipe: &PassesRecipe,
        made: &MadeOf<'_>,
        explanation: &Explanation,
        placed: &PlacedTarget,
    ) -> Result<Vec<LayerMap>> {
        let MadeOf { outputs, at, layers, item, x, given } = *made;
        let score = outputs.floats(&OutputMeaning::Target(at.target))?.iter().nth(item).copied();
        // The class stays where the scores change.
        let target = match &placed.target {
            Target::Argmax => Target::Class(explanation.class.index),
            Target::Masked(None, mask) => {
                Target::Masked(Some(explanation.class.index), mask.clone())
            }
            target => target.clone(),
        };
        let target = PlacedTarget { target, place: placed.place.clone() };
        let of_input = !explanation.site.takes_layer();
        let sites: Vec<Option<usize>> = match of_input {
            true => vec![None],
            false => layers.clone().map(Some).collect(),
        };
        let image = x.slice_axis(Axis(0), (item..=item).into());
        let maps = sites.into_iter().map(|layer| {
            let (path, value) = layer.map_or(&self.setup.image[0], |at| &self.setup.layers[at]);
            let of_layer = |output: &dyn Fn(usize) -> OutputMeaning| match layer {
                Some(layer) => outputs.find(&output(layer)),
                None => None,
            };
            let of_item_view = |output: OutputMeaning| {
                outputs.find(&output).map(|values| values.index_axis(Axis(0), item))
            };
            let of_item = |output| of_item_view(output).map(|values| values.to_owned());
            let meeting = layer.map(|layer| {
                let value = |place| of_item(OutputMeaning::Meeting(layer, place));
                let gradient =
                    |place| of_item(OutputMeaning::MeetingGradient(at.target, layer, place));
                Meeting {
                    values: (0..).map_while(value).collect(),
                    gradients: (0..).map_while(gradient).collect(),
                }
            });
            let activation = match of_layer(&OutputMeaning::Activation) {
                Some(activation) => activation.index_axis(Axis(0), item),
                None => self.inputs.image.channels_first(image.clone().index_axis_move(Axis(0), 0)),
            };
            let gradient = of_layer(&|layer| OutputMeaning::Gradient(at.target, layer));
            let given = self.inputs.given.iter().zip(given);
            let given =
                given.map(|(input, tensor)| (input.name.as_str(), input.row_of(tensor, item)));
            let mut passes = ImagePasses {
                explainer: self,
                x: image.clone(),
                given: given.collect(),
                method: explanation.method,
                target: target.clone(),
                layer,
                activation,
                gradient: gradient.map(|gradient| gradient.index_axis(Axis(0), item)),
                input_gradient: of_item_view(OutputMeaning::InputGradient(at.target, at.method)),
                bias_maps: (0..)
                    .map_while(|place| of_item_view(OutputMeaning::Biases(at.target, place)))
                    .collect(),
                score: score.unwrap_or(f32::NAN),
                input_size: explanation.input_size.clone(),
                meeting: meeting.filter(|meeting| !meeting.gradients.is_empty()),
                cut: None,
            };
            let ChannelMap { weights, map, completeness_error, coverage } =
                (recipe.run)(&mut passes)?;
            Ok(LayerMap {
                layer: path.clone(),
                value: value.clone(),
                map: map.into_shared(),
                weights: weights.into(),
                completeness_error,
                coverage,
            })
        });
        maps.collect()
    }

    /// The size of the images of an input of this shape.
    pub(super) fn input_size(&self, shape: &[usize]) -> Vec<usize> {
        self.inputs.image.space().filter_map(|axis| shape.get(axis).copied()).collect()
    }

    /// The explanation of one image of a batch, with its target, method and maps still missing.
    fn explanation(&self, scores: &[f32], shape: &[usize], timings: Timings) -> Explanation {
        let (scores, probabilities) = scores_of(&self.setup.head, scores);
        let head = self.setup.head.info.clone();
        Explanation {
            head,
            place: None,
            value: f32::NAN,
            text: None,
            layers: Vec::new(),
            augmented: Vec::new(),
            heatmap_settings: self.setup.maps.heatmaps_of(Method::default()),
            profile: self.setup.maps.profile,
            eigen_smooth: self.setup.maps.eigen_smooth,
            target: Target::Argmax,
            class: Class { index: 0, label: None, score: 0.0, probability: None },
            other: None,
            scores,
            probabilities,
            ranking: None,
            input_size: self.input_size(shape),
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
        let mut warnings: Vec<Warning> = match method.info().site {
            Site::Input(_) => maps.filter_map(gradient_warning).collect(),
            Site::Layer | Site::Layers(_) | Site::LayerAtInput(_) | Site::Positions => {
                maps.filter_map(map_warning).collect()
            }
        };
        if self.setup.plain.contains(&method) {
            warnings.push(Warning::NoRelu);
        }
        if let Some(op) = self.setup.head.operator {
            warnings.push(Warning::ActivationOutput { op });
        }
        let averages = method.id() == Method::default().id();
        if averages && explanation.place.is_some() {
            warnings.push(Warning::LocalTarget { method: method.id() });
        }
        warnings.extend_from_slice(&self.setup.warnings);
        if pixels == Some(0.0) {
            let position =
                if explanation.head.kind == HeadKind::Sequence { "time step" } else { "pixel" };
            warnings.push(Warning::EmptyMask { class: explanation.class.index, position });
        }
        let infinite = explanation.layers.iter().filter(|map| !range(&map.map).1.is_finite());
        warnings.extend(infinite.map(|map| Warning::NotFinite { layer: map.layer.clone() }));
        warnings
    }
}

/// The outputs of a run, by meaning.
pub(super) struct Outputs(HashMap<OutputMeaning, Tensor>);

impl Outputs {
    pub(super) fn of(compiled: &ExplainerProgram, tensors: Vec<Tensor>) -> Self {
        Self(compiled.outputs.iter().cloned().zip(tensors).collect())
    }

    /// The floats of an output, where the graph has it.
    pub(super) fn find(&self, output: &OutputMeaning) -> Option<&ArrayD<f32>> {
        match self.0.get(output)? {
            Tensor::F32(array) => Some(array),
            Tensor::I64(_) => None,
        }
    }

    pub(super) fn floats(&self, output: &OutputMeaning) -> Result<&ArrayD<f32>> {
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

/// Classes that a graph gives as floats.
pub(super) fn class_numbers(classes: &ArrayViewD<'_, f32>) -> Vec<usize> {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "whole numbers")]
    classes.iter().map(|class| *class as usize).collect()
}
