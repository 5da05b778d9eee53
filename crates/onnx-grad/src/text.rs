//! A model as text, one node a line, for snapshots and for people.

use std::{collections::HashMap, fmt::Write};

use crate::{
    attrs,
    facts::{DeclaredDim, Fact, Value, declared},
    model::Model,
    proto::{TensorProto, ValueInfoProto, tensor_proto::DataType},
};

/// Constants of at most this many elements are shown with their numbers.
const SHOWN: usize = 8;

/// The main graph of a model as text: inputs, constants, nodes in order, outputs.
///
/// The same model gives the same text.
pub fn to_text(model: &Model) -> String {
    let graph = model.graph();
    let types: HashMap<&str, String> = graph
        .value_info
        .iter()
        .chain(&graph.output)
        .chain(&graph.input)
        .filter_map(|info| Some((info.name.as_deref()?, type_of(info)?)))
        .collect();
    let typed = |name: &str| match types.get(name) {
        Some(shown) => format!("{name}: {shown}"),
        None => name.to_owned(),
    };
    let mut text = String::new();
    let mut line = |content: String| {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{content}");
    };
    for import in &model.proto().opset_import {
        let domain = import.domain.as_deref().filter(|d| !d.is_empty()).unwrap_or("ai.onnx");
        line(format!("opset {domain} {}", import.version.unwrap_or(1)));
    }
    for input in &graph.input {
        line(format!("input {}", typed(input.name.as_deref().unwrap_or_default())));
    }
    for tensor in &graph.initializer {
        line(format!("const {}", constant(tensor)));
    }
    for node in &graph.node {
        let outputs: Vec<String> = node.output.iter().map(|name| typed(name)).collect();
        let domain = match node.op_domain() {
            "" => String::new(),
            domain => format!("{domain}."),
        };
        let attributes: Vec<String> = node
            .attribute
            .iter()
            .map(|a| format!("{}={}", a.name.as_deref().unwrap_or_default(), attrs::show(a)))
            .collect();
        let attributes = match attributes.as_slice() {
            [] => String::new(),
            some => format!(" {{{}}}", some.join(", ")),
        };
        let inputs: Vec<&str> =
            node.input.iter().map(|name| if name.is_empty() { "_" } else { name }).collect();
        line(format!(
            "{} = {domain}{}({}){attributes}",
            outputs.join(", "),
            node.op(),
            inputs.join(", ")
        ));
    }
    for output in &graph.output {
        line(format!("output {}", output.name.as_deref().unwrap_or_default()));
    }
    text
}

fn type_of(info: &ValueInfoProto) -> Option<String> {
    let (elem, dims) = declared(info)?;
    let dims = dims?.into_iter().map(|dim| match dim {
        DeclaredDim::Size(size) => size.to_string(),
        DeclaredDim::Name(name) => name,
        DeclaredDim::Unknown => "?".to_owned(),
    });
    Some(format!("{}[{}]", name_of(elem), dims.collect::<Vec<_>>().join(",")))
}

fn name_of(elem: DataType) -> String {
    elem.as_str_name().to_ascii_lowercase()
}

fn constant(tensor: &TensorProto) -> String {
    let dims: Vec<String> = tensor.dims.iter().map(i64::to_string).collect();
    let head = format!("{}: {}[{}]", tensor.label(), name_of(tensor.elem()), dims.join(","));
    let numbers = match Fact::of_tensor(tensor).value {
        Some(Value::Ints(ints)) if ints.len() <= SHOWN => {
            ints.iter().map(ToString::to_string).collect::<Vec<_>>()
        }
        Some(Value::Floats(floats)) if floats.len() <= SHOWN => {
            floats.iter().map(ToString::to_string).collect()
        }
        _ => return head,
    };
    format!("{head} = {}", numbers.join(", "))
}

#[cfg(test)]
mod tests {
    use crate::{Options, gradient, testing, to_text};

    #[test]
    fn a_small_gradient_reads_as_it_should() {
        let model = testing::model(&[("x", &[2, 3])], &[("Relu", &["x"], "y")], "y");
        let model = gradient(&model, "y", &["x"], &Options::default()).expect("a gradient");
        let want = "\
opset ai.onnx 17
input x: float[2,3]
const grad/y/constant_3: float[] = 0
y: float[2,3] = Relu(x)
grad/y/Greater_4: bool[2,3] = Greater(y, grad/y/constant_3)
grad/y/Cast_5: float[2,3] = Cast(grad/y/Greater_4) {to=1}
x.grad: float[2,3] = Identity(grad/y/Cast_5)
output y
output x.grad
";
        assert_eq!(to_text(&model), want);
    }
}
