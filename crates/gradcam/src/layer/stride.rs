//! The stride of feature maps: the number of input pixels per position, along the height.

use std::collections::HashMap;

use onnx_grad::{
    graph::{Graph, NodeId, ValueId},
    op::{self, Kind},
};

use super::{View, Views};

/// The strides of all values that depend on an input of the graph and have a height.
pub(super) fn strides(
    graph: &Graph,
    views: &Views,
    input_height: Option<i64>,
) -> HashMap<ValueId, i64> {
    let rows = |value: ValueId| rows(graph, views, value);
    let images = graph.inputs().iter().filter(|input| graph.initializer(**input).is_none());
    let mut strides: HashMap<ValueId, i64> = images.map(|input| (*input, 1)).collect();
    for (id, _) in graph.nodes() {
        // Of several inputs the largest counts: a gate of 1x1 does not.
        let known = graph.node_inputs(id).iter().flatten().filter(|v| strides.contains_key(v));
        let Some(from) = known.copied().max_by_key(|value| rows(*value)) else { continue };
        let before = strides[&from];
        for output in graph.node_outputs(id).iter().flatten() {
            let sizes = rows(from).zip(rows(*output));
            let stride = after(graph, id, before, sizes).or_else(|| {
                let to = rows(*output)?;
                Some(nearest(input_height?, to)?.max(1))
            });
            strides.insert(*output, stride.unwrap_or(before));
        }
    }
    strides.retain(|value, _| rows(*value).is_some());
    strides
}

/// The stride of an output of a node that reads a value of stride `before`, given the heights of both; `None` if they
/// do not determine it.
fn after(graph: &Graph, node: NodeId, before: i64, rows: Option<(i64, i64)>) -> Option<i64> {
    let node = graph.node(node);
    let kind = op::traits(node).kind;
    // The ratio of the heights is not the stride: windows without padding shorten a map too.
    if matches!(kind, Kind::Convolve | Kind::Pool) {
        let own = node.attribute.iter().find(|a| a.name.as_deref() == Some("strides"));
        return before.checked_mul(own.and_then(|own| own.ints.first()).copied().unwrap_or(1));
    }
    match rows? {
        // A slice of a map, such as a part of a roll, has the map's stride, unless it takes every second row.
        (from, to) if kind == Kind::Piece && from % to != 0 && to % from != 0 => Some(before),
        (from, to) if from >= to => before.checked_mul(nearest(from, to)?),
        (from, to) => Some(before.checked_div(nearest(to, from)?)?.max(1)),
    }
}

/// The height of a feature map, or of one that is pooled to a point.
fn rows(graph: &Graph, views: &Views, value: ValueId) -> Option<i64> {
    let sizes = graph.fact(value).sizes()?;
    let rows = match views.of(graph, value) {
        Some(View::Regrouped { sizes, .. }) => sizes.get(2).copied(),
        Some(View::Plain) => sizes.get(2).copied(),
        None if sizes.len() > 3 => sizes.get(2).copied(),
        None => None,
    };
    rows.filter(|rows| *rows > 0)
}

/// The whole number nearest to `a / b`; both are positive.
fn nearest(a: i64, b: i64) -> Option<i64> {
    a.checked_add(b / 2)?.checked_div(b)
}
