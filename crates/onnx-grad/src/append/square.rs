//! Products with square weights, written so that every engine computes them.
//!
//! A linear layer multiplies by W, its gradient by Wᵀ. OpenVINO (2024.6 to 2026.4, on processors) takes one of the two matrices
//! for both where they have the same shape, unless the weight is the first operand of one product. So
//! the gradient's a·W becomes (Wᵀ·aᵀ)ᵀ.

use std::collections::{HashMap, HashSet};

use crate::{
    attrs,
    graph::{Graph, Origin},
    proto::NodeProto,
};

/// Exchanges the operands of products with a square weight of the model, plain or transposed, and leaves out what is not
/// read any more.
pub(super) fn exchanged(graph: &Graph, nodes: Vec<NodeProto>, outputs: &[&str]) -> Vec<NodeProto> {
    let transposed: HashMap<&str, &str> = nodes
        .iter()
        .filter(|node| node.op() == "Transpose" && node.attr_ints("perm") == Some(&[1, 0]))
        .filter_map(|node| Some((node.output.first()?.as_str(), node.input.first()?.as_str())))
        .collect();
    let mut new = Vec::with_capacity(nodes.len());
    for node in &nodes {
        let ([a, weight], [y]) = (node.input.as_slice(), node.output.as_slice()) else {
            new.push(node.clone());
            continue;
        };
        let source = transposed.get(weight.as_str()).copied();
        let rank = graph.find(a).and_then(|a| graph.fact(a).rank()).unwrap_or(0);
        if node.op() != "MatMul" || rank < 2 || !is_square(graph, source.unwrap_or(weight)) {
            new.push(node.clone());
            continue;
        }
        let swapped = |rank: usize| -> Vec<i64> {
            let mut order: Vec<i64> = (0..).take(rank).collect();
            order.swap(rank - 2, rank - 1);
            order
        };
        let made = |op: &str, inputs: [&str; 2], output: String, rank: usize| NodeProto {
            input: inputs.into_iter().filter(|name| !name.is_empty()).map(str::to_owned).collect(),
            name: Some(output.clone()),
            output: vec![output],
            op_type: Some(op.to_owned()),
            attribute: match op {
                "Transpose" => vec![attrs::ints("perm", &swapped(rank))],
                _ => Vec::new(),
            },
            doc_string: node.doc_string.clone(),
            ..NodeProto::default()
        };
        let name = |part: &str| format!("{y}.{part}");
        let first = match source {
            Some(source) => source.to_owned(),
            None => {
                new.push(made("Transpose", [weight, ""], name("weight"), 2));
                name("weight")
            }
        };
        new.push(made("Transpose", [a, ""], name("operand"), rank));
        new.push(made("MatMul", [&first, &name("operand")], name("product"), rank));
        new.push(made("Transpose", [&name("product"), ""], y.clone(), rank));
    }
    without_unread(new, outputs)
}

/// Whether a value is a weight of the model, [K, K].
fn is_square(graph: &Graph, name: &str) -> bool {
    let Some(value) = graph.find(name).filter(|value| !graph.is_appended_value(*value)) else {
        return false;
    };
    let is_weight = matches!(graph.origin(value), Origin::Initializer(_));
    is_weight && matches!(graph.fact(value).sizes().as_deref(), Some([a, b]) if a == b)
}

fn without_unread(nodes: Vec<NodeProto>, outputs: &[&str]) -> Vec<NodeProto> {
    let mut read: HashSet<String> = outputs.iter().map(|name| (*name).to_owned()).collect();
    let mut kept: Vec<NodeProto> = Vec::with_capacity(nodes.len());
    for node in nodes.into_iter().rev() {
        if node.output.iter().any(|name| read.contains(name)) {
            read.extend(node.input.iter().cloned());
            kept.push(node);
        }
    }
    kept.reverse();
    kept
}
