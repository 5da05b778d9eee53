//! The interface between a rule and the node that it differentiates.

use std::{collections::HashMap, ops::Deref};

use super::at_rank;
use crate::{
    attrs::AttributeReader,
    builder::{Builder, Formulas, Term},
    error::{Result, bail},
    facts::Dim,
    graph::{Graph, NodeId, ValueId},
    op::{self, Traits},
};

/// A cotangent: the derivative of the target with respect to a value.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Cotangent {
    /// A tensor of the value's shape, or one that broadcasts to it.
    Dense(ValueId),
    /// `scale[n] · [k = column[n]]` for a value [N, K]. `column` and `scale` are [N, 1]; `column`
    /// holds integers, and negative ones count from the end.
    OneHot {
        /// The index of the nonzero entry in each row.
        column: ValueId,
        /// The value of that entry.
        scale: ValueId,
    },
}

impl Cotangent {
    /// The cotangent of `of` as a tensor.
    pub(crate) fn dense(self, b: &mut Builder<'_>, of: ValueId) -> Result<ValueId> {
        match self {
            Self::Dense(value) => Ok(value),
            Self::OneHot { column, scale } => {
                let size = b.size(of, 1)?;
                let column = b.non_negative_index(column, size)?;
                let mask = b.one_hot(column, size, of)?;
                b.mul(mask, scale)
            }
        }
    }
}

impl From<ValueId> for Cotangent {
    fn from(value: ValueId) -> Self {
        Self::Dense(value)
    }
}

/// The result of a rule: a cotangent for each input, `None` if there is none.
pub(crate) type Cotangents = Result<Vec<Option<Cotangent>>>;

/// The cotangent of the first input only.
pub(crate) fn one(value: ValueId) -> Cotangents {
    Ok(vec![Some(value.into())])
}

/// No cotangents, if no input turns out to require one.
pub(crate) fn none() -> Cotangents {
    Ok(vec![])
}

/// A node, its inputs and outputs, and the cotangents of its outputs.
#[derive(Debug)]
pub(crate) struct RuleCall {
    id: NodeId,
    opset: i64,
    op: String,
    traits: &'static Traits,
    inputs: Vec<Option<ValueId>>,
    outputs: Vec<Option<ValueId>>,
    cotangents: HashMap<usize, Cotangent>,
    wanted: Vec<bool>,
    reader: AttributeReader,
    formulas: Formulas,
}

/// The symbols in the formulas of a rule.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Symbols<'n> {
    call: &'n RuleCall,
    /// The cotangent of the first output. It has the rank of the output and is broadcastable to its
    /// shape.
    pub(crate) g: Term<'n>,
    /// The first output.
    pub(crate) y: Term<'n>,
}

/// The formulas of a rule: a cotangent for each input.
pub(crate) type Terms<'n> = Result<Vec<Term<'n>>>;

impl<'n> Symbols<'n> {
    /// An input.
    pub(crate) fn x(self, input: usize) -> Term<'n> {
        self.optional_x(input).unwrap_or_else(|| {
            self.call
                .formulas
                .open([], move |_, _, []| bail!(InvalidModel, "its input {input} is missing"))
        })
    }

    /// An optional input.
    pub(crate) fn optional_x(self, input: usize) -> Option<Term<'n>> {
        self.call.optional(input).map(|value| self.call.formulas.value(value))
    }

    /// A value of the graph.
    pub(crate) fn value(self, value: ValueId) -> Term<'n> {
        self.call.formulas.value(value)
    }

    /// The cotangent of the first output, in its full shape.
    pub(crate) fn full(self) -> Term<'n> {
        self.g.expand_like(self.y)
    }

    /// The term of an input without a derivative, an error when emitted.
    pub(crate) fn none(self, input: usize) -> Term<'n> {
        self.call.formulas.open([], move |_, _, []| no_rule(input))
    }
}

impl Deref for Symbols<'_> {
    type Target = RuleCall;

    fn deref(&self) -> &RuleCall {
        self.call
    }
}

/// The error for a required cotangent that the rule does not have.
pub(super) fn no_rule<T>(input: usize) -> Result<T> {
    bail!(Unsupported, "no gradient rule for its input {input}")
}

impl RuleCall {
    pub(super) fn new(
        graph: &Graph,
        id: NodeId,
        cotangents: HashMap<usize, Cotangent>,
        wanted: Vec<bool>,
    ) -> Self {
        Self {
            id,
            opset: graph.opset(),
            op: graph.node(id).op().to_owned(),
            traits: op::traits(graph.node(id)),
            inputs: graph.node_operands(id),
            outputs: graph.node_outputs(id).to_vec(),
            reader: AttributeReader::new(graph.node(id)),
            cotangents,
            wanted,
            formulas: Formulas::default(),
        }
    }

    /// The symbols of the rule's formulas.
    pub(crate) fn symbols(&self) -> Symbols<'_> {
        let (form, output) = (self.form(0), self.output(0));
        let y = match output {
            Some(y) => self.formulas.value(y),
            None => self
                .formulas
                .open([], |_, _, []| bail!(InvalidModel, "its first output has no name")),
        };
        let g = y.then(move |b, y| lazy(b, form, y));
        Symbols { call: self, g, y }
    }

    /// The attributes of the node.
    pub(crate) fn attrs(&self) -> &AttributeReader {
        &self.reader
    }

    /// Fails if the rule left an attribute unread, which could make the gradient wrong.
    pub(super) fn refuse_unread(&self) -> Result<()> {
        if let Some(attribute) = self.attrs().unread().first() {
            let name = attribute.name.as_deref().unwrap_or_default();
            let value = crate::attrs::show(attribute);
            bail!(Unsupported, "attribute {name} is {value}; supported: without it");
        }
        Ok(())
    }

    /// Whether the gradient is required. Otherwise the definition is emitted for execution.
    pub(crate) fn is_differentiated(&self) -> bool {
        self.wanted.contains(&true)
    }

    /// The node's index.
    pub(crate) fn id(&self) -> NodeId {
        self.id
    }

    /// The model's opset.
    pub(crate) fn opset(&self) -> i64 {
        self.opset
    }

    /// The operator.
    pub(crate) fn op(&self) -> &str {
        &self.op
    }

    /// The traits of the operator.
    pub(crate) fn traits(&self) -> &'static Traits {
        self.traits
    }

    /// The number of the node's inputs, omitted ones included, and of the values that its subgraphs read.
    pub(crate) fn input_count(&self) -> usize {
        self.inputs.len()
    }

    /// An optional input.
    pub(crate) fn optional(&self, input: usize) -> Option<ValueId> {
        self.inputs.get(input).copied().flatten()
    }

    /// A required input.
    pub(crate) fn x(&self, input: usize) -> Result<ValueId> {
        match self.optional(input) {
            Some(value) => Ok(value),
            None => bail!(InvalidModel, "its input {input} is missing"),
        }
    }

    /// The first output.
    pub(crate) fn y(&self) -> ValueId {
        self.output(0).unwrap_or_else(|| unreachable!("a node on the path has a first output"))
    }

    /// An optional output.
    pub(crate) fn output(&self, output: usize) -> Option<ValueId> {
        self.outputs.get(output).copied().flatten()
    }

    /// The number of the node's outputs.
    pub(crate) fn output_count(&self) -> usize {
        self.outputs.len()
    }

    /// Whether the cotangent of that input is required.
    pub(crate) fn wants(&self, input: usize) -> bool {
        self.wanted.get(input).copied().unwrap_or(false)
    }

    /// Emits the required cotangents of the inputs.
    pub(super) fn wanted<'n>(
        &self,
        b: &mut Builder<'_>,
        terms: impl IntoIterator<Item = Term<'n>>,
    ) -> Cotangents {
        let each = terms.into_iter().enumerate().map(|(input, term)| {
            Ok(if self.wants(input) { Some(term.emit(b)?.into()) } else { None })
        });
        each.collect()
    }

    /// The cotangent of an output in its present form; `None` if the output is not read.
    pub(crate) fn form(&self, output: usize) -> Option<Cotangent> {
        self.cotangents.get(&output).copied()
    }

    /// The cotangent of the first output. It has the rank of the output and is broadcastable to its
    /// shape.
    pub(crate) fn cot(&self, b: &mut Builder<'_>) -> Result<ValueId> {
        lazy(b, self.form(0), self.y())
    }

    /// The cotangent of the first output, in its full shape.
    pub(crate) fn full(&self, b: &mut Builder<'_>) -> Result<ValueId> {
        let lazy = self.cot(b)?;
        b.expand_like(lazy, self.y())
    }

    /// An axis in standard notation, negative from the end, as an index into `rank` axes.
    pub(crate) fn axis(&self, axis: i64, rank: usize) -> Result<usize> {
        let place = if axis < 0 { crate::builder::index(rank)? + axis } else { axis };
        match usize::try_from(place) {
            Ok(place) if place < rank.max(1) => Ok(place),
            _ => bail!(InvalidModel, "axis {axis} does not exist, the value has {rank} axes"),
        }
    }

    /// A list that is an attribute in old opsets and an input in new ones; `None` if it is absent.
    pub(crate) fn list(
        &self,
        b: &Builder<'_>,
        attribute: &str,
        input: usize,
    ) -> Result<Option<Vec<i64>>> {
        if let Some(list) = self.attrs().ints(attribute) {
            return Ok(Some(list.to_vec()));
        }
        let Some(value) = self.optional(input) else { return Ok(None) };
        match b.fact(value).ints() {
            Some(list) => Ok(Some(list)),
            None => bail!(
                Unsupported,
                "its {attribute} (\"{}\") are computed when the model runs; supported: constants",
                b.graph().name(value)
            ),
        }
    }
}

/// The cotangent of `y`, with its rank, broadcastable to its shape.
fn lazy(b: &mut Builder<'_>, form: Option<Cotangent>, y: ValueId) -> Result<ValueId> {
    let dense = match form {
        Some(form) => form.dense(b, y)?,
        None => b.scalar(y, 0.0)?,
    };
    let rank = b.rank(y)?;
    at_rank(b, dense, rank)
}

/// Emits every term.
pub(super) fn values<'t>(
    b: &mut Builder<'_>,
    terms: impl IntoIterator<Item = Term<'t>>,
) -> Result<Vec<ValueId>> {
    terms.into_iter().map(|term| term.emit(b)).collect()
}

/// The product of known sizes; an error on overflow.
pub(crate) fn product(sizes: impl IntoIterator<Item = i64>) -> Result<i64> {
    match sizes.into_iter().try_fold(1i64, |n, size| n.checked_mul(size)) {
        Some(product) => Ok(product),
        None => bail!(TooLarge, "a product of sizes is beyond 64 bits"),
    }
}

/// The product of dims; `None` if it is not linear in the batch size.
pub(crate) fn product_dim(dims: &[Dim]) -> Option<Dim> {
    dims.iter().try_fold(Dim::Fixed(1), |n, dim| n.times(*dim))
}

impl RuleCall {
    /// For a pushed rule: Σ over space of the output's cotangent, [N, O].
    pub(crate) fn cotangent_of_sum(&self, b: &mut Builder<'_>) -> Result<ValueId> {
        match self.form(0) {
            Some(form) => form.dense(b, self.y()),
            None => b.scalar(self.y(), 0.0),
        }
    }
}
