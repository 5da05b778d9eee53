//! Layers of quantised models. There an activation may have been removed, because the range of the integers
//! clips as it did; and in files of quantised operators a layer's output is a value of integers.

use onnx_grad::graph::{Graph, NodeId, ValueId};

/// The value that shows what a layer gives, and the nodes that lead there: behind the DequantizeLinear where
/// nothing else reads the value, or its quantised form.
pub(super) fn shown(graph: &Graph, value: ValueId) -> (ValueId, Vec<NodeId>) {
    let quantised = match graph.fact(value).elem.is_float() {
        true => only_reader(graph, value, "QuantizeLinear"),
        false => Some((value, None)),
    };
    let found = quantised.and_then(|(quantised, first)| {
        let (shown, last) = only_reader(graph, quantised, "DequantizeLinear")?;
        Some((shown, first.into_iter().chain(last).collect()))
    });
    found.unwrap_or_else(|| (value, vec![]))
}

/// The output of the one node that reads a value, if it is of that operator, and the node.
fn only_reader(graph: &Graph, value: ValueId, op: &str) -> Option<(ValueId, Option<NodeId>)> {
    let readers = graph.consumers(value);
    let &[reader] = readers else { return None };
    let is_read = graph.node(reader).op() == op && !graph.outputs().contains(&value);
    let output = graph.node_outputs(reader).first().copied().flatten().filter(|_| is_read)?;
    Some((output, Some(reader)))
}
