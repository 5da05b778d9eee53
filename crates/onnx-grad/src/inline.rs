//! Inlines a model before the graph is built. Replaces calls of local functions, and the operators from ONNX
//! Runtime's optimizer and quantizer, by their bodies; replaces `Constant` nodes by initializers. [`NameTable::branch`]
//! replaces an `If` with a known condition by its branch, while the graph is built.
//!
//! Values of a body keep their names if these are unique; otherwise they become
//! `<name of the call>/<name in the body>`. Nodes get the same prefix (with a dot in bodies of operators) and inherit
//! the call's metadata, so that a node is traceable to its place in the model.

mod body;
mod constant;
mod contrib;
mod quantized;
mod writer;

use std::collections::{HashMap, HashSet};

use prost::Message;

pub(crate) use body::{Body, NameTable};
pub use contrib::MICROSOFT;
use writer::Constants;

use crate::{
    error::{Error, ErrorKind, Result, bail},
    model::Model,
    proto::{AttributeProto, FunctionProto, GraphProto, NodeProto, OperatorSetIdProto},
};

/// The maximum nesting of calls and subgraphs. Real models stay below 20.
const DEPTH_LIMIT: usize = 64;

/// The maximum size of all inlined bodies in bytes. Functions that call other functions twice grow exponentially in
/// the graph.
const SIZE_LIMIT: usize = 1 << 28;

/// Like [`SIZE_LIMIT`], in nodes; the largest image models have about ten thousand.
const NODE_LIMIT: usize = 1 << 16;

/// The model without calls of local functions and without `Constant` nodes.
///
/// # Errors
/// `InvalidModel` if a function calls itself or a call does not match its function, `Unsupported` if the opsets of a
/// function and the model differ, `TooLarge` if the calls expand beyond the limits.
pub(crate) fn inline(model: &Model) -> Result<Model> {
    let constant = |node: &NodeProto| constant::is_constant(node);
    let opset = model.opset();
    let initializers = model.graph().initializer.iter();
    let constants: Constants<'_> = initializers.map(|tensor| (tensor.label(), tensor)).collect();
    let written = |node: &NodeProto| contrib::function(node, opset, &constants).is_some();
    let calls = !model.proto().functions.is_empty() || model.graph().node.iter().any(written);
    if !calls && !model.graph().node.iter().any(constant) {
        return Ok(model.clone());
    }
    let mut proto = model.proto().clone();
    let functions = std::mem::take(&mut proto.functions);
    let Some(graph) = &mut proto.graph else { return Ok(model.clone()) };
    let outputs: HashSet<String> = graph.output.iter().filter_map(|o| o.name.clone()).collect();
    if calls {
        let mut inliner = Inliner::new(&functions, opset, &proto.opset_import, graph, &constants);
        inliner.graph(graph)?;
        if model.graph().node.iter().any(quantized::is_quantized) {
            quantized::share(&mut graph.node, &outputs, &mut inliner.names);
        }
        let Inliner { functions, imports, .. } = inliner;
        let own: HashSet<&str> = functions.keys().map(|key| key.0).collect();
        let mut used = HashSet::new();
        domains(&graph.node, &mut used);
        proto.opset_import = imports;
        proto.opset_import.retain(|import| {
            let domain = normal(import.domain.as_deref());
            domain.is_empty() || !own.contains(domain) || used.contains(domain)
        });
    }
    for node in std::mem::take(&mut graph.node) {
        // Some engines require that a node produces each output of the graph.
        let is_output = node.output.first().is_some_and(|name| outputs.contains(name));
        match constant::tensor(&node).filter(|_| !is_output) {
            Some(tensor) => graph.initializer.push(tensor),
            None => graph.node.push(node),
        }
    }
    Ok(model.with_proto(proto))
}

/// Whether a node is the operator Gradient, whose attributes name values of the graph around it.
pub(crate) fn is_gradient(node: &NodeProto) -> bool {
    node.op() == "Gradient" && node.op_domain() == "ai.onnx.preview.training"
}

/// The names that a node reads although they are none of its inputs: those that its subgraphs read, including names of
/// their own values, and those in the attributes of Gradient.
pub(crate) fn captured_names<'a>(node: &'a NodeProto, into: &mut HashSet<&'a str>) {
    if is_gradient(node) {
        let texts = node.attribute.iter().flat_map(|a| a.s.iter().chain(&a.strings));
        into.extend(texts.filter_map(|text| std::str::from_utf8(text).ok()));
    }
    for graph in subgraphs(node) {
        for inner in &graph.node {
            into.extend(inner.input.iter().map(String::as_str));
            captured_names(inner, into);
        }
        into.extend(graph.output.iter().filter_map(|o| o.name.as_deref()));
    }
}

/// The subgraphs of a node.
pub(crate) fn subgraphs(node: &NodeProto) -> impl Iterator<Item = &GraphProto> {
    node.attribute.iter().flat_map(|attribute| attribute.g.iter().chain(&attribute.graphs))
}

fn subgraphs_mut(node: &mut NodeProto) -> impl Iterator<Item = &mut GraphProto> {
    let attributes = node.attribute.iter_mut();
    attributes.flat_map(|attribute| attribute.g.iter_mut().chain(&mut attribute.graphs))
}

/// A domain, with the empty string for `ai.onnx`.
pub(crate) fn normal(domain: Option<&str>) -> &str {
    match domain.unwrap_or_default() {
        "ai.onnx" => "",
        domain => domain,
    }
}

/// The domains of nodes, including nodes in subgraphs.
fn domains<'a>(nodes: &'a [NodeProto], into: &mut HashSet<&'a str>) {
    for node in nodes {
        into.insert(node.op_domain());
        subgraphs(node).for_each(|graph| domains(&graph.node, into));
    }
}

fn count_nodes(nodes: &[NodeProto]) -> usize {
    let inner = |node| subgraphs(node).map(|graph| count_nodes(&graph.node)).sum::<usize>();
    nodes.len() + nodes.iter().map(inner).sum::<usize>()
}

/// Domain, name and overload of a function.
type FunctionKey<'a> = (&'a str, &'a str, &'a str);

struct Inliner<'m> {
    functions: HashMap<FunctionKey<'m>, &'m FunctionProto>,
    constants: &'m Constants<'m>,
    opset: i64,
    names: NameTable,
    imports: Vec<OperatorSetIdProto>,
    /// The functions that are being inlined, outermost first.
    active: Vec<String>,
    depth: usize,
    nodes: usize,
    bytes: usize,
}

impl<'m> Inliner<'m> {
    fn new(
        functions: &'m [FunctionProto],
        opset: i64,
        imports: &[OperatorSetIdProto],
        graph: &GraphProto,
        constants: &'m Constants<'m>,
    ) -> Self {
        let key = |f: &'m FunctionProto| -> FunctionKey<'m> {
            let text = |text: &'m Option<String>| text.as_deref().unwrap_or_default();
            (normal(f.domain.as_deref()), text(&f.name), text(&f.overload))
        };
        Self {
            functions: functions.iter().map(|f| (key(f), f)).collect(),
            constants,
            opset,
            names: NameTable::of(graph),
            imports: imports.to_vec(),
            active: Vec::new(),
            depth: 0,
            nodes: 0,
            bytes: 0,
        }
    }

    fn function(&self, node: &NodeProto) -> Option<&'m FunctionProto> {
        let overload = node.overload.as_deref().unwrap_or_default();
        self.functions.get(&(node.op_domain(), node.op(), overload)).copied()
    }

    fn graph(&mut self, graph: &mut GraphProto) -> Result<()> {
        let nodes = std::mem::take(&mut graph.node);
        self.deeper(|inliner| inliner.place(nodes, graph))
    }

    fn deeper(&mut self, run: impl FnOnce(&mut Self) -> Result<()>) -> Result<()> {
        if self.depth >= DEPTH_LIMIT {
            let outermost = self.active.first().map_or("", String::as_str);
            bail!(
                TooLarge,
                "calls and subgraphs are nested more than {DEPTH_LIMIT} deep, in function \
                 \"{outermost}\""
            );
        }
        self.depth += 1;
        let done = run(self);
        self.depth -= 1;
        done
    }

    fn place(&mut self, nodes: Vec<NodeProto>, into: &mut GraphProto) -> Result<()> {
        for mut node in nodes {
            let written = contrib::function(&node, self.opset, self.constants);
            let Some(function) = self.function(&node).or(written.as_ref()) else {
                subgraphs_mut(&mut node).try_for_each(|graph| self.graph(graph))?;
                into.node.push(node);
                continue;
            };
            let body = self.call(function, &node).map_err(|e| e.at_node(node.label()))?;
            into.value_info.extend(body.value_info);
            self.active.push(shown(function));
            self.deeper(|inliner| inliner.place(body.nodes, into))?;
            self.active.pop();
        }
        Ok(())
    }

    fn call(&mut self, function: &FunctionProto, node: &NodeProto) -> Result<Body> {
        let (name, label) = (shown(function), node.label());
        if self.active.contains(&name) {
            bail!(InvalidModel, "function \"{name}\" calls itself, at node \"{label}\"");
        }
        let (inputs, outputs) = (&node.input, &node.output);
        if inputs.len() > function.input.len() || outputs.len() > function.output.len() {
            bail!(
                InvalidModel,
                "node \"{label}\" calls function \"{name}\" with {} inputs and {} outputs; it has {} \
                 and {}",
                inputs.len(),
                outputs.len(),
                function.input.len(),
                function.output.len()
            );
        }
        self.import(function, &name)?;
        let count = count_nodes(&function.node);
        let size = function.encoded_len().saturating_add(count.saturating_mul(label.len()));
        self.nodes = self.nodes.saturating_add(count);
        self.bytes = self.bytes.saturating_add(size);
        if self.nodes > NODE_LIMIT || self.bytes > SIZE_LIMIT {
            bail!(
                TooLarge,
                "the calls of the model's functions expand to more than {NODE_LIMIT} nodes or \
                 {SIZE_LIMIT} bytes, at function \"{name}\""
            );
        }
        let mut map = HashMap::new();
        for (index, formal) in function.input.iter().enumerate() {
            map.insert(formal.clone(), inputs.get(index).cloned().unwrap_or_default());
        }
        let mut body = Body {
            nodes: function.node.clone(),
            initializers: Vec::new(),
            value_info: function.value_info.clone(),
        };
        if let Some((reader, free)) = body.free_name(&map) {
            bail!(
                InvalidModel,
                "node \"{reader}\" of function \"{name}\" reads \"{free}\", which the function does \
                 not define"
            );
        }
        body.rename(map, (&function.output, outputs), label, &mut |local| {
            Some(self.names.fresh(label, local))
        });
        // The definition of an operator is not a submodule of the operator's module.
        let separator = if self.function(node).is_some() { '/' } else { '.' };
        for inner in &mut body.nodes {
            bind_attributes(inner, function, node);
            let own = inner.name.as_deref().filter(|name| !name.is_empty());
            inner.name = Some(format!("{label}{separator}{}", own.unwrap_or(inner.op())));
            for entry in &node.metadata_props {
                if !inner.metadata_props.iter().any(|had| had.key == entry.key) {
                    inner.metadata_props.push(entry.clone());
                }
            }
        }
        Ok(body)
    }

    /// Imports the domains that a function needs.
    fn import(&mut self, function: &FunctionProto, name: &str) -> Result<()> {
        for import in &function.opset_import {
            let domain = normal(import.domain.as_deref());
            if !domain.is_empty() && self.functions.keys().any(|key| key.0 == domain) {
                continue;
            }
            let same = |had: &&OperatorSetIdProto| normal(had.domain.as_deref()) == domain;
            match self.imports.iter().find(same) {
                Some(had) if had.version == import.version => {}
                Some(had) => {
                    let domain = if domain.is_empty() { "ai.onnx" } else { domain };
                    let message = format!(
                        "function \"{name}\" uses opset {} of {domain}, the model uses {}; \
                         convert the model to one opset, or inline its functions with \
                         onnx.inliner.inline_local_functions(model, convert_version=True)",
                        import.version.unwrap_or_default(),
                        had.version.unwrap_or_default()
                    );
                    return Err(Error::new(ErrorKind::Unsupported, message));
                }
                None => self.imports.push(import.clone()),
            }
        }
        Ok(())
    }
}

/// The name of a function in messages.
fn shown(function: &FunctionProto) -> String {
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let overload = match text(&function.overload) {
        overload if overload.is_empty() => overload,
        overload => format!(":{overload}"),
    };
    format!("{}.{}{overload}", text(&function.domain), text(&function.name))
}

/// Replaces references to the function's attributes by those of the call or by their defaults. As in the standard, an
/// attribute with neither is omitted.
fn bind_attributes(node: &mut NodeProto, function: &FunctionProto, call: &NodeProto) {
    for attribute in std::mem::take(&mut node.attribute) {
        let Some(wanted) = attribute.ref_attr_name.as_deref().filter(|name| !name.is_empty())
        else {
            node.attribute.push(attribute);
            continue;
        };
        let named = |a: &&AttributeProto| a.name.as_deref() == Some(wanted);
        let default = || function.attribute_proto.iter().find(named);
        if let Some(given) = call.attribute.iter().find(named).or_else(default) {
            node.attribute.push(AttributeProto { name: attribute.name, ..given.clone() });
        }
    }
    let own = node.attribute.iter_mut().flat_map(|a| a.g.iter_mut().chain(&mut a.graphs));
    for inner in own.flat_map(|graph| &mut graph.node) {
        bind_attributes(inner, function, call);
    }
}

#[cfg(test)]
mod tests;
