//! Breaks each rule once.

use super::*;
use crate::{
    Dim, Fact, Sizes,
    proto::ModelProto,
    testing::{self, floats, node, subgraph, truth},
};

/// x → a = Relu(x) → y = Add(a, w), and an If that captures a.
fn good() -> Model {
    let base = testing::model(&[("x", &[3])], &[], "y");
    let mut graph = base.graph().clone();
    let branch = |which: &str, op: &str| subgraph(which, vec![node(op, &["a"], &["in"])], &["in"]);
    let choice = NodeProto {
        attribute: vec![branch("then_branch", "Neg"), branch("else_branch", "Abs")],
        ..node("If", &["c"], &["b"])
    };
    graph.node = vec![
        node("Relu", &["x"], &["a"]),
        choice,
        node("Clip", &["a", "", "w"], &["d"]),
        node("Sum", &["b", "w", "d"], &["y"]),
    ];
    graph.initializer = vec![floats("w", &[1.0, 2.0, 3.0]), truth("c", true)];
    testing::wrap(graph)
}

fn inner(proto: &mut ModelProto) -> &mut GraphProto {
    proto.graph.as_mut().expect("a graph")
}

#[test]
fn faults_are_named() {
    assert!(verify(&good()).is_ok());
    type Break = fn(&mut ModelProto);
    let rows: &[(&str, Break)] = &[
        ("no opset is declared", |p| p.opset_import.clear()),
        ("invalid version 0", |p| p.opset_import[0].version = None),
        ("in two versions", |p| {
            let other = OperatorSetIdProto { domain: Some("ai.onnx".into()), version: Some(9) };
            p.opset_import.push(other);
        }),
        ("of domain ext", |p| inner(p).node[0].domain = Some("ext".into())),
        ("has no operator", |p| inner(p).node[0].op_type = None),
        ("(Relu) read \"a\"", |p| inner(p).node[0].input[0] = "a".into()),
        ("(Relu) read \"y\"", |p| inner(p).node[0].input[0] = "y".into()),
        ("\"a\" is assigned twice", |p| inner(p).node[2].output[0] = "a".into()),
        ("\"x\" is assigned twice", |p| inner(p).node[0].output[0] = "x".into()),
        ("\"w\" is assigned twice", |p| {
            let again = inner(p).initializer[0].clone();
            inner(p).initializer.push(again);
        }),
        ("two inputs \"x\"", |p| {
            let again = inner(p).input[0].clone();
            inner(p).input.push(again);
        }),
        ("the graph's outputs read \"z\"", |p| inner(p).output[0].name = Some("z".into())),
        ("needs 16 bytes, the model has 12", |p| inner(p).initializer[0].dims = vec![4]),
        ("\"a\" is assigned twice", |p| {
            let branch = inner(p).node[1].attribute[1].g.as_mut().expect("a branch");
            branch.node[0].output[0] = "a".into();
        }),
        ("(Abs) read \"d\"", |p| {
            let branch = inner(p).node[1].attribute[1].g.as_mut().expect("a branch");
            branch.node[0].input[0] = "d".into();
        }),
        ("(Sum) read \"in\"", |p| inner(p).node[3].input[0] = "in".into()),
    ];
    for (phrase, break_it) in rows {
        let mut proto = good().proto().clone();
        break_it(&mut proto);
        let error = verify(&good().with_proto(proto)).expect_err(phrase);
        assert!(error.to_string().contains(phrase), "{phrase}: {error}");
    }
}

#[test]
fn appended_values_have_a_shape() {
    let base = testing::model(&[("x", &[3])], &[("Relu", &["x"], "y")], "y");
    let mut graph = Graph::new(&base, &Sizes::new()).expect("a graph");
    graph.push(node("Neg", &["y"], &["more/a"])).expect("a node");
    assert!(verify_graph(&graph).is_ok());
    let a = graph.value("more/a").expect("the value");
    assert_eq!(graph.fact(a), &Fact::new(DataType::Float, [Dim::Fixed(3)]));
    graph.push(node("NonZero", &["y"], &["more/b"])).expect("a node");
    graph.push(node("Strange", &["y"], &["more/c"])).expect("a node");
    let error = verify_graph(&graph).expect_err("an unknown shape");
    assert!(error.to_string().contains("\"more/"), "{error}");
    assert!(error.node().is_some());
    let part = |name: &str| graph.value(name).expect("a value");
    assert!(crate::prune::prune(&graph, &[part("more/b")]).is_err());
    assert!(crate::prune::prune(&graph, &[part("more/a")]).is_ok());
}
