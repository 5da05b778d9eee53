//! How many input pixels one position of a feature map stands for, along the height.

use std::collections::HashMap;

use onnx_grad::graph::{Graph, NodeId, ValueId};

/// Operators whose attribute `strides` says it; the ratio of the sizes does not, as windows without
/// padding shorten a map as well.
const STRIDED: &[&str] = &["AveragePool", "Conv", "LpPool", "MaxPool"];

/// The stride of every value [N, K, H, …] that is made of an input of the graph.
pub(super) fn strides(graph: &Graph, input_height: Option<i64>) -> HashMap<ValueId, i64> {
    let images = graph.inputs().iter().filter(|input| graph.initializer(**input).is_none());
    let mut strides: HashMap<ValueId, i64> = images.map(|input| (*input, 1)).collect();
    for (id, _) in graph.nodes() {
        // Of several inputs the largest one is meant, not a gate of 1x1 that is multiplied with it.
        let known = graph.node_inputs(id).iter().flatten().filter(|v| strides.contains_key(v));
        let Some(from) = known.copied().max_by_key(|value| rows(graph, *value)) else { continue };
        let before = strides[&from];
        for output in graph.node_outputs(id).iter().flatten() {
            let stride = after(graph, id, from, before, *output).or_else(|| {
                let to = rows(graph, *output)?;
                Some(nearest(input_height?, to)?.max(1))
            });
            strides.extend(stride.map(|stride| (*output, stride)));
        }
    }
    strides.retain(|value, _| rows(graph, *value).is_some());
    strides
}

/// The stride of an output of a node that reads the value `from` of stride `before`; none where the
/// node says nothing about it.
fn after(graph: &Graph, node: NodeId, from: ValueId, before: i64, output: ValueId) -> Option<i64> {
    let node = graph.node(node);
    if STRIDED.contains(&node.op()) {
        let own = node.attribute.iter().find(|a| a.name.as_deref() == Some("strides"));
        return before.checked_mul(own.and_then(|own| own.ints.first()).copied().unwrap_or(1));
    }
    let (rows, to) = (rows(graph, from)?, rows(graph, output)?);
    match node.op() {
        "Reshape" => None,
        "Transpose" => Some(before),
        _ if rows >= to => before.checked_mul(nearest(rows, to)?),
        _ => Some(before.checked_div(nearest(to, rows)?)?.max(1)),
    }
}

/// The height of a value [N, K, H, …].
fn rows(graph: &Graph, value: ValueId) -> Option<i64> {
    graph.fact(value).sizes()?.get(2).copied().filter(|rows| *rows > 0)
}

/// The whole number nearest to `a / b`; both are positive.
fn nearest(a: i64, b: i64) -> Option<i64> {
    a.checked_add(b / 2)?.checked_div(b)
}
