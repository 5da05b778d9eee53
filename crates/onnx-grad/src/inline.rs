//! The one rewriting that happens before anything else: calls of local functions are replaced by
//! their bodies, `If` with a constant condition by the branch it takes, `Constant` by an initializer.
//!
//! Nodes that come out of a call are named `<call>/<node>`, and so are the values inside.

use std::collections::{HashMap, HashSet};

use crate::{
    error::{Result, bail},
    model::Model,
    proto::{
        AttributeProto, FunctionProto, GraphProto, NodeProto, TensorProto, tensor_proto::DataType,
    },
};

/// How deep functions may call functions; deeper is a recursion.
const DEPTH: usize = 32;
/// How many nodes a model may grow to.
const NODES: usize = 1 << 20;

/// The model without calls, constant branches and `Constant` nodes.
///
/// # Errors
/// `InvalidModel` where functions call each other in a circle or need another opset than the model.
pub(crate) fn inline(model: &Model) -> Result<Model> {
    let nodes = &model.graph().node;
    let rewritten = |node: &NodeProto| matches!(node.op(), "Constant" | "If");
    if model.proto().functions.is_empty() && !nodes.iter().any(rewritten) {
        return Ok(model.clone());
    }
    let mut proto = model.proto().clone();
    let functions = std::mem::take(&mut proto.functions);
    let Some(graph) = proto.graph.as_mut() else { return Ok(model.clone()) };
    let mut inliner = Inliner {
        model,
        functions: functions
            .iter()
            .map(|f| (key(f.domain.as_deref(), f.name.as_deref()), f))
            .collect(),
        initializers: std::mem::take(&mut graph.initializer),
        nodes: Vec::with_capacity(graph.node.len()),
    };
    for node in std::mem::take(&mut graph.node) {
        inliner.node(node, 0)?;
    }
    graph.node = inliner.nodes;
    graph.initializer = inliner.initializers;
    Ok(model.with_proto(proto))
}

/// The branch of an `If` in place of it, once its condition is known: constants and nodes.
///
/// # Errors
/// As [`inline`].
pub(crate) fn splice(
    model: &Model,
    node: &NodeProto,
    condition: bool,
) -> Result<(Vec<TensorProto>, Vec<NodeProto>)> {
    let mut inliner =
        Inliner { model, functions: HashMap::new(), initializers: Vec::new(), nodes: Vec::new() };
    match branch_of(node, condition) {
        Some(taken) => inliner.branch(node, taken, 0)?,
        None => {
            bail!(InvalidModel, "node \"{}\" (If) has no branch for its condition", node.label())
        }
    }
    Ok((inliner.initializers, inliner.nodes))
}

fn branch_of(node: &NodeProto, condition: bool) -> Option<GraphProto> {
    node.attr(if condition { "then_branch" } else { "else_branch" })?.g.clone()
}

/// Domain and name of a function or operator, the default domain as the empty string.
fn key(domain: Option<&str>, name: Option<&str>) -> (String, String) {
    let domain = domain.filter(|domain| *domain != "ai.onnx").unwrap_or_default();
    (domain.to_owned(), name.unwrap_or_default().to_owned())
}

struct Inliner<'m> {
    model: &'m Model,
    functions: HashMap<(String, String), &'m FunctionProto>,
    initializers: Vec<TensorProto>,
    nodes: Vec<NodeProto>,
}

impl Inliner<'_> {
    fn node(&mut self, node: NodeProto, depth: usize) -> Result<()> {
        if depth > DEPTH || self.nodes.len() > NODES {
            bail!(
                InvalidModel,
                "node \"{}\" ({}): its functions call each other without end",
                node.label(),
                node.op()
            );
        }
        if let Some(&function) =
            self.functions.get(&key(node.domain.as_deref(), node.op_type.as_deref()))
        {
            return self.call(&node, function, depth);
        }
        if node.op_domain().is_empty() {
            match node.op() {
                "Constant" => {
                    if let Some(tensor) = constant(&node) {
                        self.initializers.push(tensor);
                        return Ok(());
                    }
                }
                "If" => {
                    if let Some(taken) = self.taken_branch(&node) {
                        return self.branch(&node, taken, depth);
                    }
                }
                _ => {}
            }
        }
        self.nodes.push(node);
        Ok(())
    }

    /// The nodes of a function with the call's inputs, outputs and attributes in place.
    fn call(&mut self, call: &NodeProto, function: &FunctionProto, depth: usize) -> Result<()> {
        let name = function.name.as_deref().unwrap_or_default();
        for import in &function.opset_import {
            let default = matches!(import.domain.as_deref().unwrap_or(""), "" | "ai.onnx");
            let version = import.version.unwrap_or(1);
            if default && version != self.model.opset() {
                bail!(
                    InvalidModel,
                    "function \"{name}\" is written in opset {version}, the model in opset {}",
                    self.model.opset()
                );
            }
        }
        let mut names: HashMap<&str, String> = HashMap::new();
        let actual = |at: usize, names: &[String]| names.get(at).cloned().unwrap_or_default();
        for (at, formal) in function.input.iter().enumerate() {
            names.insert(formal, actual(at, &call.input));
        }
        for (at, formal) in function.output.iter().enumerate() {
            let given = actual(at, &call.output);
            if !given.is_empty() {
                names.insert(formal, given);
            }
        }
        let prefix = call.label();
        let rename = |name: &String, names: &HashMap<&str, String>| -> String {
            match names.get(name.as_str()) {
                Some(actual) => actual.clone(),
                None if name.is_empty() => String::new(),
                None => format!("{prefix}/{name}"),
            }
        };
        for inner in &function.node {
            let mut node = inner.clone();
            node.name = Some(format!("{prefix}/{}", inner.label()));
            for name in node.input.iter_mut().chain(&mut node.output) {
                *name = rename(name, &names);
            }
            node.attribute =
                inner.attribute.iter().filter_map(|a| resolved(a, call, function)).collect();
            if node.attribute.iter().any(|a| a.g.is_some() || !a.graphs.is_empty()) {
                let captured: HashMap<String, String> = names
                    .iter()
                    .map(|(formal, actual)| ((*formal).to_owned(), actual.clone()))
                    .collect();
                for graph in node.attribute.iter_mut().filter_map(|a| a.g.as_mut()) {
                    rename_captures(graph, &captured, prefix, &HashSet::new());
                }
            }
            // A function's output that is one of its inputs, or unused, needs no node of its own.
            self.node(node, depth + 1)?;
        }
        for (at, formal) in function.output.iter().enumerate() {
            if function.input.contains(formal) && !actual(at, &call.output).is_empty() {
                let source = actual(
                    function.input.iter().position(|i| i == formal).unwrap_or(0),
                    &call.input,
                );
                self.nodes.push(identity(&source, &actual(at, &call.output)));
            }
        }
        Ok(())
    }

    /// The branch that a constant condition picks.
    fn taken_branch(&self, node: &NodeProto) -> Option<GraphProto> {
        let condition = node.input.first()?;
        let tensor = self.initializers.iter().find(|tensor| tensor.label() == condition)?;
        let byte = *self.model.tensor_bytes(tensor).ok()?.first()?;
        branch_of(node, byte != 0)
    }

    /// The nodes of a branch; its outputs get the names that the `If` gave them.
    fn branch(&mut self, node: &NodeProto, mut taken: GraphProto, depth: usize) -> Result<()> {
        let prefix = node.label().to_owned();
        let mut names: HashMap<String, String> = HashMap::new();
        let own = taken.initializer.iter().filter_map(|tensor| tensor.name.clone());
        let made = taken.node.iter().flat_map(|inner| inner.output.iter().cloned());
        for name in own.chain(made).filter(|name| !name.is_empty()).collect::<Vec<_>>() {
            names.insert(name.clone(), format!("{prefix}/{name}"));
        }
        let mut outside = Vec::new();
        for (inner, outer) in taken.output.iter().zip(&node.output) {
            let inner = inner.name.clone().unwrap_or_default();
            // An output that is an initializer, an outer value or named twice is passed by Identity.
            let free = names.get(&inner).is_some_and(|name| name.starts_with(&prefix))
                && taken.node.iter().any(|n| n.output.contains(&inner))
                && !node.output.iter().any(|o| names.get(&inner) == Some(o));
            if free {
                names.insert(inner, outer.clone());
            } else {
                outside.push((inner, outer.clone()));
            }
        }
        let rename = |name: &str| names.get(name).cloned().unwrap_or_else(|| name.to_owned());
        for mut tensor in std::mem::take(&mut taken.initializer) {
            tensor.name = tensor.name.map(|name| rename(&name));
            self.initializers.push(tensor);
        }
        for mut inner in std::mem::take(&mut taken.node) {
            inner.name = Some(format!("{prefix}/{}", inner.label()));
            for name in inner.input.iter_mut().chain(&mut inner.output) {
                *name = rename(name);
            }
            for graph in inner.attribute.iter_mut().filter_map(|a| a.g.as_mut()) {
                rename_captures(graph, &names, "", &HashSet::new());
            }
            self.node(inner, depth + 1)?;
        }
        for (inner, outer) in outside {
            self.nodes.push(identity(&rename(&inner), &outer));
        }
        Ok(())
    }
}

fn identity(from: &str, to: &str) -> NodeProto {
    NodeProto {
        name: Some(format!("{to}/Identity")),
        op_type: Some("Identity".to_owned()),
        input: vec![from.to_owned()],
        output: vec![to.to_owned()],
        ..NodeProto::default()
    }
}

/// Renames what a subgraph reads from outside; values of its own keep their names.
fn rename_captures(
    graph: &mut GraphProto,
    names: &HashMap<String, String>,
    prefix: &str,
    inside: &HashSet<String>,
) {
    let mut inside = inside.clone();
    inside.extend(graph.input.iter().filter_map(|i| i.name.clone()));
    inside.extend(graph.initializer.iter().filter_map(|t| t.name.clone()));
    inside.extend(graph.node.iter().flat_map(|n| n.output.iter().cloned()));
    let rename = |name: &mut String| {
        if name.is_empty() || inside.contains(name.as_str()) {
            return;
        }
        match names.get(name.as_str()) {
            Some(outer) => outer.clone_into(name),
            None if !prefix.is_empty() => *name = format!("{prefix}/{name}"),
            None => {}
        }
    };
    for node in &mut graph.node {
        node.input.iter_mut().for_each(rename);
        for inner in node.attribute.iter_mut().filter_map(|a| a.g.as_mut()) {
            rename_captures(inner, names, prefix, &inside);
        }
    }
    graph.output.iter_mut().filter_map(|o| o.name.as_mut()).for_each(rename);
}

/// An attribute of a function's node: a reference becomes what the call says, or the default.
fn resolved(
    attribute: &AttributeProto,
    call: &NodeProto,
    function: &FunctionProto,
) -> Option<AttributeProto> {
    let Some(reference) = attribute.ref_attr_name.as_deref().filter(|name| !name.is_empty()) else {
        return Some(attribute.clone());
    };
    let default = || function.attribute_proto.iter().find(|a| a.name.as_deref() == Some(reference));
    let mut value = call.attr(reference).or_else(default)?.clone();
    value.name.clone_from(&attribute.name);
    Some(value)
}

/// A `Constant` node as an initializer; `None` for text and sparse values.
fn constant(node: &NodeProto) -> Option<TensorProto> {
    let name = node.output.first()?.clone();
    if let Some(value) = node.attr("value") {
        return Some(TensorProto { name: Some(name), ..value.t.clone()? });
    }
    let one = |elem: DataType, dims: Vec<i64>, raw: Vec<u8>| {
        Some(TensorProto {
            name: Some(name.clone()),
            data_type: Some(elem as i32),
            dims,
            raw_data: Some(raw.into()),
            ..TensorProto::default()
        })
    };
    let len = |count: usize| i64::try_from(count).ok();
    if let Some(value) = node.attr_float("value_float") {
        return one(DataType::Float, vec![], value.to_le_bytes().to_vec());
    }
    if let Some(value) = node.attr_int("value_int") {
        return one(DataType::Int64, vec![], value.to_le_bytes().to_vec());
    }
    if let Some(values) = node.attr("value_floats").map(|a| &a.floats) {
        let raw = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        return one(DataType::Float, vec![len(values.len())?], raw);
    }
    let values = node.attr_ints("value_ints")?;
    one(
        DataType::Int64,
        vec![len(values.len())?],
        values.iter().flat_map(|v| v.to_le_bytes()).collect(),
    )
}

/// The names that the subgraphs of a node read, those of their own values among them.
pub(crate) fn captured_names<'a>(node: &'a NodeProto, into: &mut HashSet<&'a str>) {
    for attribute in &node.attribute {
        for graph in attribute.g.iter().chain(&attribute.graphs) {
            for inner in &graph.node {
                into.extend(inner.input.iter().map(String::as_str));
                captured_names(inner, into);
            }
            into.extend(graph.output.iter().filter_map(|o| o.name.as_deref()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        attrs,
        graph::{Graph, Sizes},
        proto::{OperatorSetIdProto, ValueInfoProto, attribute_proto::AttributeType},
        testing, to_text,
    };

    fn node(op: &str, inputs: &[&str], output: &str) -> NodeProto {
        NodeProto {
            op_type: Some(op.to_owned()),
            name: Some(output.to_owned()),
            input: inputs.iter().map(|&name| name.to_owned()).collect(),
            output: vec![output.to_owned()],
            ..NodeProto::default()
        }
    }

    fn output(name: &str) -> ValueInfoProto {
        ValueInfoProto { name: Some(name.to_owned()), ..ValueInfoProto::default() }
    }

    fn branch(name: &str, op: &str) -> AttributeProto {
        let graph = GraphProto {
            node: vec![node(op, &["x"], "inner")],
            output: vec![output("inner")],
            ..GraphProto::default()
        };
        AttributeProto {
            name: Some(name.to_owned()),
            r#type: Some(AttributeType::Graph as i32),
            g: Some(graph),
            ..AttributeProto::default()
        }
    }

    fn ops(model: &Model) -> Vec<String> {
        let graph = Graph::new(model, &Sizes::new()).expect("a graph");
        graph.nodes().map(|(_, node)| node.op().to_owned()).collect()
    }

    #[test]
    fn an_if_takes_the_branch_of_a_constant_or_of_a_known_shape() {
        let base = testing::model(&[("x", &[2, 3])], &[("Relu", &["x"], "y")], "y");
        let mut graph = base.graph().clone();
        let mut condition = node("Constant", &[], "c");
        condition.attribute.push(attrs::tensor(
            "value",
            TensorProto {
                data_type: Some(DataType::Bool as i32),
                raw_data: Some(vec![0].into()),
                ..TensorProto::default()
            },
        ));
        let mut choice = node("If", &["c"], "y");
        choice.attribute = vec![branch("then_branch", "Relu"), branch("else_branch", "Neg")];
        graph.node = vec![condition, choice.clone()];
        assert_eq!(ops(&testing::wrap(graph.clone())), ["Neg"]);

        // The number of axes of x is 2, so Size(Shape(x)) equals itself: true, once shapes are known.
        graph.node = vec![
            node("Shape", &["x"], "s"),
            node("Size", &["s"], "n"),
            node("Equal", &["n", "n"], "c"),
            choice,
        ];
        assert_eq!(ops(&testing::wrap(graph)), ["Shape", "Size", "Equal", "Relu"]);
    }

    #[test]
    fn a_call_is_replaced_by_the_functions_body() {
        let base = testing::model(&[("x", &[2])], &[("Twice", &["x"], "y")], "y");
        let mut proto = base.proto().clone();
        proto.graph.as_mut().expect("a graph").node[0].domain = Some("own".to_owned());
        let mut leaky = node("LeakyRelu", &["b"], "out");
        leaky.attribute.push(AttributeProto {
            ref_attr_name: Some("slope".to_owned()),
            ..attrs::float("alpha", 0.0)
        });
        proto.functions.push(FunctionProto {
            name: Some("Twice".to_owned()),
            domain: Some("own".to_owned()),
            input: vec!["a".to_owned()],
            output: vec!["out".to_owned()],
            node: vec![node("Add", &["a", "a"], "b"), leaky],
            opset_import: vec![OperatorSetIdProto { domain: None, version: Some(17) }],
            attribute_proto: vec![attrs::float("slope", 0.25)],
            ..FunctionProto::default()
        });
        let model = base.with_proto(proto.clone());
        let text = to_text(&inline(&model).expect("inlined"));
        assert!(text.contains("y/b = Add(x, x)"), "{text}");
        assert!(
            text.contains("y = LeakyRelu(y/b) {alpha=0.25}")
                || text.contains("= LeakyRelu(y/b) {alpha=0.25}"),
            "{text}"
        );

        // A function that calls itself is refused.
        proto.functions[0].node[0] =
            NodeProto { domain: Some("own".to_owned()), ..node("Twice", &["a"], "b") };
        let error = inline(&base.with_proto(proto)).expect_err("a recursion");
        assert!(error.to_string().contains("without end"), "{error}");
    }
}
