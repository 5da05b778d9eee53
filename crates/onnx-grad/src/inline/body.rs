//! The body of a function or branch before insertion into a graph. Its values get names that are
//! unique in the graph.

use std::collections::{HashMap, HashSet};

use super::{captured_names, constant, is_gradient, subgraphs, subgraphs_mut};
use crate::{
    error::{Result, bail},
    proto::{GraphProto, NodeProto, TensorProto, ValueInfoProto},
};

/// Nodes that replace another node, with their constants and declarations.
#[derive(Debug, Default)]
pub(crate) struct Body {
    pub(crate) nodes: Vec<NodeProto>,
    pub(crate) initializers: Vec<TensorProto>,
    pub(crate) value_info: Vec<ValueInfoProto>,
}

impl Body {
    /// A copy of a graph with the names of its outputs. Inputs get the names of `map`, its own values names below
    /// `scope`; captured values keep theirs.
    pub(crate) fn copied(
        graph: &GraphProto,
        map: HashMap<String, String>,
        scope: &str,
    ) -> (Self, Vec<String>) {
        let inner: Vec<String> =
            graph.output.iter().map(|o| o.name.clone().unwrap_or_default()).collect();
        let outputs: Vec<String> =
            (0..inner.len()).map(|at| format!("{scope}/output_{at}")).collect();
        let mut body = Self {
            nodes: graph.node.clone(),
            initializers: graph.initializer.clone(),
            value_info: Vec::new(),
        };
        body.rename(map, (&inner, &outputs), scope, &mut |local| Some(format!("{scope}/{local}")));
        for node in &mut body.nodes {
            node.name = Some(format!("{scope}/{}", node.label()));
        }
        body.separate_constants(&outputs);
        (body, outputs)
    }

    /// Makes initializers of Constant nodes that produce no output.
    fn separate_constants(&mut self, outputs: &[String]) {
        for inner in std::mem::take(&mut self.nodes) {
            let is_output = inner.output.iter().any(|name| outputs.contains(name));
            match constant::tensor(&inner).filter(|_| !is_output) {
                Some(tensor) => self.initializers.push(tensor),
                None => self.nodes.push(inner),
            }
        }
    }

    /// The first free name (read, but neither in the map nor defined) and the node that reads it.
    pub(super) fn free_name(&self, map: &HashMap<String, String>) -> Option<(&str, &str)> {
        let mut defined = HashSet::new();
        definitions(&self.nodes, &mut |name| {
            defined.insert(name);
        });
        self.nodes.iter().find_map(|node| {
            let mut read: HashSet<&str> = node.input.iter().map(String::as_str).collect();
            captured_names(node, &mut read);
            let known =
                |name: &str| name.is_empty() || defined.contains(name) || map.contains_key(name);
            let free = read.into_iter().filter(|name| !known(name)).min()?;
            Some((node.label(), free))
        })
    }

    /// Renames the values of the body: first according to the map, then the outputs `from` to the
    /// outputs `to` of the replaced node, then all others according to `local`, which may keep a
    /// name.
    ///
    /// An Identity copies each output that no node of the body produces.
    pub(super) fn rename(
        &mut self,
        mut map: HashMap<String, String>,
        (from, to): (&[String], &[String]),
        scope: &str,
        local: &mut dyn FnMut(&str) -> Option<String>,
    ) {
        let produced: HashSet<&String> = self.nodes.iter().flat_map(|n| &n.output).collect();
        let mut copies = Vec::new();
        for (inner, outer) in from.iter().zip(to).filter(|(_, outer)| !outer.is_empty()) {
            if produced.contains(inner) && !map.contains_key(inner) {
                map.insert(inner.clone(), outer.clone());
            } else {
                copies.push((inner, outer));
            }
        }
        let own = self.initializers.iter().map(TensorProto::label);
        let mut name = |name: &str| {
            if !name.is_empty()
                && !map.contains_key(name)
                && let Some(new) = local(name)
            {
                map.insert(name.to_owned(), new);
            }
        };
        own.for_each(&mut name);
        definitions(&self.nodes, &mut name);
        rename_nodes(&mut self.nodes, &map);
        let renamed = |name: &String| map.get(name).unwrap_or(name).clone();
        for tensor in &mut self.initializers {
            tensor.name = tensor.name.as_ref().map(renamed);
        }
        for info in &mut self.value_info {
            info.name = info.name.as_ref().map(renamed);
        }
        for (inner, outer) in copies {
            self.nodes.push(NodeProto {
                input: vec![renamed(inner)],
                output: vec![outer.clone()],
                name: Some(format!("{scope}/{outer}")),
                op_type: Some("Identity".to_owned()),
                ..NodeProto::default()
            });
        }
    }
}

/// The number of definitions of each name in a graph and its subgraphs.
#[derive(Debug)]
pub(crate) struct NameTable {
    count: HashMap<String, usize>,
    /// The next number to try for each prefix. Without it, calls with one label would try all
    /// numbers again.
    next: HashMap<String, usize>,
}

impl NameTable {
    pub(crate) fn of(graph: &GraphProto) -> Self {
        let mut count = HashMap::new();
        graph_definitions(graph, &mut |name| {
            *count.entry(name.to_owned()).or_default() += 1;
        });
        Self { count, next: HashMap::new() }
    }

    /// Returns an unused name and marks it as used.
    pub(super) fn fresh(&mut self, scope: &str, name: &str) -> String {
        let first = format!("{scope}/{name}");
        let next = self.next.entry(first.clone()).or_default();
        loop {
            let free = if *next == 0 { first.clone() } else { format!("{first}_{next}") };
            *next += 1;
            if !self.count.contains_key(&free) {
                self.count.insert(free.clone(), 1);
                return free;
            }
        }
    }

    /// The taken branch of an `If`, with the output names of the `If`. Captured names do not
    /// change; names that the branch defines change only if they are not unique.
    ///
    /// # Errors
    /// `InvalidModel` if the branch does not exist or its outputs do not match.
    pub(crate) fn branch(&mut self, node: &mut NodeProto, taken: bool) -> Result<Body> {
        let which = if taken { "then_branch" } else { "else_branch" };
        let mut attributes = node.attribute.iter_mut();
        let attribute = attributes.find(|a| a.name.as_deref() == Some(which));
        let graph = attribute.and_then(|attribute| attribute.g.take());
        let label = node.label();
        let Some(graph) = graph else {
            bail!(InvalidModel, "node \"{label}\" (If) has no {which}");
        };
        if graph.output.len() < node.output.len() {
            let (has, wants) = (graph.output.len(), node.output.len());
            bail!(InvalidModel, "node \"{label}\" (If) has {wants} outputs, its {which} has {has}");
        }
        let outputs: Vec<String> =
            graph.output.iter().map(|o| o.name.clone().unwrap_or_default()).collect();
        let mut body = Body {
            nodes: graph.node,
            initializers: graph.initializer,
            value_info: graph.value_info,
        };
        body.rename(HashMap::new(), (&outputs, &node.output), label, &mut |local| {
            (self.count.get(local) != Some(&1)).then(|| self.fresh(label, local))
        });
        body.separate_constants(&node.output);
        Ok(body)
    }
}

/// Calls `name` for every value that nodes and their subgraphs define.
fn definitions<'a>(nodes: &'a [NodeProto], name: &mut dyn FnMut(&'a str)) {
    for node in nodes {
        node.output.iter().for_each(|output| name(output));
        subgraphs(node).for_each(|graph| graph_definitions(graph, name));
    }
}

fn graph_definitions<'a>(graph: &'a GraphProto, name: &mut dyn FnMut(&'a str)) {
    let inputs: HashSet<&str> = graph.input.iter().filter_map(|i| i.name.as_deref()).collect();
    graph.input.iter().filter_map(|i| i.name.as_deref()).for_each(&mut *name);
    let initializers = graph.initializer.iter().map(TensorProto::label);
    // Old models include initializers in the inputs.
    initializers.filter(|label| !inputs.contains(label)).for_each(&mut *name);
    definitions(&graph.node, name);
}

pub(super) fn rename_nodes(nodes: &mut [NodeProto], map: &HashMap<String, String>) {
    let rename = |name: &mut String| {
        if let Some(new) = map.get(name) {
            name.clone_from(new);
        }
    };
    let rename_info = |info: &mut ValueInfoProto| info.name.iter_mut().for_each(rename);
    for node in nodes {
        node.input.iter_mut().chain(&mut node.output).for_each(rename);
        if is_gradient(node) {
            for text in node.attribute.iter_mut().flat_map(|a| a.s.iter_mut().chain(&mut a.strings))
            {
                let new = std::str::from_utf8(text).ok().and_then(|name| map.get(name));
                if let Some(new) = new {
                    *text = new.clone().into_bytes().into();
                }
            }
        }
        for graph in subgraphs_mut(node) {
            graph.initializer.iter_mut().flat_map(|t| &mut t.name).for_each(rename);
            graph.input.iter_mut().for_each(rename_info);
            graph.output.iter_mut().chain(&mut graph.value_info).for_each(rename_info);
            rename_nodes(&mut graph.node, map);
        }
    }
}
