//! A gradient rule: what a row of the table holds, and how rows are written.

use std::ops::RangeInclusive;

use super::{Call, Cotangents, Pushed};
use crate::{
    builder::Builder,
    error::Result,
    graph::{Graph, ValueId},
};

/// Emits what a node computes, in other operators: a value for each of its outputs.
pub(super) type Define = fn(&mut Builder<'_>, &Call) -> Result<Vec<ValueId>>;

/// Emits the cotangents of the inputs of a node.
type Emit = fn(&mut Builder<'_>, &Call) -> Cotangents;

/// Where the derivative of an operator comes from.
#[derive(Debug)]
pub(super) enum Kind {
    /// It is zero everywhere.
    Zero,
    /// A rule whose cotangents have the shape of the output; the driver sums them back to that of
    /// the operand.
    Elementwise(Emit),
    /// A rule whose cotangents have the shape of the input, or broadcast to it.
    Whole(Emit),
    /// That of its definition in other operators.
    Expand(Define),
    /// As [`Kind::Whole`]; engines have use for the definition too.
    Defined(Emit, Define),
    /// It has none here, and why.
    Refused(&'static str),
}

/// How a sum over space commutes with an operator.
#[derive(Debug)]
pub(super) struct Push {
    /// What the sum of input `usize`'s cotangent, over `i64` elements a channel, can be made from.
    pub(super) when: fn(&Graph, &Call, usize, i64) -> Option<Pushed>,
    /// Makes it: [N, C].
    pub(super) emit: fn(&mut Builder<'_>, &Call, usize, i64) -> Result<ValueId>,
}

/// One row.
#[derive(Debug)]
pub(super) struct Rule {
    pub(super) op: &'static str,
    pub(super) opsets: RangeInclusive<i64>,
    pub(super) kind: Kind,
    pub(super) push: Option<Push>,
    /// What its messages say of the forms that the rule refuses, with … for what differs.
    pub(super) refuses: &'static [&'static str],
}

impl Rule {
    pub(super) const fn pushed(mut self, push: Push) -> Self {
        self.push = Some(push);
        self
    }

    pub(super) const fn refusing(mut self, forms: &'static [&'static str]) -> Self {
        self.refuses = forms;
        self
    }
}

pub(super) const fn zero(op: &'static str, opsets: RangeInclusive<i64>) -> Rule {
    Rule { op, opsets, kind: Kind::Zero, push: None, refuses: &[] }
}

pub(super) const fn elementwise(op: &'static str, opsets: RangeInclusive<i64>, emit: Emit) -> Rule {
    Rule { op, opsets, kind: Kind::Elementwise(emit), push: None, refuses: &[] }
}

pub(super) const fn whole(op: &'static str, opsets: RangeInclusive<i64>, emit: Emit) -> Rule {
    Rule { op, opsets, kind: Kind::Whole(emit), push: None, refuses: &[] }
}

pub(super) const fn expand(op: &'static str, opsets: RangeInclusive<i64>, define: Define) -> Rule {
    Rule { op, opsets, kind: Kind::Expand(define), push: None, refuses: &[] }
}

pub(super) const fn refused(
    op: &'static str,
    opsets: RangeInclusive<i64>,
    why: &'static str,
) -> Rule {
    Rule { op, opsets, kind: Kind::Refused(why), push: None, refuses: &[] }
}

pub(super) const fn defined(
    op: &'static str,
    opsets: RangeInclusive<i64>,
    emit: Emit,
    define: Define,
) -> Rule {
    Rule { op, opsets, kind: Kind::Defined(emit, define), push: None, refuses: &[] }
}
