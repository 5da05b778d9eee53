//! Where the channels of a layer are told apart in closed form: behind the layer each goes its own way, then all meet in
//! one affine step.
//!
//! A global pooling and a Gemm, or a flattening and a Gemm, are such a way. What changes in the scores when channel k is
//! replaced is then Σ g·(P′ − P) over the elements of channel k, where P are the values at which the channels meet, P′ the
//! same of a replaced activation, and g the gradient of the score there, which is constant.

use std::collections::HashSet;

use onnx_grad::{
    graph::{Graph, NodeId, ValueId},
    varying,
};

use super::Views;

/// Operators that compute each element from the element in the same place; other operands are constants.
const ELEMENTWISE: &[&str] = &[
    "Abs",
    "Add",
    "Cast",
    "Celu",
    "Clip",
    "Div",
    "Dropout",
    "Elu",
    "Erf",
    "Exp",
    "Gelu",
    "HardSigmoid",
    "HardSwish",
    "Identity",
    "LeakyRelu",
    "Log",
    "Max",
    "Min",
    "Mish",
    "Mul",
    "Neg",
    "PRelu",
    "Pow",
    "Reciprocal",
    "Relu",
    "Selu",
    "Sigmoid",
    "Softplus",
    "Softsign",
    "Sqrt",
    "Sub",
    "Swish",
    "Tanh",
    "ThresholdedRelu",
];

/// Operators that move elements, or combine elements along axes: within channels as long as every channel is left.
const MOVING: &[&str] = &[
    "Flatten",
    "ReduceL1",
    "ReduceL2",
    "ReduceMax",
    "ReduceMean",
    "ReduceMin",
    "ReduceSum",
    "ReduceSumSquare",
    "Reshape",
    "Squeeze",
    "Transpose",
    "Unsqueeze",
];

/// Operators that work channel by channel where axis 1 is that of the channels.
const BY_CHANNEL: &[&str] = &[
    "AveragePool",
    "BatchNormalization",
    "GlobalAveragePool",
    "GlobalLpPool",
    "GlobalMaxPool",
    "LpPool",
    "MaxPool",
];

/// Operators that are affine in the operand of that place (any where there is none), the others held constant.
const AFFINE: &[(&str, Option<usize>)] = &[
    ("Add", None),
    ("AveragePool", Some(0)),
    ("BatchNormalization", Some(0)),
    ("Cast", Some(0)),
    ("Concat", None),
    ("Conv", Some(0)),
    ("Div", Some(0)),
    ("Dropout", Some(0)),
    ("Flatten", Some(0)),
    ("Gather", Some(0)),
    ("Gemm", None),
    ("GlobalAveragePool", Some(0)),
    ("Identity", Some(0)),
    ("MatMul", None),
    ("Mean", None),
    ("Mul", None),
    ("Neg", Some(0)),
    ("Pad", Some(0)),
    ("ReduceMean", Some(0)),
    ("ReduceSum", Some(0)),
    ("Reshape", Some(0)),
    ("Slice", Some(0)),
    ("Split", Some(0)),
    ("Squeeze", Some(0)),
    ("Sub", None),
    ("Sum", None),
    ("Transpose", Some(0)),
    ("Unsqueeze", Some(0)),
];

/// Affine in several operands together, where a product is not.
const JOINTLY_AFFINE: &[&str] = &["Add", "Concat", "Mean", "Sub", "Sum"];

/// The values between a layer and the scores up to which its channels go each its own way, and behind which the scores are an
/// affine function of them; none where there are no such values.
pub(crate) fn separable(
    graph: &Graph,
    views: &Views,
    layer: ValueId,
    scores: ValueId,
) -> Option<Vec<ValueId>> {
    let (_, count) = views.channels_of_elements(graph, layer)?;
    let apart = |value: ValueId| {
        views.channels_of_elements(graph, value).is_some_and(|(_, channels)| channels == count)
    };
    let needed = needed(graph, scores);
    let varying = varying(graph);
    let mut by_channel = HashSet::from([layer]);
    let mut joined: HashSet<ValueId> = HashSet::new();
    let mut meeting = Vec::new();
    for (id, node) in graph.nodes() {
        if !needed.contains(&id)
            || graph.node_outputs(id).iter().flatten().any(|output| *output == layer)
        {
            continue;
        }
        let depends = |value: &ValueId| by_channel.contains(value) || joined.contains(value);
        if graph.node_captures(id).iter().any(depends) {
            return None;
        }
        let read: Vec<(usize, ValueId)> = graph
            .node_inputs(id)
            .iter()
            .enumerate()
            .filter_map(|(at, value)| Some((at, (*value)?)))
            .collect();
        let of_layer: Vec<(usize, ValueId)> =
            read.iter().copied().filter(|(_, value)| depends(value)).collect();
        let [(first, value), more @ ..] = of_layer.as_slice() else { continue };
        let alone = more.is_empty()
            && read.iter().all(|(at, other)| at == first || !varying.contains(other));
        let made = graph.node_outputs(id).iter().flatten().copied();
        let goes_on = by_channel.contains(value)
            && alone
            && (ELEMENTWISE.contains(&node.op())
                || *first == 0 && MOVING.contains(&node.op())
                || *first == 0
                    && BY_CHANNEL.contains(&node.op())
                    && channels_at_1(graph, views, *value));
        let mut outputs = graph.node_outputs(id).iter().flatten();
        if goes_on && outputs.all(|output| apart(*output)) {
            by_channel.extend(made);
            continue;
        }
        let (_, place) = AFFINE.iter().find(|(op, _)| *op == node.op())?;
        let fits = place.is_none_or(|place| of_layer.iter().all(|(at, _)| *at == place));
        let linear = more.is_empty() || JOINTLY_AFFINE.contains(&node.op());
        if !fits || !linear || !converts_floats(graph, id) {
            return None;
        }
        meeting.extend(
            of_layer.iter().map(|(_, value)| *value).filter(|value| by_channel.contains(value)),
        );
        joined.extend(made);
    }
    if by_channel.contains(&scores) {
        meeting.push(scores);
    }
    meeting.sort_unstable();
    meeting.dedup();
    Some(meeting).filter(|meeting| !meeting.is_empty())
}

/// The nodes that a value is computed by.
fn needed(graph: &Graph, value: ValueId) -> HashSet<NodeId> {
    let mut needed = HashSet::new();
    let mut open = vec![value];
    while let Some(value) = open.pop() {
        if let Some(node) = graph.producer(value).filter(|node| needed.insert(*node)) {
            open.extend(graph.node_inputs(node).iter().flatten());
            open.extend(graph.node_captures(node));
        }
    }
    needed
}

fn channels_at_1(graph: &Graph, views: &Views, value: ValueId) -> bool {
    matches!(views.channel_axis(graph, value), Some((1, _)))
}

/// A cast to integers rounds.
fn converts_floats(graph: &Graph, id: NodeId) -> bool {
    let node = graph.node(id);
    node.op() != "Cast"
        || graph.node_outputs(id).iter().flatten().all(|output| graph.fact(*output).elem.is_float())
}
