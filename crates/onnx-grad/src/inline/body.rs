//! The body of a function or of a branch on its way into a graph: its values get names that are
//! unique there.

use std::collections::{HashMap, HashSet};

use super::{captured_names, constant, subgraphs, subgraphs_mut};
use crate::{
    error::{Result, bail},
    proto::{GraphProto, NodeProto, TensorProto, ValueInfoProto},
};

/// Nodes that take the place of one, with the constants and declarations that belong to them.
#[derive(Debug, Default)]
pub(crate) struct Body {
    pub(crate) nodes: Vec<NodeProto>,
    pub(crate) initializers: Vec<TensorProto>,
    pub(crate) value_info: Vec<ValueInfoProto>,
}

impl Body {
    /// A name that is read and neither in the map nor defined, with the node that reads it.
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

    /// Renames the values of the body: what the map says, then the outputs `from` to the outputs
    /// `to` of the node that the body replaces, then all others as `local` says, if it does.
    ///
    /// An output that no node of the body produces is copied by an Identity.
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

/// How often each name is defined in a graph and in its subgraphs.
#[derive(Debug)]
pub(crate) struct Names {
    count: HashMap<String, usize>,
    /// The number that the next name of that beginning is tried with: calls of one label would try all
    /// numbers before it again.
    next: HashMap<String, usize>,
}

impl Names {
    pub(crate) fn of(graph: &GraphProto) -> Self {
        let mut count = HashMap::new();
        graph_definitions(graph, &mut |name| {
            *count.entry(name.to_owned()).or_default() += 1;
        });
        Self { count, next: HashMap::new() }
    }

    /// A name that nothing has yet, and from now on something has.
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

    /// The branch that an `If` takes, with outputs named as those of the `If`. What the branch
    /// captures keeps its name; what it defines does too, unless something else has that name.
    ///
    /// # Errors
    /// `InvalidModel` where there is no such branch or its outputs do not fit.
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
        for inner in std::mem::take(&mut body.nodes) {
            let is_output = inner.output.iter().any(|name| node.output.contains(name));
            match constant::tensor(&inner).filter(|_| !is_output) {
                Some(tensor) => body.initializers.push(tensor),
                None => body.nodes.push(inner),
            }
        }
        Ok(body)
    }
}

/// Calls `name` with every value that nodes and their subgraphs define.
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
    // Old models list initializers among the inputs.
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
        for graph in subgraphs_mut(node) {
            graph.initializer.iter_mut().flat_map(|t| &mut t.name).for_each(rename);
            graph.input.iter_mut().for_each(rename_info);
            graph.output.iter_mut().chain(&mut graph.value_info).for_each(rename_info);
            rename_nodes(&mut graph.node, map);
        }
    }
}
