//! What must hold of a model after every pass: single assignment, topological order, outputs that are
//! made, an opset that exists, and a known shape for every value that this crate emitted.

use std::collections::HashSet;

use crate::{
    error::{Result, bail},
    grad::NEWEST_OPSET,
    model::Model,
    proto::{TensorProto, tensor_proto::DataType},
};

/// Scopes that this crate and its callers emit under.
const EMITTED: &[&str] = &["grad/", "cam/"];

/// Checks the main graph of a model.
///
/// # Errors
/// `InvalidModel` with the first value or node that breaks a rule.
pub fn verify(model: &Model) -> Result<()> {
    let graph = model.graph();
    let opset = model.opset();
    if !(1..=NEWEST_OPSET).contains(&opset) {
        bail!(InvalidModel, "the model says opset {opset}; known are 1 to {NEWEST_OPSET}");
    }
    let constants = graph.initializer.iter().map(TensorProto::label);
    let sparse =
        graph.sparse_initializer.iter().filter_map(|s| s.values.as_ref()).map(TensorProto::label);
    let mut known: HashSet<&str> = HashSet::new();
    for name in constants.chain(sparse) {
        if !known.insert(name) {
            bail!(InvalidModel, "the constant \"{name}\" is there twice");
        }
    }
    // Before IR version 4, initializers are listed among the inputs.
    known.extend(graph.input.iter().filter_map(|input| input.name.as_deref()));
    for node in &graph.node {
        let (label, op) = (node.label(), node.op());
        if let Some(missing) =
            node.input.iter().find(|n| !n.is_empty() && !known.contains(n.as_str()))
        {
            bail!(
                InvalidModel,
                "node \"{label}\" ({op}) reads \"{missing}\", which nothing before it produces"
            );
        }
        for output in node.output.iter().filter(|name| !name.is_empty()) {
            if !known.insert(output) {
                bail!(InvalidModel, "node \"{label}\" ({op}) assigns \"{output}\" a second time");
            }
        }
    }
    for output in graph.output.iter().filter_map(|output| output.name.as_deref()) {
        if !known.contains(output) {
            bail!(InvalidModel, "the graph's output \"{output}\" is produced by no node");
        }
    }
    Ok(())
}

/// As [`verify`], and every value that was emitted must be declared with type and shape.
pub(crate) fn verify_emitted(model: &Model) -> Result<()> {
    verify(model)?;
    let graph = model.graph();
    let typed: HashSet<&str> = graph
        .value_info
        .iter()
        .chain(&graph.output)
        .filter(|info| {
            crate::facts::declared(info)
                .is_some_and(|(elem, dims)| elem != DataType::Undefined && dims.is_some())
        })
        .filter_map(|info| info.name.as_deref())
        .collect();
    for node in &graph.node {
        let emitted = |name: &&String| EMITTED.iter().any(|scope| name.starts_with(scope));
        if let Some(open) = node.output.iter().filter(emitted).find(|n| !typed.contains(n.as_str()))
        {
            bail!(
                InvalidModel,
                "the shape of the emitted value \"{open}\" ({}) is not known",
                node.op()
            );
        }
    }
    Ok(())
}
