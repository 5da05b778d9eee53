//! Layers whose channels can be ablated in closed form: behind the layer the channels stay separate up to one affine
//! step.
//!
//! Examples are a global pooling and a Gemm, or a flattening and a Gemm. Replacing channel k changes the score by
//! Σ g·(P′ − P) over the elements of channel k, where P is the input of the affine step, P′ the same for a replaced
//! activation, and g the gradient of the score with respect to P, which is constant.

use std::collections::HashSet;

use onnx_grad::{
    graph::{Graph, ValueId},
    op::{self, Affine, Kind, Traits},
    varying,
};

use super::Views;

/// The values between a layer and the scores up to which the channels stay separate, and of which the scores are an affine
/// function; `None` if there are no such values.
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
    let needed = graph.upstream([scores], |_| true);
    let varying = varying(graph);
    let mut by_channel = HashSet::from([layer]);
    let mut joined: HashSet<ValueId> = HashSet::new();
    let mut meeting = Vec::new();
    for (id, node) in graph.nodes() {
        let mut outputs = graph.node_outputs(id).iter().flatten();
        if outputs.clone().all(|output| !needed.contains(output))
            || outputs.any(|output| *output == layer)
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
        let traits = op::traits(node);
        let goes_on = by_channel.contains(value)
            && alone
            && (traits.is_elementwise()
                || *first == 0 && is_within_channels(traits)
                || *first == 0 && traits.by_channel && channels_at_1(graph, views, *value));
        let mut outputs = graph.node_outputs(id).iter().flatten();
        // Integers and booleans have no gradient; a second output is a mask or indices.
        let gives_floats = graph.node_outputs(id).first().copied().flatten();
        let gives_floats = gives_floats.is_some_and(|output| graph.fact(output).elem.is_float());
        if goes_on && gives_floats && outputs.all(|output| apart(*output)) {
            by_channel.extend(made);
            continue;
        }
        let is_affine = match traits.affine {
            Affine::No => false,
            Affine::First => of_layer.iter().all(|(at, _)| *at == 0),
            Affine::Each => more.is_empty(),
            Affine::Jointly => true,
        };
        // A cast to integers rounds.
        if !is_affine || !gives_floats {
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

fn channels_at_1(graph: &Graph, views: &Views, value: ValueId) -> bool {
    matches!(views.channel_axis(graph, value), Some((1, _)))
}

/// Whether an operator moves elements, or reduces along axes: each channel stays separate if the channel axis is kept.
fn is_within_channels(traits: &Traits) -> bool {
    matches!(traits.kind, Kind::Reduce | Kind::Reshape | Kind::Transpose)
}

#[cfg(test)]
mod tests {
    use onnx_grad::{
        Model,
        graph::Sizes,
        proto::{NodeProto, tensor_proto::DataType},
    };
    use prost::Message;
    use testkit::build::{self, node};

    use super::*;
    use crate::layer::Grid;

    /// Where the channels of f meet, if they do: x [1, 3, 4, 4] → f = Relu(x) → the nodes → p → Flatten → Gemm → y.
    fn meeting(nodes: Vec<NodeProto>) -> Option<Vec<String>> {
        let first = node("Relu", &["x"], &["f"], vec![]);
        let last =
            [node("Flatten", &["p"], &["t"], vec![]), node("Gemm", &["t", "w"], &["y"], vec![])];
        let nodes = [first].into_iter().chain(nodes).chain(last).collect();
        let inputs = [("x", DataType::Float, &[1, 3, 4, 4][..])];
        let weights = vec![build::weights("w", &[3, 5])];
        let proto = build::model(17, &inputs, &[("y", DataType::Float)], weights, nodes);
        let graph = Graph::new(&Model::from_bytes(proto.encode_to_vec()).unwrap(), &Sizes::new());
        let graph = graph.unwrap();
        let value = |name: &str| graph.value(name).unwrap();
        let views = Views::new(&graph, None, Grid::default());
        let found = separable(&graph, &views, value("f"), value("y"))?;
        Some(found.into_iter().map(|value| graph.name(value).to_owned()).collect())
    }

    #[test]
    fn channels_go_their_own_way_through_pools_and_functions() {
        let pool = |from: &str| node("GlobalAveragePool", &[from], &["p"], vec![]);
        let to = |elem: DataType| build::int("to", i64::from(elem as i32));
        let through = |op: &str| vec![node(op, &["f"], &["a"], vec![]), pool("a")];
        let rows = [
            ("GlobalAveragePool", vec![pool("f")], true),
            ("GlobalLpPool", vec![node("GlobalLpPool", &["f"], &["p"], vec![])], true),
            ("Sin", through("Sin"), true),
            ("Floor", through("Floor"), true),
            ("Softmax", through("Softmax"), false),
            (
                "ReduceLogSumExp",
                vec![node("ReduceLogSumExp", &["f"], &["p"], vec![build::ints("axes", &[2, 3])])],
                true,
            ),
            (
                "a cast to integers and back",
                vec![
                    node("Cast", &["f"], &["i"], vec![to(DataType::Int32)]),
                    node("Cast", &["i"], &["a"], vec![to(DataType::Float)]),
                    pool("a"),
                ],
                false,
            ),
        ];
        for (name, nodes, separate) in rows {
            let wanted = separate.then(|| vec!["t".to_owned()]);
            assert_eq!(meeting(nodes), wanted, "{name}");
        }
    }
}
