//! The plan of a pass: where hooks are called, and the segments between those places.

use std::collections::{BTreeSet, HashSet};

use onnx_grad::{
    graph::{Graph, NodeId, Sizes, ValueId},
    inputs_of, live_values, tap, varying,
};

use super::segment::{Part, Segment};
use crate::{
    Result,
    error::bail,
    layer::{Found, Grid, Layers, leaving},
    memory,
    program::Runtime,
};

/// The kinds of hooks, by what they are called for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Kind {
    ForwardPre,
    Forward,
    Backward,
    FullBackward,
}

impl Kind {
    /// Whether hooks of this kind may replace what their layer reads, or the gradient of that.
    fn is_at_inputs(self) -> bool {
        matches!(self, Self::ForwardPre | Self::FullBackward)
    }
}

/// Layers that have hooks, by path, with the kinds of those.
pub(super) type Sites = BTreeSet<(String, Kind)>;

/// How a network runs for inputs of one shape and hooks at some layers.
pub(super) struct Plan {
    pub(super) steps: Vec<Step>,
    /// The name of the model's first output.
    pub(super) scores: String,
}

/// A segment, if anything is to be computed, and the places behind it where hooks are called.
pub(super) struct Step {
    pub(super) segment: Option<Segment>,
    pub(super) stops: Vec<Stop>,
}

/// A place where hooks of one layer are called.
#[derive(Debug)]
pub(super) struct Stop {
    pub(super) layer: String,
    pub(super) at: At,
}

/// The values that a stop is about, by name.
#[derive(Debug)]
pub(super) enum At {
    /// Before the layer: its inputs, each in an Identity that the layer alone reads.
    Inputs(Vec<String>),
    /// Behind the layer.
    Output {
        /// What the layer has read, where a hook asks for it.
        inputs: Vec<String>,
        output: String,
    },
}

impl Stop {
    /// The values that must exist at the stop.
    fn values(&self) -> impl Iterator<Item = &String> {
        let (first, second) = match &self.at {
            At::Inputs(taps) => (taps, None),
            At::Output { inputs, output } => (inputs, Some(output)),
        };
        first.iter().chain(second)
    }

    /// The values whose gradients hooks are told of.
    fn differentiated(&self) -> &[String] {
        match &self.at {
            At::Inputs(taps) => taps,
            At::Output { output, .. } => std::slice::from_ref(output),
        }
    }
}

/// The layer that a name means, if hooks of a kind can be called there.
pub(super) fn layer(graph: &Graph, layers: &Layers, name: &str, kind: Kind) -> Result<Found> {
    let found = layers.locate(graph, name)?;
    let varying = varying(graph);
    let value = graph.name(found.value);
    if found.nodes.is_empty() {
        bail!(Layer, "\"{name}\" is an input or a constant of the model, no layer");
    }
    if !varying.contains(&found.value) {
        bail!(
            Layer,
            "the output of layer \"{name}\" does not depend on the network's input, so it has no hooks"
        );
    }
    let elem = graph.fact(found.value).elem;
    if !elem.is_float() {
        bail!(
            Layer,
            "the output of layer \"{name}\", \"{value}\", is {}; hooks see floats",
            elem.as_str_name().to_lowercase()
        );
    }
    let several = leaving(graph, &found.nodes).into_iter().filter(|value| varying.contains(value));
    let several: Vec<String> = several.map(|id| format!("\"{}\"", graph.name(id))).collect();
    if several.len() > 1 && name != value {
        bail!(
            Layer,
            "layer \"{name}\" has several outputs, as one that is called several times: {}; name the one \
             that is meant",
            several.join(", ")
        );
    }
    if kind.is_at_inputs() {
        if inputs_of(graph, &found.nodes).is_empty() {
            bail!(
                Layer,
                "layer \"{name}\" reads no floats that depend on the network's input, so hooks have \
                 nothing to see before it"
            );
        }
        tap(graph, &found.nodes, name)?;
    }
    Ok(found)
}

/// A layer with hooks, by names that stay when the graph is written again.
struct Hooked {
    path: String,
    output: String,
    /// A value of each node of the layer.
    members: Vec<String>,
    kinds: Vec<Kind>,
    taps: Vec<String>,
}

impl Hooked {
    fn nodes(&self, graph: &Graph) -> Vec<NodeId> {
        let producer = |name: &String| graph.producer(graph.find(name)?);
        self.members.iter().filter_map(producer).collect()
    }

    /// Where its hooks are called: the node after which, and what is told there. The first layer that
    /// is listed contains the others of the same place.
    fn stops(&self, graph: &Graph) -> Result<Vec<(NodeId, Stop)>> {
        let mut places = Vec::new();
        if !self.taps.is_empty() {
            places.push(At::Inputs(self.taps.clone()));
        }
        let has = |kind| self.kinds.contains(&kind);
        if has(Kind::Forward) || has(Kind::Backward) || has(Kind::FullBackward) {
            let read =
                if has(Kind::Forward) { inputs_of(graph, &self.nodes(graph)) } else { vec![] };
            let inputs = read.iter().map(|&value| graph.name(value).to_owned()).collect();
            places.push(At::Output { inputs, output: self.output.clone() });
        }
        let mut stops = Vec::new();
        for at in places {
            let stop = Stop { layer: self.path.clone(), at };
            let ids = values(graph, stop.differentiated())?;
            if let Some(node) = ids.iter().filter_map(|&id| graph.producer(id)).max() {
                stops.push((node, stop));
            }
        }
        Ok(stops)
    }
}

impl Plan {
    /// Plans the passes of the network `graph` with hooks at `sites`, and compiles the forward ones.
    pub(super) fn new(graph: Graph, sites: &Sites, runtime: &Runtime) -> Result<Self> {
        let Some(&scores) = graph.outputs().first() else {
            bail!(Model, "the model has no output")
        };
        let scores = graph.name(scores).to_owned();
        let mut hooked = hooked(&graph, sites)?;
        let graph = tapped(graph, &mut hooked)?;
        let mut stops: Vec<(NodeId, Stop)> = Vec::new();
        // Of layers that end at one place, the inner one is done first.
        for layer in hooked.iter().rev() {
            stops.extend(layer.stops(&graph)?);
        }
        stops.sort_by_key(|(node, _)| *node);
        let parts = parts(&graph, &scores, &stops, sites)?;
        let models = parts.iter().flatten().flat_map(|part| {
            std::iter::once(&part.model)
                .chain(part.backward.as_ref().map(|backward| &backward.model))
        });
        memory::check(models, runtime.limit())?;
        let mut steps = Vec::with_capacity(parts.len());
        for part in parts {
            let segment = part.map(|part| part.compile(runtime)).transpose()?;
            steps.push(Step { segment, stops: Vec::new() });
        }
        let mut cut = 0;
        let mut last = None;
        for (node, stop) in stops {
            cut += usize::from(last.is_some_and(|last| last != node));
            last = Some(node);
            steps[cut].stops.push(stop);
        }
        Ok(Self { steps, scores })
    }
}

/// The layers that have hooks, outer layers before their parts.
fn hooked(graph: &Graph, sites: &Sites) -> Result<Vec<Hooked>> {
    let mut all: Vec<Hooked> = Vec::new();
    let Some(&scores) = graph.outputs().first() else { return Ok(all) };
    let layers = Layers::new(graph, graph.inputs(), scores, Grid::default());
    for (path, kind) in sites {
        if let Some(known) = all.iter_mut().find(|known| known.path == *path) {
            known.kinds.push(*kind);
            continue;
        }
        let found = layer(graph, &layers, path, *kind)?;
        let member = |node: &NodeId| {
            let value = graph.node_outputs(*node).iter().flatten().next()?;
            Some(graph.name(*value).to_owned())
        };
        all.push(Hooked {
            path: path.clone(),
            output: graph.name(found.value).to_owned(),
            members: found.nodes.iter().filter_map(member).collect(),
            kinds: vec![*kind],
            taps: Vec::new(),
        });
    }
    all.sort_by_key(|layer| std::cmp::Reverse(layer.members.len()));
    Ok(all)
}

/// The graph in which layers with hooks at their inputs read those through Identities of their own, the
/// parts of a layer those of the layer.
fn tapped(mut graph: Graph, hooked: &mut [Hooked]) -> Result<Graph> {
    for place in 0..hooked.len() {
        let (outer, rest) = hooked.split_at_mut(place);
        let Some(layer) = rest.first_mut() else { break };
        if !layer.kinds.iter().any(|kind| kind.is_at_inputs()) {
            continue;
        }
        let (model, taps) = tap(&graph, &layer.nodes(&graph), &layer.path)?;
        // What the Identities read is what the layers around this one read.
        for outer in outer {
            if layer.members.iter().all(|member| outer.members.contains(member)) {
                outer.members.extend(taps.iter().cloned());
            }
        }
        layer.taps = taps;
        graph = Graph::new(&model, &Sizes::new())?;
    }
    Ok(graph)
}

/// The parts between the stops, `None` where nothing is computed; one more than there are places.
fn parts(
    graph: &Graph,
    scores: &str,
    stops: &[(NodeId, Stop)],
    sites: &Sites,
) -> Result<Vec<Option<Part>>> {
    let mut cuts: Vec<NodeId> = stops.iter().map(|(node, _)| *node).collect();
    cuts.dedup();
    // Backwards: what is wanted behind a cut, and of that what is made before the next.
    let mut want = BTreeSet::from([graph.value(scores)?]);
    let mut spans: Vec<(Vec<ValueId>, Vec<ValueId>)> = Vec::new();
    for place in (0..=cuts.len()).rev() {
        let before = place.checked_sub(1).map(|place| cuts[place]);
        for (_, stop) in stops.iter().filter(|(node, _)| cuts.get(place) == Some(node)) {
            want.extend(values(graph, stop.values())?);
        }
        let (made, old): (BTreeSet<ValueId>, _) =
            want.into_iter().partition(|&value| graph.producer(value) > before);
        want = old;
        let made: Vec<ValueId> = made.into_iter().collect();
        let read = match before {
            Some(node) => live_values(graph, node, &made),
            None => graph.inputs().to_vec(),
        };
        want.extend(&read);
        spans.push((read, made));
    }
    // What has a gradient that a hook asks for, and of that what the scores have given one.
    let active = active(graph, stops, sites)?;
    let mut given = HashSet::from([graph.value(scores)?]);
    let mut parts = Vec::with_capacity(spans.len());
    for (read, made) in spans {
        if made.is_empty() {
            parts.push(None);
            continue;
        }
        let seeds: Vec<ValueId> =
            made.iter().copied().filter(|v| active.contains(v) && given.contains(v)).collect();
        let reaching = graph.upstream(seeds.iter().copied(), |value| !read.contains(&value));
        let wrt: Vec<ValueId> =
            read.iter().copied().filter(|v| active.contains(v) && reaching.contains(v)).collect();
        parts.push(Some(Part::new(graph, &read, &made, &seeds, &wrt)?));
        given.extend(wrt);
    }
    parts.reverse();
    Ok(parts)
}

/// The floats that depend on a value whose gradient a hook is told of.
fn active(graph: &Graph, stops: &[(NodeId, Stop)], sites: &Sites) -> Result<HashSet<ValueId>> {
    let mut active = HashSet::new();
    for (_, stop) in stops {
        let asks = |kind: Kind| sites.contains(&(stop.layer.clone(), kind));
        if asks(Kind::FullBackward)
            || (asks(Kind::Backward) && matches!(stop.at, At::Output { .. }))
        {
            active.extend(values(graph, stop.differentiated())?);
        }
    }
    let varying = varying(graph);
    let mut active = graph.downstream(active, |value| varying.contains(&value));
    active.retain(|value| graph.fact(*value).elem.is_float());
    Ok(active)
}

fn values<'a>(graph: &Graph, names: impl IntoIterator<Item = &'a String>) -> Result<Vec<ValueId>> {
    Ok(names.into_iter().map(|name| graph.value(name)).collect::<Result<_, _>>()?)
}
