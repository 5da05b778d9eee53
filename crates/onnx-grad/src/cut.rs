//! Cuts: the part of a graph between given values.

use std::collections::HashSet;

use crate::{
    error::{Error, ErrorKind, Result, bail},
    graph::{Graph, NodeId, Origin, Sizes, ValueId},
    model::Model,
    proto::tensor_proto::DataType,
    prune::GraphPart,
};

/// Extracts the part of a model that computes `outputs` from `inputs`. Both can be any values of
/// its graph.
///
/// The inputs of the cut are exactly `inputs`, in that order, with their types and shapes in the
/// model. The cut does not compute its inputs, even if it needs another output of their node.
/// Values that are known statically, such as shapes of fixed sizes, become constants of the cut and
/// need no input.
///
/// # Errors
/// `UnknownValue`; `NotConnected` if an output depends on model inputs that are not in `inputs`;
/// `Shape` if the type or shape of a value in `inputs` is unknown.
///
/// # Example
/// ```no_run
/// # fn main() -> onnx_grad::Result<()> {
/// use onnx_grad::{Model, Sizes, extract};
///
/// let model = Model::open("classifier.onnx")?;
/// let head = extract(&model, &["features"], &["logits"], &Sizes::new())?;
/// # Ok(()) }
/// ```
pub fn extract(model: &Model, inputs: &[&str], outputs: &[&str], sizes: &Sizes) -> Result<Model> {
    let graph = Graph::new(model, sizes)?;
    let find = |names: &[&str]| -> Result<Vec<ValueId>> {
        let mut seen = HashSet::new();
        if let Some(twice) = names.iter().find(|name| !seen.insert(**name)) {
            bail!(InvalidModel, "\"{twice}\" occurs twice in a cut");
        }
        names.iter().map(|name| graph.value(name)).collect()
    };
    extract_values(&graph, &find(inputs)?, &find(outputs)?)
}

/// Like [`extract`], for a graph with known facts.
///
/// # Errors
/// Those of [`extract`].
pub fn extract_values(graph: &Graph, inputs: &[ValueId], outputs: &[ValueId]) -> Result<Model> {
    let open = |id: &&ValueId| {
        let fact = graph.fact(**id);
        fact.shape.is_none() || fact.elem == DataType::Undefined
    };
    if let Some(&open) = inputs.iter().find(open) {
        let name = graph.name(open);
        bail!(Shape, "the type or shape of \"{name}\" is not known, so it cannot be an input");
    }
    let given: HashSet<ValueId> = inputs.iter().copied().collect();
    for &output in outputs {
        let part = GraphPart::find(graph, &[output], &|value| given.contains(&value));
        let missing: Vec<String> = graph
            .inputs()
            .iter()
            .filter(|id| part.needed.contains(id) && !given.contains(id))
            .map(|&id| format!("\"{}\"", graph.name(id)))
            .collect();
        if !missing.is_empty() {
            let (name, missing) = (graph.name(output), missing.join(", "));
            let from: Vec<String> =
                inputs.iter().map(|&id| format!("\"{}\"", graph.name(id))).collect();
            let message = format!(
                "\"{name}\" cannot be computed from {} alone: it also needs the model's input \
                 {missing}; add it, or values between it and \"{name}\"",
                if from.is_empty() { "constants".to_owned() } else { from.join(", ") }
            );
            return Err(Error::new(ErrorKind::NotConnected, message));
        }
    }
    GraphPart::find(graph, outputs, &|value| given.contains(&value)).model(graph, inputs, outputs)
}

/// The interface of a cut after a node in topological order: every value that exists at that point
/// and that the rest of the graph reads to compute `outputs`, or that is an output itself. Values
/// that do not depend on an input are not part of it ([`varying`]). The order is that of creation.
///
/// `extract_values(graph, &live_values(graph, node, outputs), outputs)` is therefore the remaining
/// computation after `node`, inside residual branches too.
pub fn live_values(graph: &Graph, after: NodeId, outputs: &[ValueId]) -> Vec<ValueId> {
    let exists = |value: ValueId| match graph.origin(value) {
        Origin::Input => true,
        Origin::Initializer(_) => false,
        Origin::Node(node) => node <= after,
    };
    let varying = varying(graph);
    let lives = |value| exists(value) && (varying.contains(&value) || outputs.contains(&value));
    let part = GraphPart::find(graph, outputs, &lives);
    let mut live: Vec<ValueId> = part.needed.into_iter().filter(|&value| lives(value)).collect();
    live.sort_unstable();
    live
}

/// The values that depend on an input, except those that are known statically, such as shapes of
/// fixed sizes.
pub fn varying(graph: &Graph) -> HashSet<ValueId> {
    graph.downstream(graph.inputs().iter().copied(), |value| !GraphPart::is_known(graph, value))
}

#[cfg(test)]
mod tests;
