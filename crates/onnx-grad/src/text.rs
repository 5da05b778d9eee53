//! Formats a model as text, one value per line, for users and snapshots.

use std::{
    collections::HashMap,
    fmt::{self, Display, Write},
};

use crate::{
    facts::{self, ConstantValue, DeclaredDim, Fact},
    graph::{Graph, Origin, ValueId, declare},
    inline::normal,
    model::Model,
    proto::{
        AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto,
        tensor_proto::DataType,
    },
};

/// The maximum number of elements of a constant whose numbers are shown.
const SHOWN_ELEMENTS: usize = 8;

/// Formats a model: header, inputs, initializers, nodes with their declared types and shapes,
/// outputs, functions. The text is deterministic.
///
/// ```text
/// ir_version 8, opset 17, producer pytorch 2.1
///
/// graph main
/// input x: float[N,3,224,224]
/// const w: float[64,3,7,7]
/// y: float[N,64,112,112] = Conv(x, w) {strides=[2, 2]}
/// output y: float[N,64,112,112]
/// ```
pub fn to_text(model: &Model) -> String {
    Listing { proto: model.proto(), graph: model.graph() }.to_string()
}

impl Display for Graph {
    /// Like [`to_text`], with shapes from the caller.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let info = |id: ValueId| declare(self.name(id), self.fact(id));
        let produced = self.values().filter(|id| matches!(self.origin(*id), Origin::Node(_)));
        let graph = GraphProto {
            input: self.inputs().iter().copied().map(info).collect(),
            output: self.outputs().iter().copied().map(info).collect(),
            value_info: produced.map(info).collect(),
            ..self.body().clone()
        };
        Listing { proto: self.model().proto(), graph: &graph }.fmt(f)
    }
}

struct Listing<'a> {
    proto: &'a ModelProto,
    graph: &'a GraphProto,
}

impl Display for Listing<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ir_version {}", self.proto.ir_version.unwrap_or_default())?;
        for import in &self.proto.opset_import {
            let domain = match normal(import.domain.as_deref()) {
                "" => String::new(),
                domain => format!(" of {}", name(domain)),
            };
            write!(f, ", opset {}{domain}", import.version.unwrap_or_default())?;
        }
        if let Some(producer) = self.proto.producer_name.as_deref().filter(|p| !p.is_empty()) {
            let version = self.proto.producer_version.as_deref().unwrap_or_default();
            write!(f, ", producer {}", name(format!("{producer} {version}").trim_end()))?;
        }
        writeln!(f, "\n\ngraph {}", name(self.graph.name.as_deref().unwrap_or_default()))?;
        graph(f, self.graph, "")?;
        for function in &self.proto.functions {
            let text = |text: &Option<String>| name(text.as_deref().unwrap_or_default());
            let (domain, title) = (text(&function.domain), text(&function.name));
            let names = |names: &[String]| join(names.iter().map(|n| name(n)));
            let (inputs, outputs) = (names(&function.input), names(&function.output));
            writeln!(f, "\nfunction {domain}.{title}({inputs}) -> ({outputs})")?;
            nodes(f, &function.node, &types(&function.value_info), "")?;
        }
        Ok(())
    }
}

/// Types by value name.
type Types<'a> = HashMap<&'a str, String>;

fn types<'a>(infos: impl IntoIterator<Item = &'a ValueInfoProto>) -> Types<'a> {
    let infos = infos.into_iter();
    infos.filter_map(|info| Some((info.name.as_deref()?, type_of(info)?))).collect()
}

fn graph(f: &mut fmt::Formatter<'_>, graph: &GraphProto, indent: &str) -> fmt::Result {
    for input in &graph.input {
        writeln!(f, "{indent}input {}", declaration(input))?;
    }
    for tensor in &graph.initializer {
        writeln!(f, "{indent}const {}: {}", name(tensor.label()), tensor_text(tensor))?;
    }
    for sparse in &graph.sparse_initializer {
        let (label, elem) =
            sparse.values.as_ref().map_or(("", DataType::Undefined), |v| (v.label(), v.elem()));
        let dims = join_tight(sparse.dims.iter());
        writeln!(f, "{indent}const {}: sparse {}[{dims}]", name(label), elem_name(elem))?;
    }
    nodes(f, &graph.node, &types(graph.value_info.iter().chain(&graph.output)), indent)?;
    for output in &graph.output {
        writeln!(f, "{indent}output {}", declaration(output))?;
    }
    Ok(())
}

fn nodes(
    f: &mut fmt::Formatter<'_>,
    nodes: &[NodeProto],
    types: &Types<'_>,
    indent: &str,
) -> fmt::Result {
    for node in nodes {
        let output = |output: &String| match (output.as_str(), types.get(output.as_str())) {
            ("", _) => "_".to_owned(),
            (output, Some(known)) => format!("{}: {known}", name(output)),
            (output, None) => name(output),
        };
        let domain = match node.op_domain() {
            "" => String::new(),
            domain => format!("{}.", name(domain)),
        };
        let input = |input: &String| if input.is_empty() { "_".to_owned() } else { name(input) };
        let (outputs, inputs) =
            (join(node.output.iter().map(output)), join(node.input.iter().map(input)));
        write!(f, "{indent}{outputs} = {domain}{}({inputs})", name(node.op()))?;
        let plain = node.attribute.iter().filter(|a| a.g.is_none() && a.graphs.is_empty());
        let plain: Vec<String> = plain.map(attribute).collect();
        if !plain.is_empty() {
            write!(f, " {{{}}}", plain.join(", "))?;
        }
        let label = node.name.as_deref().unwrap_or_default();
        if !label.is_empty() && Some(label) != node.output.first().map(String::as_str) {
            write!(f, " # {}", name(label))?;
        }
        writeln!(f)?;
        for attribute in &node.attribute {
            for inner in attribute.g.iter().chain(&attribute.graphs) {
                writeln!(f, "{indent}  {}:", name(attribute.name.as_deref().unwrap_or_default()))?;
                graph(f, inner, &format!("{indent}    "))?;
            }
        }
    }
    Ok(())
}

fn attribute(attribute: &AttributeProto) -> String {
    let label = name(attribute.name.as_deref().unwrap_or_default());
    if let Some(reference) = attribute.ref_attr_name.as_deref().filter(|r| !r.is_empty()) {
        return format!("{label}=@{}", name(reference));
    }
    let value = match (&attribute.t, attribute.tensors.as_slice(), attribute.strings.as_slice()) {
        (Some(tensor), ..) => tensor_text(tensor),
        (None, [], []) => crate::attrs::show(attribute),
        (None, [], strings) => format!("{:?}", strings.iter().map(|s| text(s)).collect::<Vec<_>>()),
        (None, tensors, _) => format!("[{}]", join(tensors.iter().map(tensor_text))),
    };
    format!("{label}={value}")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The type, the shape and, if they are few, the numbers of a tensor.
fn tensor_text(tensor: &TensorProto) -> String {
    let elem = tensor.elem();
    let mut shown = format!("{}[{}]", elem_name(elem), join_tight(tensor.dims.iter()));
    let fact = Fact::of_tensor(tensor);
    if fact.count().is_none_or(|count| count > SHOWN_ELEMENTS) {
        return shown;
    }
    let values = match &fact.value {
        Some(ConstantValue::Ints(ints)) if elem == DataType::Bool => {
            join(ints.iter().map(|n| (n.fixed() != Some(0)).to_string()))
        }
        Some(ConstantValue::Ints(ints)) => join(ints.iter().map(ToString::to_string)),
        #[expect(clippy::cast_possible_truncation, reason = "the numbers are float32 or shorter")]
        Some(ConstantValue::Floats(floats)) if elem != DataType::Double => {
            join(floats.iter().map(|&n| format!("{:?}", n as f32)))
        }
        Some(ConstantValue::Floats(floats)) => join(floats.iter().map(|n| format!("{n:?}"))),
        None if elem == DataType::String => {
            join(tensor.string_data.iter().map(|s| format!("{:?}", text(s))))
        }
        None => return shown,
    };
    // Writing to a string cannot fail.
    let _ = write!(shown, " = {{{values}}}");
    shown
}

fn declaration(info: &ValueInfoProto) -> String {
    let label = name(info.name.as_deref().unwrap_or_default());
    match type_of(info) {
        Some(known) => format!("{label}: {known}"),
        None => label,
    }
}

fn type_of(info: &ValueInfoProto) -> Option<String> {
    let (elem, dims) = facts::declared(info)?;
    let dims = dims.map(|dims| {
        let dim = |dim: &DeclaredDim| match dim {
            DeclaredDim::Size(size) => size.to_string(),
            DeclaredDim::Name(symbol) => name(symbol),
            DeclaredDim::Unknown => "?".to_owned(),
        };
        format!("[{}]", join_tight(dims.iter().map(dim)))
    });
    match (elem, dims) {
        (DataType::Undefined, None) => None,
        (elem, dims) => Some(format!("{}{}", elem_name(elem), dims.unwrap_or_default())),
    }
}

fn elem_name(elem: DataType) -> String {
    match elem {
        DataType::Undefined => "?".to_owned(),
        elem => elem.as_str_name().to_lowercase(),
    }
}

/// A name without control characters, which could affect a terminal.
fn name(name: &str) -> String {
    match name.contains(char::is_control) {
        true => name.escape_debug().to_string(),
        false => name.to_owned(),
    }
}

fn join(parts: impl Iterator<Item = String>) -> String {
    parts.collect::<Vec<_>>().join(", ")
}

fn join_tight(parts: impl Iterator<Item = impl Display>) -> String {
    parts.map(|part| part.to_string()).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests;
