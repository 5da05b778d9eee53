//! The plan of a pass: where hooks are called, and the segments between those places.

use std::collections::{BTreeSet, HashSet};

use onnx_grad::{
    graph::{Graph, NodeId, Sizes, ValueId},
    inputs_of, live_values, tap, varying,
};

use super::{
    hook::{NETWORK, shown},
    segment::{Segment, SegmentPart},
};
use crate::{
    Result,
    error::bail,
    input::ImageInput,
    layer::{Grid, LayerMatch, Layers, ScoreValue, leaving},
    memory,
    program::Runtime,
};

/// The kinds of hooks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum HookKind {
    ForwardPre,
    Forward,
    Backward,
    FullBackward,
}

impl HookKind {
    /// Whether hooks of this kind may replace their layer's inputs or the gradients of these.
    fn is_at_inputs(self) -> bool {
        matches!(self, Self::ForwardPre | Self::FullBackward)
    }
}

/// The layers that have hooks, by path, each with a kind of its hooks.
pub(super) type HookSites = BTreeSet<(String, HookKind)>;

/// How a network runs for inputs of one shape and hooks at some layers.
pub(super) struct Plan {
    pub(super) steps: Vec<PlanStep>,
    /// The name of the model's first output.
    pub(super) scores: String,
}

/// A segment, unless there is nothing to compute, and the places behind it where hooks are called.
pub(super) struct PlanStep {
    pub(super) segment: Option<Segment>,
    pub(super) stops: Vec<HookStop>,
}

/// A place where hooks of one layer are called.
#[derive(Debug)]
pub(super) struct HookStop {
    pub(super) layer: String,
    pub(super) at: StopValues,
}

/// The values that the hooks of a stop get, by name.
#[derive(Debug)]
pub(super) enum StopValues {
    /// Before the layer: its inputs, each in an Identity that the layer alone reads.
    Inputs(Vec<String>),
    /// Behind the layer.
    Output {
        /// The inputs of the layer, where a hook gets them.
        inputs: Vec<String>,
        output: String,
    },
}

impl HookStop {
    /// The values that must exist at the stop.
    fn values(&self) -> impl Iterator<Item = &String> {
        let (first, second) = match &self.at {
            StopValues::Inputs(taps) => (taps, None),
            StopValues::Output { inputs, output } => (inputs, Some(output)),
        };
        first.iter().chain(second)
    }

    /// The values whose gradients hooks get.
    fn differentiated(&self) -> &[String] {
        match &self.at {
            StopValues::Inputs(taps) => taps,
            StopValues::Output { output, .. } => std::slice::from_ref(output),
        }
    }
}

/// The name of a layer in those of its taps.
fn tap_prefix(path: &str) -> &str {
    if path == NETWORK { "network" } else { path }
}

/// The whole network as a layer, whose output is the scores.
fn whole(graph: &Graph) -> Result<LayerMatch> {
    let Some(&value) = graph.outputs().first() else { bail!(Model, "the model has no output") };
    let nodes = graph.nodes().map(|(id, _)| id).collect();
    Ok(LayerMatch { path: NETWORK.to_owned(), value, nodes })
}

/// The layer that a name means, if hooks of a kind can be called there.
pub(super) fn layer(
    graph: &Graph,
    layers: &Layers,
    name: &str,
    kind: HookKind,
) -> Result<LayerMatch> {
    let of_network = name == NETWORK;
    let found = if of_network { whole(graph)? } else { layers.locate(graph, name)? };
    let varying = varying(graph);
    let value = graph.name(found.value);
    if found.nodes.is_empty() {
        bail!(Layer, "\"{value}\" is an input or a constant of the model, no layer");
    }
    if !varying.contains(&found.value) {
        bail!(
            Layer,
            "the output of {} does not depend on the network's input, so it has no hooks",
            shown(name)
        );
    }
    let elem = graph.fact(found.value).elem;
    if !elem.is_float() {
        bail!(
            Layer,
            "the output of {}, \"{value}\", is {}; hooks see floats",
            shown(name),
            elem.as_str_name().to_lowercase()
        );
    }
    let several = leaving(graph, &found.nodes).into_iter().filter(|value| varying.contains(value));
    let several: Vec<String> = several.map(|id| format!("\"{}\"", graph.name(id))).collect();
    if several.len() > 1 && name != value && !of_network {
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
                "{} reads no floats that depend on the network's input, so hooks have nothing to see before it",
                shown(name)
            );
        }
        tap(graph, &found.nodes, tap_prefix(name))?;
    }
    Ok(found)
}

/// A layer with hooks, by names that survive a rewrite of the graph.
struct HookedLayer {
    path: String,
    output: String,
    /// A value of each node of the layer.
    members: Vec<String>,
    kinds: Vec<HookKind>,
    taps: Vec<String>,
}

impl HookedLayer {
    fn nodes(&self, graph: &Graph) -> Vec<NodeId> {
        let producer = |name: &String| graph.producer(graph.find(name)?);
        self.members.iter().filter_map(producer).collect()
    }

    /// The stops of its hooks, each with the node after which it comes. Of several layers at one place, the first in the
    /// list contains the others.
    fn stops(&self, graph: &Graph) -> Result<Vec<(NodeId, HookStop)>> {
        let mut places = Vec::new();
        if !self.taps.is_empty() {
            places.push(StopValues::Inputs(self.taps.clone()));
        }
        let has = |kind| self.kinds.contains(&kind);
        if has(HookKind::Forward) || has(HookKind::Backward) || has(HookKind::FullBackward) {
            let read =
                if has(HookKind::Forward) { inputs_of(graph, &self.nodes(graph)) } else { vec![] };
            let inputs = read.iter().map(|&value| graph.name(value).to_owned()).collect();
            places.push(StopValues::Output { inputs, output: self.output.clone() });
        }
        let mut stops = Vec::new();
        for at in places {
            let stop = HookStop { layer: self.path.clone(), at };
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
    pub(super) fn new(
        graph: Graph,
        input: &ImageInput,
        sites: &HookSites,
        runtime: &Runtime,
    ) -> Result<Self> {
        let Some(&scores) = graph.outputs().first() else {
            bail!(Model, "the model has no output")
        };
        let scores = graph.name(scores).to_owned();
        let mut hooked = hooked(&graph, input, sites)?;
        let graph = tapped(graph, &mut hooked)?;
        let mut stops: Vec<(NodeId, HookStop)> = Vec::new();
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
        memory::check(models, runtime.memory().limit)?;
        let mut steps = Vec::with_capacity(parts.len());
        for part in parts {
            let segment = part.map(|part| part.compile(runtime)).transpose()?;
            steps.push(PlanStep { segment, stops: Vec::new() });
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
fn hooked(graph: &Graph, input: &ImageInput, sites: &HookSites) -> Result<Vec<HookedLayer>> {
    let mut all: Vec<HookedLayer> = Vec::new();
    let Some(&scores) = graph.outputs().first() else { return Ok(all) };
    let layers =
        Layers::new(graph, input.in_graph(graph), ScoreValue::plain(scores), Grid::default());
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
        all.push(HookedLayer {
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
fn tapped(mut graph: Graph, hooked: &mut [HookedLayer]) -> Result<Graph> {
    for place in 0..hooked.len() {
        let (outer, rest) = hooked.split_at_mut(place);
        let Some(layer) = rest.first_mut() else { break };
        if !layer.kinds.iter().any(|kind| kind.is_at_inputs()) {
            continue;
        }
        let (model, taps) = tap(&graph, &layer.nodes(&graph), tap_prefix(&layer.path))?;
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
    stops: &[(NodeId, HookStop)],
    sites: &HookSites,
) -> Result<Vec<Option<SegmentPart>>> {
    let mut cuts: Vec<NodeId> = stops.iter().map(|(node, _)| *node).collect();
    cuts.dedup();
    // Backwards: what is wanted behind a cut, and of that what is made before the next.
    let mut want = BTreeSet::from([graph.value(scores)?]);
    let used = graph.upstream(graph.outputs().iter().copied(), |_| true);
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
            // Those that nothing depends on have no value.
            None => graph.inputs().iter().copied().filter(|input| used.contains(input)).collect(),
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
        parts.push(Some(SegmentPart::new(graph, &read, &made, &seeds, &wrt)?));
        given.extend(wrt);
    }
    parts.reverse();
    Ok(parts)
}

/// The floats that depend on a value whose gradient a hook gets.
fn active(
    graph: &Graph,
    stops: &[(NodeId, HookStop)],
    sites: &HookSites,
) -> Result<HashSet<ValueId>> {
    let mut active = HashSet::new();
    for (_, stop) in stops {
        let asks = |kind: HookKind| sites.contains(&(stop.layer.clone(), kind));
        if asks(HookKind::FullBackward)
            || (asks(HookKind::Backward) && matches!(stop.at, StopValues::Output { .. }))
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
