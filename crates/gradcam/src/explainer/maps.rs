//! The graphs with maps: those of the methods in the graph, and what recipes on the host read.

use std::{
    collections::{HashMap, HashSet},
    ops::Range,
};

use onnx_grad::{
    GradientForm, Model, Override,
    builder::Builder,
    differentiate, differentiate_apart,
    graph::{Graph, ValueId},
};

use super::{
    Explainer,
    bias::{bias_maps, biased},
    graph::{TargetGraph, finish},
    key::{MapPlace, OutputMeaning},
};
use crate::{
    Result,
    error::{Error, bail},
    layer::{View, Views},
    method::{Derivative, GraphRecipe, MapValues, MethodInfo, Preparation, Recipe},
    targets::TargetValues,
};

impl Explainer {
    /// The graph that computes a layer's value as a picture.
    pub(super) fn activation_graph(
        &self,
        emission: TargetGraph,
        layer: usize,
    ) -> Result<(Model, Vec<OutputMeaning>)> {
        let TargetGraph { mut graph, layers, .. } = emission;
        let views = self.views(&graph);
        let view = self.view(&graph, &views, layers[layer])?;
        let picture = view.emit(&mut Builder::new(&mut graph, "cam"), layers[layer])?;
        finish(graph, vec![(OutputMeaning::Activation(layer), picture)])
    }

    /// The graph that computes the gradient at a layer, and its activation, or the gradient at the input.
    pub(super) fn gradient_graph(
        &self,
        emission: TargetGraph,
        layer: Option<usize>,
    ) -> Result<(Model, Vec<OutputMeaning>)> {
        let target = emission.target(0)?;
        let TargetGraph { mut graph, layers, image, .. } = emission;
        let views = self.views(&graph);
        let (value, view) = match layer {
            Some(layer) => (layers[layer], self.view(&graph, &views, layers[layer])?),
            None => (image, views.of(&graph, image).unwrap_or(View::Plain)),
        };
        let mut b = Builder::new(&mut graph, "cam");
        let seed = b.scalar(target, 1.0)?;
        let wanted = [(value, GradientForm::Full)];
        let gradient = differentiate(&mut b, &[(target, seed)], &wanted, &[])?[0];
        b.set_scope("cam");
        let gradient = picture(&mut b, &view, gradient, value)?;
        let mut named = Vec::new();
        if let Some(layer) = layer {
            named.push((OutputMeaning::Activation(layer), view.emit(&mut b, value)?));
        }
        named.push((OutputMeaning::Gradient(0, layer.unwrap_or(0)), gradient));
        finish(graph, named)
    }

    /// The graph that computes scores and maps.
    pub(super) fn explanation_graph(
        &self,
        emission: TargetGraph,
        explained: Range<usize>,
    ) -> Result<(Model, Vec<OutputMeaning>)> {
        let layers = emission.layers.get(explained.clone()).unwrap_or_default();
        let views = self.site_views(&emission.graph, layers, emission.image)?;
        let (graph, named) = self.with_maps(emission, explained, &views)?;
        finish(graph, named)
    }

    /// The views of layers and of the image, for which the sizes in the graph are numbers.
    pub(super) fn site_views(
        &self,
        graph: &Graph,
        layers: &[ValueId],
        image: ValueId,
    ) -> Result<SiteViews> {
        let views = self.views(graph);
        let layers = layers.iter().map(|layer| self.view(graph, &views, *layer));
        let layers = layers.collect::<Result<_>>()?;
        Ok(SiteViews { layers, image: views.of(graph, image).unwrap_or(View::Plain) })
    }

    /// Appends the maps of the methods in the graph, and what recipes on the host read, to a graph with targets. The values
    /// are those that the graph gives.
    pub(super) fn with_maps(
        &self,
        emission: TargetGraph,
        explained: Range<usize>,
        views: &SiteViews,
    ) -> Result<(Graph, Vec<(OutputMeaning, ValueId)>)> {
        let TargetGraph { mut graph, emitted, layers, image, is_shown, is_affine, .. } = emission;
        let differentiate = match emission.layers_are_apart {
            true => differentiate_apart,
            false => differentiate,
        };
        let first = explained.start;
        let layers = layers.get(explained).unwrap_or_default().to_vec();
        let of_layers = &views.layers;
        let mut b = Builder::new(&mut graph, "cam");
        let activation = |(layer, view): (&ValueId, &View)| view.emit(&mut b, *layer);
        let pictures =
            layers.iter().zip(of_layers).map(activation).collect::<Result<Vec<_>, _>>()?;
        let at_layers = MapSites { values: &layers, pictures: &pictures, views: of_layers };
        // A method of the input draws its gradient and does not read the input's values.
        let of_image = std::slice::from_ref(&views.image);
        let at_image = MapSites { values: &[image], pictures: &[image], views: of_image };
        let mut named = vec![(OutputMeaning::Scores, emitted.scores)];
        named.extend(emitted.winners.map(|winners| (OutputMeaning::Winners, winners)));
        let preparations: Vec<(usize, Preparation)> = self.preparations().collect();
        let passes = !preparations.is_empty();
        let prepares = |preparation| preparations.iter().any(|(_, own)| *own == preparation);
        let settings = &self.setup.method_settings;
        let gradients_of_layers = preparations.iter().any(|(_, own)| own.has_gradient(settings));
        let smooth = self.setup.maps.eigen_smooth;
        if passes || smooth {
            let each = pictures.iter().enumerate();
            named.extend(
                each.map(|(layer, picture)| (OutputMeaning::Activation(first + layer), *picture)),
            );
        }
        let meetings = match prepares(Preparation::ClosedForm) {
            true => layers
                .iter()
                .map(|layer| self.meeting(b.graph(), *layer))
                .collect::<Result<Vec<_>>>()?,
            false => Vec::new(),
        };
        for (layer, meeting) in meetings.iter().enumerate() {
            for (place, value) in meeting.iter().flatten().enumerate() {
                named.push((OutputMeaning::Meeting(first + layer, place), *value));
            }
        }
        for (slot, values) in emitted.targets.iter().enumerate() {
            let TargetValues { target, class, pixels, contrast, anchor: _ } = values;
            named.push((OutputMeaning::Class(slot), *class));
            named.extend(pixels.map(|pixels| (OutputMeaning::Pixels(slot), pixels)));
            if passes || is_shown.get(slot) == Some(&true) {
                named.push((OutputMeaning::Target(slot), *target));
            }
            let seed = b.scalar(*target, 1.0)?;
            for Sweep { is_of_contrast, rules } in self.sweeps() {
                let methods = || {
                    self.graph_methods().filter(|(_, row, recipe)| {
                        same(row.overrides(), rules)
                            && is_of_contrast == (recipe.of == Derivative::Contrast)
                    })
                };
                let is_plain = rules.is_empty() && !is_of_contrast;
                let scalar = contrast.filter(|_| is_of_contrast).unwrap_or(*target);
                let mut wanted: Vec<(ValueId, GradientForm)> = Vec::new();
                for (_, row, recipe) in methods() {
                    let site = if row.is_of_input() { &at_image } else { &at_layers };
                    wanted.extend(site.wanted(recipe));
                }
                if is_plain && gradients_of_layers {
                    wanted.extend(layers.iter().map(|value| (*value, GradientForm::Full)));
                }
                // The closed form holds for affine targets alone.
                let meetings = match is_affine.get(slot) {
                    Some(true) => meetings.as_slice(),
                    _ => &[],
                };
                if is_plain {
                    wanted.extend(
                        meetings
                            .iter()
                            .flatten()
                            .flatten()
                            .map(|value| (*value, GradientForm::Full)),
                    );
                }
                let of_input = |method: &&(usize, Preparation)| {
                    !is_of_contrast && method.1.input_rules().is_some_and(|own| same(own, rules))
                };
                let of_input: Vec<_> = preparations.iter().filter(of_input).collect();
                if !of_input.is_empty() {
                    wanted.push((image, GradientForm::Full));
                }
                let biased = match of_input.iter().any(|(_, preparation)| preparation.has_biases())
                {
                    true => biased(b.graph(), image, *target),
                    false => Vec::new(),
                };
                wanted.extend(biased.iter().map(|(value, _)| (*value, GradientForm::Full)));
                let mut seen = HashSet::new();
                wanted.retain(|one| seen.insert(*one));
                if wanted.is_empty() {
                    continue;
                }
                let made = differentiate(&mut b, &[(scalar, seed)], &wanted, rules)?;
                let gradients: HashMap<(ValueId, GradientForm), ValueId> =
                    wanted.into_iter().zip(made).collect();
                b.set_scope("cam");
                for (method, row, recipe) in methods() {
                    let site = if row.is_of_input() { &at_image } else { &at_layers };
                    for (layer, maps) in
                        site.maps(&mut b, recipe, &gradients)?.into_iter().enumerate()
                    {
                        let layer = if row.is_of_input() { layer } else { first + layer };
                        let place = MapPlace { target: slot, method, layer };
                        named.push((OutputMeaning::Map(place), maps.map));
                        let product = maps.product.filter(|_| smooth);
                        named.extend(
                            product.map(|product| (OutputMeaning::Product(place), product)),
                        );
                        named.extend(
                            maps.weights.map(|weights| (OutputMeaning::Weights(place), weights)),
                        );
                    }
                }
                for (method, _) in of_input {
                    let gradient = gradients[&(image, GradientForm::Full)];
                    let gradient = picture(&mut b, &of_image[0], gradient, image)?;
                    named.push((OutputMeaning::InputGradient(slot, *method), gradient));
                }
                for (place, map) in bias_maps(&mut b, &biased, &gradients)?.into_iter().enumerate()
                {
                    named.push((OutputMeaning::Biases(slot, place), map));
                }
                if !is_plain {
                    continue;
                }
                let of_layers = layers.iter().zip(of_layers).enumerate();
                for (layer, (value, view)) in of_layers.filter(|_| gradients_of_layers) {
                    let gradient = gradients[&(*value, GradientForm::Full)];
                    let gradient = picture(&mut b, view, gradient, *value)?;
                    named.push((OutputMeaning::Gradient(slot, first + layer), gradient));
                }
                for (layer, meeting) in meetings.iter().enumerate() {
                    for (place, value) in meeting.iter().flatten().enumerate() {
                        let gradient =
                            b.expand_like(gradients[&(*value, GradientForm::Full)], *value)?;
                        let layer = first + layer;
                        named.push((OutputMeaning::MeetingGradient(slot, layer, place), gradient));
                    }
                }
            }
        }
        Ok((graph, named))
    }

    /// The methods whose maps are a part of the graph, with their places.
    fn graph_methods(
        &self,
    ) -> impl Iterator<Item = (usize, &'static MethodInfo, &'static GraphRecipe)> {
        self.setup.methods.iter().enumerate().filter_map(|(place, method)| {
            match &method.info().recipe {
                Recipe::Graph(recipe) => Some((place, method.info(), recipe)),
                Recipe::Passes(_) => None,
            }
        })
    }

    /// What the methods on the host prepare, with their places.
    fn preparations(&self) -> impl Iterator<Item = (usize, Preparation)> {
        self.setup.methods.iter().enumerate().filter_map(|(place, method)| {
            match &method.info().recipe {
                Recipe::Passes(recipe) => Some((place, recipe.preparation)),
                Recipe::Graph(_) => None,
            }
        })
    }

    /// The distinct sweeps of the methods, first that of the target without overriding rules.
    fn sweeps(&self) -> Vec<Sweep> {
        let mut sweeps = vec![Sweep { is_of_contrast: false, rules: &[] }];
        for method in &self.setup.methods {
            let rules = method.info().overrides();
            let is_of_contrast = method.derivative() == Derivative::Contrast;
            let is_known =
                |sweep: &Sweep| same(sweep.rules, rules) && sweep.is_of_contrast == is_of_contrast;
            if !sweeps.iter().any(is_known) {
                sweeps.push(Sweep { is_of_contrast, rules });
            }
        }
        sweeps
    }

    /// The view of a layer: how it becomes a picture.
    fn view(&self, graph: &Graph, views: &Views, layer: ValueId) -> Result<View> {
        match views.of(graph, layer) {
            Some(view) => Ok(view),
            None => {
                bail!(
                    Layer,
                    "layer \"{}\" shows no picture in inputs of this size",
                    graph.name(layer)
                )
            }
        }
    }
}

/// How the layers and the image become pictures.
pub(super) struct SiteViews {
    pub(super) layers: Vec<View>,
    pub(super) image: View,
}

/// One differentiation of the network: what is differentiated, the target or its contrast, and the overriding rules.
struct Sweep {
    is_of_contrast: bool,
    rules: &'static [Override],
}

/// The values that methods explain, as they are and as pictures.
struct MapSites<'a> {
    values: &'a [ValueId],
    pictures: &'a [ValueId],
    views: &'a [View],
}

impl MapSites<'_> {
    /// What a method wants of the gradient of each value. `GradientForm::SpatialSum` sums the axes behind the first two, so other
    /// layouts want the full gradient, and so does a gradient that is differentiated again.
    fn wanted(&self, recipe: &GraphRecipe) -> impl Iterator<Item = (ValueId, GradientForm)> {
        let once = recipe.of != Derivative::Shapley;
        let want = move |view: &View| {
            if once && *view == View::Plain { recipe.want } else { GradientForm::Full }
        };
        self.values.iter().zip(self.views).map(move |(value, view)| (*value, want(view)))
    }

    /// Emits a method at each value.
    fn maps(
        &self,
        b: &mut Builder<'_>,
        recipe: &GraphRecipe,
        gradients: &HashMap<(ValueId, GradientForm), ValueId>,
    ) -> Result<Vec<MapValues>> {
        let each = self.wanted(recipe).zip(self.pictures).zip(self.views);
        let maps = each.map(|((wanted, picture), view)| {
            let mut gradient = gradients[&wanted];
            if recipe.of == Derivative::Shapley {
                gradient = without_half_curvature(b, wanted.0, gradient)?;
            }
            gradient = view.emit(b, gradient)?;
            if recipe.want != wanted.1 {
                gradient = spatial_sum(b, gradient)?;
            }
            Ok((recipe.emit)(b, *picture, gradient)?)
        });
        maps.collect()
    }
}

/// g − ½·H·A from the activation A and its gradient g, where H·A is the gradient of ⟨g, a⟩ with a constant a = A. Cai 2025.
fn without_half_curvature(
    b: &mut Builder<'_>,
    activation: ValueId,
    gradient: ValueId,
) -> Result<ValueId> {
    let gradient = b.expand_like(gradient, activation)?;
    if !b.graph().upstream([gradient], |_| true).contains(&activation) {
        return Ok(gradient);
    }
    let (seeds, wanted) = ([(gradient, activation)], [(activation, GradientForm::Full)]);
    let curvature = differentiate(b, &seeds, &wanted, &[]).map_err(|error| {
        Error::from(error).adding(
            "shapleycam differentiates the gradient again; choose a method that needs one gradient",
        )
    })?;
    b.set_scope("cam");
    let half = b.scale(curvature[0], 0.5)?;
    Ok(b.sub(gradient, half)?)
}

/// A gradient as the picture of its value.
fn picture(b: &mut Builder<'_>, view: &View, gradient: ValueId, value: ValueId) -> Result<ValueId> {
    let gradient = b.expand_like(gradient, value)?;
    Ok(view.emit(b, gradient)?)
}

/// Whether two methods replace the same rules: sets of them are statics.
fn same(a: &[Override], b: &[Override]) -> bool {
    std::ptr::eq(a, b) || a.is_empty() && b.is_empty()
}

/// The sum over all positions of a gradient [N, K, …]: [N, K].
fn spatial_sum(b: &mut Builder<'_>, gradient: ValueId) -> Result<ValueId> {
    let shape = b.shape(gradient)?;
    let axes: Vec<usize> = (2..shape.len()).collect();
    let sum = b.sum(gradient, &axes)?;
    Ok(b.reshape(sum, &shape[..2])?)
}
