//! Cuts: the part of a model between some of its values.

use std::collections::HashSet;

use crate::{
    error::{Result, bail},
    graph::{Graph, NodeId, Origin, Sizes, ValueId},
    model::Model,
    prune::prune,
};

/// The part of a model that computes `outputs` from `inputs`, values anywhere in its graph.
///
/// The given values become the inputs of the result, with their types and shapes; nodes before them
/// are left out.
///
/// # Errors
/// `UnknownValue`, or `NotConnected` where an output needs an input of the model that is not among the
/// given ones.
pub fn extract(model: &Model, inputs: &[&str], outputs: &[&str], sizes: &Sizes) -> Result<Model> {
    let graph = Graph::new(model, sizes)?;
    let find =
        |names: &[&str]| names.iter().map(|name| graph.value(name)).collect::<Result<Vec<_>>>();
    let (from, to) = (find(inputs)?, find(outputs)?);
    let given: HashSet<ValueId> = from.iter().copied().collect();
    let mut seen = HashSet::new();
    let mut open = to.clone();
    while let Some(value) = open.pop() {
        if given.contains(&value) || !seen.insert(value) {
            continue;
        }
        match graph.origin(value) {
            Origin::Input => bail!(
                NotConnected,
                "the outputs also depend on the model's input \"{}\"; give it, or a value behind it",
                graph.name(value)
            ),
            Origin::Initializer(_) => {}
            Origin::Node(node) => {
                open.extend(graph.node_inputs(node).iter().flatten());
                open.extend(graph.node_captures(node));
            }
        }
    }
    prune(&graph.cut_at(&from)?, &to)
}

/// The values that are alive behind a node: made by it or before, and read after it or among
/// `outputs`. Constants are not counted. Together they are the interface of a cut there.
pub fn live_values(graph: &Graph, after: NodeId, outputs: &[ValueId]) -> Vec<ValueId> {
    let made = |value: &ValueId| match graph.origin(*value) {
        Origin::Input => true,
        Origin::Initializer(_) => false,
        Origin::Node(node) => node <= after,
    };
    let read = |value: &ValueId| {
        outputs.contains(value) || graph.consumers(*value).iter().any(|node| *node > after)
    };
    graph.values().filter(|value| made(value) && read(value)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Dim, testing};

    /// x → a = Relu(x) → b = Neg(a) → y = Add(a, b): a residual branch.
    fn residual() -> Model {
        testing::model(
            &[("x", &[2, 3])],
            &[("Relu", &["x"], "a"), ("Neg", &["a"], "b"), ("Add", &["a", "b"], "y")],
            "y",
        )
    }

    #[test]
    fn a_cut_keeps_what_lies_between() {
        let sizes = Sizes::new();
        let cut = extract(&residual(), &["a", "b"], &["y"], &sizes).expect("a cut");
        let ops: Vec<&str> = cut.graph().node.iter().map(|node| node.op()).collect();
        assert_eq!(ops, ["Add"]);
        let inputs = crate::inputs(&cut);
        let names: Vec<&str> = inputs.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["a", "b"]);
        let cut = extract(&residual(), &["a"], &["y"], &sizes).expect("a cut");
        assert_eq!(cut.graph().node.len(), 2);
    }

    #[test]
    fn a_cut_that_lets_an_input_through_is_refused() {
        let error = extract(&residual(), &["b"], &["y"], &Sizes::new()).expect_err("x is needed");
        assert_eq!(error.kind(), crate::ErrorKind::NotConnected);
        assert!(error.to_string().contains("\"x\""), "{error}");
        let error = extract(&residual(), &["c"], &["y"], &Sizes::new()).expect_err("no c");
        assert_eq!(error.kind(), crate::ErrorKind::UnknownValue);
    }

    #[test]
    fn inside_a_residual_branch_two_values_are_alive() {
        let graph = Graph::new(&residual(), &Sizes::new()).expect("a graph");
        let (neg, _) = graph.nodes().find(|(_, node)| node.op() == "Neg").expect("a Neg");
        let live = live_values(&graph, neg, graph.outputs());
        let names: Vec<&str> = live.iter().map(|value| graph.name(*value)).collect();
        assert_eq!(names, ["a", "b"]);
        assert_eq!(graph.fact(live[0]).shape, Some(vec![Dim::Fixed(2), Dim::Fixed(3)]));
    }
}
