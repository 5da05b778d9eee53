//! Rewrites what an engine lacks or computes wrongly, and refuses by name what cannot be rewritten.
//!
//! Each engine provides a [`Dialect`] with a row per operator: the attributes that the engine takes, and the function
//! that rewrites a node. The rows were read from the sources of the engines, and the tests compare every operator
//! with the ONNX reference evaluator.

pub(super) mod bfloat16;
pub(super) mod definition;
mod dialect;
mod facts;
pub(super) mod layout;
pub(super) mod nodes;
pub(super) mod recurrent;
mod refusal;
mod rewrite;
pub(super) mod saturation;
pub(super) mod windows;

use onnx_grad::{
    Model,
    proto::{
        AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto,
        tensor_proto::DataType,
    },
};

use super::{
    error::{EngineError, EngineErrorKind, Result},
    tensor::type_of,
};
use dialect::Treatment;
use facts::Facts;
use refusal::{ATTRIBUTE_VALUE, NEWEST_OPSET, NO_ATTRIBUTE, NO_OPERATOR, NO_TYPE};
use rewrite::Rewrite;

pub use dialect::Support;
pub(super) use dialect::{
    AttributeRow, DefinitionRow, Dialect, OperatorRow, OtherOperators, absent, attributes,
    rewritten, row, unchecked, until,
};
pub use refusal::REFUSED_FORMS;

/// Why a node is refused, for the user.
type Refusal = String;

/// What to do about products of 8-bit integers that saturate on this processor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Saturation {
    /// Rewrite them, so that they are exact.
    Avoid,
    /// Keep them, as in a program that runs the file with the engine's defaults.
    Keep,
}

/// Rewrites a model in the dialect of an engine.
///
/// # Errors
/// `Unsupported` with every node that has no form in the dialect.
pub(super) fn lower(
    model: &Model,
    dialect: &Dialect,
    saturation: Saturation,
) -> Result<ModelProto> {
    let saturates = saturation == Saturation::Avoid && (dialect.saturates)();
    // If a definition does not apply, or a size is not known, the node stays and is refused by name below.
    let facts = Facts::of(model, saturates);
    let expanded = onnx_grad::expand(model, &|node| dialect.lacks(&facts, node));
    let model = expanded.as_ref().unwrap_or(model);
    let facts = Facts::of(model, saturates);
    let mut pass = LoweringPass { dialect, facts: &facts, refused: Vec::new(), fresh: 0 };
    let mut proto = model.proto().clone();
    if let Some(newest) = dialect.newest_opset.filter(|newest| facts.opset > *newest) {
        let message = format!(
            "the model uses opset {}; {} supports opsets up to {newest}; convert the model or use \
             another engine",
            facts.opset, dialect.engine
        );
        return Err(EngineError::new(EngineErrorKind::Unsupported, message));
    }
    if let Some(graph) = &mut proto.graph {
        graph.input.iter().for_each(|input| pass.input(input));
        pass.graph(graph);
        dialect.final_passes.iter().for_each(|pass| pass(graph));
    }
    pass.finish()?;
    Ok(proto)
}

struct LoweringPass<'a> {
    dialect: &'a Dialect,
    facts: &'a Facts<'a>,
    /// The label of each refused node, and its line of the message.
    refused: Vec<(String, String)>,
    fresh: usize,
}

impl LoweringPass<'_> {
    fn graph(&mut self, graph: &mut GraphProto) {
        graph.initializer.iter().for_each(|tensor| self.tensor(tensor, "initializer"));
        for mut node in std::mem::take(&mut graph.node) {
            for attribute in &mut node.attribute {
                attribute.t.iter().for_each(|tensor| {
                    self.tensor(tensor, node.op_type.as_deref().unwrap_or_default())
                });
                attribute.g.iter_mut().chain(&mut attribute.graphs).for_each(|g| self.graph(g));
            }
            if let Err(why) = self.node(&node, &mut graph.node) {
                let line = format!(
                    "\"{}\" ({}, opset {}): {why}",
                    node.label(),
                    node.op(),
                    self.facts.opset
                );
                self.refused.push((node.label().to_owned(), line));
            }
        }
    }

    fn node(&mut self, node: &NodeProto, into: &mut Vec<NodeProto>) -> Result<(), Refusal> {
        if let Some(why) = self.dialect.refuses_domain(node.op_domain(), self.facts.proto) {
            return Err(why);
        }
        let Some(row) = self.dialect.operator(node) else {
            if let Some(why) = self.dialect.refuses_other(node) {
                return Err(why);
            }
            into.push(node.clone());
            return Ok(());
        };
        let engine = &self.dialect.engine;
        if let Some(newest) = row.newest_opset.filter(|newest| self.facts.opset > *newest) {
            return Err(NEWEST_OPSET.with(&[engine, &newest]));
        }
        let mut node = node.clone();
        if let Some(allowed) = row.attributes {
            node.attribute
                .retain(|attribute| !row.ignored_attributes.contains(&name_of(attribute)));
            for attribute in &node.attribute {
                let name = name_of(attribute);
                let Some(taken) = allowed.iter().find(|taken| taken.name == name) else {
                    return Err(NO_ATTRIBUTE.with(&[engine, &name]));
                };
                let value = value_text(attribute);
                if !taken.values.is_empty() && !taken.values.contains(&value.as_str()) {
                    let values = taken.values.join("|");
                    return Err(ATTRIBUTE_VALUE.with(&[&name, &value, engine, &values]));
                }
            }
        }
        match row.treatment {
            Treatment::Keep => into.push(node),
            Treatment::Rewrite(rule) => {
                rule(&mut Rewrite::new(self.facts, &mut self.fresh, into), node)?;
            }
            Treatment::Refuse => return Err(NO_OPERATOR.with(&[engine, &node.op()])),
        }
        Ok(())
    }

    fn input(&mut self, input: &ValueInfoProto) {
        let (elem, _) = type_of(input);
        if elem != DataType::Undefined {
            self.elem(elem, input.name.as_deref().unwrap_or_default(), "input");
        }
    }

    fn tensor(&mut self, tensor: &TensorProto, what: &str) {
        self.elem(tensor.elem(), tensor.label(), what);
    }

    fn elem(&mut self, elem: DataType, label: &str, what: &str) {
        if !self.dialect.takes(elem) {
            let elem = elem.as_str_name().to_lowercase();
            let why = NO_TYPE.with(&[&self.dialect.engine, &elem]);
            let line = format!("\"{label}\" ({what}): {why}");
            self.refused.push((label.to_owned(), line));
        }
    }

    fn finish(self) -> Result<()> {
        let Some((first, _)) = self.refused.first() else { return Ok(()) };
        let count = match self.refused.len() {
            1 => "a node".to_owned(),
            n => format!("{n} nodes"),
        };
        let lines: String = self.refused.iter().map(|(_, line)| format!("\n  {line}")).collect();
        let engine = self.dialect.engine;
        let advice = self.dialect.alternative.map(|other| format!("; try the engine {other}"));
        let advice = advice.unwrap_or_default();
        let message = format!("{engine} cannot run {count} of this model{advice}:{lines}");
        Err(EngineError::new(EngineErrorKind::Unsupported, message).at_node(Some(first.clone())))
    }
}

fn name_of(attribute: &AttributeProto) -> &str {
    attribute.name.as_deref().unwrap_or_default()
}

/// The value of an attribute as text, for tables and messages.
fn value_text(attribute: &AttributeProto) -> String {
    if let Some(text) = &attribute.s {
        return String::from_utf8_lossy(text).into_owned();
    }
    if let Some(number) = attribute.f {
        return number.to_string();
    }
    if let Some(number) = attribute.i {
        return number.to_string();
    }
    format!("{:?}", attribute.ints)
}
