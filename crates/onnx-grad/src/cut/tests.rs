//! Cuts of small graphs.

use super::*;
use crate::{
    Dim, ErrorKind,
    testing::{self, node},
    verify,
};

/// x → a = Relu(x) → b = Neg(a) → y = Add(a, b): a residual branch.
fn residual() -> Model {
    testing::model(
        &[("x", &[2, 3])],
        &[("Relu", &["x"], "a"), ("Neg", &["a"], "b"), ("Add", &["a", "b"], "y")],
        "y",
    )
}

/// A head that reads the size of the network's input, as in segmentation networks.
fn sized() -> Model {
    testing::model(
        &[("x", &[2, 3])],
        &[
            ("Relu", &["x"], "a"),
            ("Shape", &["x"], "s"),
            ("Neg", &["a"], "b"),
            ("Reshape", &["b", "s"], "y"),
        ],
        "y",
    )
}

fn inputs(model: &Model) -> Vec<String> {
    crate::inputs(model).into_iter().map(|input| input.name).collect()
}

fn ops(model: &Model) -> Vec<&str> {
    model.graph().node.iter().map(|node| node.op()).collect()
}

#[test]
fn a_cut_keeps_what_lies_between() {
    let sizes = Sizes::new();
    let cut = extract(&residual(), &["a", "b"], &["y"], &sizes).expect("a cut");
    assert_eq!((ops(&cut), inputs(&cut)), (vec!["Add"], vec!["a".into(), "b".into()]));
    let cut = extract(&residual(), &["a"], &["y"], &sizes).expect("a cut");
    assert_eq!(ops(&cut), ["Neg", "Add"]);
    let cut = extract(&residual(), &["x"], &["b", "a"], &sizes).expect("a cut");
    assert_eq!(ops(&cut), ["Relu", "Neg"]);
}

#[test]
fn a_cut_that_lets_an_input_through_is_refused() {
    let error = extract(&residual(), &["b"], &["y"], &Sizes::new()).expect_err("x is needed");
    assert_eq!(error.kind(), ErrorKind::NotConnected);
    assert!(error.to_string().contains("\"x\""), "{error}");
    let error = extract(&residual(), &["c"], &["y"], &Sizes::new()).expect_err("no c");
    assert_eq!(error.kind(), ErrorKind::UnknownValue);
    assert!(error.to_string().contains("closest: \"x\", \"a\", \"b\""), "{error}");
}

#[test]
fn a_known_size_needs_no_input() {
    let cut = extract(&sized(), &["a"], &["y"], &Sizes::new()).expect("a cut");
    assert_eq!((ops(&cut), inputs(&cut)), (vec!["Neg", "Reshape"], vec!["a".to_owned()]));
}

#[test]
fn the_inputs_of_a_cut_are_the_requested_ones() {
    let cut = extract(&residual(), &["b", "x", "a"], &["y"], &Sizes::new()).expect("a cut");
    assert_eq!(inputs(&cut), ["b", "x", "a"]);
}

#[test]
fn a_given_value_is_not_computed_with_its_siblings() {
    let base = testing::model(&[("x", &[2, 3])], &[], "y");
    let mut graph = base.graph().clone();
    graph.node = vec![
        node("TopK", &["x", "k"], &["top", "index"]),
        node("Cast", &["index"], &["float"]),
        node("Add", &["top", "float"], &["y"]),
    ];
    graph.node[1].attribute.push(crate::attrs::int("to", 1));
    graph.initializer.push(crate::proto::TensorProto {
        name: Some("k".to_owned()),
        data_type: Some(7),
        dims: vec![1],
        int64_data: vec![1],
        ..Default::default()
    });
    let model = testing::wrap(graph);
    let cut = extract(&model, &["x", "top"], &["y"], &Sizes::new()).expect("a cut");
    verify(&cut).expect("a legal model");
    assert_eq!(ops(&cut), ["TopK", "Cast", "Add"]);
    assert_eq!(inputs(&cut), ["x", "top"]);
}

#[test]
fn inside_a_residual_branch_two_values_are_live() {
    let graph = Graph::new(&residual(), &Sizes::new()).expect("a graph");
    let (neg, _) = graph.nodes().find(|(_, node)| node.op() == "Neg").expect("a Neg");
    let live = live_values(&graph, neg, graph.outputs());
    let names: Vec<&str> = live.iter().map(|value| graph.name(*value)).collect();
    assert_eq!(names, ["a", "b"]);
    assert_eq!(graph.fact(live[0]).shape, Some(vec![Dim::Fixed(2), Dim::Fixed(3)]));
}

#[test]
fn known_and_unread_values_are_not_live() {
    let graph = Graph::new(&sized(), &Sizes::new()).expect("a graph");
    let mut alive = vec![];
    for (id, node) in graph.nodes() {
        let live = live_values(&graph, id, graph.outputs());
        let names: Vec<&str> = live.iter().map(|value| graph.name(*value)).collect();
        alive.push(format!("{}: {}", node.op(), names.join(" ")));
        let rest = extract(&sized(), &names, &["y"], &Sizes::new()).expect("a cut");
        assert_eq!(inputs(&rest), names);
    }
    assert_eq!(alive, ["Relu: a", "Shape: a", "Neg: b", "Reshape: y"]);
    let a = graph.value("a").expect("a");
    let (neg, _) = graph.nodes().find(|(_, node)| node.op() == "Neg").expect("a Neg");
    assert_eq!(live_values(&graph, neg, &[a]), [a], "b leads to no wanted output");
}

#[test]
fn values_of_constants_are_not_live() {
    let mut graph = residual().graph().clone();
    graph.initializer.push(testing::floats("w", &[0.5; 99]));
    graph.node.insert(0, node("Neg", &["w"], &["v"]));
    graph.node.push(node("Mul", &["y", "v"], &["z"]));
    let graph = Graph::new(&testing::wrap(graph), &Sizes::new()).expect("a graph");
    let value = |name| graph.find(name).expect("a value");
    let after = graph.producer(value("a")).expect("a node");
    assert_eq!(live_values(&graph, after, &[value("z")]), [value("a")]);
}

#[test]
fn unknown_operators_use_the_declaration_or_are_refused() {
    let base = testing::model(&[("x", &[2, 3])], &[], "y");
    let mut graph = base.graph().clone();
    graph.node = vec![node("Strange", &["x"], &["a"]), node("Strange", &["a"], &["y"])];
    graph.output[0] =
        crate::graph::declare("y", &crate::Fact::new(DataType::Int8, [Dim::Fixed(7)]));
    let model = testing::wrap(graph);
    let whole = extract(&model, &["x"], &["y"], &Sizes::new()).expect("a cut");
    assert_eq!(whole.graph().output, model.graph().output);
    let head = extract(&model, &["x"], &["a"], &Sizes::new()).expect("a cut");
    assert_eq!(head.graph().output[0].r#type, None, "no type instead of an illegal one");
    let error = extract(&model, &["a"], &["y"], &Sizes::new()).expect_err("no type");
    assert_eq!(error.kind(), ErrorKind::Shape, "{error}");
}
