//! Layers of quantized models. The quantizer may have removed an activation, because the range of the integers
//! clips as the activation did; in files of quantized operators a layer's output holds integers, and in dynamically
//! quantized files a convolution's is an integer sum, which is scaled behind it.

use onnx_grad::{
    graph::{Graph, NodeId, ValueId},
    proto::NodeProto,
};

/// Whether a node finds scale and zero point of a value for its readers, so that it belongs to no module: quantizers name it
/// after the value.
pub(super) fn finds_scales(node: &NodeProto) -> bool {
    node.op() == "DynamicQuantizeLinear"
}

/// The float value that represents a layer's output, and the nodes from the output to it: the output of the
/// DequantizeLinear, where nothing else reads the value or its quantized form; of an integer sum the floats behind its Cast,
/// scale and bias.
pub(super) fn shown(graph: &Graph, value: ValueId) -> (ValueId, Vec<NodeId>) {
    let quantized = match graph.fact(value).elem.is_float() {
        true => only_reader(graph, value, "QuantizeLinear"),
        false => Some((value, None)),
    };
    let shown = quantized.and_then(|(quantized, first)| {
        let (shown, last) = only_reader(graph, quantized, "DequantizeLinear")?;
        Some((shown, first.into_iter().chain(last).collect()))
    });
    shown.or_else(|| scaled(graph, value)).unwrap_or_else(|| (value, vec![]))
}

/// The floats that an integer sum stands for: Cast and Mul by the scale, and Add of the bias where one follows.
fn scaled(graph: &Graph, sum: ValueId) -> Option<(ValueId, Vec<NodeId>)> {
    graph.producer(sum).filter(|id| is_sum(graph.node(*id)))?;
    let (float, cast) = only_reader(graph, sum, "Cast")?;
    let (value, scale) = only_reader(graph, float, "Mul")?;
    let mut nodes: Vec<NodeId> = cast.into_iter().chain(scale).collect();
    let biased = only_reader(graph, value, "Add").and_then(|(biased, add)| {
        nodes.extend(add.filter(|add| is_bias(graph, *add, value)));
        nodes.contains(&add?).then_some(biased)
    });
    Some((biased.unwrap_or(value), nodes))
}

/// The convolution or matrix product whose result a value is, in floats or as a scaled sum of integers, and the float value
/// that it reads.
pub(super) fn product(graph: &Graph, value: ValueId) -> Option<(NodeId, ValueId)> {
    let first = |id: NodeId| graph.node_inputs(id).first().copied().flatten();
    let id = graph.producer(value)?;
    let id = match graph.node(id).op() {
        "Add" => {
            let mut summands = graph.node_inputs(id).iter().flatten().copied();
            let product = summands.find(|summand| is_bias(graph, id, *summand))?;
            graph.producer(product)?
        }
        _ => id,
    };
    let id = match graph.node(id).op() {
        "Mul" => {
            let mut factors = graph.node_inputs(id).iter().flatten();
            let sum = factors.find_map(|factor| {
                let cast = graph.producer(*factor).filter(|id| graph.node(*id).op() == "Cast")?;
                graph.producer(first(cast)?).filter(|id| is_sum(graph.node(*id)))
            });
            sum?
        }
        _ => id,
    };
    let read = first(id)?;
    let quantizer = graph.producer(read).filter(|id| finds_scales(graph.node(*id)));
    Some((id, quantizer.and_then(first).unwrap_or(read)))
}

/// Whether a node sums products of integers.
fn is_sum(node: &NodeProto) -> bool {
    matches!(node.op(), "ConvInteger" | "MatMulInteger")
}

/// Whether an Add adds a bias to a value: a constant with one number for each channel. A residual sum is none.
fn is_bias(graph: &Graph, add: NodeId, value: ValueId) -> bool {
    let mut others = graph.node_inputs(add).iter().flatten().filter(|other| **other != value);
    others.any(|other| {
        let sizes = graph.fact(*other).sizes().unwrap_or_default();
        let reads = graph.upstream([*other], |_| true);
        sizes.iter().filter(|size| **size != 1).count() < 2
            && !graph.inputs().iter().any(|input| reads.contains(input))
    })
}

/// The output of the only reader of a value, if the reader is of that operator, and the reader.
fn only_reader(graph: &Graph, value: ValueId, op: &str) -> Option<(ValueId, Option<NodeId>)> {
    let readers = graph.consumers(value);
    let &[reader] = readers else { return None };
    let is_read = graph.node(reader).op() == op && !graph.outputs().contains(&value);
    let output = graph.node_outputs(reader).first().copied().flatten().filter(|_| is_read)?;
    Some((output, Some(reader)))
}
