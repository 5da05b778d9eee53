//! The graphs of an explainer: the one with scores, targets and maps, and the parts that methods run again.

use onnx_grad::{
    Dim, Model,
    builder::Builder,
    extract_values,
    graph::{Graph, ValueId},
    proto::tensor_proto::DataType,
    prune, varying,
};

use super::{
    Explainer,
    key::{ChannelPlaces, Key, LayerPlaces, OutputMeaning},
};
use crate::{
    Result,
    error::bail,
    head::{Form, Head, head},
    layer::{View, Views, separable},
    method::{Derivative, Method},
    targets::{
        HeadValues, TargetForm, TargetKind, TargetRequest, class_input, emit, other_input,
        place_input,
    },
};

/// The graph of a key, with scores and targets emitted.
pub(super) struct TargetGraph {
    pub(super) graph: Graph,
    pub(super) emitted: HeadValues,
    pub(super) layers: Vec<ValueId>,
    /// Whether the gradient at a layer holds the other layers constant.
    pub(super) layers_are_apart: bool,
    pub(super) image: ValueId,
    /// For each target whether its value does not follow from the scores, so that the graph gives it.
    pub(super) is_shown: Vec<bool>,
    /// For each target whether it is an affine function of the scores.
    pub(super) is_affine: Vec<bool>,
}

impl Explainer {
    /// The graph of a key: a model, and what its outputs hold.
    pub(super) fn model_of(&self, key: &Key) -> Result<(Model, Vec<OutputMeaning>)> {
        let emission = self.emission(key)?;
        match key {
            Key::Explanation(_, _, layers) => self.explanation_graph(emission, layers.clone()),
            Key::Activation(_, layer) => self.activation_graph(emission, *layer),
            Key::Rest(_, layer) => {
                let (graph, scores) = (&emission.graph, emission.emitted.scores);
                let outputs = vec![OutputMeaning::Value(graph.name(scores).to_owned())];
                match extract_values(graph, &[emission.layers[*layer]], &[scores]) {
                    Err(error) if error.kind() == onnx_grad::ErrorKind::NotConnected => bail!(
                        Layer,
                        "the scores follow from other values too, such as a shortcut around the layer; choose a layer that the \
                         whole output passes through"
                    ),
                    rest => Ok((rest?, outputs)),
                }
            }
            Key::Prediction(_) => {
                let emitted = &emission.emitted;
                let mut named = vec![(OutputMeaning::Scores, emitted.scores)];
                named.extend(emitted.winners.map(|winners| (OutputMeaning::Winners, winners)));
                if let Some(anchors) = emitted.anchors {
                    named.push((OutputMeaning::AnchorScores, anchors.scores));
                    named.extend(anchors.boxes.map(|boxes| (OutputMeaning::AnchorBoxes, boxes)));
                }
                finish(emission.graph, named)
            }
            Key::Deployed(_) => {
                finish(emission.graph, vec![(OutputMeaning::Scores, emission.emitted.scores)])
            }
            Key::Target(..) => {
                let target = emission.target(0)?;
                finish(emission.graph, vec![(OutputMeaning::Target(0), target)])
            }
            Key::Cut(_, layer, _) => {
                let value = emission.layers[*layer];
                let mut values = vec![value];
                values.extend(emission.beside(value)?);
                let outputs = values
                    .iter()
                    .map(|value| OutputMeaning::Value(emission.graph.name(*value).to_owned()));
                let outputs = outputs.collect();
                Ok((prune(&emission.graph, &values)?, outputs))
            }
            Key::Suffix(_, layer, _) => {
                let value = emission.layers[*layer];
                let mut inputs = vec![value];
                inputs.extend(emission.beside(value)?);
                let graph = &emission.graph;
                let classes = [class_input(0), other_input(0), place_input(0)];
                inputs.extend(classes.iter().filter_map(|name| graph.find(name)));
                inputs.dedup();
                let target = emission.target(0)?;
                let outputs = vec![OutputMeaning::Value(graph.name(target).to_owned())];
                Ok((extract_values(graph, &inputs, &[target])?, outputs))
            }
            Key::Gradients(_, layer, _) => self.gradient_graph(emission, *layer),
            Key::Channels(_, layer) => {
                let value = emission.layers[*layer];
                let graph = &emission.graph;
                let meeting = self.meeting(graph, value)?.unwrap_or_default();
                let outputs = meeting
                    .iter()
                    .map(|value| OutputMeaning::Value(graph.name(*value).to_owned()))
                    .collect();
                Ok((extract_values(graph, &[value], &meeting)?, outputs))
            }
        }
    }

    /// The views of the values of a graph.
    pub(super) fn views(&self, graph: &Graph) -> Views {
        Views::new(graph, self.inputs.image.in_graph(graph), self.setup.grid)
    }

    /// The values at which the channels of a layer meet, where there are some.
    pub(super) fn meeting(&self, graph: &Graph, layer: ValueId) -> Result<Option<Vec<ValueId>>> {
        let head = head(graph, &self.setup.head_settings)?;
        let affine = head.form.is_affine();
        let views = self.views(graph);
        Ok(separable(graph, &views, layer, head.value).filter(|_| affine))
    }

    /// Where the channels of a key's layer are, for programs that need it.
    pub(super) fn channels_of(
        &self,
        key: &Key,
        outputs: &[OutputMeaning],
    ) -> Result<Option<ChannelPlaces>> {
        let (Key::Channels(shape, layer) | Key::Rest(shape, layer)) = key else { return Ok(None) };
        let graph = Graph::new(&self.setup.model, &self.inputs.sizes(shape))?;
        let views = self.views(&graph);
        let name = &self.setup.layers[*layer].1;
        let value = graph.value(name)?;
        let sizes = graph.fact(value).sizes().unwrap_or_default();
        let shape: Vec<usize> =
            sizes.iter().map(|size| usize::try_from(*size).unwrap_or(0)).collect();
        let names = match key {
            Key::Rest(..) => vec![name.clone()],
            _ => outputs.iter().map(ToString::to_string).collect(),
        };
        let mut of_elements = Vec::with_capacity(names.len());
        for name in names {
            let value = graph.value(&name)?;
            match (views.channels_of_elements(&graph, value), views.channel_axis(&graph, value)) {
                (Some((channels, _)), _) => of_elements.push(channels),
                // Of tokens, those outside the picture have channels too.
                (None, Some((axis, _))) if matches!(key, Key::Rest(..)) => {
                    let inside: usize = shape[axis + 1..].iter().product();
                    let all = 0..shape.iter().product();
                    of_elements.push(all.map(|at: usize| at / inside % shape[axis]).collect());
                }
                _ => bail!(Layer, "the channels of \"{name}\" are not known"),
            }
        }
        Ok(Some(ChannelPlaces { shape, of_elements }))
    }

    /// Where the picture of a key's layer is, for programs that need it.
    pub(super) fn layer_places(
        &self,
        key: &Key,
        outputs: &[OutputMeaning],
    ) -> Result<Option<LayerPlaces>> {
        let Key::Cut(shape, layer, _) = key else { return Ok(None) };
        let graph_of = |batch: usize| {
            let mut shape = shape.clone();
            shape[0] = batch;
            Graph::new(&self.setup.model, &self.inputs.sizes(&shape))
        };
        let name = &self.setup.layers[*layer].1;
        // The axis of size 2 is that of the images.
        let graph = graph_of(self.inputs.image.batch().unwrap_or(2))?;
        let images_first = self.views(&graph).images_first(&graph, graph.value(name)?);
        let graph = graph_of(shape[0])?;
        let value = graph.value(name)?;
        let sizes = graph.fact(value).sizes().unwrap_or_default();
        let sizes: Vec<usize> =
            sizes.iter().map(|size| usize::try_from(*size).unwrap_or(0)).collect();
        let view = self.views(&graph).of(&graph, value);
        let whole = view == Some(View::Plain) && graph.fact(value).elem == DataType::Float;
        Ok(Some(LayerPlaces {
            images_first: images_first.unwrap_or(false),
            elements: view.and_then(|view| view.elements(&sizes)),
            is_picture: whole && outputs.len() == 1 && shape[0] == 1,
        }))
    }

    fn emission(&self, key: &Key) -> Result<TargetGraph> {
        let sizes = self.inputs.sizes(key.shape());
        let batch = sizes.get(&self.inputs.image.name).map_or(vec![], |shape| shape[..1].to_vec());
        let mut graph = Graph::new(&self.setup.model, &sizes)?;
        let head = head(&graph, &self.setup.head_settings)?.with_axes_of(&self.setup.head);
        let kinds = key.kinds();
        let mut asked = asked(&mut graph, &head, &kinds, &batch)?;
        if matches!(key, Key::Explanation(..)) {
            self.ask_contrast(&mut asked);
        }
        self.with_targets(graph, &head, &kinds, &asked)
    }

    /// Asks for the contrast of each target, where a method reads it.
    pub(super) fn ask_contrast(&self, asked: &mut [TargetRequest]) {
        let of_contrast = |method: &Method| method.derivative() == Derivative::Contrast;
        if self.setup.methods.iter().any(of_contrast) {
            asked.iter_mut().for_each(|request| request.with_contrast = true);
        }
    }

    /// Appends scores and targets to a graph.
    pub(super) fn with_targets(
        &self,
        mut graph: Graph,
        head: &Head,
        kinds: &[TargetKind],
        asked: &[TargetRequest],
    ) -> Result<TargetGraph> {
        let layers = self
            .setup
            .layers
            .iter()
            .map(|(_, value)| graph.value(value))
            .collect::<Result<_, _>>()?;
        let image = graph.value(&self.inputs.image.name)?;
        let mut b = Builder::new(&mut graph, "cam");
        let mut emitted = emit(&mut b, head, asked)?;
        for (values, kind) in emitted.targets.iter_mut().zip(kinds) {
            if let Some(custom) = &kind.custom {
                let images = b.shape(values.target)?.first().copied().unwrap_or(Dim::Fixed(1));
                values.target = custom.emit(&mut b, head.value, images)?;
            }
        }
        let plain = matches!(head.form, Form::Classes(_) | Form::Binary | Form::Sum(_));
        let follows =
            |form| matches!(form, TargetForm::Class | TargetForm::Difference | TargetForm::Rank(_));
        let is_shown = kinds.iter().map(|kind| !plain || !follows(kind.form)).collect();
        let is_affine = kinds.iter().map(|kind| kind.form.is_affine()).collect();
        let layers_are_apart = false;
        Ok(TargetGraph { graph, emitted, layers, layers_are_apart, image, is_shown, is_affine })
    }
}

/// The inputs that say which classes targets explain, and where.
fn asked(
    graph: &mut Graph,
    head: &Head,
    kinds: &[TargetKind],
    batch: &[Dim],
) -> Result<Vec<TargetRequest>> {
    let mut all = Vec::new();
    for (slot, kind) in kinds.iter().enumerate() {
        let place = match (kind.placed, kind.form) {
            (_, TargetForm::Similarity) => Some((DataType::Float, vector_shape(head, batch))),
            (true, _) => Some(place_of(graph, head, batch)?),
            (false, _) => None,
        };
        let mut input = |name: String, elem, shape| graph.push_input(&name, elem, shape);
        let class = |name: String| (name, DataType::Int64, batch.to_vec());
        let mut of_class = |(name, elem, shape)| input(name, elem, shape);
        let (class, other) = match kind.form {
            TargetForm::Rank(_) | TargetForm::Similarity | TargetForm::Custom => (None, None),
            TargetForm::Difference => (
                Some(of_class(class(class_input(slot)))?),
                Some(of_class(class(other_input(slot)))?),
            ),
            TargetForm::Class | TargetForm::Negative | TargetForm::Probability => {
                (Some(of_class(class(class_input(slot)))?), None)
            }
        };
        let place = place.map(|(elem, shape)| input(place_input(slot), elem, shape)).transpose()?;
        all.push(TargetRequest {
            form: kind.form,
            class,
            is_class_known: false,
            other,
            place,
            with_contrast: false,
        });
    }
    Ok(all)
}

/// The shape of a vector that embeddings are compared with, [N, K].
fn vector_shape(head: &Head, batch: &[Dim]) -> Vec<Dim> {
    let size = i64::try_from(head.form.classes()).unwrap_or(i64::MAX);
    batch.iter().copied().chain([Dim::Fixed(size)]).collect()
}

/// The type and the shape of the input that says where a target is: its anchor, or the weight of each position.
fn place_of(graph: &Graph, head: &Head, batch: &[Dim]) -> Result<(DataType, Vec<Dim>)> {
    let Some(shape) = &graph.fact(head.value).shape else {
        bail!(Target, "the shape of the scores \"{}\" is not known", head.info.output)
    };
    let images = || batch.iter().copied();
    Ok(match (&head.form, shape.as_slice()) {
        (Form::Pixels(_), [_, _, space @ ..]) => {
            let space = [Dim::Fixed(1)].into_iter().chain(space.iter().copied());
            (DataType::Float, images().chain(space).collect())
        }
        (Form::Mask, _) => (DataType::Float, shape.clone()),
        (Form::Steps { time_first, .. }, [first, second, ..]) => {
            let time = if *time_first { *first } else { *second };
            (DataType::Float, images().chain([Dim::Fixed(1), time]).collect())
        }
        _ => (DataType::Int64, batch.to_vec()),
    })
}

/// Names the outputs of a graph, casts floats to float32 and prunes the rest.
pub(super) fn finish(
    mut graph: Graph,
    named: Vec<(OutputMeaning, ValueId)>,
) -> Result<(Model, Vec<OutputMeaning>)> {
    let mut values = Vec::new();
    let mut outputs = Vec::new();
    for (output, value) in named {
        let value = match graph.fact(value).elem {
            DataType::Float | DataType::Int64 => value,
            _ => Builder::new(&mut graph, "cam/out").cast(value, DataType::Float)?,
        };
        values.push(graph.alias(value, &output.to_string())?);
        outputs.push(output);
    }
    Ok((prune(&graph, &values)?, outputs))
}

impl TargetGraph {
    /// The scalar that a target is.
    pub(super) fn target(&self, slot: usize) -> Result<ValueId> {
        match self.emitted.targets.get(slot) {
            Some(target) => Ok(target.target),
            None => bail!(Engine, "the graph has no target {slot}"),
        }
    }

    /// The values that the part of the graph from `layer` to the target reads beside the layer and the classes, and that
    /// depend on the inputs of the model.
    fn beside(&self, layer: ValueId) -> Result<Vec<ValueId>> {
        let graph = &self.graph;
        let behind = graph.downstream([layer], |_| true);
        let varying = varying(graph);
        let classes =
            [class_input(0), other_input(0), place_input(0)].map(|name| graph.find(&name));
        let read = graph.upstream([self.target(0)?], |v| v != layer && behind.contains(&v));
        // What follows from the classes alone, the suffix computes from them.
        let own = graph.inputs().iter().copied().filter(|value| !classes.contains(&Some(*value)));
        let of_model = graph.downstream(own, |_| true);
        let is_beside = |value: &ValueId| {
            !behind.contains(value) && varying.contains(value) && of_model.contains(value)
        };
        let mut beside: Vec<ValueId> = read.into_iter().filter(is_beside).collect();
        beside.sort_unstable();
        Ok(beside)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use onnx_grad::graph::Sizes;
    use testkit::zoo;

    use super::*;

    /// Exporters write thousands of nodes that compute sizes and indices. The engine gets none of them: integers are left
    /// only between a class, one number for each image, and its row.
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
            let kind = TargetKind::of(&crate::Target::Argmax, false);
            let key =
                Key::Explanation(small.input.clone(), vec![kind], 0..explainer.setup.layers.len());
            let (model, _) = explainer.model_of(&key).unwrap();
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
