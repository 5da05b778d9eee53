//! The table of gradient rules: one row for each operator and range of opsets.

use super::{
    attention, control, einsum,
    elementwise::{self, activation, function},
    index, layout, linear, norm, pool, quantize, recurrent, reduce, resize,
    rule::{
        Rule, RuleKind, defined, elementwise, expand, expand_to, formula, refused, whole, zero,
    },
    sample,
};
use crate::proto::NodeProto;

/// The newest opset that is supported and tested.
pub const NEWEST_OPSET: i64 = 28;
/// The oldest supported opset: the first with broadcasting arithmetic.
pub const OLDEST_OPSET: i64 = 7;

const OLDEST: i64 = OLDEST_OPSET;
const NEWEST: i64 = NEWEST_OPSET;

/// The refused forms of any operator, from the driver and the readers of attributes and lists.
pub const REFUSED_FORMS: &[&str] = &[
    "attribute … is …; supported: without it",
    "its … are computed when the model runs; supported: constants",
    "its output … is on the path; supported: the first …",
    "no gradient rule for its input …",
];

const BLOCKED: &[&str] =
    &["attribute block_size is …; supported: 0, one scale or one for each index of an axis"];
const NO_AXES: &[&str] = &["attribute noop_with_empty_axes is 1 without axes; supported: axes"];
const LOSS: &str = "losses are for training only";
const NO_RULE: &str = "not implemented";
const OPTIONAL: &str = "optional values are not differentiated";
const SCALES: &str = "its scales are not constants; with constants it is rewritten";
const SEQUENCE: &str = "sequences are not differentiated";
const SPECTRUM: &str = "Fourier transforms are not differentiated";
const STATE: &str = "it has a state";
const STEPS: &[&str] =
    &["its sequence_lens are not all …, the number of its steps; supported: full length", UNROLLED];
const TEXT: &str = "it works on text";
const UNROLLED: &str = "its … steps unroll to … nodes or more; supported: up to 65536";
const WINDOW: &str = "it creates a window or a filter, which has no derivative";
const REDUCTIONS: &[&str] = &["attribute reduction is …; supported: none, add"];
const WEIGHTS: &[&str] = &["its weights depend on what is differentiated; supported: constants"];

/// Every operator of the standard, sorted. Each operator that a rule emits has a derivative, so that results can be
/// differentiated again.
#[rustfmt::skip]
const RULES: &[Rule] = &[
    formula("Abs", OLDEST..=NEWEST, function::abs),
    formula("Acos", OLDEST..=NEWEST, function::acos),
    formula("Acosh", 9..=NEWEST, function::acosh),
    elementwise("Add", OLDEST..=NEWEST, elementwise::sum).pushed(elementwise::PUSH_ADD),
    whole("AffineGrid", 20..=NEWEST, sample::affine_grid).refusing(&["attribute align_corners is 1 for an axis of size 1, where engines differ; supported: larger axes"]),
    zero("And", OLDEST..=NEWEST),
    zero("ArgMax", OLDEST..=NEWEST),
    zero("ArgMin", OLDEST..=NEWEST),
    formula("Asin", OLDEST..=NEWEST, function::asin),
    formula("Asinh", 9..=NEWEST, function::asinh),
    formula("Atan", OLDEST..=NEWEST, function::atan),
    formula("Atanh", 9..=NEWEST, function::atanh),
    expand("Attention", 23..=NEWEST, attention::attention).refusing(&["it has an input …; supported: without it", "its mask is for … of … keys; supported: for all"]),
    whole("AveragePool", OLDEST..=NEWEST, pool::average_pool).pushed(pool::PUSH_WINDOWS),
    defined("BatchNormalization", OLDEST..=NEWEST, norm::batch_normalization, norm::batch_definition).pushed(norm::PUSH_BATCH).refusing(&["attribute training_mode is 1; supported: 0", "attribute spatial is 0; supported: 1"]),
    zero("Bernoulli", 15..=NEWEST),
    refused("BitCast", 26..=NEWEST, "it reads the bits of a number as another type"),
    zero("BitShift", 11..=NEWEST),
    zero("BitwiseAnd", 18..=NEWEST),
    zero("BitwiseNot", 18..=NEWEST),
    zero("BitwiseOr", 18..=NEWEST),
    zero("BitwiseXor", 18..=NEWEST),
    refused("BlackmanWindow", 17..=NEWEST, WINDOW),
    elementwise("Cast", OLDEST..=NEWEST, elementwise::cast),
    elementwise("CastLike", 15..=NEWEST, elementwise::cast),
    refused("CausalConvWithState", 27..=NEWEST, STATE),
    zero("Ceil", OLDEST..=NEWEST),
    expand_to("Celu", 12..=NEWEST, activation::celu).refusing(&["attribute alpha is …; supported: above 0"]),
    refused("CenterCropPad", 18..=NEWEST, NO_RULE),
    formula("Clip", OLDEST..=NEWEST, elementwise::clip),
    refused("Col2Im", 18..=NEWEST, NO_RULE),
    refused("Compress", 9..=NEWEST, "the size of its output depends on numbers"),
    whole("Concat", OLDEST..=NEWEST, layout::concat).pushed(layout::PUSH_CONCAT),
    refused("ConcatFromSequence", 11..=NEWEST, SEQUENCE),
    refused("Constant", OLDEST..=NEWEST, "it has no inputs"),
    zero("ConstantOfShape", 9..=NEWEST),
    whole("Conv", OLDEST..=NEWEST, linear::conv).pushed(linear::PUSH_CONV).refusing(WEIGHTS),
    expand("ConvInteger", 10..=NEWEST, quantize::conv_integer),
    whole("ConvTranspose", OLDEST..=NEWEST, linear::conv_transpose).refusing(WEIGHTS),
    formula("Cos", OLDEST..=NEWEST, function::cos),
    formula("Cosh", 9..=NEWEST, function::cosh),
    refused("CumProd", 26..=NEWEST, NO_RULE),
    whole("CumSum", 11..=NEWEST, reduce::cum_sum),
    refused("DFT", 17..=NEWEST, SPECTRUM),
    refused("DeformConv", 19..=NEWEST, NO_RULE),
    whole("DepthToSpace", OLDEST..=NEWEST, layout::depth_to_space),
    whole("DequantizeLinear", 10..=NEWEST, quantize::dequantize_linear).refusing(BLOCKED),
    refused("Det", 11..=NEWEST, NO_RULE),
    formula("Div", OLDEST..=NEWEST, elementwise::div),
    whole("Dropout", OLDEST..=NEWEST, elementwise::dropout).pushed(elementwise::PUSH_THROUGH).refusing(&["training_mode is not constant false; supported: inference"]),
    whole("DynamicQuantizeLinear", 11..=NEWEST, quantize::dynamic_quantize_linear),
    defined("Einsum", 12..=NEWEST, einsum::einsum, einsum::spelled_out),
    formula("Elu", OLDEST..=NEWEST, activation::elu),
    zero("Equal", OLDEST..=NEWEST),
    formula("Erf", 9..=NEWEST, elementwise::erf),
    formula("Exp", OLDEST..=NEWEST, elementwise::exp),
    whole("Expand", 8..=NEWEST, layout::expand),
    zero("EyeLike", 9..=NEWEST),
    whole("Flatten", OLDEST..=NEWEST, layout::flatten).pushed(layout::PUSH_RESHAPE),
    zero("Floor", OLDEST..=NEWEST),
    defined("GRU", OLDEST..=NEWEST, recurrent::gru, recurrent::gru_definition).refusing(STEPS),
    whole("Gather", OLDEST..=NEWEST, index::gather),
    whole("GatherElements", 11..=NEWEST, index::gather_elements),
    whole("GatherND", 11..=NEWEST, index::gather_nd),
    formula("Gelu", 20..=NEWEST, elementwise::gelu),
    whole("Gemm", OLDEST..=NEWEST, linear::gemm).pushed(linear::PUSH_GEMM),
    whole("GlobalAveragePool", OLDEST..=NEWEST, pool::global_average_pool).pushed(pool::PUSH_GLOBAL_AVERAGE),
    whole("GlobalLpPool", OLDEST..=NEWEST, pool::global_lp_pool),
    whole("GlobalMaxPool", OLDEST..=NEWEST, pool::global_max_pool),
    zero("Greater", OLDEST..=NEWEST),
    zero("GreaterOrEqual", 12..=NEWEST),
    expand("GridSample", 16..=NEWEST, sample::grid_sample).refusing(&["attribute mode is …; supported: linear, nearest", "attribute padding_mode is …; supported: zeros, border"]),
    expand("GroupNormalization", 18..=NEWEST, norm::group_normalization),
    refused("HammingWindow", 17..=NEWEST, WINDOW),
    refused("HannWindow", 17..=NEWEST, WINDOW),
    formula("HardSigmoid", OLDEST..=NEWEST, elementwise::hard_sigmoid),
    formula("HardSwish", 14..=NEWEST, elementwise::hard_swish),
    zero("Hardmax", OLDEST..=NEWEST),
    whole("Identity", OLDEST..=NEWEST, elementwise::identity).pushed(elementwise::PUSH_THROUGH),
    refused("If", OLDEST..=NEWEST, "its condition is computed when the model runs; a constant one is inlined"),
    refused("ImageDecoder", 20..=NEWEST, "it decodes files"),
    expand("InstanceNormalization", OLDEST..=NEWEST, norm::instance_normalization),
    zero("IsInf", 10..=NEWEST),
    zero("IsNaN", 9..=NEWEST),
    expand("LRN", OLDEST..=NEWEST, norm::lrn),
    defined("LSTM", OLDEST..=NEWEST, recurrent::lstm, recurrent::lstm_definition).refusing(STEPS),
    defined("LayerNormalization", OLDEST..=NEWEST, norm::layer_normalization, norm::layer_definition),
    formula("LeakyRelu", OLDEST..=NEWEST, elementwise::leaky_relu),
    zero("Less", OLDEST..=NEWEST),
    zero("LessOrEqual", 12..=NEWEST),
    refused("LinearAttention", 27..=NEWEST, STATE),
    formula("Log", OLDEST..=NEWEST, elementwise::log),
    whole("LogSoftmax", OLDEST..=NEWEST, reduce::log_softmax),
    expand("Loop", OLDEST..=NEWEST, control::loop_definition).refusing(&["its number of trips depends on …, which is computed when the model runs; supported: known numbers", UNROLLED]),
    expand("LpNormalization", OLDEST..=NEWEST, norm::lp_normalization),
    whole("LpPool", OLDEST..=NEWEST, pool::lp_pool),
    whole("MatMul", OLDEST..=NEWEST, linear::matmul),
    expand("MatMulInteger", 10..=NEWEST, quantize::matmul_integer),
    formula("Max", OLDEST..=NEWEST, elementwise::extreme),
    whole("MaxPool", OLDEST..=NEWEST, pool::max_pool).pushed(pool::PUSH_WINDOWS),
    refused("MaxRoiPool", OLDEST..=NEWEST, NO_RULE),
    whole("MaxUnpool", 9..=NEWEST, pool::max_unpool).refusing(&["it has an input output_shape; supported: without it"]),
    formula("Mean", OLDEST..=NEWEST, elementwise::mean),
    expand("MeanVarianceNormalization", 9..=NEWEST, norm::mean_variance_normalization),
    refused("MelWeightMatrix", 17..=NEWEST, WINDOW),
    formula("Min", OLDEST..=NEWEST, elementwise::extreme),
    expand_to("Mish", 18..=NEWEST, activation::mish),
    formula("Mod", 10..=NEWEST, function::modulo),
    formula("Mul", OLDEST..=NEWEST, elementwise::mul).pushed(elementwise::PUSH_MUL),
    zero("Multinomial", OLDEST..=NEWEST),
    formula("Neg", OLDEST..=NEWEST, elementwise::neg),
    refused("NegativeLogLikelihoodLoss", 12..=NEWEST, LOSS),
    zero("NonMaxSuppression", 10..=NEWEST),
    zero("NonZero", 9..=NEWEST),
    zero("Not", OLDEST..=NEWEST),
    zero("OneHot", 9..=NEWEST),
    refused("Optional", 15..=NEWEST, OPTIONAL),
    refused("OptionalGetElement", 15..=NEWEST, OPTIONAL),
    refused("OptionalHasElement", 15..=NEWEST, OPTIONAL),
    zero("Or", OLDEST..=NEWEST),
    formula("PRelu", OLDEST..=NEWEST, activation::prelu),
    whole("Pad", OLDEST..=NEWEST, layout::pad).refusing(&["it reflects … of … elements"]),
    formula("Pow", OLDEST..=NEWEST, elementwise::pow),
    refused("QLinearConv", 10..=NEWEST, SCALES),
    refused("QLinearMatMul", 10..=NEWEST, SCALES),
    whole("QuantizeLinear", 10..=NEWEST, quantize::quantize_linear).refusing(BLOCKED),
    expand("RMSNormalization", 23..=NEWEST, norm::rms_normalization),
    defined("RNN", OLDEST..=NEWEST, recurrent::rnn, recurrent::rnn_definition).refusing(STEPS),
    zero("RandomNormal", OLDEST..=NEWEST),
    zero("RandomNormalLike", OLDEST..=NEWEST),
    zero("RandomUniform", OLDEST..=NEWEST),
    zero("RandomUniformLike", OLDEST..=NEWEST),
    zero("Range", 11..=NEWEST),
    formula("Reciprocal", OLDEST..=NEWEST, function::reciprocal),
    whole("ReduceL1", OLDEST..=NEWEST, reduce::reduce_l1).refusing(NO_AXES),
    whole("ReduceL2", OLDEST..=NEWEST, reduce::reduce_l2).refusing(NO_AXES),
    whole("ReduceLogSum", OLDEST..=NEWEST, reduce::reduce_log_sum).refusing(NO_AXES),
    whole("ReduceLogSumExp", OLDEST..=NEWEST, reduce::reduce_log_sum_exp).refusing(NO_AXES),
    whole("ReduceMax", OLDEST..=NEWEST, reduce::reduce_extreme),
    whole("ReduceMean", OLDEST..=NEWEST, reduce::reduce_mean).pushed(reduce::PUSH_MEAN),
    whole("ReduceMin", OLDEST..=NEWEST, reduce::reduce_extreme),
    whole("ReduceProd", OLDEST..=NEWEST, reduce::reduce_prod).refusing(NO_AXES),
    whole("ReduceSum", OLDEST..=NEWEST, reduce::reduce_sum),
    whole("ReduceSumSquare", OLDEST..=NEWEST, reduce::reduce_sum_square).refusing(NO_AXES),
    refused("RegexFullMatch", 20..=NEWEST, TEXT),
    formula("Relu", OLDEST..=NEWEST, elementwise::relu),
    whole("Reshape", OLDEST..=NEWEST, layout::reshape).pushed(layout::PUSH_RESHAPE),
    whole("Resize", 10..=NEWEST, resize::resize).pushed(resize::PUSH_RESIZE).refusing(&["attribute coordinate_transformation_mode is …; supported: half_pixel,", "attribute coordinate_transformation_mode is half_pixel_symmetric with mode nearest", "its scale … does not change the size of axis …", "its sizes are computed when the model runs; supported: constants"]),
    refused("ReverseSequence", 10..=NEWEST, NO_RULE),
    refused("RoiAlign", 10..=NEWEST, NO_RULE),
    whole("RotaryEmbedding", 23..=NEWEST, attention::rotary_embedding),
    zero("Round", 11..=NEWEST),
    refused("STFT", 17..=NEWEST, SPECTRUM),
    expand("Scan", 8..=NEWEST, control::scan_definition).refusing(&["it has an input sequence_lens; supported: without it", UNROLLED]),
    refused("Scatter", 9..=10, "not implemented; ScatterElements is"),
    whole("ScatterElements", 11..=NEWEST, index::scatter_elements).refusing(REDUCTIONS),
    whole("ScatterND", 11..=NEWEST, index::scatter_nd).refusing(REDUCTIONS),
    expand_to("Selu", OLDEST..=NEWEST, activation::selu),
    refused("SequenceAt", 11..=NEWEST, SEQUENCE),
    refused("SequenceConstruct", 11..=NEWEST, SEQUENCE),
    refused("SequenceEmpty", 11..=NEWEST, SEQUENCE),
    refused("SequenceErase", 11..=NEWEST, SEQUENCE),
    refused("SequenceInsert", 11..=NEWEST, SEQUENCE),
    refused("SequenceLength", 11..=NEWEST, SEQUENCE),
    refused("SequenceMap", 17..=NEWEST, SEQUENCE),
    zero("Shape", OLDEST..=NEWEST),
    expand_to("Shrink", 9..=NEWEST, activation::shrink),
    formula("Sigmoid", OLDEST..=NEWEST, elementwise::sigmoid),
    zero("Sign", 9..=NEWEST),
    expand("SimplifiedLayerNormalization", OLDEST..=NEWEST, norm::rms_normalization),
    formula("Sin", OLDEST..=NEWEST, function::sin),
    formula("Sinh", 9..=NEWEST, function::sinh),
    zero("Size", OLDEST..=NEWEST),
    whole("Slice", OLDEST..=NEWEST, layout::slice),
    whole("Softmax", OLDEST..=NEWEST, reduce::softmax),
    refused("SoftmaxCrossEntropyLoss", 12..=NEWEST, LOSS),
    formula("Softplus", OLDEST..=NEWEST, activation::softplus),
    formula("Softsign", OLDEST..=NEWEST, activation::softsign),
    whole("SpaceToDepth", OLDEST..=NEWEST, layout::space_to_depth),
    whole("Split", OLDEST..=NEWEST, layout::split),
    refused("SplitToSequence", 11..=NEWEST, SEQUENCE),
    formula("Sqrt", OLDEST..=NEWEST, elementwise::sqrt),
    whole("Squeeze", OLDEST..=NEWEST, layout::squeeze).pushed(layout::PUSH_RESHAPE),
    refused("StringConcat", 20..=NEWEST, TEXT),
    refused("StringNormalizer", 10..=NEWEST, TEXT),
    refused("StringSplit", 20..=NEWEST, TEXT),
    formula("Sub", OLDEST..=NEWEST, elementwise::sub),
    elementwise("Sum", OLDEST..=NEWEST, elementwise::sum),
    refused("SwiGLU", 28..=NEWEST, NO_RULE),
    expand_to("Swish", 24..=NEWEST, activation::swish),
    formula("Tan", OLDEST..=NEWEST, function::tan),
    formula("Tanh", OLDEST..=NEWEST, elementwise::tanh),
    refused("TensorScatter", 24..=NEWEST, STATE),
    refused("TfIdfVectorizer", 9..=NEWEST, TEXT),
    expand_to("ThresholdedRelu", 10..=NEWEST, activation::thresholded_relu),
    whole("Tile", OLDEST..=NEWEST, layout::tile),
    whole("TopK", OLDEST..=NEWEST, index::top_k).refusing(&["its output Indices is left out; supported: with it"]),
    whole("Transpose", OLDEST..=NEWEST, layout::transpose),
    whole("Trilu", 14..=NEWEST, layout::trilu),
    zero("Unique", 11..=NEWEST),
    whole("Unsqueeze", OLDEST..=NEWEST, layout::unsqueeze),
    whole("Upsample", OLDEST..=9, resize::upsample).pushed(resize::PUSH_RESIZE).refusing(&["its scale … does not change the size of axis …"]),
    formula("Where", 9..=NEWEST, elementwise::select),
    zero("Xor", OLDEST..=NEWEST),
];

/// The row for a node, or the reason why there is none.
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
    match rows().find(|rule| rule.opsets.contains(&opset)) {
        Some(Rule { kind: RuleKind::Refused(why), .. }) => {
            Err(format!("no gradient rule for this operator: {why}"))
        }
        Some(rule) => Ok(rule),
        None => {
            let (from, to) = (first.opsets.start(), first.opsets.end());
            Err(format!("its gradient rule supports opsets {from} to {to}"))
        }
    }
}

/// Whether [`expand`](crate::expand) has a definition for an operator of the standard.
pub fn has_definition(op: &str) -> bool {
    RULES.iter().any(|rule| {
        rule.op == op && matches!(rule.kind, RuleKind::Expand(_) | RuleKind::Defined(..))
    })
}

/// One row of the table, for lists and tests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleInfo {
    /// The operator.
    pub op: &'static str,
    /// The first and the last opset of the row.
    pub opsets: (i64, i64),
    /// The source of its derivative.
    pub gradient: Gradient,
    /// The refused forms as in messages, with … for variable parts; [`REFUSED_FORMS`] are not repeated.
    pub refuses: &'static [&'static str],
}

/// The source of a derivative.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Gradient {
    /// A gradient rule.
    Rule,
    /// The operator's definition in other operators.
    Definition,
    /// The derivative is known to be zero.
    Zero,
    /// None, with the reason.
    Refused(&'static str),
}

/// The table of gradient rules: every operator of the standard, sorted.
pub fn rules() -> impl Iterator<Item = RuleInfo> {
    RULES.iter().map(|rule| RuleInfo {
        op: rule.op,
        opsets: (*rule.opsets.start(), *rule.opsets.end()),
        gradient: match rule.kind {
            RuleKind::Formula(_)
            | RuleKind::Elementwise(_)
            | RuleKind::Whole(_)
            | RuleKind::Defined(..) => Gradient::Rule,
            RuleKind::Expand(_) => Gradient::Definition,
            RuleKind::Zero => Gradient::Zero,
            RuleKind::Refused(why) => Gradient::Refused(why),
        },
        refuses: rule.refuses,
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
            let last = match rule.op {
                "Scatter" => 10,
                "Upsample" => 9,
                _ => NEWEST,
            };
            assert!(rule.opsets.start() >= &OLDEST && rule.opsets.end() == &last, "{}", rule.op);
        }
    }
}
