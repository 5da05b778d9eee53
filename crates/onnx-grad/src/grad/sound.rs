//! Checks that the shapes at a node on the path are valid for its operator, which the gradient
//! rules assume. A model can declare any shape for the outputs of its operators.

use crate::{
    facts::{self, Dim, Fact},
    graph::{Graph, NodeId, ValueId},
    op::{self, Kind},
    proto::tensor_proto::DataType,
};

/// The maximum number of elements of a value on the path, ignoring axes of size 0. It keeps sums
/// and products of sizes within 64 bits.
const MOST_ELEMENTS: i64 = 1 << 46;

/// The fault in the shapes at a node, if any.
pub(super) fn fault(graph: &Graph, id: NodeId) -> Option<String> {
    let (inputs, outputs) = (graph.node_inputs(id), graph.node_outputs(id));
    // Every output of a recurrent network is optional.
    let optional = op::traits(graph.node(id)).kind == Kind::Recurrent;
    if !optional && !matches!(outputs.first(), Some(Some(_))) {
        return Some("its first output has no name".to_owned());
    }
    let huge = |value: &&ValueId| elements(graph.fact(**value)).is_none();
    if let Some(&value) = inputs.iter().chain(outputs).flatten().find(huge) {
        let (name, shape) = (graph.name(value), graph.fact(value).shown());
        return Some(format!("\"{name}\" has shape {shape}, more than 2^46 elements"));
    }
    let open = |value: &&ValueId| {
        let fact = graph.fact(**value);
        fact.shape.is_none() && (fact.elem.is_float() || fact.elem == DataType::Undefined)
    };
    let unknown = |value: ValueId| format!("the shape of \"{}\" is not known", graph.name(value));
    if let Some(&value) = inputs.iter().flatten().find(open) {
        return Some(unknown(value));
    }
    let facts: Vec<Option<&Fact>> = inputs.iter().map(|v| v.map(|v| graph.fact(v))).collect();
    let node = graph.node(id);
    // The numbers may be computed at run time.
    let at_run_time = op::traits(node).shape_by_numbers
        && facts.iter().skip(1).flatten().any(|fact| fact.value.is_none());
    let has_body = node.attr("body").is_some();
    let inferred = facts::infer(node, graph.opset(), &facts);
    if !at_run_time && !has_body && inferred.first().is_some_and(|y| y.shape.is_none()) {
        let shapes: Vec<String> = facts.iter().flatten().map(|fact| fact.shown()).collect();
        return Some(format!(
            "its attributes and the shapes of its inputs, {}, do not match",
            shapes.join(" and ")
        ));
    }
    outputs[..1].iter().flatten().find(open).map(|&value| unknown(value))
}

/// The number of elements of a value, `Some(0)` if unknown; `None` if there are too many.
fn elements(fact: &Fact) -> Option<i64> {
    let Some(shape) = &fact.shape else { return Some(0) };
    let size = |dim: &Dim| match dim {
        Dim::Fixed(size) | Dim::Batch(size) => (*size).max(1),
    };
    let product = shape.iter().map(size).try_fold(1i64, i64::checked_mul)?;
    (product <= MOST_ELEMENTS).then_some(product)
}
