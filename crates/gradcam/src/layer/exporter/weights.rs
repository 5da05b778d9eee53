//! The names of weights, which exporters keep.

use onnx_grad::graph::{Graph, NodeId};

/// The name of a node's weights, before a quantizer changed it.
pub(super) fn weights(graph: &Graph, id: NodeId) -> Option<&str> {
    let mut weights = graph.node_inputs(id).get(1).copied().flatten()?;
    if let Some(id) =
        graph.producer(weights).filter(|id| graph.node(*id).op() == "DequantizeLinear")
    {
        weights = graph.node_inputs(id).first().copied().flatten()?;
    }
    graph.initializer(weights)?;
    let name = graph.name(weights);
    Some(name.strip_suffix("_quantized").unwrap_or(name))
}
