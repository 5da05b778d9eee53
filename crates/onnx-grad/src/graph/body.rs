//! The facts of the outputs of Loop and Scan, from those of their bodies.

use std::collections::{HashMap, HashSet};

use super::{Graph, Origin};
use crate::{
    facts::{ConstantValue, Dim, Fact},
    inline::captured_names,
    proto::{GraphProto, NodeProto, TensorProto, tensor_proto::DataType},
};

/// The facts of the outputs of a Loop or Scan; `None` for other operators, and where the body does not match.
pub(super) fn facts(
    graph: &Graph,
    node: &NodeProto,
    inputs: &[Option<&Fact>],
) -> Option<Vec<Fact>> {
    match (node.op_domain(), node.op()) {
        ("", "Loop") => of_loop(graph, node, inputs),
        ("", "Scan") => of_scan(graph, node, inputs),
        _ => None,
    }
}

fn of_loop(graph: &Graph, node: &NodeProto, inputs: &[Option<&Fact>]) -> Option<Vec<Fact>> {
    let carried: Vec<Fact> = inputs.get(2..)?.iter().map(|fact| changing(*fact)).collect();
    let is_true = |fact: &Fact| fact.ints().is_some_and(|ints| ints == [1]);
    let begins = inputs[1].is_none_or(is_true);
    let condition = Fact {
        value: begins.then(|| ConstantValue::Ints(vec![Dim::Fixed(1)])),
        ..Fact::new(DataType::Bool, vec![])
    };
    let first = vec![Fact::new(DataType::Int64, vec![]), condition];
    let (outputs, carried) = settled(graph, node, first, carried, vec![])?;
    let most = inputs[0].and_then(|fact| fact.ints()).filter(|ints| ints.len() == 1);
    let ends = !begins || !outputs.first().is_some_and(is_true);
    let trips = most.and_then(|most| most.first().copied()).filter(|_| !ends);
    let count = carried.len();
    let stacked = outputs.into_iter().skip(1 + count);
    let stacked = stacked.map(|fact| with_axis(fact, 0, trips.map(Dim::Fixed)));
    Some(carried.into_iter().chain(stacked).collect())
}

fn of_scan(graph: &Graph, node: &NodeProto, inputs: &[Option<&Fact>]) -> Option<Vec<Fact>> {
    // In opset 8, the first input is a list of lengths, and the first axis the batch.
    let batched = graph.opset < 9;
    let inputs = inputs.get(usize::from(batched)..)?;
    let scanned = usize::try_from(node.attr_int("num_scan_inputs")?).ok()?;
    let states = inputs.len().checked_sub(scanned)?;
    let mut batch = None;
    let mut item = |fact: Option<&Fact>| {
        let mut fact = changing(fact);
        if batched {
            batch = removed(&mut fact, 0);
        }
        fact
    };
    let carried: Vec<Fact> = inputs[..states].iter().map(|fact| item(*fact)).collect();
    let mut trips = None;
    let mut elements = Vec::new();
    for (at, fact) in inputs[states..].iter().enumerate() {
        let mut fact = item(*fact);
        let axis = axis(node, "scan_input_axes", at, fact.rank());
        trips = axis.and_then(|axis| removed(&mut fact, axis)).or(trips);
        elements.push(fact);
    }
    let (outputs, carried) = settled(graph, node, vec![], carried, elements)?;
    let stacked = outputs.into_iter().skip(states).enumerate().map(|(at, fact)| {
        let axis = axis(node, "scan_output_axes", at, fact.rank().map(|rank| rank + 1));
        with_axis(fact, axis.unwrap_or_default(), trips)
    });
    let all = carried.into_iter().chain(stacked);
    Some(if batched { all.map(|fact| with_axis(fact, 0, batch)).collect() } else { all.collect() })
}

/// The facts of the body's outputs, and of the carried values: their shape is known where a trip keeps it.
fn settled(
    graph: &Graph,
    node: &NodeProto,
    first: Vec<Fact>,
    mut carried: Vec<Fact>,
    last: Vec<Fact>,
) -> Option<(Vec<Fact>, Vec<Fact>)> {
    let body = node.attr("body")?.g.as_ref()?;
    let behind = usize::from(!first.is_empty());
    for _ in 0..2 {
        let inputs = [first.as_slice(), &carried, &last].concat();
        let outputs = of_body(graph, node, body, inputs)?;
        let mut kept = true;
        for (before, after) in carried.iter_mut().zip(outputs.get(behind..)?) {
            if before.shape.is_some() && before.shape != after.shape {
                before.shape = None;
                kept = false;
            }
        }
        if kept {
            return Some((outputs, carried));
        }
    }
    None
}

/// The facts of a body's outputs from those of its inputs.
fn of_body(
    graph: &Graph,
    node: &NodeProto,
    body: &GraphProto,
    inputs: Vec<Fact>,
) -> Option<Vec<Fact>> {
    let mut inner = Graph {
        model: graph.model.clone(),
        body: GraphProto::default(),
        opset: graph.opset,
        values: Vec::new(),
        ids: HashMap::new(),
        nodes: Vec::new(),
        inputs: Vec::new(),
        outputs: Vec::new(),
        model_nodes: 0,
        model_initializers: 0,
        copies: HashMap::new(),
    };
    let mut captured = HashSet::new();
    captured_names(node, &mut captured);
    // A body may use a name of the graph for its own value.
    let inputs_of_body = body.input.iter().filter_map(|info| info.name.as_deref());
    let own = inputs_of_body.chain(body.initializer.iter().map(TensorProto::label));
    own.for_each(|name| {
        captured.remove(name);
    });
    for name in captured {
        if let Some(id) = graph.find(name) {
            inner.define(name.to_owned(), graph.fact(id).clone(), Origin::Input).ok()?;
        }
    }
    for tensor in &body.initializer {
        inner.push_initializer(tensor.clone()).ok()?;
    }
    for (info, fact) in body.input.iter().zip(inputs) {
        inner.define(info.name.clone()?, fact, Origin::Input).ok()?;
    }
    for node in &body.node {
        inner.push(node.clone()).ok()?;
    }
    let found = body.output.iter().map(|info| Some(inner.fact(inner.find(info.name.as_deref()?)?)));
    found.map(|fact| fact.cloned()).collect()
}

/// The fact of a value that each trip replaces.
fn changing(fact: Option<&Fact>) -> Fact {
    Fact { value: None, ..fact.cloned().unwrap_or_default() }
}

/// An axis from a list in standard notation, 0 where it is omitted.
fn axis(node: &NodeProto, name: &str, at: usize, rank: Option<usize>) -> Option<usize> {
    let axis = node.attr_ints(name).and_then(|axes| axes.get(at)).copied().unwrap_or_default();
    let rank = i64::try_from(rank?).ok()?;
    usize::try_from(if axis < 0 { axis + rank } else { axis }).ok()
}

/// Takes an axis away, and returns its size.
fn removed(fact: &mut Fact, axis: usize) -> Option<Dim> {
    let shape = fact.shape.as_mut().filter(|shape| axis < shape.len())?;
    Some(shape.remove(axis))
}

/// The fact with another axis; without a shape if the size is not known.
fn with_axis(fact: Fact, axis: usize, size: Option<Dim>) -> Fact {
    let shape = fact.shape.zip(size).map(|(mut shape, size)| {
        shape.insert(axis.min(shape.len()), size);
        shape
    });
    Fact { elem: fact.elem, shape, value: None }
}
