//! What an engine takes, lacks and computes wrongly, as data that the engine provides.

use onnx_grad::proto::{GraphProto, ModelProto, NodeProto, tensor_proto::DataType};

use super::{
    Refusal,
    facts::Facts,
    refusal::{
        ATTRIBUTE_VALUE, NEWEST_OPSET, NO_OPERATOR, RefusalText, UNKNOWN_DOMAIN,
        UNKNOWN_DOMAIN_ADVICE,
    },
    rewrite::Rewrite,
};

/// The part of ONNX that an engine computes correctly. Anything else is rewritten or refused.
pub(crate) struct Dialect {
    /// The engine's name in messages.
    pub(crate) engine: &'static str,
    /// The newest opset that the engine supports; `None`: any.
    pub(crate) newest_opset: Option<i64>,
    /// The element types of tensors that the engine loads; `None`: all.
    pub(crate) types: Option<&'static [DataType]>,
    /// The rows of operators of the standard, sorted by name.
    pub(crate) operators: &'static [OperatorRow],
    /// What happens to operators of the standard without a row.
    pub(crate) other_operators: OtherOperators,
    /// The other domains that the engine supports, each with its rows, sorted as `operators`. Operators of such a domain
    /// without a row are kept.
    pub(crate) domains: &'static [(&'static str, &'static [OperatorRow])],
    /// Whether the engine runs functions that the model defines.
    pub(crate) model_functions: bool,
    /// Which forms of operators are replaced by the operator's definition.
    pub(crate) definitions: &'static [DefinitionRow],
    /// The passes over the rewritten graph, in this order.
    pub(crate) final_passes: &'static [fn(&mut GraphProto)],
    /// Whether products of 8-bit integers saturate on this processor.
    pub(crate) saturates: fn() -> bool,
    /// The id of the engine that messages recommend when this one refuses a node.
    pub(crate) alternative: Option<&'static str>,
}

/// What happens to operators without a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OtherOperators {
    /// The engine supports them.
    Keep,
    /// The engine lacks them. They are replaced by their definition, or refused.
    Refuse,
}

/// What an engine takes of one operator, and what happens to its nodes.
pub(crate) struct OperatorRow {
    pub(crate) op: &'static str,
    /// The attributes that the engine takes. A node with any other attribute is refused. `None`: attributes are not
    /// checked.
    pub(crate) attributes: Option<&'static [AttributeRow]>,
    /// The attributes without effect on inference, which are dropped.
    pub(crate) ignored_attributes: &'static [&'static str],
    /// The newest opset for which the engine has a kernel; `None`: any.
    pub(crate) newest_opset: Option<i64>,
    pub(crate) treatment: Treatment,
    /// The refusals of the rewrite rule.
    pub(crate) refuses: &'static [RefusalText],
}

/// An attribute that an engine takes.
pub(crate) struct AttributeRow {
    pub(crate) name: &'static str,
    /// The values that the engine takes, as text; empty: any.
    pub(crate) values: &'static [&'static str],
}

/// The attributes of a row: `name` with any value, or `name = a | b` with these values.
macro_rules! attributes {
    ($($name:ident $(= $($value:tt)|+)?),*) => {
        &[$($crate::lower::AttributeRow {
            name: stringify!($name),
            values: &[$($(stringify!($value)),+)?],
        }),*]
    };
}
pub(crate) use attributes;

/// What happens to a node whose attributes the engine takes.
#[derive(Clone, Copy)]
pub(crate) enum Treatment {
    /// The node is kept as it is.
    Keep,
    /// The rule rewrites the node, if necessary.
    Rewrite(RewriteRule),
    /// The node is refused, because the engine has no kernel.
    Refuse,
}

/// Emits nodes that are equivalent to one node, or returns why none are.
pub(crate) type RewriteRule = fn(&mut Rewrite<'_>, NodeProto) -> Result<(), Refusal>;

/// Which nodes of an operator are replaced by its definition.
pub(crate) struct DefinitionRow {
    pub(crate) op: &'static str,
    pub(crate) when: fn(&Facts<'_>, &NodeProto) -> bool,
}

/// The row of an operator that runs as it is with these attributes.
pub(crate) const fn row(op: &'static str, attributes: &'static [AttributeRow]) -> OperatorRow {
    OperatorRow { attributes: Some(attributes), ..plain(op, Treatment::Keep) }
}

/// The row of an operator that is rewritten and has these attributes.
pub(crate) const fn rewritten(
    op: &'static str,
    attributes: &'static [AttributeRow],
    rule: RewriteRule,
) -> OperatorRow {
    OperatorRow { attributes: Some(attributes), ..unchecked(op, rule) }
}

/// The row of an operator that is rewritten with any attributes.
pub(crate) const fn unchecked(op: &'static str, rule: RewriteRule) -> OperatorRow {
    plain(op, Treatment::Rewrite(rule))
}

/// The row of an operator that has kernels up to an opset.
pub(crate) const fn until(op: &'static str, opset: i64) -> OperatorRow {
    plain(op, Treatment::Keep).until(opset)
}

/// The row of an operator that has no kernel.
pub(crate) const fn absent(op: &'static str) -> OperatorRow {
    plain(op, Treatment::Refuse)
}

const fn plain(op: &'static str, treatment: Treatment) -> OperatorRow {
    OperatorRow {
        op,
        attributes: None,
        ignored_attributes: &[],
        newest_opset: None,
        treatment,
        refuses: &[],
    }
}

impl OperatorRow {
    pub(crate) const fn until(mut self, opset: i64) -> Self {
        self.newest_opset = Some(opset);
        self
    }

    pub(crate) const fn ignoring(mut self, attributes: &'static [&'static str]) -> Self {
        self.ignored_attributes = attributes;
        self
    }

    pub(crate) const fn refusing(mut self, texts: &'static [RefusalText]) -> Self {
        self.refuses = texts;
        self
    }
}

/// What an engine does with an operator of the standard.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Support {
    /// Whether it runs, at least in some forms and opsets.
    pub runs: bool,
    /// Whether some or all of its forms are rewritten in other operators.
    pub rewritten: bool,
    /// The messages of refused forms, with … in place of values.
    pub refuses: Vec<String>,
}

impl Dialect {
    /// What happens to an operator of the standard.
    pub(crate) fn support(&self, op: &str) -> Support {
        let engine = self.engine;
        let refuses_others = self.other_operators == OtherOperators::Refuse;
        let defined = self.definition(op).is_some();
        let Some(row) = find(self.operators, op) else {
            let rewritten = defined || refuses_others && onnx_grad::has_definition(op);
            let runs = !refuses_others || rewritten;
            let refuses = if runs { vec![] } else { vec![NO_OPERATOR.with(&[&engine, &op])] };
            return Support { runs, rewritten, refuses };
        };
        if let Treatment::Refuse = row.treatment {
            let refuses = vec![NO_OPERATOR.with(&[&engine, &op])];
            return Support { runs: false, rewritten: false, refuses };
        }
        let limited =
            row.attributes.unwrap_or_default().iter().filter(|row| !row.values.is_empty());
        let limited = limited.map(|row| {
            ATTRIBUTE_VALUE.with(&[&row.name, &RefusalText::GAP, &engine, &row.values.join("|")])
        });
        let opset = row.newest_opset.map(|opset| NEWEST_OPSET.with(&[&engine, &opset]));
        let texts = row.refuses.iter().map(|text| text.text().to_owned());
        let rewritten = defined || matches!(row.treatment, Treatment::Rewrite(_));
        Support { runs: true, rewritten, refuses: limited.chain(opset).chain(texts).collect() }
    }

    /// Whether the operator's definition must replace a node.
    pub(super) fn lacks(&self, facts: &Facts<'_>, node: &NodeProto) -> bool {
        match self.definition(node.op()) {
            Some(definition) => (definition.when)(facts, node),
            None => self.other_operators == OtherOperators::Refuse && self.operator(node).is_none(),
        }
    }

    fn definition(&self, op: &str) -> Option<&'static DefinitionRow> {
        self.definitions.iter().find(|definition| definition.op == op)
    }

    /// The row of a node's operator.
    pub(super) fn operator(&self, node: &NodeProto) -> Option<&'static OperatorRow> {
        match node.op_domain() {
            "" => find(self.operators, node.op()),
            domain => find(self.domain(domain)?, node.op()),
        }
    }

    fn domain(&self, domain: &str) -> Option<&'static [OperatorRow]> {
        self.domains.iter().find(|(name, _)| *name == domain).map(|(_, rows)| *rows)
    }

    /// Why nodes of a domain cannot run; `None` for domains that the engine supports.
    pub(super) fn refuses_domain(&self, domain: &str, proto: &ModelProto) -> Option<Refusal> {
        let of_model = |domain: &str| {
            let mut functions = proto.functions.iter();
            self.model_functions && functions.any(|f| f.domain.as_deref() == Some(domain))
        };
        if domain.is_empty() || self.domain(domain).is_some() || of_model(domain) {
            return None;
        }
        let advice = UNKNOWN_DOMAIN_ADVICE.iter().find(|(name, _)| *name == domain);
        let advice =
            advice.map_or("only operators of the ONNX standard run here", |(_, text)| text);
        Some(UNKNOWN_DOMAIN.with(&[&domain, &advice]))
    }

    /// Why a node of an operator without a row cannot run; `None` if the engine supports it.
    pub(super) fn refuses_other(&self, node: &NodeProto) -> Option<Refusal> {
        let refuses = self.other_operators == OtherOperators::Refuse && node.op_domain().is_empty();
        refuses.then(|| NO_OPERATOR.with(&[&self.engine, &node.op()]))
    }

    /// Whether the engine loads tensors of this element type.
    pub(super) fn takes(&self, elem: DataType) -> bool {
        self.types.is_none_or(|types| types.contains(&elem))
    }
}

fn find(rows: &'static [OperatorRow], op: &str) -> Option<&'static OperatorRow> {
    let at = rows.binary_search_by(|row| row.op.cmp(op)).ok()?;
    rows.get(at)
}
