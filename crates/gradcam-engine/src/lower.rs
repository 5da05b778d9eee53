//! Writes in other words what an engine lacks or computes wrongly, and refuses the rest by name.
//!
//! [`tables`] has a row per operator and engine: the attributes that the engine takes, and the
//! function that rewrites a node. What it says was read in the engines' sources (rten 0.27: its
//! operator registry) and is run against the ONNX reference evaluator in the tests.

mod bfloat16;
mod facts;
mod layout;
mod nodes;
mod rewrite;
mod saturation;
mod tables;
mod windows;

use onnx_grad::{
    Model,
    proto::{
        AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto,
        tensor_proto::DataType,
    },
};

use super::{
    EngineKind,
    error::{EngineError, EngineErrorKind, Result},
    processor::{onnxruntime_saturates, rten_saturates},
    tensor::type_of,
};
use facts::Facts;
use rewrite::Rewrite;
use tables::Row;

#[cfg(feature = "onnxruntime")]
pub(super) use saturation::saturating_nodes;

/// The language of an engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dialect {
    Rten,
    OnnxRuntime,
}

/// What an engine does with an operator of the standard.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Support {
    /// Whether it runs, at least in some forms and opsets.
    pub runs: bool,
    /// Whether some or all of its forms are written in other operators before.
    pub rewritten: bool,
    /// What messages say of the forms that are refused, with … for what differs.
    pub refuses: Vec<String>,
}

/// What engines say of any operator that they refuse, with … for what differs.
pub const REFUSED_FORMS: &[&str] =
    &["operators of the domain … are unknown to it; …", "… has no tensors of type …"];

/// What an engine does with an operator of the standard, from the tables that compile graphs.
///
/// ```
/// use gradcam_engine::{EngineKind, support};
///
/// let hardmax = support(EngineKind::Rten, "Hardmax");
/// assert_eq!(hardmax.refuses, ["rten has no Hardmax"]);
/// ```
pub fn support(kind: EngineKind, op: &str) -> Support {
    match kind {
        EngineKind::Rten => Dialect::Rten.support(op),
        EngineKind::OnnxRuntime => Dialect::OnnxRuntime.support(op),
    }
}

/// What a node must not be, in words for the user.
type Refusal = String;

impl Dialect {
    fn shown(self) -> &'static str {
        match self {
            Self::Rten => "rten",
            Self::OnnxRuntime => "ONNX Runtime",
        }
    }

    fn table(self) -> &'static [Row] {
        match self {
            Self::Rten => tables::RTEN,
            Self::OnnxRuntime => tables::ONNX_RUNTIME,
        }
    }

    /// The operators that it knows and that some forms of are written by their definition.
    fn defined(self) -> &'static [&'static str] {
        match self {
            Self::Rten => tables::RTEN_DEFINED,
            Self::OnnxRuntime => tables::ONNX_RUNTIME_DEFINED,
        }
    }

    /// Whether operators without a row are refused.
    fn closed(self) -> bool {
        match self {
            Self::Rten => true,
            Self::OnnxRuntime => false,
        }
    }

    fn newest_opset(self) -> i64 {
        match self {
            Self::Rten => i64::MAX,
            Self::OnnxRuntime => tables::ONNX_RUNTIME_OPSET,
        }
    }

    /// Why nodes of a domain cannot be run; `None` for domains that the engine knows.
    fn refuses_domain(self, domain: &str, proto: &ModelProto) -> Option<Refusal> {
        if domain.is_empty() {
            return None;
        }
        let foreign = match self {
            Self::Rten => true,
            Self::OnnxRuntime => {
                let local = proto.functions.iter().any(|f| f.domain.as_deref() == Some(domain));
                !local && !tables::ONNX_RUNTIME_DOMAINS.contains(&domain)
            }
        };
        let advice = match domain {
            "com.microsoft.nchwc" | "com.ms.internal.nhwc" => {
                "the file was optimised for one machine; use the file from before"
            }
            "com.microsoft" => "the file was optimised for ONNX Runtime; use that engine",
            "ai.onnx.contrib" => "onnxruntime-extensions is not supported; cut these nodes off",
            _ => "only the standard ONNX operators run here",
        };
        foreign.then(|| format!("operators of the domain {domain} are unknown to it; {advice}"))
    }

    /// What becomes of an operator of the standard in this language.
    fn support(self, op: &str) -> Support {
        let table = self.table();
        let row = table.binary_search_by(|row| row.op.cmp(op)).ok().and_then(|at| table.get(at));
        let engine = self.shown();
        let defined = self.defined().contains(&op);
        let Some(row) = row else {
            let rewritten = defined || self.closed() && onnx_grad::has_definition(op);
            let refuses = match self.closed() && !rewritten {
                true => vec![format!("{engine} has no {op}")],
                false => vec![],
            };
            return Support { runs: !self.closed() || rewritten, rewritten, refuses };
        };
        let words = row.attributes.unwrap_or_default().split_whitespace();
        let limited = words.filter_map(|word| word.trim_start_matches('~').split_once('='));
        let limited =
            limited.map(|(name, values)| format!("attribute {name} is …; {engine} takes {values}"));
        let refuses: Vec<String> =
            limited.chain(row.refuses.iter().map(|&form| form.to_owned())).collect();
        let absent = row.refuses.iter().any(|form| form.contains(" has no "));
        let rewritten = !absent && (defined || row.rewrite.is_some());
        Support { runs: !absent, rewritten, refuses }
    }

    /// Whether a node is to be written in other operators, by its definition where it has one.
    fn lacks(self, facts: &Facts<'_>, node: &NodeProto) -> bool {
        if !self.defined().contains(&node.op()) {
            return self.closed() && self.row(node).is_none();
        }
        let one_of = |name: &str, known: &[&str]| {
            node.attr_str(name).is_none_or(|text| known.contains(&text))
        };
        match node.op() {
            "Attention" => {
                node.attr_int("left_window_size").is_some()
                    || node.attr_int("right_window_size").is_some()
            }
            "BatchNormalization" => node.attr_int("training_mode") == Some(1),
            // rten is wrong where it has pads and zero points.
            "ConvInteger" | "Swish" => true,
            "MatMulInteger" => facts.saturates,
            // Engines differ in what the dots may stand for.
            "Einsum" => node.attr_str("equation").is_some_and(|text| text.contains("...")),
            "GridSample" => {
                !one_of("mode", &["linear", "bilinear"])
                    || !one_of("padding_mode", &["zeros"])
                    || facts.rank(node, 0) != Some(4)
            }
            // The window of a response is odd there.
            "LRN" => node.attr_int("size").is_some_and(|size| size % 2 == 0),
            "LayerNormalization" => (1..node.output.len()).any(|at| facts.is_used(node, at)),
            _ => false,
        }
    }

    fn row(self, node: &NodeProto) -> Option<&'static Row> {
        let table = match (self, node.op_domain()) {
            (_, "") => self.table(),
            (Self::OnnxRuntime, "com.microsoft") => tables::MICROSOFT,
            _ => return None,
        };
        let at = table.binary_search_by(|row| row.op.cmp(node.op())).ok()?;
        table.get(at)
    }

    /// Whether the engine's products of 8-bit integers saturate on this processor.
    fn saturates(self) -> bool {
        match self {
            Self::Rten => rten_saturates(),
            Self::OnnxRuntime => onnxruntime_saturates(),
        }
    }

    /// Whether tensors of this type can be loaded.
    fn takes(self, elem: DataType) -> bool {
        match self {
            Self::Rten => tables::RTEN_TYPES.contains(&elem),
            Self::OnnxRuntime => true,
        }
    }
}

/// What becomes of products of 8-bit integers that saturate on this processor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Saturation {
    /// They are written in other words, and are exact.
    Repaired,
    /// They stay, as in a program that runs the file with the engine's defaults.
    AsDeployed,
}

/// Writes a model in the language of an engine.
///
/// # Errors
/// `Unsupported` with every node that cannot be written so.
pub(super) fn lower(model: &Model, dialect: Dialect, saturation: Saturation) -> Result<ModelProto> {
    let saturates = saturation == Saturation::Repaired && dialect.saturates();
    // Where a definition does not fit, or a size is open, the node stays and is refused by name.
    let facts = Facts::of(model, saturates);
    let expanded = onnx_grad::expand(model, &|node| dialect.lacks(&facts, node));
    let model = expanded.as_ref().unwrap_or(model);
    let facts = Facts::of(model, saturates);
    let mut pass = Pass { dialect, facts: &facts, refused: Vec::new(), fresh: 0 };
    let mut proto = model.proto().clone();
    if facts.opset > dialect.newest_opset() {
        let newest = dialect.newest_opset();
        let message = format!(
            "the model uses opset {}, {} knows opsets up to {newest}; convert the model or use \
             another engine",
            facts.opset,
            dialect.shown()
        );
        return Err(EngineError::new(EngineErrorKind::Unsupported, message));
    }
    if let Some(graph) = &mut proto.graph {
        graph.input.iter().for_each(|input| pass.input(input));
        pass.graph(graph);
        if dialect == Dialect::OnnxRuntime {
            bfloat16::widen(graph);
            nodes::plain_types_at_the_border(graph);
        }
    }
    pass.finish()?;
    Ok(proto)
}

struct Pass<'a> {
    dialect: Dialect,
    facts: &'a Facts<'a>,
    /// Label and line of each node that cannot be run.
    refused: Vec<(String, String)>,
    fresh: usize,
}

impl Pass<'_> {
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
        let Some(row) = self.dialect.row(node) else {
            if self.dialect.closed() {
                return Err(format!("{} has no {}", self.dialect.shown(), node.op()));
            }
            into.push(node.clone());
            return Ok(());
        };
        let mut node = node.clone();
        if let Some(allowed) = row.attributes {
            let engine = self.dialect.shown();
            let mut wrong = None;
            node.attribute.retain(|attribute| match judge(allowed, attribute) {
                Judged::Keep => true,
                Judged::Drop => false,
                Judged::Wrong(taken) => {
                    let name = attribute.name.as_deref().unwrap_or_default();
                    wrong.get_or_insert_with(|| match taken {
                        "" => format!("{engine} has no attribute {name}"),
                        taken => {
                            let value = shown(attribute);
                            format!("attribute {name} is {value}; {engine} takes {taken}")
                        }
                    });
                    true
                }
            });
            if let Some(why) = wrong {
                return Err(why);
            }
        }
        match row.rewrite {
            Some(rewrite) => rewrite(&mut Rewrite::new(self.facts, &mut self.fresh, into), node),
            None => {
                into.push(node);
                Ok(())
            }
        }
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
            let (engine, elem) = (self.dialect.shown(), elem.as_str_name().to_lowercase());
            let line = format!("\"{label}\" ({what}): {engine} has no tensors of type {elem}");
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
        let engine = self.dialect.shown();
        let advice = if self.dialect.closed() { "; try the engine onnxruntime" } else { "" };
        let message = format!("{engine} cannot run {count} of this model{advice}:{lines}");
        Err(EngineError::new(EngineErrorKind::Unsupported, message).at_node(Some(first.clone())))
    }
}

enum Judged<'a> {
    Keep,
    Drop,
    /// Not at this value; the values that are taken, none for an attribute that is unknown.
    Wrong(&'a str),
}

/// Looks an attribute up in the list of a row; see [`Row::attributes`].
fn judge<'a>(allowed: &'a str, attribute: &AttributeProto) -> Judged<'a> {
    let name = attribute.name.as_deref().unwrap_or_default();
    for word in allowed.split_whitespace() {
        let (drop, word) = match word.strip_prefix('~') {
            Some(word) => (true, word),
            None => (false, word),
        };
        let (key, values) = word.split_once('=').unwrap_or((word, ""));
        if key != name {
            continue;
        }
        if !values.is_empty() && !values.split('|').any(|value| value == shown(attribute)) {
            return Judged::Wrong(values);
        }
        return if drop { Judged::Drop } else { Judged::Keep };
    }
    Judged::Wrong("")
}

/// The value of an attribute, as it is written in the tables and in messages.
fn shown(attribute: &AttributeProto) -> String {
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
