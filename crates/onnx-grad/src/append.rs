//! A model with what was appended to its graph. The model's own nodes, tensors and outputs stay as they are in the file.

mod square;

use std::collections::HashSet;

use crate::{
    error::Result,
    facts::{DeclaredDim, Dim, Fact, declared},
    graph::{Graph, NodeId, ValueId, declare},
    model::Model,
    proto::{
        GraphProto, NodeProto, TensorProto, ValueInfoProto,
        tensor_shape_proto::{Dimension, dimension},
        type_proto,
    },
    prune::as_tensor,
};

/// The model of a graph with the appended nodes that compute `outputs`. These follow the model's own outputs.
///
/// `original` is the model that the graph was made of. Its message is kept: its nodes, tensors and declarations in their order. Only where an appended node reads a value
/// inside a function of the model are the model's functions inlined. Appended nodes whose result is known are constants, and
/// the doc string of a node that belongs to a gradient names the node that it differentiates. Sizes that were bound when the
/// graph was made are declared on its inputs; an open batch keeps its name.
///
/// # Errors
/// In debug builds, `InvalidModel` if the result breaks the standard.
pub fn append(graph: &Graph, original: &Model, outputs: &[ValueId]) -> Result<Model> {
    let folded = |value: ValueId| {
        !outputs.contains(&value)
            && graph.producer(value).is_some_and(|node| graph.is_appended(node))
            && as_tensor(graph.name(value), graph.fact(value)).is_some()
    };
    let needed = graph.upstream(outputs.iter().copied(), |value| {
        graph.is_appended_value(value) && !folded(value)
    });
    let mut read = needed.iter().filter(|value| !graph.is_appended_value(**value));
    let known = defined(original.graph());
    let own_inputs: HashSet<&str> = original.graph().input.iter().map(|info| info.name()).collect();
    let is_input = |value: &ValueId| graph.inputs().contains(value);
    let mut proto = original.proto().clone();
    let mut base = original.graph().clone();
    if read.any(|value| !is_input(value) && !known.contains(graph.name(*value))) {
        proto = graph.model().proto().clone();
        base = graph.own_body();
    }
    let used = graph.upstream(graph.outputs().iter().chain(outputs).copied(), |_| true);
    let symbol = bind_inputs(graph, &used, &mut base);
    let mut values: Vec<ValueId> = needed.iter().copied().collect();
    values.sort_unstable();
    for value in values {
        let name = graph.name(value);
        if is_input(&value) && !own_inputs.contains(name) {
            base.input.push(declare_in(name, graph.fact(value), &symbol));
        } else if folded(value) {
            base.initializer.extend(as_tensor(name, graph.fact(value)));
        } else if graph.is_appended_value(value) {
            base.initializer.extend(graph.initializer(value).cloned());
        }
    }
    let mut nodes = Vec::new();
    for (id, node) in graph.nodes().filter(|(id, _)| graph.is_appended(*id)) {
        let mut made = graph.node_outputs(id).iter().flatten();
        if made.any(|value| needed.contains(value) && !folded(*value)) {
            nodes.push(NodeProto { doc_string: said(graph, id), ..node.clone() });
        }
    }
    let names: Vec<&str> = outputs.iter().map(|id| graph.name(*id)).collect();
    base.node.extend(square::exchanged(graph, nodes, &names));
    let declared = outputs.iter().map(|id| declare_in(graph.name(*id), graph.fact(*id), &symbol));
    base.output.extend(declared);
    // Before IR version 4, the inputs had to include each initializer; since then, one that does is no constant.
    if proto.ir_version < Some(4) {
        proto.ir_version = Some(4);
        let constants: HashSet<&str> = base.initializer.iter().map(TensorProto::label).collect();
        base.input.retain(|info| !constants.contains(info.name()));
    }
    proto.graph = Some(base);
    let appended = original.with_proto(proto);
    if cfg!(debug_assertions) {
        crate::verify::verify(&appended)?;
        crate::verify::verify_appended(graph, &|id| needed.contains(&id) && !folded(id))?;
    }
    Ok(appended)
}

/// What an appended node is for, where it belongs to a gradient: the node of the model that it differentiates. The nodes of a
/// gradient can be differentiated again, and those of a target are no nodes of the model.
fn said(graph: &Graph, id: NodeId) -> Option<String> {
    let mut source = graph.source(id)?;
    while graph.is_appended(source) {
        let Some(next) = graph.source(source) else {
            return Some("gradient of the target".to_owned());
        };
        source = next;
    }
    let of = graph.node(source);
    Some(format!("gradient of {} ({})", of.label(), of.op()))
}

/// The names that a graph defines, those of its subgraphs left out.
fn defined(body: &GraphProto) -> HashSet<&str> {
    let inputs = body.input.iter().map(|info| info.name());
    let constants = body.initializer.iter().map(TensorProto::label);
    let made = body.node.iter().flat_map(|node| &node.output).map(String::as_str);
    inputs.chain(constants).chain(made).collect()
}

/// Declares the sizes that are bound on the inputs that `used` holds, and gives the name of the open batch.
fn bind_inputs(graph: &Graph, used: &HashSet<ValueId>, body: &mut GraphProto) -> String {
    let mut symbol = None;
    let used = |name: &str| {
        graph.find(name).filter(|value| graph.inputs().contains(value) && used.contains(value))
    };
    for info in &mut body.input {
        let Some(shape) = used(info.name()).and_then(|value| graph.fact(value).shape.clone())
        else {
            continue;
        };
        let Some((elem, dims)) = declared(info) else { continue };
        let dims = dims.unwrap_or(vec![DeclaredDim::Unknown; shape.len()]);
        let dim = |(dim, bound): (&DeclaredDim, &Dim)| match (dim, bound) {
            (DeclaredDim::Name(name), Dim::Batch(1)) => {
                symbol.get_or_insert_with(|| name.clone());
                Some(name.clone())
            }
            _ => None,
        };
        let names: Vec<Option<String>> = dims.iter().zip(&shape).map(dim).collect();
        let bound = declare(info.name(), &Fact::new(elem, shape));
        info.r#type = bound.r#type;
        for (dim, name) in dims_of(info).into_iter().flatten().zip(names) {
            if let Some(name) = name {
                dim.value = Some(dimension::Value::DimParam(name));
            }
        }
    }
    symbol.unwrap_or_else(|| Dim::Batch(1).to_string())
}

/// The message that declares a value, with the name that the model has for its open batch.
fn declare_in(name: &str, fact: &Fact, symbol: &str) -> ValueInfoProto {
    let mut info = declare(name, fact);
    let open = Dim::Batch(1).to_string();
    for dim in dims_of(&mut info).into_iter().flatten() {
        if let Some(dimension::Value::DimParam(param)) = &mut dim.value
            && *param == open
        {
            symbol.clone_into(param);
        }
    }
    info
}

fn dims_of(info: &mut ValueInfoProto) -> Option<&mut Vec<Dimension>> {
    match info.r#type.as_mut()?.value.as_mut()? {
        type_proto::Value::TensorType(tensor) => Some(&mut tensor.shape.as_mut()?.dim),
        _ => None,
    }
}
