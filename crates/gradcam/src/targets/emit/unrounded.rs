//! The scores of a quantized detector before they are rounded.

use std::collections::{HashMap, HashSet};

use onnx_grad::{
    Result,
    builder::Builder,
    graph::{Graph, NodeId, ValueId},
    op::{self, Kind},
};

/// A value before its roundings, where only operators that move elements are between: the logits of each scale are rounded
/// before they are joined. A score that is clipped to the range of the calibration has no gradient, and of rounded scores
/// several are the largest.
///
/// The moving nodes are copied without the pairs of QuantizeLinear and DequantizeLinear among them. A value without such a
/// pair is returned as it is.
pub(super) fn unrounded(b: &mut Builder<'_>, value: ValueId) -> Result<ValueId> {
    let graph = b.graph();
    // A moving operator's other inputs, such as a shape or indices, stay as they are.
    let behind = |id: NodeId| match graph.node(id).op() {
        "Concat" => graph.node_inputs(id).iter().copied().flatten().collect(),
        _ => graph.node_inputs(id).first().copied().flatten().into_iter().collect::<Vec<_>>(),
    };
    let (mut nodes, mut open) = (HashSet::new(), vec![value]);
    while let Some(at) = open.pop() {
        if let Some(id) = graph.producer(at).filter(|id| is_passed(graph, *id))
            && nodes.insert(id)
        {
            open.extend(behind(id));
        }
    }
    let is_whole = |value: &ValueId| !graph.fact(*value).elem.is_float();
    let is_replaced =
        |value: &ValueId| graph.producer(*value).is_some_and(|id| nodes.contains(&id));
    // Integers that no QuantizeLinear here made stay, and so does what is computed from them.
    if nodes.iter().flat_map(|id| behind(*id)).any(|value| is_whole(&value) && !is_replaced(&value))
    {
        return Ok(value);
    }
    let mut nodes: Vec<NodeId> = nodes.into_iter().collect();
    nodes.sort_unstable();
    let mut replaced: HashMap<ValueId, ValueId> = HashMap::new();
    for id in nodes {
        let graph = b.graph();
        let now = |input: &Option<ValueId>| input.map(|at| *replaced.get(&at).unwrap_or(&at));
        let inputs: Vec<Option<ValueId>> = graph.node_inputs(id).iter().map(now).collect();
        let outputs = graph.node_outputs(id).to_vec();
        let is_same = inputs == graph.node_inputs(id);
        let values = match (rounds(graph, id), inputs.first()) {
            (true, Some(first)) => vec![*first],
            (false, _) if is_same => continue,
            _ => b.node_on(id, &inputs)?,
        };
        let each = outputs.into_iter().zip(values);
        replaced.extend(each.filter_map(|(output, value)| output.zip(value)));
    }
    Ok(*replaced.get(&value).unwrap_or(&value))
}

fn rounds(graph: &Graph, id: NodeId) -> bool {
    matches!(graph.node(id).op(), "QuantizeLinear" | "DequantizeLinear")
}

fn is_passed(graph: &Graph, id: NodeId) -> bool {
    let traits = op::traits(graph.node(id));
    rounds(graph, id) || traits.moves() && traits.kind != Kind::Convert
}
