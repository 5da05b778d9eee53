//! The channels of the image input, by the operator that first mixes channels: where the shape does not say which axis holds them.

use onnx_grad::{
    graph::{Graph, NodeId, ValueId},
    op::{self, Kind},
};

use super::axes::{Axis, ImageValue, Meaning, of_values};

/// The axis of an input that the first convolution, matrix product or recurrent layer reads as channels; `None` inside where
/// this layer reads a new axis, so that all axes of the input are positions. `None` where the graph does not say it.
pub(crate) fn channel_axis(graph: &Graph, input: ValueId) -> Option<Option<usize>> {
    let sizes = graph.fact(input).sizes()?;
    // Each axis is positions of its own, so that it can be recognized behind what moves it.
    let known = of_values(graph, Some(ImageValue { value: input, channel_axis: None }));
    let depending = graph.downstream([input], |_| true);
    let read = |(id, _): (NodeId, _)| {
        let first = graph.node_inputs(id).first().copied().flatten();
        let value = first.filter(|value| depending.contains(value))?;
        let rank = graph.fact(value).rank()?;
        let node = graph.node(id);
        let traits = op::traits(node);
        let axis = match (traits.kind, node.op()) {
            (Kind::Convolve | Kind::Deconvolve, _) => 1,
            _ if traits.by_channel => 1,
            (Kind::MatMul, _) | (_, "GRU" | "LSTM" | "RNN") => rank.checked_sub(1)?,
            _ => return None,
        };
        Some(known.get(&value).and_then(|axes| axes.get(axis)))
    };
    let axis: &Axis = graph.nodes().find_map(read)??;
    match axis.atoms.as_slice() {
        // An axis of size 1 has no atoms; the channels may be any of that size.
        [] if !axis.has_more() => Some((1..sizes.len()).find(|at| sizes[*at] == 1)),
        [atom] if !axis.has_more() => match atom.meaning {
            Meaning::Space(at) if sizes.get(at + 1) == Some(&atom.size) => Some(Some(at + 1)),
            _ => None,
        },
        _ => None,
    }
}
