//! Reads values of the model so that engines fuse its nodes as they would without the reader.
//!
//! An engine that runs x·Sigmoid(x) or the five nodes of a GELU as one has no value in between: another reader of it keeps the nodes
//! apart, which is slower and changes the last bits of the model's own outputs. So appended nodes compute such a value again, from
//! the values before the group. ONNX Runtime merges equal nodes before it fuses, so a copy is not quite equal: its operands are
//! exchanged, or a Reshape is in front of it that moves nothing.

use super::Builder;
use crate::{
    error::Result,
    graph::{NodeId, ValueId},
    op::{self, Kind},
};

/// The most groups in a row that are computed again.
const DEPTH: usize = 64;
/// The most elementwise nodes behind a Transpose that are computed again in front of it.
const BEHIND_TRANSPOSE: usize = 4;

impl Builder<'_> {
    /// Values that hold the same, and that an appended node can read.
    pub(super) fn readable(&mut self, values: &[Option<ValueId>]) -> Result<Vec<Option<ValueId>>> {
        values.iter().map(|value| value.map(|value| self.again(value, DEPTH)).transpose()).collect()
    }

    fn again(&mut self, value: ValueId, depth: usize) -> Result<ValueId> {
        if let Some(copy) = self.graph.copy_of(value) {
            return Ok(copy);
        }
        let Some(id) =
            self.graph.producer(value).filter(|_| depth > 0 && self.graph.is_inner(value))
        else {
            return Ok(value);
        };
        let inputs = self.graph.node_inputs(id).to_vec();
        let mut read = Vec::with_capacity(inputs.len());
        for input in &inputs {
            read.push(input.map(|input| self.again(input, depth - 1)).transpose()?);
        }
        if read == inputs {
            self.tell_apart(id, &mut read)?;
        }
        let copy = self.copied(id, &read)?;
        self.graph.set_copy(value, copy);
        Ok(copy)
    }

    /// Changes what a copy of a node reads, so that it is no equal node, but not its result.
    fn tell_apart(&mut self, id: NodeId, inputs: &mut [Option<ValueId>]) -> Result<()> {
        if let ("Add" | "Mul", [left, right]) = (self.graph.node(id).op(), &mut *inputs)
            && left != right
        {
            std::mem::swap(left, right);
            return Ok(());
        }
        let varying = inputs.iter_mut().flatten().find(|input| self.graph.varies(**input));
        if let Some(input) = varying {
            let rank = self.rank(*input)?;
            let same = self.list(&vec![0; rank])?;
            *input = self.raw_as_given("Reshape", &[Some(*input), Some(same)], 1, vec![])?[0];
        }
        Ok(())
    }

    /// The output of a copy of a node that reads these values.
    fn copied(&mut self, id: NodeId, inputs: &[Option<ValueId>]) -> Result<ValueId> {
        let node = self.graph.node(id);
        let (op, attributes) = (node.op().to_owned(), node.attribute.clone());
        Ok(self.raw_as_given(&op, inputs, 1, attributes)?[0])
    }

    /// A value of which one of the model is a transpose, and the order of the axes, if there is one: axis `i` of `value` is
    /// axis `order[i]` of the result. Products with numbers in between are computed again, in front of the
    /// transpose. A gradient's Transpose of this value would meet that of the model, and engines would move the model's.
    pub(super) fn before_transpose(
        &mut self,
        value: ValueId,
    ) -> Result<Option<(ValueId, Vec<usize>)>> {
        let mut behind = Vec::new();
        let mut at = value;
        let (before, order) = loop {
            let Some(id) = self.graph.producer(at).filter(|id| !self.graph.is_appended(*id)) else {
                return Ok(None);
            };
            if op::traits(self.graph.node(id)).kind == Kind::Transpose {
                let Some(found) = self.transposed(id) else { return Ok(None) };
                break found;
            }
            let Some(place) = self.scaled(id, at).filter(|_| behind.len() < BEHIND_TRANSPOSE)
            else {
                return Ok(None);
            };
            behind.push((id, place));
            let Some(before) = self.graph.node_inputs(id)[place] else { return Ok(None) };
            at = before;
        };
        let mut made = before;
        for (id, place) in behind.into_iter().rev() {
            let mut inputs = self.graph.node_inputs(id).to_vec();
            inputs[place] = Some(made);
            made = self.copied(id, &inputs)?;
        }
        Ok(Some((made, order)))
    }

    /// What a Transpose reads, and its order of the axes.
    fn transposed(&self, id: NodeId) -> Option<(ValueId, Vec<usize>)> {
        let before = self.graph.node_inputs(id).first().copied().flatten()?;
        let rank = self.rank(before).ok()?;
        let order = match self.graph.node(id).attr_ints("perm") {
            None => (0..rank).rev().collect(),
            Some(perm) => {
                perm.iter().map(|axis| usize::try_from(*axis).ok()).collect::<Option<Vec<_>>>()?
            }
        };
        (order.len() == rank).then_some((before, order))
    }

    /// The place of the operand that an elementwise node gives the result's shape to, if all others are single numbers.
    fn scaled(&self, id: NodeId, made: ValueId) -> Option<usize> {
        let node = self.graph.node(id);
        if !op::traits(node).is_elementwise() || node.output.len() != 1 || node.op() == "Dropout" {
            return None;
        }
        let is_number = |value: &Option<ValueId>| {
            let sizes = value.and_then(|value| self.graph.fact(value).sizes());
            sizes.is_some_and(|sizes| sizes.iter().all(|size| *size == 1))
        };
        let mut wide =
            self.graph.node_inputs(id).iter().enumerate().filter(|(_, value)| !is_number(value));
        let ((place, Some(value)), None) = (wide.next()?, wide.next()) else { return None };
        (self.graph.fact(*value).shape == self.graph.fact(made).shape).then_some(place)
    }
}
