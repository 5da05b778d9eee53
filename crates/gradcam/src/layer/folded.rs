//! Norms that an exporter folded into the convolution before them.
//!
//! torch's older exporter keeps the convolution's name and calls the new weights `onnx::Conv_193`; its newer
//! one gives the convolution the norm's scope, keeps the weights' name, and notes the rule.

use onnx_grad::graph::{Graph, NodeId, ValueId};

use super::scope;

/// The output of a convolution that lost its scope to the norm, by the path that its weights keep.
pub(super) fn by_weights(graph: &Graph, path: &str) -> Option<ValueId> {
    let mut nodes = graph.nodes();
    let (id, _) = nodes.find(|(id, _)| module_of_weights(graph, *id) == Some(path))?;
    graph.node_outputs(id).first().copied().flatten()
}

/// What a user should know who asked for a convolution and gets the norm behind it.
pub(super) fn note(graph: &Graph, path: &str, value: ValueId) -> Option<String> {
    let id = graph.producer(value)?;
    let weights = graph.name(graph.node_inputs(id).get(1).copied().flatten()?);
    let own = if weights.starts_with("onnx::Conv") {
        scope::of_node(graph.node(id))?
    } else {
        let rules = scope::metadata(graph.node(id), "pkg.onnxscript.rewriter.rule_name")?;
        module_of_weights(graph, id).filter(|_| rules.contains("FuseBatchNorm"))?.to_owned()
    };
    (own == path).then(|| {
        format!(
            "the exporter folded a batch norm into the convolution \"{path}\", so the map is of the norm's \
             output; export with the norms kept to see the convolution's own"
        )
    })
}

fn module_of_weights(graph: &Graph, id: NodeId) -> Option<&str> {
    let weights = graph.node_inputs(id).get(1).copied().flatten()?;
    graph.initializer(weights)?;
    graph.name(weights).strip_suffix(".weight")
}
