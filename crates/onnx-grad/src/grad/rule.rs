//! Gradient rules: the rows of the table and their constructors.

use std::ops::RangeInclusive;

use super::{Cotangents, RuleCall, Symbols, Terms, call::values};
use crate::{
    builder::Builder,
    error::Result,
    graph::{Graph, ValueId},
};

/// Emits the cotangents of the inputs of a node.
type CotangentEmitter = fn(&mut Builder<'_>, &RuleCall) -> Cotangents;

/// Emits the definition of a node in other operators: a value for each output.
type DefinitionEmitter = fn(&mut Builder<'_>, &RuleCall) -> Result<Vec<ValueId>>;

/// States formulas for the cotangents or the definition of a node, without emitting them.
type Formula = for<'n> fn(Symbols<'n>) -> Terms<'n>;

/// The definition of a node in other operators.
#[derive(Clone, Copy, Debug)]
pub(super) enum Definition {
    /// A function that emits it.
    Emitter(DefinitionEmitter),
    /// A formula for each of its outputs.
    Formula(Formula),
}

impl Definition {
    pub(super) fn emit(self, b: &mut Builder<'_>, n: &RuleCall) -> Result<Vec<ValueId>> {
        match self {
            Self::Emitter(define) => define(b, n),
            Self::Formula(formula) => values(b, formula(n.symbols())?),
        }
    }
}

/// The source of an operator's derivative.
#[derive(Debug)]
pub(super) enum RuleKind {
    /// The derivative is zero everywhere.
    Zero,
    /// Formulas of cotangents in the shape of the output. The driver emits the required ones, and sums them to the
    /// shape of the operand.
    Formula(Formula),
    /// A function that emits such cotangents.
    Elementwise(CotangentEmitter),
    /// A function whose cotangents have the shape of the input, or broadcast to it.
    Whole(CotangentEmitter),
    /// The definition in other operators.
    Expand(Definition),
    /// A function like that of `Whole`; the definition is for engines only.
    Defined(CotangentEmitter, Definition),
    /// No derivative, with the reason.
    Refused(&'static str),
}

/// The operand of a pushed sum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PushOperand {
    /// The sum of the output's cotangent, over that many elements of each channel.
    Sum(i64),
    /// The full cotangent of the output.
    Full,
}

/// The commutation of an operator with the sum over space.
#[derive(Debug)]
pub(super) struct Push {
    /// The operand from which the sum of input `usize`'s cotangent, over `i64` elements of each channel, is
    /// computable.
    pub(super) when: fn(&Graph, &RuleCall, usize, i64) -> Option<PushOperand>,
    /// Emits the sum, [N, C].
    pub(super) emit: fn(&mut Builder<'_>, &RuleCall, usize, i64) -> Result<ValueId>,
}

/// One row of the table.
#[derive(Debug)]
pub(super) struct Rule {
    pub(super) op: &'static str,
    pub(super) opsets: RangeInclusive<i64>,
    pub(super) kind: RuleKind,
    pub(super) push: Option<Push>,
    /// The refused forms in the words of the rule's messages, with … for variable parts.
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
    Rule { op, opsets, kind: RuleKind::Zero, push: None, refuses: &[] }
}

pub(super) const fn formula(
    op: &'static str,
    opsets: RangeInclusive<i64>,
    formula: Formula,
) -> Rule {
    Rule { op, opsets, kind: RuleKind::Formula(formula), push: None, refuses: &[] }
}

pub(super) const fn elementwise(
    op: &'static str,
    opsets: RangeInclusive<i64>,
    emit: CotangentEmitter,
) -> Rule {
    Rule { op, opsets, kind: RuleKind::Elementwise(emit), push: None, refuses: &[] }
}

pub(super) const fn whole(
    op: &'static str,
    opsets: RangeInclusive<i64>,
    emit: CotangentEmitter,
) -> Rule {
    Rule { op, opsets, kind: RuleKind::Whole(emit), push: None, refuses: &[] }
}

pub(super) const fn expand(
    op: &'static str,
    opsets: RangeInclusive<i64>,
    define: DefinitionEmitter,
) -> Rule {
    Rule {
        op,
        opsets,
        kind: RuleKind::Expand(Definition::Emitter(define)),
        push: None,
        refuses: &[],
    }
}

pub(super) const fn expand_to(
    op: &'static str,
    opsets: RangeInclusive<i64>,
    formula: Formula,
) -> Rule {
    Rule {
        op,
        opsets,
        kind: RuleKind::Expand(Definition::Formula(formula)),
        push: None,
        refuses: &[],
    }
}

pub(super) const fn refused(
    op: &'static str,
    opsets: RangeInclusive<i64>,
    why: &'static str,
) -> Rule {
    Rule { op, opsets, kind: RuleKind::Refused(why), push: None, refuses: &[] }
}

pub(super) const fn defined(
    op: &'static str,
    opsets: RangeInclusive<i64>,
    emit: CotangentEmitter,
    define: DefinitionEmitter,
) -> Rule {
    let define = Definition::Emitter(define);
    Rule { op, opsets, kind: RuleKind::Defined(emit, define), push: None, refuses: &[] }
}
