//! Layers: from the name of a layer to a value of the graph, and back.
//!
//! The output of a module is the last value, in node order, that is produced by a node of the
//! module's scope and read outside that scope, or is an output of the graph.

mod attention;
mod automatic;
mod axes;
mod channels;
mod exporter;
mod quantized;
mod scope;
mod separable;
mod stride;
mod view;

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fmt, slice,
};

use onnx_grad::{
    closest,
    graph::{Graph, NodeId, ValueId},
    op, refused_values,
};

use serde::Serialize;

use crate::{Result, error::bail, warning::Warning};

pub(crate) use automatic::Scale;
pub(crate) use axes::ImageValue;
pub(crate) use channels::channel_axis;
use scope::Scopes;
pub(crate) use separable::separable;
pub use view::Grid;
pub(crate) use view::{Spread, View, Views};

/// A module of the network, as its exporter named it, or a node without a module.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LayerInfo {
    /// The module path such as `layer4.2`, or the value's name where the file carries no paths.
    pub path: String,
    /// The path of the module around it; `None` for an outermost module, and for a node without a module.
    pub parent: Option<String>,
    /// The operator or operators that the module is made of.
    pub kind: String,
    /// The value that leaves the module.
    pub value: String,
    /// The value's shape, [N, K, …]; empty where it is not known.
    pub shape: Vec<i64>,
    /// How many input pixels one position stands for, along the height; 0 where there is no space.
    pub stride: i64,
    /// Whether a class-activation map can be made here: the value has spatial extent and reaches the
    /// output, through operators that have a gradient.
    pub candidate: bool,
    /// Whether this is the layer that is explained by default.
    pub default: bool,
}

/// Why a layer is explained: the strategy that chose it, and the reason for the choice. `Display` writes both.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct LayerReason {
    /// The strategy: `named` where the user named the layer.
    pub strategy: &'static str,
    /// Why that layer.
    pub why: &'static str,
}

impl LayerReason {
    /// A detector's layers, one for each scale.
    pub(crate) const SCALE: Self = Self {
        strategy: "scale-of-the-box",
        why: "it is the last feature map of the scale that the explained box comes from",
    };

    /// The user named the layer.
    pub(crate) const NAMED: Self = Self { strategy: "named", why: "the user named it" };
}

impl fmt::Display for LayerReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.strategy, self.why)
    }
}

impl ScoreValue {
    /// A value of which nothing else is known.
    pub(crate) fn plain(value: ValueId) -> Self {
        Self { value, anchors: None, is_map: false }
    }
}

/// A module: its path, its output, and its nodes.
#[derive(Debug)]
struct Module {
    path: String,
    /// The path of the module around it.
    parent: Option<String>,
    value: ValueId,
    kind: String,
    /// Whether it has parts.
    outer: bool,
    /// Whether the module is a convolution whose value is the output of the norm folded into it. The norm is a module of
    /// its own.
    folded: bool,
    nodes: Vec<NodeId>,
}

/// What the name of a layer means: a value, and the nodes of the layer.
#[derive(Clone, Debug)]
pub(crate) struct LayerMatch {
    pub(crate) path: String,
    pub(crate) value: ValueId,
    pub(crate) nodes: Vec<NodeId>,
}

impl Module {
    fn to_match(&self) -> LayerMatch {
        LayerMatch { path: self.path.clone(), value: self.value, nodes: self.nodes.clone() }
    }
}

/// The layers of one graph.
#[derive(Debug)]
pub(crate) struct Layers {
    scopes: Scopes,
    modules: Vec<Module>,
    views: Views,
    output: ValueId,
    reaching: HashSet<ValueId>,
    default: Option<DefaultLayer>,
    scales: Vec<Scale>,
}

/// The scores as the search for layers sees them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ScoreValue {
    pub(crate) value: ValueId,
    /// The number of anchors of a detector, and the value with their boxes.
    pub(crate) anchors: Option<(usize, Option<ValueId>)>,
    /// Whether the scores have positions themselves: pixels or time steps.
    pub(crate) is_map: bool,
}

/// The default layer: the one that is explained if the user names none.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DefaultLayer {
    pub(crate) value: ValueId,
    /// The strategy that found it.
    pub(crate) reason: LayerReason,
}

impl Layers {
    /// Finds the modules of a graph with these scores. Without an image input, any input may hold the images.
    pub(crate) fn new(
        graph: &Graph,
        image: Option<ImageValue>,
        scores: ScoreValue,
        grid: Grid,
    ) -> Self {
        let output = scores.value;
        let views = Views::new(graph, image, grid);
        let images = image.as_ref().map_or(graph.inputs(), |image| slice::from_ref(&image.value));
        let reaching = automatic::active(graph, graph.inputs(), output);
        let active = match images == graph.inputs() {
            true => reaching.clone(),
            false => automatic::active(graph, images, output),
        };
        let scales = scores.anchors.map_or_else(Vec::new, |(count, boxes)| {
            automatic::scales(graph, &views, images, &[Some(output), boxes], count)
        });
        let found = automatic::default_layer(graph, &views, active, scores);
        let default = found.map(|(value, _)| value);
        let scopes = Scopes::new(graph);
        let shows = |value| reaching.contains(&value) && views.of(graph, value).is_some();
        let is_default = |value| {
            default == Some(value) || scales.iter().any(|scale: &Scale| scale.value == value)
        };
        let modules = modules(graph, &scopes, is_default);
        let scales = scales
            .iter()
            .map(|scale| Scale {
                value: leaving_a_module(graph, &modules, scale.value, shows),
                ..scale.clone()
            })
            .collect();
        let default = found.map(|(value, reason)| DefaultLayer {
            value: leaving_a_module(graph, &modules, value, shows),
            reason,
        });
        Self { modules, scopes, views, output, reaching, default, scales }
    }

    /// The layers of a detector's scales, each for the boxes of its anchors; none where the model has no scales.
    pub(crate) fn scales(&self) -> &[Scale] {
        &self.scales
    }

    /// The default layer.
    pub(crate) fn default(&self) -> Option<DefaultLayer> {
        self.default
    }

    /// Whether the scores depend on a value.
    pub(crate) fn reaches_scores(&self, value: ValueId) -> bool {
        self.reaching.contains(&value)
    }

    /// Whether a value shows a picture: more than one position for each channel.
    pub(crate) fn has_space(&self, graph: &Graph, value: ValueId) -> bool {
        self.views.of(graph, value).is_some()
    }

    fn is_candidate(&self, graph: &Graph, value: ValueId) -> bool {
        self.reaching.contains(&value) && self.has_space(graph, value)
    }

    /// Whether a name is the path of a module.
    pub(crate) fn is_module(&self, name: &str) -> bool {
        self.modules.iter().any(|module| module.path == name)
    }

    /// The module path of a value, or its name.
    ///
    /// Of several modules with this output, the innermost that has parts, else the outermost: `layer4.2`, not `layer4` or
    /// `layer4.2.relu`.
    pub(crate) fn path_of<'a>(&'a self, graph: &'a Graph, value: ValueId) -> &'a str {
        let leaving =
            || self.modules.iter().filter(|module| module.value == value && !module.folded);
        let block = leaving().filter(|module| module.outer).max_by_key(|m| m.path.len());
        let found = block.or_else(|| leaving().min_by_key(|module| module.path.len()));
        found.map_or(graph.name(value), |module| &module.path)
    }

    /// The value of a layer, by name: a module path, a node's name, a value's name, a suffix of the path of a single
    /// module, or a negative number that counts the candidates from the end.
    pub(crate) fn find(&self, graph: &Graph, name: &str) -> Result<ValueId> {
        self.locate(graph, name).map(|found| found.value)
    }

    /// As [`Layers::find`], with the nodes of the layer.
    pub(crate) fn locate(&self, graph: &Graph, name: &str) -> Result<LayerMatch> {
        let mut found = self.look_up(graph, name)?;
        let (value, nodes) = quantized::shown(graph, found.value);
        found.value = value;
        found.nodes.extend(nodes);
        Ok(found)
    }

    fn look_up(&self, graph: &Graph, name: &str) -> Result<LayerMatch> {
        if let Some(found) = self.named(graph, name) {
            return Ok(found);
        }
        if let Ok(number) = name.parse::<i64>() {
            let value = self.counted(graph, number)?;
            if let Some(found) = self.named(graph, self.path_of(graph, value)) {
                return Ok(found);
            }
        }
        if let Some((id, value)) = self.scopes.absorbed(graph, name) {
            return Ok(LayerMatch { path: name.to_owned(), value, nodes: vec![id] });
        }
        let fits = |module: &&Module| {
            let outer = module.path.strip_suffix(name);
            outer.is_some_and(|outer| outer.ends_with(['.', '/']))
        };
        let fitting: Vec<_> = self.modules.iter().filter(fits).collect();
        match fitting.as_slice() {
            [module] => return Ok(module.to_match()),
            [] => {}
            [a, b, ..] => bail!(
                Layer,
                "\"{name}\" fits several layers, such as \"{}\" and \"{}\"; write more of the path",
                a.path,
                b.path
            ),
        }
        let mut scopes = graph.nodes().filter_map(|(id, _)| self.scopes.of(id));
        if scopes.any(|path| scope::with_parents(path).any(|outer| outer == name)) {
            bail!(
                Layer,
                "layer \"{name}\" gives no value that the rest of the model reads; name a value inside it"
            );
        }
        let names = self.modules.iter().map(|module| module.path.as_str());
        let values = graph.values().map(|value| graph.name(value));
        let closest = closest::hint(name, names.chain(values));
        let parent = name.rsplit_once('.').map(|(parent, _)| parent);
        let inside = match parent.filter(|parent| self.is_module(parent)) {
            Some(parent) => {
                let parts = self.parts(parent);
                let parts = if parts.is_empty() { "no layers inside" } else { &parts };
                format!(
                    "; \"{parent}\" has {parts} (a dropout, an identity and a norm that was folded into a convolution leave \
                     nothing in a file)"
                )
            }
            None => String::new(),
        };
        bail!(Layer, ListLayers; "no layer named \"{name}\"{closest}{inside}")
    }

    fn named(&self, graph: &Graph, name: &str) -> Option<LayerMatch> {
        let module = self.modules.iter().find(|module| module.path == name);
        let found = |value, nodes| LayerMatch { path: name.to_owned(), value, nodes };
        let by_node = || {
            let (id, _) = graph.nodes().find(|(_, node)| node.name.as_deref() == Some(name))?;
            let value = graph.node_outputs(id).first().copied().flatten()?;
            Some(found(value, vec![id]))
        };
        let by_value = || {
            let value = graph.find(name)?;
            Some(found(value, graph.producer(value).into_iter().collect()))
        };
        module.map(Module::to_match).or_else(by_node).or_else(by_value)
    }

    /// The names of the modules directly inside one.
    fn parts(&self, parent: &str) -> String {
        let inside = self.modules.iter().filter_map(|module| {
            module.path.strip_prefix(parent)?.strip_prefix('.').filter(|rest| !rest.contains('.'))
        });
        inside.collect::<Vec<_>>().join(", ")
    }

    fn counted(&self, graph: &Graph, number: i64) -> Result<ValueId> {
        let values = self.modules.iter().map(|module| module.value);
        let mut values: Vec<ValueId> = values.filter(|v| self.is_candidate(graph, *v)).collect();
        values.sort_unstable();
        values.dedup();
        let from_end = usize::try_from(number.unsigned_abs()).ok().filter(|_| number < 0);
        match from_end.and_then(|back| values.len().checked_sub(back)) {
            Some(place) => Ok(values[place]),
            None => bail!(
                Layer,
                "no layer {number}; the layers with spatial extent are -1 (the last) to -{} (the first)",
                values.len()
            ),
        }
    }

    /// The warning for a layer whose norm or convolution the exporter folded.
    pub(crate) fn folded_norm(&self, graph: &Graph, name: &str, value: ValueId) -> Option<Warning> {
        self.scopes.folded_norm(graph, name, value)
    }

    /// The paths of the modules, as in [`Layers::list`].
    pub(crate) fn paths(&self) -> impl Iterator<Item = &str> {
        self.modules.iter().map(|module| module.path.as_str())
    }

    /// The modules in the order in which they begin, outer modules before their parts.
    pub(crate) fn list(&self, graph: &Graph, input_height: Option<i64>) -> Vec<LayerInfo> {
        let defaults: Vec<ValueId> = match self.scales.as_slice() {
            [] => self.default.iter().map(|found| found.value).collect(),
            scales => scales.iter().map(|scale| scale.value).collect(),
        };
        let is_default = |module: &Module| {
            defaults.contains(&module.value) && module.path == self.path_of(graph, module.value)
        };
        let strides = stride::strides(graph, &self.views, input_height);
        let values = self.modules.iter().map(|module| module.value);
        let shown: HashSet<ValueId> = values.filter(|v| self.is_candidate(graph, *v)).collect();
        // Where even that fails, an explanation says why.
        let refused = refused_values(graph, self.output, shown.iter().copied()).unwrap_or_default();
        let info = |module: &Module| {
            let shape = graph.fact(module.value).sizes().unwrap_or_default();
            LayerInfo {
                path: module.path.clone(),
                parent: module.parent.clone(),
                kind: module.kind.clone(),
                value: graph.name(module.value).to_owned(),
                stride: strides.get(&module.value).copied().unwrap_or(0),
                shape,
                candidate: shown.contains(&module.value) && !refused.contains(&module.value),
                default: is_default(module),
            }
        };
        self.modules.iter().map(info).collect()
    }
}

/// All modules, outer modules before their parts; all nodes if the file names no modules. If it names some, a node outside
/// of them, such as a function that `forward` itself calls, is included only if `listed` holds for its value.
fn modules(graph: &Graph, scopes: &Scopes, listed: impl Fn(ValueId) -> bool) -> Vec<Module> {
    let bare = graph.nodes().all(|(id, _)| scopes.of(id).is_none());
    let alone = graph.nodes().filter(|(id, _)| scopes.of(*id).is_none());
    let alone = alone.filter_map(|(id, node)| {
        let made = graph.node_outputs(id).first().copied().flatten()?;
        let path = graph.name(made).to_owned();
        let (value, _) = quantized::shown(graph, made);
        let kind = node.op().to_owned();
        (bare || listed(value)).then(|| {
            let (parent, nodes) = (None, vec![id]);
            Module { path, parent, value, kind, outer: false, folded: false, nodes }
        })
    });
    let mut found: Vec<Module> = alone.collect();
    let mut members: BTreeMap<&str, Vec<NodeId>> = BTreeMap::new();
    let mut order: Vec<&str> = Vec::new();
    let mut with_parts: HashSet<&str> = HashSet::new();
    for (id, _) in graph.nodes() {
        for path in scopes.folded(id).into_iter().chain(scopes.of(id)) {
            for outer in scope::with_parents(path) {
                let nodes = members.entry(outer).or_insert_with(|| {
                    order.push(outer);
                    Vec::new()
                });
                if nodes.last() != Some(&id) {
                    nodes.push(id);
                }
                if outer != path {
                    with_parts.insert(outer);
                }
            }
        }
    }
    // A module without a value that leaves it is not listed.
    let lasts =
        order.iter().filter_map(|path| Some((*path, *leaving(graph, &members[path]).last()?)));
    let given: HashMap<&str, ValueId> = lasts.collect();
    found.extend(order.into_iter().filter_map(|path| {
        let (last, nodes) = (*given.get(path)?, &members[path]);
        let (value, _) = quantized::shown(graph, last);
        let kind = kind(graph, nodes);
        let outer = with_parts.contains(path);
        let folded = graph.producer(last).and_then(|id| scopes.folded(id)) == Some(path);
        let around = scope::with_parents(path).filter(|outer| *outer != path);
        let parent = around.filter(|outer| given.contains_key(outer)).last().map(str::to_owned);
        let (path, nodes) = (path.to_owned(), nodes.clone());
        Some(Module { path, parent, value, kind, outer, folded, nodes })
    }));
    // An outer module and its first part begin with the same node. The stable sort keeps the outer module first.
    found.sort_by_key(|module| module.nodes.first().copied());
    found
}

/// The values that a set of nodes produces and other nodes read, in node order.
pub(crate) fn leaving(graph: &Graph, nodes: &[NodeId]) -> Vec<ValueId> {
    let inside: HashSet<NodeId> = nodes.iter().copied().collect();
    let outputs = nodes.iter().flat_map(|id| graph.node_outputs(*id).iter().flatten());
    let escapes = |value: &ValueId| {
        graph.outputs().contains(value)
            || graph.consumers(*value).iter().any(|reader| !inside.contains(reader))
    };
    outputs.copied().filter(escapes).collect()
}

/// The output of the module that a value leaves: the last operators of the module may only move the elements.
fn leaving_a_module(
    graph: &Graph,
    modules: &[Module],
    value: ValueId,
    shows: impl Fn(ValueId) -> bool,
) -> ValueId {
    let mut at = value;
    loop {
        if modules.iter().any(|module| module.value == at && module.path != graph.name(at)) {
            return at;
        }
        let [reader] = graph.consumers(at) else { return value };
        let moved = graph.node_outputs(*reader).first().copied().flatten();
        match moved.filter(|moved| op::traits(graph.node(*reader)).moves() && shows(*moved)) {
            Some(moved) => at = moved,
            None => return value,
        }
    }
}

/// The operator of a module of one node, else the number of nodes.
fn kind(graph: &Graph, nodes: &[NodeId]) -> String {
    match nodes {
        [one] => graph.node(*one).op().to_owned(),
        many => format!("{} nodes", many.len()),
    }
}
