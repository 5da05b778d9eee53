//! A gradient rule: what a row of the table holds, and how rows are written.

use std::ops::RangeInclusive;

use super::{Call, Cotangents, Symbols, Terms, call::values};
use crate::{
    builder::Builder,
    error::Result,
    graph::{Graph, ValueId},
};

/// Emits the cotangents of the inputs of a node.
type Emit = fn(&mut Builder<'_>, &Call) -> Cotangents;

/// Emits what a node computes, in other operators: a value for each of its outputs.
type Emitted = fn(&mut Builder<'_>, &Call) -> Result<Vec<ValueId>>;

/// Writes the cotangents of the inputs of a node, or what it computes, without emitting anything.
type Formula = for<'n> fn(Symbols<'n>) -> Terms<'n>;

/// What a node computes, in other operators.
#[derive(Clone, Copy, Debug)]
pub(super) enum Define {
    /// As a function emits it.
    Emitted(Emitted),
    /// A formula for each of its outputs.
    Formula(Formula),
}

impl Define {
    pub(super) fn emit(self, b: &mut Builder<'_>, n: &Call) -> Result<Vec<ValueId>> {
        match self {
            Self::Emitted(define) => define(b, n),
            Self::Formula(formula) => values(b, formula(n.symbols())?),
        }
    }
}

/// Where the derivative of an operator comes from.
#[derive(Debug)]
pub(super) enum Kind {
    /// It is zero everywhere.
    Zero,
    /// Formulas of cotangents that have the shape of the output; the driver emits those that are wanted, and sums
    /// them back to the shape of the operand.
    Formula(Formula),
    /// A rule with such cotangents that emits them itself.
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

/// What a pushed sum is made from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pushed {
    /// The sum of the output's cotangent, over that many elements a channel.
    Sum(i64),
    /// The whole cotangent of the output.
    Full,
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

pub(super) const fn formula(
    op: &'static str,
    opsets: RangeInclusive<i64>,
    formula: Formula,
) -> Rule {
    Rule { op, opsets, kind: Kind::Formula(formula), push: None, refuses: &[] }
}

pub(super) const fn elementwise(op: &'static str, opsets: RangeInclusive<i64>, emit: Emit) -> Rule {
    Rule { op, opsets, kind: Kind::Elementwise(emit), push: None, refuses: &[] }
}

pub(super) const fn whole(op: &'static str, opsets: RangeInclusive<i64>, emit: Emit) -> Rule {
    Rule { op, opsets, kind: Kind::Whole(emit), push: None, refuses: &[] }
}

pub(super) const fn expand(op: &'static str, opsets: RangeInclusive<i64>, define: Emitted) -> Rule {
    Rule { op, opsets, kind: Kind::Expand(Define::Emitted(define)), push: None, refuses: &[] }
}

pub(super) const fn expand_to(
    op: &'static str,
    opsets: RangeInclusive<i64>,
    formula: Formula,
) -> Rule {
    Rule { op, opsets, kind: Kind::Expand(Define::Formula(formula)), push: None, refuses: &[] }
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
    define: Emitted,
) -> Rule {
    let define = Define::Emitted(define);
    Rule { op, opsets, kind: Kind::Defined(emit, define), push: None, refuses: &[] }
}
