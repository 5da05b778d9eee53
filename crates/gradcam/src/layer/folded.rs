//! Norms that an exporter folded into the convolution before them.
//!
//! torch's older exporter keeps the convolution's name and calls the new weights `onnx::Conv_193`; its newer
//! one gives the convolution the norm's scope, keeps the weights' name, and notes the rule. Of Keras's layers
//! weights and bias keep the names.

use onnx_grad::graph::{Graph, NodeId, ValueId};

use super::scope::{Scopes, metadata};
use crate::warning::Warning;

/// The output of a convolution that lost its scope to the norm, by the path that its weights keep.
pub(super) fn by_weights(graph: &Graph, path: &str) -> Option<ValueId> {
    let mut nodes = graph.nodes();
    let (id, _) = nodes.find(|(id, _)| module_of_weights(graph, *id) == Some(path))?;
    graph.node_outputs(id).first().copied().flatten()
}

/// The convolution that a norm of this path was folded into, whose output is the norm's: the one before it in a
/// sequence, the one with its number (`conv2`, `bn2`), or the only one beside it that no other norm follows.
pub(super) fn into(graph: &Graph, scopes: &Scopes, path: &str) -> Option<NodeId> {
    let (parent, name) = path.rsplit_once('.').unwrap_or(("", path));
    let beside = |scope: &str| {
        let (outer, name) = scope.rsplit_once('.').unwrap_or(("", scope));
        (outer == parent).then(|| name.to_owned())
    };
    let holding: Vec<(NodeId, String)> = graph
        .nodes()
        .filter(|(id, _)| is_folded(graph, *id))
        .filter_map(|(id, _)| Some((id, beside(scopes.of(id)?)?)))
        .collect();
    if let Some(place) = name.parse::<usize>().ok().and_then(|place| place.checked_sub(1)) {
        return holding.iter().find(|(_, name)| *name == place.to_string()).map(|(id, _)| *id);
    }
    if !is_norm(name) {
        return None;
    }
    let number = |name: &str| name.trim_start_matches(|c: char| !c.is_ascii_digit()).to_owned();
    let same =
        |(_, conv): &&(NodeId, String)| conv.contains("conv") && number(conv) == number(name);
    if let [(id, _)] = holding.iter().filter(same).collect::<Vec<_>>().as_slice() {
        return Some(*id);
    }
    // The activation of a norm that has one is in the norm's scope.
    let followed = |id: NodeId| {
        let outputs = graph.node_outputs(id).iter().flatten();
        let mut readers = outputs.flat_map(|value| graph.consumers(*value));
        readers.any(|reader| {
            let scope = scopes.of(*reader).unwrap_or_default();
            let below = scope.strip_prefix(parent).unwrap_or_default().trim_start_matches('.');
            is_norm(below.split('.').next().unwrap_or_default())
        })
    };
    let mut alone = holding.iter().filter(|(id, _)| !followed(*id));
    alone.next().filter(|_| alone.next().is_none()).map(|(id, _)| *id)
}

fn is_norm(name: &str) -> bool {
    name.contains("bn") || name.contains("norm")
}

/// Whether torch's older exporter gave a convolution new weights, as it does to fold a norm.
fn is_folded(graph: &Graph, id: NodeId) -> bool {
    let weights = graph.node_inputs(id).get(1).copied().flatten();
    weights.is_some_and(|weights| graph.name(weights).starts_with("onnx::Conv"))
}

/// What a user should know who asked for a convolution and gets the norm behind it, or for a name that left nothing
/// and gets the convolution that seems to hold it.
pub(super) fn warning(
    graph: &Graph,
    scopes: &Scopes,
    path: &str,
    value: ValueId,
) -> Option<Warning> {
    let id = graph.producer(value)?;
    let own = if let Some(path) = scopes.folded(id) {
        path
    } else if is_folded(graph, id) {
        scopes.of(id)?
    } else {
        // Files that were simplified have lost the note, but a norm's value keeps its name, of a tuple's item.
        let rules = metadata(graph.node(id), "pkg.onnxscript.rewriter.rule_name");
        let is_norm = rules.map_or(graph.name(value).starts_with("getitem"), |rules| {
            rules.contains("FuseBatchNorm")
        });
        module_of_weights(graph, id).filter(|_| is_norm)?
    };
    if own != path && into(graph, scopes, path) == Some(id) {
        let (norm, convolution) = (path.to_owned(), own.to_owned());
        return Some(Warning::MissingNorm { norm, convolution });
    }
    (own == path).then(|| Warning::FoldedNorm { convolution: path.to_owned() })
}

fn module_of_weights(graph: &Graph, id: NodeId) -> Option<&str> {
    let weights = graph.node_inputs(id).get(1).copied().flatten()?;
    graph.initializer(weights)?;
    graph.name(weights).strip_suffix(".weight")
}
