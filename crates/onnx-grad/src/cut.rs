//! Cuts: the part of a graph between given values.

use std::collections::HashSet;

use crate::{
    error::{Error, ErrorKind, Result, bail},
    graph::{Graph, NodeId, Origin, Sizes, ValueId},
    model::Model,
    proto::tensor_proto::DataType,
    prune::Part,
};

/// The part of a model that computes `outputs` from `inputs`, which may be any values of its graph.
///
/// The inputs of the cut are exactly `inputs`, in that order, with the types and shapes that they
/// have in the model; a value that is given is not computed, even where another output of its node
/// is needed. What is known before anything runs, such as the shapes of fixed sizes, is a constant
/// of the cut and asks for no input.
///
/// # Errors
/// `UnknownValue`; `NotConnected` where an output needs inputs of the model that are not given;
/// `Shape` where the type or shape of a value in `inputs` is not known.
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
            bail!(InvalidModel, "\"{twice}\" is named twice in a cut");
        }
        names.iter().map(|name| graph.value(name)).collect()
    };
    extract_values(&graph, &find(inputs)?, &find(outputs)?)
}

/// As [`extract`], of a graph whose facts are known.
///
/// # Errors
/// As [`extract`].
pub fn extract_values(graph: &Graph, inputs: &[ValueId], outputs: &[ValueId]) -> Result<Model> {
    let open = |id: &&ValueId| {
        let fact = graph.fact(**id);
        fact.shape.is_none() || fact.elem == DataType::Undefined
    };
    if let Some(&open) = inputs.iter().find(open) {
        let name = graph.name(open);
        bail!(Shape, "the type or shape of \"{name}\" is not known, so it can be no input");
    }
    let given: HashSet<ValueId> = inputs.iter().copied().collect();
    for &output in outputs {
        let part = Part::find(graph, &[output], &|value| given.contains(&value));
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
    Part::find(graph, outputs, &|value| given.contains(&value)).model(graph, inputs, outputs)
}

/// The interface of a cut behind a node in topological order: every value that exists then and that
/// the rest of the graph reads to compute `outputs`, or that is an output itself. What does not depend
/// on an input is not among them ([`varying`]). In the order in which the values come to be.
///
/// So `extract_values(graph, &live_values(graph, node, outputs), outputs)` is what remains to be
/// done when `node` is done, inside of residual branches too.
pub fn live_values(graph: &Graph, after: NodeId, outputs: &[ValueId]) -> Vec<ValueId> {
    let exists = |value: ValueId| match graph.origin(value) {
        Origin::Input => true,
        Origin::Initializer(_) => false,
        Origin::Node(node) => node <= after,
    };
    let varying = varying(graph);
    let lives = |value| exists(value) && (varying.contains(&value) || outputs.contains(&value));
    let part = Part::find(graph, outputs, &lives);
    let mut live: Vec<ValueId> = part.needed.into_iter().filter(|&value| lives(value)).collect();
    live.sort_unstable();
    live
}

/// The values that depend on an input: everything that is computed from one, except what is known
/// before anything runs, such as shapes of fixed sizes.
pub fn varying(graph: &Graph) -> HashSet<ValueId> {
    graph.downstream(graph.inputs().iter().copied(), |value| !Part::is_known(graph, value))
}

#[cfg(test)]
mod tests;
