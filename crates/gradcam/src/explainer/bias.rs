//! The biases of FullGrad: where the path from the image to the target has some, and their maps as nodes of the graph.

use std::collections::HashMap;

use onnx_grad::{
    Dim, GradientForm,
    builder::Builder,
    graph::{Graph, NodeId, ValueId},
    proto::tensor_proto::DataType,
};

use crate::Result;

/// The values [N, K, …] of the path that a bias is added to, with the nodes that add it: convolutions with a bias, and batch
/// norms. Those of linear layers have no positions.
pub(super) fn biased(graph: &Graph, image: ValueId, target: ValueId) -> Vec<(ValueId, NodeId)> {
    let (behind, before) =
        (graph.downstream([image], |_| true), graph.upstream([target], |_| true));
    let rank = |value| graph.fact(value).shape.as_ref().map(Vec::len);
    let of_node = |(id, node): (NodeId, &onnx_grad::proto::NodeProto)| {
        let adds = match node.op() {
            "Conv" => graph.node_inputs(id).get(2).is_some_and(Option::is_some),
            "BatchNormalization" => true,
            _ => false,
        };
        let value = graph.node_outputs(id).first().copied().flatten()?;
        let on_path = behind.contains(&value) && before.contains(&value);
        let has_positions = rank(value) == rank(image) && rank(value).is_some();
        (adds && node.op_domain().is_empty() && on_path && has_positions).then_some((value, id))
    };
    graph.nodes().filter_map(of_node).collect()
}

/// Σ_k of |bias_k·g_k|, each scaled to 0…1, over all values of one size: [N, …] for each size.
pub(super) fn bias_maps(
    b: &mut Builder<'_>,
    biased: &[(ValueId, NodeId)],
    gradients: &HashMap<(ValueId, GradientForm), ValueId>,
) -> Result<Vec<ValueId>> {
    let mut sums: Vec<(Vec<Dim>, ValueId)> = Vec::new();
    for (value, node) in biased {
        let shape = b.shape(*value)?;
        let mut of_channels = vec![Dim::Fixed(1); shape.len()];
        of_channels[1] = shape[1];
        let bias = bias(b, *node)?;
        let bias = b.reshape(bias, &of_channels)?;
        let gradient = b.expand_like(gradients[&(*value, GradientForm::Full)], *value)?;
        let product = b.mul(gradient, bias)?;
        // Half precision has no number as small as the constant.
        let product = b.cast(product, DataType::Float)?;
        let negative = b.neg(product)?;
        let magnitude = b.maximum(product, negative)?;
        let space: Vec<usize> = (2..shape.len()).collect();
        let least = b.min(magnitude, &space)?;
        let above = b.sub(magnitude, least)?;
        let most = b.max(above, &space)?;
        let constant = b.scalar(most, 1e-7)?;
        let most = b.add(most, constant)?;
        let share = b.div(above, most)?;
        let sum = b.sum(share, &[1])?;
        let size = [&shape[..1], &shape[2..]].concat();
        let sum = b.reshape(sum, &size)?;
        match sums.iter_mut().find(|(of, _)| *of == size) {
            Some((_, known)) => *known = b.add(*known, sum)?,
            None => sums.push((size, sum)),
        }
    }
    Ok(sums.into_iter().map(|(_, sum)| sum).collect())
}

/// What a node adds, [K]: of a batch norm β − μ·γ/√(σ² + ε).
fn bias(b: &mut Builder<'_>, id: NodeId) -> Result<ValueId> {
    let graph = b.graph();
    let epsilon = graph.node(id).attr_float("epsilon").unwrap_or(1e-5);
    Ok(match *graph.node_inputs(id) {
        [_, Some(scale), Some(shift), Some(mean), Some(variance)] => {
            let epsilon = b.scalar(variance, f64::from(epsilon))?;
            let variance = b.add(variance, epsilon)?;
            let deviation = b.sqrt(variance)?;
            let factor = b.div(scale, deviation)?;
            let mean = b.mul(mean, factor)?;
            b.sub(shift, mean)?
        }
        [_, _, Some(bias)] => bias,
        _ => crate::error::bail!(
            Model,
            "node \"{}\" ({}) has no bias",
            graph.node(id).label(),
            graph.node(id).op()
        ),
    })
}
