//! Where places are in the values around a node.

use std::collections::HashMap;

use crate::{
    facts::Dim,
    graph::{Graph, NodeId, ValueId},
    op::{self, Kind},
};

/// Where places are in a value: along an axis, which may also hold what is `ahead` and `behind` of each: tokens of several
/// images as one axis are `[N·T, K]` or `[T·N, K]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Places {
    pub(super) axis: usize,
    /// The number of places.
    pub(super) size: i64,
    pub(super) ahead: Dim,
    pub(super) behind: Dim,
}

impl Places {
    pub(super) fn along(axis: usize, size: i64) -> Self {
        Self { axis, size, ahead: Dim::Fixed(1), behind: Dim::Fixed(1) }
    }

    /// The size of the axis.
    pub(super) fn dim(self) -> Option<Dim> {
        self.ahead.times(Dim::Fixed(self.size))?.times(self.behind)
    }

    fn at(self, axis: usize) -> Self {
        Self { axis, ..self }
    }
}

/// For a node that computes each place by itself: where the places are in each input, `None` for one that all
/// places read whole. `None` for another node.
pub(super) fn operands(
    graph: &Graph,
    id: NodeId,
    known: &HashMap<ValueId, Places>,
) -> Option<Vec<Option<Places>>> {
    let node = graph.node(id);
    let inputs = graph.node_inputs(id);
    let is_open = |value: ValueId| graph.fact(value).shape.is_none();
    if !node.op_domain().is_empty()
        || !graph.node_captures(id).is_empty()
        || graph.node_reads(id).any(is_open)
    {
        return None;
    }
    let made = graph.node_outputs(id).iter().flatten();
    let (made, places) = made.copied().find_map(|value| Some((value, *known.get(&value)?)))?;
    let axis = places.axis;
    let shape = |value: ValueId| graph.fact(value).shape.as_deref();
    let (x, rank) = (inputs.first().copied()??, shape(made)?.len());
    let first = |axis: usize| first_of(inputs.len(), places.at(axis));
    // An operand that broadcasts to the output, aligned at the end.
    let aligned = |value: &Option<ValueId>| -> Option<Option<Places>> {
        let Some(value) = value else { return Some(None) };
        let own = shape(*value)?;
        let Some(at) = (axis + own.len()).checked_sub(rank) else { return Some(None) };
        match *own.get(at)? {
            Dim::Fixed(1) => Some(None),
            dim if Some(dim) == places.dim() => Some(Some(places.at(at))),
            _ => None,
        }
    };
    match (op::traits(node).kind, node.op()) {
        (_, "Dropout" | "QuantizeLinear" | "DequantizeLinear") => None,
        (Kind::Activation | Kind::Elementwise | Kind::Identity | Kind::Convert, _) => {
            inputs.iter().map(aligned).collect()
        }
        (_, "LayerNormalization") => {
            let along = known_axis(node.attr_int("axis").unwrap_or(-1), rank)?;
            let is_one = node.output.iter().skip(1).all(String::is_empty);
            (axis < along && is_one).then(|| first(axis))
        }
        (_, "Softmax" | "LogSoftmax") => {
            let newer = graph.opset() >= 13;
            let default = if newer { -1 } else { 1 };
            let along = known_axis(node.attr_int("axis").unwrap_or(default), rank)?;
            (if newer { axis != along } else { axis < along }).then(|| first(axis))
        }
        (_, "Gemm") if axis == 0 && node.attr_int("transA").unwrap_or(0) == 0 => {
            let bias = inputs.iter().skip(2).map(aligned).collect::<Option<Vec<_>>>()?;
            Some([Some(places), None].into_iter().chain(bias).collect())
        }
        (_, "MatMul") => {
            let [Some(a), Some(b)] = inputs else { return None };
            let (rows, columns) = (shape(*a)?.len(), shape(*b)?.len());
            match axis + 2 {
                _ if rows < 2 || columns < 2 => None,
                last if last == rank => Some(vec![Some(places.at(rows - 2)), None]),
                last if last < rank => inputs.iter().map(aligned).collect(),
                _ => None,
            }
        }
        (Kind::Transpose, _) => match node.attr_ints("perm") {
            None => Some(first(rank - 1 - axis)),
            Some(perm) => Some(first(known_axis(*perm.get(axis)?, rank)?)),
        },
        (Kind::Reshape, _) => {
            let before = before_reshape(shape(x)?, shape(made)?, places)?;
            Some(first_of(inputs.len(), before))
        }
        (_, "Split") => {
            let along = known_axis(node.attr_int("axis").unwrap_or(0), rank)?;
            (axis != along).then(|| first(axis))
        }
        (_, "Gather") => {
            let index = shape(inputs.get(1).copied()??)?.len();
            let along = known_axis(node.attr_int("axis").unwrap_or(0), shape(x)?.len())?;
            match axis {
                axis if axis < along => Some(first(axis)),
                axis if axis >= along + index => Some(first(axis + 1 - index)),
                _ => None,
            }
        }
        (Kind::Reduce, _) if node.attr_int("keepdims").unwrap_or(1) == 1 => {
            let given = inputs.get(1).copied().flatten();
            let axes = match (node.attr_ints("axes"), given) {
                (Some(axes), None) => axes.to_vec(),
                (None, Some(value)) => graph.fact(value).ints()?,
                _ => return None,
            };
            let mut others = axes.iter().map(|along| known_axis(*along, rank));
            let apart = others.all(|along| along.is_some_and(|along| along != axis));
            (apart && !axes.is_empty()).then(|| first(axis))
        }
        _ => None,
    }
}

/// Where places are in a value of shape `before`, of those of its reshape to `after`.
fn before_reshape(before: &[Dim], after: &[Dim], places: Places) -> Option<Places> {
    let product = |dims: &[Dim]| dims.iter().try_fold(Dim::Fixed(1), |all, dim| all.times(*dim));
    let Places { axis, size, ahead, behind } = places;
    let all_ahead = product(&after[..axis])?.times(ahead)?;
    let all_behind = behind.times(product(&after[axis + 1..])?)?;
    let found = |axis: usize| {
        let ahead = all_ahead.divided_by(product(&before[..axis])?)?;
        let behind = all_behind.divided_by(product(&before[axis + 1..])?)?;
        let found = Places { axis, size, ahead, behind };
        (found.dim() == Some(before[axis])).then_some(found)
    };
    (0..before.len()).find_map(found)
}

/// The places in the first of several inputs; all read the others whole.
fn first_of(inputs: usize, places: Places) -> Vec<Option<Places>> {
    (0..inputs).map(|at| (at == 0).then_some(places)).collect()
}

pub(super) fn known_axis(axis: i64, rank: usize) -> Option<usize> {
    let axis = if axis < 0 { axis + i64::try_from(rank).ok()? } else { axis };
    usize::try_from(axis).ok().filter(|axis| *axis < rank)
}

pub(super) fn dim_at(graph: &Graph, value: ValueId, axis: usize) -> Option<Dim> {
    graph.fact(value).shape.as_ref()?.get(axis).copied()
}
