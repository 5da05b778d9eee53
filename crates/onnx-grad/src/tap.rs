//! Taps: a set of nodes that reads its external inputs through separate Identities.

use std::collections::HashSet;

use crate::{
    cut::varying,
    error::{Error, ErrorKind, Result, bail},
    graph::{Graph, NodeId, Origin, ValueId, declare},
    model::Model,
    proto::{NodeProto, tensor_proto::DataType},
};

/// The external inputs of a set of nodes: floats that depend on an input of the graph and that none of the nodes
/// computes, in the order of their first read. They include the reads of the nodes' subgraphs.
pub fn inputs_of(graph: &Graph, nodes: &[NodeId]) -> Vec<ValueId> {
    outside(graph, nodes).0
}

/// The inputs of a set of nodes, and the first node that reads one.
fn outside(graph: &Graph, nodes: &[NodeId]) -> (Vec<ValueId>, Option<NodeId>) {
    let varying = varying(graph);
    let inside: HashSet<NodeId> = nodes.iter().copied().collect();
    let mut sorted = nodes.to_vec();
    sorted.sort_unstable();
    let (mut found, mut first) = (Vec::new(), None);
    for node in sorted {
        for value in graph.node_reads(node) {
            let own = graph.producer(value).is_some_and(|producer| inside.contains(&producer));
            let taken = !own && varying.contains(&value) && graph.fact(value).elem.is_float();
            if taken && !found.contains(&value) {
                found.push(value);
                first.get_or_insert(node);
            }
        }
    }
    (found, first)
}

/// The graph as a model in which `nodes` read each of their inputs ([`inputs_of`]) through an Identity that no other
/// node reads. Changes to the Identity's output, and its gradient, therefore concern these nodes only. The Identities
/// precede the first node that reads one.
///
/// Returns the model and the names of the Identities' outputs, in the order of the inputs. Sizes are bound, and the
/// new names start with `name`.
///
/// # Errors
/// `Unsupported` if an input does not exist yet when the first of the nodes runs, for example because one module is
/// called several times, or if a subgraph reads it.
pub fn tap(graph: &Graph, nodes: &[NodeId], name: &str) -> Result<(Model, Vec<String>)> {
    let (inputs, first) = outside(graph, nodes);
    for &node in nodes {
        if let Some(&value) = graph.node_captures(node).iter().find(|value| inputs.contains(value))
        {
            let (label, value) = (graph.node(node).label(), graph.name(value));
            let message = format!(
                "\"{name}\" reads \"{value}\" inside the subgraph of node \"{label}\"; its inputs \
                 cannot be told apart from others'"
            );
            return Err(Error::new(ErrorKind::Unsupported, message).at_node(label));
        }
    }
    let late = |value: &&ValueId| graph.producer(**value) >= first && first.is_some();
    if let Some(&value) = inputs.iter().find(late) {
        bail!(
            Unsupported,
            "the input \"{}\" of \"{name}\" is computed after \"{name}\" has started, for example because \
             a module is called several times; choose one of its nodes",
            graph.name(value)
        );
    }
    let mut taps = Vec::with_capacity(inputs.len());
    for index in 0..inputs.len() {
        let mut tap = format!("{name}/input_{index}");
        while graph.find(&tap).is_some() {
            tap.push('_');
        }
        taps.push(tap);
    }
    let mut body = graph.body().clone();
    for &node in nodes {
        for (read, value) in body.node[node.index()].input.iter_mut().zip(graph.node_inputs(node)) {
            let place = inputs.iter().position(|input| Some(*input) == *value);
            if let Some(place) = place {
                read.clone_from(&taps[place]);
            }
        }
    }
    let identities = inputs.iter().zip(&taps).map(|(&input, tap)| NodeProto {
        input: vec![graph.name(input).to_owned()],
        output: vec![tap.clone()],
        name: Some(tap.clone()),
        op_type: Some("Identity".to_owned()),
        ..NodeProto::default()
    });
    let at = first.map_or(0, NodeId::index);
    body.node.splice(at..at, identities.collect::<Vec<_>>());
    let info = |value: ValueId| declare(graph.name(value), graph.fact(value));
    body.input = graph.inputs().iter().map(|&value| info(value)).collect();
    let made = |value: &ValueId| {
        matches!(graph.origin(*value), Origin::Node(_))
            && graph.fact(*value).elem != DataType::Undefined
            && !graph.outputs().contains(value)
    };
    body.value_info = graph.values().filter(made).map(info).collect();
    let mut proto = graph.model().proto().clone();
    proto.graph = Some(body);
    let model = graph.model().with_proto(proto);
    if cfg!(debug_assertions) {
        crate::verify::verify(&model)?;
    }
    Ok((model, taps))
}

#[cfg(test)]
mod tests;
