//! A node with the facts of its inputs, and accessors for inference rules.

use super::RANK_LIMIT;
use crate::{
    facts::{ConstantValue, Dim, Fact},
    proto::{NodeProto, tensor_proto::DataType},
};

/// A shape.
pub(super) type Dims = Vec<Dim>;

/// A node, its opset and the facts of its inputs.
#[derive(Clone, Copy)]
pub(super) struct InferenceCall<'a> {
    pub(super) node: &'a NodeProto,
    pub(super) opset: i64,
    inputs: &'a [Option<&'a Fact>],
}

impl<'a> InferenceCall<'a> {
    pub(super) fn new(node: &'a NodeProto, opset: i64, inputs: &'a [Option<&'a Fact>]) -> Self {
        Self { node, opset, inputs }
    }

    /// Whether the node has that input.
    pub(super) fn has(&self, input: usize) -> bool {
        self.node.input.get(input).is_some_and(|name| !name.is_empty())
    }

    /// The number of inputs, omitted ones included.
    pub(super) fn arity(&self) -> usize {
        self.node.input.len()
    }

    /// The fact of an input; `None` if it has too many axes.
    pub(super) fn input(&self, input: usize) -> Option<&'a Fact> {
        let fact = self.inputs.get(input).copied().flatten().filter(|_| self.has(input))?;
        (fact.rank().unwrap_or(0) <= RANK_LIMIT).then_some(fact)
    }

    pub(super) fn elem(&self, input: usize) -> DataType {
        self.input(input).map_or(DataType::Undefined, |fact| fact.elem)
    }

    pub(super) fn shape(&self, input: usize) -> Option<&'a [Dim]> {
        self.input(input)?.shape.as_deref()
    }

    pub(super) fn value(&self, input: usize) -> Option<&'a ConstantValue> {
        self.input(input)?.value.as_ref()
    }

    /// The integers of an input, which can contain the batch size.
    pub(super) fn dims(&self, input: usize) -> Option<&'a [Dim]> {
        match self.value(input)? {
            ConstantValue::Ints(dims) => Some(dims),
            ConstantValue::Floats(_) => None,
        }
    }

    /// The single number of a one-element input.
    pub(super) fn scalar(&self, input: usize) -> Option<i64> {
        match self.dims(input)? {
            [dim] => dim.fixed(),
            _ => None,
        }
    }

    /// The integer attribute, or its default.
    pub(super) fn int(&self, name: &str, default: i64) -> i64 {
        self.node.attr_int(name).unwrap_or(default)
    }

    /// The text attribute; empty if it is absent.
    pub(super) fn text(&self, name: &str) -> &'a str {
        self.node.attr_str(name).unwrap_or_default()
    }

    /// `count` integers of an attribute, or that many defaults; `None` if the length differs.
    pub(super) fn ints(&self, name: &str, count: usize, default: i64) -> Option<Vec<i64>> {
        match self.node.attr_ints(name) {
            Some(ints) => (ints.len() == count).then(|| ints.to_vec()),
            None => Some(vec![default; count]),
        }
    }

    /// Integers that are an input in newer opsets and an attribute in older ones: `Some(None)` if
    /// the node has neither, `None` if they are unknown.
    pub(super) fn list(&self, input: usize, name: &str) -> Option<Option<Vec<Dim>>> {
        if self.has(input) {
            return self.dims(input).map(|dims| Some(dims.to_vec()));
        }
        let fixed = |ints: &[i64]| ints.iter().copied().map(Dim::Fixed).collect();
        Some(self.node.attr_ints(name).map(fixed))
    }

    /// Like [`InferenceCall::list`], for distinct axes of a value of that rank, counted from the front.
    pub(super) fn axes(&self, input: usize, name: &str, rank: usize) -> Option<Option<Vec<usize>>> {
        let Some(list) = self.list(input, name)? else { return Some(None) };
        let list: Vec<i64> = list.into_iter().map(Dim::fixed).collect::<Option<_>>()?;
        normal_axes(&list, rank).map(Some)
    }

    /// The axis attribute, counted from the front.
    pub(super) fn axis(&self, default: i64, rank: usize) -> Option<usize> {
        normal_axis(self.int("axis", default), rank)
    }
}

/// An axis counted from the front; `None` if it does not exist.
pub(super) fn normal_axis(axis: i64, rank: usize) -> Option<usize> {
    let rank = i64::try_from(rank).ok()?;
    let axis = if axis < 0 { axis.checked_add(rank)? } else { axis };
    usize::try_from(axis).ok().filter(|_| axis < rank)
}

/// Axes counted from the front; `None` if one does not exist or occurs twice.
pub(super) fn normal_axes(axes: &[i64], rank: usize) -> Option<Vec<usize>> {
    let mut seen = vec![false; rank];
    axes.iter()
        .map(|axis| {
            let axis = normal_axis(*axis, rank)?;
            let seen = seen.get_mut(axis)?;
            (!std::mem::replace(seen, true)).then_some(axis)
        })
        .collect()
}

/// The product of dims.
pub(super) fn product(dims: &[Dim]) -> Option<Dim> {
    dims.iter().try_fold(Dim::Fixed(1), |product, dim| product.times(*dim))
}
