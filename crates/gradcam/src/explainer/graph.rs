//! The graphs of an explainer: scores, targets and maps in one; and the parts that methods run again.

use std::{
    collections::{HashMap, HashSet},
    fmt,
};

use onnx_grad::{
    Dim, Model, Override, Want,
    builder::Builder,
    differentiate, extract_values,
    graph::{Graph, ValueId},
    proto::tensor_proto::DataType,
    prune, varying,
};

use super::Explainer;
use crate::{
    Result,
    error::bail,
    layer::{View, Views, separable},
    method::{GraphRecipe, MapValues, MethodInfo, Recipe},
    program::Program,
    targets::{Asked, Emitted, EmittedTarget, Kind, class_input, emit, head, other_input},
};

/// What a program was made for: the shape of the images, and what depends on nothing else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Key {
    /// Scores and maps, for targets of these kinds.
    Explanation(Vec<usize>, Vec<Kind>),
    /// The scores that a program gets that runs the file with the engine's defaults.
    Deployed(Vec<usize>),
    /// The target of one kind.
    Target(Vec<usize>, Kind),
    /// The value of a layer, and what the part of the network behind it reads beside it.
    Cut(Vec<usize>, usize, Kind),
    /// The target from the value of a layer.
    Suffix(Vec<usize>, usize, Kind),
    /// From the value of a layer those at which its channels meet.
    Channels(Vec<usize>, usize),
}

impl Key {
    fn shape(&self) -> &[usize] {
        match self {
            Self::Explanation(shape, _)
            | Self::Deployed(shape)
            | Self::Target(shape, _)
            | Self::Cut(shape, ..)
            | Self::Suffix(shape, ..)
            | Self::Channels(shape, _) => shape,
        }
    }

    fn kinds(&self) -> Vec<Kind> {
        match self {
            Self::Explanation(_, kinds) => kinds.clone(),
            Self::Target(_, kind) | Self::Cut(_, _, kind) | Self::Suffix(_, _, kind) => vec![*kind],
            Self::Deployed(_) | Self::Channels(..) => Vec::new(),
        }
    }
}

/// Where a map is: its target, its method and its layer, each by its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct MapPlace {
    pub(super) target: usize,
    pub(super) method: usize,
    pub(super) layer: usize,
}

/// What an output of a program holds.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Output {
    /// The score of every class.
    Scores,
    /// The class that a target explains.
    Class(usize),
    /// The pixels of that class, of a segmentation.
    Pixels(usize),
    /// The scalar that a target is.
    Target(usize),
    /// The raw map of a method.
    Map(MapPlace),
    /// Its channel weights.
    Weights(MapPlace),
    /// A layer as a picture [N, K, …].
    Activation(usize),
    /// A value at which the channels of a layer meet: layer and place.
    Meeting(usize, usize),
    /// The gradient of a target there: target, layer and place.
    MeetingGradient(usize, usize, usize),
    /// A value of the model, by its name.
    Value(String),
}

impl fmt::Display for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Scores => write!(f, "gradcam.scores"),
            Self::Class(target) => write!(f, "gradcam.explained.{target}"),
            Self::Pixels(target) => write!(f, "gradcam.pixels.{target}"),
            Self::Target(target) => write!(f, "gradcam.target.{target}"),
            Self::Map(MapPlace { target, method, layer }) => {
                write!(f, "gradcam.map.{target}.{method}.{layer}")
            }
            Self::Weights(MapPlace { target, method, layer }) => {
                write!(f, "gradcam.weights.{target}.{method}.{layer}")
            }
            Self::Activation(layer) => write!(f, "gradcam.activation.{layer}"),
            Self::Meeting(layer, place) => write!(f, "gradcam.meeting.{layer}.{place}"),
            Self::MeetingGradient(target, layer, place) => {
                write!(f, "gradcam.meeting.{target}.{layer}.{place}.grad")
            }
            Self::Value(name) => f.write_str(name),
        }
    }
}

/// A program of an explainer, and what its outputs hold, in their order.
pub(super) struct Compiled {
    pub(super) program: Program,
    pub(super) outputs: Vec<Output>,
    /// Of a program of [`Key::Channels`].
    pub(super) channels: Option<Channels>,
}

/// How the channels of a layer lie in it and where they meet.
pub(super) struct Channels {
    /// The shape of the layer's value, images included.
    pub(super) shape: Vec<usize>,
    /// Of each value at which they meet, the channel of each element of one image.
    pub(super) of_elements: Vec<Vec<usize>>,
}

/// The graph of a key, with scores and targets emitted.
struct Emission {
    graph: Graph,
    emitted: Emitted,
    layers: Vec<ValueId>,
    image: ValueId,
}

impl Explainer {
    /// The graph of a key: a model, and what its outputs hold.
    pub(super) fn model_of(&self, key: &Key) -> Result<(Model, Vec<Output>)> {
        let emission = self.emission(key)?;
        match key {
            Key::Explanation(..) => self.explanation_graph(emission),
            Key::Deployed(_) => {
                finish(emission.graph, vec![(Output::Scores, emission.emitted.scores)])
            }
            Key::Target(..) => {
                let target = emission.target(0)?;
                finish(emission.graph, vec![(Output::Target(0), target)])
            }
            Key::Cut(_, layer, _) => {
                let value = emission.layers[*layer];
                let mut values = vec![value];
                values.extend(emission.beside(value)?);
                let outputs = values
                    .iter()
                    .map(|value| Output::Value(emission.graph.name(*value).to_owned()));
                let outputs = outputs.collect();
                Ok((prune(&emission.graph, &values)?, outputs))
            }
            Key::Suffix(_, layer, _) => {
                let value = emission.layers[*layer];
                let mut inputs = vec![value];
                inputs.extend(emission.beside(value)?);
                let graph = &emission.graph;
                let classes = [class_input(0), other_input(0)];
                inputs.extend(classes.iter().filter_map(|name| graph.find(name)));
                inputs.dedup();
                let target = emission.target(0)?;
                let outputs = vec![Output::Value(graph.name(target).to_owned())];
                Ok((extract_values(graph, &inputs, &[target])?, outputs))
            }
            Key::Channels(_, layer) => {
                let value = emission.layers[*layer];
                let graph = &emission.graph;
                let meeting = self.meeting(graph, value)?.unwrap_or_default();
                let outputs = meeting
                    .iter()
                    .map(|value| Output::Value(graph.name(*value).to_owned()))
                    .collect();
                Ok((extract_values(graph, &[value], &meeting)?, outputs))
            }
        }
    }

    /// The values at which the channels of a layer meet, where there are some.
    pub(super) fn meeting(&self, graph: &Graph, layer: ValueId) -> Result<Option<Vec<ValueId>>> {
        let head = head(graph, self.output.as_deref())?;
        let affine = head.form.is_affine();
        let views = Views::new(graph, self.grid);
        Ok(separable(graph, &views, layer, head.value).filter(|_| affine))
    }

    /// How the channels of the layer of a key lie, for programs that need it.
    pub(super) fn channels_of(&self, key: &Key, outputs: &[Output]) -> Result<Option<Channels>> {
        let Key::Channels(shape, layer) = key else { return Ok(None) };
        let graph = Graph::new(&self.model, &self.inputs.sizes(shape))?;
        let views = Views::new(&graph, self.grid);
        let value = graph.value(&self.layers[*layer].1)?;
        let sizes = graph.fact(value).sizes().unwrap_or_default();
        let shape = sizes.iter().map(|size| usize::try_from(*size).unwrap_or(0)).collect();
        let mut of_elements = Vec::with_capacity(outputs.len());
        for output in outputs {
            let value = graph.value(&output.to_string())?;
            match views.channels_of_elements(&graph, value) {
                Some((channels, _)) => of_elements.push(channels),
                None => bail!(Layer, "the channels of \"{output}\" are not known"),
            }
        }
        Ok(Some(Channels { shape, of_elements }))
    }

    fn emission(&self, key: &Key) -> Result<Emission> {
        let sizes = self.inputs.sizes(key.shape());
        let batch = sizes.get(&self.inputs.image.name).map_or(vec![], |shape| shape[..1].to_vec());
        let mut graph = Graph::new(&self.model, &sizes)?;
        let head = head(&graph, self.output.as_deref())?;
        let layers =
            self.layers.iter().map(|(_, value)| graph.value(value)).collect::<Result<_, _>>()?;
        let image = graph.value(&self.inputs.image.name)?;
        let asked = asked(&mut graph, &key.kinds(), &batch)?;
        let emitted = emit(&mut Builder::new(&mut graph, "cam"), &head, &asked)?;
        Ok(Emission { graph, emitted, layers, image })
    }

    /// The graph that computes scores and maps.
    fn explanation_graph(&self, emission: Emission) -> Result<(Model, Vec<Output>)> {
        let Emission { mut graph, emitted, layers, image } = emission;
        let views = Views::new(&graph, self.grid);
        let of_layers = layers
            .iter()
            .map(|layer| self.view(&graph, &views, *layer))
            .collect::<Result<Vec<_>>>()?;
        let mut b = Builder::new(&mut graph, "cam");
        let activation = |(layer, view): (&ValueId, &View)| view.emit(&mut b, *layer);
        let pictures =
            layers.iter().zip(&of_layers).map(activation).collect::<Result<Vec<_>, _>>()?;
        let at_layers = Sites { values: &layers, pictures: &pictures, views: &of_layers };
        // A method of the input has the picture of its gradient; what the input shows does not matter to it.
        let of_image = [views.of(b.graph(), image).unwrap_or(View::Plain)];
        let at_image = Sites { values: &[image], pictures: &[image], views: &of_image };
        let mut named = vec![(Output::Scores, emitted.scores)];
        let of_host = || {
            self.methods.iter().filter_map(|method| match &method.info().recipe {
                Recipe::Passes(recipe) => Some(recipe),
                Recipe::Graph(_) => None,
            })
        };
        let passes = of_host().next().is_some();
        if passes {
            let each = pictures.iter().enumerate();
            named.extend(each.map(|(layer, picture)| (Output::Activation(layer), *picture)));
        }
        let meetings = match of_host().any(|recipe| recipe.ablates) {
            true => layers
                .iter()
                .map(|layer| self.meeting(b.graph(), *layer))
                .collect::<Result<Vec<_>>>()?,
            false => Vec::new(),
        };
        for (layer, meeting) in meetings.iter().enumerate() {
            for (place, value) in meeting.iter().flatten().enumerate() {
                named.push((Output::Meeting(layer, place), *value));
            }
        }
        for (slot, EmittedTarget { target, class, pixels }) in emitted.targets.iter().enumerate() {
            named.push((Output::Class(slot), *class));
            named.extend(pixels.map(|pixels| (Output::Pixels(slot), pixels)));
            if passes {
                named.push((Output::Target(slot), *target));
            }
            let seed = b.scalar(*target, 1.0)?;
            for rules in self.rule_sets() {
                let methods =
                    || self.graph_methods().filter(|(_, row, _)| same(row.overrides(), rules));
                let mut wanted: Vec<(ValueId, Want)> = Vec::new();
                for (_, row, recipe) in methods() {
                    let site = if row.is_of_input() { &at_image } else { &at_layers };
                    wanted.extend(site.wanted(recipe));
                }
                if rules.is_empty() {
                    wanted.extend(
                        meetings.iter().flatten().flatten().map(|value| (*value, Want::Full)),
                    );
                }
                let mut seen = HashSet::new();
                wanted.retain(|one| seen.insert(*one));
                if wanted.is_empty() {
                    continue;
                }
                let made = differentiate(&mut b, &[(*target, seed)], &wanted, rules)?;
                let gradients: HashMap<(ValueId, Want), ValueId> =
                    wanted.into_iter().zip(made).collect();
                b.set_scope("cam");
                for (method, row, recipe) in methods() {
                    let site = if row.is_of_input() { &at_image } else { &at_layers };
                    for (layer, maps) in
                        site.maps(&mut b, recipe, &gradients)?.into_iter().enumerate()
                    {
                        let place = MapPlace { target: slot, method, layer };
                        named.push((Output::Map(place), maps.map));
                        named.extend(maps.weights.map(|weights| (Output::Weights(place), weights)));
                    }
                }
                if !rules.is_empty() {
                    continue;
                }
                for (layer, meeting) in meetings.iter().enumerate() {
                    for (place, value) in meeting.iter().flatten().enumerate() {
                        let gradient = b.expand_like(gradients[&(*value, Want::Full)], *value)?;
                        named.push((Output::MeetingGradient(slot, layer, place), gradient));
                    }
                }
            }
        }
        finish(graph, named)
    }

    /// The methods whose maps are a part of the graph, with their places.
    fn graph_methods(
        &self,
    ) -> impl Iterator<Item = (usize, &'static MethodInfo, &'static GraphRecipe)> {
        self.methods.iter().enumerate().filter_map(|(place, method)| match &method.info().recipe {
            Recipe::Graph(recipe) => Some((place, method.info(), recipe)),
            Recipe::Passes(_) => None,
        })
    }

    /// The sets of overriding rules of the methods, each once; the network is differentiated for each.
    fn rule_sets(&self) -> Vec<&'static [Override]> {
        let mut sets: Vec<&'static [Override]> = Vec::new();
        for rules in self.methods.iter().map(|method| method.info().overrides()) {
            if !sets.iter().any(|known| same(known, rules)) {
                sets.push(rules);
            }
        }
        sets
    }

    /// How a layer becomes a picture.
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

/// The inputs that say which classes targets explain.
fn asked(graph: &mut Graph, kinds: &[Kind], batch: &[Dim]) -> Result<Vec<Asked>> {
    let mut all = Vec::new();
    for (slot, kind) in kinds.iter().enumerate() {
        let mut input = |name: String| graph.push_input(&name, DataType::Int64, batch.to_vec());
        all.push(match kind {
            Kind::Class => Asked::Class(input(class_input(slot))?),
            Kind::Difference => {
                Asked::Difference(input(class_input(slot))?, input(other_input(slot))?)
            }
            Kind::Rank(rank) => Asked::Rank(*rank),
        });
    }
    Ok(all)
}

/// Gives the outputs of a graph their names, floats in float32, and leaves out what they do not need.
fn finish(mut graph: Graph, named: Vec<(Output, ValueId)>) -> Result<(Model, Vec<Output>)> {
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

/// Where methods explain: values of the graph, as they are and as pictures.
struct Sites<'a> {
    values: &'a [ValueId],
    pictures: &'a [ValueId],
    views: &'a [View],
}

impl Sites<'_> {
    /// What a method asks of the gradient of each value. The sum over space is of the axes behind the first two, which
    /// other layouts do not have there.
    fn wanted(&self, recipe: &GraphRecipe) -> impl Iterator<Item = (ValueId, Want)> {
        let want = |view: &View| if *view == View::Plain { recipe.want } else { Want::Full };
        self.values.iter().zip(self.views).map(move |(value, view)| (*value, want(view)))
    }

    /// Emits a method at each value.
    fn maps(
        &self,
        b: &mut Builder<'_>,
        recipe: &GraphRecipe,
        gradients: &HashMap<(ValueId, Want), ValueId>,
    ) -> Result<Vec<MapValues>> {
        let each = self.wanted(recipe).zip(self.pictures).zip(self.views);
        let maps = each.map(|((wanted, picture), view)| {
            let mut gradient = view.emit(b, gradients[&wanted])?;
            if recipe.want != wanted.1 {
                gradient = spatial_sum(b, gradient)?;
            }
            Ok((recipe.emit)(b, *picture, gradient)?)
        });
        maps.collect()
    }
}

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

impl Emission {
    /// The scalar that a target is.
    fn target(&self, slot: usize) -> Result<ValueId> {
        match self.emitted.targets.get(slot) {
            Some(target) => Ok(target.target),
            None => bail!(Engine, "the graph has no target {slot}"),
        }
    }

    /// What the part of the graph from `layer` to the target reads beside the layer and the classes, and that depends on
    /// the inputs of the model.
    fn beside(&self, layer: ValueId) -> Result<Vec<ValueId>> {
        let graph = &self.graph;
        let mut behind = HashSet::from([layer]);
        for (id, _) in graph.nodes() {
            let mut read = graph.node_inputs(id).iter().flatten().chain(graph.node_captures(id));
            if read.any(|value| behind.contains(value)) {
                behind.extend(graph.node_outputs(id).iter().flatten());
            }
        }
        let varying = varying(graph);
        let classes = [graph.find(&class_input(0)), graph.find(&other_input(0))];
        let (mut open, mut seen, mut beside) = (vec![self.target(0)?], HashSet::new(), Vec::new());
        while let Some(value) = open.pop() {
            if !seen.insert(value) || value == layer {
                continue;
            }
            match graph.producer(value).filter(|_| behind.contains(&value)) {
                Some(node) => {
                    open.extend(graph.node_inputs(node).iter().flatten());
                    open.extend(graph.node_captures(node));
                }
                None if varying.contains(&value) && !classes.contains(&Some(value)) => {
                    beside.push(value)
                }
                None => {}
            }
        }
        beside.sort_unstable();
        Ok(beside)
    }
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
            let key = Key::Explanation(small.input.clone(), vec![Kind::Class]);
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
