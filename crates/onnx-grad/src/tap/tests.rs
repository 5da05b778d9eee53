//! Taps of small graphs.

use super::*;
use crate::{Sizes, testing, to_text};

fn graph(nodes: &[(&str, &[&str], &str)]) -> Graph {
    let model = testing::model(&[("x", &[2])], nodes, "y");
    Graph::new(&model, &Sizes::new()).expect("a graph")
}

fn made(graph: &Graph, names: &[&str]) -> Vec<NodeId> {
    let node = |name: &&str| graph.producer(graph.find(name).expect("a value")).expect("a node");
    names.iter().map(node).collect()
}

#[test]
fn only_the_nodes_read_the_taps() {
    // A residual block {b, y} with the input a; the skip connection outside {b} reads a directly.
    let graph = graph(&[("Relu", &["x"], "a"), ("Neg", &["a"], "b"), ("Add", &["a", "b"], "y")]);
    let (block, taps) = tap(&graph, &made(&graph, &["b", "y"]), "block").expect("a model");
    assert_eq!(taps, ["block/input_0"]);
    let text = to_text(&block);
    for line in ["Identity(a)", "Neg(block/input_0)", "Add(block/input_0, b)"] {
        assert!(text.contains(line), "{line} in\n{text}");
    }
    let (branch, _) = tap(&graph, &made(&graph, &["b"]), "b").expect("a model");
    let text = to_text(&branch);
    for line in ["Identity(a)", "Neg(b/input_0)", "Add(a, b)"] {
        assert!(text.contains(line), "{line} in\n{text}");
    }
}

#[test]
fn an_input_that_does_not_exist_when_the_nodes_begin_is_refused() {
    let graph = graph(&[("Relu", &["x"], "a"), ("Neg", &["a"], "b"), ("Relu", &["b"], "y")]);
    let error = tap(&graph, &made(&graph, &["a", "y"]), "relu").expect_err("called twice");
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.to_string().contains("called several times"), "{error}");
}
