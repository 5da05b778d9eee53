//! The table of gradient rules: one row for each operator and range of opsets.

use std::ops::RangeInclusive;

use super::{Call, Cotangents, Pushed, elementwise, index, layout, linear, norm, pool, reduce};
use crate::{
    builder::Builder,
    error::Result,
    graph::{Graph, ValueId},
    proto::NodeProto,
};

/// The newest opset whose operators were read and tested.
pub const NEWEST_OPSET: i64 = 28;
/// The oldest opset: the first whose arithmetic broadcasts.
pub const OLDEST_OPSET: i64 = 7;

const OLDEST: i64 = OLDEST_OPSET;
const NEWEST: i64 = NEWEST_OPSET;

type Emit = fn(&mut Builder<'_>, &Call) -> Cotangents;

/// How the derivative of an operator is had.
#[derive(Debug)]
pub(super) enum Kind {
    /// It is zero everywhere.
    Zero,
    /// A rule whose cotangents have the shape of the output; the driver sums them back to that of
    /// the operand.
    Elementwise(Emit),
    /// A rule whose cotangents have the shape of the input, or broadcast to it.
    Whole(Emit),
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
}

const fn zero(op: &'static str, opsets: RangeInclusive<i64>) -> Rule {
    Rule { op, opsets, kind: Kind::Zero, push: None }
}

pub(super) const fn elementwise(op: &'static str, opsets: RangeInclusive<i64>, emit: Emit) -> Rule {
    Rule { op, opsets, kind: Kind::Elementwise(emit), push: None }
}

const fn whole(op: &'static str, opsets: RangeInclusive<i64>, emit: Emit) -> Rule {
    Rule { op, opsets, kind: Kind::Whole(emit), push: None }
}

/// Sorted by operator. An operator that a rule emits has a row too, so that results can be
/// differentiated again.
#[rustfmt::skip]
const RULES: &[Rule] = &[
    Rule { push: Some(elementwise::PUSH_ADD), ..elementwise("Add", OLDEST..=NEWEST, elementwise::add) },
    zero("And", OLDEST..=NEWEST),
    zero("ArgMax", OLDEST..=NEWEST),
    zero("ArgMin", OLDEST..=NEWEST),
    Rule { push: Some(pool::PUSH_WINDOWS), ..whole("AveragePool", OLDEST..=NEWEST, pool::average_pool) },
    Rule { push: Some(norm::PUSH_BATCH), ..whole("BatchNormalization", OLDEST..=NEWEST, norm::batch_normalization) },
    elementwise("Cast", OLDEST..=NEWEST, elementwise::cast),
    zero("Ceil", OLDEST..=NEWEST),
    elementwise("Clip", OLDEST..=NEWEST, elementwise::clip),
    Rule { push: Some(layout::PUSH_CONCAT), ..whole("Concat", OLDEST..=NEWEST, layout::concat) },
    zero("ConstantOfShape", 9..=NEWEST),
    Rule { push: Some(linear::PUSH_CONV), ..whole("Conv", OLDEST..=NEWEST, linear::conv) },
    whole("ConvTranspose", OLDEST..=NEWEST, linear::conv_transpose),
    elementwise("Div", OLDEST..=NEWEST, elementwise::div),
    Rule { push: Some(elementwise::PUSH_THROUGH), ..whole("Dropout", OLDEST..=NEWEST, elementwise::dropout) },
    zero("Equal", OLDEST..=NEWEST),
    elementwise("Erf", 9..=NEWEST, elementwise::erf),
    elementwise("Exp", OLDEST..=NEWEST, elementwise::exp),
    whole("Expand", 8..=NEWEST, layout::expand),
    Rule { push: Some(layout::PUSH_RESHAPE), ..whole("Flatten", OLDEST..=NEWEST, layout::flatten) },
    zero("Floor", OLDEST..=NEWEST),
    whole("Gather", OLDEST..=NEWEST, index::gather),
    whole("GatherElements", 11..=NEWEST, index::gather_elements),
    elementwise("Gelu", 20..=NEWEST, elementwise::gelu),
    Rule { push: Some(linear::PUSH_GEMM), ..whole("Gemm", OLDEST..=NEWEST, linear::gemm) },
    Rule { push: Some(pool::PUSH_GLOBAL_AVERAGE), ..whole("GlobalAveragePool", OLDEST..=NEWEST, pool::global_average_pool) },
    whole("GlobalMaxPool", OLDEST..=NEWEST, pool::global_max_pool),
    zero("Greater", OLDEST..=NEWEST),
    zero("GreaterOrEqual", 12..=NEWEST),
    elementwise("HardSigmoid", OLDEST..=NEWEST, elementwise::hard_sigmoid),
    elementwise("HardSwish", 14..=NEWEST, elementwise::hard_swish),
    Rule { push: Some(elementwise::PUSH_THROUGH), ..whole("Identity", OLDEST..=NEWEST, elementwise::identity) },
    whole("LayerNormalization", 17..=NEWEST, norm::layer_normalization),
    elementwise("LeakyRelu", OLDEST..=NEWEST, elementwise::leaky_relu),
    zero("Less", OLDEST..=NEWEST),
    zero("LessOrEqual", 12..=NEWEST),
    elementwise("Log", OLDEST..=NEWEST, elementwise::log),
    whole("MatMul", OLDEST..=NEWEST, linear::matmul),
    elementwise("Max", OLDEST..=NEWEST, elementwise::max),
    Rule { push: Some(pool::PUSH_WINDOWS), ..whole("MaxPool", OLDEST..=NEWEST, pool::max_pool) },
    Rule { push: Some(elementwise::PUSH_MUL), ..elementwise("Mul", OLDEST..=NEWEST, elementwise::mul) },
    elementwise("Neg", OLDEST..=NEWEST, elementwise::neg),
    zero("NonZero", 9..=NEWEST),
    zero("Not", OLDEST..=NEWEST),
    zero("OneHot", 9..=NEWEST),
    zero("Or", OLDEST..=NEWEST),
    whole("Pad", OLDEST..=NEWEST, layout::pad),
    elementwise("Pow", OLDEST..=NEWEST, elementwise::pow),
    zero("Range", 11..=NEWEST),
    whole("ReduceMax", OLDEST..=NEWEST, reduce::reduce_extreme),
    Rule { push: Some(reduce::PUSH_MEAN), ..whole("ReduceMean", OLDEST..=NEWEST, reduce::reduce_mean) },
    whole("ReduceMin", OLDEST..=NEWEST, reduce::reduce_extreme),
    whole("ReduceSum", OLDEST..=NEWEST, reduce::reduce_sum),
    elementwise("Relu", OLDEST..=NEWEST, elementwise::relu),
    Rule { push: Some(layout::PUSH_RESHAPE), ..whole("Reshape", OLDEST..=NEWEST, layout::reshape) },
    zero("Round", 11..=NEWEST),
    zero("Shape", OLDEST..=NEWEST),
    elementwise("Sigmoid", OLDEST..=NEWEST, elementwise::sigmoid),
    zero("Sign", 9..=NEWEST),
    zero("Size", OLDEST..=NEWEST),
    whole("Slice", OLDEST..=NEWEST, layout::slice),
    whole("Softmax", OLDEST..=NEWEST, reduce::softmax),
    whole("Split", OLDEST..=NEWEST, layout::split),
    elementwise("Sqrt", OLDEST..=NEWEST, elementwise::sqrt),
    Rule { push: Some(layout::PUSH_RESHAPE), ..whole("Squeeze", OLDEST..=NEWEST, layout::squeeze) },
    elementwise("Sub", OLDEST..=NEWEST, elementwise::sub),
    elementwise("Sum", OLDEST..=NEWEST, elementwise::sum),
    elementwise("Tanh", OLDEST..=NEWEST, elementwise::tanh),
    whole("Transpose", OLDEST..=NEWEST, layout::transpose),
    whole("Unsqueeze", OLDEST..=NEWEST, layout::unsqueeze),
    zero("Xor", OLDEST..=NEWEST),
];

/// The row for a node, or why there is none.
pub(super) fn rule_for(node: &NodeProto, opset: i64) -> Result<&'static Rule, String> {
    let op = node.op();
    if !node.op_domain().is_empty() {
        return Err("no gradient rule for operators of this domain".to_owned());
    }
    let at = RULES.partition_point(|rule| rule.op < op);
    let rows = || RULES[at..].iter().take_while(|rule| rule.op == op);
    let Some(first) = rows().next() else {
        return Err("no gradient rule for this operator".to_owned());
    };
    rows().find(|rule| rule.opsets.contains(&opset)).ok_or_else(|| {
        let (from, to) = (first.opsets.start(), first.opsets.end());
        format!("its gradient rule knows opsets {from} to {to}")
    })
}

/// What the table says of one operator, for lists and tests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleInfo {
    /// The operator.
    pub op: &'static str,
    /// The opsets that the row is for, first and last.
    pub opsets: (i64, i64),
    /// Whether the derivative is known to be zero.
    pub zero: bool,
}

/// The table of gradient rules, sorted by operator.
pub fn rules() -> impl Iterator<Item = RuleInfo> {
    RULES.iter().map(|rule| RuleInfo {
        op: rule.op,
        opsets: (*rule.opsets.start(), *rule.opsets.end()),
        zero: matches!(rule.kind, Kind::Zero),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted_and_its_opsets_are_in_range() {
        for pair in RULES.windows(2) {
            assert!(pair[0].op < pair[1].op, "{} before {}", pair[0].op, pair[1].op);
        }
        for rule in RULES {
            assert!(rule.opsets.start() >= &OLDEST && rule.opsets.end() == &NEWEST, "{}", rule.op);
        }
    }
}
