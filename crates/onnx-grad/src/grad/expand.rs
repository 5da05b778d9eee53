//! Replaces operators by their definitions in other operators, for engines that lack them.

use std::collections::HashMap;

use super::{
    RuleCall,
    rule::{Definition, RuleKind},
    table::rule_for,
};
use crate::{
    builder::Builder,
    error::Result,
    facts::Fact,
    graph::{Graph, NodeId, Origin, Sizes, declare},
    inline::is_gradient,
    model::Model,
    proto::{GraphProto, NodeProto, tensor_proto::DataType},
};

/// Replaces the nodes that `which` selects by their definitions, if an applicable definition exists, and every Gradient
/// by the nodes of the gradient. Inlines local functions.
///
/// # Errors
/// Those of [`Graph::new`].
pub fn expand(model: &Model, which: &dyn Fn(&NodeProto) -> bool) -> Result<Model> {
    let definition = |node: &NodeProto| match rule_for(node, model.opset()).map(|rule| &rule.kind) {
        Ok(RuleKind::Expand(define) | RuleKind::Defined(_, define)) if which(node) => Some(*define),
        _ => None,
    };
    let is_replaced = |node: &NodeProto| is_gradient(node) || definition(node).is_some();
    let in_functions = || model.proto().functions.iter().flat_map(|function| &function.node);
    if !model.graph().node.iter().any(is_replaced) && !in_functions().any(is_gradient) {
        return Ok(model.clone());
    }
    let mut graph = Graph::new(model, &Sizes::new())?;
    let count = graph.node_count();
    let found = graph.nodes().filter_map(|(id, node)| Some((id, definition(node)?)));
    let found: Vec<(NodeId, Definition)> = found.collect();
    let mut definitions: HashMap<usize, Vec<NodeProto>> = HashMap::new();
    for (id, define) in found {
        let label = graph.node(id).label().to_owned();
        if let Ok(nodes) = emitted(&mut graph, id, &label, define) {
            definitions.insert(id.index(), nodes);
        }
    }
    let nodes = graph.body().node.iter().take(count).enumerate();
    let node = nodes
        .flat_map(|(index, node)| definitions.remove(&index).unwrap_or_else(|| vec![node.clone()]));
    let outputs = graph.outputs();
    let inner = graph.values().filter(|&id| {
        let Fact { elem, .. } = graph.fact(id);
        let from_node = matches!(graph.origin(id), Origin::Node(_));
        from_node && *elem != DataType::Undefined && !outputs.contains(&id)
    });
    let value_info = inner.map(|id| declare(graph.name(id), graph.fact(id))).collect();
    let mut proto = graph.model().proto().clone();
    proto.graph = Some(GraphProto { node: node.collect(), value_info, ..graph.body().clone() });
    Ok(graph.model().with_proto(proto))
}

/// The nodes of a node's definition, with the node's output names.
fn emitted(
    graph: &mut Graph,
    id: NodeId,
    label: &str,
    define: Definition,
) -> Result<Vec<NodeProto>> {
    let from = graph.node_count();
    let call = RuleCall::new(graph, id, HashMap::new(), vec![]);
    let values = define.emit(&mut Builder::new(graph, label), &call)?;
    call.refuse_unread()?;
    let mut nodes = graph.body().node[from..].to_vec();
    let named = graph.node(id).output.iter().zip(values).filter(|(name, _)| !name.is_empty());
    for (name, value) in named {
        nodes.push(NodeProto {
            name: Some(label.to_owned()),
            op_type: Some("Identity".to_owned()),
            input: vec![graph.name(value).to_owned()],
            output: vec![name.clone()],
            ..NodeProto::default()
        });
    }
    Ok(nodes)
}
