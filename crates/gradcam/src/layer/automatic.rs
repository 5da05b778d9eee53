//! The layer that is taken where none is named: the last value with spatial extent that everything
//! the output knows of the image passes through.

use std::collections::HashSet;

use onnx_grad::graph::{Graph, NodeId, ValueId};

use super::{attention, quantised, view::Views};

/// Operators that carry a value on without changing what it shows.
const CARRIERS: &[&str] =
    &["Cast", "DequantizeLinear", "Dropout", "Identity", "QuantizeLinear", "Transpose"];
/// Operators after which a value is no longer the feature map but a smaller or larger copy of it.
const RESAMPLERS: &[&str] = &["AveragePool", "MaxPool", "Resize", "Upsample"];
/// Operators that a classifier without a linear layer has between its scoring convolution and the output.
const AFTER_SCORES: &[&str] = &[
    "AveragePool",
    "Cast",
    "Clip",
    "DequantizeLinear",
    "Dropout",
    "Flatten",
    "GlobalAveragePool",
    "GlobalMaxPool",
    "Identity",
    "MaxPool",
    "LogSoftmax",
    "QuantizeLinear",
    "ReduceMean",
    "ReduceMax",
    "ReduceSum",
    "Relu",
    "Reshape",
    "Resize",
    "Sigmoid",
    "Softmax",
    "Squeeze",
    "Transpose",
    "Unsqueeze",
    "Upsample",
    "ArgMax",
];

/// The values that depend on one of these inputs of the graph, are not known in advance, and reach the output.
pub(super) fn active(graph: &Graph, inputs: &[ValueId], output: ValueId) -> HashSet<ValueId> {
    let mut depends: HashSet<ValueId> = inputs.iter().copied().collect();
    for (id, _) in graph.nodes() {
        if graph.node_inputs(id).iter().flatten().any(|input| depends.contains(input)) {
            let open = |v: &&ValueId| graph.fact(**v).value.is_none();
            depends.extend(graph.node_outputs(id).iter().flatten().filter(open));
        }
    }
    let mut reaching = HashSet::new();
    let mut open = vec![output];
    while let Some(value) = open.pop() {
        if depends.contains(&value)
            && reaching.insert(value)
            && let Some(node) = graph.producer(value)
        {
            open.extend(graph.node_inputs(node).iter().flatten());
        }
    }
    reaching
}

/// The values that everything passes through on its way from the image to `output`, in order.
///
/// A value dominates where it is the only one that is alive: behind it nothing else that depends on
/// the image is read.
fn dominators(graph: &Graph, output: ValueId, active: &HashSet<ValueId>) -> Vec<ValueId> {
    let node_is_active =
        |id: &NodeId| graph.node_outputs(*id).iter().flatten().any(|v| active.contains(v));
    let last_read = |value: ValueId| {
        let readers = graph.consumers(value).iter().filter(|id| node_is_active(id));
        readers.map(|id| id.index()).max()
    };
    let mut alive: Vec<(ValueId, usize)> = Vec::new();
    let mut found = Vec::new();
    let enter = |value: ValueId, alive: &mut Vec<(ValueId, usize)>| {
        let end = if value == output { Some(usize::MAX) } else { last_read(value) };
        alive.extend(end.map(|end| (value, end)));
    };
    for &input in graph.inputs().iter().filter(|input| active.contains(input)) {
        enter(input, &mut alive);
    }
    for (id, _) in graph.nodes().filter(|(id, _)| node_is_active(id)) {
        alive.retain(|(_, end)| *end > id.index());
        for &value in graph.node_outputs(id).iter().flatten().filter(|v| active.contains(v)) {
            enter(value, &mut alive);
        }
        if let [(only, _)] = alive.as_slice()
            && found.last() != Some(only)
        {
            found.push(*only);
        }
    }
    found
}

/// The last dominating value with spatial extent, after its activation and before pooling; in a transformer
/// what the last attention reads.
///
/// In a detector, whose scores [N, K, A] are joined of those at several scales, it is the last one that the scores
/// at every scale come from.
///
/// Stepped over are a local pooling at the very end (VGG), a convolution that makes the class scores
/// before a global pooling (SqueezeNet), and in dense heads the resizes and the class-scoring
/// convolution.
///
/// What depends on other inputs than the image alone does not count.
pub(super) fn last_feature_map(
    graph: &Graph,
    views: &Views,
    images: &[ValueId],
    output: ValueId,
) -> Option<ValueId> {
    let active = active(graph, images, output);
    let tokens = attention::last_read(graph, &active);
    if let Some(tokens) = tokens.filter(|value| views.of(graph, *value).is_some()) {
        return Some(quantised::shown(graph, tokens).0);
    }
    if let Some(shared) = shared(graph, views, output) {
        return Some(shared);
    }
    let dominators = dominators(graph, output, &active);
    let last = dominators.iter().rposition(|value| views.of(graph, *value).is_some())?;
    let mut value = dominators[last];
    // Is the path from the scoring convolution on made of nothing that mixes channels?
    let tail = &dominators[last + 1..];
    let plain = |v: &ValueId| op(graph, *v).is_some_and(|op| AFTER_SCORES.contains(&op));
    if tail.iter().all(plain)
        && let Some(conv) = scoring_convolution(graph, views, value)
    {
        value = conv;
    }
    let value = back_through(graph, views, value, &[CARRIERS, RESAMPLERS].concat());
    Some(quantised::shown(graph, value).0)
}

/// The last feature map that all parts come from which a detector's scores are joined of.
fn shared(graph: &Graph, views: &Views, output: ValueId) -> Option<ValueId> {
    let id = graph.producer(output).filter(|id| graph.node(*id).op() == "Concat")?;
    let parts = graph.node_inputs(id).iter().flatten();
    let parts = parts.map(|part| active(graph, graph.inputs(), *part));
    let all =
        parts.reduce(|all, part| &all & &part).filter(|_| graph.fact(output).rank() == Some(3))?;
    let is_map =
        |value: &ValueId| graph.fact(*value).rank() == Some(4) && views.of(graph, *value).is_some();
    all.into_iter().filter(|value| graph.producer(*value).is_some() && is_map(value)).max()
}

/// Walks to the first input for as long as the producer is one of `ops`, to the last value on that way that
/// shows a picture: between quantising and dequantising none does.
fn back_through(graph: &Graph, views: &Views, value: ValueId, ops: &[&str]) -> ValueId {
    let (mut shown, mut at) = (value, value);
    while let Some(before) = step(graph, at, ops) {
        at = before;
        match views.of(graph, before) {
            Some(_) => shown = before,
            None if graph.fact(before).elem.is_float() => break,
            None => {}
        }
    }
    shown
}

fn step(graph: &Graph, value: ValueId, ops: &[&str]) -> Option<ValueId> {
    let id = graph.producer(value)?;
    let before = graph.node_inputs(id).first().copied().flatten()?;
    ops.contains(&graph.node(id).op()).then_some(before)
}

/// The input of the convolution whose output, up to activation and resampling, is `scores`.
fn scoring_convolution(graph: &Graph, views: &Views, scores: ValueId) -> Option<ValueId> {
    let made = back_through(graph, views, scores, AFTER_SCORES);
    let id = graph.producer(made)?;
    let before = graph.node_inputs(id).first().copied().flatten()?;
    match graph.node(id).op() {
        "Conv" | "ConvTranspose" => Some(before),
        // A bias of its own; a residual sum is no class score.
        "Add" => {
            let inputs = || graph.node_inputs(id).iter().flatten();
            let bias = inputs().any(|v| graph.initializer(*v).is_some());
            let conv =
                graph.producer(before).filter(|id| bias && graph.node(*id).op() == "Conv")?;
            graph.node_inputs(conv).first().copied().flatten()
        }
        _ => None,
    }
}

fn op(graph: &Graph, value: ValueId) -> Option<&str> {
    Some(graph.node(graph.producer(value)?).op())
}
