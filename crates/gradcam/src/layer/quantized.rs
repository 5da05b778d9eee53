//! Layers of quantized models. The quantizer may have removed an activation, because the range of the integers
//! clips as the activation did; in files of quantized operators a layer's output holds integers.

use onnx_grad::graph::{Graph, NodeId, ValueId};

/// The float value that represents a layer's output, and the nodes from the output to it: the output of the
/// DequantizeLinear, where nothing else reads the value or its quantized form.
pub(super) fn shown(graph: &Graph, value: ValueId) -> (ValueId, Vec<NodeId>) {
    let quantized = match graph.fact(value).elem.is_float() {
        true => only_reader(graph, value, "QuantizeLinear"),
        false => Some((value, None)),
    };
    let shown = quantized.and_then(|(quantized, first)| {
        let (shown, last) = only_reader(graph, quantized, "DequantizeLinear")?;
        Some((shown, first.into_iter().chain(last).collect()))
    });
    shown.unwrap_or_else(|| (value, vec![]))
}

/// The output of the only reader of a value, if the reader is of that operator, and the reader.
fn only_reader(graph: &Graph, value: ValueId, op: &str) -> Option<(ValueId, Option<NodeId>)> {
    let readers = graph.consumers(value);
    let &[reader] = readers else { return None };
    let is_read = graph.node(reader).op() == op && !graph.outputs().contains(&value);
    let output = graph.node_outputs(reader).first().copied().flatten().filter(|_| is_read)?;
    Some((output, Some(reader)))
}
