//! Verifies the rules of the standard on which the passes rely: values are assigned once and before they are read,
//! tensors match their shapes, opsets are declared. Nodes appended to a graph must also have known types and shapes.
//!
//! Debug builds verify the result of every pass.

use std::collections::{HashMap, HashSet};

use crate::{
    error::{Error, ErrorKind, Result, bail},
    graph::{Graph, Origin, ValueId},
    inline::normal,
    model::Model,
    proto::{GraphProto, NodeProto, OperatorSetIdProto, TensorProto, tensor_proto::DataType},
};

/// Checks a model.
///
/// # Errors
/// `InvalidModel` with the first fault.
pub fn verify(model: &Model) -> Result<()> {
    let proto = model.proto();
    let imports = imported(&proto.opset_import, "the model")?;
    let mut functions = HashSet::new();
    for function in &proto.functions {
        let name = function.name.as_deref().unwrap_or_default();
        let key = (normal(function.domain.as_deref()), name, function.overload.as_deref());
        if !functions.insert(key) {
            bail!(InvalidModel, "function \"{name}\" is defined twice");
        }
        let imports = imported(&function.opset_import, &format!("function \"{name}\""))?;
        let mut scope = Scope { model, imports: &imports, defined: vec![HashSet::new()] };
        for input in &function.input {
            scope.define(input, "input")?;
        }
        scope.nodes(&function.node)?;
        for output in &function.output {
            scope.read(output, &format!("the output of function \"{name}\""))?;
        }
    }
    let mut scope = Scope { model, imports: &imports, defined: Vec::new() };
    scope.graph(model.graph())
}

/// Checks that the side tables of a graph match its nodes, and that appended nodes have known types and shapes.
///
/// # Errors
/// `InvalidModel` with the first fault.
pub fn verify_graph(graph: &Graph) -> Result<()> {
    for (id, node) in graph.nodes() {
        let label = node.label();
        let (inputs, outputs) = (graph.node_inputs(id), graph.node_outputs(id));
        if inputs.len() != node.input.len() || outputs.len() != node.output.len() {
            bail!(InvalidModel, "the tables of node \"{label}\" differ in arity from the node");
        }
        let named = node.input.iter().zip(inputs).chain(node.output.iter().zip(outputs));
        for (name, value) in named {
            if *name != value.map_or("", |value| graph.name(value)) {
                bail!(InvalidModel, "the tables of node \"{label}\" lack its value \"{name}\"");
            }
        }
        for input in graph.node_reads(id) {
            let name = graph.name(input);
            if graph.producer(input).is_some_and(|producer| producer >= id) {
                bail!(InvalidModel, "node \"{label}\" reads \"{name}\" before it is produced");
            }
            if !graph.consumers(input).contains(&id) {
                bail!(InvalidModel, "\"{name}\" does not list its reader \"{label}\"");
            }
        }
        for &output in outputs.iter().flatten() {
            let name = graph.name(output);
            if graph.origin(output) != Origin::Node(id) || graph.find(name) != Some(output) {
                bail!(InvalidModel, "\"{name}\" has another producer than \"{label}\"");
            }
        }
    }
    verify_appended(graph, &|_| true)
}

/// Checks that the outputs of appended nodes within a part have known types and shapes.
///
/// # Errors
/// `InvalidModel` with the first untyped value.
pub(crate) fn verify_appended(graph: &Graph, is_part: &dyn Fn(ValueId) -> bool) -> Result<()> {
    for (id, node) in graph.nodes().filter(|(id, _)| graph.is_appended(*id)) {
        let mut outputs = graph.node_outputs(id).iter().copied().flatten();
        let unknown = outputs.find(|&output| {
            let fact = graph.fact(output);
            is_part(output) && (fact.elem == DataType::Undefined || fact.shape.is_none())
        });
        if let Some(value) = unknown {
            let (name, label, op) = (graph.name(value), node.label(), node.op());
            let message =
                format!("type or shape of \"{name}\", from node \"{label}\" ({op}), is unknown");
            return Err(Error::new(ErrorKind::InvalidModel, message).at_node(label));
        }
    }
    Ok(())
}

/// The versions by domain.
fn imported<'m>(imports: &'m [OperatorSetIdProto], of: &str) -> Result<HashMap<&'m str, i64>> {
    let mut versions = HashMap::new();
    for import in imports {
        let domain = normal(import.domain.as_deref());
        let version = import.version.unwrap_or_default();
        if version < 1 {
            bail!(InvalidModel, "{of} imports \"{domain}\" in the invalid version {version}");
        }
        if versions.insert(domain, version).is_some_and(|had| had != version) {
            bail!(InvalidModel, "{of} imports \"{domain}\" in two versions");
        }
    }
    Ok(versions)
}

/// The defined names, outermost graph first.
struct Scope<'m> {
    model: &'m Model,
    imports: &'m HashMap<&'m str, i64>,
    defined: Vec<HashSet<&'m str>>,
}

impl<'m> Scope<'m> {
    fn graph(&mut self, graph: &'m GraphProto) -> Result<()> {
        self.defined.push(HashSet::new());
        for tensor in &graph.initializer {
            self.define(tensor.label(), "initializer")?;
            fits(self.model, tensor)?;
        }
        for sparse in &graph.sparse_initializer {
            let label = sparse.values.as_ref().map_or("", TensorProto::label);
            self.define(label, "sparse initializer")?;
        }
        let mut inputs = HashSet::new();
        for input in &graph.input {
            let name = input.name.as_deref().unwrap_or_default();
            if !inputs.insert(name) {
                bail!(InvalidModel, "the graph has two inputs \"{name}\"");
            }
            // An initializer with the same name is the input's default.
            if !self.is_defined_here(name) {
                self.define(name, "input")?;
            }
        }
        self.nodes(&graph.node)?;
        for output in &graph.output {
            self.read(output.name.as_deref().unwrap_or_default(), "the graph's outputs")?;
        }
        self.defined.pop();
        Ok(())
    }

    fn nodes(&mut self, nodes: &'m [NodeProto]) -> Result<()> {
        for node in nodes {
            let (label, op) = (node.label(), node.op());
            let at = |e: Error| e.at_node(label);
            if op.is_empty() {
                bail!(InvalidModel, "node \"{label}\" has no operator");
            }
            let domain = node.op_domain();
            if !self.imports.contains_key(domain) {
                let domain = if domain.is_empty() { "ai.onnx" } else { domain };
                let message = format!(
                    "node \"{label}\" ({op}) is of domain {domain}, for which no opset is declared"
                );
                return Err(at(Error::new(ErrorKind::InvalidModel, message)));
            }
            for input in node.input.iter().filter(|name| !name.is_empty()) {
                self.read(input, &format!("node \"{label}\" ({op})")).map_err(at)?;
            }
            for graph in node.attribute.iter().flat_map(|a| a.g.iter().chain(&a.graphs)) {
                self.graph(graph).map_err(at)?;
            }
            for tensor in node.attribute.iter().flat_map(|a| a.t.iter().chain(&a.tensors)) {
                fits(self.model, tensor).map_err(at)?;
            }
            for output in node.output.iter().filter(|name| !name.is_empty()) {
                self.define(output, "output").map_err(at)?;
            }
        }
        Ok(())
    }

    fn is_defined_here(&self, name: &str) -> bool {
        self.defined.last().is_some_and(|names| names.contains(name))
    }

    fn define(&mut self, name: &'m str, what: &str) -> Result<()> {
        if name.is_empty() {
            bail!(InvalidModel, "an {what} has no name");
        }
        if self.defined.iter().any(|names| names.contains(name)) {
            bail!(InvalidModel, "the value \"{name}\" is assigned twice");
        }
        if let Some(names) = self.defined.last_mut() {
            names.insert(name);
        }
        Ok(())
    }

    fn read(&self, name: &str, reader: &str) -> Result<()> {
        if !self.defined.iter().any(|names| names.contains(name)) {
            bail!(InvalidModel, "{reader} read \"{name}\", which is not defined before");
        }
        Ok(())
    }
}

/// Checks that the bytes of a tensor match its shape.
fn fits(model: &Model, tensor: &TensorProto) -> Result<()> {
    let Some(expected) = crate::tensor::byte_len(tensor)? else { return Ok(()) };
    let len = match model.weight_of(tensor) {
        Some(weight) => weight.len(),
        None if tensor.is_external() => 0,
        None => crate::tensor::to_bytes(tensor)?.len(),
    };
    // Int32 entries can hold one or two elements of a four-bit type.
    let packed = tensor.elem().bits() < 8 && tensor.raw_data.is_none();
    if len != expected && !(packed && len > expected) {
        let (name, dims) = (tensor.label(), &tensor.dims);
        bail!(
            InvalidModel,
            "tensor \"{name}\" of shape {dims:?} needs {expected} bytes, the model has {len}"
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests;
