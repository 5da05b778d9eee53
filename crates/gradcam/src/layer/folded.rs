//! Norms that an exporter folded into the convolution before them.
//!
//! torch's older exporter keeps the convolution's name and calls the new weights `onnx::Conv_193`; its newer
//! one gives the convolution the norm's scope, keeps the weights' name, and notes the rule. Of Keras's layers
//! weights and bias keep the names.

use onnx_grad::graph::{Graph, NodeId, ValueId};

use super::scope::{Scopes, metadata};

/// The output of a convolution that lost its scope to the norm, by the path that its weights keep.
pub(super) fn by_weights(graph: &Graph, path: &str) -> Option<ValueId> {
    let mut nodes = graph.nodes();
    let (id, _) = nodes.find(|(id, _)| module_of_weights(graph, *id) == Some(path))?;
    graph.node_outputs(id).first().copied().flatten()
}

/// What a user should know who asked for a convolution and gets the norm behind it.
pub(super) fn note(graph: &Graph, scopes: &Scopes, path: &str, value: ValueId) -> Option<String> {
    let id = graph.producer(value)?;
    let weights = graph.name(graph.node_inputs(id).get(1).copied().flatten()?);
    let own = if let Some(path) = scopes.folded(id) {
        path
    } else if weights.starts_with("onnx::Conv") {
        scopes.of(id)?
    } else {
        // Files that were simplified have lost the note, but a norm's value keeps its name, of a tuple's item.
        let rules = metadata(graph.node(id), "pkg.onnxscript.rewriter.rule_name");
        let is_norm = rules.map_or(graph.name(value).starts_with("getitem"), |rules| {
            rules.contains("FuseBatchNorm")
        });
        module_of_weights(graph, id).filter(|_| is_norm)?
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
