//! Layers: from what a user calls a layer to a value of the graph, and back.
//!
//! The output of a module is the last value, in node order, that is produced by a node of the
//! module's scope and read outside that scope, or is an output of the graph.

mod automatic;
mod scope;

use std::collections::{BTreeMap, HashSet};

use onnx_grad::graph::{Graph, NodeId, ValueId};

use crate::{Result, error::bail};

pub(crate) use automatic::last_feature_map;

/// A module of the network, as its exporter named it, or a node without a module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayerInfo {
    /// The module path such as `layer4.2`, or the value's name where the file carries no paths.
    pub path: String,
    /// The operator or operators that the module is made of.
    pub kind: String,
    /// The value that leaves the module.
    pub value: String,
    /// The value's shape, [N, K, …]; empty where it is not known.
    pub shape: Vec<i64>,
    /// How many input pixels one position stands for, along the height; 0 where there is no space.
    pub stride: i64,
    /// Whether a class-activation map can be made here: the value has spatial extent and reaches the
    /// output.
    pub candidate: bool,
    /// Whether this is the layer that is taken where none is named.
    pub default: bool,
}

/// The layers of one graph.
#[derive(Debug)]
pub(crate) struct Layers {
    modules: Vec<(String, ValueId, String)>,
    reaching: HashSet<ValueId>,
    default: Option<ValueId>,
}

impl Layers {
    /// Finds the modules of a graph whose scores are `output`.
    pub(crate) fn new(graph: &Graph, output: ValueId) -> Self {
        let reaching = automatic::active(graph, output);
        Self { modules: modules(graph), reaching, default: last_feature_map(graph, output) }
    }

    /// The value of the layer that is taken where none is named.
    pub(crate) fn default(&self) -> Option<ValueId> {
        self.default
    }

    /// Whether the scores depend on a value.
    pub(crate) fn reaches_scores(&self, value: ValueId) -> bool {
        self.reaching.contains(&value)
    }

    fn is_candidate(&self, graph: &Graph, value: ValueId) -> bool {
        self.reaching.contains(&value) && has_space(graph, value)
    }

    /// The module path of a value, or its name.
    pub(crate) fn path_of<'a>(&'a self, graph: &'a Graph, value: ValueId) -> &'a str {
        // The shortest path is the outermost module that the value leaves.
        let paths = self.modules.iter().filter(|(_, v, _)| *v == value).map(|(path, _, _)| path);
        paths.min_by_key(|path| path.len()).map_or(graph.name(value), String::as_str)
    }

    /// The value that a user means by `name`.
    ///
    /// A module path, a node's name, a value's name, a suffix of a path that fits one module alone, or
    /// a negative number that counts the candidates from the end.
    pub(crate) fn find(&self, graph: &Graph, name: &str) -> Result<ValueId> {
        if let Some(value) = self.named(graph, name) {
            return Ok(value);
        }
        if let Ok(number) = name.parse::<i64>() {
            return self.counted(graph, number);
        }
        let suffix = format!(".{name}");
        let fitting: Vec<_> = self.modules.iter().filter(|(p, ..)| p.ends_with(&suffix)).collect();
        match fitting.as_slice() {
            [(_, value, _)] => return Ok(*value),
            [] => {}
            [(a, ..), (b, ..), ..] => {
                bail!(
                    Layer,
                    "\"{name}\" fits several layers, such as \"{a}\" and \"{b}\"; write more of the path"
                )
            }
        }
        let names = self.modules.iter().map(|(path, ..)| path.as_str());
        let values = graph.values().map(|value| graph.name(value));
        let closest = closest(name, names.chain(values));
        let closest = if closest.is_empty() {
            String::new()
        } else {
            format!("; closest: {}", closest.join(", "))
        };
        let model = graph.model().path().map_or("MODEL".into(), |path| path.display().to_string());
        bail!(Layer, "no layer named \"{name}\"{closest}; list them with: gradcam layers {model}")
    }

    fn named(&self, graph: &Graph, name: &str) -> Option<ValueId> {
        let module =
            self.modules.iter().find(|(path, ..)| path == name).map(|(_, value, _)| *value);
        let by_node = || {
            let (id, _) = graph.nodes().find(|(_, node)| node.name.as_deref() == Some(name))?;
            graph.node_outputs(id).first().copied().flatten()
        };
        module.or_else(by_node).or_else(|| graph.find(name))
    }

    fn counted(&self, graph: &Graph, number: i64) -> Result<ValueId> {
        let mut values: Vec<ValueId> = self
            .modules
            .iter()
            .map(|(_, v, _)| *v)
            .filter(|v| self.is_candidate(graph, *v))
            .collect();
        values.sort_unstable();
        values.dedup();
        let Ok(count) = i64::try_from(values.len()) else { return Ok(values[0]) };
        match usize::try_from(count + number) {
            Ok(place) if number < 0 => Ok(values[place]),
            _ => bail!(
                Layer,
                "no layer {number}; the layers with spatial extent are -1 (the last) to -{count} (the first)"
            ),
        }
    }

    /// The modules in the order in which they finish, outer modules behind their parts.
    pub(crate) fn list(&self, graph: &Graph, input_height: Option<i64>) -> Vec<LayerInfo> {
        let info = |(path, value, kind): &(String, ValueId, String)| {
            let shape = graph.fact(*value).sizes().unwrap_or_default();
            let rows = (shape.len() > 2).then(|| shape[2]).filter(|rows| *rows > 0);
            LayerInfo {
                path: path.clone(),
                kind: kind.clone(),
                value: graph.name(*value).to_owned(),
                stride: rows.zip(input_height).map_or(0, |(rows, height)| height.div_euclid(rows)),
                shape,
                candidate: self.is_candidate(graph, *value),
                default: false,
            }
        };
        let mut list: Vec<LayerInfo> = self.modules.iter().map(info).collect();
        if let Some(default) = self.default {
            let path = self.path_of(graph, default).to_owned();
            let value = graph.name(default).to_owned();
            for layer in &mut list {
                layer.default = layer.path == path && layer.value == value;
            }
        }
        list
    }
}

/// Whether a value [N, K, …] has more than one position behind its channels.
pub(crate) fn has_space(graph: &Graph, value: ValueId) -> bool {
    let fact = graph.fact(value);
    fact.elem.is_float()
        && fact.sizes().is_some_and(|s| s.len() > 2 && s[2..].iter().product::<i64>() > 1)
}

/// Every module path with the value that leaves it and what it is made of, in the order of the tree.
fn modules(graph: &Graph) -> Vec<(String, ValueId, String)> {
    let scopes: Vec<Option<String>> = graph.nodes().map(|(_, node)| scope::of_node(node)).collect();
    if scopes.iter().flatten().next().is_none() {
        return graph
            .nodes()
            .filter_map(|(id, node)| {
                let value = graph.node_outputs(id).first().copied().flatten()?;
                Some((graph.name(value).to_owned(), value, node.op().to_owned()))
            })
            .collect();
    }
    let mut members: BTreeMap<&str, Vec<NodeId>> = BTreeMap::new();
    let mut order: Vec<&str> = Vec::new();
    for ((id, _), path) in graph.nodes().zip(&scopes) {
        let Some(path) = path else { continue };
        for outer in scope::with_parents(path) {
            let nodes = members.entry(outer).or_insert_with(|| {
                order.push(outer);
                Vec::new()
            });
            nodes.push(id);
        }
    }
    let mut found = Vec::new();
    for path in order {
        let nodes = &members[path];
        if let Some(value) = leaving(graph, nodes) {
            found.push((path.to_owned(), value, kind(graph, nodes)));
        }
    }
    found
}

/// The last value that a set of nodes makes and others read.
fn leaving(graph: &Graph, nodes: &[NodeId]) -> Option<ValueId> {
    let inside: HashSet<NodeId> = nodes.iter().copied().collect();
    let outputs = nodes.iter().rev().flat_map(|id| graph.node_outputs(*id).iter().rev().flatten());
    let escapes = |value: &&ValueId| {
        graph.outputs().contains(value)
            || graph.consumers(**value).iter().any(|reader| !inside.contains(reader))
    };
    outputs.copied().collect::<Vec<_>>().iter().find(escapes).copied()
}

/// A module of one node is that operator, a larger one the number of its nodes.
fn kind(graph: &Graph, nodes: &[NodeId]) -> String {
    match nodes {
        [one] => graph.node(*one).op().to_owned(),
        many => format!("{} nodes", many.len()),
    }
}

/// Up to three names that are close to a wrong one.
fn closest<'a>(wrong: &str, names: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut ranked: Vec<(usize, &str)> = names.map(|name| (distance(wrong, name), name)).collect();
    ranked.sort_unstable();
    ranked.dedup();
    let limit = wrong.chars().count() / 2 + 1;
    ranked
        .iter()
        .filter(|(far, _)| *far <= limit)
        .take(3)
        .map(|(_, n)| format!("\"{n}\""))
        .collect()
}

/// The Levenshtein distance between two names.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let next = (diagonal + usize::from(x != *y)).min(row[j] + 1).min(row[j + 1] + 1);
            diagonal = std::mem::replace(&mut row[j + 1], next);
        }
    }
    row[b.len()]
}
