//! The default layer of a transformer: the value that the last attention reads, which is the output of the first norm of
//! the last block. Behind the attention the score may depend on the class token alone.

use std::collections::HashSet;

use onnx_grad::{
    graph::{Graph, NodeId, ValueId},
    op::{self, Kind},
};

/// The value that the last attention reads, if no convolution of feature maps follows. Convolutions that do not read the
/// attention's output (CoaT's positions) and those of rank 3, which join class tokens, do not count.
pub(super) fn last_read(graph: &Graph, active: &HashSet<ValueId>) -> Option<ValueId> {
    let is_active = |id: &NodeId| {
        let outputs = graph.node_outputs(*id).iter().flatten();
        outputs.into_iter().any(|value| active.contains(value))
    };
    let nodes: Vec<NodeId> = graph.nodes().map(|(id, _)| id).filter(is_active).collect();
    let last = nodes.iter().rposition(|id| match op::traits(graph.node(*id)).kind {
        Kind::Attention => true,
        Kind::Softmax => weighs(graph, active, *id),
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
            if op::traits(graph.node(id)).is_convolution() && rank != Some(3) {
                return None;
            }
            given.extend(graph.node_outputs(id).iter().flatten());
        }
    }
    read(graph, active, nodes[last])
}

/// Whether the attention weights that a node computes are multiplied with a value that depends on the image too.
fn weighs(graph: &Graph, active: &HashSet<ValueId>, id: NodeId) -> bool {
    let mut open: Vec<ValueId> = graph.node_outputs(id).iter().copied().flatten().collect();
    while let Some(value) = open.pop() {
        for &reader in graph.consumers(value) {
            let node = graph.node(reader);
            let traits = op::traits(node);
            if matches!(traits.kind, Kind::MatMul | Kind::Einsum) {
                // The inputs behind the operands are zero points.
                let operands = graph.node_inputs(reader).iter().take(2).flatten();
                return operands.filter(|input| active.contains(input)).count() == 2;
            }
            // torch's newer exporter replaces the weights of fully masked rows.
            if traits.moves() || matches!(node.op(), "DynamicQuantizeLinear" | "Where") {
                open.extend(graph.node_outputs(reader).iter().flatten());
            }
        }
    }
    false
}

/// The value that the projections before an attention read, before it is split into windows.
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
        // Do not follow scale and zero point.
        let made = graph.node_outputs(producer).first().copied().flatten();
        let node = graph.node(producer);
        if node.op() == "DynamicQuantizeLinear" && made != Some(value) {
            continue;
        }
        let mut from = inputs(producer);
        if node.op() == "MatMulInteger" {
            // Zero points and scales are computed from the value itself.
            let operands = graph.node_inputs(producer).iter().take(2).flatten().copied();
            from = operands.filter(|value| active.contains(value)).collect();
        }
        match (op::traits(node).kind, from.as_slice()) {
            (Kind::MatMul, [read]) if node.op() == "MatMulInteger" => {
                let quantized = graph
                    .producer(*read)
                    .filter(|id| graph.node(*id).op() == "DynamicQuantizeLinear");
                let read = quantized
                    .and_then(|id| graph.node_inputs(id).first().copied().flatten())
                    .unwrap_or(*read);
                return Some(before_layout(graph, read));
            }
            (Kind::MatMul | Kind::Einsum | Kind::Convolve, [read]) => {
                return Some(before_layout(graph, *read));
            }
            _ => open.extend(from),
        }
    }
    None
}

fn before_layout(graph: &Graph, mut value: ValueId) -> ValueId {
    while let Some(id) = graph.producer(value)
        && op::traits(graph.node(id)).moves()
        && let Some(before) = graph.node_inputs(id).first().copied().flatten()
    {
        value = before;
    }
    value
}

#[cfg(test)]
mod tests {
    use onnx_grad::{Model, graph::Sizes, proto::tensor_proto::DataType};
    use prost::Message;
    use testkit::build::{self, node};

    use super::*;
    use crate::layer::automatic;

    /// Projections are products of matrices, or einsums of one value and weights.
    #[test]
    fn projections_may_be_einsums() {
        let equation = |text: &str| vec![build::text("equation", text)];
        let einsum =
            |text: &str, read: &[&str], made: &str| node("Einsum", read, &[made], equation(text));
        let product = |_: &str, read: &[&str], made: &str| node("MatMul", read, &[made], vec![]);
        for project in [&einsum as &dyn Fn(&str, &[&str], &str) -> _, &product] {
            let nodes = vec![
                node("MatMul", &["x", "w"], &["before"], vec![]),
                node("LayerNormalization", &["before", "one"], &["n"], vec![]),
                project("btd,de->bte", &["n", "w"], "q"),
                project("btd,de->bte", &["n", "w"], "k"),
                project("btd,de->bte", &["n", "w"], "v"),
                einsum("bqd,bkd->bqk", &["q", "k"], "s"),
                node("Softmax", &["s"], &["p"], vec![]),
                einsum("bqk,bkd->bqd", &["p", "v"], "y"),
            ];
            let constants = vec![build::weights("w", &[4, 4]), build::weights("one", &[4])];
            let inputs = [("x", DataType::Float, &[1, 9, 4][..])];
            let proto = build::model(17, &inputs, &[("y", DataType::Float)], constants, nodes);
            let model = Model::from_bytes(proto.encode_to_vec()).unwrap();
            let graph = Graph::new(&model, &Sizes::new()).unwrap();
            let value = |name: &str| graph.value(name).unwrap();
            let active = automatic::active(&graph, &[value("x")], value("y"));
            assert_eq!(last_read(&graph, &active), Some(value("n")));
        }
    }
}
