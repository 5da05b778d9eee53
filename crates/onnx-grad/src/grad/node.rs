//! The operator Gradient of the standard: while a graph is built, the nodes of a gradient take its place.
//!
//! `Graph::new` is here because a graph is built with the differentiator, which itself works on graphs.

use std::collections::HashSet;

use super::{Options, gradient_values};
use crate::{
    attrs::AttributeReader,
    builder::Builder,
    error::{Error, ErrorKind, Result, bail},
    graph::{Graph, Sizes, ValueId, declare},
    inline::is_gradient,
    model::Model,
    proto::{GraphProto, NodeProto},
};

impl Graph {
    /// Binds the sizes of the inputs and derives the facts of every value.
    ///
    /// Nodes of the operator Gradient become the nodes that compute the gradient.
    ///
    /// # Errors
    /// `InvalidModel` if the graph is not in topological order or assigns a value twice, `Shape` if
    /// an input's size is open or contradicts the model; those of [`gradient`](crate::gradient) for a Gradient.
    pub fn new(model: &Model, sizes: &Sizes) -> Result<Self> {
        Self::build(model, sizes, replace)
    }
}

fn replace(graph: &mut Graph, node: &NodeProto) -> Result<bool> {
    if is_gradient(node) {
        emit(graph, node)?;
    }
    Ok(is_gradient(node))
}

/// Gradient, d(sum of y)/dx for every x of the attribute `xs`. The attributes name values before the node; they say that y
/// is a function of `xs` and `zs`, and the inputs are the values at which it is differentiated. Other values count as
/// constants. <https://onnx.ai/onnx/operators/onnx_aionnxpreviewtraining_Gradient.html>
fn emit(graph: &mut Graph, node: &NodeProto) -> Result<()> {
    let label = node.label();
    let attributes = AttributeReader::new(node);
    let xs = attributes.texts("xs");
    let names = [xs.as_slice(), &attributes.texts("zs")].concat();
    let (values, inputs, outputs) = (names.len(), node.input.len(), node.output.len());
    if inputs != values || outputs > xs.len() {
        bail!(
            InvalidModel,
            "node \"{label}\" (Gradient) has {inputs} inputs and {outputs} outputs; its attributes xs and zs name {values} \
             values, for an input each, and xs {}, for an output each",
            xs.len()
        );
    }
    let find = |name: &str| {
        graph.find(name).ok_or_else(|| {
            let message = format!(
                "node \"{label}\" (Gradient) is about \"{name}\", which is not computed before the node"
            );
            Error::new(ErrorKind::InvalidModel, message).at_node(label)
        })
    };
    let y = find(attributes.text("y").unwrap_or_default())?;
    let named = names.into_iter().map(find).collect::<Result<Vec<_>>>()?;
    let given = node.input.iter().map(|name| find(name)).collect::<Result<Vec<_>>>()?;
    let (y, xs) = match given == named && are_independent(graph, &named) {
        true => (y, named),
        false => function_at(graph, label, y, &named, &given)?,
    };
    let wanted = node.output.iter().zip(xs).filter(|(name, _)| !name.is_empty());
    let (names, wrt): (Vec<&String>, Vec<ValueId>) = wanted.unzip();
    let gradients = gradient_values(graph, y, &wrt, &Options::default())?;
    for (name, gradient) in names.into_iter().zip(gradients) {
        graph.alias(gradient, name)?;
    }
    Ok(())
}

/// Whether no value is computed from another one.
fn are_independent(graph: &Graph, values: &[ValueId]) -> bool {
    let sources = |value: &ValueId| {
        let node = graph.producer(*value)?;
        Some(graph.node_reads(node).collect::<Vec<_>>())
    };
    let above = graph.upstream(values.iter().filter_map(sources).flatten(), |_| true);
    values.iter().all(|value| !above.contains(value))
}

/// Emits y as a function of the `named` values at `given`: a copy of the nodes between them. Returns its result, and the
/// values that stand for the named ones.
fn function_at(
    graph: &mut Graph,
    label: &str,
    y: ValueId,
    named: &[ValueId],
    given: &[ValueId],
) -> Result<(ValueId, Vec<ValueId>)> {
    let reached = graph.downstream(named.iter().copied(), |_| true);
    let needed = graph.upstream([y], |value| !named.contains(&value));
    let cut: HashSet<&str> = named.iter().map(|value| graph.name(*value)).collect();
    let is_between = |value: &ValueId| needed.contains(value) && !named.contains(value);
    let between = graph.nodes().filter(|(id, _)| {
        graph.node_outputs(*id).iter().flatten().any(is_between)
            && graph.node_reads(*id).any(|value| reached.contains(&value))
    });
    let body = GraphProto {
        node: between.map(|(_, node)| apart(node, &cut)).collect(),
        input: named.iter().map(|id| declare(graph.name(*id), graph.fact(*id))).collect(),
        output: vec![declare(graph.name(y), graph.fact(y))],
        ..GraphProto::default()
    };
    let mut b = Builder::new(graph, label);
    // One value may be given for several.
    let arguments = given.iter().map(|value| b.raw("Identity", &[*value], vec![]));
    let arguments = arguments.collect::<Result<Vec<_>>>()?;
    let results = b.copy(&body, &arguments)?;
    Ok((results[0], arguments))
}

/// A node without the outputs that are in a set.
fn apart(node: &NodeProto, set: &HashSet<&str>) -> NodeProto {
    let mut node = node.clone();
    let replaced = node.output.iter_mut().filter(|name| set.contains(name.as_str()));
    replaced.for_each(|name| name.push_str("/replaced"));
    node
}
