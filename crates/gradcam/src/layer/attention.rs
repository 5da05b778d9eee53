//! The layer that is taken in a transformer: what the last attention reads, which is the first norm of the
//! last block. Behind it the tokens of the picture may reach the score no more: a class token has all of it.

use std::collections::HashSet;

use onnx_grad::{
    graph::{Graph, NodeId, ValueId},
    proto::NodeProto,
};

/// Operators that move elements about.
const LAYOUT: &[&str] = &[
    "Cast",
    "Concat",
    "DequantizeLinear",
    "Dropout",
    "Flatten",
    "Gather",
    "Identity",
    "Pad",
    "QuantizeLinear",
    "Reshape",
    "Slice",
    "Split",
    "Squeeze",
    "Transpose",
    "Unsqueeze",
];

/// Whether a node moves elements about and does no more.
pub(super) fn moves(node: &NodeProto) -> bool {
    LAYOUT.contains(&node.op())
}

/// The value that the last attention reads, where no convolution of a picture works on what it gives: those beside
/// it (CoaT's positions) and those that join class tokens do not count.
pub(super) fn last_read(graph: &Graph, active: &HashSet<ValueId>) -> Option<ValueId> {
    let is_active = |id: &NodeId| {
        let outputs = graph.node_outputs(*id).iter().flatten();
        outputs.into_iter().any(|value| active.contains(value))
    };
    let nodes: Vec<NodeId> = graph.nodes().map(|(id, _)| id).filter(is_active).collect();
    let last = nodes.iter().rposition(|id| match graph.node(*id).op() {
        "Attention" | "MultiHeadAttention" => true,
        "Softmax" => weighs(graph, active, *id),
        _ => false,
    })?;
    let mut given: HashSet<ValueId> =
        graph.node_outputs(nodes[last]).iter().flatten().copied().collect();
    for &id in &nodes[last + 1..] {
        if graph.node_inputs(id).iter().flatten().any(|value| given.contains(value)) {
            let rank = graph
                .node_outputs(id)
                .first()
                .copied()
                .flatten()
                .and_then(|y| graph.fact(y).rank());
            if matches!(graph.node(id).op(), "Conv" | "ConvTranspose") && rank != Some(3) {
                return None;
            }
            given.extend(graph.node_outputs(id).iter().flatten());
        }
    }
    read(graph, active, nodes[last])
}

/// Whether the weights that a node makes are multiplied with what depends on the picture too.
fn weighs(graph: &Graph, active: &HashSet<ValueId>, id: NodeId) -> bool {
    let mut open: Vec<ValueId> = graph.node_outputs(id).iter().copied().flatten().collect();
    while let Some(value) = open.pop() {
        for &reader in graph.consumers(value) {
            let op = graph.node(reader).op();
            if matches!(op, "MatMul" | "MatMulInteger" | "Einsum") {
                // Behind them come zero points.
                let operands = graph.node_inputs(reader).iter().take(2).flatten();
                return operands.filter(|input| active.contains(input)).count() == 2;
            }
            // Torch's newer exporter replaces the weights of a row that is masked as a whole.
            if LAYOUT.contains(&op) || matches!(op, "DynamicQuantizeLinear" | "Where") {
                open.extend(graph.node_outputs(reader).iter().flatten());
            }
        }
    }
    false
}

/// The value that the projections in front of an attention read, before it is dealt out to windows.
fn read(graph: &Graph, active: &HashSet<ValueId>, id: NodeId) -> Option<ValueId> {
    let inputs = |id: NodeId| {
        let inputs = graph.node_inputs(id).iter().flatten().copied();
        inputs.filter(|value| active.contains(value)).collect::<Vec<_>>()
    };
    let mut open = inputs(id);
    let mut seen: HashSet<ValueId> = HashSet::new();
    while let Some(value) = open.pop() {
        let producer = graph.producer(value).filter(|_| seen.insert(value));
        let Some(producer) = producer else { continue };
        // Scale and zero point are no way to the value.
        let made = graph.node_outputs(producer).first().copied().flatten();
        if graph.node(producer).op() == "DynamicQuantizeLinear" && made != Some(value) {
            continue;
        }
        let mut from = inputs(producer);
        if graph.node(producer).op() == "MatMulInteger" {
            // Zero points and scales are made of the value itself.
            let operands = graph.node_inputs(producer).iter().take(2).flatten().copied();
            from = operands.filter(|value| active.contains(value)).collect();
        }
        match (graph.node(producer).op(), from.as_slice()) {
            ("MatMulInteger", [read]) => {
                let quantized = graph
                    .producer(*read)
                    .filter(|id| graph.node(*id).op() == "DynamicQuantizeLinear");
                let read = quantized
                    .and_then(|id| graph.node_inputs(id).first().copied().flatten())
                    .unwrap_or(*read);
                return Some(before_layout(graph, read));
            }
            ("MatMul" | "Gemm" | "Conv", [read]) => return Some(before_layout(graph, *read)),
            _ => open.extend(from),
        }
    }
    None
}

fn before_layout(graph: &Graph, mut value: ValueId) -> ValueId {
    while let Some(id) = graph.producer(value)
        && LAYOUT.contains(&graph.node(id).op())
        && let Some(before) = graph.node_inputs(id).first().copied().flatten()
    {
        value = before;
    }
    value
}
