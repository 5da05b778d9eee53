//! The table of gradient rules: one row for each operator and range of opsets.

use std::ops::RangeInclusive;

use super::{
    Call, Cotangents, Pushed, attention, einsum,
    elementwise::{self, activation, function},
    expand::Define,
    index, layout, linear, norm, pool, quantise, reduce, resize, sample,
};
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
    /// That of its definition in other operators.
    Expand(Define),
    /// As [`Kind::Whole`]; engines have use for the definition too.
    Defined(Emit, Define),
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

const fn expand(op: &'static str, opsets: RangeInclusive<i64>, define: Define) -> Rule {
    Rule { op, opsets, kind: Kind::Expand(define), push: None }
}

const fn defined(
    op: &'static str,
    opsets: RangeInclusive<i64>,
    emit: Emit,
    define: Define,
) -> Rule {
    Rule { op, opsets, kind: Kind::Defined(emit, define), push: None }
}

/// Sorted by operator. An operator that a rule emits has a row too, so that results can be
/// differentiated again.
#[rustfmt::skip]
const RULES: &[Rule] = &[
    elementwise("Abs", OLDEST..=NEWEST, function::abs),
    elementwise("Acos", OLDEST..=NEWEST, function::acos),
    elementwise("Acosh", 9..=NEWEST, function::acosh),
    Rule { push: Some(elementwise::PUSH_ADD), ..elementwise("Add", OLDEST..=NEWEST, elementwise::add) },
    whole("AffineGrid", 20..=NEWEST, sample::affine_grid),
    zero("And", OLDEST..=NEWEST),
    zero("ArgMax", OLDEST..=NEWEST),
    zero("ArgMin", OLDEST..=NEWEST),
    elementwise("Asin", OLDEST..=NEWEST, function::asin),
    elementwise("Asinh", 9..=NEWEST, function::asinh),
    elementwise("Atan", OLDEST..=NEWEST, function::atan),
    elementwise("Atanh", 9..=NEWEST, function::atanh),
    expand("Attention", 23..=NEWEST, attention::attention),
    Rule { push: Some(pool::PUSH_WINDOWS), ..whole("AveragePool", OLDEST..=NEWEST, pool::average_pool) },
    Rule { push: Some(norm::PUSH_BATCH), ..whole("BatchNormalization", OLDEST..=NEWEST, norm::batch_normalization) },
    zero("Bernoulli", 15..=NEWEST),
    zero("BitShift", 11..=NEWEST),
    zero("BitwiseAnd", 18..=NEWEST),
    zero("BitwiseNot", 18..=NEWEST),
    zero("BitwiseOr", 18..=NEWEST),
    zero("BitwiseXor", 18..=NEWEST),
    elementwise("Cast", OLDEST..=NEWEST, elementwise::cast),
    elementwise("CastLike", 15..=NEWEST, elementwise::cast),
    zero("Ceil", OLDEST..=NEWEST),
    expand("Celu", 12..=NEWEST, activation::celu),
    elementwise("Clip", OLDEST..=NEWEST, elementwise::clip),
    Rule { push: Some(layout::PUSH_CONCAT), ..whole("Concat", OLDEST..=NEWEST, layout::concat) },
    zero("ConstantOfShape", 9..=NEWEST),
    Rule { push: Some(linear::PUSH_CONV), ..whole("Conv", OLDEST..=NEWEST, linear::conv) },
    expand("ConvInteger", 10..=NEWEST, quantise::conv_integer),
    whole("ConvTranspose", OLDEST..=NEWEST, linear::conv_transpose),
    elementwise("Cos", OLDEST..=NEWEST, function::cos),
    elementwise("Cosh", 9..=NEWEST, function::cosh),
    whole("CumSum", 11..=NEWEST, reduce::cum_sum),
    whole("DepthToSpace", OLDEST..=NEWEST, layout::depth_to_space),
    whole("DequantizeLinear", 10..=NEWEST, quantise::dequantize_linear),
    elementwise("Div", OLDEST..=NEWEST, elementwise::div),
    Rule { push: Some(elementwise::PUSH_THROUGH), ..whole("Dropout", OLDEST..=NEWEST, elementwise::dropout) },
    whole("DynamicQuantizeLinear", 11..=NEWEST, quantise::dynamic_quantize_linear),
    defined("Einsum", 12..=NEWEST, einsum::einsum, einsum::spelled_out),
    elementwise("Elu", OLDEST..=NEWEST, activation::elu),
    zero("Equal", OLDEST..=NEWEST),
    elementwise("Erf", 9..=NEWEST, elementwise::erf),
    elementwise("Exp", OLDEST..=NEWEST, elementwise::exp),
    whole("Expand", 8..=NEWEST, layout::expand),
    zero("EyeLike", 9..=NEWEST),
    Rule { push: Some(layout::PUSH_RESHAPE), ..whole("Flatten", OLDEST..=NEWEST, layout::flatten) },
    zero("Floor", OLDEST..=NEWEST),
    whole("Gather", OLDEST..=NEWEST, index::gather),
    whole("GatherElements", 11..=NEWEST, index::gather_elements),
    whole("GatherND", 11..=NEWEST, index::gather_nd),
    elementwise("Gelu", 20..=NEWEST, elementwise::gelu),
    Rule { push: Some(linear::PUSH_GEMM), ..whole("Gemm", OLDEST..=NEWEST, linear::gemm) },
    Rule { push: Some(pool::PUSH_GLOBAL_AVERAGE), ..whole("GlobalAveragePool", OLDEST..=NEWEST, pool::global_average_pool) },
    whole("GlobalLpPool", OLDEST..=NEWEST, pool::global_lp_pool),
    whole("GlobalMaxPool", OLDEST..=NEWEST, pool::global_max_pool),
    zero("Greater", OLDEST..=NEWEST),
    zero("GreaterOrEqual", 12..=NEWEST),
    expand("GridSample", 16..=NEWEST, sample::grid_sample),
    expand("GroupNormalization", 18..=NEWEST, norm::group_normalization),
    elementwise("HardSigmoid", OLDEST..=NEWEST, elementwise::hard_sigmoid),
    elementwise("HardSwish", 14..=NEWEST, elementwise::hard_swish),
    zero("Hardmax", OLDEST..=NEWEST),
    Rule { push: Some(elementwise::PUSH_THROUGH), ..whole("Identity", OLDEST..=NEWEST, elementwise::identity) },
    expand("InstanceNormalization", OLDEST..=NEWEST, norm::instance_normalization),
    zero("IsInf", 10..=NEWEST),
    zero("IsNaN", 9..=NEWEST),
    expand("LRN", OLDEST..=NEWEST, norm::lrn),
    defined("LayerNormalization", OLDEST..=NEWEST, norm::layer_normalization, norm::layer_definition),
    elementwise("LeakyRelu", OLDEST..=NEWEST, elementwise::leaky_relu),
    zero("Less", OLDEST..=NEWEST),
    zero("LessOrEqual", 12..=NEWEST),
    elementwise("Log", OLDEST..=NEWEST, elementwise::log),
    whole("LogSoftmax", OLDEST..=NEWEST, reduce::log_softmax),
    expand("LpNormalization", OLDEST..=NEWEST, norm::lp_normalization),
    whole("LpPool", OLDEST..=NEWEST, pool::lp_pool),
    whole("MatMul", OLDEST..=NEWEST, linear::matmul),
    expand("MatMulInteger", 10..=NEWEST, quantise::matmul_integer),
    elementwise("Max", OLDEST..=NEWEST, elementwise::extreme),
    Rule { push: Some(pool::PUSH_WINDOWS), ..whole("MaxPool", OLDEST..=NEWEST, pool::max_pool) },
    whole("MaxUnpool", 9..=NEWEST, pool::max_unpool),
    elementwise("Mean", OLDEST..=NEWEST, elementwise::mean),
    expand("MeanVarianceNormalization", 9..=NEWEST, norm::mean_variance_normalization),
    elementwise("Min", OLDEST..=NEWEST, elementwise::extreme),
    expand("Mish", 18..=NEWEST, activation::mish),
    elementwise("Mod", 10..=NEWEST, function::modulo),
    Rule { push: Some(elementwise::PUSH_MUL), ..elementwise("Mul", OLDEST..=NEWEST, elementwise::mul) },
    zero("Multinomial", OLDEST..=NEWEST),
    elementwise("Neg", OLDEST..=NEWEST, elementwise::neg),
    zero("NonMaxSuppression", 10..=NEWEST),
    zero("NonZero", 9..=NEWEST),
    zero("Not", OLDEST..=NEWEST),
    zero("OneHot", 9..=NEWEST),
    zero("Or", OLDEST..=NEWEST),
    elementwise("PRelu", OLDEST..=NEWEST, activation::prelu),
    whole("Pad", OLDEST..=NEWEST, layout::pad),
    elementwise("Pow", OLDEST..=NEWEST, elementwise::pow),
    whole("QuantizeLinear", 10..=NEWEST, quantise::quantize_linear),
    expand("RMSNormalization", 23..=NEWEST, norm::rms_normalization),
    zero("RandomNormal", OLDEST..=NEWEST),
    zero("RandomNormalLike", OLDEST..=NEWEST),
    zero("RandomUniform", OLDEST..=NEWEST),
    zero("RandomUniformLike", OLDEST..=NEWEST),
    zero("Range", 11..=NEWEST),
    elementwise("Reciprocal", OLDEST..=NEWEST, function::reciprocal),
    whole("ReduceL1", OLDEST..=NEWEST, reduce::reduce_l1),
    whole("ReduceL2", OLDEST..=NEWEST, reduce::reduce_l2),
    whole("ReduceLogSum", OLDEST..=NEWEST, reduce::reduce_log_sum),
    whole("ReduceLogSumExp", OLDEST..=NEWEST, reduce::reduce_log_sum_exp),
    whole("ReduceMax", OLDEST..=NEWEST, reduce::reduce_extreme),
    Rule { push: Some(reduce::PUSH_MEAN), ..whole("ReduceMean", OLDEST..=NEWEST, reduce::reduce_mean) },
    whole("ReduceMin", OLDEST..=NEWEST, reduce::reduce_extreme),
    whole("ReduceProd", OLDEST..=NEWEST, reduce::reduce_prod),
    whole("ReduceSum", OLDEST..=NEWEST, reduce::reduce_sum),
    whole("ReduceSumSquare", OLDEST..=NEWEST, reduce::reduce_sum_square),
    elementwise("Relu", OLDEST..=NEWEST, elementwise::relu),
    Rule { push: Some(layout::PUSH_RESHAPE), ..whole("Reshape", OLDEST..=NEWEST, layout::reshape) },
    Rule { push: Some(resize::PUSH_RESIZE), ..whole("Resize", 10..=NEWEST, resize::resize) },
    whole("RotaryEmbedding", 23..=NEWEST, attention::rotary_embedding),
    zero("Round", 11..=NEWEST),
    whole("ScatterElements", 11..=NEWEST, index::scatter_elements),
    whole("ScatterND", 11..=NEWEST, index::scatter_nd),
    expand("Selu", OLDEST..=NEWEST, activation::selu),
    zero("Shape", OLDEST..=NEWEST),
    expand("Shrink", 9..=NEWEST, activation::shrink),
    elementwise("Sigmoid", OLDEST..=NEWEST, elementwise::sigmoid),
    zero("Sign", 9..=NEWEST),
    expand("SimplifiedLayerNormalization", OLDEST..=NEWEST, norm::rms_normalization),
    elementwise("Sin", OLDEST..=NEWEST, function::sin),
    elementwise("Sinh", 9..=NEWEST, function::sinh),
    zero("Size", OLDEST..=NEWEST),
    whole("Slice", OLDEST..=NEWEST, layout::slice),
    whole("Softmax", OLDEST..=NEWEST, reduce::softmax),
    elementwise("Softplus", OLDEST..=NEWEST, activation::softplus),
    elementwise("Softsign", OLDEST..=NEWEST, activation::softsign),
    whole("SpaceToDepth", OLDEST..=NEWEST, layout::space_to_depth),
    whole("Split", OLDEST..=NEWEST, layout::split),
    elementwise("Sqrt", OLDEST..=NEWEST, elementwise::sqrt),
    Rule { push: Some(layout::PUSH_RESHAPE), ..whole("Squeeze", OLDEST..=NEWEST, layout::squeeze) },
    elementwise("Sub", OLDEST..=NEWEST, elementwise::sub),
    elementwise("Sum", OLDEST..=NEWEST, elementwise::sum),
    expand("Swish", 24..=NEWEST, activation::swish),
    elementwise("Tan", OLDEST..=NEWEST, function::tan),
    elementwise("Tanh", OLDEST..=NEWEST, elementwise::tanh),
    expand("ThresholdedRelu", 10..=NEWEST, activation::thresholded_relu),
    whole("Tile", OLDEST..=NEWEST, layout::tile),
    whole("TopK", OLDEST..=NEWEST, index::top_k),
    whole("Transpose", OLDEST..=NEWEST, layout::transpose),
    whole("Trilu", 14..=NEWEST, layout::trilu),
    zero("Unique", 11..=NEWEST),
    whole("Unsqueeze", OLDEST..=NEWEST, layout::unsqueeze),
    Rule { push: Some(resize::PUSH_RESIZE), ..whole("Upsample", OLDEST..=9, resize::upsample) },
    elementwise("Where", 9..=NEWEST, elementwise::select),
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
            let last = if rule.op == "Upsample" { 9 } else { NEWEST };
            assert!(rule.opsets.start() >= &OLDEST && rule.opsets.end() == &last, "{}", rule.op);
        }
    }
}
