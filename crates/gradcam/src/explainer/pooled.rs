//! The layers of CAM: those that only a global pooling and one linear layer follow.

use onnx_grad::{
    graph::{Graph, NodeId, ValueId},
    op::{self, Kind},
    varying,
};

use crate::{
    Result,
    error::bail,
    head::{Form, Head},
    layer::Views,
    method::{Derivative, Method},
};

/// Checks the layers of methods that take a row of the last linear layer.
///
/// # Errors
/// `Layer`.
pub(super) fn check(
    methods: &[Method],
    graph: &Graph,
    head: &Head,
    views: &Views,
    layers: &[(String, String)],
) -> Result<()> {
    let Some(method) = methods.iter().find(|method| method.derivative() == Derivative::Row) else {
        return Ok(());
    };
    if !matches!(head.form, Form::Classes(_) | Form::Binary) {
        bail!(
            Method,
            "{method} takes the row of a class in the last linear layer, and this model's scores are of the kind {}; \
             choose gradcam",
            head.info.kind
        );
    }
    for (path, value) in layers {
        if let Err(node) = follow(graph, views, graph.value(value)?, head.value) {
            let found = node.map_or("no such nodes".to_owned(), |node| {
                format!("{} ({})", graph.node(node).label(), graph.node(node).op())
            });
            bail!(
                Layer,
                "{method} needs a layer that only a global pooling and one linear layer follow, and layer \"{path}\" is \
                 followed by {found}; choose the layer in front of the global pooling, or gradcam"
            );
        }
    }
    Ok(())
}

/// Follows a layer to the scores. Fails with the node that is neither the pooling nor the linear layer, or without one where
/// the pooling or the linear layer is missing.
fn follow(
    graph: &Graph,
    views: &Views,
    layer: ValueId,
    scores: ValueId,
) -> Result<(), Option<NodeId>> {
    let needed = graph.upstream([scores], |_| true);
    let varying = varying(graph);
    let (mut value, mut is_pooled, mut is_linear) = (layer, false, false);
    while value != scores {
        let leads_on = |node: &&NodeId| {
            graph.node_outputs(**node).iter().flatten().any(|output| needed.contains(output))
        };
        let mut readers = graph.consumers(value).iter().filter(leads_on);
        let Some(&reader) = readers.next() else { return Err(None) };
        if let Some(other) = readers.next() {
            return Err(Some(*other));
        }
        let node = graph.node(reader);
        let Some(output) = graph.node_outputs(reader).first().copied().flatten() else {
            return Err(Some(reader));
        };
        let alone = graph.node_reads(reader).all(|read| read == value || !varying.contains(&read));
        let kind = op::traits(node).kind;
        let moves = matches!(kind, Kind::Identity | Kind::Reshape | Kind::Transpose);
        match node.op() {
            _ if !alone => return Err(Some(reader)),
            "GlobalAveragePool" | "GlobalMaxPool" | "AveragePool" | "MaxPool" | "ReduceMean"
            | "ReduceMax"
                if !is_pooled
                    && is_one_per_channel(graph, views, output)
                    && !is_padded(graph, reader) =>
            {
                is_pooled = true;
            }
            "Gemm" | "MatMul" | "Conv" if is_pooled && !is_linear => is_linear = true,
            "Add" if is_linear => {}
            _ if moves => {}
            _ => return Err(Some(reader)),
        }
        value = output;
    }
    if is_pooled && is_linear { Ok(()) } else { Err(None) }
}

fn is_one_per_channel(graph: &Graph, views: &Views, value: ValueId) -> bool {
    views.channels_of_elements(graph, value).is_some_and(|(of, count)| of.len() == count)
}

/// Whether zeros at the border count.
fn is_padded(graph: &Graph, node: NodeId) -> bool {
    let node = graph.node(node);
    node.attr_ints("pads").is_some_and(|pads| pads.iter().any(|pad| *pad != 0))
        || node.attr_str("auto_pad").is_some_and(|pad| pad.starts_with("SAME"))
}
