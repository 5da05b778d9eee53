//! The tables: what each engine takes, and what is rewritten for it.

use onnx_grad::proto::{NodeProto, tensor_proto::DataType};

use super::{
    Refusal,
    nodes::{
        arg_extreme, arithmetic, batch_norm, before_22, before_28, cast, concat, dropout, is_inf,
        keep, layer_norm, matmul, odd_size, one_hot, pad, pow, quantize, reduce, resize,
        resize_of_two_axes, scatter_elements, sign, slice, softmax, softplus, space_to_depth,
        wide_axes,
    },
    rewrite::Rewrite,
    windows::{conv, conv_transpose, global_lp_pool, lp_pool, new_global_lp_pool, odd_same, pool},
};

/// What is done with one operator.
pub(super) struct Row {
    pub(super) op: &'static str,
    /// The attributes that the engine takes, separated by blanks: `name` with any value,
    /// `name=a|b` with these values; `~` marks an attribute that means nothing to a run, and is
    /// dropped. Any other attribute makes the node unsupported. `None`: not checked here.
    pub(super) attributes: Option<&'static str>,
    pub(super) rewrite: Rule,
}

/// Writes nodes that mean what one node means, or says why it cannot.
pub(super) type Rule = fn(&mut Rewrite<'_>, NodeProto) -> Result<(), Refusal>;

const fn row(op: &'static str, attributes: &'static str, rewrite: Rule) -> Row {
    Row { op, attributes: Some(attributes), rewrite }
}

const fn unchecked(op: &'static str, rewrite: Rule) -> Row {
    Row { op, attributes: None, rewrite }
}

/// The newest opset of ONNX Runtime 1.32.
pub(super) const ONNX_RUNTIME_OPSET: i64 = 28;

/// The domains that every build of ONNX Runtime has.
pub(super) const ONNX_RUNTIME_DOMAINS: &[&str] = &["ai.onnx.ml", "com.microsoft"];

/// ONNX Runtime has every operator; these have forms that it refuses.
pub(super) const ONNX_RUNTIME: &[Row] = &[
    unchecked("AveragePool", odd_same),
    unchecked("Bernoulli", before_22),
    unchecked("Conv", odd_same),
    unchecked("DequantizeLinear", before_28),
    unchecked("GlobalLpPool", new_global_lp_pool),
    unchecked("LRN", odd_size),
    unchecked("LpPool", odd_same),
    unchecked("MaxPool", odd_same),
    unchecked("Multinomial", before_22),
    unchecked("OneHot", one_hot),
    unchecked("Pad", wide_axes),
    unchecked("QuantizeLinear", before_28),
    unchecked("RandomNormal", before_22),
    unchecked("RandomNormalLike", before_22),
    unchecked("RandomUniform", before_22),
    unchecked("RandomUniformLike", before_22),
    unchecked("Resize", resize_of_two_axes),
];

/// The types of tensors that rten 0.27 loads, and bfloat16, which is widened before.
pub(super) const RTEN_TYPES: &[DataType] = &[
    DataType::Float,
    DataType::Uint8,
    DataType::Int8,
    DataType::Int32,
    DataType::Int64,
    DataType::Bool,
    DataType::Float16,
    DataType::Double,
    DataType::Bfloat16,
];

/// All operators of rten 0.27 as it is built here (without its features `contrib`, `fft` and
/// `random`), read in its `op_registry/onnx_registry.rs`. Types are numbers of `TensorProto`.
#[rustfmt::skip]
pub(super) const RTEN: &[Row] = &[
    row("Abs", "", keep),
    row("Acos", "", keep),
    row("Acosh", "", keep),
    row("Add", "", arithmetic),
    row("And", "", keep),
    row("ArgMax", "axis keepdims select_last_index", arg_extreme),
    row("ArgMin", "axis keepdims select_last_index", arg_extreme),
    row("Asin", "", keep),
    row("Asinh", "", keep),
    row("Atan", "", keep),
    row("Atanh", "", keep),
    row(
        "Attention",
        "is_causal kv_num_heads q_num_heads qk_matmul_output_mode scale softcap \
         softmax_precision",
        keep,
    ),
    row(
        "AveragePool",
        "auto_pad ceil_mode count_include_pad dilations kernel_shape pads strides",
        pool,
    ),
    row("BatchNormalization", "epsilon ~is_test ~momentum spatial=1 training_mode=0", batch_norm),
    row("BitCast", "to=1|2|3|6", keep),
    row("Cast", "round_mode=up saturate=1 to=1|2|3|6|7|9|10|11|16", cast),
    row("CastLike", "round_mode=up saturate=1", keep),
    row("Ceil", "", keep),
    row("Clip", "max min", keep),
    row("Concat", "axis", concat),
    row("ConcatFromSequence", "axis new_axis", keep),
    row("Constant", "value value_float value_floats value_int value_ints", keep),
    row("ConstantOfShape", "value", keep),
    row("Conv", "auto_pad dilations group kernel_shape pads strides", conv),
    row("ConvInteger", "auto_pad dilations group kernel_shape pads strides", conv),
    row(
        "ConvTranspose",
        "auto_pad dilations group kernel_shape output_padding output_shape pads strides",
        conv_transpose,
    ),
    row("Cos", "", keep),
    row("Cosh", "", keep),
    row("CumSum", "exclusive reverse", keep),
    row("DepthToSpace", "blocksize mode=DCR|CRD", keep),
    row("DequantizeLinear", "axis block_size=0 output_dtype=0", keep),
    row("Div", "", arithmetic),
    row("Dropout", "is_test ratio seed", dropout),
    row("DynamicQuantizeLinear", "", keep),
    row("Einsum", "equation", keep),
    row("Elu", "alpha", keep),
    row("Equal", "", keep),
    row("Erf", "", keep),
    row("Exp", "", keep),
    row("Expand", "", keep),
    row("EyeLike", "dtype=1|2|3|6|7|9|10|11 k", keep),
    row("Flatten", "axis", keep),
    row("Floor", "", keep),
    row(
        "GRU",
        "activation_alpha activation_beta activations clip=0 direction hidden_size \
         layout=0 linear_before_reset",
        keep,
    ),
    row("Gather", "axis", keep),
    row("GatherElements", "axis", keep),
    row("GatherND", "batch_dims", keep),
    row("Gelu", "approximate=none|tanh", keep),
    row("Gemm", "alpha beta transA transB", keep),
    row("GlobalAveragePool", "", keep),
    row("GlobalLpPool", "p", global_lp_pool),
    row("GlobalMaxPool", "", keep),
    row("Greater", "", keep),
    row("GreaterOrEqual", "", keep),
    row("GridSample", "align_corners mode=bilinear|linear padding_mode=zeros", keep),
    row("HardSigmoid", "alpha beta", keep),
    row("HardSwish", "", keep),
    row("Identity", "", keep),
    row("If", "else_branch then_branch", keep),
    row("InstanceNormalization", "epsilon", keep),
    row("IsInf", "detect_negative detect_positive", is_inf),
    row("IsNaN", "", keep),
    row(
        "LSTM",
        "activation_alpha activation_beta activations clip=0 direction hidden_size \
         input_forget=0 layout=0",
        keep,
    ),
    row("LayerNormalization", "axis epsilon stash_type=1", layer_norm),
    row("LeakyRelu", "alpha", keep),
    row("Less", "", keep),
    row("LessOrEqual", "", keep),
    row("Log", "", keep),
    row("LogSoftmax", "axis", softmax),
    row("Loop", "body", keep),
    row("LpNormalization", "axis p=1|2", keep),
    row("LpPool", "auto_pad ceil_mode dilations kernel_shape p pads strides", lp_pool),
    row("MatMul", "", matmul),
    row("MatMulInteger", "", keep),
    row("Max", "", keep),
    row("MaxPool", "auto_pad ceil_mode dilations kernel_shape pads ~storage_order strides", pool),
    row("Mean", "", keep),
    row("Min", "", keep),
    row("Mod", "fmod", keep),
    row("Mul", "", arithmetic),
    row("Neg", "", keep),
    row("NonMaxSuppression", "center_point_box", keep),
    row("NonZero", "", keep),
    row("Not", "", keep),
    row("OneHot", "axis", keep),
    row("Or", "", keep),
    row("PRelu", "", keep),
    row("Pad", "mode=constant|edge|reflect|wrap pads value", pad),
    row("Pow", "", pow),
    row("QuantizeLinear", "axis block_size=0 output_dtype=0|2|3 precision=0 saturate=1", quantize),
    row("RMSNormalization", "axis epsilon stash_type=1", keep),
    row("Range", "stash_type=1", keep),
    row("Reciprocal", "", keep),
    row("ReduceL1", "axes keepdims noop_with_empty_axes", reduce),
    row("ReduceL2", "axes keepdims noop_with_empty_axes", reduce),
    row("ReduceLogSum", "axes keepdims noop_with_empty_axes", reduce),
    row("ReduceLogSumExp", "axes keepdims noop_with_empty_axes", reduce),
    row("ReduceMax", "axes keepdims noop_with_empty_axes", reduce),
    row("ReduceMean", "axes keepdims noop_with_empty_axes", reduce),
    row("ReduceMin", "axes keepdims noop_with_empty_axes", reduce),
    row("ReduceProd", "axes keepdims noop_with_empty_axes", reduce),
    row("ReduceSum", "axes keepdims noop_with_empty_axes", keep),
    row("ReduceSumSquare", "axes keepdims noop_with_empty_axes", reduce),
    row("Relu", "", keep),
    row("Reshape", "allowzero shape", keep),
    unchecked("Resize", resize),
    row("ReverseSequence", "batch_axis time_axis", keep),
    row("RotaryEmbedding", "interleaved num_heads rotary_embedding_dim", keep),
    row("Round", "", keep),
    row("Scatter", "axis", keep),
    row("ScatterElements", "axis reduction", scatter_elements),
    row("ScatterND", "reduction", keep),
    row("SequenceAt", "", keep),
    row("SequenceConstruct", "", keep),
    row("SequenceEmpty", "dtype=1|2|3|6|7|9|10|11", keep),
    row("SequenceErase", "", keep),
    row("SequenceInsert", "", keep),
    row("SequenceLength", "", keep),
    row("Shape", "end start", keep),
    row("Sigmoid", "", keep),
    row("Sign", "", sign),
    row("Sin", "", keep),
    row("Sinh", "", keep),
    row("Size", "", keep),
    row("Slice", "axes ends starts", slice),
    row("Softmax", "axis", softmax),
    row("Softplus", "", softplus),
    row("Softsign", "", keep),
    row("SpaceToDepth", "blocksize mode=DCR|CRD", space_to_depth),
    row("Split", "axis num_outputs split", keep),
    row("SplitToSequence", "axis keepdims", keep),
    row("Sqrt", "", keep),
    row("Squeeze", "axes", keep),
    row("Sub", "", arithmetic),
    row("Sum", "", keep),
    row("Swish", "alpha", keep),
    row("Tan", "", keep),
    row("Tanh", "", keep),
    row("Tile", "", keep),
    row("TopK", "axis k largest sorted", keep),
    row("Transpose", "perm", keep),
    row("Trilu", "upper", keep),
    row("Unsqueeze", "axes", keep),
    unchecked("Upsample", resize),
    row("Where", "", keep),
    row("Xor", "", keep),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_sorted() {
        assert!(RTEN.is_sorted_by(|a, b| a.op < b.op));
        assert!(ONNX_RUNTIME.is_sorted_by(|a, b| a.op < b.op));
    }
}
